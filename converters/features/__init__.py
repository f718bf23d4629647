"""The features of a classifier that others trained, and a new classifier on them.

`find` says which tensor of a float graph holds the features, `cut` cuts the graph there and puts a new classifier
behind it. Both know nothing of data; training is the toolkit's work.
"""
