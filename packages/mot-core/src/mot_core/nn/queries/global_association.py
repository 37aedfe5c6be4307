"""Association of all boxes of a window of frames at once, by a transformer (GTR)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.nn.mlp import MLP

POSITIONS = 16  # entries of the learned position embeddings, per coordinate


class AssociationLayer(nn.Module):
    """Attention and feed-forward part of a transformer layer, both with a shortcut and without normalization.

    ``h = x + attention(x); y = h + W2 relu(W1 h)``.

    Args:
        embed_dim: Number of channels.
        num_heads: Number of attention heads.

    >>> AssociationLayer(8, 2)(*[torch.zeros(5, 8)] * 4).shape
    torch.Size([5, 8])
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(embed_dim, num_heads, batch_first=True)
        self.linear1 = nn.Linear(embed_dim, embed_dim)
        self.linear2 = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Update ``x (Q, C)`` by attention of ``queries (Q, C)`` to ``keys`` and ``values (N, C)``."""
        h = x + self.attention(queries[None], keys[None], values[None], need_weights=False)[0][0]
        y: Tensor = h + self.linear2(F.relu(self.linear1(h)))
        return y


class GlobalAssociation(nn.Module):
    r"""Association head of GTR (Zhou et al., CVPR 2022, arXiv:2203.13250, section 4).

    Two linear layers with ReLU make an embedding ``f`` of the pooled features of a box. An encoder layer over the boxes
    of all frames gives the memory ``m``, and a decoder layer without self-attention gives ``h`` for the query boxes:

    .. math::

        m = \mathrm{enc}(f), \quad h = \mathrm{dec}(f_q, m), \quad S = \mathrm{proj}_q(h)\,\mathrm{proj}_k(m)^\top

    Args:
        in_channels: Channels of the pooled features.
        embed_dim: Channels of embeddings and layers, a multiple of 4 and of ``num_heads``.
        pool_size: Sides of the pooled features.
        num_heads: Heads of the attention layers.
        projection_layers: Linear layers of each projection; 0 for the identity (the published setting for MOT).
        positions: Whether learned embeddings of boxes and times are added to the keys (and the queries of the encoder).

    >>> head = GlobalAssociation(8, 16, pool_size=3, num_heads=2)
    >>> embeddings = head.embed(torch.rand(5, 8, 3, 3))
    >>> head(embeddings, [2, 3]).shape
    torch.Size([5, 5])
    """

    def __init__(
        self,
        in_channels: int = 256,
        embed_dim: int = 1024,
        *,
        pool_size: int = 7,
        num_heads: int = 8,
        projection_layers: int = 0,
        positions: bool = False,
    ) -> None:
        super().__init__()
        if embed_dim % (4 * num_heads):
            raise ValueError(f"embed_dim: expected a multiple of 4 x num_heads = {4 * num_heads}, got {embed_dim}")
        self.embed_dim, self.pool_size = embed_dim, pool_size
        self.fc1 = nn.Linear(in_channels * pool_size**2, embed_dim)
        self.fc2 = nn.Linear(embed_dim, embed_dim)
        self.encoder = AssociationLayer(embed_dim, num_heads)
        self.decoder = AssociationLayer(embed_dim, num_heads)
        self.query_projection = self.key_projection = None
        if projection_layers:
            self.query_projection = MLP(embed_dim, embed_dim, embed_dim, projection_layers)
            self.key_projection = MLP(embed_dim, embed_dim, embed_dim, projection_layers)
        self.box_embedding = self.time_embedding = None
        if positions:
            self.box_embedding = nn.Embedding(4 * POSITIONS, embed_dim // 4)
            self.time_embedding = nn.Embedding(POSITIONS, embed_dim)

    def embed(self, pooled: Tensor) -> Tensor:
        """Return embeddings ``(N, C)`` of the pooled features ``(N, in_channels, pool_size, pool_size)``."""
        return F.relu(self.fc2(F.relu(self.fc1(pooled.flatten(1)))))

    def forward(
        self,
        embeddings: Tensor,
        counts: Sequence[int],
        boxes_xyxy: Tensor | None = None,
        queries: slice = slice(None),
    ) -> Tensor:
        """Return the association logits ``(Q, N)`` of query boxes with the boxes of all frames.

        Args:
            embeddings: Embeddings of the boxes of all frames, in temporal order, ``(N, C)``.
            counts: Number of boxes of each frame.
            boxes_xyxy: Corners of the boxes in [0, 1], ``(N, 4)``; used with position embeddings only.
            queries: Rows of the query boxes; all by default.

        Raises:
            ValueError: If the counts do not add up, or boxes are missing.
        """
        if sum(counts) != len(embeddings):
            raise ValueError(f"counts: expected a sum of {len(embeddings)} boxes, got {sum(counts)}")
        if not len(embeddings):  # distributed training needs every parameter in the graph
            return embeddings @ embeddings.T + sum(0 * one.sum() for one in self.parameters())
        memory, hidden = self.transform(embeddings, self.position(counts, boxes_xyxy), queries)
        if self.query_projection is not None and self.key_projection is not None:
            hidden, memory = self.query_projection(hidden), self.key_projection(memory)
        return hidden @ memory.T

    def transform(
        self,
        embeddings: Tensor,
        position: Tensor | float,
        queries: slice = slice(None),
    ) -> tuple[Tensor, Tensor]:
        """Return the memory of all boxes ``(N, C)`` and the decoded queries ``(Q, C)``."""
        placed = embeddings + position
        memory = self.encoder(embeddings, placed, placed, embeddings)
        asked = embeddings[queries]
        return memory, self.decoder(asked, asked, memory + position, memory)

    def position(self, counts: Sequence[int], boxes_xyxy: Tensor | None) -> Tensor | float:
        """Return the mean of the embeddings of box and time ``(N, C)``, or 0 without them."""
        if self.box_embedding is None or self.time_embedding is None:
            return 0.0
        if boxes_xyxy is None:
            raise ValueError("boxes_xyxy: expected corners in [0, 1] for the position embeddings, got None")
        centers, sizes = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2, boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
        tables = self.box_embedding.weight.view(POSITIONS, 4, -1).unbind(1)
        places = torch.cat([centers, sizes], 1).to(tables[0].dtype).unbind(1)
        box = torch.cat([interpolate(table, place) for table, place in zip(tables, places, strict=True)], 1)
        numbers = torch.arange(len(counts), device=box.device, dtype=box.dtype) / len(counts)
        times = numbers.repeat_interleave(torch.tensor(counts, device=box.device))
        return (box + interpolate(self.time_embedding.weight, times)) / 2


def interpolate(table: Tensor, fraction: Tensor) -> Tensor:
    """Return rows of a table at fractional positions, with linear interpolation; the last row continues.

    Args:
        table: Rows of shape ``(P, C)``; row ``i`` is at ``i / P``.
        fraction: Positions in [0, 1], of shape ``(N,)``.

    >>> interpolate(torch.tensor([[0.0], [10.0]]), torch.tensor([0.0, 0.25, 0.5, 1.0])).flatten()
    tensor([ 0.,  5., 10., 10.])
    """
    place = fraction * len(table)
    low = place.detach().long().clamp(0, len(table) - 1)
    high = (low + 1).clamp(max=len(table) - 1)
    weight = (place - low)[:, None]
    return table[low] * (1 - weight) + table[high] * weight


def association_probabilities(logits: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the softmax over the boxes of each frame and "none", which has the logit 0.

    Args:
        logits: Association logits of shape ``(Q, N)``.
        counts: Number of boxes of each frame.

    Returns:
        Probabilities of shape ``(Q, N)``, without "none"; the rest to 1 in a frame.

    >>> association_probabilities(torch.zeros(1, 3), [1, 2])
    tensor([[0.5000, 0.3333, 0.3333]])
    """
    parts = [_with_none(part).softmax(1)[:, :-1] for part in torch.split(logits, list(counts), 1)]
    return torch.cat(parts, 1) if parts else logits


