"""Complete deletion of studies, whose ids are not reused; how busy a measured device was."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_of_trials = (
    *("trial_params", "trial_values", "trial_intermediate_values", "trial_heartbeats"),
    *("trial_user_attributes", "trial_system_attributes", "hpo_lease", "hpo_epoch", "hpo_event"),
)
_of_studies = (
    *("trials", "study_directions", "study_user_attributes", "study_system_attributes"),
    *("hpo_lease", "hpo_event", "hpo_suggestion", "hpo_worker", "hpo_study"),
)
_old_triggers = (
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
    """
    CREATE TRIGGER hpo_suggestion_deleted AFTER DELETE ON studies BEGIN
        DELETE FROM hpo_suggestion WHERE study_id = OLD.study_id;
    END
    """,
)


def upgrade() -> None:
    """Adds a table and a column; on SQLite, removes what older deletions left behind."""
    op.create_table(
        "hpo_last_id",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("last_id", sa.Integer, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    op.add_column("hpo_stack", sa.Column("slowdown", sa.Double))
    if op.get_bind().dialect.name != "sqlite":
        return
    for name in ("hpo_study_deleted", "hpo_trial_deleted", "hpo_suggestion_deleted"):
        op.execute(f"DROP TRIGGER {name}")
    for children, key, parent in (
        (_of_studies, "study_id", "studies"),
        (_of_trials, "trial_id", "trials"),
    ):
        for child in children:
            op.execute(
                f"DELETE FROM {child} WHERE {key} IS NOT NULL"
                f" AND {key} NOT IN (SELECT {key} FROM {parent})"
            )
    _create_trigger("hpo_study_deleted", "studies", "study_id", _of_studies)
    _create_trigger("hpo_trial_deleted", "trials", "trial_id", _of_trials)
    _create_trigger("hpo_worker_deleted", "hpo_worker", "worker_id", ())


def downgrade() -> None:
    """Removes the table, the column and the triggers."""
    if op.get_bind().dialect.name == "sqlite":
        for name in ("hpo_study_deleted", "hpo_trial_deleted", "hpo_worker_deleted"):
            op.execute(f"DROP TRIGGER {name}")
        for trigger in _old_triggers:
            op.execute(trigger)
    op.drop_column("hpo_stack", "slowdown")
    op.drop_table("hpo_last_id")


def _create_trigger(name: str, table: str, key: str, children: tuple[str, ...]) -> None:
    deletes = "".join(f"DELETE FROM {child} WHERE {key} = OLD.{key}; " for child in children)
    op.execute(
        f"CREATE TRIGGER {name} AFTER DELETE ON {table} BEGIN {deletes}"
        f"INSERT INTO hpo_last_id (name, last_id) VALUES ('{table}', OLD.{key}) "
        "ON CONFLICT (name) DO UPDATE SET last_id = max(last_id, excluded.last_id); END"
    )
