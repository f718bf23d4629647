"""edgepress: turn a classifier into the file that a small board should run, and prove it.

This module imports nothing: `edgepress.runtime` must load on a board that has only numpy and one interpreter. It exists
so that Python, started beside a clone that is itself named `edgepress`, finds the installed package rather than taking
the clone for a namespace package. Nothing but `__version__` may be added here.
"""

__version__ = "0.1.0"
