"""Which operation of a file different engines compute differently: `edgepress diagnose --engines`.

diagnose.py  runs a file on engines, and compares what each operation returns
outputs.py   the outputs of all operations on one engine

Nothing here measures accuracy or latency, and engines run in processes of their own only.
"""
