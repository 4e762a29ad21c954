"""Examination: all health checks of a database and of this machine, in the order to read them."""

from __future__ import annotations

from hpo.errors import HpoError
from hpo.report.health import database_health, files_health, machine_health
from hpo.report.health.health_check import HealthCheck, skipped
from hpo.store.db.urls import resolve_url


def examine(url: str | None = None, artifacts: str | None = None) -> list[HealthCheck]:
    """Makes all checks; leaves nothing behind.

    Args:
        url: The database; by default ``$HPO_STORAGE``, else ``sqlite:///hpo.db``.
        artifacts: Folder or object store of checkpoints and models, if not the default one.
    """
    found, db = database_health.all_checks(url)
    try:
        place = db.url if db is not None else resolve_url(url)
        found.append(files_health.artifacts(place, artifacts))
        found.append(files_health.shared(db, artifacts))
        found.append(files_health.disk(db, place, artifacts))
    except HpoError as error:
        # Where files lie depends on the database; its own check says what is wrong with it.
        found += [skipped(name, error.message) for name in ("artifacts", "shared", "disk")]
    finally:
        if db is not None:
            db.dispose()
    return [*found, machine_health.gpu(), machine_health.threads(), machine_health.memory()]
