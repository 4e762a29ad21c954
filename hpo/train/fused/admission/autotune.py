"""Autotuner: how many lanes a stack takes, measured by signature and device, kept for a while.

Others at work on the machine must not decide it for good. Sizes are timed in turns, by the time of
the processor where one thread does all the work; and what was measured on a busy machine, or long
ago, or came out as one lane, is measured again.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from hpo.spec.space.params import Params
from hpo.train.checks.signature import Signature
from hpo.train.fused.admission.batch_sharing import BatchSharing
from hpo.train.fused.admission.step_timing import StepClock, Timing
from hpo.train.fused.stack.lane_state import LaneState
from hpo.train.fused.stack.stack_template import StackTemplate

logger = logging.getLogger(__name__)

MAX_LANES: Final = 1024


@dataclass(frozen=True)
class AutotuneSettings:
    """How stacks are sized. Values without a source are choices, of which no study is recorded.

    Attributes:
        gain: More lanes, or shared batch sizes, must be so many times as fast to be worth it: more
            trials in flight learn less from one another.
            Source: tests/unit/train/fused/admission/test_autotune.py pins what follows from it.
        busy: A size is measured again if steps took so many times as long as they had to: the
            machine was busy with something else.
        old_s: A size is measured again after so long: a week.
        again_s: A size that this process has measured is doubted after so long, then after twice
            that, and so on, so that the time spent on measuring stays a small share.
        epoch_s: What an epoch of a stack takes besides its steps, however many lanes there are: to
            evaluate, to write reports, to ask what becomes of the lanes.
        n_mixed: Steps of a shared stack that are timed, of which some complete few batches and
            some many.
        memory_share: Share of the device's free memory that lanes may take; the rest is for
            evaluation and for what fragments.
    """

    gain: float = 1.1
    busy: float = 1.5
    old_s: float = 7 * 86400.0
    again_s: float = 60.0
    epoch_s: float = 0.005
    n_mixed: int = 16
    memory_share: float = 0.7


SETTINGS: Final = AutotuneSettings()


@dataclass(frozen=True)
class StackSize:
    """The number of lanes that a stack takes, as measured so far.

    Attributes:
        lanes: So many.
        slowdown: How many times longer steps took, while it was measured, than they had to; None
            where that is not known.
        age_s: Seconds since it was measured.
    """

    lanes: int
    slowdown: float | None = None
    age_s: float = 0.0

    @property
    def is_doubtful(self) -> bool:
        """Whether it must be measured again."""
        return (
            self.lanes == 1
            or (self.slowdown or math.inf) > SETTINGS.busy
            or self.age_s > SETTINGS.old_s
        )


class StackSizes:
    """Lanes a stack, by signature.

    Args:
        device: Where stacks train.
        known: What earlier measurements on such a device found, by digest of the signature.
        tell: Called with digest and size of each new measurement.
        fixed: Takes so many whatever is faster, until memory runs out.
        least: Takes at least so many.
        most: Takes at most so many.
        batch_sharing: Batch sizes that a stack may have side by side.
    """

    def __init__(
        self,
        device: torch.device,
        known: Mapping[str, StackSize] | None = None,
        tell: Callable[[str, StackSize], None] = lambda digest, size: None,
        fixed: int | None = None,
        least: int = 1,
        most: int = MAX_LANES,
        batch_sharing: BatchSharing | None = None,
    ) -> None:
        self.batch_sharing = batch_sharing or BatchSharing()
        self._device = device
        self._clock = StepClock(device)
        self._known = dict(known or {})
        self._tell = tell
        self._limits: dict[str, int] = {}
        # When each was last measured here, and how often.
        self._measured: dict[str, tuple[float, int]] = {}
        self._fixed = fixed
        self._least, self._most_wanted = least, most

    def of(
        self,
        template: StackTemplate,
        lane_state: LaneState,
        state: dict[str, Tensor],
    ) -> int:
        """Returns how many lanes a stack of a signature takes.

        Args:
            template: Of the stack.
            lane_state: One of its lanes; it stays as it is.
            state: The lane's tensors; they stay as they are.
        """
        digest = template.signature.digest()
        if digest not in self._known and self._fixed:
            self._known[digest] = StackSize(self._fixed)
        if self._is_due(digest):
            began_at = time.perf_counter()
            size = self._measure(template, lane_state, state)
            self._note(digest, size)
            text = "%s: %d lanes (measured in %.2f s; steps took %.1f times as long as they had to)"
            seconds = time.perf_counter() - began_at
            logger.info(text, digest, size.lanes, seconds, size.slowdown or 1.0)
        wanted = max(self._least, min(self._most_wanted, self._known[digest].lanes))
        return min(wanted, self._limits.get(digest, wanted))

    def shared(
        self,
        template: StackTemplate,
        lane_state: LaneState,
        state: dict[str, Tensor],
    ) -> bool:
        """Returns whether one stack of several batch sizes is faster than one of each.

        Measured with as many lanes in all, and remembered like sizes: 0 lanes where it is not.

        Args:
            template: Of the shared stack.
            lane_state: One of its lanes; it stays as it is.
            state: The lane's tensors; they stay as they are.
        """
        digest = template.signature.digest()
        if self._is_due(digest):
            size = self._measure(template, lane_state, state)
            if not self._pays(template, lane_state, state, size.lanes):
                size = replace(size, lanes=0)
            logger.info("%s: batch sizes share %d lanes", digest, size.lanes)
            self._note(digest, size)
        return digest not in self._known or self._known[digest].lanes != 0

    def is_shared(self, signature: Signature) -> bool:
        """Returns whether it is known that batch sizes share stacks of a signature."""
        known = self._known.get(signature.digest())
        return (self._fixed or 0) > 0 if known is None else known.lanes > 0

    def _is_due(self, digest: str) -> bool:
        """Returns whether a size must be measured now, for the first time or again."""
        known = self._known.get(digest)
        if known is None:
            return self._fixed is None
        # Where nothing can come of it, nothing is measured.
        if self._fixed or self._most_wanted == 1 or digest in self._limits:
            return False
        if not known.is_doubtful:
            return False
        at_s, n = self._measured.get(digest, (-math.inf, 0))
        return bool(time.perf_counter() - at_s > SETTINGS.again_s * 2**n)

    def _note(self, digest: str, size: StackSize) -> None:
        _, n = self._measured.get(digest, (0.0, -1))
        self._measured[digest] = (time.perf_counter(), n + 1)
        self._known[digest] = size
        self._tell(digest, size)

    def _pays(
        self,
        template: StackTemplate,
        lane_state: LaneState,
        state: dict[str, Tensor],
        n_lanes: int,
    ) -> bool:
        batch_sizes, n = self.batch_sharing.batch_sizes, template.n_train
        each = n_lanes // len(batch_sizes)
        if each == 0:
            return False
        apart = 0.0
        for size in batch_sizes:
            own = replace(template, batch_size=size)
            timing = self._clock.time(own, _with_batches(lane_state, [size] * each), state)
            apart += -(-n // size) * timing.step_s
        n_micro = -(-n // template.batch_size)
        mixed = _with_batches(lane_state, list(batch_sizes) * each)
        timing = self._clock.time(template, mixed, state, min(n_micro, SETTINGS.n_mixed))
        return SETTINGS.gain * n_micro * timing.step_s < apart

    def limit(self, signature: Signature, n_lanes: int) -> None:
        """Notes that a stack ran out of memory, and how many lanes it takes from now on."""
        digest = signature.digest()
        self._limits[digest] = max(1, n_lanes)
        self._known[digest] = StackSize(self._limits[digest], slowdown=1.0)
        self._tell(digest, self._known[digest])

    def _measure(
        self, template: StackTemplate, lane_state: LaneState, state: dict[str, Tensor]
    ) -> StackSize:
        """Doubles the lanes until two doublings gained less than a tenth.

        One may show little because something else ran at that moment.
        """
        timings = {1: self._clock.time(template, [lane_state], state)}
        rates = {1: self._rate(template, 1, timings)}
        n_lanes, most = 1, self._most(template)
        while 2 * n_lanes <= min(self._most_wanted, most(n_lanes)):
            n_lanes *= 2
            # Only a CPU is shared with others; a GPU's memory has no room for several stacks.
            rivals = [timings[n] for n in (n_lanes // 4, n_lanes // 2) if n in timings]
            if self._device.type != "cpu":
                timings, rivals = {}, []
            lane_states = [lane_state] * n_lanes
            timings[n_lanes] = self._clock.time(template, lane_states, state, rivals=rivals)
            rates |= {n: self._rate(template, n, timings) for n in timings}
            # Without memory all are 0.
            if rates[n_lanes] <= SETTINGS.gain * rates.get(n_lanes // 4, 0):
                break
        # The fewest that come close to the best: more in flight would only learn less.
        best = min(n for n, rate in rates.items() if SETTINGS.gain * rate >= max(rates.values()))
        timed = [timing.slowdown for timing in timings.values() if timing.walls]
        return StackSize(best, max(timed, default=1.0))

    def _rate(self, template: StackTemplate, n_lanes: int, timings: Mapping[int, Timing]) -> float:
        """Returns epochs of lanes per second; 0 when there is no memory for so many."""
        n_steps = -(-template.n_train // template.batch_size)
        step_s, read_s = timings[n_lanes].step_s, template.folds.read_s(template.batch_size)
        # Once for all lanes. On a CPU the processes of a loader and the steps share the cores.
        step_s = step_s + read_s if self._device.type == "cpu" else max(step_s, read_s)
        return n_lanes / (n_steps * step_s + SETTINGS.epoch_s)

    def _most(self, template: StackTemplate) -> Callable[[int], float]:
        """Returns a function that tells how many lanes fit, from what one measured size took."""
        if self._device.type != "cuda":
            return lambda n_lanes: math.inf

        def most(n_lanes: int) -> float:
            taken = torch.cuda.max_memory_allocated(self._device) / n_lanes
            free, _ = torch.cuda.mem_get_info(self._device)
            reserved = torch.cuda.memory_reserved(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            return SETTINGS.memory_share * (free + reserved) / max(taken, 1)

        return most


def _with_batches(lane_state: LaneState, batch_sizes: Sequence[int]) -> list[LaneState]:
    params = lane_state.params.asdict()
    return [
        replace(lane_state, params=Params({**params, "batch_size": size})) for size in batch_sizes
    ]
