"""Script settings: what a study takes from its objective's script, and which are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpo.tasks.code.script_reading import Called, ScriptCall, Unreadable, relevant_calls

_SAMPLERS: Final = {
    "TPESampler": "tpe",
    "RandomSampler": "random",
    "GPSampler": "gp",
    "CmaEsSampler": "cmaes",
    "QMCSampler": "qmc",
    "NSGAIISampler": "nsga2",
    "NSGAIIISampler": "nsga3",
}
_PRUNERS: Final = {
    "MedianPruner": "median",
    "PercentilePruner": "percentile",
    "SuccessiveHalvingPruner": "asha",
    "HyperbandPruner": "hyperband",
    "PatientPruner": "patient",
    "WilcoxonPruner": "wilcoxon",
    "NopPruner": "none",
}
_KNOWN: Final = ("minimize", "maximize")


@dataclass(frozen=True)
class Takeover:
    """The settings that a study takes from a script.

    Attributes:
        directions: Directions that are taken from the script; empty for none.
        lines: Notices for the user, one sentence each.
    """

    directions: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


def take_over(
    source: str, file: str, function: str, given: Mapping[str, Any], usual: tuple[str, ...]
) -> Takeover:
    """Reads the settings in the script of an objective.

    Args:
        source: Text of the script.
        file: Name of the script, for the notices.
        function: Name of the objective.
        given: Settings that the user has given: ``direction``, ``sampler``, ``pruner``, ``trials``,
            ``storage``, ``name`` and so on; the script's are ignored for these.
        usual: The directions of a study that takes none from its script.
    """
    try:
        calls = relevant_calls(source, function.partition(".")[0])
    except (SyntaxError, ValueError, RecursionError):
        return Takeover()
    directions, first = _directions(calls, file, given, usual)
    rest = list(dict.fromkeys(_rest(calls, given)))
    lines = list(first)
    if rest:
        lines.append(f"{file}: not taken over: {'; '.join(rest)}")
    return Takeover(directions, tuple(lines))


def _directions(
    calls: Sequence[ScriptCall], file: str, given: Mapping[str, Any], usual: tuple[str, ...]
) -> tuple[tuple[str, ...], list[str]]:
    created = [call for call in calls if call.verb == "create_study"]
    if "direction" in given or not created:
        return (), []
    unless = f"hpo takes {' and '.join(usual)}, unless you give --direction"
    found = {call.line: _direction(call) for call in created}
    for line, one in found.items():
        if isinstance(one, Unreadable):
            return (), [
                f"{file}:{line} creates its study with a direction that cannot be read "
                f"({one.text}): {unless}"
            ]
    told = {line: one for line, one in found.items() if isinstance(one, tuple)}
    if len(set(told.values())) > 1:
        listed = ", ".join(f"{' and '.join(d)} in line {line}" for line, d in told.items())
        return (), [f"{file} creates studies with different directions ({listed}): {unless}"]
    line, directions = next(iter(told.items()))
    if directions == usual:
        return (), []
    what = "direction" if len(directions) == 1 else "directions"
    return directions, [
        f"{file}:{line} creates its study with {what} {', '.join(directions)}: taken over"
    ]


def _direction(call: ScriptCall) -> tuple[str, ...] | Unreadable:
    if "**" in call.given:
        return call.given["**"] if isinstance(call.given["**"], Unreadable) else Unreadable("**")
    several, one = call.given.get("directions"), call.given.get("direction")
    values = several if several is not None else [one or "minimize"]
    if isinstance(values, Unreadable):
        return values
    if not isinstance(values, list | tuple) or not values:
        return Unreadable(str(values))
    for value in values:
        if value not in _KNOWN:
            return value if isinstance(value, Unreadable) else Unreadable(_shown(value))
    return tuple(values)


def _rest(calls: Iterable[ScriptCall], given: Mapping[str, Any]) -> Iterator[str]:
    name = given.get("name", "STUDY")
    for call in calls:
        at = f" in line {call.line}"
        match call.verb:
            case "create_study" | "load_study":
                for text in _of_study(call.given, given):
                    yield text + at
            case "optimize":
                for text in _of_optimize(call.given, given):
                    yield text + at
            case "enqueue_trial":
                point = call.given.get("params", call.given.get("0"))
                yield f"an enqueued trial{at} ({_enqueuing(name, point)})"
            case "add_trial" | "add_trials":
                yield f"added trials{at} (hpo.Study.optuna.add_trial)"


def _of_study(found: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    sampler, pruner = found.get("sampler"), found.get("pruner")
    if sampler is not None:
        if isinstance(sampler, Called) and sampler.given.get("constraints_func") is not None:
            yield "constraints_func (hpo has no constraints: trials that break them count, too)"
        if "sampler" not in given:
            yield _method("sampler", sampler, _SAMPLERS)
    if pruner is not None and "pruner" not in given:
        yield _method("pruner", pruner, _PRUNERS)
    storage = found.get("storage")
    if storage is not None and "storage" not in given:
        is_url = isinstance(storage, str)
        yield f"storage {_shown(storage)} (--storage {storage if is_url else 'URL'})"
    study_name = found.get("study_name")
    if study_name is not None and not given.get("is_named") and study_name != given.get("name"):
        is_text = isinstance(study_name, str)
        yield f"study_name {_shown(study_name)} (--name {study_name if is_text else 'NAME'})"


def _method(role: str, value: Any, names: Mapping[str, str]) -> str:
    if isinstance(value, Unreadable):
        return f"{role} {value.text} (--{role} NAME)"
    if not isinstance(value, Called):
        return f"{role} {_shown(value)} (--{role} NAME)"
    if value.name in names:
        options = ", its options below [" + role + "] of a study file" if _options(value) else ""
        return f"{role} {value.name} (--{role} {names[value.name]}{options})"
    if value.name == "GridSampler":
        return 'sampler GridSampler (a study file with sampler = "grid" and a [space])'
    if value.name == "ThresholdPruner":
        return "pruner ThresholdPruner (a study file with a [pruner] and its lower or upper)"
    return f"{role} {value.name} (hpo has none like it)"


def _options(value: Called) -> bool:
    return bool(set(value.given) - {"seed", "constraints_func"})


def _of_optimize(found: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    n_trials = found.get("n_trials")
    if n_trials is not None and n_trials != given.get("trials"):
        is_number = isinstance(n_trials, int)
        yield f"n_trials {_shown(n_trials)} (--trials {n_trials if is_number else 'N'})"
    timeout = found.get("timeout")
    if timeout is not None and "hours" not in given:
        is_number = isinstance(timeout, int | float)
        hours = f"{timeout / 3600:.3g}" if is_number else "H"
        yield f"timeout {_shown(timeout)} (--hours {hours})"
    n_jobs = found.get("n_jobs")
    if n_jobs not in (None, 1) and "workers" not in given:
        yield f"n_jobs {_shown(n_jobs)} (--workers N)"
    callbacks = found.get("callbacks") or []
    for one in callbacks if isinstance(callbacks, list) else [callbacks]:
        if isinstance(one, Called) and one.name == "MaxTrialsCallback":
            most = one.given.get("n_trials", one.given.get("0"))
            if most != given.get("trials"):
                shown = most if isinstance(most, int) else "N"
                yield f"MaxTrialsCallback {_shown(most)} (--trials {shown})"
        else:
            text = one.name if isinstance(one, Called) else _shown(one)
            yield f"callback {text} (hpo calls none)"


def _enqueuing(name: str, point: Any) -> str:
    if not isinstance(point, dict) or any(isinstance(v, Unreadable) for v in point.values()):
        return f"hpo enqueue {name} PARAM=VALUE ..."
    return " ".join(["hpo enqueue", name, *(f"{k}={v}" for k, v in point.items())])


def _shown(value: Any) -> str:
    if isinstance(value, Unreadable):
        return value.text
    return value.name if isinstance(value, Called) else str(value)
