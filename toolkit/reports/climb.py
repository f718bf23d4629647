"""The climb of `edgepress compress` as a section of the report: what was tried, and which file is the best."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepress.toolkit import text
from edgepress.toolkit.errors import InputError

NAME = "compress.json"


def climb_of(folder: Path) -> dict[str, Any] | None:
    """What the section shows of the `compress.json` in a folder; None if there is none.

    Raises:
        InputError: It is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            "why": str(found["why"]),
            "met": bool(found["met"]),
            "place": f"{found['latency_on']}, {found['engine']}",
            "items": int(found["data"]["validation"]),
            "rows": [_row(trial, found["best"]) for trial in found["trials"]],
            "skipped": [(str(each["rung"]), str(each["why"])) for each in found["skipped"]],
            "misses": [] if found["met"] else [str(miss["text"]) for miss in found["misses"]],
        }
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path} is damaged: {e!r}.", "Run edgepress compress again, or remove it.") from e


def _row(trial: Mapping[str, Any], best: int | None) -> dict[str, Any]:
    return {
        "scheme": str(trial["scheme"]),
        "how": str(trial["how"]),
        "best": trial["number"] == best,
        "size": text.size(trial["size_bytes"]),
        "drop": text.interval(trial["drop_pp"], trial["drop_low_pp"], trial["drop_high_pp"]),
        "latency": text.duration(trial["latency_us"]),
        "memory": text.size(trial["memory_bytes"]),
        "seconds": text.duration(1e6 * float(trial["seconds"])),
        "error": str(trial["error"]),
    }
