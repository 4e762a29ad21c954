"""Samplers and pruners by name, with the options that each takes.

The options are those of Optuna 5's constructors that a study file can express, without deprecated
ones. Seeds are derived from the study's seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from hpo.errors import did_you_mean
from hpo.spec.values.findings import Findings, show
from hpo.spec.values.kinds import (
    LARGEST_COUNT,
    Flag,
    Number,
    Text,
    ValueKind,
    Whole,
    Word,
    WordOrWhole,
    read_table,
)

Options: TypeAlias = Mapping[str, ValueKind]

_FROM_0: Final = Whole(0, LARGEST_COUNT)
_FROM_1: Final = Whole(1, LARGEST_COUNT)
_FROM_2: Final = Whole(2, LARGEST_COUNT)
_PROBABILITY: Final = Number(0, 1)
_STEPS: Final[Options] = {"n_warmup_steps": _FROM_0, "interval_steps": _FROM_1}
_RANKED: Final[Options] = {"n_startup_trials": _FROM_0, **_STEPS, "n_min_trials": _FROM_1}
_GENETIC: Final[Options] = {
    "population_size": _FROM_2,
    "mutation_prob": _PROBABILITY,
    "crossover_prob": _PROBABILITY,
    "swapping_prob": _PROBABILITY,
}

_BRACKETS: Final[Options] = {
    "min_resource": _FROM_1,
    "max_resource": WordOrWhole("auto", _FROM_1),
    "reduction_factor": _FROM_2,
    "bootstrap_count": _FROM_0,
}

_ONLY_STOPPING: Final = frozenset({"min_early_stopping_rate", "bootstrap_count"})

SAMPLERS: Final[Mapping[str, Options]] = {
    "auto": {"learn_from": Text()},
    "random": {},
    "grid": {},
    "qmc": {"qmc_type": Word(("sobol", "halton")), "scramble": Flag()},
    "tpe": {
        "n_startup_trials": _FROM_0,
        "n_ei_candidates": _FROM_1,
        "multivariate": Flag(),
        "group": Flag(),
        "constant_liar": Flag(),
    },
    "gp": {"n_startup_trials": _FROM_0, "deterministic_objective": Flag()},
    "cmaes": {
        "n_startup_trials": _FROM_0,
        "sigma0": Number(0),
        "popsize": _FROM_2,
        "consider_pruned_trials": Flag(),
    },
    "nsga2": _GENETIC,
    "nsga3": {**_GENETIC, "dividing_parameter": _FROM_1},
}

PRUNERS: Final[Mapping[str, Options]] = {
    "auto": {},
    "none": {},
    "median": _RANKED,
    "percentile": {"percentile": Number(0, 100), **_RANKED},
    "threshold": {"lower": Number(), "upper": Number(), **_STEPS},
    "patient": {"patience": _FROM_0, "min_delta": Number(0)},
    "wilcoxon": {"p_threshold": _PROBABILITY, "n_startup_steps": _FROM_0},
    "asha": {
        "type": Word(("promote", "stop")),
        "min_resource": WordOrWhole("auto", _FROM_1),
        "reduction_factor": _FROM_2,
        "min_early_stopping_rate": _FROM_0,
        "bootstrap_count": _FROM_0,
    },
    "hyperband": _BRACKETS,
    "bohb": _BRACKETS,
    "freeze-thaw": {},
}

METHODS: Final[Mapping[str, Mapping[str, Options]]] = {"sampler": SAMPLERS, "pruner": PRUNERS}
DEFAULT_METHOD: Final = {"sampler": "auto", "pruner": "auto"}


def read_method(role: str, value: Any, findings: Findings) -> dict[str, Any]:
    """Reads a sampler or a pruner: a bare name, or a table of its name and options.

    Args:
        role: ``sampler`` or ``pruner``.
        value: The study's entry.
        findings: Collects the mistakes, below the role's key.

    Returns:
        Its ``name`` and ``options``; empty when the name is wrong.
    """
    if isinstance(value, str):
        return _named(role, value, {}, findings, findings)
    if not isinstance(value, Mapping):
        findings.add(f"must be a name or a table; found {show(value)}")
        return {}
    table = dict(value)
    name = table.pop("name", DEFAULT_METHOD[role])
    options = table.pop("options", {})
    if not isinstance(options, Mapping):
        findings.add(f"must be a table; found {show(options)}", "options")
        return {}
    return _named(role, name, {**options, **table}, findings.below("name"), findings)


def _named(
    role: str, name: Any, options: Mapping[str, Any], at_name: Findings, findings: Findings
) -> dict[str, Any]:
    allowed = METHODS[role]
    if not isinstance(name, str) or name not in allowed:
        hint = did_you_mean(name, allowed) if isinstance(name, str) else ""
        at_name.add(f"no {role} is called {show(name)}{hint or '; allowed: ' + ', '.join(allowed)}")
        return {}
    kinds = allowed[name]
    if options and not kinds:
        findings.add(f"{name} takes no options; found {', '.join(map(str, options))}")
        return {}
    before = len(findings.problems)
    values = read_table(options, kinds, findings, what=f"option of {name}")
    if len(findings.problems) == before:
        _check_together(name, values, findings)
    return {"name": name, "options": values}


def _check_together(name: str, options: Mapping[str, Any], findings: Findings) -> None:
    """Records options that are valid one by one, but that Optuna refuses together."""
    match name, options:
        case "tpe", {"group": True, "multivariate": False}:
            findings.add("group = true needs multivariate = true")
        case "cmaes", {"sigma0": size} if size <= 0:
            findings.add(f"sigma0 must be above 0; found {show(size)}")
        case "threshold", {"lower": low, "upper": high} if low > high:
            findings.add(f"lower must not be above upper; found {show(low)} and {show(high)}")
        case "threshold", _ if "lower" not in options and "upper" not in options:
            findings.add("threshold needs lower, upper or both")
        case "asha", _ if options.get("type") != "stop" and _ONLY_STOPPING & set(options):
            named = " and ".join(sorted(_ONLY_STOPPING & set(options)))
            findings.add(f'{named} needs type = "stop"')
        case "asha", {"min_resource": "auto", "bootstrap_count": int(n)} if n > 0:
            findings.add('bootstrap_count needs a min_resource other than "auto"')
        case "hyperband" | "bohb", {"max_resource": "auto", "bootstrap_count": int(n)} if n > 0:
            findings.add('bootstrap_count needs a max_resource other than "auto"')
        case (
            ("hyperband" | "bohb"),
            {
                "min_resource": int(low),
                "max_resource": int(high),
            },
        ) if low > high:
            findings.add(f"min_resource must not be above max_resource; found {low} and {high}")
