"""Structured pruning: whole channels leave a float TFLite graph, by their importance, until it is as small as asked.

`units` finds the channels that can only leave together, `importance` ranks them, `plan` chooses how many of
each family stay, `remove` writes the smaller file, and `trainee` trains what is left.
"""
