"""Batch sharing: which batch sizes may train in one stack, and how that is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpo.spec.space.search_space import Categorical, SearchSpace
from hpo.train.recipe.augmentation import AUGMENTATIONS
from hpo.train.recipe.hyperparameters import n_per_batch
from hpo.train.recipe.weight_averaging import averages

# On a CPU a stack of the smallest batches costs more than it saves: small batches are slow there
# however many lanes share the overhead (benchmarks/results/fused_cpu.md). On a GPU a step of few
# lanes takes as long as one of many, so stacks that would be small are better together; each
# structure is measured there.
_MEASURED_ON: Final = ("cuda",)


@dataclass(frozen=True)
class BatchSharing:
    """Batch sizes of a study that stacks may share, if a measurement says that it pays.

    Attributes:
        batch_sizes: In samples, ascending; multiples of the first, or all samples. Fewer than two
            for a study whose stacks are of one batch size each.
    """

    batch_sizes: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return len(self.batch_sizes) > 1

    @property
    def micro(self) -> int:
        """Samples that each lane computes with at once."""
        return self.batch_sizes[0]

    def takes(self, batch_size: int) -> bool:
        """Returns whether trials of a batch size may be in a shared stack."""
        return bool(self) and batch_size in self.batch_sizes


def batch_sharing_of(batch_sizes: Sequence[int | str], n_train: int) -> BatchSharing:
    """Returns which of some batch sizes go together: the smallest and its multiples.

    Args:
        batch_sizes: As in ``batch_size``.
        n_train: Number of training samples.
    """
    sizes = sorted({n_per_batch(size, n_train) for size in batch_sizes})
    return BatchSharing(tuple(n for n in sizes if n % sizes[0] == 0 or n == n_train))


def adds_up_in(params: Mapping[str, Any]) -> bool:
    """Returns whether nothing that a trial asks for needs its batches at once.

    A mean weighted by classes is not the mean of its parts; augmentation draws its numbers by the
    place in the batch; averages of weights are taken step by step.
    """
    weighted = params.get("class_weights", "none") != "none"
    augmented = any(params.get(name) for name in AUGMENTATIONS)
    return not (weighted or augmented or averages(params))


def batch_sharing_for(space: SearchSpace, n_train: int, device: str) -> BatchSharing:
    """Returns what stacks of a study may share on a device: the one place that decides it.

    Args:
        space: The study's.
        n_train: Number of training samples.
        device: As PyTorch names it.
    """
    if device.partition(":")[0] not in _MEASURED_ON or "batch_size" not in space.names:
        return BatchSharing()
    parameter = space["batch_size"]
    if not isinstance(parameter, Categorical):
        return BatchSharing()
    sizes = [size for size in parameter.choices if isinstance(size, int | str)]
    return batch_sharing_of(sizes, n_train)
