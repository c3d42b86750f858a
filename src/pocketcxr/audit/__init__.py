"""Audits of data and models: leaks, confounding, shortcuts, robustness and calibration, held against criteria.

The package is callable: ``pocketcxr.audit(...)`` runs `pocketcxr.api.audit`.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any


class _CallablePackage(types.ModuleType):
    """This package as a function.

    `pocketcxr.audit` is a public function and the name of this package. Whoever imports a module of the package makes
    Python set the attribute ``audit`` of `pocketcxr` to the package, whatever stood there, so a plain function of that
    name would vanish. The function is imported when it is called, and by name: this layer must not depend on it.
    """

    @property
    def __signature__(self) -> Any:
        return importlib.import_module("inspect").signature(_function())

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _function()(*args, **options)


def _function() -> Any:
    return importlib.import_module("pocketcxr.api").audit


sys.modules[__name__].__class__ = _CallablePackage
