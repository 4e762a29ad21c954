"""Sampler assigner: params of trials that were enqueued, beside those that the sampler draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.run.assignment.sampler_assigner import SamplerAssigner
from hpo.run.assignment.structural_params import StructuralParams
from hpo.run.assignment.structure_first import StructureFirst
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.studies import queueing, studies
from tests.kits.contexts import context_at
from tests.kits.toy import Digits

pytestmark = pytest.mark.integration

SPEC = StudySpec(
    name="s",
    task="digits-mlp",
    metric="val_accuracy",
    budget={"trials": 9, "epochs": 4},
    space={
        "batch_size": 16,
        "depth": {"low": 1, "high": 3},
        "width": 8,
        "learning_rate": {"low": 0.01, "high": 1.0},
    },
    sampler="random",
    pruner="none",
)


def test_an_enqueued_trial_keeps_a_structure_of_its_own(
    sqlite_database: Database, tmp_path: Path
) -> None:
    study, _ = studies.create_or_join(sqlite_database, SPEC, None)
    context = context_at(sqlite_database, "s", tmp_path)
    first = StructureFirst(StructuralParams(Digits(), 100, SPEC.space), 4)
    assigner = SamplerAssigner(context, first)
    claimed = assigner.claim(1, ()).leases
    (drawn,) = assigner.params(claimed)
    other = 1 + drawn.depth % 3
    queueing.enqueue(sqlite_database, study.study_id, {"depth": other})
    (lease,) = assigner.claim(1, {claimed[0].trial_id}).leases
    assert not lease.is_new
    assert assigner.params([lease])[0].depth == other
    # The next new one has the structure of the first.
    new = assigner.claim(1, {claimed[0].trial_id, lease.trial_id}).leases
    assert assigner.params(new)[0].depth == drawn.depth


def test_a_worker_takes_as_many_at_once_as_it_should(
    sqlite_database: Database, tmp_path: Path
) -> None:
    studies.create_or_join(sqlite_database, SPEC, None)
    assigner = SamplerAssigner(context_at(sqlite_database, "s", tmp_path), at_once=5)
    assert [assigner.wanted(*room) for room in ((32, 0), (3, 0), (27, 5), (4, 5))] == [5, 3, 5, 0]
