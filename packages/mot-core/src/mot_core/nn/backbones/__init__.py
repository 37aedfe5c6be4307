"""Backbones: from images to feature maps of several strides."""

from mot_core.nn.backbones.base import Backbone as Backbone
from mot_core.nn.backbones.dla import DLA as DLA
from mot_core.nn.backbones.resnet import FrozenBatchNorm as FrozenBatchNorm
from mot_core.nn.backbones.resnet import ResNet50 as ResNet50
from mot_core.nn.backbones.small import SmallBackbone as SmallBackbone
from mot_core.nn.backbones.timm import TimmBackbone as TimmBackbone
