"""What the project says of itself is so: its pins, its layers, its commands, its packages."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from hpo.search.optuna.pruners import PRUNERS
from hpo.search.optuna.samplers import SAMPLERS
from hpo.spec.methods import METHODS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYPROJECT = PROJECT["project"]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
HEAVY = ("torch", "optuna", "sqlalchemy", "alembic", "pandas", "sklearn", "pyarrow")

# Needed, though no module of ours imports them by name.
IMPLIED = {"pyarrow"}  # pandas reads Parquet through it
# The module that may import Optuna's private parts, and the one that may use private attributes.
OPTUNA_PRIVATE = {"hpo/store/db/optuna_schema.py"}
OPTUNA_ATTRIBUTES = {"hpo/optuna_internals.py"}
# Their names begin so, though they are public.
PUBLIC = {"_asdict", "_fields", "_make", "_exit", "_replace"}


def modules() -> list[Path]:
    return sorted((ROOT / "hpo").rglob("*.py"))


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def demands() -> list[Requirement]:
    extras = PYPROJECT["optional-dependencies"].values()
    return [Requirement(text) for group in (PYPROJECT["dependencies"], *extras) for text in group]


def closure(requirements: list[Requirement]) -> set[str]:
    """Names of all packages that an installation of these brings; one not installed ends there."""
    seen: set[tuple[str, str]] = set()
    queue = [(req.name, extra) for req in requirements for extra in ("", *req.extras)]
    while queue:
        name, extra = queue.pop()
        if (canonicalize_name(name), extra) in seen:
            continue
        seen.add((canonicalize_name(name), extra))
        try:
            texts = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for req in map(Requirement, texts):
            if req.marker is None or req.marker.evaluate({"extra": extra}):
                queue += [(req.name, inner) for inner in ("", *req.extras)]
    return {name for name, _ in seen}


def imports(path: Path) -> Iterator[str]:
    """Yields every absolute name that a module imports, wherever in the module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def private_attributes(path: Path) -> Iterator[str]:
    """Yields the private attributes that a module uses of objects of foreign classes."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    used = [node for node in nodes if isinstance(node, ast.Attribute)]
    mine = {node.attr for node in used if ast.unparse(node.value) in ("self", "cls", "super()")}
    mine |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    known = mine | PUBLIC
    for node in used:
        if re.match(r"_(?!_)", node.attr) and node.attr not in known:
            yield node.attr


def output_of(code: str, *arguments: str) -> str:
    """Runs code in an interpreter of its own, in the repository, and returns what it printed."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_package_is_pinned() -> None:
    assert closure(demands()) - pins().keys() == set()


def test_pins_meet_the_demands() -> None:
    unmet = [str(r) for r in demands() if pins()[canonicalize_name(r.name)] not in r.specifier]
    assert unmet == []


def test_no_pin_is_bound_to_cuda() -> None:
    assert [name for name in pins() if name.startswith(("nvidia", "cuda", "triton"))] == []


def test_make_installs_the_pinned_torch() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert f"TORCH := torch=={pins()['torch']}\n" in makefile


@pytest.mark.parametrize(
    ("refused", "gpu", "asked"),
    [
        ([], True, ["pip TORCH"]),
        ([], False, ["pip TORCH+cpu"]),
        (["pip TORCH+cpu"], False, ["pip TORCH+cpu", "pip uv", "uv TORCH cpu"]),
        (
            ["pip TORCH+cpu", "uv TORCH cpu"],
            False,
            ["pip TORCH+cpu", "pip uv", "uv TORCH cpu", "pip TORCH"],
        ),
    ],
    ids=["gpu", "cpu", "cpu by uv", "plain"],
)
def test_make_looks_for_the_build_of_torch_that_fits(
    refused: list[str], gpu: bool, asked: list[str], tmp_path: Path
) -> None:
    # A python that writes down what it is asked to install, and refuses some of it.
    script(
        tmp_path / "python",
        'what="$2 ${!#}"; [[ "$*" = *torch-backend* ]] && what="$2 ${!#} cpu"',
        f'what="${{what/torch==*([0-9.])/TORCH}}"; echo "$what" >> {tmp_path}/asked',
        *(f'[[ "$what" = "{text}" ]] && exit 1' for text in refused),
        "exit 0",
    )
    script(tmp_path / "nvidia-smi", f"exit {0 if gpu else 9}")
    done = subprocess.run(
        ["make", "torch", f"BIN={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        check=False,
    )
    assert done.returncode == 0
    words = (tmp_path / "asked").read_text().splitlines()
    assert words == asked


def script(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/usr/bin/env bash", "shopt -s extglob", *lines, ""]))
    path.chmod(0o755)


@pytest.mark.slow
def test_imports_are_declared_and_declarations_used() -> None:
    core = {canonicalize_name(Requirement(text).name) for text in PYPROJECT["dependencies"]}
    extras = PYPROJECT["optional-dependencies"]
    optional = {
        canonicalize_name(Requirement(text).name)
        for name, group in extras.items()
        if name != "dev"
        for text in group
    }
    imported = {name.partition(".")[0] for path in modules() for name in imports(path)}
    of_module = importlib.metadata.packages_distributions()
    used = {
        canonicalize_name(name) for top in imported - {"hpo"} for name in of_module.get(top, [])
    }
    assert used - core - optional == set()
    assert core - used - IMPLIED == set()


def test_layers_name_every_room() -> None:
    contracts = {c["id"]: c for c in PROJECT["tool"]["importlinter"]["contracts"]}
    layers = contracts["layers"]["layers"]
    named = {name.strip(" ()") for layer in layers for name in layer.split("|")}
    rooms = {p.stem for p in (ROOT / "hpo").iterdir() if p.suffix == ".py"}
    rooms |= {p.parent.name for p in (ROOT / "hpo").glob("*/__init__.py")}
    assert rooms - {"__init__", "__main__"} <= named


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in modules()}
    assert [str(f) for f in folders if not (f / "__init__.py").exists()] == []


@pytest.mark.slow
def test_optunas_private_parts_are_touched_in_one_place() -> None:
    touching = {
        path.relative_to(ROOT).as_posix()
        for path in modules()
        for name in imports(path)
        if re.match(r"optuna\b.*\._(?!_)", name)
    }
    assert touching <= OPTUNA_PRIVATE


def test_optunas_private_attributes_are_used_in_one_place() -> None:
    using = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in modules()
        if any(re.match(r"optuna\b", name) for name in imports(path))
        for name in private_attributes(path)
    }
    assert {(file, name) for file, name in using if file not in OPTUNA_ATTRIBUTES} == set()
    assert {file for file, _ in using} == OPTUNA_ATTRIBUTES


