"""The contract: what it refuses, field by field, and where it is found in a file."""

from __future__ import annotations

import dataclasses
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accepting import ACCEPT
from drifting import reference
from hypothesis import given
from hypothesis import strategies as st
from records import assert_frozen

from edgepress.runtime import Contract, DataRecord, InputSpec, ModelFileError, contract, read_contract
from edgepress.runtime.acceptance import Temperature, Unknown, stored_directions
from edgepress.runtime.adapter import Adapter
from edgepress.runtime.contract import SelfTest, Verification
from edgepress.runtime.sound.features import LogMelFeatures, SoundFeatures

WHOLE = Contract(
    task="softmax",
    labels=("a", "b"),
    input=InputSpec.image(28, 24, "rgb", "pad"),
    scheme="tflite-int8",
    arch="lenet",
    parent_sha256="ff",
    test_accuracy=0.9,
    data=DataRecord(source="digits", sha256="aa", counts={"train": 3}),
    threshold=0.4,
    verification=Verification(
        items=3, on="digits", agreement=1.0, max_error=0.1, mean_error=0.01, largest=1.0, sqnr_db=None, varies=False
    ),
    selftest=SelfTest(
        engine="litert 2", seeds=(1, 2), columns=(0,), scores="AAAA", top=(0, 1), step=0.5, logit_step=2.0
    ),
    tools={"numpy": "2"},
)


def raw(**changes: Any) -> dict[str, Any]:
    """The contract as JSON, with fields changed: "input__dtype" is a field of `input`."""
    made: dict[str, Any] = json.loads(WHOLE.to_json())
    for place, value in changes.items():
        *keys, last = place.split("__")
        part = made
        for key in keys:
            part = part[key]
        part[last] = value
    return made


def parsed(**changes: Any) -> Contract:
    return Contract.from_json(json.dumps(raw(**changes)))


def test_records_are_frozen() -> None:
    assert_frozen(contract)


def test_a_contract_survives_json() -> None:
    assert parsed() == WHOLE
    assert "\n" not in WHOLE.to_json()
    assert ": " not in WHOLE.to_json()
    named = WHOLE.replace(labels=("ä", "b"))
    assert "ä" in named.to_json()
    assert Contract.from_json(named.to_json().encode()) == named


def test_what_may_be_left_out_has_its_default() -> None:
    least = {"task": "logits", "labels": ["a"], "input": {"shape": [3]}, "scheme": "keras", "schema_version": 1}
    found = Contract.from_json(json.dumps(least))
    assert found == Contract(task="logits", labels=("a",), input=InputSpec(shape=(3,)), scheme="keras")
    assert (found.input.dtype, found.input.color, found.input.resize, found.input.value_range) == (
        "uint8",
        None,
        "stretch",
        None,
    )
    assert (found.arch, found.parent_sha256, found.test_accuracy, found.data, found.tools) == ("", "", None, None, {})
    test = SelfTest(engine="", seeds=(1,), columns=(), scores="", top=(0,))
    assert (test.step, test.logit_step) == (0, 0)
    proof = {"items": 1, "on": "", "agreement": 1, "max_error": 0, "mean_error": 0, "largest": 1, "sqnr_db": None}
    checked = Contract.from_json(json.dumps(least | {"verification": proof})).verification
    assert checked is not None
    assert checked.varies
    for field in ("task", "labels", "input", "scheme", "schema_version"):
        with pytest.raises(ModelFileError):
            Contract.from_json(json.dumps({k: v for k, v in least.items() if k != field}))


