"""A window of past embeddings by identity, for trackers that keep none."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor


class TrackHistory:
    """The last frames of a video: identities, embeddings, and whether each object was seen.

    The window grows from one frame to ``window`` frames and then drops the oldest. A track born later has missing
    frames before its birth.

    Args:
        window: Maximum number of frames.

    >>> history = TrackHistory(window=2)
    >>> for ids in ([4], [4, 7], [7]):
    ...     history.append(torch.tensor(ids), torch.ones(len(ids), 3))
    >>> embeddings, missing = history.tokens(torch.tensor([7, 4]))
    >>> missing
    tensor([[False, False],
            [False,  True]])
    """

    def __init__(self, window: int = 30) -> None:
        if window < 1:
            raise ValueError(f"window: expected at least 1 frame, got {window}")
        self._frames: deque[tuple[Tensor, Tensor]] = deque(maxlen=window)

    def __len__(self) -> int:
        return len(self._frames)

    def append(self, ids: Tensor, embeddings: Tensor, present: Tensor | None = None) -> None:
        """Add a frame.

        Args:
            ids: Identities of shape ``(n,)``, int64.
            embeddings: Their embeddings of shape ``(n, C)``.
            present: Boolean mask of shape ``(n,)``, False for objects that were not seen. None: all were seen.
        """
        self._frames.append((ids, embeddings) if present is None else (ids[present], embeddings[present]))

    def tokens(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings ``(n, T, C)`` and missing frames ``(n, T)`` of identities ``(n,)``."""
        rows, missing = [], []
        for known, embeddings in self._frames:
            if not len(known):  # zeros that stay in the graph
                rows.append(embeddings.sum(0).expand(len(ids), -1))
                missing.append(torch.ones_like(ids, dtype=torch.bool))
                continue
            same = ids[:, None] == known[None, :]
            seen = same.any(1)
            rows.append(embeddings[same.to(torch.uint8).argmax(1)].where(seen[:, None], 0))
            missing.append(~seen)
        return torch.stack(rows, 1), torch.stack(missing, 1)

    def keep(self, ids: Tensor) -> None:
        """Remove all identities that are not in ``ids``, so that an identity that returns starts without a past."""
        for index, (known, embeddings) in enumerate(self._frames):
            kept = torch.isin(known, ids)
            self._frames[index] = known[kept], embeddings[kept]

    def reset(self) -> None:
        """Remove all frames, before another video."""
        self._frames.clear()
