"""Signatures: what lanes of one stack have in common, and which parameters decide it."""

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import types
import weakref
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.spec.space.search_space import SearchSpace
from hpo.train.checks.probe_points import alternatives, nearby
from hpo.train.loop.training import build_model
from hpo.train.recipe.counter_based_dropout import LaneDropout, lift
from hpo.train.recipe.hyperparameters import complete, n_per_batch
from hpo.train.recipe.random_streams import seeded
from hpo.train.recipe.solo_hyperparameters import solo_choices
from hpo.train.recipe.weight_averaging import averages
from hpo.train.task import Task

_OWN_TO_MODULES: Final = frozenset(vars(nn.Module()))
# What RNNs keep beside their registered parameters: the same tensors in another order.
_REPEATED: Final = ("_flat_weights", "_flat_weight_refs")
_PLAIN: Final = (type(None), type(...), bool, int, float, complex, str, bytes)
# Measurements are stored by digest: modules of ours are described by the names that they had first.
_FIRST_NAMES: Final[Mapping[str, str]] = {
    "hpo.train.recipe.counter_based_dropout.LaneDropout": "hpo.train.noise.LaneDropout",
    "hpo.tasks.models.ModelRows": "hpo.tasks.models.Rows",
    "hpo.tasks.models.blocks.Residual": "hpo.tasks.blocks.Residual",
    "hpo.tasks.models.blocks.Gates": "hpo.tasks.blocks.Gates",
    "hpo.tasks.models.blocks.OverSteps": "hpo.tasks.blocks.OverSteps",
}

Description: TypeAlias = tuple[tuple[Any, ...], tuple[Any, ...]]
"""Of modules in the order of the tree, the last part of each its attributes; then of tensors."""


@dataclass(frozen=True)
class Signature:
    """A hashable description: equal ones belong to trials that can train as one.

    Attributes:
        model: The module tree, its plain attributes, and the tensors' shapes and types.
        settings: Hyperparameters that change which kernels run: optimizer, loss, batch size,
            precision, and whether weights are averaged.
    """

    model: Hashable
    settings: Hashable

    def digest(self) -> str:
        """Returns 16 hexadecimal digits that are the same in every process."""
        return hashlib.sha256(repr((self.model, self.settings)).encode()).hexdigest()[:16]


