"""From a reference to a task or an objective: what is found, what may run, what is said."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.errors import HpoError, SpecError, TaskError
from hpo.tasks import TASKS
from hpo.tasks.code.code_loading import load_file, module_name
from hpo.tasks.code.installed_modules import is_installed
from hpo.tasks.code.resolve import Allow, load_objective, resolve
from hpo.tasks.digits import DigitsMLP
from hpo.train.task import Task

ALL = Allow(everything=True)
TASK = """
import hpo
from helper import N

class Mine(hpo.Task):
    def __init__(self, n: int = N) -> None:
        self.n = n

class Other(hpo.Task):
    pass

number = 5

def objective(trial):
    from late import VALUE
    return VALUE

def two(trial, more):
    return 0

if __name__ == "__main__":
    raise SystemExit("the script must not run")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with task files; the current folder is another, and no import outlives the test."""
    before = set(sys.modules)
    (tmp_path / "study").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", list(sys.path))
    write(tmp_path / "study", "mine.py", TASK)
    write(tmp_path / "study", "helper.py", "N = 3\n")
    write(tmp_path / "study", "late.py", "VALUE = 0.5\n")
    yield tmp_path / "study"
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def error_of(reference: str, folder: Path | None = None, allow: Allow = ALL) -> HpoError:
    with pytest.raises(HpoError) as caught:
        resolve(reference, {}, folder, allow)
    return caught.value


def problem_of(reference: str, folder: Path | None = None) -> str:
    error = error_of(reference, folder)
    assert isinstance(error, SpecError)
    (problem,) = error.problems
    assert problem.key == "task"
    return problem.message


@pytest.mark.parametrize("name", [name for name in TASKS if name not in ("tabular", "images")])
def test_built_in_tasks(name: str) -> None:
    assert isinstance(resolve(name), Task)
    assert isinstance(resolve(TASKS[name], allow=Allow(("hpo.*",))), Task)


def test_a_file_and_those_beside_it(folder: Path) -> None:
    task = resolve("mine.py:Mine", {"n": 7}, folder, Allow(("mine.py:Mine",)))
    assert type(task).__name__ == "Mine"
    assert vars(task) == {"n": 7}
    assert vars(resolve("mine.py:Mine", {}, folder, ALL)) == {"n": 3}
    assert type(task).__module__ == module_name(folder / "mine.py")


def test_files_are_found_by_the_study_then_in_the_current_folder(folder: Path) -> None:
    here = Path.cwd()
    write(here, "only.py", "import hpo\nclass Here(hpo.Task): pass\n")
    write(here, "mine.py", "raise ValueError\n")
    assert resolve("only.py:Here", {}, folder, ALL)
    assert resolve("mine.py:Mine", {}, folder, ALL)
    assert resolve(f"{here}/only.py:Here", {}, folder, ALL)
    assert resolve("../study/mine.py:Mine", {}, here, ALL)


def test_modules_beside_the_study(folder: Path) -> None:
    write(folder / "pkg", "__init__.py", "")
    write(folder / "pkg", "tasks.py", "import hpo\nclass InPackage(hpo.Task): pass\n")
    assert resolve("pkg.tasks:InPackage", {}, folder, Allow(("pkg.tasks:InPackage",)))
    message = problem_of("pkg.tsaks:InPackage", folder)
    assert message == "no module is called pkg.tsaks; did you mean pkg.tasks?"


def test_a_changed_file_is_loaded_again(folder: Path) -> None:
    path = write(folder, "change.py", "x = 1\n")
    first = load_file(path)
    assert load_file(path) is first
    write(folder, "change.py", "x = 22\n")
    os.utime(path, ns=(1, 1))
    assert load_file(path).x == 22


@pytest.mark.slow
def test_other_processes_know_a_files_module_by_the_same_name(folder: Path) -> None:
    code = (
        "from pathlib import Path; from hpo.tasks.code.code_loading import load_file;"
        f"print(load_file(Path({str(folder / 'mine.py')!r})).Mine.__module__)"
    )
    root = Path(__file__).parents[4]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == module_name(folder / "mine.py")


def test_objectives(folder: Path) -> None:
    objective = load_objective("mine.py:objective", folder, ALL)
    # It imports a file beside it only now.
    assert objective(None) == 0.5
    assert load_objective("mine:objective", folder, ALL)(None) == 0.5


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("mine.py:number", "mine.py:number is of type int; an objective is a function"),
        ("mine.py:Mine", "mine.py:Mine is a task, not an objective"),
        ("mine.py:two", "mine.py:two must take one argument, an optuna.Trial"),
    ],
)
def test_no_objectives(folder: Path, reference: str, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        load_objective(reference, folder, ALL)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("mine.py:objektive", "mine.py has no objektive; did you mean objective?"),
        ("mine.py", "name the function too: mine.py:objective"),
        ("objective", "cannot be 'objective'; own ones are \"module:objective\" or"),
        ("mien.py:objective", "did you mean mine.py?"),
        ("mien:objective", "no module is called mien; did you mean mine?"),
    ],
)
def test_objectives_that_are_not_there(folder: Path, reference: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_objective(reference, folder, ALL)
    (problem,) = caught.value.problems
    assert problem.key == "objective"
    assert message in problem.message


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("digit-mlp", "no task is called 'digit-mlp'; did you mean digits-mlp?"),
        ("xyz", "no task is called 'xyz'; built in are linear-regression, diabetes"),
        ("mine.py", "name the class too: mine.py:MyTask"),
        ("mine.py:", "no task is called 'mine.py:'"),
        ("mine.py:Miine", "mine.py has no Miine; did you mean Mine?"),
        ("mine.py:Zzz", "mine.py has no Zzz; there is Mine, Other"),
        ("mine.py:Mine.Inner", "mine.py has no Inner"),
        ("mien.py:Mine", "did you mean mine.py?"),
        ("nowhere/mine.py:Mine", "no file mine.py in "),
    ],
)
def test_tasks_that_are_not_there(folder: Path, reference: str, message: str) -> None:
    assert message in problem_of(reference, folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("number", "mine.py:number is of type int; a task is a class derived from hpo.Task"),
        ("objective", "mine.py:objective is a function; a task is"),
        ("hpo.Params", "mine.py:hpo.Params is the class Params; a task is"),
    ],
)
def test_no_tasks(folder: Path, name: str, message: str) -> None:
    error = error_of(f"mine.py:{name}", folder)
    assert isinstance(error, TaskError)
    assert message in error.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "x = 1\n\nraise ValueError('first\\nbad luck')\n",
            "bad.py, line 3, raises ValueError: bad",
        ),
        ("def f():\n  1 / 0\nf()\n", "bad.py, line 2, raises ZeroDivisionError: division by zero"),
        ("import json\njson.loads('{')\n", "bad.py, line 2, raises JSONDecodeError: "),
        ("import nosuchmodule\n", "bad.py, line 1, raises ModuleNotFoundError: No module named"),
        ("def f(:\n", "bad.py, line 1: SyntaxError: "),
        ("import worse\n", "bad.py, line 1, raises ValueError: worse"),
        ("import broken\n", "broken.py, line 1: SyntaxError: "),
        ("assert False\n", "bad.py, line 1, raises AssertionError"),
        ("raise SystemExit(3)\n", "bad.py ends the program when it is imported"),
    ],
)
def test_files_that_raise(folder: Path, text: str, message: str) -> None:
    write(folder, "bad.py", text)
    write(folder, "worse.py", "raise ValueError('worse')\n")
    write(folder, "broken.py", "def f(:\n")
    error = error_of("bad.py:Mine", folder)
    assert isinstance(error, TaskError)
    assert error.message.startswith(message)
    assert error.__cause__ is not None
    assert module_name(folder / "bad.py") not in sys.modules


def test_modules_that_raise(folder: Path) -> None:
    write(folder, "raising.py", "\nraise ValueError('bad luck')\n")
    write(folder, "lacking.py", "import nosuchmodule\n")
    raising, lacking = (error_of(f"{name}:Mine", folder) for name in ("raising", "lacking"))
    assert raising.message == "raising.py, line 2, raises ValueError: bad luck"
    assert isinstance(lacking, TaskError)
    assert "No module named 'nosuchmodule'" in lacking.message


def test_scripts_do_not_see_the_arguments_of_hpo(folder: Path) -> None:
    write(folder, "args.py", "import sys, hpo\nN = len(sys.argv)\nclass Mine(hpo.Task): pass\n")
    before = list(sys.argv)
    module = sys.modules[type(resolve("args.py:Mine", {}, folder, ALL)).__module__]
    assert module.N == 1
    assert sys.argv == before


def test_files_beside_a_task_shadow_nothing(folder: Path) -> None:
    before = list(sys.path)
    resolve("mine.py:Mine", {}, folder, ALL)
    assert sys.path == [*before, str(folder)]


@pytest.mark.parametrize(
    ("patterns", "reference", "is_allowed"),
    [
        ((), "mine.py:Mine", False),
        (("mine.py:Mine",), "mine.py:Mine", True),
        (("mine.py",), "mine.py:Mine", True),
        (("mine.py:*",), "mine.py:Mine", True),
        (("pkg.*",), "pkg.tasks:Mine", True),
        (("mine.py:Mine",), "mine.py:Other", False),
        (("mine.py",), "/tmp/mine.py:Mine", False),
        (("pkg",), "pkg.tasks:Mine", False),
        (("[a].py:T",), "[a].py:T", True),
    ],
)
def test_what_is_allowed(patterns: tuple[str, ...], reference: str, is_allowed: bool) -> None:
    assert Allow(patterns).permits(reference) is is_allowed
    assert ALL.permits(reference)


@pytest.mark.parametrize("reference", ["mine.py:Mine", "mine:Mine", "this:Mine", "os:system"])
def test_what_a_database_names_does_not_run(folder: Path, reference: str) -> None:
    write(folder, "mine.py", "raise AssertionError('it must not run')\n")
    write(Path.cwd(), "mine.py", "raise AssertionError('it must not run')\n")
    error = error_of(reference, folder, Allow())
    assert isinstance(error, TaskError)
    assert f"the task {reference} may not run here" in error.message
    assert error.hint == f"allow it with --allow {reference}"


@pytest.mark.parametrize("reference", ["mine.py:objective", "os:getcwd", "json:loads"])
def test_objectives_of_a_database_do_not_run(folder: Path, reference: str) -> None:
    with pytest.raises(TaskError, match="may not run here"):
        load_objective(reference, folder, Allow())


def test_tasks_of_installed_packages_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    write(site, "sold.py", "import hpo\nclass Sold(hpo.Task): pass\ndef f(t): pass\n")
    monkeypatch.syspath_prepend(str(site))
    assert resolve("sold:Sold", {}, folder, Allow())
    with pytest.raises(TaskError, match="a task is a class derived from"):
        resolve("sold:f", {}, folder, Allow())
    with pytest.raises(TaskError, match="may not run here"):
        load_objective("sold:f", folder, Allow())


def test_what_is_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path.cwd(), "local_module.py", "")
    monkeypatch.syspath_prepend("")
    assert is_installed("sklearn.datasets")
    assert not is_installed("local_module")
    assert not is_installed("nosuchmodule")
    assert is_installed("sklearn.pipeline", "Pipeline")
    assert not is_installed("sklearn.pipeline", "Nothing")
    own_library = ["json", "test.autotest", "test", "__hello__", "idlelib.idle", "lib2to3.tests"]
    acting = [
        "pip.__main__",
        "numpy._core.tests.examples.cython.setup",
        "numpy.testing",
        "scipy.conftest",
        "pip._vendor.rich",
    ]
    for name in [*own_library, *acting]:
        assert not is_installed(name), name
    assert DigitsMLP.__module__ in sys.modules


@pytest.mark.slow
def test_what_pythonpath_holds_is_not_installed(tmp_path: Path) -> None:
    write(tmp_path / "mine", "evil.py", "import hpo\nprint('ran')\nclass T(hpo.Task): pass\n")
    write(tmp_path / "site-packages", "good.py", "import hpo\nclass T(hpo.Task): pass\n")
    code = (
        "from hpo.errors import TaskError\n"
        "from hpo.tasks.code.resolve import Allow, resolve\n"
        "print(type(resolve('good:T', {}, None, Allow())).__name__)\n"
        "try:\n    resolve('evil:T', {}, None, Allow())\n"
        "except TaskError as error:\n    print(error)\n"
        "print(type(resolve('evil:T', {}, None, Allow(('evil:T',)))).__name__)\n"
    )
    path = os.pathsep.join(map(str, (tmp_path / "mine", tmp_path / "site-packages")))
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    good, refused, *allowed = found.stdout.splitlines()
    assert (good, allowed) == ("T", ["ran", "T"])
    assert refused.startswith("the task evil:T may not run here")


def test_a_relative_import_gets_advice(folder: Path) -> None:
    write(folder, "dotted.py", "from .helper import N\n")
    with pytest.raises(TaskError, match="attempted relative import") as caught:
        resolve("dotted.py:Mine", base_dir=folder, allow=ALL)
    assert caught.value.hint == (
        "write it without the leading dot: files beside it are found by their names"
    )


OBJECTS = """
import optuna

