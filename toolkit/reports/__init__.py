"""Results shown to readers: a self-contained web page, Markdown, or a model card.

`view` selects and formats what all forms show; `page`, `markdown` and `card` are one form each, `chart_data` is what
the page's scripts draw. Nothing here measures or decides: every figure is read from `benchmark.json`.
"""
