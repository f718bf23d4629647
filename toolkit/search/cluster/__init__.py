"""The jobs of a sweep on a cluster of Dask, on this machine or on others.

What the jobs are, and their results, is in `sweeping`, which knows no cluster.
"""
