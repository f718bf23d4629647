"""Results are read back whatever version wrote them, and nothing damaged or hostile gets further than one error."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.converters.files import write_json
from edgepress.toolkit.documents import MAX_BYTES
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.comparison.text import compare_schema
from edgepress.toolkit.results import figures, records
from edgepress.toolkit.results.file import correct_items, items_of, load_benchmark
from edgepress.toolkit.results.records import Advice, Benchmark, Disagreement, Measurement, Noise
from edgepress.toolkit.results.schema import benchmark_schema

V1 = Path(__file__).parents[1] / "support" / "benchmark_v1.json"
SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"


def full_result() -> Benchmark:
    """A result in which every field of every part holds something, nested as deep as it gets."""
    row = Measurement(
        file="a.tflite",
        scheme="tflite-int8",
        engine="litert",
        threads=2,
        size_bytes=10,
        host="pi",
        sha256="ab",
        accuracy=0.9,
        drop_pp=-0.5,
        per_class=(figures.ClassChange(label="0", support=3, precision=0.5, recall=1.0, f1=0.66, drop_pp=-1.0),),
        confusion_matrix=((1, 2), (3, 4)),
        correct=base64.b64encode(np.packbits([True, False, True])).decode(),
        accepted=2,
        accepted_wrong=1,
        accepted_share=0.666667,
        accepted_error=0.5,
        coverage=(0.25, 0.75),
        risk=(0.0, 0.5),
        p50_us=12.5,
        round_medians_us=(12.0, 13.0),
        latency_quantiles_us=tuple(float(n) for n in range(1, 52)),
        profile=(figures.OperationTime(operation="CONV_2D", count=1, time_us=0.0, share=1.0),),
        diagnosis="50 % of the time goes to 1 RELU",
        findings=(figures.Finding(kind="not delegated", text="1 RELU", time_us=2.0, share=0.5),),
        status="usable",
    )
    return Benchmark(
        host={"name": "box", "cpu": "CPU", "machine": "x86_64", "cores": 2},
        boards=({"name": "pi"},),
        data={"source": "digits", "sha256": "cd", "split": "test", "count": 3},
        baseline={"file": "a.tflite", "scheme": "tflite-int8", "engine": "litert"},
        keras_accuracy=0.9,
        max_drop_pp=1.0,
        results=(row,),
        advice=Advice(ship="a.tflite", engine="litert", why="so"),
        notes=("note",),
        noise=Noise(noisy=True, reasons=("load",), frequency_mhz=(800.0, 3000.0), cpus=(0, 1)),
        ceiling=records.Ceiling(
            float32_macs_per_s=1e9,
            int8_macs_per_s=4e9,
            memory_bytes_per_s=1e10,
            kernels={"memory": "sum"},
            depthwise_float32_macs_per_s=1e8,
            depthwise_int8_macs_per_s=1e8,
        ),
        disagreements=(Disagreement(name="i", label="0", baseline="1", others={"x on y": "2"}),),
        provenance={"created": "2026-11-25T00:00:00Z"},
    )


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], Path]:
    def save(document: Any) -> Path:
        path = tmp_path / "benchmark.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
        return path

    return save


def test_what_was_written_is_read_back_whole(saved: Callable[[Any], Path]) -> None:
    result = full_result()
    path = saved(result.to_dict())
    assert load_benchmark(path) == result
    assert load_benchmark(path.parent) == result, "a folder that holds one"


def test_a_result_of_the_first_version_loads() -> None:
    result = load_benchmark(V1)
    assert [r.scheme for r in result.results] == ["tflite-float32", "tflite-int8", "onnx-int8"]
    assert result.results[1].p50_us is not None
    assert result.results[1].round_medians_us == ()
    assert (result.results[1].batch, result.noise, result.boards) == (1, None, ())


def test_fields_that_are_not_known_are_ignored(saved: Callable[[Any], Path]) -> None:
    document = full_result().to_dict() | {"later": [1]}
    document["results"][0]["later"] = {"a": 1}
    assert load_benchmark(saved(document)) == full_result()


@pytest.mark.parametrize("told", ["items", "per_class"])
def test_a_board_may_answer_more_items_than_the_benchmark_has(saved: Callable[[Any], Path], told: str) -> None:
    document = full_result().to_dict()
    (row,) = document["results"]
    row |= {"accepted": 900, "accepted_wrong": 9, "correct": ""}
    if told == "items":
        row["per_class"] = []
        document["boards"][0]["items"] = 1000
    else:
        row["per_class"][0]["support"] = 1000
    result = load_benchmark(saved(document))
    assert items_of(result, result.results[0]) == 1000
    row["accepted"] = 1001
    with pytest.raises(InputError, match="accepted is 1001 of 1000"):
        load_benchmark(saved(document))
    row["host"] = "box"
    with pytest.raises(InputError, match="accepted is 1001 of 3"):
        load_benchmark(saved(document))


def test_a_newer_version_is_refused_with_what_to_do(saved: Callable[[Any], Path]) -> None:
    with pytest.raises(InputError, match=r"version 3 .* reads up to 2\. Upgrade"):
        load_benchmark(saved(full_result().to_dict() | {"schema_version": 3}))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("results.0.threads", "1", "results.0.threads: input should be a valid integer"),
        ("results.0.threads", -1, "results.0.threads is -1, accepted: at least 0"),
        ("results.0.p50_us", 0, "results.0.p50_us is 0, accepted: over 0"),
        ("results.0.round_medians_us.1", -2.0, "results.0.round_medians_us.1 is -2, accepted: over 0"),
        ("results.0.accuracy", 97, "results.0.accuracy is 97, accepted: 0 to 1"),
        ("results.0.per_class.0.recall", 2, "results.0.per_class.0.recall is 2, accepted: 0 to 1"),
        ("results.0.size_bytes", 1 << 70, "it holds the number 1180591620717411303424"),
        ("results.0.p50_us", float("nan"), "it holds the number NaN"),
        ("results.0.latency_quantiles_us", [1.0], "has 1 figures, not 51"),
        ("results.0.correct", "!", "correct is not Base64"),
        ("results.0.correct", "AAAA", "correct holds 3 bytes; 3 items take 1"),
        ("results.0.accepted_share", 1.5, "results.0.accepted_share is 1.5, accepted: 0 to 1"),
        ("results.0.accepted_wrong", 3, "results.0.accepted is 2 of 3, 3 wrong"),
        ("results.0.risk", [0.0], "results.0.risk has 1 figures, coverage 2"),
        ("results.0.coverage.1", 2.0, "results.0.coverage.1 is 2, accepted: 0 to 1"),
        ("results.0.host", "moon", "'moon', which neither host nor boards describe"),
        ("results", [], "results is empty"),
        ("results", None, "results: input should be a valid array"),
        ("data.count", "3", "data.count is '3', accepted: a whole number"),
        ("data.count", -1, "data.count is -1, accepted: a whole number"),
        ("host.cpu", None, "host.cpu is None, accepted: a text"),
        ("boards.0", {}, "boards.name is None, accepted: a text"),
        ("baseline", {}, "baseline.file is None, accepted: a text"),
        ("schema_version", True, "it has no schema_version (found True)"),
        ("schema_version", None, "it has no schema_version (found None)"),
    ],
)
def test_a_damaged_field_is_one_error_that_names_it(
    saved: Callable[[Any], Path], place: str, value: Any, message: str
) -> None:
    document = full_result().to_dict()
    *way, last = (int(part) if part.isdigit() else part for part in place.split("."))
    inner: Any = document
    for part in way:
        inner = inner[part]
    inner[last] = value
    with pytest.raises(InputError) as caught:
        load_benchmark(saved(document))
    assert message in caught.value.message


@pytest.mark.parametrize("text", ["", "nul", "[]", "3", "[" * 100_000, '{"schema_version": 1}', "\ud800"])
def test_what_is_no_result_is_one_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "benchmark.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match="is not a valid result"):
        load_benchmark(path)


@given(st.integers(0, 4000), st.sampled_from([b"", b"\xff", b"}", b"9", b'"', b"null"]), st.booleans())
def test_no_damage_to_the_file_is_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: bytes, cut: bool
) -> None:
    text = V1.read_bytes()
    place %= len(text)
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(text[:place] if cut else text[:place] + byte + text[place + 1 :])
    with contextlib.suppress(InputError):
        load_benchmark(path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.json"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match=f"more than {MAX_BYTES} bytes"):
        load_benchmark(path)


def test_a_folder_without_a_result_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no benchmark\.json\. Make one: edgepress benchmark"):
        load_benchmark(tmp_path)
    with pytest.raises(InputError, match="can't be read"):
        load_benchmark(tmp_path / "none.json")


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_which_items_were_right_is_kept_bit_by_bit(right: list[bool]) -> None:
    row = dataclasses.replace(full_result().results[0], correct=base64.b64encode(np.packbits(right)).decode())
    found = correct_items(row, len(right))
    assert found is not None
    assert found.tolist() == right


@pytest.mark.parametrize(
    ("name", "room", "made"),
    [("benchmark", "results", benchmark_schema), ("compare", "measurement.comparison", compare_schema)],
)
def test_the_schemas_in_the_docs_are_current(name: str, room: str, made: Callable[[], dict[str, Any]]) -> None:
    kept = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    assert kept == made(), f"run: python -m edgepress.toolkit.{room}.schema > docs/schema/{name}.schema.json"


def test_the_schema_takes_what_is_written_and_refuses_what_is_not() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(benchmark_schema())
    validator.check_schema(validator.schema)
    validator.validate(json.loads(V1.read_text(encoding="utf-8")))
    document = json.loads(json.dumps(full_result().to_dict()))
    validator.validate(document)
    for change in ({"schema_version": 3}, {"results": []}, {"host": {}}, {"advice": None}, {"data": {"count": -1}}):
        assert list(validator.iter_errors(document | change)), change
    document["results"][0]["p50_us"] = 0
    assert [e.json_path for e in validator.iter_errors(document)] == ["$.results[0].p50_us"]


def test_the_schema_describes_every_field() -> None:
    schema = benchmark_schema()
    for name, part in {"Benchmark": schema, **schema["$defs"]}.items():
        assert part["description"], name
        assert all(field.get("description") for field in part["properties"].values()), name


@pytest.mark.parametrize(("split", "by_error"), [("all", True), ("test", False), (None, False)])
def test_files_of_data_without_labels_are_judged_by_their_error(split: str | None, *, by_error: bool) -> None:
    result = full_result()
    assert dataclasses.replace(result, data={**result.data, "split": split}).by_error == by_error


def test_the_first_of_several_mistakes_is_named_with_its_place(tmp_path: Path) -> None:
    document = json.loads(json.dumps(full_result().to_dict()))
    document["results"][0] |= {"threads": "many", "size_bytes": "large"}
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"results\.0\.threads: ") as caught:
        load_benchmark(path)
    assert "size_bytes" not in caught.value.message


def test_a_result_of_a_file_whose_name_is_not_utf_8_is_read(tmp_path: Path) -> None:
    """Such as one from an old archive: the error said to run the benchmark again, which wrote the same."""
    row = dataclasses.replace(full_result().results[0], file="gr\udcfcn.tflite")
    written = dataclasses.replace(full_result(), results=(row,))
    write_json(tmp_path / "benchmark.json", written.to_dict())
    assert load_benchmark(tmp_path).results[0].file == r"gr\udcfcn.tflite"


@pytest.mark.parametrize("content", [b"\x1c\x00\x00\x00TFL3\xff\xff", b"\x93NUMPY", bytes(range(200, 256))])
def test_a_file_that_is_no_text_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    """Such as a model, for which the error spoke of codecs, and said to run the benchmark again."""
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is not a valid result of edgepress benchmark: it is not a text\.") as caught:
        load_benchmark(path)
    assert caught.value.hint == "Give a benchmark.json or its folder; edgepress benchmark writes it."
