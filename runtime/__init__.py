"""What a board runs: open a model file, classify, time, self-test, serve.

Imports numpy, one interpreter and, for images, Pillow; nothing of `edgepress.converters` or `edgepress.toolkit`, and no
package that a board would not install. tests/integration/test_runtime.py checks that in a child process. Each public
name is imported when first used, so that what opens no model doesn't load numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepress.runtime.answers import Prediction
    from edgepress.runtime.contract import Contract, Verification, read_contract
    from edgepress.runtime.data_record import DataRecord
    from edgepress.runtime.engines import ENGINES, available_engines
    from edgepress.runtime.errors import EdgepressError, EngineError, InputError, MissingExtraError, ModelFileError
    from edgepress.runtime.input_spec import InputSpec
    from edgepress.runtime.model import Model, load

_MODULES = {
    "ENGINES": "engines",
    "Contract": "contract",
    "DataRecord": "data_record",
    "EdgepressError": "errors",
    "EngineError": "errors",
    "InputError": "errors",
    "InputSpec": "input_spec",
    "MissingExtraError": "errors",
    "Model": "model",
    "ModelFileError": "errors",
    "Prediction": "answers",
    "Verification": "contract",
    "available_engines": "engines",
    "load": "model",
    "read_contract": "contract",
}
"""The module of each public name."""

__all__ = ["ENGINES", "Contract", "DataRecord", "EdgepressError", "EngineError", "InputError", "InputSpec"]
__all__ += ["MissingExtraError", "Model", "ModelFileError", "Prediction", "Verification", "available_engines", "load"]
__all__ += ["read_contract"]


def __getattr__(name: str) -> Any:
    if name in _MODULES.values():
        return import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
