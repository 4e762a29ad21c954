"""Registry: schedulers by the name of the study's pruner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from hpo.search.base.auto import AUTO, Choice, choose
from hpo.search.base.curves import Curves
from hpo.search.base.decisions import Ask, Decision, Plan
from hpo.search.base.param_encoding import Encoder
from hpo.search.base.proposers import Proposal, Proposer, SamplerProposer
from hpo.search.model.freeze_thaw import FreezeThaw, settings_of
from hpo.search.model.portfolio import Portfolio
from hpo.search.schedulers.fifo import FIFO
from hpo.search.schedulers.halving import Halving, HalvingSettings
from hpo.search.schedulers.kde import KDE
from hpo.spec.study_spec import StudySpec


class Scheduler(Protocol):
    """Decides, from the curves alone.

    Attributes:
        name: As a study file has it.
        version: Changes when the same curves may get another answer.
        pauses: Whether trials are ever paused. Otherwise the study's pruner may stop them.
    """

    name: str
    version: str
    pauses: bool

    def plan(self, curves: Curves, ask: Ask) -> Plan:
        """Returns what to do with free places."""

    def propose(self, curves: Curves, numbers: Sequence[int], ask: Ask) -> Proposal:
        """Returns params for new trials that got these numbers, not those that were planned."""

    def judge(self, curves: Curves, numbers: Sequence[int]) -> list[Decision]:
        """Returns what becomes of running trials after an epoch."""


@dataclass(frozen=True)
class _Parts:
    """The inputs of a scheduler's construction."""

    spec: StudySpec
    choice: Choice
    encoder: Encoder
    model: FreezeThaw

    @property
    def options(self) -> Mapping[str, Any]:
        """Those of the study file, unless they are another method's."""
        spec = self.spec.pruner
        return spec.options if spec.name == self.choice.scheduler else {}

    @property
    def proposer(self) -> Proposer:
        """The source of new points."""
        return self.model if self.choice.sampler == AUTO else SamplerProposer(self.choice.sampler)


Build: TypeAlias = Callable[[_Parts], Scheduler]


def make_scheduler(
    spec: StudySpec, *, portfolio: Portfolio | None = None, encoder: Encoder | None = None
) -> Scheduler:
    """Builds the scheduler of a study whose trials can pause.

    Args:
        spec: The study.
        portfolio: First points; those that come with the package by default.
        encoder: The searched parameters as the trials of an objective have asked for them; None
            for those of the study's space.
    """
    choice = choose(spec)
    settings = settings_of(spec, portfolio=portfolio, encoder=encoder)
    if encoder is None:
        encoder = Encoder.of_space(spec.space)
    parts = _Parts(spec, choice, encoder, FreezeThaw(encoder, settings))
    return SCHEDULERS[choice.scheduler](parts)


def _fifo(name: str) -> Build:
    return lambda parts: FIFO(name, parts.proposer)


def _halving(name: str, n_brackets: int) -> Build:
    def build(parts: _Parts) -> Scheduler:
        options = parts.options
        lowest = options.get("min_resource", "auto")
        settings = HalvingSettings(
            seed=parts.spec.seed,
            factor=int(options.get("reduction_factor", 3)),
            lowest=None if lowest == "auto" else int(lowest),
            n_brackets=n_brackets,
        )
        is_bohb = name == "bohb" and parts.choice.sampler == AUTO
        kde = KDE(parts.encoder, parts.spec.seed)
        return Halving(name, settings, kde if is_bohb else parts.proposer)

    return build


def _asha(parts: _Parts) -> Scheduler:
    stops = parts.options.get("type") == "stop"
    return (_fifo("asha") if stops else _halving("asha", 1))(parts)


# The pruners under which trials never pause.
_ONLY_STOP: Final = ("none", "median", "percentile", "threshold", "patient", "wilcoxon")

SCHEDULERS: Final[Mapping[str, Build]] = {
    **{name: _fifo(name) for name in _ONLY_STOP},
    "asha": _asha,
    "hyperband": _halving("hyperband", 0),
    "bohb": _halving("bohb", 0),
    "freeze-thaw": lambda parts: parts.model,
}