class _Same:
    """An attribute whose value cannot be inspected: equal to itself only."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)

    def __repr__(self) -> str:
        return f"<{type(self._value).__qualname__}>"


def signature_of(
    model: nn.Module, params: Mapping[str, Any], batch_size: int | tuple[int, ...]
) -> Signature:
    """Describes a trial's model, whose dropout was lifted, on any device.

    Args:
        model: As the task built it.
        params: With defaults filled in.
        batch_size: Samples a step, which lanes of one stack have in common, or all those that they
            may have.
    """
    described: Hashable
    try:
        described = describe(model)
    except Exception:  # noqa: BLE001 - what cannot be looked into is equal to nothing else
        described = _Same(object())
    names = ("optimizer", "loss", "precision")
    settings: Hashable = (*map(params.get, names), batch_size, averages(params))
    if alone := solo_choices(params):
        settings = (settings, alone)
    return Signature(described, settings)


def describe(model: nn.Module) -> Description:
    """Returns everything about a module tree that decides what its forward computes, but values.

    Dropout's rate is a value. So are parameters and buffers; other numbers are not, because a
    stack runs the Python code of one of its models for all of them.
    """
    tensors = (*model.named_parameters(), *model.named_buffers())
    known = {id(part): name for name, part in (*model.named_modules(), *tensors)}
    modules = tuple(
        (name, _type(module, known), _own(module, known), _attributes(module, known))
        for name, module in model.named_modules(remove_duplicate=False)
    )
    return modules, tuple((n, tuple(t.shape), str(t.dtype), t.requires_grad) for n, t in tensors)


def changed(before: Description, after: Description) -> str | None:
    """Returns in words what is other in a later description of a model, if anything is."""
    for (name, *_, old), (_, *_, new) in zip(before[0], after[0], strict=False):
        where = f" of its module {name}" if name else ""
        different = dict(old).items() ^ dict(new).items()
        if different:
            return f"the attribute {min(name for name, _ in different)}{where}"
    return None if before == after else "its modules or tensors"


def kept_params(model: nn.Module) -> Iterator[tuple[nn.Module, str, Params]]:
    """Yields params that modules keep as attributes, which descriptions leave out."""
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, Params):
                yield module, name, value


def structural(
    task: Task, space: SearchSpace, point: Mapping[str, Any], n_train: int
) -> frozenset[str]:
    """Finds the parameters whose change gives another signature, by building models.

    They are built without memory, or on the CPU where the task cannot do that.

    Args:
        task: The task.
        space: The study's space.
        point: Values of the active parameters.
        n_train: Number of training samples.

    Returns:
        Names of ``point``; those that a change of makes the task raise are among them.
    """

    def is_other(name: str, value: Any) -> bool:
        return _look(task, nearby(space, point, name, value), n_train) != own

    own = _look(task, point, n_train)
    return frozenset(
        name
        for name in point
        if name in space.names
        and any(is_other(name, v) for v in alternatives(space[name]) if v != point[name])
    )


def _look(task: Task, values: Mapping[str, Any], n_train: int) -> str | None:
    """Returns the digest of a point's signature, or None where the task raises.

    Not the signature: what cannot be looked into would make every model another one.
    """
    params = complete(Params(values), task.defaults)
    for device in ("meta", "cpu"):
        raised = (Exception, SystemExit, GeneratorExit)
        with contextlib.suppress(*raised), seeded(0, torch.device("cpu")), torch.device(device):
            model = build_model(task, params)
            lift(model)
            return signature_of(model, params, n_per_batch(params["batch_size"], n_train)).digest()
    return None


def _type(module: nn.Module, known: Mapping[int, str]) -> Hashable:
    cls = type(module)
    # A class that a function makes is another one each time; its code shows whether it differs.
    made = [base for base in cls.__mro__ if "<locals>" in base.__qualname__]
    name = f"{cls.__module__}.{cls.__qualname__}"
    return (
        _FIRST_NAMES.get(name, name),
        tuple(_class(base, known) for base in made) if made else _Same(cls.forward),
    )


def _class(cls: type, known: Mapping[int, str]) -> Hashable:
    # What the constructor did shows in the module itself.
    return tuple(
        (name, _value(_plain(value), known))
        for name, value in sorted(vars(cls).items())
        if name not in ("__init__", "__doc__", "__annotations__")
    )


def _plain(value: Any) -> Any:
    """Returns the functions that are behind what a class wraps them in."""
    match value:
        case staticmethod() | classmethod():
            return value.__func__
        case property():
            return [value.fget, value.fset]
    return value


def _own(module: nn.Module, known: Mapping[int, str]) -> Hashable:
    """Returns which tensor each name stands for, and what hooks do before and after a forward."""
    named = (
        *module.named_parameters(recurse=False, remove_duplicate=False),
        *module.named_buffers(recurse=False, remove_duplicate=False),
    )
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    return (
        tuple((name, known[id(tensor)]) for name, tensor in named),
        tuple(_value(hook, known) for hook in hooks),
    )


def _attributes(module: nn.Module, known: Mapping[int, str]) -> tuple[tuple[str, Hashable], ...]:
    if isinstance(module, LaneDropout):
        # One kind of module whatever its rate.
        return (("drops_features", module.drops_features),)
    return tuple(
        (name, _value(value, known))
        for name, value in sorted(vars(module).items())
        if (name not in _OWN_TO_MODULES or name == "training")
        and name not in _REPEATED
        and not isinstance(value, Params)
    )


def _value(value: Any, known: Mapping[int, str]) -> Hashable:
    match value:
        case _ if isinstance(value, _PLAIN):
            return type(value).__name__, value
        case _ if id(value) in known:
            return "own", known[id(value)]
        case list() | tuple():
            return type(value).__name__, tuple(_value(item, known) for item in value)
        case Mapping():
            items = ((repr(key), _value(item, known)) for key, item in value.items())
            return "dict", tuple(sorted(items, key=lambda item: item[0]))
        case set() | frozenset():
            return "set", tuple(sorted(repr(item) for item in value))
        case Tensor():
            return "tensor", str(value.dtype), tuple(value.shape), _content(value)
        case np.ndarray() | np.generic():
            return "array", str(value.dtype), value.shape, _digest(value.tobytes())
        case enum.Enum() | torch.dtype() | torch.device() | torch.Size():
            return type(value).__name__, str(value)
        case weakref.ref():
            return ("weakref",)
    return _callable(value, known)


def _callable(value: Any, known: Mapping[int, str]) -> Hashable:
    match value:
        case types.FunctionType():
            return _function(value, {**known, id(value): "itself"})
        case functools.partial():
            inner = (value.func, value.args, value.keywords)
            return "partial", tuple(_value(item, known) for item in inner)
        case types.MethodType() if id(value.__self__) in known:
            return "method", known[id(value.__self__)], _value(value.__func__, known)
        case types.BuiltinFunctionType() | type():
            return "name", f"{value.__module__}.{value.__qualname__}"
    return _Same(value)


def _function(function: types.FunctionType, known: Mapping[int, str]) -> Hashable:
    cells = tuple(_value(cell.cell_contents, known) for cell in function.__closure__ or ())
    defaults = _value((function.__defaults__, function.__kwdefaults__), known)
    return "function", function.__qualname__, _code(function.__code__), cells, defaults


def _code(code: types.CodeType) -> Hashable:
    constants = (
        _code(c) if isinstance(c, types.CodeType) else _value(c, {}) for c in code.co_consts
    )
    return code.co_name, code.co_code, code.co_names, code.co_varnames, tuple(constants)


def _content(tensor: Tensor) -> str:
    if tensor.is_meta:
        return ""
    content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
    return _digest(content.numpy().tobytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
