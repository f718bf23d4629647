"""Rewrites: changes of a graph that make the engines run it faster, one a module, and the table of all of them.

`table` says which rewrites a scheme and a target get, and applies them. It depends on nothing else, least of all on a
clock, so that the same model gives the same bytes.
"""
