"""The documentation as a site: its reference is generated, and nothing is missing in it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

import hpo
from hpo.cli.main import COMMANDS
from hpo.cli.main import hpo as program
from hpo.spec.study_spec import StudySpec

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/site/hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_has_every_command_with_every_option(hooks: ModuleType) -> None:
    page = hooks.generated()["reference/commands.md"]
    parts = dict(re.findall(r"^#+ `hpo ([a-z ]+)`\n(.*?)(?=^#+ |\Z)", page, re.M | re.S))
    assert set(COMMANDS) <= set(parts)
    parent = click.Context(program, info_name="hpo")
    for name in COMMANDS:
        command = program.get_command(parent, name)
        assert command is not None
        options = [o for o in command.params if isinstance(o, click.Option) and not o.hidden]
        missing = [o.opts[0] for o in options if o.opts[0] not in parts[name]]
        assert not missing, name


def test_reference_explains_every_key_of_a_study_file(hooks: ModuleType) -> None:
    page = hooks.generated()["reference/keys.md"]
    explained = re.findall(r"^\| `(\w+)` \| [^|]* \| \S.* \|$", page, re.M)
    keys = list(StudySpec.model_fields)
    for section in (spec.annotation for spec in StudySpec.model_fields.values()):
        keys += getattr(section, "model_fields", {})
    # These two stand for entries that a study names itself: a method's options, the parameters.
    assert set(keys) - set(explained) == {"options", "parameters"}


def test_reference_has_every_public_name(hooks: ModuleType) -> None:
    names = hooks.api()
    modules = {"data"}
    assert set(hpo.__all__) - modules <= set(names)
    assert {f"data.{name}" for name in hpo.data.__all__} <= set(names)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    index = (tmp_path / "site/index.html").read_text()
    assert "Quickstart" in index
    assert "http://" not in re.sub(r"http://www\.w3\.org\S*", "", index)
    assert (tmp_path / "site/reference/api.html").read_text().count("hpo.Task") > 0