def test_start_loads_nothing_heavy() -> None:
    code = (
        "import sys, hpo, hpo.errors, hpo.spec, hpo.spec.toml, hpo.cli.main\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert output_of(code).split() == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_commands_on_a_page_exist(page: Path) -> None:
    targets = set(re.findall(r"^([.\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert (
        set(re.findall(r"\bmake ([a-z-]+)\b(?=[`\s]*(?:$|[`#]))", page.read_text(), re.M))
        <= targets
    )


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_on_a_page_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)(.*?)\)", page.read_text(), re.DOTALL):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_reached_from_readme() -> None:
    reached, found = set[Path](), [ROOT / "README.md"]
    while found:
        page = found.pop()
        reached.add(page)
        links = re.findall(r"\]\(([\w./-]+\.md)", page.read_text())
        found += {(page.parent / link).resolve() for link in links} - reached
    assert set(PAGES) - reached == set()


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 900


@pytest.mark.parametrize("role", ["sampler", "pruner"])
def test_study_files_page_lists_every_method(role: str) -> None:
    page = (ROOT / "docs/study-files.md").read_text()
    table = page.partition(f"| {role} | ")[2].partition("\n\n")[0]
    listed = {
        name for row in table.splitlines() for name in re.findall(r"`([\w-]+)`", row.split("|")[1])
    }
    built: dict[str, Collection[str]] = {"sampler": SAMPLERS, "pruner": PRUNERS}
    assert listed == set(METHODS[role]) == set(built[role])


@pytest.fixture(scope="module")
def commands() -> set[str]:
    shown = output_of("from hpo.cli.main import main; main()", "--help").partition("Commands:")[2]
    return set(re.findall(r"^  ([a-z]+)  +\w", shown, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_a_page_are_those_of_hpo(page: Path, commands: set[str]) -> None:
    # Commands stand at the start of a line of a code block, or in code by themselves.
    named = set(re.findall(r"(?:`|\$ )hpo ([a-z]+)", page.read_text(), re.MULTILINE))
    assert named - commands == set()


def test_commands_page_lists_every_command(commands: set[str]) -> None:
    table = (ROOT / "docs/commands.md").read_text().partition("\n## ")[0]
    assert len(commands) > 10
    assert commands - set(re.findall(r"`(?:hpo )?([a-z]+)\b", table)) == set()


def test_quickstart_lists_every_extra() -> None:
    page = (ROOT / "docs/quickstart.md").read_text()
    rows = page.partition("| extra | ")[2].partition("\n\n")[0].splitlines()[2:]
    listed = [name for row in rows for name in re.findall(r"`([\w-]+)`", row.split("|")[1])]
    assert sorted(listed) == sorted(PYPROJECT["optional-dependencies"])


def test_every_guarantee_is_shown_by_a_test_that_exists() -> None:
    page = (ROOT / "docs/guarantees.md").read_text()
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 10
    for file, name in named:
        text = (ROOT / ("" if file.startswith("hpo/") else "tests") / file).read_text()
        assert not name or re.search(rf"^ *(def|class) {name}\b", text, re.MULTILINE), name


def test_ci_runs_the_linters_and_readmes_test_command() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
    assert script.rstrip().endswith("make lint\nmake test")


def test_wheel_holds_migrations_and_studies(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {path.relative_to(ROOT).as_posix() for path in modules()} | {"hpo/py.typed"}
    for folder, inside in (("alembic", "hpo/_alembic"), ("studies", "hpo/_studies")):
        expected |= {f"{inside}/{path}" for path in files_below(ROOT / folder)}
    assert "hpo/_alembic/env.py" in names
    assert "hpo/_studies/digits_mlp.toml" in names
    assert expected - names == set()
    assert {name.partition("/")[0] for name in names} == {
        "hpo",
        f"hpo-{PYPROJECT['version']}.dist-info",
    }


@pytest.mark.slow
def test_sdist_holds_what_building_and_testing_need(tmp_path: Path) -> None:
    (sdist,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    single = {
        "Makefile",
        "constraints.txt",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        ".ci/run",
        ".pre-commit-config.yaml",
    }
    assert single - names == set()
    for folder in ("hpo", "alembic", "studies", "tests", "docs", "examples"):
        assert {f"{folder}/{path}" for path in files_below(ROOT / folder)} - names == set()


def files_below(folder: Path) -> list[str]:
    kept = [p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".pyc", ".db")]
    return [p.relative_to(folder).as_posix() for p in kept if not hidden(p.relative_to(folder))]


def hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)
