"""Commented study files to start from. Pure text."""

from __future__ import annotations

import json

_TASK = """\
# A study for hpo. Try it with `hpo check {path}`, start it with `hpo run {path}`.
name      = {name}
task      = {task}{task_note}
{metric}
[budget]
trials = 60                     # exactly so many, however many workers
{epochs}
# hours  = 2.0                  # whatever ends first ends the study
# target = 0.99                 # a value of the metric that is good enough
# patience = 30                 # so many trials in a row are no better: enough
{options}
{space}
[sampler]
name = "auto"                   # what proposes: auto, tpe, gp, cmaes, random, grid, qmc, ...

[pruner]
name = "auto"                   # what pauses or stops trials: auto, asha, bohb, median, none, ...

# [validation]
# val_fraction  = 0.2           # the trials are compared on these
# test_fraction = 0.2           # and never see these
# folds         = 5             # cross-validation in the place of val_fraction; 1 for none
"""

_OBJECTIVE = """\
# A study for hpo, of an Optuna objective. Start it with `hpo run {path}`.
name      = {name}
objective = {task}   # takes an optuna.Trial, returns its value
direction = "minimize"          # or "maximize"

[budget]
trials = 100                    # exactly so many, however many workers
# hours  = 2.0                  # whatever ends first ends the study

[sampler]
name = "auto"                   # what proposes: auto, tpe, gp, cmaes, random, qmc, ...

[pruner]
name = "auto"                   # what trial.should_prune() asks: auto, median, asha, none, ...
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

_TABULAR_SPACE = """\
# [space]                       # the task brings its own; yours goes before it
# learning_rate = { low = 1e-4, high = 1e-1, log = true }
# depth         = { low = 1, high = 4 }      # whole numbers make an integer parameter
"""

_EPOCHS = "epochs = 27                     # at most, per trial"

_TABULAR_EPOCHS = (
    "# epochs = 27                   # at most, per trial; the task has its own for few rows"
)

_METRIC = """\
metric    = "val_accuracy"      # `hpo check` lists the others
direction = "maximize"
"""

_TABULAR_METRIC = """\
# metric  = "val_accuracy"      # the task chooses one for your target; `hpo check` lists them
"""

_BUILT_IN_NOTE = '      # built in; or "package.module:MyTask", or "my_file.py:MyTask"'


def study(
    path: str,
    name: str,
    *,
    task: str = "digits-mlp",
    data: str | None = None,
    target: str | None = None,
) -> str:
    """Returns a study file of a task.

    Args:
        path: Where it will be, for its first line.
        task: A built-in task, ``"package.module:Class"`` or ``"file.py:Class"``.
        data: The table of a ``tabular`` study.
        target: The column that a ``tabular`` study predicts.
    """
    is_tabular = task == "tabular"
    is_built_in = ":" not in task
    return _TASK.format(
        path=path,
        name=_quoted(name),
        task=_quoted(task),
        task_note=_BUILT_IN_NOTE if is_built_in and not is_tabular else "",
        metric=_TABULAR_METRIC if is_tabular else _METRIC,
        epochs=_TABULAR_EPOCHS if is_tabular else _EPOCHS,
        options=_options(data, target) if is_tabular else "",
        space=_TABULAR_SPACE if is_tabular else _SPACE + (_MODEL if is_built_in else _OWN),
    )


def objective(path: str, name: str, reference: str) -> str:
    """Returns a study file of an Optuna objective."""
    return _OBJECTIVE.format(path=path, name=_quoted(name), task=_quoted(reference))


def _options(data: str | None, target: str | None) -> str:
    return (
        "\n[task_options]\n"
        f"data   = {_quoted(data or 'my.csv'):<22} # CSV or Parquet, beside this file\n"
        f"target = {_quoted(target or 'label'):<22} # the column to predict\n"
    )


def _quoted(value: str) -> str:
    # JSON's escapes are those of TOML's basic strings.
    return json.dumps(value, ensure_ascii=False)
