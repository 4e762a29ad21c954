"""Settings of the model-based search: its constants, each with its meaning and its source.

None of them is an option for users. Where an attribute names no source of its own, its value was
chosen on the development tasks of LCBench; ``benchmarks/results/lcbench.md`` has the figures, and
``benchmarks/lcbench.py`` measures a change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class CandidateSettings:
    """Settings of the candidates: how new points are drawn.

    Attributes:
        end_share: Share of the coordinates that are moved to an end of their range, or close to
            it: good values often lie at an end of a range that was chosen too narrow.
        near_end_share: The same share for points near good ones.
        exact_end_share: Share of these that are moved to the end itself.
        log10_nearest_end: The others' distance to the end is log-uniform, from this,
        log10_farthest_end: up to this, as shares of the range.
        min_step: Steps from good points are log-uniform in size, from this,
        max_step: up to this, as shares of the range.
        moved_shares: Share of the coordinates that a step changes, one of these with equal chance:
            few of many parameters matter (Bergstra, Bengio, "Random Search for Hyper-Parameter
            Optimization", JMLR 2012), and which is unknown.
        scaled_share: Share of the steps that multiply the distance to the nearer end instead.
        scaled_strength: The logarithm of that factor is the step times this.
        n_digits: Decimals of a score that count. Rounding of other processors and other numbers
            of threads changes later ones (``test_rounding_changes_no_choice``).
    """

    end_share: float = 0.1
    near_end_share: float = 0.1 / 3.0
    exact_end_share: float = 0.4
    log10_nearest_end: float = -3.0
    log10_farthest_end: float = -0.5
    min_step: float = 0.02
    max_step: float = 0.3
    moved_shares: tuple[float, ...] = (0.2, 0.6, 1.0)
    scaled_share: float = 0.3
    scaled_strength: float = 8.0
    n_digits: int = 5


@dataclass(frozen=True)
class AcquisitionSettings:
    """Settings of the acquisition function and of its maximisation.

    The numbers of candidates are as large as the time of a batch allows: 64 choices after 10,000
    trials should take less than two seconds (``benchmarks/results/ask.md``).

    Attributes:
        n_anywhere: Candidates from the whole space.
        n_near: Candidates near the best trials.
        n_jumps: Candidates that differ from the best trials in one or two parameters.
        n_tops: How many trials are the best ones.
        n_best_paused: Paused trials that are compared: the best ones,
        n_other_paused: and some of the others.
        n_horizons: Most different horizons of one batch; each needs a prediction of its own.
        min_log10_gain: The required improvement is log-uniform, from this,
        max_log10_gain: up to this, in standard deviations of the values. ifBO (Rakotoarison et
            al., ICML 2024) draws it log-uniformly, too, as a share of what is left to gain.
        random_share: Share of the new points that are drawn at random, in case the model is wrong.
        new_share: Share of the choices in which new points compete with paused trials. With 0.75
            the regret on LCBench was higher (0.183 and 0.087 after 10 and 25 % of the budget).
        n_local_starts: Best candidates around which the local search draws others,
        n_local: how many it draws,
        n_local_rounds: and how many times.
        redraw_every: Choices after which a batch gets other candidates: many choices among the
            same few would all be neighbours.
    """

    n_anywhere: int = 150
    n_near: int = 130
    n_jumps: int = 20
    n_tops: int = 6
    n_best_paused: int = 60
    n_other_paused: int = 20
    n_horizons: int = 8
    min_log10_gain: float = -2.0
    max_log10_gain: float = 0.0
    random_share: float = 0.06
    new_share: float = 0.5
    n_local_starts: int = 5
    n_local: int = 150
    n_local_rounds: int = 4
    redraw_every: int = 8


@dataclass(frozen=True)
class FreezeThawSettings:
    """Settings of freeze-thaw.

    Attributes:
        rung_factor: Each rung is about so many times as far as the one before.
        first_share: Points of a portfolio are first trained for one in so many epochs: they are
            few and good, and longer curves of them pay (``docs/search.md``, First points). So are
            those of ``value_share``, whose model learns from curves of that length.
        min_win_chance: Chance to win that a paused trial needs to be resumed when no new trial may
            begin (``docs/search.md``, The decision).
        max_hopeless_chance: Below this chance to win an objective's trial is stopped
            (``docs/search.md``, Objectives).
        value_share: Share of the new points of an objective that a model of the values at the last
            epoch proposes. With none of them, searches of three made-up objectives ended at twice
            the regret, and one in ten stayed at a corner (``tests/unit/search/model``,
            ``test_no_search_of_an_objective_stays_at_a_corner``).
        min_initial: Fewest trials of the initial design,
        max_initial: and most. With 8 in place of 12 the regret on LCBench was higher (0.192 and
            0.096 after 10 and 25 % of the budget).
    """

    rung_factor: float = 2.1
    first_share: int = 3
    min_win_chance: float = 0.05
    max_hopeless_chance: float = 0.02
    value_share: float = 2.0 / 3.0
    min_initial: int = 8
    max_initial: int = 16

    def n_initial(self, n_params: int) -> int:
        """Returns the usual number of trials of the initial design."""
        return min(self.max_initial, max(self.min_initial, 2 * n_params - 2))


@dataclass(frozen=True)
class InitialDesignSettings:
    """Settings of the initial design.

    Attributes:
        max_enumerated: A space of at most so many points is tried point by point.
        max_sequence: Length of the Sobol sequence; later points are drawn at random.
        n_variations: Trials that begin with variations of given points, for each given point.
        even_every: One in so many of these takes a point of the sequence instead
            (``test_many_first_trials_vary_the_first_points_and_few_do_not``).
    """

    max_enumerated: int = 4096
    max_sequence: int = 1 << 12
    n_variations: int = 8
    even_every: int = 4


@dataclass(frozen=True)
class TrainingSetSettings:
    """Settings of the training set of the model of curves.

    Attributes:
        n_max: Most values. An exact Gaussian process takes time by their cube; with these, 64
            choices after 10,000 trials take about a second (``benchmarks/results/ask.md``).
        n_fit: Of these, the values to which the hyperparameters are fitted.
        epsilon: The output warping tells values close to the best apart down to this share of the
            usual distance to it.
    """

    n_max: int = 300
    n_fit: int = 180
    epsilon: float = 0.2


@dataclass(frozen=True)
class FitSettings:
    """Settings of the MAP fit of the hyperparameters, by Adam (Kingma, Ba, ICLR 2015).

    Attributes:
        n_first_steps: Steps of a fit that begins with the hyperprior's mean.
        n_more_steps: Steps of a fit that begins with the last fit's result.
        min_new_share: A fit is due after so many epochs more than at the last one, as one in so
            many of these.
        min_new_horizons: Epochs until a fit is due at least, as one in so many of a full training.
        n_digits: Decimals of the result that are kept: what the decision log holds is what was
            used (``hpo replay --check`` makes decisions again).
        wide_exponent: Prior mean of the first exponent of the input warping, where a linear range
            covers several powers of ten: most happens at its lower end.
        step: Adam's learning rate.
        momentum: Adam's first decay rate, as usual.
        decay: Adam's second decay rate; smaller than usual, for the steps are few.
        smallest: Adam's epsilon, as usual; the least variance of a prediction, too.
    """

    n_first_steps: int = 60
    n_more_steps: int = 12
    min_new_share: int = 8
    min_new_horizons: int = 3
    n_digits: int = 4
    wide_exponent: float = 0.4
    step: float = 0.08
    momentum: float = 0.9
    decay: float = 0.99
    smallest: float = 1e-8


@dataclass(frozen=True)
class KernelSettings:
    """Settings of the covariance of curves and of the hyperprior, which is log-normal.

    A narrower hyperprior predicts unseen trials better, but its regret on LCBench was higher (0.177
    and 0.071 after 10 and 25 % of the budget).

    Attributes:
        jitter: What is added to the diagonal of a covariance, so that it has a Cholesky factor
            (``test_a_singular_history_is_no_error``).
        edge: Distance to the ends of [0, 1] that the input warping keeps, where its derivative is
            infinite.
        min_log: Least logarithm of a hyperparameter; one beyond says nothing more.
        max_log: Largest logarithm of a hyperparameter.
        bend: Scale of the trend; with all lengths as expected it grows threefold to a corner.
        scalar_medians: Prior medians of the hyperparameters ``kernel.SCALARS``.
        scalar_log_sd: Prior standard deviation of their logarithms.
        length_median: Prior median of a feature's length, with up to
        length_features: so many features; with more it grows by the square root of their number,
            as distances do (Hvarfner, Hellsten, Nardi, ICML 2024).
        length_log_sd: Prior standard deviation of its logarithm.
        warp_log_sd: Prior standard deviation of the logarithm of a warping's exponent.
    """

    jitter: float = 1e-5
    edge: float = 1e-4
    min_log: float = math.log(1e-3)
    max_log: float = math.log(30.0)
    bend: float = 2.0
    scalar_medians: tuple[float, ...] = (0.7, 0.5, 0.5, 0.02, 0.4, 0.5, 0.01, 1.0)
    scalar_log_sd: float = 1.2
    length_median: float = 0.6
    length_features: float = 8.0
    length_log_sd: float = 1.0
    warp_log_sd: float = 0.75


@dataclass(frozen=True)
class ForecastSettings:
    """Settings of the forecast. Its error is that of the draws; no figure depends on it.

    Attributes:
        n_tops: Best trials near which points are drawn.
        n_near: How many are drawn there.
        n_anywhere: How many are drawn from the whole space.
        n_draws: Joint draws of the posterior.
    """

    n_tops: int = 8
    n_near: int = 120
    n_anywhere: int = 120
    n_draws: int = 256


CANDIDATES: Final = CandidateSettings()
ACQUISITION: Final = AcquisitionSettings()
FREEZE_THAW: Final = FreezeThawSettings()
INITIAL_DESIGN: Final = InitialDesignSettings()
TRAINING_SET: Final = TrainingSetSettings()
FIT: Final = FitSettings()
KERNEL: Final = KernelSettings()
FORECAST: Final = ForecastSettings()
