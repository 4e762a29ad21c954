"""Every study of studies/: right, trained a little, and able to reach what its head says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo.run.host.manager import prepare
from hpo.spec import toml
from hpo.spec.space.params import Params
from hpo.spec.space.points import read_point
from hpo.spec.space.search_space import Fixed
from hpo.spec.study_spec import StudySpec
from hpo.spec.values.findings import Findings
from hpo.tasks import TASKS
from hpo.tasks.code.resolve import resolve
from hpo.train.checks.probe_points import scattered, typical
from hpo.train.data.dataset import Part, Splits
from hpo.train.engine import Lane
from hpo.train.loop.solo import SoloEngine
from hpo.train.task import Task
from tests.e2e.conftest import Shell
from tests.kits import small_data

pytestmark = pytest.mark.e2e

FOLDER = Path(__file__).parents[2] / "studies"
STUDIES = sorted(path.name for path in FOLDER.glob("*.toml"))
N_ROWS = 96

ADAM = {"optimizer": "adam", "learning_rate": 0.003, "batch_size": 32}
# A point of a study's space that reaches what the study claims, epochs, and the value.
CLAIMS: dict[str, tuple[dict[str, Any], int, float]] = {
    "linear_regression.toml": ({"learning_rate": 0.01, "batch_size": 1}, 30, 0.015),
    "binary_mlp.toml": ({**ADAM, "weight_decay": 1e-4, "dropout": 0.3}, 9, 0.99),
    "binary_synthetic.toml": ({**ADAM, "weight_decay": 1e-5}, 20, 0.95),
    "wine.toml": (
        {
            "depth": 2,
            "width": 16,
            "widths": "constant",
            "normalization": "layer",
            "learning_rate": 0.06,
            "batch_size": 64,
            "weight_decay": 0.1,
            "dropout": 0.1,
        },
        9,
        0.97,
    ),
    "imbalanced.toml": (
        {
            "loss": "focal",
            "focal_gamma": 0.5,
            "class_weights": "balanced",
            "learning_rate": 0.02,
            "batch_size": 32,
        },
        12,
        0.94,
    ),
    "iris.toml": ({"model": "linear", "learning_rate": 0.26, "batch_size": 32}, 9, 0.96),
    "diabetes.toml": (
        {
            "model": "mlp",
            "depth": 1,
            "width": 32,
            "dropout": 0.4,
            "learning_rate": 0.02,
            "batch_size": 16,
            "weight_decay": 1e-4,
        },
        20,
        0.35,
    ),
    "digits_mlp.toml": (
        {
            "learning_rate": 0.2,
            "momentum": 0.5,
            "batch_size": 64,
            "depth": 2,
            "width": 128,
            "weight_decay": 1e-5,
        },
        12,
        0.975,
    ),
    "digits_cnn.toml": (
        {**ADAM, "weight_decay": 1e-5, "depth": 2, "width": 16, "dropout": 0.1},
        18,
        0.985,
    ),
    "digits_rows.toml": (
        {
            **ADAM,
            "model": "gru",
            "weight_decay": 1e-5,
            "depth": 1,
            "width": 128,
            "dropout": 0.2,
            "grad_clip": 1.0,
        },
        16,
        0.96,
    ),
    "digits_auto.toml": (
        {
            "model": "cnn",
            "depth": 2,
            "width": 32,
            "kernel_size": 3,
            "residual": True,
            "activation": "silu",
            "normalization": "batch",
            "initialization": "orthogonal",
            "dropout": 0.3,
            "optimizer": "rmsprop",
            "learning_rate": 0.0013,
            "schedule": "exponential",
            "warmup_epochs": 3,
            "batch_size": 64,
            "weight_decay": 1e-5,
            "l1": 1e-6,
            "label_smoothing": 0.1,
            "grad_clip": 0.0,
        },
        20,
        0.985,
    ),
}
# What would take a network, or hours.
UNCLAIMED = {
    "california_housing.toml",
    "cifar10_cnn.toml",
    "fashion_mnist_cnn.toml",
    "mnist_mlp.toml",
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@dataclasses.dataclass
class Study:
    """A study that was found right, with its task and data."""

    spec: StudySpec
    task: Task
    splits: Splits

    @classmethod
    def of(cls, name: str) -> Study:
        spec = prepare(FOLDER / name).spec
        task = resolve(str(spec.task), spec.task_options)
        return cls(spec, task, task.data().splits(spec.validation))

    def train(self, params: Params, epochs: int) -> SoloEngine:
        spec = self.spec
        engine = SoloEngine(self.task, self.splits, spec.metrics[0], spec.directions[0])
        assert engine.add(Lane(0, params, seed=1, epoch=0, epoch_stop=epochs)) is None
        for _ in range(epochs):
            (report,) = engine.advance()
            assert report.failure is None
        return engine


def first(part: Part | None) -> Part:
    assert part is not None
    return Part(part.x[:N_ROWS], part.y[:N_ROWS])


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_right_and_trains(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_data.put(tmp_path, monkeypatch)
    study = Study.of(name)
    whole = study.splits
    study.splits = dataclasses.replace(
        whole, train=first(whole.train), val=first(whole.val), test=first(whole.test)
    )
    space = study.spec.space
    for point in (typical(space), *map(Params, scattered(space, 2))):
        engine = study.train(point, 1)
        assert study.spec.metrics[0] in engine.best(0)[1]
        assert engine.test(0)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_point_of_the_space_reaches_what_the_study_claims(name: str) -> None:
    params, epochs, value = CLAIMS[name]
    study = Study.of(name)
    space, findings = study.spec.space, Findings(("point",))
    read_point({key: str(found).lower() for key, found in params.items()}, space, findings)
    findings.raise_if_any("the point", {})
    fixed = {name: dim.value for name, dim in space.parameters.items() if isinstance(dim, Fixed)}
    engine = study.train(Params(fixed | params), epochs)
    reached = engine.best(0)[1][study.spec.metrics[0]]
    is_high = study.spec.directions[0] == "maximize"
    assert reached >= value if is_high else reached <= value


def test_every_study_has_a_head_that_names_it_and_says_what_it_reaches() -> None:
    assert set(CLAIMS) | UNCLAIMED == set(STUDIES)
    for name in STUDIES:
        head = (FOLDER / name).read_text().partition("\nname ")[0]
        lines = head.splitlines()
        assert lines[0].startswith(f"# studies/{name}: ")
        assert all(line.startswith("# ") and len(line) <= 100 for line in lines)
        text = " ".join(line.removeprefix("# ") for line in lines)
        assert ("ownloads" in text) if name in UNCLAIMED else ("best of" in text)


def test_every_built_in_task_but_those_of_files_has_a_study() -> None:
    tasks = {toml.load(FOLDER / name).task for name in STUDIES}
    assert tasks == set(TASKS) - {"tabular", "images"}


def test_linear_regression_finds_the_line(shell: Shell) -> None:
    """With real workers: slope 2 and intercept 1, within the noise."""
    study = str(FOLDER / "linear_regression.toml")
    shell.hpo("run", study, "--workers", "1", "--trials", "4", "--epochs", "40")
    (path,) = shell.folder.glob("**/models/*.pt")
    weights = torch.load(path, weights_only=True)["state_dict"]
    assert weights["weight"].item() == pytest.approx(2, abs=0.05)
    assert weights["bias"].item() == pytest.approx(1, abs=0.05)
