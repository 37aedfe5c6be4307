"""Identity labels of MOTIP compared with loops over groups, frames and identities."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core.trackers.motip.identity_labels import draw_labels, stack_labels


def by_loops(present, num_words, groups, generator, occlusion, switch):
    """Reference implementation, one identity at a time, with the same random numbers."""
    identities, frames = present.shape

    def uniform(*shape):
        return torch.rand(groups, *shape, generator=generator).tolist()

    word_keys, order_keys = uniform(num_words), uniform(identities)
    hide, begin, length = uniform(identities), uniform(identities), uniform(identities)
    join, keys = uniform(frames, identities), uniform(frames, identities)
    found = []
    for g in range(groups):
        words = [-1] * identities
        free = sorted(range(num_words), key=lambda word, g=g: word_keys[g][word])
        for word, one in zip(free, sorted(range(identities), key=lambda one, g=g: order_keys[g][one])):  # noqa: B905
            words[one] = word
        seen = [[bool(present[one, t]) and words[one] >= 0 for one in range(identities)] for t in range(frames)]
        for one in range(identities):
            if hide[g][one] < occlusion:
                first = math.floor(begin[g][one] * frames)
                for t in range(first, first + math.ceil((frames - 1 - first) * length[g][one])):
                    seen[t][one] = False
        source, history, answers = [], [], []
        for t in range(frames):
            members = [one for one in range(identities) if join[g][t][one] < switch and words[one] >= 0]
            row = list(range(identities))
            for member, one in zip(members, sorted(members, key=lambda one, g=g, t=t: keys[g][t][one]), strict=True):
                row[member] = one
            answers.append(
                [
                    words[one] if seen[t][one] and any(earlier[one] for earlier in history) else num_words
                    for one in range(identities)
                ]
            )
            history.append([seen[t][one] for one in row])
            source.append(row)
        found.append((words, source, history, seen, answers))
    return [list(values) for values in zip(*found, strict=True)]


@settings(max_examples=60)
@given(
    st.integers(0, 7), st.integers(1, 8), st.integers(1, 9), st.integers(1, 3), st.sampled_from([0, 0.5, 1]),
    st.sampled_from([0, 0.5, 1]), st.integers(0, 99),
)  # fmt: skip
def test_labels_match_loops(identities, frames, num_words, groups, occlusion, switch, seed):
    present = torch.rand(identities, frames, generator=torch.Generator().manual_seed(seed)) < 0.7
    labels = draw_labels(present, num_words, groups, torch.Generator().manual_seed(seed), occlusion, switch)
    wanted = by_loops(present, num_words, groups, torch.Generator().manual_seed(seed), occlusion, switch)
    for name, values in zip(["words", "source", "history_valid", "current_valid", "answers"], wanted, strict=True):
        assert getattr(labels, name).tolist() == values, name


@settings(max_examples=60)
@given(st.integers(0, 12), st.integers(1, 8), st.integers(1, 9), st.integers(0, 99))
def test_invariants(identities, frames, num_words, seed):
    present = torch.rand(identities, frames, generator=torch.Generator().manual_seed(seed)) < 0.7
    labels = draw_labels(present, num_words, 4, torch.Generator().manual_seed(seed))
    for words in labels.words.tolist():
        given_words = [word for word in words if word >= 0]
        assert len(given_words) == len(set(given_words)) == min(identities, num_words)
        assert all(word < num_words for word in given_words)
    assert torch.equal(labels.source.sort(-1).values, torch.arange(identities).expand_as(labels.source)), "a swap"
    assert not (labels.current_valid & ~present.t()).any()
    assert torch.equal(labels.history_valid.sum(-1), labels.current_valid.sum(-1)), "a swap keeps all members"
    assert not labels.current_valid[(labels.words < 0)[:, None].expand_as(labels.source)].any()
    assert (labels.answers[:, 0] == num_words).all(), "no identity is known in the first frame"


def test_occlusion_and_swap_frequencies():
    """Probabilities of one half, and the mean length of occlusions."""
    frames, identities, groups = 21, 30, 200
    present = torch.ones(identities, frames, dtype=torch.bool)
    labels = draw_labels(present, 50, groups, torch.Generator().manual_seed(0), switch=0)
    hidden = ~labels.current_valid
    # ceil((20 - begin) u) is 0 only for begin = 20, so 20 of 21 occlusions hide at least one frame.
    assert hidden.any(1).float().mean().item() == pytest.approx(0.5 * 20 / 21, abs=0.02)
    edges = hidden.int().diff(dim=1).ne(0).sum(1)
    assert edges.max() <= 2, "one interval"
    lengths = [math.ceil((20 - begin) * u / 1000) for begin in range(21) for u in range(1000)]
    assert hidden.float().sum(1).mean().item() == pytest.approx(0.5 * sum(lengths) / len(lengths), rel=0.05)
    labels = draw_labels(present, 50, groups, torch.Generator().manual_seed(0), occlusion=0)
    moved = (labels.source != torch.arange(identities)).float().mean().item()
    assert moved == pytest.approx(0.5 - 1 / identities, abs=0.01), "on average, one member keeps its position"
    assert torch.equal(labels.words[:, None].expand_as(labels.answers)[:, 1:], labels.answers[:, 1:])


def test_groups_differ_and_draws_are_reproducible():
    present = torch.ones(10, 8, dtype=torch.bool)
    first, again = (draw_labels(present, 50, 3, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first.answers, again.answers)
    assert not torch.equal(first.words[0], first.words[1])
    assert not torch.equal(first.source[0], first.source[1])


def test_padding_with_invalid_identities():
    labels = [draw_labels(torch.ones(n, 4).bool(), 9, 2, torch.Generator().manual_seed(n)) for n in (0, 3, 1)]
    both = stack_labels(labels, 3)
    assert both.source.shape == (3, 2, 4, 3)
    assert both.words[2, :, 1:].tolist() == [[-1, -1]] * 2
    assert both.current_valid.sum((1, 2, 3)).tolist() == [one.current_valid.sum() for one in labels]
    assert torch.equal(both.answers[1], labels[1].answers)
