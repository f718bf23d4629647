"""Every operation of ONNX that is imported, by its name, and the function that does it.

What an operation computes in each opset: https://onnx.ai/onnx/operators/. Each function takes the `Node` and its inputs
as `Value`s, and returns a `Value` or several. To add one, write such a function in the file of its kind, and a row in
that file's table; `tests/integration/test_onnx_cases.py` then runs ONNX's own cases of it.
"""

from __future__ import annotations

from edgepress.converters.importers.activations import ACTIVATIONS
from edgepress.converters.importers.convolutions import CONVOLUTIONS
from edgepress.converters.importers.elementwise import ELEMENTWISE
from edgepress.converters.importers.indexing import INDEXING
from edgepress.converters.importers.node import Operation
from edgepress.converters.importers.normalizations import NORMALIZATIONS
from edgepress.converters.importers.pools import POOLS
from edgepress.converters.importers.products import PRODUCTS
from edgepress.converters.importers.recurrent import RECURRENT
from edgepress.converters.importers.reductions import ALONG_AXES
from edgepress.converters.importers.resizes import RESIZES
from edgepress.converters.importers.sampling import SAMPLING
from edgepress.converters.importers.shapes import SHAPES
from edgepress.converters.importers.spectra import SPECTRA

OPERATIONS: dict[str, Operation] = {
    **ACTIVATIONS,
    **ALONG_AXES,
    **CONVOLUTIONS,
    **ELEMENTWISE,
    **INDEXING,
    **NORMALIZATIONS,
    **POOLS,
    **PRODUCTS,
    **RECURRENT,
    **RESIZES,
    **SAMPLING,
    **SHAPES,
    **SPECTRA,
}
"""Of the standard domain; others are computed beforehand if all that they read is constant."""
