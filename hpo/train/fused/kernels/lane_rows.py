"""Lane rows: tensors that hold one row for each lane: joining writes a row, leaving frees one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class LaneRows:
    """Named tensors of shape [capacity, ...], of which the first ``n`` rows are in use.

    A row that is freed is taken by the last one, so that the rows in use are always together and
    a stack computes nothing for lanes that have left.

    Args:
        shapes: Shape and type of a row, by name.
        device: Where the tensors live.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[torch.Size, torch.dtype]], device: torch.device
    ) -> None:
        self._shapes = dict(shapes)
        self._device = device
        self._tensors = {name: self._zeros(name, 0) for name in self._shapes}
        self.n = 0

    def __len__(self) -> int:
        return self.n

    @property
    def capacity(self) -> int:
        """How many rows there is memory for."""
        return min(map(len, self._tensors.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors."""
        return tuple(self._shapes)

    def __getitem__(self, name: str) -> Tensor:
        """Returns the rows in use, [n, ...]: a view."""
        return self._tensors[name][: self.n]

    def push(self, values: Mapping[str, Tensor]) -> int:
        """Appends a row.

        Args:
            values: Of some names, anywhere; the others are 0.

        Returns:
            Its index.
        """
        if self.n == self.capacity:
            self.reserve(max(4, 2 * self.n))
        for name, tensor in self._tensors.items():
            if name in values:
                tensor[self.n].copy_(values[name])
            else:
                tensor[self.n].zero_()
        self.n += 1
        return self.n - 1

    def free(self, row: int) -> None:
        """Frees a row; the last one moves to its place."""
        self.n -= 1
        if row != self.n:
            for tensor in self._tensors.values():
                tensor[row].copy_(tensor[self.n])

    def row(self, row: int) -> dict[str, Tensor]:
        """Returns views of one row."""
        return {name: tensor[row] for name, tensor in self._tensors.items()}

    def copy(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Returns copies of some tensors, for ``restore``."""
        return {name: self[name].clone() for name in names}

    def restore(self, copies: Mapping[str, Tensor]) -> None:
        """Puts copies back."""
        for name, tensor in copies.items():
            self[name].copy_(tensor)

    def reserve(self, capacity: int) -> None:
        """Makes room for at least so many rows; views that were taken before are stale then."""
        for name, old in self._tensors.items():
            # One by one, because there may be no memory for all of them twice.
            if len(old) >= capacity:
                continue
            new = self._zeros(name, capacity)
            new[: self.n].copy_(old[: self.n])
            self._tensors[name] = new

    def trim(self) -> None:
        """Gives back the memory of rows that are not in use."""
        for name, old in self._tensors.items():
            self._tensors[name] = old[: self.n].clone()

    def _zeros(self, name: str, n: int) -> Tensor:
        shape, dtype = self._shapes[name]
        return torch.zeros((n, *shape), dtype=dtype, device=self._device)
