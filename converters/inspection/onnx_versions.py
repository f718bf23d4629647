"""Find the first ONNX Runtime release that opens an ONNX file, by operator set and version of the format.

ONNX Runtime refuses a file whose `ir_version` or default operator set is newer than what it was built with.

Sources: ONNX Runtime's compatibility table (onnxruntime.ai/docs/reference/compatibility.html) up to 1.20. From 1.15 on
each row was measured, by opening files of one Relu with every operator set and every format version (docs/inspect.md);
for 1.15 the table is wrong: it reads format 9.
"""

from __future__ import annotations

RELEASES = (
    ("1.0", 11, 6),
    ("1.3", 12, 7),
    ("1.6", 13, 7),
    ("1.8", 14, 7),
    ("1.9", 15, 8),
    ("1.11", 16, 8),
    ("1.12", 17, 8),
    ("1.14", 18, 8),
    ("1.15", 19, 9),
    ("1.17", 20, 9),
    ("1.18", 21, 10),
    ("1.21", 22, 10),
    ("1.23", 23, 11),
    ("1.24", 25, 13),
    ("1.25", 26, 13),
    ("1.32", 28, 14),
)
"""ONNX Runtime release, and the newest operator set and format version that it reads. Releases left out read what the
one before them reads."""

CAST_OF_FOUR_BITS = (23, 0)
"""Cast of int4 or uint4: 1.22 and older refuse it, 1.23, the first with this operator set, runs it (measured)."""
OLDEST_OPSET = 7
"""Oldest operator set that ONNX Runtime supports officially."""


def oldest_onnxruntime(opset: int, ir_version: int) -> str | None:
    """The first release that opens a file of this default operator set and format; None if no known one does."""
    return next((release for release, o, ir in RELEASES if o >= opset and ir >= ir_version), None)
