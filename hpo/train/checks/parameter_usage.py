"""Parameter usage: which parameters of a space are read, found out by building models."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from hpo.errors import Problem, TaskError, did_you_mean, nearest
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import SearchSpace
from hpo.train.checks.probe_points import Point, corners, scattered
from hpo.train.checks.size_limits import TooLargeError, limited
from hpo.train.criteria import scope_of, unsuitable
from hpo.train.data.batch import call, mapped
from hpo.train.fresh_models import KeptModelError
from hpo.train.loop.training import build_model
from hpo.train.recipe.hyperparameters import applied, complete, mistakes, readers, standard_names
from hpo.train.recipe.random_streams import seeded
from hpo.train.task import Task
from hpo.train.user_code_guard import user_code

if TYPE_CHECKING:
    from hpo.train.data.loading.loaded_splits import AnySplits

_N_SCATTERED: Final = 64
_MOST_MISSING: Final = 8
# Enough for batch normalisation, too few to take long.
_N_ROWS: Final = 4


@dataclass(frozen=True)
class ParameterReport:
    """The usage of a space's parameters.

    Attributes:
        read: Names that the engine or the task reads at some point of the space.
        problems: Names that nothing reads, names that the task misses, impossible values; the
            keys are those of a study file.
    """

    read: frozenset[str]
    problems: tuple[Problem, ...]


def read_parameters(task: Task, space: SearchSpace, splits: AnySplits) -> ParameterReport:
    """Finds out which parameters are read, by building the model at many points of the space.

    Args:
        task: The task.
        space: The study's space.
        splits: The task's data.

    Raises:
        TaskError: The model cannot be built at any point, for another reason than its params.
    """
    reading = _Reading(task, space, splits)
    for point in corners(space):
        reading.look(point)
    # What seems unread may be read for some combination of values only, or by the forward pass.
    if reading.unread:
        for point in [*corners(space), *scattered(space, _N_SCATTERED)]:
            reading.look(point, forward=True)
    return reading.report()


class _Recorder(Params):
    """Params of which a copy counts as read: who takes them all may use any of them."""

    __slots__ = ()

    def asdict(self) -> dict[str, Any]:
        self._read.update(self._values)
        return super().asdict()


class _Reading:
    """What was seen so far of how a task reads its params."""

    def __init__(self, task: Task, space: SearchSpace, splits: AnySplits) -> None:
        self._task = task
        self._space = space
        self._splits = splits
        self._scope = scope_of(task, splits)
        self._read: set[str] = set()
        self._problems: dict[str, Problem] = {}
        self._missing: dict[str, None] = {}
        self._error: TaskError | None = None
        self._n_built = 0

    @property
    def unread(self) -> list[str]:
        """Names of the space that were not read yet and are not wrong otherwise."""
        return [n for n in self._space if n not in self._read and n not in self._problems]

    def look(self, point: Point, *, forward: bool = False) -> None:
        """Builds the model at a point, and feeds it a few samples if asked to."""
        values = complete(Params(point), self._task.defaults, self._scope).asdict()
        self._read |= set(applied(values, self._scope))
        wrong = mistakes(values, self._scope)
        if not self._scope.own_loss and (why := unsuitable(values, self._splits)):
            wrong.setdefault("loss", why)
        for name, message in wrong.items():
            key = f"space.{name}" if name in self._space else f"{type(self._task).__name__}.{name}"
            self._problems.setdefault(name, Problem(key, message))
        if wrong:
            # The usual values in place of the wrong ones, for what the task reads beside them.
            right = {name: value for name, value in point.items() if name not in wrong}
            values = complete(Params(right), self._task.defaults, self._scope).asdict()
        if not wrong or not mistakes(values, self._scope):
            self._build(values, forward)

    def _build(self, values: Point, forward: bool) -> None:
        """Builds a model; a parameter that is missing gets the nearest one's value, or any."""
        for _ in range(_MOST_MISSING):
            params = _Recorder(values)
            missing: list[str] = []
            try:
                self._call_task(params, forward)
                self._n_built += 1
            except TaskError as error:
                missing = self._note(error, params)
            self._read |= params.read
            # Read on past the mistake, to see what else the task reads.
            values = {**values, **{name: _instead_of(name, values) for name in missing}}
            if not missing:
                return

    def report(self) -> ParameterReport:
        """Returns what was found."""
        if self._error and not self._n_built and not self._problems and not self._missing:
            raise self._error
        problems = [*self._problems.values(), *self._misspelt()]
        told = {problem.key for problem in problems}
        problems += [
            self._explain(name)
            for name in self.unread
            # Of a model that was never built it is not known what it reads.
            if f"space.{name}" not in told and (self._n_built or name in standard_names())
        ]
        return ParameterReport(frozenset(self._read) & set(self._space), tuple(problems))

    def _call_task(self, params: Params, forward: bool) -> None:
        with user_code(f"{type(self._task).__name__}.model"), limited():
            if not forward and not self._scope.own_optimizer:
                try:
                    # Weights that are loaded go nowhere there, and PyTorch warns of that.
                    with torch.device("meta"), warnings.catch_warnings(action="ignore"):
                        build_model(self._task, params)
                    return
                except (RuntimeError, NotImplementedError, TypeError, ValueError):
                    # Some initialisations need values, which the meta device has not.
                    pass
            with seeded(0, torch.device("cpu")):
                model = build_model(self._task, params)
                self._task.optimizer(model, params)
                if forward:
                    inputs = self._splits.train.head(_N_ROWS).inputs
                    inputs = self._task.prepare(mapped(Tensor.clone, inputs))
                    call(model, self._task.augment(inputs, params))

    def _misspelt(self) -> list[Problem]:
        """Returns what the task misses, in one line with what the space may have in its place."""
        found = []
        for name in self._missing:
            other = nearest(name, self.unread)
            if other is None:
                where = "neither the space nor the task's defaults have it"
                hint = did_you_mean(name, self._space)
                message = f"the task reads this, but {where}{hint}"
                found.append(Problem(f"space.{name}", message))
            else:
                message = f"the task reads {name}, and the space gives {other}; spell them alike"
                found.append(Problem(f"space.{other}", message))
        return found

    def _note(self, error: TaskError, params: Params) -> list[str]:
        """Notes missing parameters; other errors are the point's, and may be meant.

        Returns:
            Their names.
        """
        if isinstance(error, KeptModelError):
            raise error
        if isinstance(error, TooLargeError):
            if error.name is None:
                raise error
            self._problems.setdefault(error.name, self._too_large(error.name, str(error)))
            return []
        absent = [name for name in params.read if name not in params]
        missing = [name for name in absent if name in str(error.__cause__)]
        if not missing or not isinstance(error.__cause__, AttributeError | KeyError):
            self._error = self._error or error
            return []
        for name in missing:
            if name in self._space:
                message = "the task reads this even where its conditions do not hold"
                self._problems.setdefault(name, Problem(f"space.{name}", message))
            else:
                self._missing.setdefault(name)
        return missing

    def _too_large(self, name: str, message: str) -> Problem:
        """Says so of the range's end: a person has not written the value that was tried."""
        high = getattr(self._space[name], "high", None) if name in self._space else None
        wanted, _, found = message.partition("; found ")
        found = found if high is None else f"{high:,}"
        return Problem(f"space.{name}", f"{wanted}; found {found}")

    def _explain(self, name: str) -> Problem:
        if name in standard_names():
            message = f"has no effect here; it is read by {readers(name)}"
            return Problem(f"space.{name}", message)
        known = [n for n in standard_names() | self._read if n not in self._space]
        return Problem(f"space.{name}", f"no task reads this{did_you_mean(name, sorted(known))}")


def _instead_of(name: str, values: Point) -> Any:
    near = nearest(name, values)
    # Widths, depths and channels can all be 2.
    return 2 if near is None else values[near]
