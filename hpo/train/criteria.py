"""Criteria: what trials minimise, and what they are measured by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from torch import Tensor

from hpo.errors import TaskError
from hpo.train.data.arrays import Kind
from hpo.train.data.batch import Tensors
from hpo.train.objective.losses import balanced_weights, loss_of
from hpo.train.objective.metric_states import MetricState
from hpo.train.objective.metrics import DEFAULT_METRICS, METRICS, measure, states_of
from hpo.train.objective.outputs import two_logits
from hpo.train.recipe.augmentation import n_axes
from hpo.train.recipe.hyperparameters import Scope
from hpo.train.task import Task
from hpo.train.user_code_guard import found_instead

if TYPE_CHECKING:
    from hpo.train.data.loading.loaded_splits import AnySplits

LossOf: TypeAlias = Callable[[Any, Any], Tensor]

ONE_OUTPUT: Final = ("bce", "hinge", "focal")
"""Losses that of two classes take the logit of the second one alone."""


@dataclass(frozen=True)
class Criterion:
    """Loss and metrics of a task: its own, or those that params and study name.

    Attributes:
        task: The task.
        kind: Classification or regression.
        n_classes: Number of classes; None for a regression.
        wanted: Metrics of the study, as they are reported: ``val_f1``. Those of ``METRICS`` that
            the task does not report itself are added to its own.
    """

    task: Task
    kind: Kind
    n_classes: int | None
    wanted: tuple[str, ...] = ()

    @classmethod
    def of(cls, task: Task, splits: AnySplits, wanted: tuple[str, ...] = ()) -> Criterion:
        """Returns the criterion of a task with its data."""
        return cls(task, splits.kind, splits.n_classes, wanted)

    @property
    def has_own_loss(self) -> bool:
        """Whether the loss is the task's, and no hyperparameter."""
        return self.task.has_own("loss")

    def minimised(self, params: Mapping[str, Any], train_y: Tensor) -> LossOf:
        """Returns what a trial minimises.

        Args:
            params: With defaults filled in.
            train_y: Targets of its training samples, which class weights balance.
        """
        if self.has_own_loss:
            return self.task.loss
        return loss_of(params, self.kind, self.class_weights(params, train_y))

    def reported(self, params: Mapping[str, Any]) -> LossOf:
        """Returns the loss that epochs report: without smoothing and class weights.

        Trials that differ in these can be compared by it.
        """
        if self.has_own_loss:
            return self.task.loss
        return loss_of({k: v for k, v in params.items() if k != "label_smoothing"}, self.kind)

    def class_weights(self, params: Mapping[str, Any], train_y: Tensor) -> Tensor | None:
        """Returns the weights [C] that a trial gives the classes, or None."""
        if self.has_own_loss or params.get("class_weights") != "balanced" or not self.n_classes:
            return None
        return balanced_weights(train_y, self.n_classes)

    def metrics(self, outputs: Tensors, targets: Tensors) -> dict[str, float | Tensor]:
        """Returns the task's metrics, and those that only the study names.

        Args:
            outputs: Of a model, for a whole split.
            targets: Of the split.
        """
        require_one(self.task, outputs, targets)
        if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
            return _named(self.task.metrics(outputs, targets))
        logits = self.logits(outputs, targets)
        own = self.task.has_own("metrics")
        found = _named(self.task.metrics(outputs if own else logits, targets))
        return {**found, **measure(self.additional(found), logits, targets)}

    @property
    def accumulates(self) -> bool:
        """Whether loss and metrics are hpo's own, which need not see a whole split at once."""
        return not self.has_own_loss and not self.task.has_own("metrics")

    def states(self) -> dict[str, MetricState]:
        """Returns the metrics that ``metrics`` would give, to be updated batch by batch.

        They are for a criterion that ``accumulates``, and for what ``logits`` returns.
        """
        names = DEFAULT_METRICS[self.kind]
        return states_of([*names, *self.additional(names)])

    def logits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns outputs as metrics see them: one a class, also where a model returns one of two.

        Args:
            outputs: Of a model, of shape [N, ...].
            targets: Of shape [N, ...].
        """
        if self.n_classes == 2 and not self.has_own_loss:
            return two_logits(outputs, targets)
        return outputs

    def additional(self, found: Collection[str]) -> list[str]:
        """Returns the metrics that only the study names, and that hpo has for such data.

        Args:
            found: Those of the task itself.
        """
        names = (name.removeprefix("val_") for name in self.wanted if name.startswith("val_"))
        known = [n for n in names if n in METRICS and METRICS[n].kind == self.kind]
        # A relative error in standard units would be another number, and a wrong one.
        is_relative = [n for n in known if METRICS[n].needs_units and self.task.measures_in_units]
        return [n for n in known if n not in found and n not in is_relative]


def require_one(task: Task, outputs: Tensors, targets: Tensors) -> None:
    """Refuses several outputs or targets unless the task has loss and metrics of its own.

    Raises:
        TaskError: See ``require_own``.
    """
    if not isinstance(outputs, Tensor):
        require_own(task, f"the model returns {named_form(outputs)}")
    if not isinstance(targets, Tensor):
        require_own(task, f"the targets are {named_form(targets)}")


def require_own(task: Task, what: str) -> None:
    """Refuses several outputs or targets where the task does not say what becomes of them.

    Args:
        task: The task.
        what: That there are several.

    Raises:
        TaskError: The task leaves loss or metrics to hpo, whose own take one tensor.
    """
    missing = [name for name in ("loss", "metrics") if not task.has_own(name)]
    if missing:
        own = " and ".join(f"{name}(outputs, targets)" for name in missing)
        raise TaskError(
            f"{what}, and hpo's own loss and metrics take one tensor",
            hint=f"define {own} in {type(task).__name__}, or return the tensor they are to see",
        )


def named_form(values: Any) -> str:
    """Returns what something that should be a tensor is: ``a tuple of 2``."""
    if isinstance(values, tuple | list):
        return f"a {type(values).__name__} of {len(values)}"
    if isinstance(values, dict):
        return f"a dict of {', '.join(map(str, values))}"
    return "nothing" if values is None else f"a {type(values).__name__}"


def _named(found: Any) -> dict[str, float | Tensor]:
    try:
        return dict(found)
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"the task's metrics must be numbers by their names; found {found_instead(found)}"
        ) from error


def scope_of(task: Task, splits: AnySplits) -> Scope:
    """Returns what of a task and its data decides which hyperparameters apply."""
    axes = 0 if splits.samples is None else n_axes(splits.samples)
    return Scope(task.has_own("optimizer"), task.has_own("loss"), splits.kind, axes)


def unsuitable(params: Mapping[str, Any], splits: AnySplits) -> str:
    """Returns why the data does not go with a loss, or nothing."""
    if params.get("loss") != "bce" or splits.kind != "regression":
        return ""
    y = splits.known_targets
    if y.is_floating_point() and not bool(((y >= 0) & (y <= 1)).all()):
        low, high = float(y.min()), float(y.max())
        return f"bce needs targets from 0 to 1; found {low:g} to {high:g}"
    return ""