def test_outputs_are_one_a_label_but_a_single_sigmoid() -> None:
    assert WHOLE.outputs == 2
    assert WHOLE.replace(task="sigmoid").outputs == 1
    assert WHOLE.replace(task="multilabel", labels=("a", "b", "c")).outputs == 3


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("task", "regress"),
        ("task", None),
        ("labels", "ab"),
        ("labels", ["a", 1]),
        ("labels", None),
        ("scheme", 3),
        ("target", 3),
        ("rewrites", "ends"),
        ("rewrites", ["ends", 1]),
        ("rewrites", None),
        ("threshold", -0.01),
        ("threshold", 1.01),
        ("threshold", "0.5"),
        ("schema_version", 0),
        ("schema_version", "1"),
        ("schema_version", 8),
        ("input", None),
        ("input", []),
        ("input__shape", []),
        ("input__shape", [0]),
        ("input__shape", [28, 24, -3]),
        ("input__shape", [28.0, 24, 3]),
        ("input__shape", [1 << 24, 24, 3]),
        ("input__shape", [28, 24]),
        ("input__shape", [28, 24, 1]),
        ("input__shape", [28, 24, 3, 1]),
        ("input__dtype", "int8"),  # of an image
        ("input__dtype", "float64"),
        ("input__color", "blue"),
        ("input__color", "grey"),
        ("input__resize", "tile"),
        ("input__resize", "crop:2"),
        ("input__resize", None),
        ("input__value_range", [0]),
        ("input__value_range", [0, "x"]),
        ("input__value_range", 3),
        ("input__value_range", [255, 0]),
        ("input__value_range", [0, 256]),  # of uint8
        ("input__value_range", [-1, 255]),
        ("input__value_range", [0, math.inf]),
        ("test_accuracy", math.nan),  # JSON has no such number
        ("compression", {"gain": -math.inf}),
        ("data", 3),
        ("data", {"source": "x"}),
        ("verification", {"items": 3}),
        ("verification", []),
        ("selftest__seeds", []),
        ("selftest__seeds", [1]),
        ("selftest", {"engine": "", "seeds": [], "columns": [], "scores": "", "top": []}),
        ("selftest__seeds", [1, -2]),
        ("selftest__seeds", [1, 2.0]),
        ("selftest__seeds", [1, True]),
        ("selftest__top", [0]),
        ("selftest__top", [0, -1]),
        ("selftest__columns", [-1]),
        ("selftest__columns", 1),
        ("selftest__scores", 3),
        ("selftest__step", -0.1),
        ("selftest__step", 1e6),
        ("selftest__step", "1"),
        ("selftest__step", None),
        ("selftest__logit_step", -1),
        ("selftest__logit_step", 1e6),
        ("selftest__high", 0.0),
        ("selftest__high", 2e30),
        ("ranges", {"x": [0, math.inf]}),
        ("ranges", {"x": [-math.inf, 0]}),
        ("ranges", {"x": [0, math.nan]}),
        ("ranges", {"x": [1, 0]}),
        ("ranges", {"x": [0, 1], "y": [0, "1e999"]}),
        ("output_shape", [2]),
    ],
)
def test_a_field_out_of_its_range_or_of_another_type_is_one_error(place: str, value: Any) -> None:
    with pytest.raises(ModelFileError):
        parsed(**{place: value})


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("threshold", 0),
        ("threshold", 1),
        ("threshold", None),
        ("input__shape", [1, 1, 3]),
        ("input__shape", [(1 << 24) - 1, 24, 3]),
        ("input__value_range", None),
        ("input__value_range", [0, 255]),
        ("input__value_range", [7, 7]),
        ("selftest__columns", []),
        ("selftest__seeds", [0, 1]),
        ("selftest__step", 0),
        ("selftest__step", 999999),
        ("selftest", None),
        ("verification", None),
        ("data", None),
        ("labels", []),
    ],
)
def test_ends_of_ranges_are_accepted(place: str, value: Any) -> None:
    assert json.loads(parsed(**{place: value}).to_json()) == raw(**{place: value})


@pytest.mark.parametrize(
    ("shape", "accepted"),
    [([1, (1 << 24) - 1], True), ([1 << 24], False), ([3, 0], False), ([3.0], False), ([], False)],
)
def test_a_model_without_labels_has_outputs_of_such_shapes(shape: list[Any], *, accepted: bool) -> None:
    fields = {"task": "none", "labels": [], "threshold": None, "output_shape": shape}
    if accepted:
        assert parsed(**fields).outputs == math.prod(shape)
        with pytest.raises(ModelFileError, match="labels and output shape"):
            parsed(**fields | {"labels": ["a"]})
    else:
        with pytest.raises(ModelFileError, match="output shape"):
            parsed(**fields)


SCALED = Temperature(temperature=2.0, offset=0.001)
KNOWN = Unknown(references=stored_directions(np.eye(2, dtype=np.float32)), labels=2, at_least=0.1, floor=0.01)


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ({}, 1),
        ({"drift": reference()}, 1),
        ({"adapter": Adapter(shape=(28, 24, 3), std=(255.0,))}, 2),
        ({"probability": SCALED}, 3),
        ({"accept": ACCEPT}, 3),
        ({"unknown": KNOWN}, 3),
        ({"adapter": Adapter(shape=(28, 24, 3), std=(255.0,)), "accept": ACCEPT}, 3),
        ({"probability": dataclasses.replace(SCALED, slope=0.05)}, 4),
    ],
)
def test_a_contract_has_the_lowest_version_that_says_all_of_it(fields: dict[str, Any], version: int) -> None:
    """So that older runtimes read what they can, and refuse what they would ignore."""
    made = WHOLE.replace(**fields)
    assert made.schema_version == json.loads(made.to_json())["schema_version"] == version
    assert Contract.from_json(made.to_json()) == made


