"""Statistics on arrays: confidence intervals (`intervals`) and classification metrics (`metrics`).

Pure functions of NumPy and SciPy: no files, engines, records or texts. The docstrings name the source of each method.
"""
