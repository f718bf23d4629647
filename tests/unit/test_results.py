"""Records, their file and their schema; which row of several hosts is the one that is shipped."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import assert_frozen, float_row, packed, result, row

from edgepress.toolkit.documents import MAX_BYTES
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.reports.view import shipped_row
from edgepress.toolkit.results import file as results_file
from edgepress.toolkit.results import records
from edgepress.toolkit.results.file import bounds_of, correct_items, load_benchmark
from edgepress.toolkit.results.records import Advice, Benchmark
from edgepress.toolkit.results.schema import benchmark_schema


def test_records_are_frozen() -> None:
    for name in {cls.__module__ for cls in records.Measurement.__mro__ if cls is not object}:
        assert_frozen(sys.modules[name])
    assert_frozen(records)


# Rows of a result.

PI = {"name": "pi", "cpu": "Cortex", "machine": "aarch64", "cores": 4}


def shipped(*rows: Any, engine: str | None = "litert") -> Any:
    made = result(*rows, boards=[PI])
    return shipped_row(dataclasses.replace(made, advice=Advice(ship="tflite-int8.tflite", engine=engine, why="")))


def test_the_shipped_row_is_that_of_the_benchmark_s_own_host() -> None:
    here, named, there = row(), row(host="box"), row(host="pi")
    assert shipped(there, here) is here
    assert shipped(here, there) is here
    assert shipped(there, named) is named
    assert shipped(there) is there, "the board's row where the file was measured there alone"
    assert shipped(named, here) is named, "the first of equals"


def test_the_shipped_row_is_of_the_advised_file_and_engine() -> None:
    here = row()
    assert shipped(row(engine="openvino"), row("onnx-int8"), here) is here
    assert shipped(row(engine="openvino")) is None
    assert shipped(here, engine=None) is None


def test_the_leading_rows_are_the_first_of_each_file_engine_and_host() -> None:
    rows = [row(threads=2), row(), row(host="box", batch=8), row(host="pi"), row(engine="openvino"), row("onnx-int8")]
    assert result(*rows, boards=[PI]).leading() == (rows[0], rows[3], rows[4], rows[5])


def test_a_row_fails_if_its_status_says_so() -> None:
    assert row(status="failed: it crashed").failed
    assert not row(status="usable").failed
    assert not row(status="accuracy drop").failed


def test_figures_are_rounded_to_six_digits() -> None:
    document = result(row(p50_us=123.4567891, round_medians_us=(1.00000049, 2.0))).to_dict()
    assert document["results"][0]["p50_us"] == 123.457
    assert document["results"][0]["round_medians_us"] == [1.0, 2.0]
    assert document["results"][0]["size_bytes"] == 1000
    assert document["schema_version"] == 2
    assert document["host"]["engines"] == {"litert": "2.3.0", "onnxruntime": "1.20"}


# Which items were right.


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_right_items_are_kept_bit_by_bit(right: list[bool]) -> None:
    found = correct_items(row(right=right), len(right))
    assert found is not None
    assert found.tolist() == right
    assert found.dtype == bool
    for count in (8 * math.ceil(len(right) / 8) + 1, 8 * (math.ceil(len(right) / 8) - 1)):
        with pytest.raises(ValueError, match=rf"{len(right) + 7 >> 3} .*{count} .*{math.ceil(count / 8)}$"):
            correct_items(row(correct=packed(right)), count)
    assert correct_items(row(), 5) is None
    with pytest.raises(ValueError, match="Base64"):
        correct_items(row(correct="?"), 5)


# Ranges.


@pytest.mark.parametrize(
    ("field", "low", "high", "above"),
    [
        ("accuracy", 0, 1, False),
        ("keras_accuracy", 0, 1, False),
        ("macro_f1", 0, 1, False),
        ("mcnemar_p", 0, 1, False),
        ("p50_us", 0, math.inf, True),
        ("round_medians_us", 0, math.inf, True),
        ("time_us", 0, math.inf, False),
        ("size_bytes", 0, math.inf, False),
        ("max_drop_pp", 0, math.inf, False),
    ],
)
def test_ranges_follow_from_a_field_s_name(field: str, low: float, high: float, above: bool) -> None:
    assert bounds_of(field) == (low, high, above)


def test_a_drop_has_no_range() -> None:
    assert bounds_of("drop_pp") is None
    assert bounds_of("drop_high_pp") is None


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [((0.0, 1.0, False), (0.0, 0.5, 1.0), (-0.1, 1.1)), ((0.0, math.inf, True), (1e-9, 1e9), (0.0, -1.0))],
)
def test_ends_of_a_range(bounds: Any, inside: Any, outside: Any) -> None:
    made = results_file.Bounds(*bounds)
    assert all(map(made.hold, inside))
    assert not any(map(made.hold, outside))
    assert "0" in str(made)
    assert ("1" in str(made)) == (made.high == 1)
    assert str(results_file.Bounds(0.0, math.inf, True)) != str(results_file.Bounds(0.0, math.inf, False))


# The file.


def document(**changes: Any) -> dict[str, Any]:
    made = result(row(right=[True] * 5 + [False] * 5, host=""), float_row(), count=10, boards=[PI]).to_dict()
    made.pop("noise")
    for place, value in changes.items():
        part: Any = made
        *keys, last = place.split("__")
        for key in keys:
            part = part[int(key) if key.isdigit() else key]
        part[last] = value
    return made


def load(tmp_path: Path, content: Any) -> Benchmark:
    path = tmp_path / "benchmark.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_benchmark(path)


def test_a_plain_document_loads(tmp_path: Path) -> None:
    found = load(tmp_path, document())
    assert found.results[0].accuracy == 0.5
    assert load(tmp_path, document(boards=[PI], results__0__host="pi")).results[0].host == "pi"
    assert load(tmp_path, document(results__0__host="box")).results[0].host == "box"
    assert load(tmp_path, document(baseline=None)).baseline is None
    assert load(tmp_path, document(results__0__latency_quantiles_us=[1.0] * 51)).results
    assert load(tmp_path, document(host__cores=0)).host["cores"] == 0
    assert load(tmp_path, document(results__0__size_bytes=2**63 - 1)).results
    assert load(tmp_path, document(results__0__drop_pp=-3.5)).results[0].drop_pp == -3.5


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("host__cores", -1),
        ("host__cores", "2"),
        ("host__name", 3),
        ("host__cpu", None),
        ("boards", [{"cpu": "Cortex"}]),
        ("data__count", -1),
        ("data__sha256", 1),
        ("baseline__engine", 1),
        ("results__0__host", "moon"),
        ("results__0__correct", "AAAAAA=="),
        ("results__0__latency_quantiles_us", [1.0] * 50),
        ("results__0__latency_quantiles_us", [1.0] * 52),
        ("results__0__p50_us", 0.0),
        ("results__0__accuracy", 1.5),
        ("results__0__round_medians_us", [1.0, -1.0]),
        ("results__0__size_bytes", 2**63),
        ("results__0__size_bytes", -(2**63)),
        ("results__0__size_bytes", 10**25),
        ("results", []),
        ("schema_version", 0),
        ("schema_version", True),
        ("schema_version", 1.0),
        ("schema_version", "1"),
        ("schema_version", 3),
    ],
)
def test_what_is_out_of_range_or_of_another_type_is_one_error(tmp_path: Path, place: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, document(**{place: value}))
    named = place.replace("__", ".").split(".")
    assert named[-1] in str(caught.value) or named[0] in str(caught.value) or str(value)[:20] in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "1", "{", '{"schema_version": 1e999}', '{"a": NaN}', "[" * 5000, '{"a": -Infinity}']
)
def test_other_texts_are_one_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        load(tmp_path, text)


def test_a_number_is_named_in_short(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, '{"a": ' + "7" * 500 + "}")
    assert "7" * 24 + "..." in str(caught.value)
    assert "7" * 25 not in str(caught.value)
    with pytest.raises(InputError) as caught:
        load(tmp_path, '{"a": ' + "7" * 20 + "}")
    assert "7" * 20 in str(caught.value)
    assert "..." not in str(caught.value)
    for digits in (24, 25):
        with pytest.raises(InputError) as caught:
            load(tmp_path, '{"a": ' + "7" * digits + "}")
        assert ("..." in str(caught.value)) == (digits > 24)


def test_a_file_that_is_missing_or_too_large_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        load_benchmark(tmp_path / "nothing.json")
    with pytest.raises(InputError, match=r"benchmark\.json"):
        load_benchmark(tmp_path)
    load(tmp_path, document())
    with (tmp_path / "benchmark.json").open("ab") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match=f"more than {MAX_BYTES} bytes"):
        load_benchmark(tmp_path)


# The schema says what the reader accepts.


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return benchmark_schema()


@pytest.fixture(scope="module")
def valid(schema: dict[str, Any]) -> Callable[[Any], bool]:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(schema)
    validator.check_schema(schema)
    found: Callable[[Any], bool] = validator.is_valid
    return found


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("host__cores", -1),
        ("data__count", -1),
        ("boards", [{}]),
        ("results__0__p50_us", 0),
        ("results__0__accuracy", 1.5),
        ("results__0__round_medians_us", [0]),
        ("results__0__latency_quantiles_us", [1.0] * 52),
        ("results__0__size_bytes", -1),
        ("results__0__file", 3),
        ("results", []),
        ("schema_version", 3),
        ("schema_version", 0),
        ("max_drop_pp", -1),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(
    valid: Callable[[Any], bool], tmp_path: Path, place: str, value: Any
) -> None:
    assert valid(document())
    assert not valid(document(**{place: value}))
    with pytest.raises(InputError):
        load(tmp_path, document(**{place: value}))


def test_the_schema_accepts_what_the_reader_accepts(valid: Callable[[Any], bool]) -> None:
    assert valid(document(results__0__drop_pp=-3.5, results__0__accuracy=1, baseline=None))
    assert valid(document(later=[1], schema_version=1))


@pytest.mark.parametrize("missing", ["schema_version", "host", "results", "data"])
def test_the_schema_requires_what_every_version_wrote(valid: Callable[[Any], bool], missing: str) -> None:
    found = document()
    del found[missing]
    assert not valid(found)


def test_the_schema_describes_every_field(schema: dict[str, Any]) -> None:
    for name, part in schema["$defs"].items():
        assert part["description"]
        assert "title" not in part
        for field, value in part["properties"].items():
            assert value["description"], f"{name}.{field}"
            assert "title" not in value
    shares = schema["$defs"]["Measurement"]["properties"]["accuracy"]["anyOf"][0]
    assert (shares["minimum"], shares["maximum"]) == (0, 1)
    median = schema["$defs"]["Measurement"]["properties"]["p50_us"]["anyOf"][0]
    assert median["exclusiveMinimum"] == 0
    assert "maximum" not in median
    count = schema["$defs"]["Measurement"]["properties"]["threads"]
    assert count["minimum"] == 0
    assert schema["properties"]["schema_version"]["maximum"] == 2
    assert schema["title"].endswith("2")
    host = schema["properties"]["host"]
    assert set(host["required"]) == {"name", "cpu", "machine", "cores"}
    assert host["properties"]["cores"] == {"type": "integer", "minimum": 0}
