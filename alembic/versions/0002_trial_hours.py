"""A limit on the hours that one trial may train."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the limit; studies that are there have none."""
    op.add_column("hpo_study", sa.Column("trial_hours", sa.Double))


def downgrade() -> None:
    """Removes the limit, and lets trials train as long as they like."""
    op.drop_column("hpo_study", "trial_hours")
