"""edgepress: turn a classifier into the file that a small board should run, and prove it.

This module is deliberately empty of imports: `edgepress.runtime` must load on a board that has nothing but numpy and
one interpreter. It exists so that Python, started beside a clone that is itself named `edgepress`, finds the installed
package first rather than treating the clone as a namespace package.
"""

__version__ = "0.1.0"
