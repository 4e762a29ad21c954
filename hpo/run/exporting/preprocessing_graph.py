"""Preprocessing graph: fitted preprocessing as modules of PyTorch, for a program to hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.tasks.tables.standard_units import StandardUnits, TargetUnits
from hpo.tasks.tables.table_encoding import FittedEncoding, TableEncoder


class UnsupportedPreprocessingError(ValueError):
    """Preprocessing that has no module of PyTorch; its text names it."""


class TableInputs(nn.Module):
    """A fold's table encoder: numbers [N, F] and places of categories [N, C] to [N, n_features].

    Args:
        fitted: What the encoder has learnt.
        known: All categories of each column of text; what lies behind them is an unknown one.
    """

    medians: Tensor
    means: Tensor
    scales: Tensor

    def __init__(self, fitted: FittedEncoding, known: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.furthest = fitted.furthest
        self.marked = [fitted.numeric.index(name) for name in fitted.marked]
        self.n_numbers = len(fitted.numeric)
        self.register_buffer("medians", _wide(fitted.medians).nan_to_num(0.0))
        self.register_buffer("means", _wide(fitted.means))
        self.register_buffer("scales", _wide(fitted.scales))
        self.widths = []
        for i, (name, texts) in enumerate(known.items()):
            own = {text: j for j, text in enumerate(fitted.categories[name])}
            # An unknown category is all zeros, or rare if there are rare ones.
            places = [*(own.get(text, len(own)) for text in texts), len(own)]
            self.register_buffer(f"places_{i}", torch.tensor(places))
            self.widths.append(len(own) + fitted.has_rest[name])

    def forward(self, *inputs: Tensor) -> Tensor:
        """Returns the inputs of a network, float32."""
        parts = [self._numbers(inputs[0])] if self.n_numbers else []
        for i, width in enumerate(self.widths):
            codes = getattr(self, f"places_{i}")[inputs[-1][:, i]]
            parts.append((codes[:, None] == torch.arange(width)).double())
        return torch.cat(parts, dim=1).clamp(-self.furthest, self.furthest).float()

    def _numbers(self, values: Tensor) -> Tensor:
        gone = torch.isnan(values)
        filled = torch.where(gone, self.medians, values)
        marks = [gone[:, i : i + 1].double() for i in self.marked]
        scaled: Tensor = (torch.cat([filled, *marks], dim=1) - self.means) / self.scales
        return scaled


class Shifted(nn.Module):
    """Numbers from which a shift is taken, divided by a scale: [N, F], float64."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Any, scale: Any) -> None:
        super().__init__()
        self.register_buffer("shift", _wide(0.0 if shift is None else shift))
        self.register_buffer("scale", _wide(1.0 if scale is None else scale))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the scaled numbers."""
        scaled: Tensor = (x - self.shift) / self.scale
        return scaled


class Stretched(nn.Module):
    """Numbers times a factor plus an offset, between bounds: [N, F], float64."""

    factor: Tensor
    offset: Tensor

    def __init__(self, factor: Any, offset: Any, bounds: tuple[float, float] | None) -> None:
        super().__init__()
        self.bounds = bounds
        self.register_buffer("factor", _wide(factor))
        self.register_buffer("offset", _wide(offset))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the scaled numbers."""
        found: Tensor = x * self.factor + self.offset
        return found if self.bounds is None else found.clamp(*self.bounds)


class Imputed(nn.Module):
    """Numbers with a value in place of missing ones: [N, F], float64."""

    values: Tensor

    def __init__(self, values: Any) -> None:
        super().__init__()
        self.register_buffer("values", _wide(values))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the numbers without NaN."""
        return torch.where(torch.isnan(x), self.values, x)


class Projected(nn.Module):
    """Principal components of numbers: [N, F] to [N, C], float64."""

    mean: Tensor
    components: Tensor
    scale: Tensor

    def __init__(self, mean: Any, components: Any, scale: Any) -> None:
        super().__init__()
        self.register_buffer("mean", _wide(mean))
        self.register_buffer("components", _wide(components))
        self.register_buffer("scale", _wide(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the components."""
        found: Tensor = (x - self.mean) @ self.components.T / self.scale
        return found


