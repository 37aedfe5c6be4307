"""The identity adapter: a projection that is trained by a contrastive loss and unused in tracking."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fdta_adapters.functional.contrastive import IdentityOutput, Reduction, Weighting, identity_contrastive
from mot_core.nn import MLP
from mot_core.processes import gather_rows

Quality = Literal["iou", "giou"]


class IdentityAdapter(nn.Module):
    """Contrastive loss between the identities of a batch of clips, computed behind a projection.

    The projection keeps the embeddings themselves free to carry what changes from frame to frame, such as position.
    FDTA (CVPR 2026, arXiv 2512.02392), Eq. 5 to 8.

    Args:
        channels: Number of channels of the embeddings.
        hidden: Hidden channels of the projection.
        out: Output channels of the projection.
        layers: Linear layers of the projection; 0 compares the embeddings themselves.
        tau: Temperature of the similarities.
        min_quality: Embeddings whose box overlaps its object less are ignored.
        quality: Overlap that callers pass as quality: "iou" as in the paper, or "giou" as in the released code.
        weighting: Weight of a pair: "harmonic" mean of both qualities, or "none".
        reduction: "pair": mean over pairs. "anchor": mean over anchors of their means, as in the released code.
        scale_by_tau: Multiply the loss by ``tau``, as in the released code.
        chunk: Compare only frames of the same ``chunk`` consecutive frames and sum the losses of the chunks, as in the
            released code. None: compare all frames.
        gather: Compare with the embeddings of all processes in distributed training.

    Raises:
        ValueError: If an argument is out of range.

    >>> adapter = IdentityAdapter(8, hidden=16, out=8)
    >>> output = adapter(torch.randn(4, 8), torch.tensor([0, 0, 1, 1]), torch.ones(4))
    >>> output.num_pairs.item(), output.loss.requires_grad
    (4, True)
    """

    def __init__(
        self,
        channels: int = 256,
        hidden: int = 256,
        out: int = 256,
        layers: int = 3,
        tau: float = 0.1,
        min_quality: float = 0.5,
        quality: Quality = "iou",
        weighting: Weighting = "harmonic",
        reduction: Reduction = "pair",
        scale_by_tau: bool = False,
        chunk: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("quality", quality, ("iou", "giou")),
            ("weighting", weighting, ("harmonic", "none")),
            ("reduction", reduction, ("pair", "anchor")),
        ):
            if value not in known:
                raise ValueError(f"{name}: expected {' or '.join(known)}, got {value!r}")
        if not tau > 0:
            raise ValueError(f"tau: expected a positive number, got {tau}")
        if weighting == "harmonic" and not min_quality > 0:
            raise ValueError(
                f"min_quality: expected a positive number, got {min_quality}; the harmonic mean needs it, or set "
                "weighting to none"
            )
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk: expected at least 1 frame, got {chunk}")
        if layers < 0:
            raise ValueError(f"layers: expected at least 0, got {layers}")
        self.quality, self.chunk, self.gather = quality, chunk, gather
        self.settings: dict[str, Any] = {
            "tau": tau, "min_quality": min_quality, "weighting": weighting, "reduction": reduction,
            "scale_by_tau": scale_by_tau,
        }  # fmt: skip
        self.head: nn.Module = MLP(channels, hidden, out, layers) if layers else nn.Identity()

    def forward(
        self,
        emb: Tensor,
        ids: Tensor,
        quality: Tensor,
        frames: Tensor | None = None,
        source: Tensor | None = None,
    ) -> IdentityOutput:
        """Compute the loss of a set of embeddings.

        Args:
            emb: Embeddings of shape ``(N, C)``.
            ids: Identities of shape ``(N,)``, int64, unique across clips; -1 for none.
            quality: Overlap of each box with its object, of shape ``(N,)``.
            frames: Index of the frame of each embedding, of shape ``(N,)``, int64; needed with ``chunk``.
            source: Number of the clip and of the video of each embedding, of shape ``(N, 2)``, int64; see
                :func:`fdta_adapters.identity_contrastive`. Videos are numbered alike in all processes.

        Raises:
            ValueError: If ``frames`` is missing.
        """
        if self.chunk is not None and frames is None:
            raise ValueError("frames: expected the frame of each embedding, because chunk is set, got None")
        kept = (ids >= 0) & (quality >= self.settings["min_quality"])
        emb, ids, quality = emb[kept], ids[kept], quality[kept]
        source = None if source is None else source[kept]
        with torch.autocast(emb.device.type, enabled=False):
            parameter = next(self.head.parameters(), None)
            features = self.head(emb if parameter is None else emb.to(parameter.dtype))
            # Keeps all parameters in the graph of a batch without pairs, which distributed training needs.
            nothing = 0 * features.sum() + sum(0 * one.sum() for one in self.head.parameters())
            parts = torch.zeros_like(ids) if frames is None or self.chunk is None else frames[kept] // self.chunk
            scale = 1
            if self.gather and dist.is_available() and dist.is_initialized():
                scale = dist.get_world_size()
                features, ids, quality, parts, source = _gather(features, ids, quality, parts, source)
            outputs = [
                identity_contrastive(
                    features[chosen],
                    ids[chosen],
                    quality[chosen],
                    None if source is None else source[chosen],
                    **self.settings,
                )
                for chosen in (parts == part for part in torch.unique(parts))
            ] or [identity_contrastive(features, ids, quality, **self.settings)]
        total = _sum(outputs)
        loss = total.loss + (scale - 1) * (total.loss - total.loss.detach()) + nothing
        return replace(total, loss=loss)


def _sum(outputs: list[IdentityOutput]) -> IdentityOutput:
    """Add up the losses and counts of chunks, and average their similarities over pairs and chunks."""
    if len(outputs) == 1:
        return outputs[0]
    pairs = torch.stack([one.num_pairs for one in outputs])
    similar = torch.stack([one.mean_pos_sim for one in outputs])
    return IdentityOutput(
        torch.stack([one.loss for one in outputs]).sum(),
        torch.stack([one.num_kept for one in outputs]).sum(),
        pairs.sum(),
        (similar * pairs).sum() / pairs.sum().clamp(min=1),
        torch.stack([one.mean_neg_sim for one in outputs]).mean(),
    )


def _gather(
    features: Tensor, ids: Tensor, quality: Tensor, parts: Tensor, source: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Concatenate the rows of all processes; only those of this process have gradient.

    Every process computes the loss of all rows. Times the number of processes, the gradients that DDP averages are
    those of one process with all rows.
    """
    numbers = torch.column_stack([ids, ids.new_zeros(len(ids), 2) if source is None else source])
    own = features, numbers, quality, parts
    received = gather_rows(*own)
    received[dist.get_rank()] = own
    everywhere, first = [], numbers.new_zeros(3)
    for rows, theirs, *others in received:
        everywhere.append((rows, theirs + first, *others))
        # Identities and clips of different processes differ; videos are numbered alike.
        if len(theirs):
            first[:2] += theirs[:, :2].amax(0) + 1
    features, numbers, quality, parts = (torch.cat(one) for one in zip(*everywhere, strict=True))
    return features, numbers[:, 0], quality, parts, None if source is None else numbers[:, 1:]
