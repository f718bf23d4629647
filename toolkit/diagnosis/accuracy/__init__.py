"""Why a quantized file is inaccurate, layer by layer and class by class beside its model, and how to fix it.

`job` checks that model, file and data belong together, `diagnose` compares them, `fixes` proposes conversions and tries
them, `plot` draws the `result`. The layers are measured by `edgepress.converters.diagnosis`.
"""
