"""How many lanes stacks take, as measured, and how full those of each worker are."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_datetime = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_COUNTS = {"lanes": sa.Integer, "lane_epochs": sa.BigInteger, "stack_epochs": sa.BigInteger}


def upgrade() -> None:
    """Adds the table and the counts, which existing workers do not have."""
    op.create_table(
        "hpo_stack",
        sa.Column("signature", sa.String(64), primary_key=True),
        sa.Column("device", sa.String(128), primary_key=True),
        sa.Column("lanes", sa.Integer, nullable=False),
        sa.Column("measured_at", _datetime, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    for name, kind in _COUNTS.items():
        op.add_column("hpo_worker", sa.Column(name, kind))


def downgrade() -> None:
    """Removes the table and the counts."""
    for name in _COUNTS:
        op.drop_column("hpo_worker", name)
    op.drop_table("hpo_stack")
