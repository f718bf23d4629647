"""What `kept.json` says of pictures that a board has kept (`edgepress.runtime.keeping`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgepress.converters.contract.metadata import are_text
from edgepress.runtime.keeping import ABOUT
from edgepress.toolkit.documents import parse_json, read_limited
from edgepress.toolkit.errors import DataError

MOST_BYTES = 1 << 20
"""Most bytes of the file."""


@dataclass(frozen=True)
class KeptAbout:
    """Of which model pictures are.

    Attributes:
        labels: Its labels, whose numbers are in the names of the pictures.
        model: Its name.
    """

    labels: tuple[str, ...]
    model: str


def read_about(folder: Path) -> KeptAbout:
    """Read the file in a folder of pictures; DataError if it is missing or damaged."""
    try:
        content = read_limited(folder / ABOUT, MOST_BYTES)
    except (OSError, ValueError) as e:
        raise DataError(f"{folder / ABOUT} can't be read: {e}.", "Collect the pictures again.") from e
    return parse_about(content, str(folder / ABOUT))


def parse_about(content: bytes, where: str) -> KeptAbout:
    """Check what others may have written; `where` is for the message of the DataError."""
    try:
        document = parse_json(content)
        labels = document.get("labels")
        model = document.get("model")
        if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
            raise ValueError("its labels are not a list of texts")
        if not labels or len({*labels}) < len(labels) or not are_text(tuple(labels)):
            raise ValueError("its labels are not different texts in UTF-8")
        if not isinstance(model, str) or not are_text((model,)):
            raise ValueError("its model is not a text")
    except ValueError as e:
        raise DataError(f"{where} is damaged: {e}.", "Collect the pictures again.") from e
    return KeptAbout(tuple(labels), model)
