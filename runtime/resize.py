"""Rules for images of another size than a model takes, as text in its contract; `image` applies them."""

from __future__ import annotations

Resize = str
"""One of `RESIZES`, with a number for F; `resize_rule` parses it."""
RESIZES = ("stretch", "crop", "crop:F", "pad")


def resize_rule(text: object) -> tuple[str, float]:
    """Parse a `Resize`: its rule, and the share of each side that it shows, 1 except for "crop:F".

    Raises:
        ValueError: It is none of `RESIZES`.
    """
    rule, colon, share = str(text).partition(":")
    try:
        shown = float(share) if colon else 1.0
    except ValueError:
        shown = 0.0
    if rule not in RESIZES or (colon and rule != "crop") or not 0 < shown <= 1:
        raise ValueError(f"{text!r} is none of {', '.join(RESIZES)}, where F is above 0 and at most 1")
    return rule, shown
