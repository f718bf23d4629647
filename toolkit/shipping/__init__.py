"""Files on their way to boards: bundles, exports to C, published updates, and boards reached by ssh.

Nothing here trains or converts. What runs on a board is `edgepress.runtime`.
"""
