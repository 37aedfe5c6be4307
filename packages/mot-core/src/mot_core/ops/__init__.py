"""Operations that a fused kernel can replace: one public function each, with a PyTorch reference."""

from mot_core.ops.deformable_attention import deformable_attention as deformable_attention
