"""Templates: commented study files to start from. Pure text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hpo.spec.study_spec import default_direction
from hpo.spec.toml_writer import inline

if TYPE_CHECKING:
    from hpo.cli.study_subjects import StudySubject

_TASK = """\
# A study for hpo. Try it with `hpo check {path}`, start it with `hpo run {path}`.
name      = {name}
task      = {task}{task_note}
{metric}
[budget]
trials = 60                     # exactly so many, for any number of workers
{epochs}
# hours  = 2.0                  # the first limit reached ends the study
# target = 0.99                 # a value of the metric that is good enough
# patience = 30                 # ends after so many trials without improvement
{options}
{space}
[sampler]
name = "auto"                   # proposes parameters: auto, tpe, gp, cmaes, random, grid, qmc, ...

[pruner]
name = "auto"                   # pauses or stops trials: auto, asha, bohb, median, none, ...

# [validation]
# val_fraction  = 0.2           # share of the samples that trials are compared on
# test_fraction = 0.2           # share of the samples that the search never sees
# folds         = 5             # k-fold cross-validation instead of val_fraction; 1 for none
"""

_OBJECTIVE = """\
# A study for hpo, of an Optuna objective. Start it with `hpo run {path}`.
name      = {name}
objective = {task}   # takes an optuna.Trial, returns its value
direction = "minimize"          # or "maximize"

[budget]
trials = 100                    # exactly so many, for any number of workers
# hours  = 2.0                  # the first limit reached ends the study

[sampler]
name = "auto"                   # proposes parameters: auto, tpe, gp, cmaes, random, qmc, ...

[pruner]
name = "auto"                   # decides trial.should_prune(): auto, median, asha, none, ...
"""

_COMMAND = """\
# A study for hpo, of a command. Try it with `hpo check {path}`, start it with `hpo run {path}`.
name    = {name}
command = {command}
metric  = "val_accuracy"        # what the command reports

[budget]
trials = 60                     # exactly so many, for any number of workers
epochs = 27                     # at most, per trial
# hours  = 2.0                  # the first limit reached ends the study

[report]                        # leave it out if the script calls hpo.report or uses hpo.Run
pattern = 'val_accuracy[=: ]+(?P<val_accuracy>[-+.e0-9]+)'    # found in what it prints
# csv   = "metrics.csv"         # or in a CSV, in the folder of the trial ({{trial_dir}})

[space]
{space}
[sampler]
name = "auto"                   # proposes parameters: auto, tpe, gp, cmaes, random, grid, qmc, ...

[pruner]
name = "auto"                   # pauses or stops trials: auto, asha, bohb, median, none, ...
"""

_SPACE = """\
[space]
learning_rate = { low = 1e-4, high = 1.0, log = true }
batch_size    = { choices = [32, 64, 128, 256] }
momentum      = { low = 0.0, high = 0.99, when = { optimizer = "sgd" } }
weight_decay  = { low = 1e-6, high = 1e-1, log = true }
optimizer     = { choices = ["sgd", "adam"] }
"""

_MODEL = """\
depth         = { low = 1, high = 4 }        # whole numbers make an integer parameter
width         = { choices = [32, 64, 128] }
"""

_OWN = """\
# what your model reads, such as
# depth       = { low = 1, high = 4 }        # whole numbers make an integer parameter
"""

_TASKS_SPACE = """\
[space]                         # the task's own; change it as you like
"""

_COMMENTED_SPACE = """\
# [space]                       # the task brings its own; yours goes before it
# learning_rate = { low = 1e-4, high = 1e-1, log = true }
# depth         = { low = 1, high = 4 }      # whole numbers make an integer parameter
"""

_RANGE = "{ low = 0.0, high = 1.0 }"
_RANGES = {
    **dict.fromkeys(("learning_rate", "lr"), "{ low = 1e-4, high = 1e-1, log = true }"),
    **dict.fromkeys(("batch_size", "bs"), "{ choices = [32, 64, 128] }"),
    **dict.fromkeys(("weight_decay", "wd"), "{ low = 1e-6, high = 1e-1, log = true }"),
    **dict.fromkeys(("depth", "layers"), "{ low = 1, high = 4 }"),
    "width": "{ choices = [32, 64, 128] }",
    "optimizer": '{ choices = ["sgd", "adam"] }',
}

_EPOCHS = "epochs = 27                     # at most, per trial"

_TABULAR_EPOCHS = (
    "# epochs = 27                   # at most, per trial; the task has its own for few rows"
)

_METRIC = """\
metric    = {metric:<20}# `hpo check` lists the others
direction = {direction}
"""

_NO_METRIC = """\
# metric  = "val_accuracy"      # by default what suits the data; `hpo check` lists them
"""

_OPTION_NOTES = {"data": "relative to this file", "target": "the column to predict"}

_BUILT_IN_NOTE = '      # built in; or "package.module:MyTask", or "my_file.py:MyTask"'


def study(path: str, name: str, subject: StudySubject, options: Mapping[str, str]) -> str:
    """Returns a study file of a task.

    Args:
        path: Where it will be, for its first line.
        name: Of the study.
        subject: The task.
        options: ``data`` and ``target``, for a task that takes them.
    """
    is_tabular = subject.task == "tabular"
    return _TASK.format(
        path=path,
        name=_quoted(name),
        task=_quoted(subject.task),
        task_note=_BUILT_IN_NOTE if subject.is_built_in and not options else "",
        metric=_metric(subject),
        epochs=_TABULAR_EPOCHS if is_tabular else _EPOCHS,
        options=_options(options) if options else "",
        space=_COMMENTED_SPACE if is_tabular else _space(subject),
    )


def objective(path: str, name: str, reference: str) -> str:
    """Returns a study file of an Optuna objective."""
    return _OBJECTIVE.format(path=path, name=_quoted(name), task=_quoted(reference))


def command(path: str, name: str, text: str, parameters: Sequence[str]) -> str:
    """Returns a study file of a command.

    Args:
        path: Where it will be, for its first line.
        name: Of the study.
        text: The command with its placeholders.
        parameters: The placeholders that are parameters, for which ranges are suggested.
    """
    width = max(map(len, parameters), default=0)
    lines = [f"{one:<{width}} = {_RANGES.get(one, _RANGE)}\n" for one in parameters]
    return _COMMAND.format(
        path=path, name=_quoted(name), command=_quoted(text), space="".join(lines)
    )


def _metric(subject: StudySubject) -> str:
    if subject.metric is None or subject.task == "tabular":
        return _NO_METRIC
    direction = subject.direction or default_direction(subject.metric)
    return _METRIC.format(metric=_quoted(subject.metric), direction=_quoted(direction))


def _space(subject: StudySubject) -> str:
    """Returns the space of a task, or examples if the task has none."""
    if subject.task == "digits-mlp":
        return _SPACE + _MODEL
    if not subject.space:
        return _SPACE + _OWN
    width = max(map(len, subject.space))
    lines = [f"{name:<{width}} = {inline(value)}" for name, value in subject.space.items()]
    return _TASKS_SPACE + "\n".join(lines) + "\n"


def _options(options: Mapping[str, str]) -> str:
    lines = [
        f"{name:<6} = {_quoted(options[name]):<22} # {note}\n"
        for name, note in _OPTION_NOTES.items()
        if name in options
    ]
    return "\n[task_options]\n" + "".join(lines)


def _quoted(value: str) -> str:
    # JSON's escapes are those of TOML's basic strings.
    return json.dumps(value, ensure_ascii=False)