class Widened(nn.Module):
    """A fold's features as float32, with zeros for the columns that it lacks.

    Args:
        inner: Gives them.
        n_features: How many those of all rows are.
    """

    def __init__(self, inner: nn.Module, n_features: int) -> None:
        super().__init__()
        self.inner = inner
        self.n_features = n_features

    def forward(self, *inputs: Tensor) -> Tensor:
        """Returns [N, n_features]."""
        found: Tensor = self.inner(*inputs).float()
        return functional.pad(found, (0, self.n_features - found.shape[1]))


def array_inputs(preprocess: Any) -> nn.Module:
    """Returns fitted preprocessing of rows of numbers, [N, F] of float64, as a module.

    Raises:
        UnsupportedPreprocessingError: There is no module for it.
    """
    if type(preprocess) is StandardUnits:
        return array_inputs(preprocess.scaler)
    make = _MAKERS.get(_name(preprocess))
    if make is None:
        raise UnsupportedPreprocessingError(_name(preprocess).rpartition(".")[2])
    return make(preprocess)


def known_categories(encoders: Sequence[TableEncoder]) -> dict[str, list[str]]:
    """Returns all categories that the encoders of the folds tell apart, by column."""
    found: dict[str, dict[str, None]] = {}
    for encoder in encoders:
        for name, texts in encoder.fitted.categories.items():
            found.setdefault(name, {}).update(dict.fromkeys(texts))
    return {name: list(texts) for name, texts in found.items()}


def units_of(preprocess: Any) -> tuple[float, float] | None:
    """Returns mean and scale of a regression's targets; None where they are as they are.

    Raises:
        UnsupportedPreprocessingError: The targets were transformed in another way.
    """
    if isinstance(preprocess, TargetUnits):
        return preprocess.target_mean, preprocess.target_scale
    if hasattr(preprocess, "inverse_target"):
        raise UnsupportedPreprocessingError(f"{type(preprocess).__name__}.inverse_target")
    return None


def allows_missing(module: nn.Module) -> bool:
    """Returns whether missing numbers are filled in."""
    return any(isinstance(one, Imputed | TableInputs) for one in module.modules())


def _wide(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64).clone()


def _name(value: Any) -> str:
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"


def _minmax(scaler: Any) -> nn.Module:
    bounds = tuple(scaler.feature_range) if scaler.clip else None
    return Stretched(scaler.scale_, scaler.min_, bounds)


def _imputer(imputer: Any) -> nn.Module:
    values = _wide(imputer.statistics_)
    is_nan = isinstance(imputer.missing_values, float) and imputer.missing_values != (
        imputer.missing_values
    )
    if not is_nan or imputer.add_indicator or bool(torch.isnan(values).any()):
        raise UnsupportedPreprocessingError("SimpleImputer with these settings")
    return Imputed(values)


def _pca(pca: Any) -> nn.Module:
    scale = _wide(pca.explained_variance_).sqrt() if pca.whiten else 1.0
    return Projected(pca.mean_, pca.components_, scale)


def _pipeline(pipeline: Any) -> nn.Module:
    steps = [step for _, step in pipeline.steps if step is not None and step != "passthrough"]
    return nn.Sequential(*map(array_inputs, steps))


_MAKERS: Final[Mapping[str, Callable[[Any], nn.Module]]] = {
    "sklearn.StandardScaler": lambda s: Shifted(
        s.mean_ if s.with_mean else None, s.scale_ if s.with_std else None
    ),
    "sklearn.RobustScaler": lambda s: Shifted(
        s.center_ if s.with_centering else None, s.scale_ if s.with_scaling else None
    ),
    "sklearn.MaxAbsScaler": lambda s: Shifted(None, s.scale_),
    "sklearn.MinMaxScaler": _minmax,
    "sklearn.SimpleImputer": _imputer,
    "sklearn.PCA": _pca,
    "sklearn.Pipeline": _pipeline,
}
