"""A CUDA graph's stand-in on the CPU: operations recorded with their memory, and done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from hpo.train.fused.admission import admission
from hpo.train.fused.stack.cuda_graphs import Replayer

# They wait for the device, which a graph cannot hold.
WAITING = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "equal",
    "is_nonzero",
    "unique",
    "_unique2",
)


class Waits(RuntimeError):
    """A step asks the device for a number."""


class Watch(TorchDispatchMode):
    """Refuses whatever would wait for a device, or move data to or from it."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        # A boolean index has as many results as it finds.
        is_mask = name in ("index", "index_put", "index_put_") and any(
            t.dtype is torch.bool for t in tensors[1:]
        )
        # lift_fresh: a tensor made of numbers on the host.
        if name in WAITING or is_mask or name.startswith("lift_fresh"):
            raise Waits(f"operation not permitted while recording: {name}")
        return func(*args, **(kwargs or {}))


class Tape(Watch):
    """One recorded step: the same operations on the same memory, without Python in between."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[tuple[Any, Any, Mapping[str, Any], Any]] = []
        self._own: set[int] = set()
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.n_replays = 0

    def warm_up(self, step: Callable[[], Tensor]) -> Tensor:
        """See ``Recording``."""
        return step()

    def record(self, step: Callable[[], Tensor]) -> Tensor:
        """See ``Recording``; what the step changed meanwhile is put back, as if it had not run."""
        try:
            with self:
                return step()
        finally:
            for storage, before in self._before.values():
                storage.copy_(before)
            self._before.clear()

    def replay(self) -> None:
        """See ``Recording``."""
        self.n_replays += 1
        with torch.no_grad():
            for func, args, kwargs, results in self._done:
                found = func(*args, **kwargs)
                for old, new in zip(tree_leaves(results), tree_leaves(found), strict=True):
                    # Views, and what works in place, are where they were.
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        before = _as_is(args)
        results = super().__torch_dispatch__(func, types, args, kwargs)
        for leaf in tree_leaves(results):
            if isinstance(leaf, Tensor) and _place(leaf) not in self._before:
                self._own.add(_place(leaf))
        # A later operation may give a tensor another shape in place.
        self._done.append((func, before, _as_is(kwargs or {}), _as_is(results)))
        return results

    def _see(self, tensor: Tensor) -> None:
        place = _place(tensor)
        if place not in self._own and place not in self._before:
            storage = tensor.untyped_storage()
            self._before[place] = (storage, storage.clone())


def recording(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """Has engines record their steps; returns all recordings that they begin, in their order."""
    made: list[Tape] = []

    def make() -> Tape:
        made.append(Tape())
        return made[-1]

    monkeypatch.setattr(admission, "stepper_for", lambda device: lambda: Replayer(make))
    return made


def _as_is(values: Any) -> Any:
    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, values)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
