"""Dataset splits: PyTorch data sets in splits, whose items are read when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate
from typing_extensions import override

from hpo.errors import TaskError
from hpo.spec.study_spec import ValidationSpec
from hpo.tracebacks import headline
from hpo.train.data.arrays import KINDS, Kind, Targets
from hpo.train.data.batch import Batch
from hpo.train.data.checksums import digest_of
from hpo.train.data.loading.collation import batch_of, require_classes, require_finite
from hpo.train.data.loading.item_loader import ItemLoader
from hpo.train.data.loading.item_source import ItemSource, first_items, require_map_style
from hpo.train.data.loading.known_targets import class_names_of, targets_of
from hpo.train.data.loading.loaded_splits import LoadedPart, LoadedSplits
from hpo.train.data.split_assignment import Assignment, Rows
from hpo.train.data.split_strategies import SplitRule, SplitStrategy

TRAIN: Final = "training"
AUGMENTED: Final = "augmented training"
VAL: Final = "validation"
TEST: Final = "test"
_N_EXAMPLES: Final = 2


@dataclass(frozen=True)
class Loading:
    """How items of data sets are read.

    Attributes:
        workers: Processes that read them; 0 to read in the process that trains.
        prefetch: Batches that each process reads ahead.
        collate: Makes a batch of a list of items; PyTorch's default by default.
        target: Key of the targets where items are dicts.
    """

    workers: int = 4
    prefetch: int = 2
    collate: Callable[[list[Any]], Any] | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("prefetch", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise TaskError(
                    f"{name} of Data.datasets must be a whole number from {least}; found {value!r}"
                )
        if self.collate is not None and not callable(self.collate):
            raise TaskError(f"collate of Data.datasets must be a function; found {self.collate!r}")


@dataclass(frozen=True, eq=False)
class DatasetSplits(SplitStrategy):
    """A split of data sets by the indices of their items.

    Attributes:
        datasets: By name: ``TRAIN``, and those of ``AUGMENTED``, ``VAL`` and ``TEST`` that there
            are.
        loading: How items are read.
        rule: Where the training data set is cut, if there is no validation data set.
        kind: Classification or regression.
        classes: Name of each class.
        example: A few samples.
    """

    datasets: dict[str, Any]
    loading: Loading
    rule: SplitRule
    kind: Kind
    classes: tuple[str, ...]
    example: Batch
    _loader: ItemLoader = field(init=False)

    def __post_init__(self) -> None:
        n_classes = len(self.classes) or None
        source = ItemSource(
            self.datasets, self.loading.collate, self.loading.target, n_classes=n_classes
        )
        loader = ItemLoader(source, self.loading.workers, self.loading.prefetch)
        object.__setattr__(self, "_loader", loader)

    @property
    def n_rows(self) -> int:
        """Number of items of all splits."""
        return sum(len(one) for name, one in self.datasets.items() if name != AUGMENTED)

    @override
    def splits(self, validation: ValidationSpec) -> LoadedSplits:
        if VAL in self.datasets:
            rows = np.arange(len(self.datasets[TRAIN]))
            return self._splits(Assignment(rows, rows[:0], rows[:0]))
        return self._splits(self.rule.assign(self._targets(), validation))

    @override
    def folds(self, validation: ValidationSpec, n_folds: int) -> tuple[LoadedSplits, ...]:
        """Returns the training data set in the splits of each fold.

        Raises:
            TaskError: There is a validation data set, or too few items.
        """
        if VAL in self.datasets:
            raise TaskError(
                "the task gives a validation data set, so that its data cannot be cut into folds",
                hint="leave val out of Data.datasets to have folds of the training data set",
            )
        assigned = self.rule.folds(self._targets(), validation, n_folds)
        return tuple(self._splits(rows) for rows in assigned)

    @override
    def features(self, x: Any, validation: ValidationSpec) -> tuple[Tensor, ...]:
        raise TaskError("data sets have no preprocessing to fit to samples")

    @override
    def in_units(self, y: Tensor) -> Tensor:
        return y

    @override
    def checksum(self) -> str:
        """Returns a digest of the number of items and of the targets that are known."""
        parts: list[Any] = []
        for dataset in self.datasets.values():
            known = targets_of(dataset)
            parts += [np.array(len(dataset)), *([] if known is None else [known])]
        return digest_of(*parts)

    def _splits(self, rows: Assignment) -> LoadedSplits:
        source = AUGMENTED if AUGMENTED in self.datasets else TRAIN
        test = self._whole(TEST) if TEST in self.datasets else None
        if len(rows.test):
            test = self._part(TRAIN, rows.test)
        return LoadedSplits(
            train=self._part(source, rows.train),
            val=self._part(TRAIN, rows.val) if len(rows.val) else self._whole(VAL),
            test=test,
            kind=self.kind,
            classes=self.classes,
            example=self.example,
        )

    def _part(self, source: str, rows: Rows) -> LoadedPart:
        known = targets_of(self.datasets[source])
        targets = None if known is None else known[torch.from_numpy(rows)]
        return LoadedPart(self._loader, source, rows, targets=targets)

    def _whole(self, source: str) -> LoadedPart:
        return self._part(source, np.arange(len(self.datasets[source])))

    def _targets(self) -> Targets:
        """Returns what the split is stratified by; without known targets it is not."""
        known = targets_of(self.datasets[TRAIN])
        if known is None or not self.classes:
            return Targets(torch.zeros(len(self.datasets[TRAIN])), "regression")
        return Targets(known, self.kind, self.classes)


def dataset_splits(
    datasets: dict[str, Any],
    loading: Loading,
    rule: SplitRule,
    kind: Kind | None,
    classes: int | Sequence[str] | None,
) -> DatasetSplits:
    """Returns the strategy that splits data sets, after a look at the first items of each.

    Args:
        datasets: See ``DatasetSplits``.
        loading: How items are read.
        rule: Where the training data set is cut.
        kind: Classification or regression; None to tell by the targets' type.
        classes: Names or number of the classes; None to ask the data set.

    Raises:
        TaskError: The data sets cannot be used as they are.
    """
    if kind is not None and kind not in KINDS:
        raise TaskError(f"kind must be {' or '.join(KINDS)}; found {kind!r}")
    for name, dataset in datasets.items():
        require_map_style(dataset, name)
    if AUGMENTED in datasets and len(datasets[AUGMENTED]) != len(datasets[TRAIN]):
        raise TaskError(
            "the augmented data set must have the items of the training data set; found "
            f"{len(datasets[AUGMENTED])} and {len(datasets[TRAIN])}"
        )
    examples = {name: _example(dataset, name, loading) for name, dataset in datasets.items()}
    y = examples[TRAIN].targets
    is_classes = isinstance(y, Tensor) and not (y.is_floating_point() or y.is_complex())
    kind = kind or ("classification" if is_classes else "regression")
    names = _classes(datasets[TRAIN], examples[TRAIN], classes) if kind == "classification" else ()
    for name, example in examples.items():
        _require_alike(examples[TRAIN], example, name)
        if names:
            require_classes(example, len(names))
    return DatasetSplits(datasets, loading, rule, kind, names, examples[TRAIN])


def _example(dataset: Any, source: str, loading: Loading) -> Batch:
    items = first_items(dataset, source, _N_EXAMPLES)
    try:
        batch = batch_of((loading.collate or default_collate)(items), loading.target)
        require_finite(batch)
    except TaskError as error:
        where = f"the first items of the {source} data set"
        raise TaskError(f"{where}: {error.message}", hint=error.hint) from error
    except Exception as error:
        raise TaskError(
            f"the first items of the {source} data set cannot be collated: {headline(error)}",
            hint="return tensors or arrays of one shape, or give Data.datasets a collate function",
        ) from error
    return batch


def _require_alike(first: Batch, other: Batch, source: str) -> None:
    if type(first.inputs) is not type(other.inputs):
        found = [type(batch.inputs).__name__ for batch in (first, other)]
        raise TaskError(
            f"all data sets must give inputs of one form; the training one gives {found[0]}, the "
            f"{source} one {found[1]}"
        )


def _classes(dataset: Any, example: Batch, classes: int | Sequence[str] | None) -> tuple[str, ...]:
    """Returns the names of the classes.

    Raises:
        TaskError: They are not known.
    """
    if isinstance(classes, int) and not isinstance(classes, bool) and classes > 1:
        return tuple(map(str, range(classes)))
    if isinstance(classes, Sequence) and not isinstance(classes, str) and len(classes) > 1:
        return tuple(map(str, classes))
    if classes is not None:
        raise TaskError(
            "classes of Data.datasets must be the number of classes or their names, two at least; "
            f"found {classes!r}"
        )
    names = class_names_of(dataset)
    if len(names) > 1:
        return names
    known = targets_of(dataset)
    y = example.targets
    is_same = known is not None and y.dim() == 1 and bool((known[: len(y)] == y).all())
    if known is not None and is_same and not known.is_floating_point() and int(known.max()) > 0:
        return tuple(map(str, range(int(known.max()) + 1)))
    raise TaskError(
        "the data set does not tell how many classes there are",
        hint='give their number or names: hpo.Data.datasets(..., classes=10); kind="regression" '
        "is for numbers that are no classes",
    )
