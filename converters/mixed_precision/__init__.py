"""Mixed precision: which layers of an int8 file compute in float so that it keeps its accuracy.

`sensitivity` simulates what rounding each tensor costs, `ranking` orders layers by what they regain for their cost, and
`choose` tries real files. Which nodes of a file belong to a layer is known where the file is made.
"""
