"""Study preflight: the mistakes, the task's defaults and the cost of a study before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hpo.errors import Problem, SpecError, TaskError
from hpo.run.host import command_preflight
from hpo.run.host.placement import plan
from hpo.spec.parsing import StudyDraft
from hpo.spec.partial_space import usable
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import SearchSpace
from hpo.spec.study_spec import Direction, StudySpec, ValidationSpec, default_direction
from hpo.tasks.code.resolve import Allow, load_objective, resolve

if TYPE_CHECKING:
    from hpo.train.data.loading.loaded_splits import AnySplits
    from hpo.train.task import Task


@dataclass(frozen=True)
class TaskFindings:
    """The task's defaults for its study.

    Attributes:
        problems: Parameters that nothing reads, metrics that it does not have, wrong options.
        metric: Its own metric, or the usual one of its data, for a study that names none.
        direction: The direction of its own metric; None to tell by the metric's name.
        space: Its own search space, for a study without one.
        budget: Its own entries for those that the study's budget leaves out.
        validation: Likewise for how the data is split.
        notices: What a person should know of its data.
    """

    problems: tuple[Problem, ...] = ()
    metric: str | None = None
    direction: Direction | None = None
    space: Mapping[str, Any] | None = None
    budget: Mapping[str, Any] | None = None
    validation: Mapping[str, Any] | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """The result of ``hpo check`` for a valid study.

    Attributes:
        task: The task's or objective's reference.
        description: What the task says of itself and its data, by name.
        n_train: Samples to train on, in one fold; with ``n_val`` and ``n_test``, 0 for an
            objective.
        n_parameters: Trainable numbers of the smallest and largest model that was built.
        metrics: What an epoch reports.
        seconds_per_epoch: Of one trial on one worker, as a mean over the space.
        n_workers: Workers that this machine would start.
        upper_s: How long the study takes at most, in seconds; None without a bound.
        likely_s: About how long, with most trials stopped early.
    """

    task: str
    description: Mapping[str, Any]
    n_train: int = 0
    n_val: int = 0
    n_test: int = 0
    n_parameters: tuple[int, int] = (0, 0)
    metrics: tuple[str, ...] = ()
    seconds_per_epoch: float | None = None
    n_workers: int = 1
    upper_s: float | None = None
    likely_s: float | None = None


def check_task(draft: StudyDraft, base_dir: Path, allow: tuple[str, ...]) -> TaskFindings:
    """Loads the task and its data, and finds what only they can tell.

    Args:
        draft: The study as far as it could be read; it may have other mistakes.
        base_dir: Folder that its relative paths refer to.
        allow: References that may run here.

    Raises:
        TaskError: The task cannot be loaded, or its code raises.
    """
    from hpo.train.checks.task_preview import read_parameters

    try:
        task, splits = _load(
            cast(str, draft.task), draft.task_options, _validation(draft), base_dir, allow
        )
    except SpecError as error:
        if not error.problems:
            raise
        return TaskFindings(error.problems)
    metric, space = task.metric, _space(draft, task)
    found: list[Problem] = []
    names: tuple[str, ...] = ()
    wanted = tuple(draft.values.get("metric", ()))
    try:
        with _threads(1):
            report = read_parameters(task, space, splits)
            found += report.problems
            # A model of a wrong size, say, is not built to learn what it reports.
            if all(_is_unread(problem, space, report.read) for problem in found):
                names = _metric_names(task, splits, space, wanted)
    except TaskError:
        # A stand-in for what is wrong may be what the task cannot do with.
        if not draft.stand_ins and not found:
            raise
    # Parameters that are wrong in themselves have their message.
    wrong = set(draft.names) - set(draft.parameters)
    found = [p for p in found if p.key.removeprefix("space.") not in wrong]
    if names:
        found += _unknown_metrics(wanted, names)
        if not wanted and metric is None:
            metric = _usual_metric(names, tuple(draft.values.get("direction", ())))
            found += [Problem("metric", f"must be named{_among(names)}")] if metric is None else []
    return TaskFindings(
        problems=tuple(found),
        metric=metric,
        direction=task.direction if task.metric else None,
        space=task.space,
        budget=task.budget,
        validation=task.validation,
        notices=task.notices,
    )


def check_objective(reference: str, base_dir: Path, allow: tuple[str, ...]) -> None:
    """Loads an objective, to see that it is there.

    Raises:
        SpecError: There is no such function.
        TaskError: It cannot be loaded.
    """
    load_objective(reference, base_dir, Allow(allow))


def check(spec: StudySpec, base_dir: Path, allow: tuple[str, ...], device: str) -> CheckReport:
    """Builds a study's model, trains a batch, and tells what the study would cost.

    Args:
        spec: The study, as ``prepare`` returns it.
        base_dir: Folder that its relative paths refer to.
        allow: References that may run here.
        device: As ``--device`` names it.

    Raises:
        HpoError: The study cannot be run here.
    """
    if spec.command is not None:
        n_workers = len(plan(device, resources=spec.resources))
        about = command_preflight.describe(spec, base_dir)
        return CheckReport(spec.command, about, n_workers=n_workers)
    places = plan(device, resources=spec.resources)
    if spec.objective is not None:
        check_objective(spec.objective, base_dir, allow)
        return CheckReport(spec.objective, {}, n_workers=len(places))
    from hpo.train.checks.probe_points import corners
    from hpo.train.checks.task_preview import estimate, one_batch

    assert spec.task is not None
    task, splits = _load(spec.task, spec.task_options, spec.validation, base_dir, allow)
    on_device = splits.to(places[0].device)
    points = [Params(point) for point in corners(spec.space)[:3]]
    with _threads(places[0].n_threads):
        sizes = [one_batch(task, on_device, point).n_parameters for point in points]
        # Parts of a trial that train as lanes of one stack cost less; this is an upper bound.
        seconds = spec.validation.n_parts * estimate(task, on_device, spec.space)
    upper_s, likely_s = _durations(spec, seconds, len(places))
    return CheckReport(
        task=spec.task,
        description=describe(task),
        n_train=len(splits.train),
        n_val=len(splits.val),
        n_test=len(splits.test) if splits.test is not None else 0,
        n_parameters=(min(sizes), max(sizes)),
        metrics=_metric_names(task, splits, spec.space, spec.metrics),
        seconds_per_epoch=seconds,
        n_workers=len(places),
        upper_s=upper_s,
        likely_s=likely_s,
    )


def describe(task: Task) -> Mapping[str, Any]:
    """Returns what a task says of its data, where it says something."""
    own = getattr(task, "describe", None)
    return own() if callable(own) else {}


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Lets PyTorch use as many threads as a worker would: more may be far slower, or faster."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _load(
    reference: str,
    options: Mapping[str, Any],
    validation: ValidationSpec,
    base_dir: Path,
    allow: tuple[str, ...],
) -> tuple[Task, AnySplits]:
    from hpo.train.task import data_of
    from hpo.train.user_code_guard import user_code

    task = resolve(reference, options, base_dir, Allow(allow))
    with user_code(f"the task {reference}"):
        task.setup()
        return task, data_of(task).folds(validation)[0]


def _metric_names(
    task: Task, splits: AnySplits, space: SearchSpace, wanted: tuple[str, ...]
) -> tuple[str, ...]:
    """Asks at one point after the other: a task may be unable to train at some of them."""
    from hpo.train.checks.probe_points import corners
    from hpo.train.checks.task_preview import metric_names

    first: TaskError | None = None
    for point in corners(space):
        try:
            return metric_names(task, splits, Params(point), wanted)
        except TaskError as error:
            first = first or error
    assert first is not None
    raise first


def _usual_metric(names: tuple[str, ...], directions: tuple[str, ...]) -> str | None:
    """Returns what a study optimises where neither it nor its task says so."""
    for metric in ("val_accuracy", "val_loss"):
        if metric in names and directions in ((), (default_direction(metric),)):
            return metric
    return None


def _is_unread(problem: Problem, space: SearchSpace, read: frozenset[str]) -> bool:
    name = problem.key.removeprefix("space.")
    return name in space and name not in read


def _space(draft: StudyDraft, task: Task) -> SearchSpace:
    """Returns the space to try the task with: of a wrong one what is right, and stand-ins."""
    given = {**usable(draft.parameters), **draft.stand_ins}
    return SearchSpace({name: given[name] for name in draft.names if name in given} or task.space)


def _validation(draft: StudyDraft) -> ValidationSpec:
    try:
        return ValidationSpec(**draft.values.get("validation", {}))
    except SpecError:
        # Right one by one and not together: the file's own error says so.
        return ValidationSpec()


def _unknown_metrics(wanted: tuple[str, ...], names: tuple[str, ...]) -> list[Problem]:
    from hpo.train.objective.metrics import nearest_metric

    return [
        Problem("metric", f"the task has no {name}{nearest_metric(name, names) or _among(names)}")
        for name in wanted
        if name not in names
    ]


def _among(names: tuple[str, ...]) -> str:
    return f"; it reports {', '.join(names)}"


def _durations(
    spec: StudySpec, seconds_per_epoch: float, n_workers: int
) -> tuple[float | None, float | None]:
    budget = spec.budget
    bounds = [budget.total_epochs] if budget.total_epochs else []
    if budget.trials:
        bounds.append(budget.trials * budget.epochs)
    hours = [budget.hours * 3600] if budget.hours else []
    if not bounds:
        return (hours[0], hours[0]) if hours else (None, None)
    upper_s = min([min(bounds) * seconds_per_epoch / n_workers, *hours])
    # Halving lets a third of the trials pass each of its rungs.
    share = 0.4 if spec.pruner.name in ("auto", "asha", "hyperband", "bohb", "freeze-thaw") else 1.0
    return upper_s, upper_s * share
