"""Steps of a stack recorded once and replayed: CUDA graphs.

A small stack's step is some dozens of kernels of a few microseconds each, and starting them from
Python takes longer than running them. Replaying a graph starts them all at once. What is new in a
step (``Feed``) and in an epoch (hyperparameters) is copied into the tensors that were recorded;
what decides which kernels run is compared (``StackedEpoch.fingerprint``), and recorded anew where
it has changed, as when the number of lanes has. Only imported where there is a GPU.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor
from typing_extensions import override

from hpo.train.fused.stack.stacked_epoch import Feed, StackedEpoch, Stepper
from hpo.train.user_code_guard import is_out_of_memory

logger = logging.getLogger(__name__)

Step = Callable[[], Tensor]
# Batches of a loader may be of any number of shapes, and each recording keeps memory.
_MOST_KINDS: Final = 8


class Recording(Protocol):
    """One step that can be repeated."""

    def warm_up(self, step: Step) -> Tensor:
        """Takes a step as usual, so that what it needs once is done before it is recorded."""

    def record(self, step: Step) -> Tensor:
        """Notes what a step does; whether it does it before ``replay`` does not matter.

        Returns:
            The tensor that each replay leaves its result in.

        Raises:
            RuntimeError: The step cannot be recorded; nothing has happened then.
        """

    def replay(self) -> None:
        """Does what was recorded, with what its tensors hold now."""


class CudaGraph(Recording):
    """A ``torch.cuda.CUDAGraph``.

    Args:
        device: Where the step computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graph = torch.cuda.CUDAGraph()

    @override
    def warm_up(self, step: Step) -> Tensor:
        """On the stream that records, whose libraries get their memory now."""
        with self._side_stream():
            return step()

    @override
    def record(self, step: Step) -> Tensor:
        """Nothing is computed meanwhile."""
        # Not torch.cuda.graph: it also gives all cached memory back, for each change of lanes.
        # Other threads may ask the device for something meanwhile.
        with self._side_stream():
            self._graph.capture_begin(capture_error_mode="thread_local")
            try:
                result = step()
            except BaseException:
                # That the capture has failed is known already.
                with contextlib.suppress(RuntimeError):
                    self._graph.capture_end()
                raise
            self._graph.capture_end()
        return result

    @override
    def replay(self) -> None:
        with torch.cuda.device(self._device):
            self._graph.replay()

    @contextlib.contextmanager
    def _side_stream(self) -> Iterator[None]:
        with torch.cuda.device(self._device):
            current, side = torch.cuda.current_stream(), _side_stream(self._device)
            side.wait_stream(current)
            with torch.cuda.stream(side):
                yield
            current.wait_stream(side)


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Returns one stream for all recordings: cuBLAS keeps a workspace for each that it sees."""
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream


@dataclass
class _Kind:
    """Steps of the same kernels.

    Attributes:
        feed: What they begin with; recorded ones read from here.
        recording: Of them.
        losses: What they leave behind; None before they are recorded.
    """

    feed: Feed
    recording: Recording
    losses: Tensor | None = None


class Replayer(Stepper):
    """Takes the steps of epochs, replayed where they are known.

    The first step of a kind is taken as usual, the second is recorded.

    Args:
        make: Makes recordings.

    Attributes:
        obstacle: Why steps are not recorded; empty where they are.
    """

    is_ahead = True

    def __init__(self, make: Callable[[], Recording]) -> None:
        self._make = make
        self._recorded_epoch: StackedEpoch | None = None
        self._fingerprint: Hashable = None
        self._kinds: dict[Hashable, _Kind] = {}
        self.obstacle = ""

    @override
    def losses(self, epoch: StackedEpoch) -> Tensor:
        held = self._hold(epoch)
        n_steps, n_lanes = len(epoch.bounds), epoch.n_lanes
        found = torch.empty(n_steps, n_lanes, device=epoch.weights.device)
        for i in range(n_steps):
            found[i].copy_(self._step(held, epoch.feed(i), updates=epoch.updates(i)))
            epoch.average(i)
        return found

    @override
    def clear(self) -> None:
        self._recorded_epoch, self._fingerprint = None, None
        self._kinds.clear()

    def _hold(self, epoch: StackedEpoch) -> StackedEpoch:
        """Returns the epoch whose tensors were recorded, with the values of a new one."""
        fingerprint = epoch.fingerprint()
        if self._recorded_epoch is None or fingerprint != self._fingerprint:
            # What was recorded must not take the memory that is needed now.
            self.clear()
            self._recorded_epoch, self._fingerprint = epoch, fingerprint
        elif self._recorded_epoch is not epoch:
            torch._foreach_copy_(self._recorded_epoch.values(), epoch.values())
        return self._recorded_epoch

    def _step(self, epoch: StackedEpoch, feed: Feed, *, updates: bool) -> Tensor:
        if self.obstacle:
            return epoch.take(feed, updates=updates)
        key = (feed.shapes(), updates)
        kind = self._kinds.get(key)
        if kind is None and len(self._kinds) >= _MOST_KINDS:
            return epoch.take(feed, updates=updates)
        if kind is None:
            self._kinds[key] = kind = _Kind(feed.copy(), self._make())
            return kind.recording.warm_up(lambda: epoch.take(feed, updates=updates))
        torch._foreach_copy_(kind.feed.tensors(), feed.tensors())
        if kind.losses is None and not self._record(epoch, kind, updates=updates):
            return epoch.take(feed, updates=updates)
        assert kind.losses is not None
        kind.recording.replay()
        return kind.losses

    def _record(self, epoch: StackedEpoch, kind: _Kind, *, updates: bool) -> bool:
        try:
            kind.losses = kind.recording.record(lambda: epoch.take(kind.feed, updates=updates))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self.obstacle = str(error).strip().partition("\n")[0]
            logger.warning("steps of a stack are not recorded: %s", self.obstacle)
            self._kinds.clear()
            return False
        return True
