"""An extension of griffe, which reads docstrings for the site: the section "Example:" holds code, like "Examples:"."""

from __future__ import annotations

import re

import griffe


class Examples(griffe.Extension):
    """Names the section so that griffe knows it; otherwise `>>>` would become quotations."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Change the docstring of an object that has just been read."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
