"""How our own model searches a study."""

from __future__ import annotations

from typing import Final

from hpo.search.base.auto import AUTO, choose, learns_from
from hpo.search.base.param_encoding import Encoder
from hpo.search.model.freeze_thaw import Settings
from hpo.search.model.portfolio import Portfolio, first_points, shipped
from hpo.spec.space.search_space import Fixed, SearchSpace
from hpo.spec.study_spec import StudySpec

_NOTHING: Final = Portfolio("none", {}, ())


def settings_of(spec: StudySpec, *, portfolio: Portfolio | None = None) -> Settings:
    """Returns the settings for a study.

    Args:
        spec: The study.
        portfolio: First points; those that come with the package by default.
    """
    fixed = {n: p.value for n, p in spec.space.parameters.items() if isinstance(p, Fixed)}
    encoder = Encoder.of_space(spec.space)
    known = _NOTHING if learns_from(spec) == "none" else portfolio or shipped()
    first = first_points(known, encoder, fixed, spec.seed)
    proposes = choose(spec).sampler == AUTO
    return Settings(seed=spec.seed, first=first, proposes=proposes)


def known_space(spec: StudySpec) -> SearchSpace:
    """Returns the space that a study's trials draw from; an empty one where they find it.

    An objective names its parameters while it runs, whatever its study file says of them.
    """
    return spec.space if spec.objective is None else SearchSpace()
