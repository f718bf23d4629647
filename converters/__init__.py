"""From a trained model and calibration items to TFLite and ONNX files.

Nothing here knows data sets or the command line: imports go to `edgepress.runtime` only.
"""

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
