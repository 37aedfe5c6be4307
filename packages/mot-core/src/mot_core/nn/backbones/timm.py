"""Any convolutional backbone of timm, by name."""

from __future__ import annotations

from importlib import import_module

from torch import Tensor

from mot_core.extras import needs
from mot_core.nn.backbones.base import Backbone


class TimmBackbone(Backbone):
    """A backbone of timm: its maps of strides 8, 16 and 32.

    timm imports torchvision, so it is imported here only, and only when it is used (extra ``[timm]``).

    Args:
        name: a model of timm that has features at these strides, as "resnet18" or "convnext_tiny".
        pretrained: let timm download its weights.

    Raises:
        ModuleNotFoundError: timm is not installed.
        ValueError: the model has no maps of these strides.
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
        """``(B, 3, H, W)`` to three maps."""
        levels = self.body(images)
        return [levels[index] for index in self.picked]
