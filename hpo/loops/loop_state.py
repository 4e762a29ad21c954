"""Loop state: the states of a training loop's objects and generators, as a file holds them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from hpo.errors import TaskError

_PLAIN: Final = (dict, list)
_FORMAT: Final = 1


def generator_states() -> dict[str, Any]:
    """Returns the states of the global generators of Python, NumPy and PyTorch."""
    kind, keys, *rest = np.random.get_state()
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, torch.tensor(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_generator_states(states: Mapping[str, Any]) -> None:
    """Sets the global generators to states of ``generator_states``."""
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        # Another machine may have fewer GPUs.
        torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])


def state_of(name: str, thing: Any) -> Any:
    """Returns the state of an object that a loop restores.

    Args:
        name: As the loop calls it.
        thing: Anything with ``state_dict`` and ``load_state_dict``, a generator of Python, NumPy
            or PyTorch, a list or a dict.

    Raises:
        TaskError: It is something else.
    """
    if hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict"):
        return thing.state_dict()
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    if isinstance(thing, np.random.Generator):
        return thing.bit_generator.state
    if isinstance(thing, random.Random):
        return thing.getstate()
    if isinstance(thing, _PLAIN):
        return thing
    raise TaskError(
        f"Run.restore: {name} is a {type(thing).__name__}; what is kept has state_dict and "
        "load_state_dict, or is a generator, a list or a dict",
        hint="keep numbers and texts in a dict",
    )


def set_state(name: str, thing: Any, state: Any) -> None:
    """Sets an object to a state of ``state_of``."""
    if hasattr(thing, "load_state_dict"):
        thing.load_state_dict(state)
    elif isinstance(thing, torch.Generator):
        thing.set_state(state)
    elif isinstance(thing, np.random.Generator):
        thing.bit_generator.state = state
    elif isinstance(thing, random.Random):
        version, internal, gauss_next = state
        thing.setstate((version, tuple(internal), gauss_next))
    elif isinstance(thing, list):
        thing[:] = state
    else:
        thing.clear()
        thing.update(state)


def write(path: Path, epoch: int, best: float | None, objects: Mapping[str, Any]) -> None:
    """Writes the state of a loop after an epoch, generators included."""
    states = {name: state_of(name, thing) for name, thing in objects.items()}
    state = {
        "format": _FORMAT,
        "epoch": epoch,
        "best": best,
        "objects": states,
        "generators": generator_states(),
    }
    torch.save(state, path)


def read(path: Path) -> dict[str, Any]:
    """Reads what ``write`` wrote; nothing in the file is executed.

    Raises:
        Exception: It is damaged, or another program's.
    """
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError("not a checkpoint of hpo.Run")
    return state
