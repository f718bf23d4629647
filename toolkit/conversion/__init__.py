"""Conversion of any classifier to files for boards, and files that others made, inspected and annotated.

How a file is made is in `edgepress.converters`; here are data sets, options and the user's hints.
"""
