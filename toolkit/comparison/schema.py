"""The JSON Schema (draft 2020-12) of the document that `edgepress compare --json` prints.

python -m edgepress.toolkit.comparison.schema > docs/schema/compare.schema.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from edgepress.toolkit.comparison import compare
from edgepress.toolkit.results.schema import document_schema


def compare_schema() -> dict[str, Any]:
    """The schema, generated from the dataclasses of `edgepress.toolkit.comparison.compare`."""
    schema = document_schema(compare.Comparison, "edgepress compare --json", compare.SCHEMA_VERSION)
    schema["properties"]["failed"] = {"description": "Whether a gate failed.", "type": "boolean"}
    schema["required"].append("failed")
    return schema


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compare_schema(), indent=2, ensure_ascii=False) + "\n")
