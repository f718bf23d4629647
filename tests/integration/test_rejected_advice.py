"""The advice of a rejected file names no scheme that was rejected, too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.conversion.encode import FilesJob
from edgepress.converters.conversion.make import _FileMaker
from edgepress.converters.proof.reference import ProofItems
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.targets import finer
from edgepress.converters.variant import Variant
from edgepress.runtime import Contract
from edgepress.runtime.contract import DataRecord
from edgepress.toolkit.conversion import convert, items_for


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


@pytest.mark.parametrize(
    ("rejected", "advised"),
    [
        (("tflite-int8", "tflite-int4"), "convert it to tflite-int16x8"),
        (("tflite-int8", "tflite-int4", "tflite-int16x8"), "convert it to tflite-float16"),
    ],
)
def test_hints_name_what_was_written(
    rejected: tuple[str, ...], advised: str, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that makes the files does not know which of the later ones will be rejected."""
    schemes = ["tflite-int8", "tflite-int4", "tflite-int16x8"]

    def make(*_: Any, **__: Any) -> list[Variant]:
        hint = "Give other data, or convert it to {}; --no-verify keeps the file anyway."
        return [
            Variant(name, None, None, 0.0, error="It is worse.", hint=hint.format(finer(SCHEMES[name], "cpu")))
            if name in rejected
            else Variant(name, Path(name), 1, 0.0)
            for name in schemes
        ]

    monkeypatch.setattr(Conversion, "run", make)
    variants = convert(run.model, schemes)
    assert [v.scheme for v in variants if v.hint] == list(rejected)
    assert {v.hint for v in variants if v.hint} == {
        f"Give other data, or {advised}; --no-verify keeps the file anyway.",
    }


@pytest.mark.parametrize(
    ("scheme", "items", "own", "advice"),
    [
        ("tflite-int8", True, False, "Give data like its training data, or convert it to tflite-int16x8"),
        ("tflite-int8", True, True, "Convert it to tflite-int16x8"),
        ("onnx-dynamic", False, False, "Give data like its training data, or convert it to onnx-float16"),
        ("onnx-dynamic", True, False, "Convert it to onnx-float16"),
    ],
)
def test_its_training_data_are_no_advice_for_a_file_that_was_made_with_them(
    scheme: str, items: bool, own: bool, advice: str
) -> None:
    maker = object.__new__(_FileMaker)
    proof = ProofItems(np.zeros((1, 2)) if items else None, own=own)
    maker.job = cast(FilesJob, SimpleNamespace(proof=proof, target="cpu"))
    assert maker._advice(SCHEMES[scheme]) == advice


@pytest.mark.parametrize("same", [True, False])
def test_data_are_a_model_s_own_if_they_have_the_hash_that_it_remembers(digits: Any, same: bool) -> None:
    record = DataRecord(source="digits", sha256=digits.sha256 if same else "0" * 64, counts={})
    contract = Contract(task="softmax", labels=digits.labels, input=digits.input, scheme="keras", data=record)
    assert items_for(digits, 20, contract)["proof_own"] == same
    assert not items_for(digits, 20, contract.replace(data=None))["proof_own"]
