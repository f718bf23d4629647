"""The search of `edgepress compress` as a section of the report: what was tried, and which file is the best."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from edgepress.toolkit.documents import read_json
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.results.file import first_wrong

NAME = "compress.json"
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Figure = Annotated[float, Field(ge=0, le=1e15)]
Points = Annotated[float, Field(ge=-100, le=100)]


def _object(**fields: Any) -> type[BaseModel]:
    """A JSON object of which these fields are read; no value is turned into another type."""
    pairs: dict[str, Any] = {name: (field, ...) for name, field in fields.items()}
    return create_model("Object", __config__=ConfigDict(strict=True, extra="ignore"), **pairs)


TRIAL: Any = _object(
    number=Count,
    scheme=str,
    how=str,
    size_bytes=Count | None,
    drop_pp=Points | None,
    drop_low_pp=Points | None,
    drop_high_pp=Points | None,
    latency_us=Figure | None,
    memory_bytes=Count | None,
    seconds=Figure,
    error=str,
)
DOCUMENT: Any = _object(
    why=str,
    met=bool,
    latency_on=str,
    engine=str,
    data=_object(validation=Count),
    best=Count | None,
    trials=list[TRIAL],
    skipped=list[_object(strategy=str, why=str)],  # type: ignore[misc]
    misses=list[_object(text=str)],  # type: ignore[misc]
)
"""What the section shows of the document."""


def compress_search_of(folder: Path) -> dict[str, Any] | None:
    """What the section shows of the `compress.json` in a folder; None if there is none.

    Raises:
        InputError: It is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        document: dict[str, Any] = DOCUMENT.model_validate(read_json(path)).model_dump()
    except (OSError, ValueError) as e:  # pydantic's error is a ValueError, too
        raise InputError(f"{path} is damaged: {first_wrong(e)}.", "Run edgepress compress again, or remove it.") from e
    return document
