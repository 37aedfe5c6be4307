"""Spatial-guided learnable association (SGLA) as modules, for any model."""

from lamotr.modules.attention import SpatialWeightedAttention as SpatialWeightedAttention
from lamotr.modules.settings import SGLASettings as SGLASettings
from lamotr.modules.sgla import SGLA as SGLA
from lamotr.modules.sgla import AssociationHead as AssociationHead
from lamotr.modules.sgla import RelativeBoxEncoding as RelativeBoxEncoding
from lamotr.modules.sgla import SGLAOutput as SGLAOutput
