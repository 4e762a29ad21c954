"""Task: what a user writes. Data, model, and where the defaults do not serve, loss and metrics."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from hpo.errors import Problem, SpecError, TaskError, did_you_mean
from hpo.spec.space.params import Params
from hpo.train.data.batch import as_floats
from hpo.train.objective import losses, metrics
from hpo.train.user_code_guard import found_instead, user_code

if TYPE_CHECKING:
    from hpo.train.data.dataset import Data


class Task:
    """Data, model, loss, metrics. Sees neither database, sampler, device nor other lanes.

    A subclass writes ``data`` and ``model``. Its ``__init__`` may take keyword arguments, which a
    study gives as ``[task_options]``.

    Attributes:
        defaults: Values of parameters that the space does not mention.
        space: Search space of a study without one: dimensions, or tables as in a study file.
        metric: Metric of a study that names none, as it is reported: ``val_accuracy``.
        direction: Direction of that metric; None to tell by its name.
        budget: Entries of ``[budget]`` for those that a study leaves out, such as ``epochs``.
        validation: Likewise of ``[validation]``, such as ``folds``.
        measures_in_units: Whether targets are standardised and ``metrics`` undoes that; relative
            errors such as ``mape`` are not added to it.
        notices: What a person should know of the data, a line each; `hpo show` has them.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    space: ClassVar[Mapping[str, Any]] = {}
    metric: ClassVar[str | None] = None
    direction: ClassVar[Literal["maximize", "minimize"] | None] = None
    budget: ClassVar[Mapping[str, Any]] = {}
    validation: ClassVar[Mapping[str, Any]] = {}
    measures_in_units: ClassVar[bool] = False
    notices: tuple[str, ...] = ()

    def __init__(self, **options: Any) -> None:
        if options:
            raise SpecError(source="the study", problems=_unknown(options, ()))

    def setup(self) -> None:
        """Prepares the process, once and before ``data``: downloads, settings of libraries."""

    def data(self) -> Data:
        """Returns the data; the same in every process."""
        raise NotImplementedError(f"{type(self).__name__} must define data()")

    def samples(self, x: Any) -> Any:
        """Returns samples that were not there when the study ran, as ``data`` has its features.

        Args:
            x: What a person has; by default it is in that form already.
        """
        return x

    def prepare(self, inputs: Any) -> Any:
        """Returns a batch of ``Data.datasets`` as models take it, on the device.

        By default bytes, such as the pixels of images, become float32 from 0 to 1. It must not
        draw random numbers, for it is called in training and evaluation alike.

        Args:
            inputs: A tensor of shape [B, ...], or a tuple or dict of such.
        """
        return as_floats(inputs)

    def augment(self, x: Any, params: Params) -> Any:
        """Returns the samples of a training batch, changed at random; by default as they are.

        It is called on the device, in training only, before ``augment_noise`` and its like. The
        generators of PyTorch, NumPy and Python follow from the trial's seed and the epoch.

        Args:
            x: Inputs of shape [B, ...], or a tuple or dict of such; they may be changed in place.
            params: Of the trial.
        """
        return x

    def model(self, params: Params) -> nn.Module:
        """Builds an untrained model; does nothing else.

        It is called under the trial's seed, and also on the meta device, which has shapes but no
        values.
        """
        raise NotImplementedError(f"{type(self).__name__} must define model(params)")

    def export_state(self) -> Mapping[str, Any]:
        """Returns what ``from_export`` needs beside the options: plain values and tensors.

        A model's file keeps it, so that the task can predict where its data is not.
        """
        return {}

    @classmethod
    def from_export(cls, options: Mapping[str, Any], state: Mapping[str, Any]) -> Task:
        """Makes the task that predicts with a model's file; by default as for a study.

        Args:
            options: The study's ``[task_options]``.
            state: What ``export_state`` returned when the model was trained.
        """
        return make_task(cls, options)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss to be minimised, a mean over samples.

        By default cross-entropy for whole-numbered targets, else the mean squared error.

        Args:
            outputs: What the model returned, of shape [B, ...].
            targets: Of shape [B, ...].
        """
        return losses.default_loss(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float | Tensor]:
        """Returns metrics over a whole split; the loss is added to them.

        By default accuracy for whole-numbered targets, else ``mse``, ``mae`` and ``r2``.

        Args:
            outputs: What the model returned, of shape [N, ...].
            targets: Of shape [N, ...].
        """
        return metrics.default_metrics(outputs, targets)

    def optimizer(self, model: nn.Module, params: Params) -> Optimizer | None:
        """Returns an optimizer of the task's own, or None for the one that ``params`` describes.

        Its learning rates are those at the start; the schedule multiplies them.
        """
        return None

    def has_own(self, method: str) -> bool:
        """Returns whether the task defines a method itself."""
        return getattr(type(self), method) is not getattr(Task, method)


def data_of(task: Task) -> Data:
    """Returns a task's data.

    Raises:
        TaskError: It is something else.
    """
    from hpo.train.data.dataset import Data

    data: Any = task.data()
    if isinstance(data, Data):
        if task.has_own("prepare") and not data.is_loaded:
            raise TaskError(
                f"{type(task).__name__}.prepare has no effect on samples in memory",
                hint="prepare them in data(); prepare() is for the batches of hpo.Data.datasets",
            )
        return data
    where, found = f"{type(task).__name__}.data", f"found {found_instead(data)}"
    raise TaskError(f"{where} must return an hpo.Data; {found}", hint=_as_data(data))


def _as_data(found: Any) -> str:
    """Says how something becomes data."""
    if hasattr(found, "dataset"):
        return (
            "give the loader's data set to hpo.Data.datasets(loader.dataset); hpo makes the "
            "loaders, for batch_size is a parameter"
        )
    if hasattr(found, "__getitem__") and not isinstance(found, tuple | list | dict | Tensor):
        return "hpo.Data.datasets(train) takes map-style data sets"
    if isinstance(found, tuple) and len(found) == 2:
        return "hpo.Data.split(x, y) cuts features and targets into splits"
    return "hpo.Data.split(x, y) takes features and targets, hpo.Data.fixed ready splits"


TaskT = TypeVar("TaskT", bound=Task)


def make_task(cls: type[TaskT], options: Mapping[str, Any]) -> TaskT:
    """Makes a task from the options of a study.

    Args:
        cls: The task's class.
        options: ``[task_options]``: keyword arguments.

    Raises:
        SpecError: Options that the task does not take, or does not get.
        TaskError: The constructor raises.
    """
    problems = option_problems(cls, options)
    if problems:
        raise SpecError(source="the study", problems=problems)
    with user_code(f"{cls.__name__}({', '.join(options)})"):
        task = cls(**options)
    for name in ("defaults", "space", "budget", "validation"):
        value = getattr(task, name)
        if not isinstance(value, Mapping):
            raise TaskError(f"{cls.__name__}.{name} must be a dict; found {type(value).__name__}")
    return task


def option_problems(cls: type[Task], options: Mapping[str, Any]) -> list[Problem]:
    """Returns what is wrong with the options of a task, by the signature of its constructor."""
    if cls.__init__ is Task.__init__:
        return _unknown(options, ())
    named = [
        parameter
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    missing = [
        Problem(f"task_options.{parameter.name}", f"{cls.__name__} needs this option")
        for parameter in named
        if parameter.default is parameter.empty and parameter.name not in options
    ]
    if _takes_any(cls):
        return missing
    return _unknown(options, [parameter.name for parameter in named]) + missing


def _takes_any(cls: type[Task]) -> bool:
    kinds = {parameter.kind for parameter in inspect.signature(cls).parameters.values()}
    return inspect.Parameter.VAR_KEYWORD in kinds


def _unknown(options: Mapping[str, Any], allowed: list[str] | tuple[()]) -> list[Problem]:
    takes = f"the task takes {', '.join(allowed)}" if allowed else "the task takes no options"
    return [
        Problem(f"task_options.{name}", f"unknown{did_you_mean(name, allowed) or f'; {takes}'}")
        for name in options
        if name not in allowed
    ]
