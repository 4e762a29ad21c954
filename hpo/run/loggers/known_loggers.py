"""Known loggers: those of hpo by name, and those that packages add by entry points."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from hpo.errors import SpecError, did_you_mean
from hpo.run.loggers.logger import Factory
from hpo.spec.logger_choices import LoggerChoice

GROUP: Final = "hpo.loggers"


@dataclass(frozen=True)
class _Own:
    """A logger of hpo's.

    Attributes:
        factory: ``module:function``.
        package: What it needs to import; empty for nothing.
        extra: What to install.
    """

    factory: str
    package: str = ""
    extra: str = ""


OWN: Final = {
    "tensorboard": _Own(
        "hpo.run.loggers.tensorboard_logger:TensorBoardLogger", "tensorboard", "tensorboard"
    ),
    "mlflow": _Own("hpo.run.loggers.mlflow_logger:MLflowLogger", "mlflow", "mlflow"),
    "wandb": _Own("hpo.run.loggers.wandb_logger:WandbLogger", "wandb", "wandb"),
    "webhook": _Own("hpo.run.loggers.webhook_logger:WebhookLogger"),
}


def require(choices: Iterable[LoggerChoice]) -> None:
    """Makes sure that loggers are known and installed; loads none of them.

    Raises:
        SpecError: One is not.
    """
    for choice in choices:
        own = OWN.get(choice.name)
        if own is None:
            names = sorted({*OWN, *_entry_points()})
            if choice.name not in names:
                raise SpecError(
                    f"there is no logger {choice.name}{did_you_mean(choice.name, names)}",
                    hint=f"loggers: {', '.join(names)}",
                )
        elif own.package and importlib.util.find_spec(own.package) is None:
            raise SpecError(
                f"the logger {choice.name} needs a package that is not installed",
                hint=f"pip install '.[{own.extra}]'",
            )


def factory_of(name: str) -> Factory:
    """Loads what makes a logger.

    Raises:
        LookupError: There is none of this name.
    """
    if name in OWN:
        module, _, attribute = OWN[name].factory.partition(":")
        own: Factory = getattr(importlib.import_module(module), attribute)
        return own
    found = _entry_points().get(name)
    if found is None:
        raise LookupError(f"there is no logger {name}")
    loaded: Factory = found.load()
    return loaded


def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=GROUP)}
