"""The JSON Schema (draft 2020-12) of the document that `compare --json` prints; see `results.schema`.

python -m edgepress.toolkit.comparison.schema > docs/schema/compare.schema.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from edgepress.toolkit.comparison.compare import SCHEMA_VERSION, Comparison
from edgepress.toolkit.results.schema import schema_of


def compare_schema() -> dict[str, Any]:
    """The schema of the document that `compare --json` prints."""
    schema = schema_of(Comparison, "edgepress compare --json", SCHEMA_VERSION)
    schema["properties"]["failed"] = {"description": "Whether a gate failed.", "type": "boolean"}
    schema["properties"]["unproven"] = {
        "description": "Whether no gate failed, and one is neither proven to be kept nor to be exceeded.",
        "type": "boolean",
    }
    schema["required"] += ["failed", "unproven"]
    return schema


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compare_schema(), indent=2, ensure_ascii=False) + "\n")
