"""Wrong study files and what is said about each, word for word."""

from __future__ import annotations

from textwrap import dedent

import pytest

from hpo.errors import Problem, SpecError
from hpo.spec import toml

RIGHT = {
    "name": 'name = "x"',
    "task": 'task = "digits-mlp"',
    "budget": "[budget]\ntrials = 10",
}

FORMS = "{ low = ..., high = ... }, { choices = [...] } or one fixed value"
KEYS = (
    "name, task, objective, command, metric, direction, engine, seed, "
    "task_options, budget, space, sampler, pruner, validation, report, resources"
)

# In place of the right parts: another text of a part, or another part. Then the expected lines.
WRONG: dict[str, tuple[dict[str, str], list[str]]] = {
    "log from zero": (
        {"space": "[space]\nlearning_rate = { low = 0.0, high = 1.0, log = true }"},
        ["space.learning_rate: log = true needs low > 0; low is 0.0"],
    ),
    "log from a negative whole number": (
        {"space": "[space]\nwidth = { low = -1, high = 8, log = true }"},
        ["space.width: log = true needs low > 0; low is -1"],
    ),
    "empty range": (
        {"space": "[space]\nmomentum = { low = 0.9, high = 0.5 }"},
        ["space.momentum: empty range: low must be below high; low is 0.9, high is 0.5"],
    ),
    "range of one value": (
        {"space": "[space]\ndepth = { low = 2, high = 2 }"},
        ["space.depth: empty range: low must be below high; low is 2, high is 2"],
    ),
    "no step": (
        {"space": "[space]\nwidth = { low = 16, high = 64, step = 0 }"},
        ["space.width: step must be above 0; step is 0"],
    ),
    "step beyond the range": (
        {"space": "[space]\nwidth = { low = 16, high = 64, step = 64 }"},
        ["space.width: step 64 does not fit between 16 and 64"],
    ),
    "step with log": (
        {"space": "[space]\nwidth = { low = 16, high = 64, step = 16, log = true }"},
        ["space.width: log = true and step exclude each other"],
    ),
    "infinite bound": (
        {"space": "[space]\nmomentum = { low = 0.0, high = inf }"},
        ["space.momentum.high: must be a finite number; found inf"],
    ),
    "text for a bound": (
        {"space": '[space]\nmomentum = { low = "0", high = 1.0 }'},
        ['space.momentum.low: must be a number; found "0"'],
    ),
    "truth for a bound": (
        {"space": "[space]\nmomentum = { low = true, high = 1.0 }"},
        ["space.momentum.low: must be a number; found true"],
    ),
    "number for a flag": (
        {"space": "[space]\nmomentum = { low = 0.1, high = 1.0, log = 1 }"},
        ["space.momentum.log: must be true or false; found 1"],
    ),
    "no upper bound": (
        {"space": "[space]\nmomentum = { low = 0.0 }"},
        ["space.momentum: high is missing"],
    ),
    "misspelt bound": (
        {"space": "[space]\nmomentum = { low = 0.0, hihg = 1.0 }"},
        [
            "space.momentum: high is missing",
            "space.momentum.hihg: unknown key; did you mean high?",
        ],
    ),
    "whole numbers too large for a double": (
        {"space": "[space]\nwidth = { low = 1, high = 9007199254740993 }"},
        ["space.width.high: must be at most 9,007,199,254,740,992; found 9007199254740993"],
    ),
    "no choices": (
        {"space": "[space]\nwidth = { choices = [] }"},
        ["space.width.choices: must not be an empty list"],
    ),
    "choices alike": (
        {"space": "[space]\nwidth = { choices = [32, 64, 32] }"},
        ["space.width.choices: must differ from each other; 32 stands twice"],
    ),
    "choices that are equal in Python": (
        {"space": "[space]\nnesterov = { choices = [1, true] }"},
        ["space.nesterov.choices: must differ from each other; 1 and true count as equal"],
    ),
    "choices that are lists": (
        {"space": "[space]\nlayers = { choices = [[32, 32], 64] }"},
        ["space.layers.choices: must be text, a number, true or false; found [32, 32]"],
    ),
    "bare list": (
        {"space": "[space]\nwidth = [32, 64]"},
        [
            f"space.width: must be {FORMS}; found [32, 64]; "
            "write { low = 32, high = 64 } or { choices = [32, 64] }"
        ],
    ),
    "empty table": (
        {"space": "[space]\nwidth = {}"},
        [f"space.width: must be {FORMS}"],
    ),
    "two forms at once": (
        {"space": "[space]\nwidth = { low = 1, high = 8, choices = [1, 8] }"},
        ["space.width: has choices as well as low and high; one of them is enough"],
    ),
    "name that is no Python name": (
        {"space": "[space]\nlearning-rate = 0.1\nlambda = 1"},
        [
            "space.learning-rate: must be a Python name, as it is read by params.name",
            "space.lambda: must be a Python name, as it is read by params.name",
        ],
    ),
    "private and taken names": (
        {"space": "[space]\n_x = 1\nitems = 2"},
        [
            "space._x: must not begin with _",
            "space.items: is taken: params.items is a method",
        ],
    ),
    "names that differ in case": (
        {"space": "[space]\nDepth = 1\ndepth = 2"},
        ["space.depth: differs from Depth in upper and lower case only; not every database does"],
    ),
    "condition on nothing": (
        {
            "space": "[space]\noptimizer = { choices = ['sgd', 'adam'] }\n"
            "beta1 = { low = 0.8, high = 0.9, when = { optimiser = 'adam' } }"
        },
        ["space.beta1.when.optimiser: no such parameter; did you mean optimizer?"],
    ),
    "condition on an impossible value": (
        {
            "space": "[space]\noptimizer = { choices = ['sgd', 'adam'] }\n"
            "beta1 = { low = 0.8, high = 0.9, when = { optimizer = ['adam', 'adan'] } }"
        },
        ['space.beta1.when.optimizer: optimizer is never "adan"; did you mean adam?'],
    ),
    "condition out of range": (
        {
            "space": "[space]\ndepth = { low = 2, high = 8, step = 2 }\n"
            "dropout = { low = 0.0, high = 0.5, when = { depth = [3, 4] } }"
        },
        ["space.dropout.when.depth: depth is never 3; it goes from 2 to 8 in steps of 2"],
    ),
    "condition on another fixed value": (
        {
            "space": "[space]\noptimizer = 'sgd'\n"
            "beta1 = { low = 0.8, high = 0.9, when = { optimizer = 'adam' } }"
        },
        ['space.beta1.when.optimizer: optimizer is never "adam"; it is fixed at "sgd"'],
    ),
    "condition on a real number": (
        {
            "space": "[space]\nmomentum = { low = 0.0, high = 0.9 }\n"
            "nesterov = { value = true, when = { momentum = 0.9 } }"
        },
        [
            "space.nesterov.when.momentum: a condition needs countable values; "
            "momentum is a real number"
        ],
    ),
    "conditions in a circle": (
        {
            "space": "[space]\nc = { value = 1, when = { a = 1 } }\n"
            "a = { value = 1, when = { b = 1 } }\nb = { value = 1, when = { a = 1 } }\n"
            "d = { value = 1, when = { d = 1 } }"
        },
        [
            "space.a: the conditions go round in a circle: a -> b -> a",
            "space.d: cannot depend on itself",
        ],
    ),
    "condition that is no table": (
        {"space": "[space]\nb = { value = 1, when = 'a' }"},
        ['space.b.when: must be a table of parameters and values; found "a"'],
    ),
    "misspelt key": (
        {"metric": 'metirc = "val_accuracy"'},
        ["metirc: unknown key; did you mean metric?"],
    ),
    "unlike any key": (
        {"metric": "zzz = 1"},
        [f"zzz: unknown key; allowed: {KEYS}"],
    ),
    "key without its table": (
        {"metric": "trials = 60"},
        ["trials: belongs into [budget]"],
    ),
    "misspelt task": (
        {"task": 'tsk = "digits-mlp"'},
        ["tsk: unknown key; did you mean task?"],
    ),
    "no task": (
        {"task": ""},
        ['task: missing; name a task such as "digits-mlp", an objective or a command'],
    ),
    "task and objective": (
        {"metric": 'objective = "train.py:objective"'},
        ["objective: a study has one of task, objective, command; found task and objective"],
    ),
    "options of an objective": (
        {"task": 'objective = "m:f"', "task_options": "[task_options]\nn = 1"},
        ["task_options: an objective takes no options; they are a task's"],
    ),
    "no name": ({"name": ""}, ["name: missing; every study has a name"]),
    "name of a path": (
        {"name": 'name = "a/b"'},
        ['name: must have no slashes; found "a/b"'],
    ),
    "name like an option": (
        {"name": 'name = "-x"'},
        ['name: must not begin with - nor be . or ..; found "-x"'],
    ),
    "name of two lines": (
        {"name": 'name = "a\\nb"'},
        ['name: must be printable, no spaces around it; found "a\\nb"'],
    ),
    "empty name": ({"name": 'name = ""'}, ["name: must not be empty"]),
    "number for a name": ({"name": "name = 3"}, ["name: must be text; found 3"]),
    "long name": (
        {"name": f'name = "{"x" * 201}"'},
        ["name: must be at most 200 characters long; it has 201"],
    ),
    "no budget": (
        {"budget": ""},
        ["budget: needs at least one of trials, total_epochs, hours, target"],
    ),
    "budget that never ends": (
        {"budget": "[budget]\nepochs = 9"},
        ["budget: needs at least one of trials, total_epochs, hours, target"],
    ),
    "misspelt budget": (
        {"budget": "[budget]\ntrails = 60\nepoch = 9"},
        [
            "budget.trails: unknown key; did you mean trials?",
            "budget.epoch: unknown key; did you mean epochs?",
        ],
    ),
    "nothing and too much": (
        {"budget": "[budget]\ntrials = 0\nepochs = 2.5\nhours = 0\ntarget = nan"},
        [
            "budget.trials: must be at least 1; found 0",
            "budget.epochs: must be a whole number; found 2.5",
            "budget.hours: must be above 0 and at most 876,600; found 0",
            "budget.target: must be a finite number; found nan",
        ],
    ),
    "endless number": (
        {"budget": f"[budget]\ntrials = 0x{'f' * 5000}"},
        ["budget.trials: must be at most 1,000,000,000; found a number of more than 64 bits"],
    ),
    "number for a table": (
        {"budget": "budget = 60"},
        ["budget: must be a table; found 60"],
    ),
    "target of two metrics": (
        {
            "metric": 'metric = ["val_loss", "val_accuracy"]',
            "budget": "[budget]\ntrials = 5\ntarget = 0.9",
        },
        ["budget.target: goes with a single metric only"],
    ),
    "too few directions": (
        {"metric": 'metric = ["val_loss", "val_accuracy"]\ndirection = "minimize"'},
        ["direction: must be one for each metric; found 1 for 2"],
    ),
    "another word for a direction": (
        {"metric": 'metric = "val_loss"\ndirection = "min"'},
        ['direction: must be "maximize" or "minimize"; found "min"'],
    ),
    "same metric twice": (
        {"metric": 'metric = ["val_loss", "val_loss"]'},
        ['metric: must not name one twice; found ["val_loss", "val_loss"]'],
    ),
    "unknown engine": (
        {"metric": 'engine = "turbo"'},
        ['engine: must be "auto", "solo" or "fused"; found "turbo"'],
    ),
    "negative seed": ({"metric": "seed = -1"}, ["seed: must be at least 0; found -1"]),
    "large seed": (
        {"metric": "seed = 4294967296"},
        ["seed: must be at most 4,294,967,295; found 4294967296"],
    ),
    "misspelt sampler": (
        {"sampler": 'sampler = "tpee"'},
        ['sampler: no sampler is called "tpee"; did you mean tpe?'],
    ),
    "unknown pruner": (
        {"pruner": '[pruner]\nname = "scissors"'},
        [
            'pruner.name: no pruner is called "scissors"; allowed: auto, none, median, '
            "percentile, threshold, patient, wilcoxon, asha, hyperband, bohb, freeze-thaw"
        ],
    ),
    "options of a sampler": (
        {"sampler": "[sampler]\nname = 'tpe'\nn_startup_trial = 20\nmultivariate = 1"},
        [
            "sampler.n_startup_trial: unknown option of tpe; did you mean n_startup_trials?",
            "sampler.multivariate: must be true or false; found 1",
        ],
    ),
    "options of none": (
        {"sampler": '[sampler]\nname = "random"\nseed = 1'},
        ["sampler: random takes no options; found seed"],
    ),
    "options that do not go together": (
        {
            "sampler": '[sampler]\nname = "tpe"\ngroup = true\nmultivariate = false',
            "pruner": '[pruner]\nname = "asha"\ntype = "stop"\nmin_resource = "auto"\n'
            "bootstrap_count = 2",
        },
        [
            "sampler: group = true needs multivariate = true",
            'pruner: bootstrap_count needs a min_resource other than "auto"',
        ],
    ),
    "option of halving that stops": (
        {"pruner": '[pruner]\nname = "asha"\nbootstrap_count = 2'},
        ['pruner: bootstrap_count needs type = "stop"'],
    ),
    "pruner without its bounds": (
        {"pruner": 'pruner = "threshold"'},
        ["pruner: threshold needs lower, upper or both"],
    ),
    "word for a resource": (
        {"pruner": '[pruner]\nname = "asha"\nmin_resource = "all"\nreduction_factor = 1'},
        [
            'pruner.min_resource: must be a whole number or "auto"; found "all"',
            "pruner.reduction_factor: must be at least 2; found 1",
        ],
    ),
    "grid over real numbers": (
        {
            "sampler": 'sampler = "grid"',
            "space": "[space]\nmomentum = { low = 0.0, high = 0.9 }\nwidth = { low = 1, high = 4 }",
        },
        ['space.momentum: sampler = "grid" needs a step; it is continuous'],
    ),
    "first step of no size": (
        {"sampler": 'sampler = { name = "cmaes", sigma0 = 0.0 }'},
        ["sampler: sigma0 must be above 0; found 0.0"],
    ),
    "nothing left to train on": (
        {"validation": "[validation]\nval_fraction = 0.5\ntest_fraction = 0.5"},
        ["validation: val_fraction + test_fraction must be below 1; found 0.5 + 0.5"],
    ),
    "no validation": (
        {"validation": "[validation]\nval_fraction = 0\ntest_fraction = 1.5"},
        [
            "validation.val_fraction: must be above 0 and below 1; found 0",
            "validation.test_fraction: must be at least 0 and below 1; found 1.5",
        ],
    ),
    "option that is not a number": (
        {"task_options": "[task_options]\na = { b = [1.0, nan] }"},
        ["task_options.a.b: must be a finite number; found nan"],
    ),
    "options nested without end": (
        {"task_options": f"[task_options]\n{'.'.join('a' * 40)} = 1"},
        [f"task_options.{'.'.join('a' * 18)}: is nested more than 16 tables deep"],
    ),
}


