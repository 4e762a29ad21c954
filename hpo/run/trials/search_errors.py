"""Search errors: exceptions of samplers and pruners, for which no trial is to blame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from hpo.errors import HpoError
from hpo.run.link.context import WorkerContext
from hpo.run.link.retry import DATABASE_ERRORS
from hpo.store.ledger.leases import Lease
from hpo.store.rows.events import Event
from hpo.store.studies import study_endings
from hpo.tracebacks import headline, internal, is_internal, report_of

T = TypeVar("T")
Ends = Sequence[tuple[Lease, TrialState, Sequence[float] | None]]

LOST = (UpdateFinishedTrialError, KeyError)
"""What Optuna's storage raises for a trial that was finished elsewhere, or deleted."""


class SearchFailed(HpoError):
    """The sampler has raised, so that the study cannot continue.

    Args:
        message: One line.
        report: The traceback.
        kind: Of the event that is recorded.
    """

    def __init__(self, message: str, report: str, kind: str) -> None:
        super().__init__(message)
        self.report, self.kind = report, kind


def search_failed(context: WorkerContext, error: Exception) -> SearchFailed:
    """Returns the error that stops a study whose sampler has raised.

    Raises:
        StoreError: The study is gone, which is why the sampler has raised.
    """
    context.ledger.study_status(context.study.study_id)
    doing = f"the sampler {context.study.spec.sampler.name} failed"
    if is_internal(error):
        return SearchFailed(internal(doing, error), report_of(error), "internal")
    return SearchFailed(f"{doing}: {headline(error)}", report_of(error), "sampler")


@contextmanager
def searching(context: WorkerContext) -> Iterator[None]:
    """Turns what the search raises into ``SearchFailed``.

    Raises:
        SearchFailed: From what was raised.
        StoreError: The database fails, or the study is no longer there.
    """
    try:
        yield
    except (HpoError, *DATABASE_ERRORS):
        raise
    except Exception as error:
        raise search_failed(context, error) from error


def of_owned(
    context: WorkerContext, leases: Sequence[Lease], call: Callable[[Sequence[Lease]], T]
) -> tuple[Sequence[Lease], T | None]:
    """Makes a call of the search for leases, without those that turn out to be lost.

    A trial may be cancelled, deleted or taken over at any moment.

    Returns:
        The leases that are in force, and the answer; None without any.

    Raises:
        SearchFailed: The call raises though all leases are in force.
    """
    while leases:
        try:
            return leases, call(leases)
        except (HpoError, *DATABASE_ERRORS):
            raise
        except Exception as error:
            owned = context.owned(leases)
            if len(owned) == len(leases):
                raise search_failed(context, error) from error
            leases = owned
    return (), None


def before_finish(context: WorkerContext, ends: Ends) -> SearchFailed | None:
    """Lets the sampler note what it needs before trials are settled.

    Returns:
        The error if it has raised: the caller settles the outcomes before it raises that.
    """
    found = {lease.trial_id: (lease.trial_id, *end) for lease, *end in ends}

    def note(leases: Sequence[Lease]) -> None:
        noted = [found[lease.trial_id] for lease in leases]
        context.client.try_call(lambda: context.search.before_finish(noted), None)  # type: ignore[arg-type]

    try:
        of_owned(context, [lease for lease, *_ in ends], note)
    except SearchFailed as failure:
        return failure
    return None


def asked_pruner(context: WorkerContext, ask: Callable[[], T], otherwise: T) -> T:
    """Asks the pruner. If it raises, trials continue without it, and a warning is given once.

    Args:
        context: The worker's.
        ask: Calls the pruner.
        otherwise: The answer where it raises.
    """
    try:
        return ask()
    except (HpoError, *DATABASE_ERRORS, UpdateFinishedTrialError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the trial is not to blame
        doing = f"the pruner {context.study.spec.pruner.name} failed, so trials continue without it"
        said, kind = f"{doing}: {headline(error)}", "pruner"
        if is_internal(error):
            said, kind = internal(doing, error), "internal"
        context.warn_once(kind, said, report_of(error))
        return otherwise


def stop_study(context: WorkerContext, failure: SearchFailed) -> None:
    """Stops the study of a sampler that has raised."""
    study_id = context.study.study_id
    event = Event(study_id, failure.kind, failure.report, worker_id=context.worker_id)
    context.client.try_call(
        lambda: study_endings.stop(context.db, study_id, failure.message, [event]), None
    )
