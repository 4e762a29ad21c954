"""Freeze-thaw: a scheduler with one model of all curves for paused trials and new points.

Source: Swersky, Snoek, Adams, "Freeze-Thaw Bayesian Optimization", 2014; the choice by a random
horizon and a random gain: Rakotoarison et al., "In-Context Freeze-Thaw Bayesian Optimization for
Hyperparameter Optimization" (ifBO), ICML 2024.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hpo.search.base.auto import AUTO, choose, learns_from
from hpo.search.base.curves import Curves, Floats, State
from hpo.search.base.decisions import Advance, Ask, Decision, Note, Plan, Start
from hpo.search.base.derived_seeds import mix
from hpo.search.base.param_encoding import Encoder, Point
from hpo.search.base.proposers import Proposal
from hpo.search.base.rungs import ladder, lowest_rung
from hpo.search.base.trial_status import at_targets, is_ahead, is_free, is_over, is_pending
from hpo.search.model.acquisition import Acquisition, Selection, chances_to_win
from hpo.search.model.candidates import new_rows
from hpo.search.model.initial_design import InitialDesign
from hpo.search.model.map_fit import FittedModel, fit, hyperprior_of
from hpo.search.model.model_settings import FREEZE_THAW
from hpo.search.model.portfolio import Portfolio, first_points, shipped
from hpo.search.model.structures import Structures
from hpo.search.model.torch_modes import in_default_modes
from hpo.search.model.training_set import usable
from hpo.spec.space.search_space import Fixed
from hpo.spec.study_spec import StudySpec

_NO_PORTFOLIO: Final = Portfolio("none", {}, ())


if TYPE_CHECKING:
    from hpo.search.model.value_search import ByValues


@dataclass(frozen=True)
class Settings:
    """How a study is searched.

    Attributes:
        seed: The study's.
        n_initial: Trials that begin before the model is asked.
        first: [K, P] Points of the first trials, snapped, in place of a quasi-random sequence.
        proposes: Whether new points come from the model too; if not, from one of Optuna's samplers.
        value_share: Share of the new points that a model of the values at the last epoch proposes.
    """

    seed: int = 0
    n_initial: int = 0
    first: Floats | None = None
    proposes: bool = True
    value_share: float = 0.0


def settings_of(
    spec: StudySpec, *, portfolio: Portfolio | None = None, encoder: Encoder | None = None
) -> Settings:
    """Returns the settings for a study.

    Args:
        spec: The study.
        portfolio: First points; those that come with the package by default.
        encoder: The searched parameters, where they are not those of the study's space.
    """
    known = _NO_PORTFOLIO if learns_from(spec) == "none" else portfolio or shipped()
    fixed = {n: p.value for n, p in spec.space.parameters.items() if isinstance(p, Fixed)}
    if encoder is not None:
        known, fixed = known.for_objective(encoder.names), {}
    encoder = Encoder.of_space(spec.space) if encoder is None else encoder
    first = first_points(known, encoder, fixed, spec.seed)
    proposes = choose(spec).sampler == AUTO
    share = 0.0 if spec.objective is None else FREEZE_THAW.value_share
    return Settings(seed=spec.seed, first=first, proposes=proposes, value_share=share)


class FreezeThaw:
    """Plans by a Gaussian process over (params, epoch).

    Args:
        encoder: The searched parameters.
        settings: How to search.
    """

    name = "freeze-thaw"
    version = "3"
    pauses = True

    @in_default_modes
    def __init__(self, encoder: Encoder, settings: Settings) -> None:
        self._encoder = encoder
        self._settings = settings
        self._n_initial = settings.n_initial or FREEZE_THAW.n_initial(len(encoder))
        if settings.first is not None:
            self._n_initial = max(len(settings.first), FREEZE_THAW.min_initial)
        self._initial_design = InitialDesign(
            encoder, settings.seed, settings.first, self._n_initial
        )
        self._hyperprior = hyperprior_of(encoder)
        self._by_values = self._search_of_values() if settings.value_share else None

    def _search_of_values(self) -> ByValues | None:
        # Brings SciPy, which takes long to load, and which a task's search does without.
        from hpo.search.model.value_search import ByValues, ValueSearch

        if not len(self._encoder):
            return None
        search = ValueSearch(self._encoder, self._settings.seed, self._n_initial)
        return ByValues(search, self._settings.seed, self._settings.value_share)

    def _points_by_values(self, curves: Curves, numbers: Sequence[int]) -> dict[int, Point]:
        if self._by_values is None:
            return {}
        return self._by_values.propose(curves, numbers, self._first_stop(curves))

    @in_default_modes
    def plan(self, curves: Curves, ask: Ask) -> Plan:
        """Returns what to do with free places."""
        curves = curves.with_paused(ask.at_rung)
        seed = mix(self._settings.seed, curves.next_number, curves.n_epochs)
        note = {"method": self.name, "version": self.version, "seed": seed}
        n_new = ask.n if ask.n_new is None else min(ask.n, ask.n_new)
        stops = self.rungs(curves)
        n_begun = min(n_new, max(0, self._n_initial - curves.next_number))
        begun = self._initial_starts(curves, ask, n_begun, stops[0])
        fitted = self._fit(curves, ask) if len(begun) < ask.n else None
        if fitted is None:
            starts = self._initial_starts(curves, ask, n_new, stops[0])
            return Plan(starts, not starts and is_over(curves), note, ask.memory)
        acquisition = self._acquisition(curves, fitted, stops, ask, seed)
        known = [start.params for start in begun if start.params is not None]
        acquisition.add_pending(self._encoder.encode(known), stops[0])
        if n_new and acquisition.has_new:
            selected = acquisition.choose(ask.n - len(begun), n_new - len(begun), ask.epochs_left)
        else:
            selected = _closing(curves, acquisition, ask.n)
        assignments = (*begun, *self._assignments(curves, selected, len(begun)))
        return Plan(assignments, not assignments and is_over(curves), note, fitted.memory)

    @in_default_modes
    def propose(self, curves: Curves, numbers: Sequence[int], ask: Ask) -> Proposal:
        """Returns params for new trials that got these numbers, whatever a plan had in mind."""
        early = [number for number in numbers if number < self._n_initial]
        begun = self._initial_points(curves, early, ask)
        rest = list(numbers)[len(early) :]
        fitted = self._fit(curves, ask) if rest else None
        if fitted is None:
            return Proposal([*begun, *self._initial_points(curves, rest, ask)], ask.memory)
        stops = self.rungs(curves)
        seed = mix(self._settings.seed, rest[0], curves.n_epochs)
        acquisition = self._acquisition(curves, fitted, stops, ask, seed, with_paused=False)
        acquisition.add_pending(self._encoder.encode(begun), stops[0])
        selected = acquisition.choose(len(rest), len(rest))
        rows = [selection.point for selection in selected if selection.point is not None]
        chosen = self._encoder.decode(np.array(rows)) if rows else []
        by_values = self._points_by_values(curves, rest[: len(chosen)])
        chosen = [by_values.get(n, point) for n, point in zip(rest, chosen, strict=False)]
        return Proposal([*begun, *chosen], fitted.memory)

    def judge(self, curves: Curves, numbers: Sequence[int]) -> list[Decision]:
        """Returns what becomes of running trials after an epoch."""
        return at_targets(curves, numbers)

    def rungs(self, curves: Curves) -> tuple[int, ...]:
        """Returns the epochs at which trials are compared, the horizon last."""
        return ladder(
            lowest_rung(curves, is_modelled=True), curves.horizon, FREEZE_THAW.rung_factor
        )

    @in_default_modes
    def hopeless(
        self,
        curves: Curves,
        numbers: Sequence[int],
        memory: Note,
        before: Sequence[int],
    ) -> tuple[list[bool], Note]:
        """Returns which trials will hardly become the best one. They are judged at rungs only.

        Args:
            curves: All trials.
            numbers: Running ones.
            memory: As ``Ask.memory``.
            before: Epoch of each one's report before the last.

        Returns:
            An answer for each, and the memory for the next time.
        """
        rows = curves.rows_of(numbers)
        stops = self.rungs(curves)
        epochs = curves.epochs[rows]
        past = np.asarray(before, dtype=np.int64)
        inner = np.array(stops[:-1])[:, None]
        is_judged = ((past < inner) & (inner <= epochs) & (epochs < stops[-1])).any(axis=0)
        if not is_judged.any() or len(usable(curves)) <= self._n_initial:
            return [False] * len(rows), memory
        fitted = fit(curves, self._encoder.features(curves.points), self._hyperprior, memory)
        if fitted is None:
            return [False] * len(rows), memory
        # A model may extrapolate curves wrongly, so the current leaders are never given up.
        is_judged &= ~is_ahead(curves, rows)
        chances = chances_to_win(fitted, rows)
        return (is_judged & (chances < FREEZE_THAW.max_hopeless_chance)).tolist(), fitted.memory

    def _fit(self, curves: Curves, ask: Ask) -> FittedModel | None:
        return fit(curves, self._encoder.features(curves.points), self._hyperprior, ask.memory)

    def _acquisition(
        self,
        curves: Curves,
        fitted: FittedModel,
        stops: tuple[int, ...],
        ask: Ask,
        seed: int,
        with_paused: bool = True,
    ) -> Acquisition:
        pending = np.flatnonzero(is_pending(curves) & curves.has_point)
        epochs = np.maximum(curves.targets[pending], curves.epochs[pending])
        coming = fitted.inputs.points(pending, np.where(epochs > 0, epochs, stops[0]))
        paused = np.flatnonzero(is_free(curves) & with_paused)
        for structure in _allowed(ask):
            structures = Structures(self._encoder, ask.structural, structure, ask.n)
            rng = np.random.default_rng(seed)
            acquisition = Acquisition(self._encoder, fitted, coming, paused, stops, structures, rng)
            if acquisition.has_new:
                break
        return acquisition

    def _initial_points(self, curves: Curves, numbers: Sequence[int], ask: Ask) -> list[Point]:
        """Returns points for trials that begin before the model can be asked."""
        seen = set(self._encoder.keys(curves.points))
        # Variations of a point may be that point: that is no reason to end a study.
        draws = (self._initial_design.row, self._initial_design.another)
        for structure, draw in itertools.product(_allowed(ask), draws):
            rows = [row for n in numbers if (row := draw(n)) is not None]
            if not rows:
                return []
            structures = Structures(self._encoder, ask.structural, structure, len(rows))
            rng = np.random.default_rng(mix(self._settings.seed, numbers[0]))
            fitted = structures.fitted(np.stack(rows), rng)
            fresh = new_rows(self._encoder, fitted, seen)
            if len(fresh):
                return self._encoder.decode(fitted[fresh])
        return []

    def _initial_starts(
        self, curves: Curves, ask: Ask, n: int, epoch_stop: int
    ) -> tuple[Start, ...]:
        numbers = range(curves.next_number, curves.next_number + n)
        points = self._initial_points(curves, numbers, ask)
        n_first = self._initial_design.n_first
        # First points are few and good: it pays to see more of their curves.
        first_stop = max(epoch_stop, self._first_stop(curves))
        return tuple(
            Start(number, self._params(point), first_stop, {"by": "knowledge"})
            if number < n_first
            else Start(number, self._params(point), epoch_stop, {"by": "startup"})
            for number, point in zip(numbers, points, strict=False)
        )

    def _params(self, point: Point) -> Point | None:
        return point if self._settings.proposes else None

    def _assignments(
        self, curves: Curves, selected: Sequence[Selection], n_before: int
    ) -> tuple[Advance | Start, ...]:
        assignments: list[Advance | Start] = []
        number = curves.next_number + n_before
        n_new = sum(selection.row is None for selection in selected)
        numbers = range(number, number + n_new)
        by_values = self._points_by_values(curves, numbers)
        for selection in selected:
            if selection.row is not None:
                trial = int(curves.numbers[selection.row])
                assignments.append(Advance(trial, selection.epoch_stop, selection.note))
                continue
            assert selection.point is not None
            point = self._encoder.decode(selection.point[None])[0]
            note = {"by": "values"} if number in by_values else selection.note
            point = by_values.get(number, point)
            stop = selection.epoch_stop
            if number in by_values:
                stop = max(stop, self._first_stop(curves))
            assignments.append(Start(number, self._params(point), stop, note))
            number += 1
        return tuple(assignments)

    def _first_stop(self, curves: Curves) -> int:
        return round(curves.horizon / FREEZE_THAW.first_share)


def _allowed(ask: Ask) -> tuple[Mapping[str, Any] | None, ...]:
    """Returns the required structure, and None for any one once all its points are tried."""
    return (None,) if ask.structure is None else (ask.structure, None)


def _closing(curves: Curves, acquisition: Acquisition, n: int) -> list[Selection]:
    """Chooses paused trials when no new ones may begin: those that may yet be the best."""
    chances = chances_to_win(acquisition.fitted, acquisition.paused)
    order = np.argsort(-chances, kind="stable")[:n]
    selected = [
        acquisition.advance(
            int(acquisition.paused[i]), {"by": "closing", "chance": round(chances[i], 4)}
        )
        for i in order
        if chances[i] >= FREEZE_THAW.min_win_chance
    ]
    is_complete = (curves.states == State.COMPLETE) | is_pending(curves)
    if not selected and len(acquisition.paused) and not is_complete.any():
        # A study should have one trial that was trained to the end.
        selected = [acquisition.advance(int(acquisition.paused[0]), {"by": "closing"})]
    return selected