def _text(changes: dict[str, str]) -> str:
    parts = {**RIGHT, **changes}
    # Keys of the top table must precede every header.
    return "\n".join(sorted(parts.values(), key=lambda part: part.startswith("[")))


def _lines(error: SpecError) -> list[str]:
    return [f"{problem.key}: {problem.message}" for problem in error.problems]


@pytest.mark.parametrize("case", WRONG)
def test_every_mistake_is_named(case: str) -> None:
    changes, expected = WRONG[case]
    with pytest.raises(SpecError) as caught:
        toml.loads(_text(changes), "x.toml")
    assert _lines(caught.value) == expected
    n = len(expected)
    assert caught.value.message == f"x.toml has {n} mistake{'s' * (n > 1)}"
    assert caught.value.exit_code == 2


def test_the_right_parts_are_right() -> None:
    assert toml.loads(_text({})).budget.trials == 10


def test_all_mistakes_of_a_file_come_at_once_in_its_order() -> None:
    text = dedent("""\
        seed = -1
        [pruner]
        name = "ashaa"
        [space]
        momntum = { low = 0.0, high = 0.99 }
        learning_rate = { low = 0.0, high = 1.0, log = true }
        [budget]
        epoch = 3
        trials = 0
    """)
    parsed = toml.parse(text, "broken.toml")
    assert parsed.spec is None
    error = parsed.error([Problem("space.momntum", "no task reads this; did you mean momentum?")])
    assert f"{error}\n" == dedent("""\
        broken.toml has 8 mistakes
          seed                  must be at least 0; found -1
          pruner.name           no pruner is called "ashaa"; did you mean asha?
          space.momntum         no task reads this; did you mean momentum?
          space.learning_rate   log = true needs low > 0; low is 0.0
          budget.epoch          unknown key; did you mean epochs?
          budget.trials         must be at least 1; found 0
          name                  missing; every study has a name
          task                  missing; name a task such as "digits-mlp", an objective or a command
    """)


