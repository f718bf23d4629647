"""What callers give for several inputs becomes what a file takes, without an engine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import InputError
from edgepress.runtime.input_record import InputRecord, NamedInput
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.several import RecordReader, parsed_inputs

SIZE = 3
SCALE = (0.5, 10)


def reader(*, stored: Any = np.uint8, contract: bool = True, batch: int | None = None) -> RecordReader:
    """Of a file of a picture, 4 x 5 grey, and three values, which it stores in bytes unless told otherwise."""
    photo = NamedInput(**vars(InputSpec.image(4, 5, "grey")), name="photo")
    record = InputRecord.of([photo, NamedInput(shape=(SIZE,), dtype="float32", name="values", quantization=SCALE)])
    said = Contract(task="softmax", labels=("a", "b"), input=record, scheme="tflite-int8")
    session: Any = SimpleNamespace(
        contract=said if contract else None,
        shape=(),
        dtype=np.dtype([("photo", "u1", (4, 5, 1)), ("values", stored, (SIZE,))]),
        scale=(1.0, 0),
        scales={"photo": (1.0, 0), "values": SCALE if stored == np.uint8 else (1.0, 0)},
        batch=batch,
    )
    return RecordReader(Path("file.tflite"), session)


@pytest.fixture
def item() -> dict[str, Any]:
    rng = np.random.default_rng()
    return {"photo": rng.integers(0, 256, (4, 5, 1), np.uint8), "values": rng.uniform(-5, 100, SIZE).astype(np.float32)}


def test_all_forms_of_an_item_are_the_same_record(item: dict[str, Any], tmp_path: Path) -> None:
    photo, values = item.values()
    np.savez(tmp_path / "item.npz", **item)
    np.save(tmp_path / "values.npy", values)
    read = reader()
    expected = read.prepare(photo, values=values)
    assert expected.shape == ()
    for first, others in [
        (photo, {"values": values.tolist()}),
        (photo[..., 0], {"VALUES": str(tmp_path / "values.npy")}),
        (dict(reversed(item.items())), {}),
        (tmp_path / "item.npz", {}),
        (expected, {}),
        ({"values": values}, {"photo": photo}),
    ]:
        record = read.prepare(first, **others)
        assert (record["photo"] == photo).all()
        np.testing.assert_array_equal(record["values"], values)


def test_each_input_is_quantized_by_its_own_scale(item: dict[str, Any]) -> None:
    read = reader()
    stored = read.stored(read.batched({name: x[np.newaxis] for name, x in item.items()}))
    assert (stored["photo"][0] == item["photo"]).all()
    expected = np.clip(np.rint(item["values"] / SCALE[0]) + SCALE[1], 0, 255)
    assert (stored["values"][0] == expected).all()
    assert stored.dtype == np.dtype([("photo", "u1", (4, 5, 1)), ("values", "u1", (SIZE,))])


def test_whole_numbers_of_a_table_are_numbers_and_not_what_a_file_stores(item: dict[str, Any]) -> None:
    numbers = np.arange(SIZE, dtype=np.uint8)
    for read in (reader(), reader(stored=np.float32)):
        real, whole = (
            read.stored(read.prepare(item["photo"], values=given)[np.newaxis])["values"]
            for given in (numbers.astype(np.float32), numbers)
        )
        assert (real == whole).all()
    assert whole.dtype == np.float32


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_items_are_answered_in_batches_of_the_files_size(batch: int | None) -> None:
    rng = np.random.default_rng()
    count = int(rng.integers(3, 8))
    photos = rng.integers(0, 256, (count, 4, 5, 1), np.uint8)
    values = rng.integers(0, 100, (count, SIZE)).astype(np.float32)
    sizes = []

    def run(records: Any) -> Any:
        sizes.append(len(records))
        return np.stack([records["photo"].sum((1, 2, 3)), records["values"].sum(1)], 1).astype(np.float32)

    read = reader(stored=np.float32, batch=batch)
    for given in ((photos, values), {"values": values, "photo": photos}):
        answers = read.answers(run, given, 2)
        np.testing.assert_array_equal(answers, np.stack([photos.sum((1, 2, 3)), values.sum(1)], 1))
    assert {*sizes} == {count if batch is None else batch}


def test_a_file_without_a_contract_takes_arrays(item: dict[str, Any]) -> None:
    record = reader(contract=False, stored=np.float32).prepare(item["photo"], values=item["values"])
    assert (record["values"] == item["values"]).all()


@pytest.mark.parametrize(
    ("first", "others", "message"),
    [
        ("photo", {}, "missing: values"),
        ("photo", {"value": 1}, "missing: values; unknown: value"),
        ("photo", {"values": [1, 2, 3], "more": 1}, "unknown: more"),
        ("photo", {"values": [1, 2, 3], "photo": 1}, "photo was given twice"),
        ("photo", {"values": [1, 2]}, "Input values: "),
        ("photo", {"values": [1, 2, "x"]}, "Input values: "),
        ("photo", {"values": 3.0}, "Input values: "),
    ],
)
def test_mistakes_name_the_input(item: dict[str, Any], first: str, others: dict[str, Any], message: str) -> None:
    read = reader()
    with pytest.raises(InputError, match=message) as error:
        read.stored(read.prepare(item[first], **others)[np.newaxis])
    assert message.startswith("Input") or "values of shape [3]" in str(error.value)


def test_arrays_of_other_lengths_and_single_arrays_are_refused(item: dict[str, Any]) -> None:
    read = reader()
    photos = np.repeat(item["photo"][np.newaxis], 3, axis=0)
    with pytest.raises(InputError, match="different numbers of items"):
        read.batched((photos, np.zeros((2, SIZE))))
    for wrong in (photos, (photos,), 5):
        with pytest.raises(InputError, match="photo of shape"):
            read.batched(wrong)


@pytest.mark.parametrize("option", ["values", "values=", "=1", "a=1"])
def test_options_of_inputs_are_names_and_values(option: str) -> None:
    with pytest.raises(InputError, match="--input"):
        parsed_inputs(["a=2", option])


def test_options_hold_numbers_or_files() -> None:
    assert parsed_inputs(["a=1.5,-2,3e1", "b=x,1.png", "c=4"]) == {"a": [1.5, -2.0, 30.0], "b": "x,1.png", "c": [4.0]}
