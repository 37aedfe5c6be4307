"""Import of official weights: state dicts released by other projects, converted to our modules."""

from mot_core.checkpoints.deformable_detr import load_deformable_detr as load_deformable_detr
from mot_core.checkpoints.fairmot import load_fairmot as load_fairmot
from mot_core.checkpoints.file import read_checkpoint as read_checkpoint
from mot_core.checkpoints.gtr import load_gtr as load_gtr
from mot_core.checkpoints.report import ImportReport as ImportReport
from mot_core.checkpoints.report import load_renamed as load_renamed
from mot_core.checkpoints.report import read_state_dict as read_state_dict
from mot_core.checkpoints.yolox import load_yolox as load_yolox