SOUND = Contract(
    task="softmax",
    labels=("go", "stop"),
    input=InputSpec(shape=(98, 40), dtype="float32", value_range=(0.0, 26.0)),
    scheme="tflite-int8",
    sound=SoundFeatures(pcan=False, upper_hz=7000.0),
)


def test_a_contract_of_sound_has_its_front_end_and_a_version_that_older_readers_refuse() -> None:
    document = json.loads(SOUND.to_json())
    assert document["schema_version"] == 6
    assert (document["sound"]["channels"], document["sound"]["pcan"]) == (40, False)
    assert Contract.from_json(SOUND.to_json()) == SOUND
    whole = document | {"sound": document["sound"] | {"upper_hz": 7000}}  # as JavaScript writes the number
    assert Contract.from_json(json.dumps(whole)) == SOUND


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate", 192000),
        ("rate", None),
        ("window_ms", 10**9),
        ("step_ms", 0),
        ("channels", 41),
        ("channels", 257),
        ("upper_hz", 10**400),
        ("upper_hz", "7500"),
        ("even_smoothing", -0.1),
        ("gain_bits", 200),
        ("pcan", 1),
    ],
)
def test_a_hostile_front_end_is_refused(field: str, value: Any) -> None:
    document = json.loads(SOUND.to_json())
    document["sound"][field] = value
    with pytest.raises(ModelFileError, match="not a valid edgepress contract"):
        Contract.from_json(json.dumps(document))


def test_a_contract_of_another_front_end_has_a_version_that_readers_of_the_integer_one_refuse() -> None:
    """They would take the kind for an unknown field, and make other frames."""
    made = SOUND.replace(sound=LogMelFeatures(rate=8000, upper_hz=3800.0))
    assert json.loads(made.to_json())["schema_version"] == 7
    assert Contract.from_json(made.to_json()) == made
    document = json.loads(SOUND.to_json())
    del document["sound"]["kind"]  # as contracts from before there was another one
    assert Contract.from_json(json.dumps(document)) == SOUND


@pytest.mark.parametrize("kind", ["mfcc", "", None, 1, [], {}])
def test_an_unknown_front_end_is_refused(kind: Any) -> None:
    document = json.loads(SOUND.to_json())
    document["sound"]["kind"] = kind
    with pytest.raises(ModelFileError, match=r"front end is .* accepted: integer, log-mel"):
        Contract.from_json(json.dumps(document))


@pytest.mark.parametrize("shape", [[98], [98, 41], [98, 40, 2], [6000, 40], [1 << 23, 40]])
def test_the_input_of_sound_is_a_window_of_its_frames(shape: list[int]) -> None:
    document = json.loads(SOUND.to_json())
    assert Contract.from_json(json.dumps(document | {"input": document["input"] | {"shape": [98, 40, 1]}})).sound
    document["input"]["shape"] = shape
    with pytest.raises(ModelFileError, match=r"does not fit an input|seconds of a window"):
        Contract.from_json(json.dumps(document))


def test_references_are_of_as_many_labels_as_the_contract_has() -> None:
    with pytest.raises(ModelFileError, match="references of 2 labels; it has 3"):
        Contract.from_json(json.dumps(raw(labels=["a", "b", "c"], unknown=dataclasses.asdict(KNOWN))))


def test_ranges_are_pairs_of_finite_numbers() -> None:
    assert parsed(ranges={"x": [-3, 4], "y": [2, 2]}).ranges == {"x": (-3.0, 4.0), "y": (2.0, 2.0)}


def test_a_sigmoid_has_two_labels() -> None:
    assert parsed(task="sigmoid").task == "sigmoid"
    for labels in (["a"], ["a", "b", "c"]):
        with pytest.raises(ModelFileError, match=str(len(labels))):
            parsed(task="sigmoid", labels=labels)


def test_images_have_three_dimensions_and_the_channels_of_their_colour() -> None:
    grey = parsed(input__color="grey", input__shape=[28, 24, 1]).input
    assert grey.is_image
    tensor = parsed(input__color=None, input__shape=[7, 2], input__dtype="float32", input__value_range=[-1, 2]).input
    assert not tensor.is_image
    assert tensor.value_range == (-1.0, 2.0)
    assert all(isinstance(v, float) for v in tensor.value_range)
    assert InputSpec.image(3, 4, "grey") == InputSpec(shape=(3, 4, 1), color="grey", value_range=(0.0, 255.0))
    assert InputSpec.image(3, 4, "rgb", "crop").shape == (3, 4, 3)


