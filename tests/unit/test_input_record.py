"""Several inputs: records, their names, their contract and their data, without an engine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts, SourceInput, row_shape, split_rows
from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import InputError, ModelFileError
from edgepress.runtime.input_record import InputRecord, NamedInput, describe_several, match_names
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.selftest import seeded_item
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.objects import source_of
from edgepress.toolkit.errors import DataError


@pytest.fixture
def rng() -> np.random.Generator:
    seed = int(np.random.default_rng().integers(10_000))
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def drawn_record(rng: np.random.Generator) -> InputRecord:
    height, width, size = map(int, rng.integers(3, 9, 3))
    photo = NamedInput(**vars(InputSpec.image(height, width, "rgb")), name="photo")
    return InputRecord.of([photo, NamedInput(shape=(size,), dtype="float32", name="values", quantization=(0.5, 3))])


def contract_of(spec: InputSpec) -> Contract:
    return Contract(task="softmax", labels=("a", "b"), input=spec, scheme="tflite-int8")


def test_a_contract_of_several_inputs_is_read_as_it_was_written(rng: np.random.Generator) -> None:
    contract = contract_of(drawn_record(rng))
    read = Contract.from_json(contract.to_json())
    assert read == contract
    assert isinstance(read.input, InputRecord)
    assert read.input.inputs[1].quantization == (0.5, 3)
    assert read.schema_version == 5


def test_a_contract_of_one_input_is_what_it_was() -> None:
    document = json.loads(contract_of(InputSpec.image(4, 5, "grey")).to_json())
    assert document["schema_version"] == 1
    assert document["input"].keys() == {"shape", "dtype", "color", "resize", "value_range"}


DAMAGES: dict[str, Any] = {
    "one": lambda inputs: inputs.pop(),
    "same name": lambda inputs: inputs[1].update(name="photo"),
    "no name": lambda inputs: inputs[1].update(name=""),
    "name": lambda inputs: inputs[1].update(name=3),
    "half a character": lambda inputs: inputs[1].update(name="\ud800"),
    "many": lambda inputs: inputs.extend({**inputs[1], "name": str(i)} for i in range(64)),
    "scale": lambda inputs: inputs[1].update(quantization=[0, 0]),
    "zero point": lambda inputs: inputs[1].update(quantization=[1.0, 0.5]),
    "shape": lambda inputs: inputs[0].update(shape=[4, 4, 4]),
    "type": lambda inputs: inputs[1].update(dtype="text"),
    "list": lambda inputs: inputs.__setitem__(0, []),
    "a record beyond NumPy's bound": lambda inputs: inputs[1].update(shape=[1 << 15, 1 << 14]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_contract_is_refused(damage: str, rng: np.random.Generator) -> None:
    document = json.loads(contract_of(drawn_record(rng)).to_json())
    DAMAGES[damage](document["input"]["inputs"])
    with pytest.raises(ModelFileError, match="not a valid edgepress contract"):
        Contract.from_json(json.dumps(document))


def test_an_adapter_is_for_one_input(rng: np.random.Generator) -> None:
    document = json.loads(contract_of(drawn_record(rng)).to_json())
    document["adapter"] = {"shape": document["input"]["shape"]}
    with pytest.raises(ModelFileError):
        Contract.from_json(json.dumps(document))


@pytest.mark.parametrize(
    "shapes",
    [([1, 4], []), ([], []), ([1, 4], [1, 1 << 15, 1 << 14]), ([1, 4], [2, 4]), ([1, 4], [1, -1]), ([1, 4], [1, 0])],
    ids=str,
)
def test_inputs_of_a_file_that_make_no_record_are_named(shapes: tuple[list[int], ...]) -> None:
    ports = [(name, shape, np.float32, (1.0, 0)) for name, shape in zip(("photo", "values"), shapes, strict=True)]
    with pytest.raises(ModelFileError, match=r"has the inputs photo \[.*, values \["):
        describe_several(Path("a.tflite"), ports)


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        (["a", "b"], ["a", "b"], {"a": "a", "b": "b"}),
        (["B", "a"], ["a", "b"], {"a": "a", "B": "b"}),
        (["A", "a"], ["a"], {"a": "a"}),  # the exact one
        (["Ab", "aB"], ["ab"], {}),  # any of them
        (["ab"], ["Ab", "aB"], {}),
        (["c"], ["a"], {}),
        ([], ["a"], {}),
    ],
)
def test_names_differ_in_case_at_most(given: list[str], wanted: list[str], expected: dict[str, str]) -> None:
    assert match_names(given, wanted) == expected


def test_a_seeded_record_has_different_values_in_inputs_that_are_alike() -> None:
    parts = [NamedInput(**vars(InputSpec.image(6, 6, "grey")), name=name) for name in ("left", "right")]
    record = seeded_item(InputRecord.of(parts), 3)
    assert record.shape == ()
    assert (record["left"] == seeded_item(InputSpec.image(6, 6, "grey"), 3)).all()
    assert (record["left"] != record["right"]).any()


def test_rows_and_records_hold_the_same_numbers(rng: np.random.Generator) -> None:
    spec = drawn_record(rng)
    inputs = tuple(SourceInput(each.name, each.shape) for each in spec.inputs)
    records = np.empty(5, spec.item)
    for each in spec.inputs:
        records[each.name] = rng.integers(0, 256, (5, *each.shape))
    contract = contract_of(spec)
    rows = InputAdapter.of(contract).apply(records)
    assert rows.shape == (5, *row_shape(inputs)) == (5, *spec.shape)
    for part, each in zip(split_rows(rows, inputs), inputs, strict=True):
        assert (part == records[each.name]).all()


def test_each_input_is_guessed_by_itself(rng: np.random.Generator) -> None:
    inputs = (SourceInput("photo", (3, 24, 20)), SourceInput("mel", (24, 20, 3)), SourceInput("values", (4,)))
    facts = ModelFacts(row_shape(inputs), 3, inputs=inputs, ends_in="Softmax")
    guess = guess_contract(facts, Hints(input_range="-1,1"), tensors=["mel"])
    photo, mel, values = guess.adapter.parts
    assert (photo.item.is_image, photo.channels_first, photo.mean) == (True, True, (127.5,))
    assert not mel.item.is_image
    assert not values.item.is_image
    assert isinstance(guess.contract.input, InputRecord)
    assert [each.shape for each in guess.contract.input.inputs] == [(24, 20, 3), (24, 20, 3), (4,)]
    assert any("photo" in note for note in guess.notes)
    with pytest.raises(InputError, match="no input is an image"):
        guess_contract(facts, Hints(mean="3"), tensors=["mel", "photo"])
    with pytest.raises(InputError, match="--input"):
        guess_contract(facts, Hints(input="standardize"))


@pytest.mark.parametrize(
    "ports",
    [
        [("a", [1, 4]), ("a", [1, 4])],
        [("a", [1, 4]), ("b", [2, 4])],
        [("a", [1, 4]), ("b", [1, -1])],
        [("a", ["n", 4]), ("b", ["n", "m"])],
        [("serving_default_a:0", [1, 4]), ("a", [1, 4])],
    ],
)
def test_files_whose_inputs_are_no_records_are_refused(ports: list[tuple[str, list[Any]]]) -> None:
    with pytest.raises(ModelFileError, match="Several inputs need"):
        describe_several(Path("file"), [(name, shape, np.float32, (1.0, 0)) for name, shape in ports])


def _saved(path: Path, rng: np.random.Generator, spec: InputRecord, names: dict[str, str], count: int = 40) -> None:
    arrays = {names[each.name]: rng.integers(0, 256, (count, *each.shape)).astype(each.dtype) for each in spec.inputs}
    np.savez(path, y=np.arange(count) % 2, **arrays)  # type: ignore[arg-type]


def test_items_have_the_same_splits_whatever_the_order_of_the_inputs(tmp_path: Path, rng: np.random.Generator) -> None:
    spec = drawn_record(rng)
    _saved(tmp_path / "data.npz", rng, spec, {"photo": "photo", "values": "Values"})
    turned = InputRecord.of(spec.inputs[::-1])
    first, second = (open_data(tmp_path / "data.npz", input=one) for one in (spec, turned))
    assert first.sha256 == second.sha256
    assert first.input == spec
    items, others = first.test.read([0, 1]), second.test.read([0, 1])
    for name in ("photo", "values"):
        assert (items[name] == others[name]).all()
    assert items.dtype == spec.item


def test_data_of_one_array_are_refused_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match="photo"):
        open_data("digits", input=drawn_record(rng))


def test_a_single_number_may_lack_its_axis(tmp_path: Path, rng: np.random.Generator) -> None:
    spec = drawn_record(rng)
    one = InputRecord.of([spec.inputs[0], dataclasses.replace(spec.inputs[1], shape=(1,))])
    _saved(tmp_path / "data.npz", rng, one, {"photo": "photo", "values": "values"})
    with np.load(tmp_path / "data.npz") as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "flat.npz", **(arrays | {"values": arrays["values"].ravel()}))
    whole, flat = (open_data(tmp_path / name, input=one) for name in ("data.npz", "flat.npz"))
    assert whole.sha256 == flat.sha256


def inputs_called(*names: str) -> InputRecord:
    return InputRecord.of([NamedInput(shape=(3,), dtype="float32", name=name) for name in names])


@pytest.mark.parametrize("name", ["file", "y", "labels", "x"])
def test_inputs_may_have_any_name(name: str, rng: np.random.Generator) -> None:
    """`numpy.savez` takes no array called `file`; `y` and `labels` are labels in an `.npz`, so inputs are numbered."""
    values, photos = rng.random((2, 40, 3)).astype(np.float32)
    y = np.arange(40) % 2
    data = (
        source_of({"x": (values, photos), "y": y})
        if name in ("y", "labels")
        else source_of({"x": {"photo": photos, name: values}, "y": y})
    )
    read = open_data(data, input=inputs_called(name, "photo"))
    items = np.concatenate([split.read(slice(None)) for split in (read.train, read.val, read.test)])
    assert {*map(bytes, items[name])} == {*map(bytes, values)}
    assert {*map(bytes, items["photo"])} == {*map(bytes, photos)}


@pytest.mark.parametrize("name", ["y", "labels"])
def test_an_input_called_as_the_labels_is_refused_by_name(name: str, tmp_path: Path) -> None:
    x = np.ones((4, 3), np.float32)
    with pytest.raises(DataError, match=f"called '{name}'") as caught:
        source_of({"x": {name: x, "photo": x}, "y": [0, 1, 0, 1]})
    assert "tuple" in caught.value.hint
    np.savez(tmp_path / "data.npz", photo=x, y=np.arange(4) % 2, labels=["a", "b"])
    with pytest.raises(DataError, match=f"no array for {name}") as caught:
        open_data(tmp_path / "data.npz", input=inputs_called(name, "photo"))
    assert "x.1 to x.2" in caught.value.hint
