"""The mathematics of FDTA as functions of tensors."""

from fdta_adapters.functional.contrastive import IdentityOutput as IdentityOutput
from fdta_adapters.functional.contrastive import identity_contrastive as identity_contrastive
from fdta_adapters.functional.contrastive import pair_quality as pair_quality
from fdta_adapters.functional.depth_bins import DepthBins as DepthBins
from fdta_adapters.functional.depth_loss import depth_focal as depth_focal
from fdta_adapters.functional.depth_loss import depth_loss as depth_loss
from fdta_adapters.functional.depth_position import depth_position as depth_position
from fdta_adapters.functional.foreground import foreground_mask as foreground_mask
from fdta_adapters.functional.similarity import InterObjectSimilarity as InterObjectSimilarity
from fdta_adapters.functional.similarity import inter_object_similarity as inter_object_similarity
from fdta_adapters.functional.temporal_mask import dual_mask as dual_mask
