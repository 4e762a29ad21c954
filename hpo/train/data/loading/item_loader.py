"""Item loader: one PyTorch loader, whose processes read the batches of all splits."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any, Final

import torch
from torch.utils.data import DataLoader

from hpo.errors import TaskError
from hpo.train.data.batch import Batch
from hpo.train.data.loading.item_source import BatchKey, ItemSource, UnusableBatch

_MOST_RESTARTS: Final = 2
_LOOK_S: Final = 1.0
_DIED: Final = ("exited unexpectedly", "is killed by signal")
# A process may die while its tensors are fetched; what a data set raises comes as a batch.
_TORN: Final = (EOFError, ConnectionError, FileNotFoundError)

logger = logging.getLogger(__name__)


class ItemLoader:
    """Reads batches ahead, in processes that live as long as it does.

    It keeps no item: its memory is that of the batches that are read ahead.

    Args:
        source: Reads the items.
        workers: Processes, as many as the machine has cores at most; 0 to read in this one.
        prefetch: Batches that each process reads ahead.
    """

    def __init__(self, source: ItemSource, workers: int, prefetch: int = 2) -> None:
        self._source = source
        self._workers = min(workers, n_cores())
        self._prefetch = prefetch
        self._keys: list[BatchKey] = []
        self._loader: DataLoader[Any] | None = None
        self._pins = False
        self._pass = 0

    @property
    def seed(self) -> int:
        """The study's seed, from which random augmentations follow."""
        return self._source.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self.close()
        self._source = replace(self._source, seed=seed)

    def batches(self, keys: Sequence[BatchKey], device: torch.device) -> Iterator[Batch]:
        """Returns batches in the order of their keys, on a device.

        Only the latest pass over the data counts: an earlier one that is not finished ends.

        Args:
            keys: Which items each batch has.
            device: Where the batches are wanted.

        Raises:
            TaskError: An item cannot be read, or the processes die again and again.
        """
        self._pass += 1
        own, n_done, n_restarts = self._pass, 0, 0
        self._pin(device.type == "cuda")
        while n_done < len(keys):
            found = self._iterate(keys[n_done:])
            try:
                for batch in found:
                    yield batch.to(device)
                    n_done += 1
                    if self._pass != own:
                        raise RuntimeError("another pass over the data has begun")
            except _LoadingProcessDiedError as error:
                self.close()
                n_restarts += 1
                if n_restarts > _MOST_RESTARTS:
                    raise _of_death(error) from (MemoryError() if error.is_killed else None)
                logger.warning("%s; the loading processes are started again", error)

    def close(self) -> None:
        """Ends the processes; the next batches start new ones."""
        # PyTorch ends them when the loader's iterator is deleted.
        self._loader = None

    def _pin(self, pins: bool) -> None:
        if pins != self._pins:
            self.close()
            self._pins = pins

    def _iterate(self, keys: Sequence[BatchKey]) -> Iterator[Batch]:
        """Returns batches; raises ``_LoadingProcessDiedError`` when a process ends."""
        if self._loader is None:
            self._loader = self._new()
        self._keys[:] = keys
        iterator: Any = None
        try:
            with _KeptSignalHandler():
                iterator = iter(self._loader)
            while True:
                try:
                    batch = next(iterator)
                except StopIteration:
                    return
                if isinstance(batch, UnusableBatch):
                    raise batch.error()
                yield batch
        except (RuntimeError, *_TORN) as error:
            if isinstance(error, RuntimeError) and not any(text in str(error) for text in _DIED):
                raise
            raise _LoadingProcessDiedError(error, iterator) from error

    def _new(self) -> DataLoader[Any]:
        at_work: dict[str, Any] = {}
        if self._workers:
            at_work = {
                "worker_init_fn": _Beginning(os.getpid()),
                "persistent_workers": True,
                "prefetch_factor": self._prefetch,
            }
        return DataLoader(
            self._source,
            batch_size=None,
            sampler=self._keys,
            collate_fn=_as_it_is,
            num_workers=self._workers,
            pin_memory=self._pins,
            # Of its own: by default PyTorch draws from the generator that the model has.
            generator=torch.Generator(),
            **at_work,
        )


class _Beginning:
    """What a loading process does when it begins."""

    def __init__(self, parent: int) -> None:
        self._parent = parent

    def __call__(self, worker: int) -> None:
        # Ctrl-C reaches all processes of a terminal; the worker finishes its epoch first.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """Ends this process when its parent is gone.

        PyTorch looks only between batches, and not at all while a batch waits to be fetched.
        """
        while os.getppid() == self._parent:
            time.sleep(_LOOK_S)
        os._exit(1)


class _LoadingProcessDiedError(Exception):
    """A loading process has ended without being told to."""

    def __init__(self, error: Exception, iterator: Any) -> None:
        processes = getattr(iterator, "_workers", ())
        wait([one.sentinel for one in processes], timeout=_LOOK_S)
        codes = [one.exitcode for one in processes if one.exitcode]
        self.is_killed = -signal.SIGKILL in codes
        self.reason = str(error)
        how = f"killed by signal {-codes[0]}" if codes and codes[0] < 0 else "gone"
        if codes and codes[0] > 0:
            how = f"gone with exit code {codes[0]}"
        super().__init__(f"a process that loads data is {how}")


def _of_death(error: _LoadingProcessDiedError) -> TaskError:
    if error.is_killed:
        return TaskError(
            f"{error} again and again, as the system does when the machine is out of memory",
            hint="use fewer workers or smaller items: hpo.Data.datasets(..., workers=1)",
        )
    return TaskError(
        f"{error} again and again",
        hint="look for its own message in the worker's log; workers=0 loads without processes",
        details=[error.reason],
    )


def n_cores() -> int:
    """Returns how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class _KeptSignalHandler:
    """Keeps what happens when a child ends.

    PyTorch's own handler raises in whatever code runs at that moment, such as the user's model.
    Its loader notices a process that has ended also without it.
    """

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGCHLD)

    def __exit__(self, *_: object) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and self._before is not None:
            signal.signal(signal.SIGCHLD, self._before)


def _as_it_is(batch: Any) -> Any:
    return batch
