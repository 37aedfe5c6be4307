"""MOTIP's memory of one stream: the history of its tracks and the mapping from words to identities."""

from __future__ import annotations

import torch
from torch import Tensor

from mot_core.nn.queries.id_decoder import TrackTokens

NEWBORN = -1


class IdentityMemory:
    """Assign identities to detections, frame by frame, from the words predicted by an ID decoder.

    The vocabulary is smaller than the number of identities, so words are recycled: a new track takes the least recently
    used word, and an old track that still holds it is removed. The history stores the unmodified embeddings of the
    detector.

    Args:
        num_words: Number of identities in the vocabulary of the decoder.
        window: Number of frames of history. Tracks not seen for this long are removed. Higher values bridge longer
            occlusions. MOTIP's "miss tolerance" is one more.
        newborn_threshold: Score that a detection must exceed to start a track.
        id_threshold: Minimum probability of the best word; less certain detections are new. Higher values start more
            tracks.

    >>> memory = IdentityMemory(num_words=4)
    >>> memory.update(torch.zeros(2, 8), torch.tensor([0.9, 0.5]), None)  # the second is too weak for a new track
    tensor([ 0, -1])
    >>> memory.update(torch.zeros(1, 8), torch.tensor([0.4]), torch.tensor([[5.0, 0, 0, 0, 0]]))
    tensor([0])
    """

    def __init__(
        self,
        num_words: int = 50,
        window: int = 29,
        newborn_threshold: float = 0.6,
        id_threshold: float = 0.2,
    ) -> None:
        if window < 1:
            raise ValueError(f"window must be at least 1 frame, got {window}")
        self.num_words, self.window = num_words, window
        self.newborn_threshold, self.id_threshold = newborn_threshold, id_threshold
        self.reset()

    def reset(self) -> None:
        """Remove all tracks; identities start from 0 again."""
        self.words: list[int] = []
        """Word of every track in the history."""
        self.identities: dict[int, int] = {}
        """Identity behind every word of ``words``."""
        self.queue = list(range(self.num_words))
        """All words, least recently used first."""
        self.next_identity = 0
        self._embeddings: Tensor | None = None  # (T, M, C)
        self._valid = torch.zeros(0, 0, dtype=torch.bool)

    def tokens(self) -> TrackTokens | None:
        """Return the history as input of the decoder, ``(1, T, M)`` with times 0 to T-1; None without tracks.

        Detections of the current frame have time ``T``.
        """
        if self._embeddings is None or not self.words:
            return None
        device = self._embeddings.device
        shape = (1, *self._valid.shape)
        times = torch.arange(shape[1], device=device)[None, :, None].expand(shape)
        words = torch.tensor(self.words, device=device).expand(shape)
        return TrackTokens(self._embeddings[None], self._valid[None], times, words)

    def update(self, embeddings: Tensor, scores: Tensor, logits: Tensor | None) -> Tensor:
        """Assign identities to the detections of a frame and add them to the history.

        Args:
            embeddings: Detector embeddings of shape ``(N, C)``.
            scores: Confidences of shape ``(N,)``.
            logits: Logits of the ID decoder for these detections, ``(N, num_words + 1)``; None without history.

        Returns:
            Identities ``(N,)`` int64; -1 for new detections that are too weak to start a track.
        """
        found = [NEWBORN] * len(scores)
        if logits is not None and self.words:
            found = assign_words(logits.softmax(-1), self.words, self.id_threshold)
        used = {word for word in found if word != NEWBORN}
        free = [word for word in self.queue if word not in used]
        born: dict[int, int] = {}
        # Compared as tensors: 0.6 in float32 does not exceed the threshold 0.6.
        for row, strong in enumerate((scores > self.newborn_threshold).tolist()):
            if found[row] == NEWBORN and strong and len(born) < len(free):
                found[row] = free[len(born)]
                born[found[row]] = row
        for word in born:
            self._forget(word)
            self.identities[word] = self.next_identity
            self.next_identity += 1
        self.words += sorted(born)
        kept = [row for row, word in enumerate(found) if word != NEWBORN]
        used_now = [found[row] for row in kept]
        self.queue = [word for word in self.queue if word not in used_now] + used_now
        identities = [self.identities[word] if word != NEWBORN else NEWBORN for word in found]
        self._remember(embeddings[kept], used_now)
        return torch.tensor(identities, dtype=torch.int64, device=scores.device)

    def _forget(self, word: int) -> None:
        """Remove the track of a word, if there is one."""
        if word in self.words:
            self._keep([column for column, other in enumerate(self.words) if other != word])

    def _keep(self, columns: list[int]) -> None:
        self.words = [self.words[column] for column in columns]
        self._valid = self._valid[:, columns]
        if self._embeddings is not None:
            self._embeddings = self._embeddings[:, columns]

    def _remember(self, embeddings: Tensor, words: list[int]) -> None:
        """Append a frame, and drop frames older than the window and tracks left without an embedding."""
        if self._embeddings is None:
            self._embeddings = embeddings.new_zeros(0, 0, embeddings.shape[1])
            self._valid = torch.zeros(0, 0, dtype=torch.bool, device=embeddings.device)
        rows, known = self._valid.shape
        padded = self._embeddings.new_zeros(rows + 1, len(self.words), embeddings.shape[1])
        valid = self._valid.new_zeros(rows + 1, len(self.words))
        padded[:rows, :known], valid[:rows, :known] = self._embeddings, self._valid
        columns = [self.words.index(word) for word in words]
        padded[rows, columns], valid[rows, columns] = embeddings, True
        self._embeddings, self._valid = padded[-self.window :], valid[-self.window :]
        alive = self._valid.any(0).nonzero().squeeze(1).tolist()
        if len(alive) < len(self.words):
            self._keep(alive)
        if not self.words:
            self._embeddings = None


def assign_words(probabilities: Tensor, live: list[int], threshold: float) -> list[int]:
    """Return the word of every detection: its most probable one, unless another detection has it ("object-max").

    A detection is new (-1) if its most probable word belongs to no live track, is less probable than ``threshold``, or
    is more probable (or equally probable and earlier in the list) for another detection that claims it.

    Args:
        probabilities: Word probabilities of shape ``(N, num_words + 1)``.
        live: Words of the tracks in the history.
        threshold: Minimum probability.

    >>> assign_words(torch.tensor([[0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]), live=[0], threshold=0.2)
    [-1, 0, -1]
    """
    best, wanted = probabilities.max(-1)
    owner: dict[int, int] = {}
    likely = (best >= threshold).tolist()
    for row, (word, probability) in enumerate(zip(wanted.tolist(), best.tolist(), strict=True)):
        if word in live and likely[row] and (word not in owner or probability > best[owner[word]].item()):
            owner[word] = row
    rows = {row: word for word, row in owner.items()}
    return [rows.get(row, NEWBORN) for row in range(len(probabilities))]
