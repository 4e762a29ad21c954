"""Running studies: sessions, supervisors and workers.

The module can be called: ``hpo.run(...)`` is the public function, and ``hpo/run/`` its package.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo.run.host.study_handle import Study


class _CallableModule(types.ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Study:
        from hpo.run.host.manager import run

        return run(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
