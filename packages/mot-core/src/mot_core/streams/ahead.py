"""Reading of frames in a thread ahead of the program that uses them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")
AHEAD = 4
"""Frames that wait in memory at most."""


class _End:
    """End of the items, with the error that ended them, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class ReadAhead(Generic[T]):
    """Iterate over items that a thread prepares, at most ``AHEAD`` of them in advance. Iterate once.

    Args:
        items: Items, produced in the thread. Its error is raised after the items before it.
        drop_oldest: Drop the oldest waiting item instead of waiting if the user is too slow: for live cameras.

    Attributes:
        dropped: Number of dropped items.

    >>> list(ReadAhead(range(10)))
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(self, items: Iterable[T], *, drop_oldest: bool = False) -> None:
        self.dropped = 0
        self._items = items
        self._drop_oldest = drop_oldest
        self._waiting: queue.Queue[T | _End] = queue.Queue(AHEAD)
        self._stop = threading.Event()

    def __iter__(self) -> Iterator[T]:
        thread = threading.Thread(target=self._read, name="frames", daemon=True)
        thread.start()
        try:
            while not isinstance(item := self._waiting.get(), _End):
                yield item
            if item.error is not None:
                raise item.error
        finally:
            self._stop.set()
            while not self._waiting.empty():  # the thread may be waiting for space
                self._waiting.get_nowait()
            thread.join(timeout=5)  # a camera may block for longer; the thread ends with the process

    def _read(self) -> None:
        error: BaseException | None = None
        items = iter(self._items)
        try:
            for item in items:
                if not self._put(item):
                    break
        except BaseException as reason:  # raised again where the items are used
            error = reason
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        self._put(_End(error))

    def _put(self, item: T | _End) -> bool:
        """Add an item as soon as there is space; return False if the user has stopped."""
        while not self._stop.is_set():
            if self._drop_oldest and self._waiting.full():
                with suppress(queue.Empty):  # the user was faster
                    self._waiting.get_nowait()
                    self.dropped += 1
            with suppress(queue.Full):
                self._waiting.put(item, timeout=0.1)
                return True
        return False
