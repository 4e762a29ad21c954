"""Features and targets in whatever form users have them, as tensors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpo.errors import TaskError

Kind: TypeAlias = Literal["classification", "regression"]
KINDS: Final = ("classification", "regression")

logger = logging.getLogger(__name__)

_NUMBERS: Final = "biuf"
_INTEGERS: Final = "iu"
# Kinds of arrays that may hold numbers: text is read, and so are mixed columns.
_READABLE: Final = "bfOSU"
# Digits are looked at in tables, not in images.
_MOST_AXES: Final = 2
_CHECKED_ROWS: Final = 10_000
# Of the standard deviation.
_MOST_LOST: Final = 0.01
_TOLD: Final[set[str]] = set()
_INDICES: Final = (torch.int32, torch.int64)


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets of a task: classes or numbers.

    Attributes:
        y: Classes 0 to C - 1 as int64, or numbers as float64, so that scaling them loses no
            digits; of shape [N] or [N, T].
        kind: Which of both they are.
        classes: Name of each class, in the order of their numbers; empty for a regression.
    """

    y: Tensor
    kind: Kind
    classes: tuple[str, ...] = ()


def as_features(x: Any, what: str = "the features") -> Tensor:
    """Returns features as float32, or as int64 what a tensor of int32 or int64 holds.

    Args:
        x: A tensor, NumPy array, DataFrame, sparse matrix or nested list; [N] becomes [N, 1].
        what: What they are called in an error.

    Returns:
        Shape [N, ...], in memory of its own if it had to be converted.

    Raises:
        TaskError: They are no numbers, or not all finite.
    """
    values = x.detach() if isinstance(x, Tensor) else _numbers(x, what)
    if values.is_complex():
        raise TaskError(f"{what} must be real numbers; found complex ones")
    # Such a tensor holds indices, for an embedding. NumPy and pandas use whole numbers for
    # quantities as well.
    is_index = isinstance(x, Tensor) and x.dtype in _INDICES
    if values.dim() == 0:
        raise TaskError(f"{what} must have one row a sample; found a single number")
    values = values.to(torch.int64) if is_index else as_float32(values, what)
    if values.dim() == 1:
        values = values.unsqueeze(1)
    _require_finite(values, what)
    return values


def as_float32(values: Tensor, what: str) -> Tensor:
    """Returns numbers in single precision, with a warning where that takes what tells them apart.

    Args:
        values: Of shape [N, ...].
        what: What they are called in a message.

    Raises:
        TaskError: Some are larger than single precision can hold.
    """
    found = values.to(torch.float32)
    if values.dtype in (torch.float64, torch.int64):
        _require_range(values, found, what)
        _warn_of_lost_digits(values, found, what)
    return found


def trained_targets(y: Tensor) -> Tensor:
    """Returns targets as losses take them: numbers in single precision, classes as they are."""
    return as_float32(y, "the targets") if y.is_floating_point() else y


def as_targets(y: Any, kind: Kind | None = None) -> Targets:
    """Returns targets with their kind.

    Args:
        y: A tensor, NumPy array, Series, DataFrame or list; [N, 1] becomes [N].
        kind: ``classification`` or ``regression``; None to tell by the type: real numbers are a
            regression, whole numbers, text and booleans are classes.

    Raises:
        TaskError: Some are missing, all are of one class, or a regression's are no numbers.
    """
    if kind is not None and kind not in KINDS:
        raise TaskError(f"kind must be {' or '.join(KINDS)}; found {kind!r}")
    values = _array(y)
    if values.ndim == 0:
        raise TaskError("the targets must be one a sample; found a single value")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    n_missing = int(missing(values).sum())
    if n_missing:
        raise TaskError(f"{n_missing} of {values.size} targets are missing; leave those rows out")
    if (kind or ("regression" if values.dtype.kind == "f" else "classification")) == "regression":
        return Targets(_regression(values), "regression")
    return _classification(values)


def missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Tells where values are missing: NaN, NaT, None or pandas.NA."""
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    if values.dtype.kind in "mM":
        return np.asarray(np.isnat(values))
    if values.dtype.kind != "O":
        return np.zeros(values.shape, dtype=bool)
    flat = [_is_missing(value) for value in values.ravel()]
    return np.array(flat, dtype=bool).reshape(values.shape)


def n_rows(x: Any) -> int:
    """Returns the number of samples in features of any form."""
    shape = getattr(x, "shape", None)
    return int(shape[0]) if shape else len(x)


def take(x: Any, rows: NDArray[np.int64]) -> Any:
    """Returns some rows of features of any form."""
    if hasattr(x, "iloc"):
        return x.iloc[rows]
    return x[torch.from_numpy(rows)] if isinstance(x, Tensor) else x[rows]


def _numbers(x: Any, what: str) -> Tensor:
    if hasattr(x, "columns") and hasattr(x, "dtypes"):
        text = [str(c) for c, dtype in zip(x.columns, x.dtypes, strict=True) if _is_text(dtype)]
        if text:
            raise TaskError(
                f"{what} must be numbers; not so column {', '.join(text)}",
                hint='give Data.split a preprocess=..., or use task = "tabular"',
            )
        return torch.from_numpy(np.array(x.to_numpy(dtype="float64", na_value=np.nan)))
    if hasattr(x, "toarray"):
        x = x.toarray()
    if _is_several(x):
        raise TaskError(
            f"{what} must be one tensor, and these are several",
            hint="join them with torch.cat, and let the model take them apart",
        )
    try:
        # A copy, because torch refuses arrays that are read-only or run backwards.
        # Images are large, and one copy is enough.
        is_image = isinstance(x, np.ndarray) and x.ndim > _MOST_AXES and x.dtype.kind in _NUMBERS
        found = np.array(x, dtype=np.float32 if is_image else None)
        if found.dtype.kind in _INTEGERS:
            found = found.astype(np.int64)
        elif found.dtype not in (np.float32, np.float64):
            if found.dtype.kind not in _READABLE:
                raise TypeError(f"found {found.dtype}")
            found = found.astype(np.float64)
        return torch.from_numpy(found)
    except (ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise TaskError(f"{what} must be numbers, as many in each row: {reason}") from error


def _is_several(x: Any) -> bool:
    """Returns whether these are several inputs, such as a tuple of an image and its caption."""
    if isinstance(x, Mapping):
        return True
    if not isinstance(x, list | tuple):
        return False
    shapes = [tuple(part.shape) for part in x if hasattr(part, "shape")]
    return len(set(shapes)) > 1 and any(len(shape) > 1 for shape in shapes)


def _is_text(dtype: Any) -> bool:
    return getattr(dtype, "kind", "O") not in _NUMBERS


def _require_finite(values: Tensor, what: str) -> None:
    wrong = ~torch.isfinite(values)
    if not wrong.any():
        return
    first = wrong.nonzero()[0].tolist()
    where = f"row {first[0]}" + (f", column {first[1]}" if values.dim() == 2 else "")
    raise TaskError(
        f"{int(wrong.sum())} of {what} are NaN or infinite, the first in {where} (from 0)",
        hint="fill them in, or give Data.split a preprocess that does",
    )


def _require_range(values: Tensor, found: Tensor, what: str) -> None:
    too_large = torch.isinf(found)
    if too_large.any() and (too_large := too_large & torch.isfinite(values.double())).any():
        first = values[too_large][0].item()
        raise TaskError(
            f"{int(too_large.sum())} of {what} are too large for single precision, such as "
            f"{first:g}",
            hint="divide them, or give Data.split a preprocess that scales them",
        )


def _warn_of_lost_digits(values: Tensor, found: Tensor, what: str) -> None:
    """Warns, once a process, where rounding is more than a hundredth of how far values spread."""
    if what in _TOLD or values.dim() > _MOST_AXES or not values.numel():
        return
    rows = values[:_CHECKED_ROWS].reshape(min(len(values), _CHECKED_ROWS), -1).double()
    lost = (rows - found[:_CHECKED_ROWS].reshape(rows.shape).double()).abs().amax(dim=0)
    spread = rows.std(dim=0, correction=0)
    bad = ((lost > _MOST_LOST * spread) & (spread > 0)).nonzero()
    if len(bad):
        _TOLD.add(what)
        i = int(bad[0])
        logger.warning(
            "%s lose digits in single precision%s: they are about %.10g and spread by %.3g; "
            "give Data.split a preprocess that standardises them",
            what,
            f" in column {i} (from 0)" if rows.shape[1] > 1 else "",
            float(rows[:, i].mean()),
            float(spread[i]),
        )


def _array(y: Any) -> NDArray[Any]:
    if isinstance(y, Tensor):
        return np.asarray(y.detach().cpu().numpy())
    values = np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y)
    if values.dtype.kind == "O":
        # Nullable columns come as objects, though they may hold nothing but numbers.
        present = values[~missing(values)]
        plain = np.asarray(present.tolist()) if present.size == values.size else values
        return plain if plain.shape == values.shape and plain.dtype.kind in _NUMBERS else values
    return values


def _is_missing(value: Any) -> bool:
    # pandas.NA is neither equal nor unequal to anything; its name is all that tells without pandas.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _regression(values: NDArray[Any]) -> Tensor:
    try:
        numbers = np.array(values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise TaskError(f"the targets of a regression must be numbers: {error}") from error
    y = torch.from_numpy(numbers)
    _require_finite(y, "the targets")
    return y


def _classification(values: NDArray[Any]) -> Targets:
    if values.dtype.kind in _NUMBERS:
        distinct, codes = np.unique(values, return_inverse=True)
        classes = tuple(_name(value) for value in distinct)
    else:
        # Not by NumPy, which takes text for shorter than it is when it ends with a NUL.
        texts = [str(value) for value in values.ravel()]
        classes = tuple(sorted(set(texts)))
        places = {text: code for code, text in enumerate(classes)}
        codes = np.array([places[text] for text in texts], dtype=np.int64)
    if len(classes) < 2:
        only = f": {classes[0]}" if classes else ""
        raise TaskError(f"the targets must be of two classes at least; found one{only}")
    y = torch.from_numpy(codes.reshape(values.shape).astype(np.int64))
    return Targets(y, "classification", classes)


def _name(value: Any) -> str:
    if isinstance(value, np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
