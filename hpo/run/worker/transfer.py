"""Transfer: the first points that a study learns from others of its database."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from hpo.errors import StoreError
from hpo.search.base.auto import named_source
from hpo.search.base.history import row_of
from hpo.search.model.portfolio import Portfolio, shipped
from hpo.search.model.warm_start import Source, from_json, learn, similarity, to_json
from hpo.search.optuna.study_search import Search
from hpo.spec.study_spec import StudySpec
from hpo.store.db.database import Database
from hpo.store.optuna.storage import Storage
from hpo.store.rows import stored_specs, transfer_sources
from hpo.store.studies.study_records import StudyRecord

logger = logging.getLogger(__name__)

_MOST_SOURCES = 6
"""Trials of so many studies are read: the most similar ones, and of these the newest."""


def portfolio_of(db: Database, study: StudyRecord) -> Portfolio:
    """Returns the first points of a study that learns from others.

    Whichever worker comes first reads the other studies; what it has learnt is kept, and all
    workers use the same.
    """
    text = study.prior or transfer_sources.of_study(db, study.study_id)
    if text is None:
        learnt = learn(study.spec, _sources(db, study.spec), shipped())
        logger.info("%s has learnt from: %s", study.name, ", ".join(learnt.sources) or "none")
        text = transfer_sources.keep(db, study.study_id, to_json(learnt))
    return from_json(text)


def _sources(db: Database, spec: StudySpec) -> Iterator[Source]:
    name, base = named_source(spec), shipped()
    found = []
    for text in transfer_sources.specs(db, name):
        try:
            other = stored_specs.read(text, "another study")
        except StoreError:
            # Of a version of before, or with a task that is not here.
            continue
        if other.name != spec.name and len(other.directions) == 1:
            found.append((similarity(spec.space, other.space, base), other))
    found.sort(key=lambda pair: -pair[0])
    for _, other in found[:_MOST_SOURCES]:
        trials = Search(other, Storage(db)).trials()
        yield Source(other, [row_of(trial) for trial in trials])
