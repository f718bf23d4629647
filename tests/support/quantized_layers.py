"""A layer of a quantized file without a fault."""

from __future__ import annotations

from typing import Any

PLAIN: dict[str, Any] = {
    "name": "y",
    "kind": "CONV_2D",
    "stored": "int8",
    "cost": 0.1,
    "agreement": 1.0,
    "added_db": 30.0,
    "channel_db": 30.0,
    "sqnr_db": 30.0,
    "from_weights": 0.5,
    "range_used": 0.9,
    "clipped": 0.0,
    "channels": 8,
    "dead": 0,
    "lost": 0,
    "spread": 2.0,
    "widest": 0,
    "weights_spread": 2.0,
    "weights_error": 0.0,
    "fault": "",
}
"""The fields of `QuantizedLayer`."""
