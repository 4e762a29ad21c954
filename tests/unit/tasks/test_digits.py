"""The study that comes with the task, and a point of its space."""

from pathlib import Path

import torch

from hpo.spec import toml
from hpo.spec.space.params import Params
from hpo.spec.space.search_space import SearchSpace
from hpo.tasks.digits import DigitsMLP
from hpo.train.engine import Lane
from hpo.train.loop.solo import SoloEngine

STUDY = Path(__file__).parents[3] / "studies" / "digits_mlp.toml"


def test_the_study_is_the_tasks_default() -> None:
    spec = toml.load(STUDY)
    assert spec.task == "digits-mlp"
    assert spec.space == SearchSpace(DigitsMLP.space)
    assert spec.metrics == (DigitsMLP.metric,)


def test_a_good_point_of_the_space_reaches_what_the_study_claims() -> None:
    torch.set_num_threads(1)
    spec, task = toml.load(STUDY), DigitsMLP()
    engine = SoloEngine(task, task.data().splits(spec.validation), "val_accuracy", "maximize")
    params = {"learning_rate": 0.2, "momentum": 0.5, "batch_size": 64, "depth": 2, "width": 128}
    assert engine.add(Lane(0, Params(params), seed=1, epoch=0, epoch_stop=12)) is None
    for _ in range(12):
        engine.advance()
    assert engine.best(0)[1]["val_accuracy"] >= 0.975
    assert engine.test(0)["test_accuracy"] >= 0.96
