"""Operations with fused kernels: one public function each, with a PyTorch reference implementation."""

from mot_core.ops.deformable_attention import deformable_attention as deformable_attention
from mot_core.ops.kalman import FilterResult as FilterResult
from mot_core.ops.kalman import SmootherResult as SmootherResult
from mot_core.ops.kalman import kalman_filter as kalman_filter
from mot_core.ops.kalman import observation_loglik as observation_loglik
from mot_core.ops.kalman import rts_smoother as rts_smoother
from mot_core.ops.pair_bias_attention import pair_bias_attention as pair_bias_attention
from mot_core.ops.sinkhorn import sinkhorn as sinkhorn
