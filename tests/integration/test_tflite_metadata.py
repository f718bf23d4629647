"""The metadata block: what is written can be read, hostile bytes cost nothing, and what others write is understood."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepress.converters.contract.metadata import (
    Metadata,
    label_lines,
    onnx_metadata,
    parse_labels,
    read_labels,
    tflite_metadata,
)
from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.to_tflite import metadata as block
from edgepress.converters.to_tflite.metadata import IDENTIFIER, NAME, read_block, write_block
from edgepress.converters.to_tflite.passes import with_metadata
from edgepress.runtime import Contract, InputError, InputSpec, ModelFileError, load

PUBLISHED = Path(__file__).parents[3] / "shared" / "real" / "models"
EXAMPLE = Contract(task="softmax", labels=("cat", "dog"), input=InputSpec.image(32, 48, "rgb"), scheme="tflite-int8")

lines = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=9)
specs = st.builds(
    InputSpec.image, st.integers(1, 512), st.integers(1, 512), st.sampled_from(["grey", "rgb"])
) | st.just(InputSpec(shape=(640,), dtype="float32"))


@pytest.fixture(scope="module")
def model(run: Any) -> bytes:
    """LeNet without its contract."""
    whole: bytes = run.variants["tflite-int8"].read_bytes()
    return with_metadata(whole, NAME, b"")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(lines, min_size=2, max_size=5), spec=specs, task=st.sampled_from(["softmax", "logits"]))
def test_what_is_written_is_read(labels: list[str], spec: InputSpec, task: Any, model: bytes) -> None:
    contract = Contract(task=task, labels=tuple(labels), input=spec, scheme="x")
    found = tflite_metadata(tflite_with_contract(model, contract))
    expected = Metadata(labels=label_lines("\n".join(labels)), color=spec.color)
    if spec.is_image:
        expected = Metadata(labels=expected.labels, color=spec.color, mean=(0.0,), std=(1.0,))
    assert found == expected


def test_a_single_sigmoid_labels_its_one_output(model: bytes) -> None:
    contract = EXAMPLE.replace(task="sigmoid", threshold=0.25)
    whole = tflite_with_contract(model, contract)
    assert tflite_metadata(whole).labels == ("dog",)
    assert struct.pack("<f", 0.25) in write_block(contract)
    assert struct.pack("<f", 0.25) not in write_block(EXAMPLE)


def test_a_label_of_two_lines_stays_one_label(model: bytes) -> None:
    contract = EXAMPLE.replace(labels=("two\nlines", "one"))
    assert tflite_metadata(tflite_with_contract(model, contract)).labels == ("two lines", "one")


def test_writing_again_replaces_all_and_keeps_the_answers(run: Any, digits: Any, tmp_path: Path) -> None:
    path = run.variants["tflite-float32"]
    model, items = load(path), digits.test.read(slice(0, 9))
    again = tmp_path / "again.tflite"
    assert model.contract is not None
    again.write_bytes(tflite_with_contract(path.read_bytes(), model.contract))
    assert again.read_bytes() == path.read_bytes()
    renamed = model.contract.replace(labels=tuple("abcdefghij"))
    again.write_bytes(tflite_with_contract(path.read_bytes(), renamed))
    assert load(again).labels == tuple("abcdefghij")
    np.testing.assert_array_equal(load(again).scores(items), model.scores(items))
    with zipfile.ZipFile(again) as archive:
        assert [m.filename for m in archive.infolist()] == ["edgepress.json", "labels.txt"]
        assert {m.compress_type for m in archive.infolist()} == {zipfile.ZIP_STORED}
    assert again.read_bytes().count(IDENTIFIER) == 1


def test_the_buffers_of_every_file_lie_where_the_schema_wants_them(run: Any) -> None:
    from ai_edge_litert import schema_py_generated as fb

    for name, path in run.variants.items():
        if name.startswith("tflite"):
            model = fb.Model.GetRootAs(path.read_bytes(), 0)
            buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
            starts = [b._tab.Vector(b._tab.Offset(4)) for b in buffers if b._tab.Offset(4)]
            assert len(starts) > 5
            assert [start % 16 for start in starts] == [0] * len(starts), name


def test_files_without_a_block_say_nothing(model: bytes) -> None:
    assert read_block(model) is None
    assert tflite_metadata(model) == Metadata()
    assert read_block(with_metadata(model, NAME, b"\x00" * 4 + b"M002" + b"\x00" * 99)) is None


# --- what is damaged or hostile ---------------------------------------------------------------------------------------


def described(model: bytes) -> tuple[bytes, int, int]:
    """A file with a contract, and where its block begins and ends."""
    written = write_block(EXAMPLE)
    whole = tflite_with_contract(model, EXAMPLE)
    start = whole.index(written)
    return whole, start, start + len(written)


def outcome(content: bytes) -> Metadata | str:
    """What is read, or the message of the one error that there may be."""
    try:
        return tflite_metadata(content)
    except ModelFileError as e:
        return e.message


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_one_clear_error_or_ignored(data: st.DataObject, model: bytes) -> None:
    whole, start, end = described(model)
    damaged = bytearray(whole)
    where = st.integers(start, end - 1) | st.integers(0, 400) | st.integers(end, len(whole) - 1)
    for at in data.draw(st.lists(where, min_size=1, max_size=6)):
        damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(whole)))
    found = outcome(bytes(damaged[:cut]))
    assert "damaged" in found if isinstance(found, str) else len(found.mean) == len(found.std)


def test_sizes_that_are_lies_allocate_nothing(model: bytes) -> None:
    whole, start, end = described(model)
    tracemalloc.start()
    for at in range(start, end - 3, 4):
        for lie in (0xFFFFFFFF, 0x7FFFFFFF, 0x10000, 1):
            damaged = bytearray(whole)
            damaged[at : at + 4] = struct.pack("<I", lie)
            content = bytes(damaged)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            outcome(content)
            assert tracemalloc.get_traced_memory()[1] - before < 4 * len(whole)
    tracemalloc.stop()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_clear_error_or_nothing(data: bytes) -> None:
    for content in (data, data[:4] + IDENTIFIER + data[4:]):
        found = outcome(content)
        assert "damaged" in found if isinstance(found, str) else found == Metadata()


def test_files_in_the_zip_that_can_not_be_read_are_noted(model: bytes) -> None:
    bare = with_metadata(model, NAME, write_block(EXAMPLE))

    def read(*members: tuple[str, bytes, int]) -> Metadata:
        whole = io.BytesIO()
        whole.write(bare)
        with zipfile.ZipFile(whole, "a") as archive:
            for name, content, compression in members:
                archive.writestr(name, content, compression)
        return tflite_metadata(whole.getvalue())

    assert read(("labels.txt", b"a\nb", zipfile.ZIP_DEFLATED)).labels == ("a", "b")
    for found, reason in (
        (tflite_metadata(bare), "not in the file"),
        (read(("other.txt", b"a\nb", zipfile.ZIP_STORED)), "not in the file"),
        (read(("labels.txt", b"x\n" * (1 << 20), zipfile.ZIP_DEFLATED)), "too large"),
        (read(("labels.txt", b"x\n", zipfile.ZIP_LZMA)), "unusual"),
    ):
        assert found.labels == ()
        assert found.color == "rgb"
        assert len(found.notes) == 1
        assert reason in found.notes[0]
    lossy = read(("labels.txt", "caf\u00e9\ntea".encode("latin-1"), zipfile.ZIP_STORED))
    assert lossy.labels == ("caf\ufffd", "tea")
    assert lossy.notes == ("labels.txt in the file is not text in UTF-8, so some of its characters are lost",)


# --- what others write ------------------------------------------------------------------------------------------------


def foreign_block(model: bytes, mean: list[float], std: list[float]) -> bytes:
    """A model with a block as other writers make it: normalization of their own, no labels."""
    import flatbuffers

    scaling = block._unit(block._Options.NORMALIZATION, {0: mean, 1: std})
    subgraph = {block._Subgraph.INPUTS: [{block._Tensor.PROCESS_UNITS: [scaling]}]}
    builder = flatbuffers.Builder(0)
    builder.Finish(block._pack(builder, {block._Model.SUBGRAPHS: [subgraph]}), IDENTIFIER)
    return with_metadata(model, NAME, bytes(builder.Output()))


def test_normalization_a_channel_is_read(model: bytes) -> None:
    found = tflite_metadata(foreign_block(model, [123.5, 116.25, 103.5], [58.5, 57.25, 57.5]))
    assert found == Metadata(mean=(123.5, 116.25, 103.5), std=(58.5, 57.25, 57.5))


@pytest.mark.parametrize(("mean", "std"), [([0.0], [0.0]), ([float("nan")], [1.0]), ([1.0, 2.0], [1.0])])
def test_normalization_that_can_not_be_computed_is_noted(mean: list[float], std: list[float], model: bytes) -> None:
    found = tflite_metadata(foreign_block(model, mean, std))
    assert found.mean == found.std == ()
    assert "normalization can't be used" in found.notes[0]


def test_ultralytics_tflite(model: bytes) -> None:
    whole = io.BytesIO()
    whole.write(model)
    props = {"author": "Ultralytics", "task": "classify", "imgsz": [64, 64], "names": {0: "cat", 1: "dog"}}
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps(props, indent=2))
    found = tflite_metadata(whole.getvalue())
    assert found == Metadata(labels=("cat", "dog"), color="rgb", mean=(0.0,), std=(255.0,))


def test_onnx_metadata() -> None:
    props = {"author": "Ultralytics", "names": "{0: 'cat', 1: \"dog's\"}", "stride": "1"}
    assert onnx_metadata(props) == Metadata(labels=("cat", "dog's"), color="rgb", mean=(0.0,), std=(255.0,))
    standard = {"IMAGE.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "Normalized_1_1", "classes": "a,b"}
    assert onnx_metadata(standard) == Metadata(labels=("a", "b"), color="bgr", mean=(127.5,), std=(127.5,))
    assert "rgba8" in onnx_metadata({"Image.BitmapPixelFormat": "Rgba8"}).notes[0]
    assert onnx_metadata({"author": "me", "names": "no list", "labels.txt": "x\ny\n"}).labels == ("no list",)
    assert onnx_metadata({}) == Metadata()


@given(st.lists(st.text(max_size=9), min_size=1, max_size=9))
def test_lists_of_labels_in_any_writing(labels: list[str]) -> None:
    numbered = dict(enumerate(labels))
    for text in (
        str(labels),
        str(numbered),
        json.dumps(labels),
        json.dumps(numbered),
        f" {labels} ".replace(", ", " ,"),
    ):
        assert parse_labels(text) == tuple(labels) or ", " in "".join(labels)


@given(st.text(st.sampled_from("{[]}'\"\\:,01a\n")) | st.text())
def test_any_text_is_labels_or_none(text: str) -> None:
    assert all(isinstance(label, str) for label in parse_labels(text))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["[" * 500_000, "{0: '" + '\\"' * 400_000, "'" * 900_000, "{" + "0:'a'," * 150_000, "[1" * 9]
)
def test_hostile_text_takes_no_time(text: str) -> None:
    import time

    start = time.perf_counter()
    parse_labels(text)
    assert time.perf_counter() - start < 20, "it grows faster than the text"


def test_label_files(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    for content, expected in (
        (b"\xef\xbb\xbfcat\r\ndog\r\n\r\n", ("cat", "dog")),
        (b"0 cat\n1  big dog\n", ("cat", "big dog")),
        (b"0: cat\n1: dog", ("cat", "dog")),
        (b"0\n1\n2\n", ("0", "1", "2")),
        (b"1 cat\n2 dog", ("1 cat", "2 dog")),
        (b"tench, Tinca tinca", ("tench, Tinca tinca",)),
        (b'{"0": "cat", "1": "dog"}', ("cat", "dog")),
    ):
        path.write_bytes(content)
        assert read_labels(path) == expected
    for content, reason in ((b"", "no labels"), (b"\xff\xfe", "UTF-8"), (b"[1, 2]", "no labels")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=reason):
            read_labels(path)
    with pytest.raises(InputError, match="No such file"):
        read_labels(tmp_path / "missing.txt")


@pytest.mark.parametrize(
    ("name", "count", "second", "scale"),
    [
        ("coral/mobilenet_v1_0.25_128_quant.tflite", 1001, "tench, Tinca tinca", 127.5),
        ("tflite_support/mobilenet_v1_0.25_224_quant.tflite", 1001, "tench", 127.5),
        ("tflite_support/automl_labeler_model.tflite", 5, "dandelion", 1.0),
    ],
)
def test_published_files(name: str, count: int, second: str, scale: float) -> None:
    path = PUBLISHED / name
    if not path.exists():
        pytest.skip("the published models are not here")
    found = tflite_metadata(path.read_bytes())
    assert (len(found.labels), found.labels[1], found.color, found.std) == (count, second, "rgb", (scale,))
    assert found.notes == ()
