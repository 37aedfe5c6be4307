"""Data for training: frames of folders, lists and synthetic videos; clips, augmentation, batches, DataModules.

A source of frames (:class:`FrameIndex`, :class:`SyntheticVideo`) is sampled into clips by :class:`ClipDataset`,
:func:`collate` makes batches of them, and the DataModules do both for Lightning. Needs the extra ``[train]``.
"""

from mot_core.data.augmentation import Augmentation
from mot_core.data.clips import ClipDataset, FrameDataset
from mot_core.data.coco import read_coco
from mot_core.data.collate import IMAGE_MEAN, IMAGE_STD, collate
from mot_core.data.folders import index_sequences
from mot_core.data.image_frame import FrameSource, ImageFrame
from mot_core.data.index import FrameIndex
from mot_core.data.loading import ClipLoader, LoaderDataModule
from mot_core.data.modules import ClipDataModule, MOTDataModule, SyntheticDataModule
from mot_core.data.sampling import ClipKey, ClipSampler, ClipSampling, SequenceSampler
from mot_core.data.synthetic_video import SyntheticVideo

__all__ = [
    "IMAGE_MEAN",
    "IMAGE_STD",
    "Augmentation",
    "ClipDataModule",
    "ClipDataset",
    "ClipKey",
    "ClipLoader",
    "ClipSampler",
    "ClipSampling",
    "FrameDataset",
    "FrameIndex",
    "FrameSource",
    "ImageFrame",
    "LoaderDataModule",
    "MOTDataModule",
    "SequenceSampler",
    "SyntheticDataModule",
    "SyntheticVideo",
    "collate",
    "index_sequences",
    "read_coco",
]