def test_fields_of_later_versions_are_ignored_everywhere() -> None:
    later = raw()
    for part in (later, later["input"], later["data"], later["verification"], later["selftest"]):
        part["later"] = [1]
    assert Contract.from_json(json.dumps(later)) == WHOLE


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{", "[" * 100_000, b"\xff\xfe\xfd"])
def test_what_is_no_object_is_one_error_that_names_its_place(text: Any) -> None:
    with pytest.raises(ModelFileError, match="here"):
        Contract.from_json(text, where="here")


@given(st.sampled_from(sorted(raw())), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()))
def test_any_value_of_a_field_is_accepted_or_one_error(field: str, value: Any) -> None:
    try:
        found = parsed(**{field: value})
    except ModelFileError:
        return
    assert Contract.from_json(found.to_json()) == found


# Where it is found.


def zipped(path: Path, content: str, member: str = contract.MEMBER, prefix: bytes = b"") -> Path:
    path.write_bytes(prefix)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, content)
    return path


def test_a_contract_is_read_from_a_zip_behind_a_model(tmp_path: Path) -> None:
    assert read_contract(zipped(tmp_path / "a.tflite", WHOLE.to_json(), prefix=b"model" * 99)) == WHOLE
    assert read_contract(str(zipped(tmp_path / "a.keras", WHOLE.to_json()))) == WHOLE
    assert read_contract(zipped(tmp_path / "b.keras", WHOLE.to_json(), "other.json")) is None
    (tmp_path / "plain.tflite").write_bytes(b"no zip here")
    assert read_contract(tmp_path / "plain.tflite") is None
    with pytest.raises(ModelFileError, match=r"none\.tflite"):
        read_contract(tmp_path / "none.tflite")
    with pytest.raises(ModelFileError, match=r"c\.tflite"):
        read_contract(zipped(tmp_path / "c.tflite", "{}"))


def test_a_contract_that_is_cut_or_too_large_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = zipped(tmp_path / "a.tflite", WHOLE.to_json()).read_bytes()
    (tmp_path / "cut.tflite").write_bytes(whole[:-30])
    with pytest.raises(ModelFileError):
        read_contract(tmp_path / "cut.tflite")
    size = len(WHOLE.to_json())
    monkeypatch.setattr(contract, "MAX_BYTES", size)
    assert read_contract(tmp_path / "a.tflite") == WHOLE
    monkeypatch.setattr(contract, "MAX_BYTES", size - 1)
    with pytest.raises(ModelFileError, match=str(size - 1)):
        read_contract(tmp_path / "a.tflite")


@pytest.mark.parametrize(
    ("content", "is_cut"),
    [
        (b"model" * 99 + b"PK\x03\x04" + bytes(30), True),
        (b"model" * 99 + b"PK\x03\x04" + bytes(60), True),
        (b"model" * 99 + b"PK\x03\x04" + bytes(99), False),
        (b"PK\x03\x04" + b"model" * 99, False),
    ],
)
def test_the_beginning_of_a_zip_at_the_end_of_a_file_is_one_that_was_cut(
    tmp_path: Path, content: bytes, *, is_cut: bool
) -> None:
    """Further in front, such bytes are weights."""
    (path := tmp_path / "a.tflite").write_bytes(content)
    if is_cut:
        with pytest.raises(ModelFileError, match=r"a\.tflite is cut off"):
            read_contract(path)
    else:
        assert read_contract(path) is None


def test_a_contract_in_a_json_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path := tmp_path / "c.json").write_text(WHOLE.to_json())
    assert contract.contract_in(path) == WHOLE
    with pytest.raises(ModelFileError, match=r"none\.json"):
        contract.contract_in(tmp_path / "none.json")
    size = len(WHOLE.to_json().encode())
    monkeypatch.setattr(contract, "MAX_BYTES", size)
    assert contract.contract_in(path) == WHOLE
    monkeypatch.setattr(contract, "MAX_BYTES", size - 1)
    with pytest.raises(ModelFileError, match=rf"c\.json.*{size - 1}"):
        contract.contract_in(path)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ModelFileError, match="labels"):
        Contract.from_json(json.dumps({"schema_version": 1, "task": "softmax", "input": {"shape": [2]}, "scheme": "x"}))


def test_a_contract_has_room_for_thousands_of_labels() -> None:
    assert contract.MAX_BYTES == 4 * 1024 * 1024


def test_a_number_that_becomes_infinite_is_refused() -> None:
    with pytest.raises(ModelFileError, match="1e999 is not a finite number"):
        Contract.from_json(json.dumps(raw()).replace('"test_accuracy": 0.9', '"test_accuracy": 1e999'))
