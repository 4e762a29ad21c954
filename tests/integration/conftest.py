"""Fixtures of the tests that run commands over a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kits.cli_kit import Run, run_hpo


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a folder of its own and expects no traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    return run_hpo
