"""The placement of workers by the resources of a trial, on machines of many shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hpo.errors import LaunchError
from hpo.run.host import machine
from hpo.run.host.placement import DevicePlacement, describe, plan
from hpo.spec.sections import ResourceSpec

GIB = 2**30


@pytest.fixture
def machine_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    def change(*, gpus: int = 0, cores: int = 16, memory: float = 64) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(machine, "n_cores", lambda: cores)
        monkeypatch.setattr(machine, "n_memory_bytes", lambda: int(memory * GIB))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return change


def _visible(**given: Any) -> list[str | None]:
    return [place.visible for place in plan(resources=ResourceSpec(**given))]


def test_without_resources_there_is_a_worker_for_each_gpu_or_core(machine_of: Any) -> None:
    machine_of(cores=4)
    assert plan() == (DevicePlacement("cpu", None, 1),) * 4
    machine_of(gpus=2)
    assert plan() == tuple(DevicePlacement("cuda:0", gpu, 8) for gpu in "01")
    # More workers than GPUs share them, since nothing says that they may not.
    assert [place.visible for place in plan(n_workers=5)] == ["0", "1", "0", "1", "0"]
    assert [place.visible for place in plan("cuda:1")] == ["1"]


def test_half_a_gpu_lets_two_workers_share_each(machine_of: Any) -> None:
    machine_of(gpus=2)
    # Neighbours are on different GPUs, so that fewer workers use all of them.
    assert _visible(gpus=0.5) == ["0", "1", "0", "1"]
    assert len(_visible(gpus=0.33)) == 6
    assert len(_visible(gpus=0.14)) == 14


def test_a_worker_has_several_gpus_of_its_own(
    machine_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_of(gpus=5)
    assert _visible(gpus=2) == ["0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,GPU-5,3,2,1")
    assert _visible(gpus=2) == ["7,GPU-5", "3,2"]
    assert [x.visible for x in plan("cuda:4,1", resources=ResourceSpec(gpus=2))] == ["1,GPU-5"]


def test_without_gpus_a_worker_sees_none(machine_of: Any) -> None:
    machine_of(gpus=2, cores=3)
    assert plan(resources=ResourceSpec(gpus=0)) == (DevicePlacement("cpu", "", 1),) * 3


def test_cores_and_memory_decide_how_many_workers_fit(machine_of: Any) -> None:
    machine_of(cores=16, memory=64)
    assert plan(resources=ResourceSpec(cpus=4)) == (DevicePlacement("cpu", None, 4),) * 4
    assert len(plan(resources=ResourceSpec(cpus=4, memory="30GiB"))) == 2
    assert len(plan(resources=ResourceSpec(memory="1GiB"))) == 16
    machine_of(gpus=8, cores=16, memory=64)
    assert plan(resources=ResourceSpec(gpus=1, cpus=5)) == tuple(
        DevicePlacement("cuda:0", gpu, 5) for gpu in "012"
    )
    # Where nothing is said of GPUs, each worker has one as before.
    assert _visible(memory="16GiB") == ["0", "1", "2", "3"]
    assert len(_visible(cpus=1)) == 8


def test_a_machine_that_is_too_small_says_what_is_missing(machine_of: Any) -> None:
    machine_of(gpus=1, cores=2, memory=7.79)
    with pytest.raises(LaunchError) as caught:
        plan(resources=ResourceSpec(gpus=2, cpus=8, memory="16GiB"))
    assert str(caught.value) == (
        "a trial needs more than this machine has: 2 GPUs (here: 1), 8 cores (here: 2), "
        "16GiB of memory (here: 7.7GiB)"
    )
    assert caught.value.hint == (
        "change [resources] in the study file, or what this machine gives: "
        "--gpus 1 --cpus 2 --memory 7.7GiB"
    )
    # What the hint proposes fits.
    assert len(plan(resources=ResourceSpec(gpus=1, cpus=2, memory="7.7GiB"))) == 1


@pytest.mark.parametrize(("device", "missing"), [("auto", "none"), ("cpu", "none of --device cpu")])
def test_a_machine_without_gpus_says_so(machine_of: Any, device: str, missing: str) -> None:
    machine_of(gpus=0)
    with pytest.raises(LaunchError, match=rf"1 GPU \(here: {missing}\)") as caught:
        plan(device, resources=ResourceSpec(gpus=1))
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("--gpus 0")


def test_gpus_beyond_those_of_the_device_are_missing(machine_of: Any) -> None:
    machine_of(gpus=4)
    with pytest.raises(LaunchError, match=r"2 GPUs \(here: 1 of --device cuda:0\)"):
        plan("cuda:0", resources=ResourceSpec(gpus=2))


def test_a_gpu_by_its_name_contradicts_trials_without_one(machine_of: Any) -> None:
    machine_of(gpus=1)
    with pytest.raises(LaunchError, match="--device cuda names a GPU, but gpus = 0"):
        plan("cuda", resources=ResourceSpec(gpus=0))


def test_fewer_workers_may_be_asked_for_but_not_more(machine_of: Any) -> None:
    machine_of(cores=16, memory=64)
    needs = ResourceSpec(cpus=4, memory="20GiB")
    assert len(plan(n_workers=2, resources=needs)) == 2
    with pytest.raises(LaunchError) as caught:
        plan(n_workers=4, resources=needs)
    assert str(caught.value) == (
        "--workers 4 is too many: 3 fit here, since a trial needs 20GiB of memory (here: 64GiB)"
    )
    assert caught.value.hint == "leave out --workers, or give a trial less with --memory"


@pytest.mark.parametrize(
    ("shape", "given", "line"),
    [
        ({}, {}, "cpu"),
        ({"gpus": 2}, {}, "cuda (2 GPUs)"),
        ({"gpus": 4}, {"gpus": 2}, "cuda (4 GPUs) with 2 GPUs each"),
        ({"gpus": 1}, {"gpus": 0.5, "cpus": 4}, "cuda with 0.5 GPU, 4 cores each"),
        ({"cores": 1}, {"gpus": 0, "memory": "2GiB"}, "cpu with no GPU, 2GiB"),
    ],
)
def test_the_line_that_people_see_names_the_resources(
    machine_of: Any, shape: dict[str, int], given: dict[str, Any], line: str
) -> None:
    machine_of(**shape)
    resources = ResourceSpec(**given)
    assert describe(plan(resources=resources), resources) == line
