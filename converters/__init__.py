"""A model and calibration data in, TFLite and ONNX files out; knows no data set and no command line."""

from edgepress.converters.contract_file import write_keras_contract
from edgepress.converters.convert import Variant, convert
from edgepress.converters.keras_file import load_keras
from edgepress.converters.schemes import SCHEMES, Scheme, parse_schemes
from edgepress.converters.tflite_graph import ConversionError

__all__ = [
    "SCHEMES",
    "ConversionError",
    "Scheme",
    "Variant",
    "convert",
    "load_keras",
    "parse_schemes",
    "write_keras_contract",
]
