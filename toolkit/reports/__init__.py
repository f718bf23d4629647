"""Results shown to readers: a self-contained web page, Markdown, or a model card.

`view` selects and formats what all forms show; `page` and `markdown` are one form each, the
model card among the latter. Nothing here measures or decides: every figure is read from `benchmark.json`.
"""