@torch.no_grad()
def window_association_targets(overlaps: Sequence[Tensor], identities: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Assign to each identity, in each frame, the box that overlaps its object most.

    Args:
        overlaps: IoU of the ``G`` objects and the ``N`` boxes of each frame, ``(G, N)``.
        identities: Identities of the objects of each frame, ``(G,)`` int64; negative ones are ignored.

    Returns:
        Box of each of ``K`` identities in each frame, ``(K, T)`` int64, the number of boxes of the frame for none; and
        the row of the identity of each box of all frames, -1 for none. Identities are in ascending order.

    >>> overlaps, ids = [torch.tensor([[0.9, 0.1]]), torch.zeros(1, 0)], torch.tensor([7])
    >>> window_association_targets(overlaps, [ids, ids])
    (tensor([[0, 0]]), tensor([ 0, -1]))
    """
    known = torch.unique(torch.cat([one[one >= 0] for one in identities]))
    order = torch.arange(len(known), device=known.device)
    slots, rows = [], []
    for overlap, ids in zip(overlaps, identities, strict=True):
        boxes = overlap.shape[1]
        own = (known[:, None] == ids)[:, :, None] * overlap  # (K, G, N)
        padded = torch.cat([own, own.new_zeros(len(known), 1, boxes)], 1).amax(1)
        value, best = torch.cat([padded, padded.new_zeros(len(known), 1)], 1).max(1)  # ties go to boxes, not to none
        slots.append(best.where(value > 0, boxes))
        row = torch.full((boxes,), -1, device=known.device)
        found = slots[-1] < boxes
        rows.append(row.scatter_reduce(0, best[found], order[found], "amax"))
    return torch.stack(slots, 1), torch.cat(rows)


def window_association_loss(
    logits: Tensor, counts: Sequence[int], slots: Tensor, identity_of_box: Tensor, *, negatives: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the sum of the cross-entropies of the association in all frames, and the number of associations.

    The loss is their quotient (Zhou et al., 2022, eq. 3). Each box of an identity is to be associated with the box of
    this identity in every frame, or with "none"; boxes without identity with "none" everywhere.

    Args:
        logits: Association logits of all boxes, ``(N, N)``.
        counts: Number of boxes of each frame.
        slots: Box of each identity in each frame, ``(K, T)``; see :func:`window_association_targets`.
        identity_of_box: Row of the identity of each box, ``(N,)``; -1 for none.
        negatives: Whether boxes without identity take part (published for MOT, not for TAO).

    >>> slots, rows = torch.tensor([[0, 0]]), torch.tensor([0, 0])
    >>> total, number = window_association_loss(torch.zeros(2, 2), [1, 1], slots, rows)
    >>> round((total / number).item(), 3), number.item()  # -log(1/2)
    (0.693, 4)
    """
    total, number = _with_none(logits).sum() * 0, torch.zeros((), dtype=torch.int64, device=logits.device)
    for time, part in enumerate(torch.split(logits, list(counts), 1)):
        wanted = torch.full((len(logits),), counts[time], device=logits.device)
        if len(slots):
            wanted = slots[identity_of_box.clamp(min=0), time].where(identity_of_box >= 0, wanted)
        number = number + (wanted < counts[time]).sum()
        used = slice(None) if negatives else identity_of_box >= 0
        total = total + F.cross_entropy(_with_none(part)[used], wanted[used], reduction="sum")
    return total, number


def _with_none(logits: Tensor) -> Tensor:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return torch.cat([wide, wide.new_zeros(len(wide), 1)], 1)
