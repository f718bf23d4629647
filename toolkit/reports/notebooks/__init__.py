"""Results as HTML for notebooks: what `_repr_html_` of the public functions' results returns.

Each view is a function of a JSON document, the one that the command prints with `--json`, so it needs none of the
classes above it. Nothing here measures, decides, reads files or needs JavaScript; the whole page is `reports`.
"""
