"""`compress`: try strategies to make a model smaller and faster, only as far as the user's limits require.

`trial` reads the limits, `trial` is one file with its figures. `step_cache` does each step once and keeps its result;
`builder` makes files and `measure` measures them through it. `search` is the state of a search, `strategies` has the
table of strategies, `report` puts the outcome into words and a plot.
"""
