"""Engines that need environments apart from TensorFlow's, and small models to try them with.

Which engines exist, and how a file is opened in one, is a table of `edgepress.runtime`, because boards need it. Nothing
here knows data sets or measures accuracy.
"""
