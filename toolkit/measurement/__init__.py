"""What files are worth: accuracy, latency and memory, side by side and with intervals.

Nothing here changes a model or a file; why a figure is as it is, is a question for `diagnosis`.
"""
