"""The decision log, what a study has learnt from others, and its patience."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_text = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_datetime = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

# Optuna's own connections to SQLite leave foreign keys off; see revision 0001.
_trigger = """
    CREATE TRIGGER hpo_suggestion_deleted AFTER DELETE ON studies BEGIN
        DELETE FROM hpo_suggestion WHERE study_id = OLD.study_id;
    END
"""


def upgrade() -> None:
    """Adds the table, and columns that are empty for existing studies."""
    op.create_table(
        "hpo_suggestion",
        sa.Column("suggestion_id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("worker_id", sa.Integer),
        sa.Column("at", _datetime, nullable=False),
        sa.Column("record", _text, nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"], ondelete="CASCADE"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    op.create_index("ix_hpo_suggestion_study_id", "hpo_suggestion", ["study_id"])
    op.add_column("hpo_study", sa.Column("prior", _text))
    op.add_column("hpo_study", sa.Column("patience", sa.Integer))
    if op.get_bind().dialect.name == "sqlite":
        op.execute(_trigger)


def downgrade() -> None:
    """Removes them."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER hpo_suggestion_deleted")
    op.drop_column("hpo_study", "patience")
    op.drop_column("hpo_study", "prior")
    op.drop_table("hpo_suggestion")
