"""Who does the work: sessions, supervisors and workers. Called, it runs a study.

``hpo.run(...)`` is what people write and ``hpo/run/`` is the room that does it, so the module
itself can be called.
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
