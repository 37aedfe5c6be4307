"""What MOTIP's ID decoder learns from: random words for the identities of a clip, and a history with errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class IdentityLabels:
    """Which word each identity of a clip has, in ``G`` independent groups, and what the history and the answers are.

    Attributes:
        words: ``(G, I)`` int64; -1 for an identity that got none and is left out.
        source: ``(G, T, I)`` int64, the identity whose embedding stands in the history of another.
        history_valid: ``(G, T, I)`` bool, there is an embedding in the history.
        current_valid: ``(G, T, I)`` bool, the identity is asked for.
        answers: ``(G, T, I)`` int64, the right word; that of "newborn" where nothing earlier in the history has it.
    """

    words: Tensor
    source: Tensor
    history_valid: Tensor
    current_valid: Tensor
    answers: Tensor


def draw_labels(
    present: Tensor,
    num_words: int,
    groups: int,
    generator: torch.Generator,
    occlusion: float = 0.5,
    switch: float = 0.5,
) -> IdentityLabels:
    """Draws words and errors for the identities of one clip (MOTIP, Gao et al. 2025, sections 3.3 and 3.4).

    In every group each identity gets a random word. With probability ``occlusion`` it is hidden for a random interval,
    from the history and from the answers. In every frame each identity joins a swap with probability ``switch``; those
    that join exchange embeddings at random, in the history only: the words stay where they are.

    Args:
        present: ``(I, T)`` bool, the identity was detected in the frame.
        num_words: words without "newborn", which has this number.
        groups: ``G``.
        generator: on the CPU; a fixed number of random numbers is drawn, whatever they lead to.
        occlusion: probability per identity and group.
        switch: probability per identity, frame and group.

    >>> labels = draw_labels(torch.ones(2, 3).bool(), 50, 1, torch.Generator().manual_seed(0), occlusion=0, switch=0)
    >>> labels.words
    tensor([[12, 35]])
    >>> labels.answers
    tensor([[[50, 50],
             [12, 35],
             [12, 35]]])
    """
    identities, frames = present.shape
    present = present.cpu()

    def uniform(*shape: int) -> Tensor:
        return torch.rand(groups, *shape, generator=generator)

    # Words: the first of a random order of words for the first of a random order of identities.
    named = min(identities, num_words)
    chosen, order = uniform(num_words).argsort(-1)[:, :named], uniform(identities).argsort(-1)[:, :named]
    words = torch.full((groups, identities), -1).scatter(1, order, chosen)

    hidden, begin = uniform(identities) < occlusion, (uniform(identities) * frames).long()
    length = ((frames - 1 - begin) * uniform(identities)).ceil().long()
    time = torch.arange(frames)[None, :, None]
    begin, length, hidden = begin[:, None], length[:, None], hidden[:, None]
    occluded = hidden & (begin <= time) & (time < begin + length)
    current_valid = present.t() & (words >= 0)[:, None] & ~occluded

    joins = (uniform(frames, identities) < switch) & (words >= 0)[:, None]
    # The members in their order, and in a random one; who stays out keeps the place in both.
    index = torch.arange(identities)
    members = (~joins * 2 * identities + index).argsort(-1)
    shuffled = torch.where(joins, uniform(frames, identities), index + 1.0).argsort(-1)
    source = index.expand(groups, frames, -1).scatter(2, members, shuffled)
    history_valid = current_valid.gather(2, source)

    earlier = history_valid.cumsum(1) - history_valid.long()
    answers = torch.where(earlier > 0, words[:, None], num_words).where(current_valid, num_words)
    return IdentityLabels(words, source, history_valid, current_valid, answers)


def stack_labels(labels: Sequence[IdentityLabels], size: int) -> IdentityLabels:
    """The labels of several clips, each padded to ``size`` identities that are not valid: ``(B, G, ...)``."""
    padding = {"words": -1, "answers": 0, "source": 0, "history_valid": False, "current_valid": False}

    def stack(name: str) -> Tensor:
        values = [getattr(one, name) for one in labels]
        return torch.stack([F.pad(value, (0, size - value.shape[-1]), value=padding[name]) for value in values])

    return IdentityLabels(**{field.name: stack(field.name) for field in fields(IdentityLabels)})
