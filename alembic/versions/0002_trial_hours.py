"""A limit on the hours that one trial may train."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the limit; existing studies have none."""
    op.add_column("hpo_study", sa.Column("trial_hours", sa.Double))


def downgrade() -> None:
    """Removes the limit: trials may train for any time."""
    op.drop_column("hpo_study", "trial_hours")
