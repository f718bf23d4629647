"""edgepress: convert classifiers to quantized files for small boards, and measure their accuracy, latency and size.

This module imports nothing, because `edgepress.runtime` must load on a board with only numpy and one interpreter. It
exists so that Python, started in the parent folder of a clone named `edgepress`, finds the installed package instead of
treating the clone as a namespace package.
"""

__version__ = "0.1.0"
