"""Training labels of MOTIP's ID decoder: random words for the identities of a clip, and augmented histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class IdentityLabels:
    """Words, history and answers for the ``I`` identities of a clip, in ``G`` independent groups.

    Attributes:
        words: ``(G, I)`` int64 word of each identity; -1 for an identity without a word, which is excluded.
        source: ``(G, T, I)`` int64 identity whose embedding is used in the history.
        history_valid: ``(G, T, I)`` bool, True where the history has an embedding.
        current_valid: ``(G, T, I)`` bool, True where the word of the identity is predicted.
        answers: ``(G, T, I)`` int64 correct word; "newborn" if the identity has no earlier history.
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
    """Draw words and history augmentation for the identities of one clip.

    MOTIP (Gao et al. 2025), Sections 3.3 and 3.4.

    In every group, each identity gets a random word. With probability ``occlusion`` it is hidden for a random interval,
    both from the history and from the answers. In every frame, each identity joins a swap with probability ``switch``;
    the members of a swap permute their embeddings at random in the history, but keep their words.

    Args:
        present: ``(I, T)`` bool, True where the identity was detected.
        num_words: Number of words without "newborn", which has this index.
        groups: Number of groups ``G``.
        generator: Random generator on the CPU. The number of draws does not depend on their values.
        occlusion: Probability of an occlusion, per identity and group.
        switch: Probability of joining a swap, per identity, frame and group.

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

    # Words: pair the first words of a random permutation with the first identities of another.
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
    # Members of a swap in their order and in a random order; the others keep their position in both.
    index = torch.arange(identities)
    members = (~joins * 2 * identities + index).argsort(-1)
    shuffled = torch.where(joins, uniform(frames, identities), index + 1.0).argsort(-1)
    source = index.expand(groups, frames, -1).scatter(2, members, shuffled)
    history_valid = current_valid.gather(2, source)

    earlier = history_valid.cumsum(1) - history_valid.long()
    answers = torch.where(earlier > 0, words[:, None], num_words).where(current_valid, num_words)
    return IdentityLabels(words, source, history_valid, current_valid, answers)


def stack_labels(labels: Sequence[IdentityLabels], size: int) -> IdentityLabels:
    """Stack the labels of several clips to ``(B, G, ...)``, padded with invalid identities to ``size``."""
    padding = {"words": -1, "answers": 0, "source": 0, "history_valid": False, "current_valid": False}

    def stack(name: str) -> Tensor:
        values = [getattr(one, name) for one in labels]
        return torch.stack([F.pad(value, (0, size - value.shape[-1]), value=padding[name]) for value in values])

    return IdentityLabels(**{field.name: stack(field.name) for field in fields(IdentityLabels)})
