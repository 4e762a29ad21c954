"""Alembic's environment: migrations run over the connection of hpo.store.db.migrations.

For the ``alembic`` command itself, ``alembic -x storage=URL ...`` names the database.
"""

from alembic import context
from sqlalchemy import Connection

from hpo.store.db.database import Database
from hpo.store.db.hpo_tables import metadata
from hpo.store.db.schema import VERSION_TABLE


def _is_ours(name: str | None, kind: str, parent_names: object) -> bool:
    # Optuna's tables are in the same database: autogenerate must not see them.
    return kind != "table" or (name in metadata.tables)


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        include_name=_is_ours,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _run() -> None:
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _migrate(connection)
        return
    database = Database.connect(context.get_x_argument(as_dictionary=True).get("storage"))
    with database.write() as own_connection:
        _migrate(own_connection)
    database.dispose()


_run()
