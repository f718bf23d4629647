"""Results to show: a web page, Markdown, a model card."""
