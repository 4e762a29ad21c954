"""Resolution of a study's reference to a task or an objective, if it may run on this machine.

A study's references come from a database that other users write to. The code that they name runs
here only if it is built in, a task of an installed package, or allowed by this machine's user.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias, cast

from hpo.errors import Problem, SpecError, TaskError, did_you_mean
from hpo.tasks import TASKS
from hpo.tasks.code.code_loading import load_file, load_module
from hpo.tasks.code.installed_modules import is_installed
from hpo.tasks.code.script_reading import line_in_main
from hpo.train.task import Task, make_task
from hpo.train.user_code_guard import user_code

Role: TypeAlias = Literal["task", "objective"]

_ROLES: Mapping[Role, str] = {"task": "MyTask", "objective": "objective"}


@dataclass(frozen=True)
class Allow:
    """The code that this machine's user allows to run.

    Attributes:
        patterns: References such as ``train.py:objective``, files or modules alone, or patterns
            with ``*``.
        everything: Allows all code.
    """

    patterns: tuple[str, ...] = ()
    everything: bool = False

    def permits(self, reference: str) -> bool:
        """Returns whether a reference may run."""
        where = reference.rpartition(":")[0]
        return self.everything or any(
            pattern in (reference, where) or fnmatchcase(reference, pattern)
            for pattern in self.patterns
        )


def resolve(
    reference: str,
    options: Mapping[str, Any] | None = None,
    base_dir: Path | None = None,
    allow: Allow | None = None,
) -> Task:
    """Creates the task that a study names.

    Args:
        reference: A name of ``TASKS``, ``package.module:Class`` or ``file.py:Class``.
        options: The study's ``[task_options]``. Those that are in the task's ``path_options``
            are searched in ``base_dir``, then in the current folder.
        base_dir: Folder of the study file.
        allow: Code that may run besides built-in tasks and those of installed packages.

    Raises:
        SpecError: There is no such task, or its options are wrong.
        TaskError: It may not run here, raises, or is no task.
    """
    cls = task_class(reference, base_dir, allow)
    return make_task(cls, _with_paths(cls, options or {}, base_dir))


def restore(
    reference: str,
    options: Mapping[str, Any],
    state: Mapping[str, Any],
    base_dir: Path | None = None,
    allow: Allow | None = None,
) -> Task:
    """Creates the task that predicts with a model's file, by its ``Task.from_export``.

    Raises:
        SpecError: There is no such task, or its options are wrong.
        TaskError: It may not run here, raises, or is no task.
    """
    cls = task_class(reference, base_dir, allow)
    with user_code(f"{reference}.from_export"):
        return cls.from_export(_with_paths(cls, options, base_dir), state)


def task_class(
    reference: str, base_dir: Path | None = None, allow: Allow | None = None
) -> type[Task]:
    """Returns the class of the task that a study names.

    Raises:
        SpecError: There is no such task.
        TaskError: It may not run here, raises when it is imported, or is no task.
    """
    built_in = TASKS.get(reference)
    if built_in is not None:
        module, _, name = built_in.partition(":")
        cls = getattr(importlib.import_module(module), name)
    else:
        cls = _load("task", reference, base_dir, allow or Allow())
    if not (isinstance(cls, type) and issubclass(cls, Task)):
        raise TaskError(f"{reference} is {_kind_of(cls)}; a task is a class derived from hpo.Task")
    return cls


def load_objective(
    reference: str, base_dir: Path | None = None, allow: Allow | None = None
) -> Callable[..., Any]:
    """Loads the Optuna objective that a study names.

    Args:
        reference: ``package.module:function`` or ``file.py:function``.
        base_dir: Folder of the study file; a file is searched there, then in the current folder.
        allow: Code that may run; the objective must be among it.

    Raises:
        SpecError: There is no such function.
        TaskError: It may not run here, raises when it is imported, or is no objective.
    """
    objective = _load("objective", reference, base_dir, allow or Allow())
    if isinstance(objective, type) and issubclass(objective, Task):
        raise TaskError(f"{reference} is a task, not an objective", hint=f'task = "{reference}"')
    if isinstance(objective, type):
        objective = _instance(objective, reference)
    if not callable(objective):
        raise TaskError(f"{reference} is {_kind_of(objective)}; an objective is a function")
    if not _takes(objective, None):
        raise TaskError(f"{reference} must take one argument, an optuna.Trial")
    return cast(Callable[..., Any], objective)


def script_of(reference: str, base_dir: Path | None = None) -> Path | None:
    """Returns the source file of a loaded objective, or None if it has none."""
    where = reference.rpartition(":")[0]
    if _is_file(where):
        return _find("objective", where, base_dir)
    module = sys.modules.get(where)
    path = Path(getattr(module, "__file__", None) or "")
    return path if path.suffix == ".py" and path.is_file() else None


def _instance(cls: type, reference: str) -> Callable[..., Any]:
    """Creates the instance of a class that is the objective."""
    name = reference.rpartition(":")[2]
    if not _is_objective_class(cls):
        raise TaskError(
            f"{reference} is a class whose instances do not take a trial; "
            "an objective is a function, or an object with __call__(self, trial)"
        )
    if not _takes(cls):
        raise TaskError(
            f"{reference} is a class, and its __init__{inspect.signature(cls)} needs arguments "
            "that hpo does not know",
            hint=f"make the object at the top of the file, objective = {name}(...), "
            f"and name that: {reference.rpartition(':')[0]}:objective",
        )
    with user_code(f"{reference}()"):
        return cast(Callable[..., Any], cls())


def _is_objective_class(value: Any) -> bool:
    call = inspect.getattr_static(value, "__call__", None) if isinstance(value, type) else None
    return inspect.isfunction(call) and _takes(call, None, None)


def _load(role: Role, reference: str, base_dir: Path | None, allow: Allow) -> Any:
    where, _, name = reference.rpartition(":")
    if not where or not name:
        raise _wrong(role, _unknown(role, reference))
    is_named = allow.permits(reference)
    if not is_named and (
        role == "objective" or _is_file(where) or not is_installed(where, name.partition(".")[0])
    ):
        raise _forbidden(role, reference)
    if _is_file(where):
        module = load_file(_find(role, where, base_dir))
    else:
        folders = [base_dir or Path.cwd(), Path.cwd()] if is_named else []
        found = load_module(where, folders)
        if found is None:
            raise _wrong(role, f"no module is called {where}{_near_module(where, folders)}")
        module = found
    return _attribute(role, module, name, Path(where).name)


def _attribute(role: Role, module: ModuleType, name: str, where: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise _wrong(role, f"{where} has no {part}{_instead(role, found, part, module)}")
        found = getattr(found, part)
    return found


def _instead(role: Role, owner: Any, part: str, module: ModuleType) -> str:
    """Returns a hint for a missing attribute: where it is created, or which ones exist."""
    near = [name for name in vars(owner) if not name.startswith("_")]
    fitting = [name for name in near if _fits(role, getattr(owner, name), module)]
    if owner is module and (line := _line_in_main(module, part)):
        others = f"; there is {', '.join(fitting)}" if fitting else ""
        return (
            f" once it is imported: line {line} makes it in the script's main part, which is not "
            f"run; make it at the top of the file{others}"
        )
    if role == "objective":
        near = [name for name in near if not isinstance(getattr(owner, name), type)]
    listed = f"; there is {', '.join(fitting)}" if fitting else ""
    return did_you_mean(part, fitting) or did_you_mean(part, near) or listed


def _line_in_main(module: ModuleType, name: str) -> int | None:
    try:
        source = Path(module.__file__ or "").read_text(encoding="utf-8")
        return line_in_main(source, name)
    except (OSError, ValueError, SyntaxError):
        return None


def _fits(role: Role, value: Any, module: ModuleType) -> bool:
    if role == "task":
        return isinstance(value, type) and issubclass(value, Task) and value is not Task
    if getattr(value, "__module__", None) != module.__name__:
        return False
    return inspect.isfunction(value) or (_is_objective_class(value) and _takes(value))


def _is_file(where: str) -> bool:
    return where.endswith(".py") or "/" in where or "\\" in where


def _find(role: Role, where: str, base_dir: Path | None) -> Path:
    folders = list(dict.fromkeys([base_dir or Path.cwd(), Path.cwd()]))
    paths = [(folder / Path(where).expanduser()).absolute() for folder in folders]
    for path in paths:
        if path.is_file():
            return path
    folder = paths[0].parent
    files = [file.name for file in folder.glob("*.py")] if folder.is_dir() else []
    raise _wrong(role, f"no file {paths[0].name} in {folder}{did_you_mean(paths[0].name, files)}")


def _near_module(name: str, folders: list[Path]) -> str:
    parent, _, last = name.rpartition(".")
    around = load_module(parent, folders) if parent else None
    places = list(getattr(around, "__path__", ())) if parent else [str(f) for f in folders]
    near = did_you_mean(last, [module.name for module in pkgutil.iter_modules(places)])
    return near.replace("mean ", f"mean {parent}.") if near and parent else near


def _unknown(role: Role, reference: str) -> str:
    example = _ROLES[role]
    if reference.endswith(".py"):
        return f"name the {'class' if role == 'task' else 'function'} too: {reference}:{example}"
    ways = f'own ones are "module:{example}" or "file.py:{example}"'
    if role == "objective":
        return f"cannot be {reference!r}; {ways}"
    hint = did_you_mean(reference, TASKS)
    return f"no task is called {reference!r}" + (
        hint or f"; built in are {', '.join(TASKS)}; {ways}"
    )


def _wrong(role: Role, message: str) -> SpecError:
    return SpecError(source="the study", problems=[Problem(role, message)])


def _forbidden(role: Role, reference: str) -> TaskError:
    what = "code of files" if _is_file(reference.rpartition(":")[0]) else "code"
    return TaskError(
        f"the {role} {reference} may not run here: {what} that a database names runs only if it "
        "was named on this machine too",
        hint=f"allow it with --allow {reference}",
    )


def _with_paths(
    cls: type[Task], options: Mapping[str, Any], base_dir: Path | None
) -> dict[str, Any]:
    """Returns the options with paths that do not depend on the current folder."""
    found = dict(options)
    for name in getattr(cls, "path_options", ()):
        value = found.get(name)
        if isinstance(value, str) and value:
            path = Path(value).expanduser()
            beside = (base_dir or Path.cwd()) / path
            here = Path.cwd() / path
            found[name] = str(here if here.exists() and not beside.exists() else beside)
    return found


def _takes(function: Callable[..., Any], *arguments: Any) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        # Some functions written in C have no signature.
        return True
    return True


def _kind_of(value: Any) -> str:
    if inspect.isfunction(value):
        return "a function"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"of type {type(value).__name__}"
