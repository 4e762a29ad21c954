"""Fitted preprocessing as plain values and tensors, which a file can hold without pickling.

An object becomes its class and its state. Reading a file makes objects of scikit-learn, of hpo, and
of modules that the task itself has imported; it calls no function that the file names.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from hpo.errors import TaskError

UNKEPT: Final = "unkept"
"""Key under which a file says why preprocessing could not be kept."""

# Begins the names of modules that were files of code; a digest of their path ends them.
_FILE: Final = "hpo_file_"
_OWN: Final = "hpo"
_LIBRARY: Final = "sklearn"
# Modules that files of older versions name, by what they are called now.
_MOVED: Final[Mapping[str, str]] = {
    "hpo.tasks.encoding": "hpo.tasks.tables.table_encoding",
    "hpo.tasks.units": "hpo.tasks.tables.standard_units",
}
_NUMERIC: Final = "biuf"
_PLAIN: Final = (str, int, float, bool, type(None))


class UnsupportedStateError(ValueError):
    """Preprocessing whose state is not made of plain values, arrays and transformers."""


def encode(preprocess: Any) -> dict[str, Any] | None:
    """Returns fitted preprocessing as plain values; why not, where that cannot be done.

    Args:
        preprocess: A fitted transformer, or None.
    """
    if preprocess is None:
        return None
    try:
        found: dict[str, Any] = _plain(preprocess, frozenset())
    except UnsupportedStateError as error:
        return {UNKEPT: str(error)}
    return found


def decode(plain: Any) -> Any:
    """Returns what ``encode`` described, ready to transform.

    Raises:
        TaskError: Its class is not here, or it is none that a file may name.
    """
    if isinstance(plain, list):
        return [decode(value) for value in plain]
    if not isinstance(plain, Mapping):
        return plain
    kind = str(plain.get("kind"))
    read = _READERS.get(kind)
    if read is None:
        raise TaskError(f"the model's preprocessing holds {kind!r}, unknown to this version")
    return read(plain)


def _plain(value: Any, around: frozenset[int]) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if id(value) in around:
        raise UnsupportedStateError(f"a {type(value).__name__} that holds itself")
    inside = around | {id(value)}
    if type(value) is list:
        return [_plain(one, inside) for one in value]
    if type(value) in (tuple, set):
        items = sorted(value, key=repr) if type(value) is set else value
        return {"kind": type(value).__name__, "items": [_plain(one, inside) for one in items]}
    if type(value) is slice:
        return {"kind": "slice", "items": [value.start, value.stop, value.step]}
    if type(value) is dict:
        pairs = [[_plain(k, inside), _plain(v, inside)] for k, v in value.items()]
        return {"kind": "dict", "items": pairs}
    if isinstance(value, np.ndarray):
        return _plain_array(value, inside)
    return _plain_of_numpy(value) or _plain_object(value, inside)


def _plain_of_numpy(value: Any) -> dict[str, Any] | None:
    if isinstance(value, np.generic):
        return {"kind": "scalar", "dtype": value.dtype.str, "value": value.item()}
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return {"kind": "dtype", "dtype": np.dtype(value).str, "is_type": isinstance(value, type)}
    name = str(getattr(value, "__name__", ""))
    is_ufunc = isinstance(value, np.ufunc) and getattr(np, name, None) is value
    return {"kind": "ufunc", "name": name} if is_ufunc else None


def _plain_array(value: np.ndarray[Any, Any], inside: frozenset[int]) -> dict[str, Any]:
    shape = list(value.shape)
    if value.dtype.kind in _NUMERIC and value.dtype.isnative:
        # In the same order in memory, by which sums are rounded. Copied: fitting to other rows may
        # write into the same memory.
        order: Literal["C", "F"] = (
            "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        )
        tensor = torch.from_numpy(value.ravel(order).copy())
        known = {"dtype": value.dtype.str, "shape": shape, "order": order}
        return {"kind": "array", **known, "values": tensor}
    if value.dtype.kind in "OU":
        values = [_plain(one, inside) for one in value.ravel().tolist()]
        known = {"dtype": value.dtype.kind, "shape": shape, "order": "C"}
        return {"kind": "array", **known, "values": values}
    raise UnsupportedStateError(f"an array of {value.dtype}")


def _plain_object(value: Any, inside: frozenset[int]) -> dict[str, Any]:
    cls = type(value)
    if not _is_preprocessing(cls):
        raise UnsupportedStateError(f"a {cls.__module__}.{cls.__qualname__}")
    state = value.__getstate__() or {}
    if not isinstance(state, dict) or "<locals>" in cls.__qualname__:
        raise UnsupportedStateError(f"a {cls.__module__}.{cls.__qualname__}")
    items = {str(k): _plain(v, inside) for k, v in state.items()}
    # What a file of code is called depends on where it lies.
    module = cls.__module__
    name = module.rpartition("_")[0] if module.startswith(_FILE) else module
    return {"kind": "object", "module": name, "class": cls.__qualname__, "state": items}


def _is_preprocessing(cls: type) -> bool:
    return callable(getattr(cls, "fit", None)) and not issubclass(cls, torch.nn.Module)


def _array_of(plain: Mapping[str, Any]) -> Any:
    if isinstance(plain["values"], Tensor):
        found = plain["values"].numpy().astype(np.dtype(plain["dtype"]))
    elif plain["dtype"] == "U":
        found = np.array(plain["values"], dtype=str)
    else:
        found = np.empty(len(plain["values"]), dtype=object)
        found[:] = [decode(value) for value in plain["values"]]
    return found.reshape(plain["shape"], order=plain["order"])


def _dtype_of(plain: Mapping[str, Any]) -> Any:
    dtype = np.dtype(plain["dtype"])
    return dtype.type if plain["is_type"] else dtype


def _ufunc_of(plain: Mapping[str, Any]) -> Any:
    found = getattr(np, str(plain["name"]), None)
    if not isinstance(found, np.ufunc):
        raise TaskError(f"the model's preprocessing names numpy.{plain['name']}, no ufunc")
    return found


def _object_of(plain: Mapping[str, Any]) -> Any:
    module, name = str(plain["module"]), str(plain["class"])
    cls: Any = _module(module)
    for part in name.split("."):
        cls = getattr(cls, part, None)
    if not isinstance(cls, type) or not _is_preprocessing(cls):
        raise TaskError(f"the model's preprocessing is a {module}.{name}, which is not here")
    found: Any = object.__new__(cls)
    state = {key: decode(value) for key, value in plain["state"].items()}
    restore = getattr(found, "__setstate__", None)
    if restore is None:
        found.__dict__.update(state)
    else:
        restore(state)
    return found


def _module(name: str) -> Any:
    """Returns a module: imported where it is a library's, else only if the task has done so."""
    parts = name.split(".")
    if parts[0] in (_OWN, _LIBRARY) and "tests" not in parts:
        try:
            return importlib.import_module(_MOVED.get(name, name))
        except ImportError:
            return None
    if name.startswith(_FILE):
        loaded = (n for n in sys.modules if n.rpartition("_")[0] == name)
        return sys.modules.get(next(loaded, name))
    return None if parts[0] in sys.stdlib_module_names else sys.modules.get(name)


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    "array": _array_of,
    "dict": lambda plain: {decode(k): decode(v) for k, v in plain["items"]},
    "dtype": _dtype_of,
    "object": _object_of,
    "scalar": lambda plain: np.dtype(plain["dtype"]).type(plain["value"]),
    "set": lambda plain: {decode(value) for value in plain["items"]},
    "slice": lambda plain: slice(*plain["items"]),
    "tuple": lambda plain: tuple(decode(value) for value in plain["items"]),
    "ufunc": _ufunc_of,
}
