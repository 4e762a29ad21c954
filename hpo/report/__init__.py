"""Reports on a database's studies: queries, tables, plots.

The module can be called: ``hpo.report(...)`` is the function with which a script reports its
training, and ``hpo/report/`` the package of reports on studies.
"""

from __future__ import annotations

import sys
import types
from typing import Any


class _CallableModule(types.ModuleType):
    def __call__(self, epoch: int | None = None, **metrics: Any) -> bool:
        from hpo.loops.script_report import report

        return report(epoch, **metrics)


sys.modules[__name__].__class__ = _CallableModule
