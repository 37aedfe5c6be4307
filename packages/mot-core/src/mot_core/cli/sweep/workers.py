"""Distribution of the trials of a sweep to several processes that share a study."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

INTERRUPTED = "interrupted"
RETRY = "retry_of"
WORKER = "worker"
ALIVE = "alive"
HEARTBEAT = 20.0  # seconds between two signs of life
DEAD_AFTER = 120.0  # seconds without a sign of life, measured by the clock of the process that waits for it


def open_storage(name: str) -> Any:
    """Return the storage for a URL of a database or the name of a journal file, which several processes can share."""
    if "://" in name:
        return name
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    Path(name).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(name))


def finished(study: optuna.Study) -> list[Any]:
    """Return the trials that are complete, pruned or failed, without interrupted ones."""
    return [trial for trial in study.trials if trial.state.is_finished() and INTERRUPTED not in trial.user_attrs]


def point_of(trial: Any, trials: Sequence[Any]) -> int:
    """Return the number of the point of a trial: every trial has its own, and a retry has that of the interrupted one.

    >>> from types import SimpleNamespace
    >>> trials = [SimpleNamespace(number=number, user_attrs={}) for number in range(4)]
    >>> trials[2].user_attrs["retry_of"] = 0
    >>> [point_of(trial, trials) for trial in trials]
    [0, 1, 0, 2]
    """
    while RETRY in trial.user_attrs:
        trial = trials[trial.user_attrs[RETRY]]
    return sum(RETRY not in other.user_attrs for other in trials[: trial.number])


class Worker:
    """A process that runs trials of a study, possibly with others on this or other machines.

    Trials are claimed one process at a time, under a lock. A trial is tried again if its process no longer exists, or
    gave no sign of life for ``DEAD_AFTER`` seconds, for example on another machine.

    Args:
        study: Study that all workers share.
        lock: Path of the lock file, without suffix, on a file system that all workers share.
        total: Number of trials of all workers together.
    """

    def __init__(self, study: optuna.Study, lock: str, total: int) -> None:
        from optuna.storages.journal import JournalFileOpenLock

        self.study = study
        self.total = total
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._lock = JournalFileOpenLock(lock)
        self._seen: dict[int, tuple[Any, float]] = {}  # last sign of life of each trial, and when it was first seen

    def claim(self, sampler: Any, points: Sequence[dict[str, Any]]) -> Any:
        """Return a trial to run, or None if all trials are finished or run by other workers.

        Args:
            sampler: Function from the number of a point to the Optuna sampler that draws it.
            points: Fixed parameters of every point of a grid; empty for other methods.
        """
        with self._locked():
            self._restart_dead_trials()
            trials = self.study.get_trials(deepcopy=False)
            waiting = [trial for trial in trials if trial.state.name == "WAITING"]
            fresh = sum(RETRY not in trial.user_attrs for trial in trials)
            if not waiting and fresh >= self.total:
                return None
            if not waiting and points:
                self.study.enqueue_trial(points[fresh])
            self.study.sampler = sampler(point_of(waiting[0], trials) if waiting else fresh)
            trial = self.study.ask()
            trial.set_user_attr(WORKER, self.name)
            return trial

    @contextmanager
    def heartbeat(self, trial: Any) -> Iterator[None]:
        """Give signs of life of a trial during the block."""
        from optuna.exceptions import UpdateFinishedTrialError

        over = threading.Event()

        def beat() -> None:
            count = 0
            while not over.wait(HEARTBEAT):
                count += 1
                try:
                    trial.set_user_attr(ALIVE, count)
                except UpdateFinishedTrialError:  # this process was suspended, and another one has taken over
                    return

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def others(self) -> bool:
        """Return whether other workers are running trials."""
        with self._locked():
            self._restart_dead_trials()
            return any(trial.state.name == "RUNNING" for trial in self.study.get_trials(deepcopy=False))

    def _restart_dead_trials(self) -> None:
        """Mark the trials of dead workers as interrupted, and add a retry of every interrupted trial without one."""
        from optuna.trial import TrialState

        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._is_dead(trial):
                # In this order: a worker that is killed in between leaves a trial that is still running and dead.
                self.study._storage.set_trial_user_attr(trial._trial_id, INTERRUPTED, True)
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        trials = self.study.get_trials(deepcopy=False)
        retried = {trial.user_attrs.get(RETRY) for trial in trials}
        for trial in trials:
            if trial.state == TrialState.FAIL and INTERRUPTED in trial.user_attrs and trial.number not in retried:
                self.study.enqueue_trial(trial.params, user_attrs={RETRY: trial.number})

    def _is_dead(self, trial: Any) -> bool:
        worker = trial.user_attrs.get(WORKER)
        if worker is None:  # killed while it claimed the trial, because this process holds the lock now
            return True
        if worker == self.name:  # a worker runs one trial at a time, so that this one has been abandoned
            return True
        host, _, process = worker.rpartition(":")
        if host == socket.gethostname() and os.name == "posix" and not _exists(int(process)):
            return True
        sign = trial.user_attrs.get(ALIVE)
        now = time.monotonic()
        last, since = self._seen.get(trial.number, (None, now))
        self._seen[trial.number] = (sign, since if sign == last else now)
        return now - self._seen[trial.number][1] > DEAD_AFTER

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()


def _exists(process: int) -> bool:
    """Return whether a process of this machine exists.

    >>> _exists(os.getpid())
    True
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
