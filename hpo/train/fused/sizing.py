"""How many lanes a stack takes: measured for each signature and device, then remembered."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from hpo.spec.params import Params
from hpo.train.boundary import is_out_of_memory
from hpo.train.fused.blueprint import Blueprint
from hpo.train.fused.member import Member
from hpo.train.fused.sharing import Sharing
from hpo.train.fused.stack import Stack
from hpo.train.precision import products
from hpo.train.signature import Signature

logger = logging.getLogger(__name__)

MAX_LANES: Final = 1024
_GAIN: Final = 1.1
_N_TIMED: Final = 5
# What an epoch of a stack takes besides its steps, however many lanes there are: to evaluate, to
# write reports, to ask what becomes of the lanes.
_EPOCH_S: Final = 0.005
# Steps of a shared stack, of which some complete few batches and some many.
_N_MIXED: Final = 16
# Of the device's free memory; the rest is for evaluation and for what fragments.
_SHARE: Final = 0.7


class Sizes:
    """Lanes a stack, by signature.

    Args:
        device: Where stacks train.
        known: What earlier measurements on such a device found, by digest of the signature.
        tell: Called with digest and lanes of each new measurement.
        fixed: Takes so many whatever is faster, until memory runs out.
        least: Takes at least so many.
        most: Takes at most so many.
        sharing: Batch sizes that a stack may have side by side.
    """

    def __init__(
        self,
        device: torch.device,
        known: Mapping[str, int] | None = None,
        tell: Callable[[str, int], None] = lambda digest, n_lanes: None,
        fixed: int | None = None,
        least: int = 1,
        most: int = MAX_LANES,
        sharing: Sharing | None = None,
    ) -> None:
        self.sharing = sharing or Sharing()
        self._device = device
        self._known = dict(known or {})
        self._tell = tell
        self._limits: dict[str, int] = {}
        self._fixed = fixed
        self._least, self._most_wanted = least, most

    def of(
        self, signature: Signature, blueprint: Blueprint, member: Member, state: dict[str, Tensor]
    ) -> int:
        """Returns how many lanes a stack of a signature takes.

        Args:
            signature: Of the stack.
            blueprint: What it consists of.
            member: One of its members; it stays as it is.
            state: The member's tensors; they stay as they are.
        """
        digest = signature.digest()
        if digest not in self._known and self._fixed:
            self._known[digest] = self._fixed
        if digest not in self._known:
            began_at = time.perf_counter()
            self._known[digest] = self._measure(blueprint, member, state)
            seconds = time.perf_counter() - began_at
            logger.info("%s: %d lanes (measured in %.2f s)", digest, self._known[digest], seconds)
            self._tell(digest, self._known[digest])
        wanted = max(self._least, min(self._most_wanted, self._known[digest]))
        return min(wanted, self._limits.get(digest, wanted))

    def shared(
        self,
        signature: Signature,
        blueprint: Blueprint,
        member: Member,
        state: dict[str, Tensor],
    ) -> bool:
        """Tells whether one stack of several batch sizes is faster than one of each.

        Measured with as many lanes in all, and remembered like sizes: 0 lanes where it is not.

        Args:
            signature: Of the shared stack.
            blueprint: What it consists of.
            member: One of its members; it stays as it is.
            state: The member's tensors; they stay as they are.
        """
        digest = signature.digest()
        if digest not in self._known and self._fixed is None:
            n_lanes = self._measure(blueprint, member, state)
            if not self._pays(blueprint, member, state, n_lanes):
                n_lanes = 0
            self._known[digest] = n_lanes
            logger.info("%s: batch sizes share %d lanes", digest, n_lanes)
            self._tell(digest, n_lanes)
        return self._known.get(digest) != 0

    def is_shared(self, signature: Signature) -> bool:
        """Tells whether it is known that batch sizes share stacks of a signature."""
        return self._known.get(signature.digest(), self._fixed or 0) > 0

    def _pays(
        self,
        blueprint: Blueprint,
        member: Member,
        state: dict[str, Tensor],
        n_lanes: int,
    ) -> bool:
        batch_sizes, n = self.sharing.batch_sizes, blueprint.n_train
        each = n_lanes // len(batch_sizes)
        if each == 0:
            return False
        apart = 0.0
        for size in batch_sizes:
            own = replace(blueprint, batch_size=size)
            seconds = self._step_s(own, _with_batches(member, [size] * each), state)
            apart += -(-n // size) * seconds
        n_micro = -(-n // blueprint.batch_size)
        mixed = _with_batches(member, list(batch_sizes) * each)
        together = n_micro * self._step_s(blueprint, mixed, state, min(n_micro, _N_MIXED))
        return _GAIN * together < apart

    def limit(self, signature: Signature, n_lanes: int) -> None:
        """Notes that a stack ran out of memory, and how many lanes it shall have from now on."""
        digest = signature.digest()
        self._known[digest] = self._limits[digest] = max(1, n_lanes)
        self._tell(digest, self._known[digest])

    def _measure(self, blueprint: Blueprint, member: Member, state: dict[str, Tensor]) -> int:
        """Doubles the lanes until two doublings gained less than a tenth.

        One may show little because something else ran at that moment.
        """
        rates = {1: self._rate(blueprint, member, state, 1)}
        n_lanes, most = 1, self._most(blueprint)
        while 2 * n_lanes <= min(self._most_wanted, most(n_lanes)):
            n_lanes *= 2
            rates[n_lanes] = self._rate(blueprint, member, state, n_lanes)
            # Without memory all are 0.
            if rates[n_lanes] <= _GAIN * rates.get(n_lanes // 4, 0):
                break
        # The fewest that come close to the best: more in flight would only learn less.
        return min(n for n, rate in rates.items() if _GAIN * rate >= max(rates.values()))

    def _rate(
        self, blueprint: Blueprint, member: Member, state: dict[str, Tensor], n_lanes: int
    ) -> float:
        """Returns epochs of lanes per second; 0 when there is no memory for so many."""
        n_steps = -(-blueprint.n_train // blueprint.batch_size)
        step_s = self._step_s(blueprint, [member] * n_lanes, state)
        return n_lanes / (n_steps * step_s + _EPOCH_S)

    def _step_s(
        self,
        blueprint: Blueprint,
        members: Sequence[Member],
        state: dict[str, Tensor],
        n_steps: int = 1,
    ) -> float:
        """Returns seconds of a step, the mean of so many; infinite where memory does not do."""
        try:
            return self._timed(blueprint, members, state, n_steps)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                return math.inf
            raise

    def _timed(
        self,
        blueprint: Blueprint,
        members: Sequence[Member],
        state: dict[str, Tensor],
        n_steps: int,
    ) -> float:
        stack = Stack(blueprint)
        for key, member in enumerate(members):
            lane = replace(member.lane, key=key)
            # Without a last epoch it is not through, though its checkpoint may be.
            stack.join(replace(member, lane=lane, last=None, row=None, parked=None), state)
        course = stack.course(n_steps)
        with products(blueprint.precision, self._device):
            seconds = [self._time(lambda: stack.losses(course)) for _ in range(2 + _N_TIMED)]
        # The first steps allocate memory, choose kernels, and may be recorded.
        return min(seconds[2:]) / n_steps

    def _time(self, steps: Callable[[], Tensor]) -> float:
        began_at = time.perf_counter()
        # Fetching the losses waits for the device.
        steps().sum().item()
        return time.perf_counter() - began_at

    def _most(self, blueprint: Blueprint) -> Callable[[int], float]:
        """Returns a function that tells how many lanes fit, from what one measured size took."""
        if self._device.type != "cuda":
            return lambda n_lanes: math.inf

        def most(n_lanes: int) -> float:
            taken = torch.cuda.max_memory_allocated(self._device) / n_lanes
            free, _ = torch.cuda.mem_get_info(self._device)
            reserved = torch.cuda.memory_reserved(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            return _SHARE * (free + reserved) / max(taken, 1)

        return most


def _with_batches(member: Member, batch_sizes: Sequence[int]) -> list[Member]:
    params = member.params.asdict()
    return [replace(member, params=Params({**params, "batch_size": size})) for size in batch_sizes]