def test_later_checks_add_to_a_right_file() -> None:
    parsed = toml.parse(_text({"space": "[space]\nmomntum = 0.9"}), "x.toml")
    assert parsed.spec is not None
    assert parsed.error() is None
    error = parsed.error([Problem("space.momntum", "no task reads this")])
    assert str(error) == "x.toml has 1 mistake\n  space.momntum   no task reads this"


def test_a_draft_holds_what_could_be_read() -> None:
    text = _text({"space": "[space]\ndepth = { low = 1, high = 4 }\nwidth = {}", "metric": "x = 1"})
    draft = toml.parse(text, "x.toml").draft
    assert draft.task == "digits-mlp"
    assert draft.objective is None
    assert draft.names == ("depth", "width")
    assert list(draft.parameters) == ["depth"]
    assert draft.task_options == {}


SYNTAX = {
    "no value": ("name = \n", "line 1, column 8", "invalid value: name ="),
    "no comma": (
        "name = 'x'\n[space]\na = { low = 1 high = 2 }\n",
        "line 3, column 15",
        "unclosed inline table: a = { low = 1 high = 2 }",
    ),
    "no end of text": ("name = 'x'\ntask = 'y", "line 2, column 10", None),
    "same key": ("a = 1\na = 2\n", "line 2, column 6", "this key stands here a second time: a = 2"),
    "same table": ("[a]\n[a]\n", "line 2, column 3", "cannot declare ('a',) twice: [a]"),
    "long number": (f"a = {'1' * 5000}", "a number", "has more digits than can be read"),
    "one long line": (f"a = [{'1, ' * 500}x]", "line 1, column 1506", None),
}


@pytest.mark.parametrize("case", SYNTAX)
def test_broken_toml_is_shown_where_it_breaks(case: str) -> None:
    text, key, message = SYNTAX[case]
    with pytest.raises(SpecError, match=r"^x\.toml is not valid TOML") as caught:
        toml.loads(text, "x.toml")
    (problem,) = caught.value.problems
    assert problem.key == key
    assert message is None or problem.message == message
    assert len(problem.message) < 200


@pytest.mark.parametrize("text", ["", "  \n\n", "# nothing\n", "\ufeff"])
def test_an_empty_file_says_what_a_study_needs(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        toml.loads(text, "x.toml")
    assert str(caught.value) == "x.toml is empty; a study needs a task, a space and a budget"


def test_a_bottomless_file_is_refused() -> None:
    with pytest.raises(SpecError, match="nested too deeply"):
        toml.loads("x = " + "[" * 100_000, "x.toml")
