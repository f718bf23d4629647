"""`compress`: climb a ladder of ways to make a model smaller and faster, only as far as the user's limits require.

`limits` reads the limits, `order` is what to compress and where, `trial` is one file with its figures. `steps` does
each step once and keeps its result, `measuring` measures files, `workshop` makes them. `climbing` is the state of a
climb, `rungs` the ladder, `verdict` puts the outcome into words.
"""
