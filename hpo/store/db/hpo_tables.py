"""hpo's tables: beside Optuna's, and deleted with Optuna's rows.

Every time is naive UTC by the database's clock. Changing anything here needs a migration.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from hpo.store.db import optuna_tables

metadata = sa.MetaData()

# MySQL's own TEXT ends at 64 KiB, its DATETIME at whole seconds.
_Text = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_DateTime = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_STUDY_ID = optuna_tables.studies.c.study_id
_TRIAL_ID = optuna_tables.trials.c.trial_id


def _of(parent: sa.Column[Any], **options: Any) -> sa.Column[Any]:
    # Without the cascade, deleting a study with Optuna or its dashboard would silently fail.
    name = parent.name
    return sa.Column(
        name,
        sa.Integer,
        sa.ForeignKey(parent, ondelete="CASCADE"),
        **({"nullable": False} | options),
    )


def _table(name: str, *parts: Any) -> sa.Table:
    return sa.Table(name, metadata, *parts, mysql_engine="InnoDB", mysql_charset="utf8mb4")


hpo_study = _table(
    "hpo_study",
    _of(_STUDY_ID, primary_key=True, autoincrement=False),
    sa.Column("spec", _Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", _Text),
    sa.Column("base_dir", _Text),
    sa.Column("n_trials", sa.Integer),
    sa.Column("epochs", sa.Integer),
    sa.Column("total_epochs", sa.BigInteger),
    sa.Column("deadline_at", _DateTime),
    sa.Column("target", sa.Double),
    sa.Column("trial_hours", sa.Double),
    # The epochs of trials that ended: theirs are no longer summed over hpo_lease.
    sa.Column("epochs_spent", sa.BigInteger, nullable=False),
    # The last fencing token granted; starts at the time of creation in microseconds, so that
    # tokens differ between studies, too.
    sa.Column("last_token", sa.BigInteger, nullable=False),
    # First points that were learnt from other studies; JSON.
    sa.Column("prior", _Text),
    sa.Column("patience", sa.Integer),
    sa.Column("created_at", _DateTime, nullable=False),
    sa.Column("updated_at", _DateTime, nullable=False),
)

hpo_worker = _table(
    "hpo_worker",
    sa.Column("worker_id", sa.Integer, primary_key=True),
    _of(_STUDY_ID),
    sa.Column("host", sa.String(255), nullable=False),
    # The boot and process namespace within which the pid means something.
    sa.Column("machine", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("pid_started_at", sa.Double, nullable=False),
    sa.Column("device", sa.String(64), nullable=False),
    sa.Column("versions", _Text, nullable=False),
    sa.Column("started_at", _DateTime, nullable=False),
    sa.Column("heartbeat_at", _DateTime, nullable=False),
    # Since when its heartbeats have come without a gap: since then it is a witness of silence.
    sa.Column("heard_since", _DateTime, nullable=False),
    sa.Column("ended_at", _DateTime),
    # Lanes that train now; and how full stacks were: epochs of lanes by epochs of stacks.
    sa.Column("lanes", sa.Integer),
    sa.Column("lane_epochs", sa.BigInteger),
    sa.Column("stack_epochs", sa.BigInteger),
    sa.Index("ix_hpo_worker_study_id", "study_id"),
)

# One row for each unfinished trial that hpo started: owned (worker_id and a token that is not 0)
# or unowned, to be continued (worker_id null, token 0). The row is deleted when the trial ends.
hpo_lease = _table(
    "hpo_lease",
    _of(_TRIAL_ID, primary_key=True, autoincrement=False),
    _of(_STUDY_ID),
    sa.Column("worker_id", sa.Integer, sa.ForeignKey(hpo_worker.c.worker_id, ondelete="SET NULL")),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("epoch_stop", sa.Integer, nullable=False),
    sa.Column("checkpoint", _Text),
    sa.Column("updated_at", _DateTime, nullable=False),
    sa.Index("ix_hpo_lease_study_id_worker_id", "study_id", "worker_id"),
    sa.Index("ix_hpo_lease_worker_id", "worker_id"),
)

hpo_epoch = _table(
    "hpo_epoch",
    _of(_TRIAL_ID, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("metrics", _Text, nullable=False),
    sa.Column("learning_rate", sa.Double),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("samples_per_s", sa.Double),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("reported_at", _DateTime, nullable=False),
)

hpo_event = _table(
    "hpo_event",
    sa.Column("event_id", sa.Integer, primary_key=True),
    sa.Column("at", _DateTime, nullable=False),
    _of(_STUDY_ID),
    _of(_TRIAL_ID, nullable=True),
    sa.Column("worker_id", sa.Integer),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("message", _Text, nullable=False),
    sa.Index("ix_hpo_event_study_id", "study_id"),
    sa.Index("ix_hpo_event_trial_id", "trial_id"),
)

# The decision log: a row for each plan of the search that gave a worker trials.
hpo_suggestion = _table(
    "hpo_suggestion",
    sa.Column("suggestion_id", sa.Integer, primary_key=True),
    _of(_STUDY_ID),
    sa.Column("worker_id", sa.Integer),
    sa.Column("at", _DateTime, nullable=False),
    sa.Column("record", _Text, nullable=False),
    sa.Index("ix_hpo_suggestion_study_id", "study_id"),
)

# How many lanes a stack takes, by the digest of its signature and the device's name. It belongs to
# no study: what was measured for one serves the next.
hpo_stack = _table(
    "hpo_stack",
    sa.Column("signature", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(128), primary_key=True),
    sa.Column("lanes", sa.Integer, nullable=False),
    sa.Column("measured_at", _DateTime, nullable=False),
    # The factor by which other work on the device slowed the steps; null where it was not measured.
    sa.Column("slowdown", sa.Double),
)

# The last ids of deleted rows, by table: SQLite gives the ids of deleted rows to new ones, and a
# worker that does not know yet that its study was deleted must not write into another study's
# trials. Triggers write it there (`last_ids`); servers never give an id twice.
hpo_last_id = _table(
    "hpo_last_id",
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("last_id", sa.Integer, nullable=False),
)

_OF_TRIALS = (
    *("trial_params", "trial_values", "trial_intermediate_values", "trial_heartbeats"),
    *("trial_user_attributes", "trial_system_attributes", "hpo_lease", "hpo_epoch", "hpo_event"),
)
_OF_STUDIES = (
    *("trials", "study_directions", "study_user_attributes", "study_system_attributes"),
    *("hpo_lease", "hpo_event", "hpo_suggestion", "hpo_worker", "hpo_study"),
)


def _trigger(name: str, table: str, key: str, children: tuple[str, ...]) -> str:
    """Returns a trigger that deletes the child rows of a deleted row, and remembers its id."""
    deletes = "".join(f"DELETE FROM {child} WHERE {key} = OLD.{key}; " for child in children)
    return (
        f"CREATE TRIGGER {name} AFTER DELETE ON {table} BEGIN {deletes}"
        f"INSERT INTO hpo_last_id (name, last_id) VALUES ('{table}', OLD.{key}) "
        "ON CONFLICT (name) DO UPDATE SET last_id = max(last_id, excluded.last_id); END"
    )


# Optuna's own connections to SQLite leave foreign keys off, so that the cascades do not fire when
# a study is deleted with Optuna or its dashboard; new trials would inherit the rows of old ones.
# Optuna deletes the rows that it has read before; what workers have added since goes, too.
SQLITE_TRIGGERS = {
    "hpo_study_deleted": _trigger("hpo_study_deleted", "studies", "study_id", _OF_STUDIES),
    "hpo_trial_deleted": _trigger("hpo_trial_deleted", "trials", "trial_id", _OF_TRIALS),
    "hpo_worker_deleted": _trigger("hpo_worker_deleted", "hpo_worker", "worker_id", ()),
}
