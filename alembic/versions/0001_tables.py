"""The tables of the ledger: studies, workers, leases, epochs, events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_text = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_datetime = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_options = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}

# Optuna's own connections to SQLite leave foreign keys off, so the cascades below do not fire
# when a study is deleted with Optuna or its dashboard. SQLite would then give the ids of what
# was deleted to new studies and trials, which would inherit our rows. Triggers always fire.
_triggers = (
    """
    CREATE TRIGGER hpo_study_deleted AFTER DELETE ON studies BEGIN
        DELETE FROM hpo_lease WHERE study_id = OLD.study_id;
        DELETE FROM hpo_event WHERE study_id = OLD.study_id;
        DELETE FROM hpo_worker WHERE study_id = OLD.study_id;
        DELETE FROM hpo_study WHERE study_id = OLD.study_id;
    END
    """,
    """
    CREATE TRIGGER hpo_trial_deleted AFTER DELETE ON trials BEGIN
        DELETE FROM hpo_lease WHERE trial_id = OLD.trial_id;
        DELETE FROM hpo_epoch WHERE trial_id = OLD.trial_id;
        DELETE FROM hpo_event WHERE trial_id = OLD.trial_id;
    END
    """,
)


def upgrade() -> None:
    """Creates the tables."""
    _create_study()
    _create_worker()
    _create_lease()
    _create_epoch()
    _create_event()
    if op.get_bind().dialect.name == "sqlite":
        for trigger in _triggers:
            op.execute(trigger)


def downgrade() -> None:
    """Removes hpo's tables; Optuna's stay."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER hpo_study_deleted")
        op.execute("DROP TRIGGER hpo_trial_deleted")
    for name in ("hpo_event", "hpo_epoch", "hpo_lease", "hpo_worker", "hpo_study"):
        op.drop_table(name)


def _of_study() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"], ondelete="CASCADE")


def _of_trial() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["trial_id"], ["trials.trial_id"], ondelete="CASCADE")


def _create_study() -> None:
    op.create_table(
        "hpo_study",
        sa.Column("study_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("spec", _text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", _text),
        sa.Column("base_dir", _text),
        sa.Column("n_trials", sa.Integer),
        sa.Column("epochs", sa.Integer),
        sa.Column("total_epochs", sa.BigInteger),
        sa.Column("deadline_at", _datetime),
        sa.Column("target", sa.Double),
        sa.Column("epochs_spent", sa.BigInteger, nullable=False),
        sa.Column("last_token", sa.BigInteger, nullable=False),
        sa.Column("created_at", _datetime, nullable=False),
        sa.Column("updated_at", _datetime, nullable=False),
        _of_study(),
        sa.PrimaryKeyConstraint("study_id"),
        **_options,
    )


def _create_worker() -> None:
    op.create_table(
        "hpo_worker",
        sa.Column("worker_id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("machine", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("pid_started_at", sa.Double, nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("versions", _text, nullable=False),
        sa.Column("started_at", _datetime, nullable=False),
        sa.Column("heartbeat_at", _datetime, nullable=False),
        sa.Column("heard_since", _datetime, nullable=False),
        sa.Column("ended_at", _datetime),
        _of_study(),
        sa.PrimaryKeyConstraint("worker_id"),
        **_options,
    )
    op.create_index("ix_hpo_worker_study_id", "hpo_worker", ["study_id"])


def _create_lease() -> None:
    op.create_table(
        "hpo_lease",
        sa.Column("trial_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("worker_id", sa.Integer),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("epoch_stop", sa.Integer, nullable=False),
        sa.Column("checkpoint", _text),
        sa.Column("updated_at", _datetime, nullable=False),
        _of_trial(),
        _of_study(),
        sa.ForeignKeyConstraint(["worker_id"], ["hpo_worker.worker_id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("trial_id"),
        **_options,
    )
    op.create_index("ix_hpo_lease_study_id_worker_id", "hpo_lease", ["study_id", "worker_id"])
    op.create_index("ix_hpo_lease_worker_id", "hpo_lease", ["worker_id"])


def _create_epoch() -> None:
    op.create_table(
        "hpo_epoch",
        sa.Column("trial_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("metrics", _text, nullable=False),
        sa.Column("learning_rate", sa.Double),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("samples_per_s", sa.Double),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("reported_at", _datetime, nullable=False),
        _of_trial(),
        sa.PrimaryKeyConstraint("trial_id", "epoch"),
        **_options,
    )


def _create_event() -> None:
    op.create_table(
        "hpo_event",
        sa.Column("event_id", sa.Integer, nullable=False),
        sa.Column("at", _datetime, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("trial_id", sa.Integer),
        sa.Column("worker_id", sa.Integer),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("message", _text, nullable=False),
        _of_study(),
        _of_trial(),
        sa.PrimaryKeyConstraint("event_id"),
        **_options,
    )
    op.create_index("ix_hpo_event_study_id", "hpo_event", ["study_id"])
    op.create_index("ix_hpo_event_trial_id", "hpo_event", ["trial_id"])
