"""The JSON Schema (draft 2020-12) of `benchmark.json`, generated from the dataclasses that are written.

    python -m edgepress.toolkit.results.schema > docs/schema/benchmark.schema.json

pydantic turns the types into a schema; descriptions come from the "Attributes:" sections of the docstrings, ranges and
required keys from `results.file`. The schema therefore describes what `load_benchmark` accepts, except for two rules
that JSON Schema cannot express: that a host is named where it is used, and that `correct` holds one bit an item.
Unknown fields are allowed, because later versions add some. `comparison.text` uses `schema_of` in the same way.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from edgepress.toolkit.results import records
from edgepress.toolkit.results.file import KEYS, NAME, QUANTILES, bounds_of

_TYPES = {str: {"type": "string"}, int: {"type": "integer", "minimum": 0}}


def benchmark_schema() -> dict[str, Any]:
    """The schema of all versions of `benchmark.json` that this edgepress reads."""
    schema = schema_of(records.Benchmark, NAME, records.SCHEMA_VERSION)
    for part in (schema, *schema["$defs"].values()):
        for field, value in part["properties"].items():
            for option in _options(value):
                option |= _range(field) | option if option.get("type") in ("number", "integer") else {}
    properties = schema["properties"]
    for field, keys in KEYS.items():
        for option in _options(properties[field]):
            if option.get("type") == "object":
                option |= {"required": list(keys), "properties": {key: _TYPES[kind] for key, kind in keys.items()}}
    properties["results"]["minItems"] = 1
    schema["$defs"]["Measurement"]["properties"]["latency_quantiles_us"]["maxItems"] = QUANTILES
    return schema


def schema_of(kind: type, what: str, version: int) -> dict[str, Any]:
    """The schema of documents that hold this dataclass and a `schema_version`, up to the given version."""
    from pydantic import TypeAdapter

    schema: dict[str, Any] = TypeAdapter(kind).json_schema()
    parts = {kind.__name__: schema, **schema["$defs"]}
    for cls in set(_dataclasses(kind)):
        part = parts[cls.__name__]
        described = _attributes(cls)
        part["description"] = described.pop("")
        part.pop("title", None)
        for field, value in part["properties"].items():
            value.pop("title", None)
            text = described.get(field, "").replace("None", "null")
            part["properties"][field] = ({"description": text} if text else {}) | value
    number = {"description": "Of this structure.", "type": "integer", "minimum": 1, "maximum": version}
    schema["properties"] = {"schema_version": number} | schema["properties"]
    schema["required"] = ["schema_version", *schema["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgepress:{kind.__name__.lower()}:{version}",
        "title": f"{what}, version {version}",
    } | schema


def _dataclasses(kind: Any) -> Iterator[type]:
    """The dataclasses in a type, including itself."""
    if dataclasses.is_dataclass(kind):
        yield kind  # type: ignore[misc]
    for inner in get_type_hints(kind).values() if dataclasses.is_dataclass(kind) else get_args(kind):
        yield from _dataclasses(inner)


def _attributes(cls: type) -> dict[str, str]:
    """The attributes that a class and its bases document, with their descriptions; the class's summary under ""."""
    properties = {}
    for part in reversed(cls.__mro__[:-1]):
        properties[""], _, rest = inspect.cleandoc(part.__doc__ or "").partition("\n\nAttributes:\n")
        for names, text in re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", rest, re.MULTILINE):
            properties |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return properties | {"": " ".join(properties[""].split())}


def _options(value: dict[str, Any]) -> list[dict[str, Any]]:
    """A property's schema, those of its alternatives, and those of their items."""
    options = [value, *value.get("anyOf", ())]
    return [o for option in options for o in (option, option.get("items"), *option.get("prefixItems", ())) if o]


def _range(field: str) -> dict[str, float]:
    bounds = bounds_of(field)
    if bounds is None:
        return {}
    low = {"exclusiveMinimum" if bounds.above else "minimum": bounds.low}
    return low | ({"maximum": bounds.high} if bounds.high < math.inf else {})


if __name__ == "__main__":
    sys.stdout.write(json.dumps(benchmark_schema(), indent=2, ensure_ascii=False) + "\n")
