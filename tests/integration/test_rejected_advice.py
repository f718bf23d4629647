"""The advice of a rejected file names no scheme that was rejected, too."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from edgepress.converters.conversion.advice import Given, fragile_file, with_advice
from edgepress.converters.schemes import SCHEMES, finer
from edgepress.converters.variant import Variant
from edgepress.runtime import Contract
from edgepress.runtime.contract import Verification
from edgepress.runtime.data_record import DataRecord
from edgepress.toolkit.conversion.convert import items_for


@pytest.mark.parametrize(
    ("scheme", "target", "rejected", "next_one"),
    [
        ("tflite-int4", "cpu", (), "tflite-int8"),
        ("tflite-int4", "cpu", ("tflite-int8",), "tflite-int16x8"),
        ("tflite-int4", "cpu", ("tflite-int8", "tflite-int16x8"), "tflite-float16"),
        ("onnx-int4", "cpu", ("onnx-int8",), "onnx-float16"),
        ("onnx-int8", "cpu", ("onnx-float16", "onnx-float32"), ""),
        ("tflite-int8", "integer-only", (), ""),
    ],
)
def test_the_next_finer_scheme_was_not_rejected(scheme: str, target: Any, rejected: Any, next_one: str) -> None:
    assert finer(SCHEMES[scheme], target, rejected=rejected) == next_one


def refused(scheme: str, cause: Any = "unlike", *, agreement: float = 0.95, lost: float = 0.04) -> Variant:
    measured = Verification(
        items=512, on="photos", agreement=agreement, max_error=1, mean_error=0, largest=1, sqnr_db=20, lost=lost
    )
    return Variant(scheme, None, None, 0.0, measured, error="It is worse.", cause=cause)


def hints_of(*variants: Variant, **changes: Any) -> list[str]:
    given = Given(
        **{"target": "cpu", "data": True, "labels": True, "own": True, "scaling": True, "repairs": True, **changes}
    )
    return [v.hint for v in with_advice(variants, given) if v.path is None]


@pytest.mark.parametrize(
    ("rejected", "advised"),
    [
        (("tflite-int8", "tflite-int4"), "Take tflite-int16x8, which was written"),
        (("tflite-int8", "tflite-int4", "tflite-int16x8"), "Convert it to tflite-float16"),
    ],
)
def test_hints_name_what_was_written_and_never_what_was_refused(rejected: tuple[str, ...], advised: str) -> None:
    schemes = ["tflite-int8", "tflite-int4", "tflite-int16x8"]
    made = [refused(name) if name in rejected else Variant(name, Path(name), 1, 0.0) for name in schemes]
    assert {*hints_of(*made)} == {f"{advised}; --no-verify keeps the file anyway."}


@pytest.mark.parametrize(
    ("scheme", "data", "own", "advice"),
    [
        ("tflite-int8", True, False, "Give data like its training data, or convert it to tflite-int16x8"),
        ("tflite-int8", True, True, "Convert it to tflite-int16x8"),
        ("onnx-dynamic", False, False, "Give data like its training data, or convert it to onnx-float16"),
        ("onnx-dynamic", True, False, "Convert it to onnx-float16"),
        ("onnx-float32", True, True, "The conversion is at fault: please report it"),
        (
            "onnx-float32",
            True,
            False,
            "If the model saturates on these items, check --input-range; else the conversion is at fault: "
            "please report it",
        ),
    ],
)
def test_its_training_data_are_no_advice_for_a_file_that_was_made_with_them(
    scheme: str, data: bool, own: bool, advice: str
) -> None:
    (hint,) = hints_of(refused(scheme), data=data, own=own)
    assert hint == f"{advice}; --no-verify keeps the file anyway."


def test_a_file_of_four_bits_is_told_to_be_tuned_if_it_is_refused_or_loses_much() -> None:
    (hint,) = hints_of(refused("tflite-int4"), tunable="m.keras")
    assert "edgepress tune m.keras --bits 4" in hint
    assert hint.index("tune") < hint.index("convert it to tflite-int8")
    assert "tune" not in hints_of(refused("tflite-int4"))[0], "it was trained so already"
    assert "tune" not in hints_of(refused("tflite-int8"), tunable="m.keras")[0]
    given = Given(target="cpu", data=True, labels=True, own=True, scaling=True, repairs=True, tunable="m.keras")
    for lost, scheme, told in ((0.011, "onnx-int4", True), (0.009, "onnx-int4", False), (0.02, "onnx-int8", False)):
        written = dataclasses.replace(refused(scheme, "", lost=lost), path=Path("x"), error="")
        (advised,) = with_advice([written], given)
        assert any("tune m.keras --bits 4" in note for note in advised.notes) == told


def test_a_float_file_that_is_refused_explains_why_others_of_its_graph_are_not() -> None:
    """Without labels, nothing shows what a Resizing layer with another cubic kernel costs."""
    files = [
        refused("onnx-float32"),
        Variant("onnx-int8", Path("x"), 1, 0.0),
        Variant("tflite-int8", Path("y"), 1, 0.0),
    ]
    given = Given(target="cpu", data=False, labels=False, own=False, scaling=False, repairs=True)
    first, same, other = with_advice(files, given)
    assert first.hint.startswith("Give data with labels, which show what the difference costs, or the conversion")
    assert same.notes == (
        "it is made of the graph of onnx-float32, which was refused; data with labels show what that costs",
    )
    assert other.notes == ()


@pytest.mark.parametrize(("repairs", "named"), [(True, False), (False, True)])
def test_an_option_is_left_out_only_if_it_was_given(repairs: bool, named: bool) -> None:
    (hint,) = hints_of(refused("tflite-int8", "scales"), repairs=repairs)
    assert ("--no-repairs" in hint) == named
    assert "convert it to tflite-float16" in hint.lower(), "int16x8 multiplies integers, too"
    assert "--no-verify" not in hint


@pytest.mark.parametrize(
    ("agreement", "lost", "fragile"), [(0.78, 0.02, True), (0.78, 0.2, False), (0.95, 0.01, False)]
)
def test_a_model_whose_answers_small_differences_decide_is_to_be_trained_longer(
    agreement: float, lost: float, fragile: bool
) -> None:
    """A quantized file of a sound net that changes labels loses right answers; one of a fragile net hardly any."""
    files = [refused("tflite-int8", agreement=agreement, lost=lost), refused("onnx-dynamic", agreement=0.5, lost=lost)]
    assert (fragile_file(files) is files[0]) == fragile
    assert all(("rain the source model longer" in hint) == fragile for hint in hints_of(*files))


@pytest.mark.parametrize("same", [True, False])
def test_data_are_a_model_s_own_if_they_have_the_hash_that_it_remembers(digits: Any, same: bool) -> None:
    record = DataRecord(source="digits", sha256=digits.sha256 if same else "0" * 64, counts={})
    contract = Contract(task="softmax", labels=digits.labels, input=digits.input, scheme="keras", data=record)
    assert items_for(digits, 20, contract)["proof_own"] == same
    assert not items_for(digits, 20, contract.replace(data=None))["proof_own"]
