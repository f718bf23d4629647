"""A model and calibration data in, TFLite and ONNX files out; knows no data set and no command line.

Names are imported when first used: a child process that needs `edgepress.converters.worker` loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepress.converters.adapter import InputAdapter
    from edgepress.converters.contract.guess import Guess, guess_contract
    from edgepress.converters.contract.hints import Facts, Hints
    from edgepress.converters.contract.write import write_keras_contract
    from edgepress.converters.conversion import Conversion
    from edgepress.converters.errors import ConversionError
    from edgepress.converters.schemes import SCHEMES, Scheme, parse_schemes
    from edgepress.converters.sources.keras import load_keras
    from edgepress.converters.variant import Variant

__all__ = ["SCHEMES", "Conversion", "ConversionError", "Facts", "Guess", "Hints", "InputAdapter", "Scheme", "Variant"]
__all__ += ["guess_contract", "load_keras", "parse_schemes", "write_keras_contract"]

_HOMES = {
    "adapter": "InputAdapter",
    "contract.guess": "Guess guess_contract",
    "contract.hints": "Facts Hints",
    "contract.write": "write_keras_contract",
    "conversion": "Conversion",
    "errors": "ConversionError",
    "schemes": "SCHEMES Scheme parse_schemes",
    "sources.keras": "load_keras",
    "variant": "Variant",
}
"""The public names of each module."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names.split():
            globals()[name] = found = getattr(import_module(f"{__name__}.{module}"), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
