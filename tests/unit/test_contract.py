from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.runtime import Contract, DataRecord, InputSpec, ModelFileError, read_contract
from edgepress.runtime.contract import SCHEMA_VERSION, SelfTest

specs = st.one_of(
    st.builds(
        InputSpec.image,
        st.integers(1, 512),
        st.integers(1, 512),
        st.sampled_from(["grey", "rgb"]),
        st.sampled_from(["stretch", "crop", "pad"]),
    ),
    st.builds(
        InputSpec, shape=st.lists(st.integers(1, 99), min_size=1, max_size=4).map(tuple), dtype=st.just("float32")
    ),
)
contracts = st.builds(
    Contract,
    task=st.just("softmax"),
    labels=st.lists(st.text(max_size=8), min_size=1, max_size=5).map(tuple),
    input=specs,
    scheme=st.text(max_size=9),
    arch=st.text(max_size=9),
    parent_sha256=st.text(max_size=64),
    test_accuracy=st.none() | st.floats(0, 1),
    data=st.none()
    | st.builds(DataRecord, source=st.text(), sha256=st.text(), counts=st.dictionaries(st.text(), st.integers(0, 9))),
    tools=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
example = Contract(task="softmax", labels=("a", "b"), input=InputSpec.image(28, 28, "grey"), scheme="keras")


@given(contracts)
def test_survives_json(contract: Contract) -> None:
    assert Contract.from_json(contract.to_json()) == contract


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda s: (
            st.lists(s)
            | st.dictionaries(st.sampled_from(["schema_version", "labels", "input", "shape", "task", "scheme"]), s)
        ),
    )
)
def test_anything_else_is_a_clear_error(value: Any) -> None:
    with pytest.raises(ModelFileError, match="contract"):
        Contract.from_json(json.dumps(value))


@given(st.binary())
def test_bytes_that_are_not_json_are_a_clear_error(data: bytes) -> None:
    with pytest.raises(ModelFileError):
        Contract.from_json(data)


def test_unknown_fields_are_ignored_and_newer_versions_refused() -> None:
    raw = json.loads(example.to_json()) | {"invented_later": 1}
    raw["input"]["also_later"] = [1]
    assert Contract.from_json(json.dumps(raw)) == example
    with pytest.raises(ModelFileError, match="Upgrade"):
        Contract.from_json(json.dumps(raw | {"schema_version": SCHEMA_VERSION + 1}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task", "regress"),
        ("labels", "abc"),
        ("labels", [1, 2]),
        ("scheme", 3),
        ("input", {"shape": [28, 28, 3], "color": "grey"}),
        ("input", {"shape": [0, 28, 1]}),
        ("input", {"shape": [28], "dtype": "complex64"}),
        ("schema_version", "1"),
        ("data", "digits"),
        ("verification", [1]),
        ("selftest", 7),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(ModelFileError, match="not a valid edgepress contract"):
        Contract.from_json(json.dumps(json.loads(example.to_json()) | {field: value}))


def test_a_damaged_member_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("edgepress.json", example.to_json() * 9)
    data = bytearray(path.read_bytes())
    data[60:90] = b"\xff" * 30
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="cut off or damaged"):
        read_contract(path)


OLD = ("tflite-float32", "tflite-float16", "tflite-dynamic", "tflite-int8", "tflite-int16x8")
OLD += ("onnx-float32", "onnx-float16", "onnx-dynamic", "onnx-int8")


@pytest.mark.parametrize("scheme", [SCHEMES[name] for name in OLD], ids=OLD)
def test_files_from_before_contracts_held_what_depends_on_the_scheme(scheme: Scheme) -> None:
    test = SelfTest(engine="x", seeds=(1,), columns=(), scores="", top=(0,), tolerance_steps=scheme.selftest_steps)
    spec = InputSpec(shape=(4,), dtype="float32")
    now = Contract(task="softmax", labels=("a", "b"), input=spec, scheme=scheme.name, selftest=test)
    now = now.replace(item_by_item=scheme.item_by_item)
    raw = json.loads(now.to_json())
    assert Contract.from_json(json.dumps(raw)) == now
    del raw["item_by_item"], raw["selftest"]["tolerance_steps"]
    assert Contract.from_json(json.dumps(raw)) == now
