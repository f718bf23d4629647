"""Fixes for accuracy: none that would make the same file again, or one that its target does not run."""

from __future__ import annotations

from typing import Any

import pytest
from test_faults import PLAIN

from edgepress.converters.diagnosis.layer import QuantizedLayer
from edgepress.converters.numeric.statistics import METHODS
from edgepress.converters.schemes import SCHEMES, schemes_for
from edgepress.runtime.contract import Contract
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.diagnosis.accuracy.fixes import conversions

REPAIRED = {"repairs": [], "calibration": {"method": "minmax", "trials": len(METHODS)}}
FAULTS = ("", "weights", "bias", "range", "zero point", "clipped", "outlier")


def contract_of(scheme: str, **fields: Any) -> Contract:
    item = InputSpec.image(8, 8, "grey")
    return Contract(task="softmax", labels=("a", "b"), input=item, scheme=scheme, **fields)


def layers(fault: str) -> list[QuantizedLayer]:
    return [QuantizedLayer(**PLAIN | {"cost": 0.9, "fault": fault, "spread": 20.0})]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scheme", [name for name, scheme in SCHEMES.items() if not scheme.is_float32])
def test_no_fix_makes_the_file_again_unless_it_is_damaged(scheme: str, fault: str) -> None:
    found = conversions(contract_of(scheme, compression=REPAIRED), layers(fault), None, train=100)
    assert found or SCHEMES[scheme].precision == "float16", "all others round more than another one"
    again = [one for one in found if one.scheme == scheme and not one.arguments]
    assert bool(again) == layers(fault)[0].damaged
    assert not any("samples" in one.arguments for one in found), "there are no more items"
    assert not any("calibration" in one.arguments for one in found), "all methods were tried"
    assert len({(one.scheme, repr(one.arguments)) for one in found}) == len(found)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_target_runs_what_fixes_make(fault: str) -> None:
    for scheme in schemes_for("integer-only"):
        found = conversions(contract_of(scheme, target="integer-only"), layers(fault), None)
        assert {one.scheme for one in found} <= {*schemes_for("integer-only")}


def test_what_was_not_done_is_proposed() -> None:
    plain = {"calibration": {"method": "minmax", "trials": 1}}
    found = conversions(contract_of("tflite-int8", compression=plain), layers(""), "photos", train=5000)
    assert "equalize" in found[0].text
    assert {key for one in found for key in one.arguments} >= {"data", "calibration", "samples"}
    texts = [
        one.text for one in conversions(contract_of("tflite-int16x8", compression=REPAIRED), layers("outlier"), None)
    ]
    assert not any("16 bits" in text for text in texts), "it has them"
    assert [
        one.text for one in conversions(contract_of("tflite-weights8", compression=REPAIRED), layers(""), None)
    ] == ["keep weights in 16 bits"]