class Plain:
    def __call__(self, trial):
        return trial.number

class Inherited(Plain):
    pass

class Needy:
    def __init__(self, data):
        self.data = data
    def __call__(self, trial):
        return 0.0

class NotCalled:
    pass

class Raising:
    def __init__(self):
        raise ValueError("no data")
    def __call__(self, trial):
        return 0.0

ready = Needy(3)

if __name__ == "__main__":
    objective = Needy(5)
"""


@pytest.mark.parametrize("name", ["Plain", "Inherited", "ready"])
def test_a_class_whose_instance_is_the_objective_is_made(folder: Path, name: str) -> None:
    write(folder, "objects.py", OBJECTS)
    objective = load_objective(f"objects.py:{name}", folder, ALL)
    assert not isinstance(objective, type)
    assert callable(objective)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("Needy", "is a class, and its __init__(data) needs arguments", "objects.py:objective"),
        ("NotCalled", "is a class whose instances do not take a trial", ""),
        ("Raising", "objects.py:Raising() raises ValueError: no data", ""),
    ],
)
def test_a_class_that_is_no_objective_is_refused_before_any_trial(
    folder: Path, name: str, message: str, hint: str
) -> None:
    write(folder, "objects.py", OBJECTS)
    with pytest.raises(TaskError) as caught:
        load_objective(f"objects.py:{name}", folder, ALL)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_an_objective_that_the_main_part_makes_is_told_and_no_unusable_class_offered(
    folder: Path,
) -> None:
    write(folder, "objects.py", OBJECTS)
    told = {}
    for name in ("objective", "nothing"):
        with pytest.raises(SpecError) as caught:
            load_objective(f"objects.py:{name}", folder, ALL)
        told[name] = caught.value.problems[0].message
    assert "line 29 makes it in the script's main part, which is not run" in told["objective"]
    assert "Needy" not in told["nothing"]
    assert "there is Plain, Inherited" in told["nothing"]
