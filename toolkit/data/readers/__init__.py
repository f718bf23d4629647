"""Readers of each kind of data: folders, tables, arrays and shards, from a path to `Items`.

Nothing here splits items or knows a model.
"""
