"""Identities of a stream: invariants, and recycling of words."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core.nn import IdentityMemory, assign_words


def sure_of(words, vocabulary=4):
    """Logits of detections that are certain of these words; the vocabulary's size is "newborn"."""
    return torch.eye(vocabulary + 1)[torch.tensor(words, dtype=torch.int64)] * 20


def step(memory, words, scores=None):
    """Add a frame of detections that each claim a word; their embedding is the frame number and their row."""
    scores = torch.full((len(words),), 0.9) if scores is None else torch.tensor(scores)
    rows = torch.arange(len(words), dtype=torch.float32)[:, None]
    logits = sure_of(words, memory.num_words) if memory.words else None
    return memory.update(rows, scores, logits).tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.4, 0.9])), max_size=8), max_size=12),
    st.integers(1, 4),
)
def test_invariants(frames, window):
    memory = IdentityMemory(num_words=5, window=window)
    seen = -1
    for frame in frames:
        ids = step(memory, [word for word, _ in frame], [score for _, score in frame])
        given_ids = [identity for identity in ids if identity >= 0]
        assert len(set(given_ids)) == len(given_ids)
        assert sorted(memory.queue) == list(range(5))
        assert len(set(memory.words)) == len(memory.words) <= 5
        # New identities are numbered consecutively, in the order of the detections.
        assert [identity for identity in given_ids if identity > seen] == list(
            range(seen + 1, max([seen, *given_ids]) + 1)
        )
        seen = max([seen, *given_ids])
        tokens = memory.tokens()
        assert (tokens is None) == (not memory.words)
        if tokens is not None:
            assert tokens.valid.shape[1] <= window
            assert tokens.valid.any(1).all()  # every track was seen within the window
            assert tokens.times[0, :, 0].tolist() == list(range(tokens.valid.shape[1]))
            assert not tokens.embeddings[~tokens.valid].any()


def test_track_is_removed_after_window():
    memory = IdentityMemory(num_words=4, window=3)
    assert step(memory, [0, 0]) == [0, 1]
    for _ in range(2):
        assert step(memory, [0]) == [0]
    assert memory.words == [0, 1]
    assert step(memory, [0]) == [0]
    assert memory.words == [0]
    assert step(memory, [0, 1]) == [0, 2]  # the word is recycled for another identity


def test_history_contents():
    memory = IdentityMemory(num_words=4, window=3)
    step(memory, [0, 0])
    step(memory, [1])
    tokens = memory.tokens()
    assert tokens.embeddings[0, :, :, 0].tolist() == [[0, 1], [0, 0]]
    assert tokens.valid[0].tolist() == [[True, True], [False, True]]
    assert tokens.words[0].tolist() == [[0, 1], [0, 1]]


def test_least_recently_used_word_is_recycled():
    memory = IdentityMemory(num_words=3, window=9)
    assert step(memory, [0, 0, 0]) == [0, 1, 2]
    assert step(memory, [1, 2]) == [1, 2]
    assert step(memory, [1, 3]) == [1, 3]  # word 0 is the least recently used
    assert memory.identities == {0: 3, 1: 1, 2: 2}
    assert memory.words == [1, 2, 0]
    assert memory.tokens().valid[0].tolist() == [[True, True, False], [True, True, False], [True, False, True]]


def test_more_detections_than_words():
    memory = IdentityMemory(num_words=3)
    assert step(memory, [0] * 5) == [0, 1, 2, -1, -1]
    assert step(memory, [1, 3, 3, 3]) == [1, 3, 4, -1]


def test_weak_detections_continue_but_start_no_tracks():
    memory = IdentityMemory(num_words=4)
    assert step(memory, [0, 0], [0.9, 0.6]) == [0, -1]
    assert step(memory, [0, 4], [0.31, 0.31]) == [0, -1]
    assert memory.tokens().valid.shape == (1, 2, 1)


def test_empty_frames_and_reset():
    memory = IdentityMemory(num_words=4, window=2)
    assert step(memory, []) == []
    assert memory.tokens() is None
    assert step(memory, [0]) == [0]
    assert step(memory, []) == []
    assert step(memory, []) == []
    assert memory.tokens() is None
    assert step(memory, [0]) == [1]
    memory.reset()
    assert step(memory, [0]) == [0]


def test_equal_claims_and_thresholds():
    even = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.3, 0.35, 0.35]])
    assert assign_words(even, live=[0, 1], threshold=0.2) == [0, -1, 1]
    assert assign_words(even, live=[0, 1], threshold=0.4) == [0, -1, -1]
    assert assign_words(even, live=[1], threshold=0.2) == [-1, -1, 1]
    assert assign_words(torch.zeros(0, 3), live=[1], threshold=0.2) == []


def test_empty_window_is_rejected():
    with pytest.raises(ValueError, match="window must be at least 1 frame, got 0"):
        IdentityMemory(window=0)
