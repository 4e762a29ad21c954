"""Step timing: how long steps of stacks take, on a machine on which others may be at work."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor

from hpo.train.fused.stack.lane_state import LaneState
from hpo.train.fused.stack.stack import Stack
from hpo.train.fused.stack.stack_template import StackTemplate
from hpo.train.recipe.precision import products
from hpo.train.user_code_guard import is_out_of_memory


@dataclass(frozen=True)
class TimingSettings:
    """How steps are timed. The values are choices, of which no study is recorded.

    Attributes:
        n_turns: So many turns for each of the stacks that are compared, one after the other, so
            that work of others on the machine delays all of them alike.
        n_timed: Steps are timed so often in each turn, after those that warm up.
        most_s: No more turns after so long, if each stack had ``least_turns``: large models are
            timed less often.
        least_turns: A single turn could fall into a moment of other work.
    """

    n_turns: int = 4
    n_timed: int = 2
    most_s: float = 2.0
    least_turns: int = 2


SETTINGS: Final = TimingSettings()


@dataclass
class Timing:
    """Steps of a stack: how to take them, and how long they took.

    Attributes:
        prepare: Makes them ready; returns what takes them, and returns their losses. None where
            there is no memory.
        n_steps: How many at once.
        is_single: One thread does all the work, so that its time is what steps cost.
        walls: Seconds by the clock on the wall, of each turn.
        costs: Seconds of the processor where ``is_single``, else the same as ``walls``.
    """

    prepare: Callable[[], Callable[[], Tensor]] | None
    n_steps: int = 1
    is_single: bool = False
    walls: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    @property
    def step_s(self) -> float:
        """Seconds of a step; infinite where memory does not do."""
        if self.prepare is None or not self.costs:
            return math.inf
        # Others at work only ever add to what the clock on the wall shows.
        typical = statistics.median(self.costs) if self.is_single else min(self.costs)
        return typical / self.n_steps

    @property
    def slowdown(self) -> float:
        """How many times longer turns took than they had to."""
        least = min(self.costs, default=0.0)
        return statistics.median(self.walls) / least if least > 0 else 1.0

    def take(self) -> None:
        """Takes a turn: the steps a few times, and notes how long they took."""
        if self.prepare is None:
            return
        steps = self.prepare()
        # The first ones may allocate memory, choose kernels, and be recorded.
        for _ in range(2 if not self.walls else 1):
            steps().sum().item()
        for _ in range(SETTINGS.n_timed):
            began_at, spent_s = time.perf_counter(), time.thread_time()
            # Fetching the losses waits for the device.
            steps().sum().item()
            wall_s = time.perf_counter() - began_at
            self.walls.append(wall_s)
            self.costs.append(time.thread_time() - spent_s if self.is_single else wall_s)


class StepClock:
    """Times the steps of stacks.

    Args:
        device: Where they train.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def time(
        self,
        template: StackTemplate,
        lane_states: Sequence[LaneState],
        state: dict[str, Tensor],
        n_steps: int = 1,
        rivals: Sequence[Timing] = (),
    ) -> Timing:
        """Times the steps of a stack.

        Args:
            template: What it consists of.
            lane_states: Its lanes; they stay as they are.
            state: The tensors of each; they stay as they are.
            n_steps: How many steps to take at once.
            rivals: What is timed again in turns with it, so that other work on this machine
                meanwhile delays one as much as the other.
        """
        is_single = self._device.type == "cpu" and torch.get_num_threads() == 1
        try:
            prepare = _preparing(template, lane_states, state, n_steps)
            timing = Timing(prepare, n_steps, is_single)
            with products(template.precision, self._device):
                _take_turns([*rivals, timing])
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                return Timing(None)
            raise
        return timing


def _preparing(
    template: StackTemplate,
    lane_states: Sequence[LaneState],
    state: dict[str, Tensor],
    n_steps: int,
) -> Callable[[], Callable[[], Tensor]]:
    stack = Stack(template)
    for key, lane_state in enumerate(lane_states):
        lane = replace(lane_state.lane, key=key)
        # Without a last epoch it is not through, though its checkpoint may be.
        stack.join(replace(lane_state, lane=lane, last=None, row=None, suspended=None), state)

    def prepare() -> Callable[[], Tensor]:
        epoch = stack.next_epoch(n_steps)
        return lambda: stack.losses(epoch)

    return prepare


def _take_turns(timings: Sequence[Timing]) -> None:
    began_at = time.perf_counter()
    for i in range(SETTINGS.n_turns):
        if i >= SETTINGS.least_turns and time.perf_counter() - began_at > SETTINGS.most_s:
            return
        for timing in timings:
            timing.take()
