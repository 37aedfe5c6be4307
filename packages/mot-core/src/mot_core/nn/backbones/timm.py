"""Convolutional backbones of timm, by name."""

from __future__ import annotations

from importlib import import_module

from torch import Tensor

from mot_core.extras import needs
from mot_core.nn.backbones.base import Backbone


class TimmBackbone(Backbone):
    """A timm backbone with maps of strides 8, 16 and 32.

    timm imports torchvision, so it is imported only here and only on use (extra ``[timm]``).

    Args:
        name: Name of a timm model with features at these strides, such as "resnet18" or "convnext_tiny".
        pretrained: Whether timm downloads pretrained weights.

    Raises:
        ModuleNotFoundError: If timm is not installed.
        ValueError: If the model has no maps of these strides.
    """

    strides = (8, 16, 32)

    def __init__(self, name: str, pretrained: bool = False) -> None:
        super().__init__()
        with needs("timm", "timm", f"the backbone {name!r}"):
            timm = import_module("timm")
        self.body = timm.create_model(name, pretrained=pretrained, features_only=True)
        reductions = self.body.feature_info.reduction()
        if not set(self.strides) <= set(reductions):
            raise ValueError(f"the backbone {name!r} must have maps of strides 8, 16 and 32, got {reductions}")
        self.picked = [reductions.index(stride) for stride in self.strides]
        channels = self.body.feature_info.channels()
        self.channels = tuple(channels[index] for index in self.picked)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``(B, 3, H, W)`` to three feature maps."""
        levels = self.body(images)
        return [levels[index] for index in self.picked]
