"""Another name for a study: everything of it stays, its workers and its files too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from hpo.errors import SpecError, StoreError
from hpo.store.db.database import Database
from hpo.store.ledger.ledger import Ledger
from hpo.store.optuna.storage import Storage
from hpo.store.studies import renaming, studies, study_records
from tests.kits import ledger_kit as kit
from tests.kits.contexts import context_at

pytestmark = pytest.mark.integration
LoadStudy = Callable[[str], optuna.Study]


def test_a_renamed_study_keeps_everything_and_its_workers_go_on(
    database: Database, tmp_path: Path
) -> None:
    study_id = kit.new_study(database, "old")
    before = study_records.load(database, "old")
    known = Storage(database, {"old": study_id})
    context = context_at(database, "old", tmp_path)
    lease = context.ledger.claim(study_id, context.worker_id, 1).leases[0]

    assert renaming.rename(database, study_id, "new") == "old"

    after = study_records.load(database, "new")
    assert (after.spec.name, after.name, after.files) == ("new", "new", "old")
    assert after.digest == after.spec.digest != before.digest
    assert after.spec.model_copy(update={"name": "old"}) == before.spec
    assert study_records.reload(database, before) == after
    assert known.get_study_id_from_name("old") == study_id
    assert context.ledger.report([kit.epoch_row(lease, 1)]) == set()
    assert context.ledger.claim(study_id, context.worker_id, 1, [lease.trial_id]).leases
    assert [event.message for event in kit.recent_events(database, study_id)] == ["old -> new"]
    with pytest.raises(SpecError, match="no study called old"):
        study_records.load(database, "old")

    # A new study of the old name has files of its own; so has the one that comes back to it.
    kit.new_study(database, "old")
    assert study_records.load(database, "old").files not in ("old", "new")
    renaming.rename(database, study_id, "newer")
    assert study_records.load(database, "newer").files == "old"


def test_a_name_that_is_wrong_or_taken_is_refused(
    database: Database, plain_optuna: LoadStudy
) -> None:
    study_id = kit.new_study(database, "one")
    other = kit.new_study(database, "two")
    theirs = Storage(database).create_new_study([optuna.study.StudyDirection.MINIMIZE], "theirs")
    for name, message in [
        ("two", "called two already"),
        ("a/b", "no slashes"),
        ("-x", "must not begin with -"),
        ("", "printable"),
        ("a\x1b[2J", "printable"),
        ("x" * 600, "1 to 512"),
    ]:
        with pytest.raises(SpecError, match=message):
            renaming.rename(database, study_id, name)
    assert renaming.rename(database, study_id, "one") == "one"
    assert study_records.names(database) == ["one", "two"]
    # Optuna takes any name.
    assert renaming.rename(database, theirs, "a/b") == "theirs"
    assert plain_optuna("a/b").study_name == "a/b"
    studies.delete(database, other)
    with pytest.raises(StoreError, match="no longer"):
        renaming.rename(database, other, "three")


def test_a_study_of_the_same_id_and_name_is_another_one(database: Database) -> None:
    study_id = kit.new_study(database, "s")
    before = study_records.load(database, "s")
    worker_id = kit.new_worker(database, study_id)
    assert not study_records.is_deleted(database, before)

    assert studies.delete(database, study_id)
    again = kit.new_study(database, "s")

    assert study_records.is_deleted(database, before)
    with pytest.raises(StoreError, match=r"the study s is no longer in .*: it was deleted"):
        study_records.reload(database, before)
    assert Ledger(database).renew(worker_id).state == "gone"
    assert again != study_id
