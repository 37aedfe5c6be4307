"""Building blocks of trackers: Deformable DETR, backbones, matcher and criterion."""

from mot_core.nn.backbones import Backbone as Backbone
from mot_core.nn.backbones import FrozenBatchNorm as FrozenBatchNorm
from mot_core.nn.backbones import ResNet50 as ResNet50
from mot_core.nn.backbones import SmallBackbone as SmallBackbone
from mot_core.nn.backbones import TimmBackbone as TimmBackbone
from mot_core.nn.criterion import SetCriterion as SetCriterion
from mot_core.nn.criterion import count_boxes as count_boxes
from mot_core.nn.criterion import detection_losses as detection_losses
from mot_core.nn.criterion import sigmoid_focal_loss as sigmoid_focal_loss
from mot_core.nn.deformable_attention import DeformableAttention as DeformableAttention
from mot_core.nn.deformable_decoder import DecodedQueries as DecodedQueries
from mot_core.nn.deformable_decoder import DeformableDecoder as DeformableDecoder
from mot_core.nn.deformable_decoder import DeformableDecoderLayer as DeformableDecoderLayer
from mot_core.nn.deformable_decoder import inverse_sigmoid as inverse_sigmoid
from mot_core.nn.deformable_decoder import refine_boxes as refine_boxes
from mot_core.nn.deformable_detr import DeformableDETR as DeformableDETR
from mot_core.nn.deformable_detr import DetectorOutput as DetectorOutput
from mot_core.nn.deformable_encoder import DeformableEncoder as DeformableEncoder
from mot_core.nn.deformable_encoder import DeformableEncoderLayer as DeformableEncoderLayer
from mot_core.nn.deformable_encoder import encoder_references as encoder_references
from mot_core.nn.matcher import HungarianMatcher as HungarianMatcher
from mot_core.nn.mlp import MLP as MLP
from mot_core.nn.mlp import FeedForward as FeedForward
from mot_core.nn.position import sine_position as sine_position
