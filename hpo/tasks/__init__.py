"""Ready-made tasks, by the names that studies call them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TASKS: Final[Mapping[str, str]] = {
    "digits-mlp": "hpo.tasks.digits:DigitsMLP",
    "tabular": "hpo.tasks.tabular:Tabular",
}
