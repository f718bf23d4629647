"""The self-test of real files: right answers pass, wrong ones fail and say what differs."""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime import InputError, ModelFileError, load, read_contract
from edgepress.runtime.contract import Contract
from edgepress.runtime.selftest import seeded_item, selftest


def changed(source: Path, target: Path, **changes: Any) -> Path:
    """A copy of a TFLite file with some fields of its self-test changed."""
    contract = read_contract(source)
    assert contract is not None
    assert contract.selftest is not None
    test = dataclasses.replace(contract.selftest, **changes)
    whole = source.read_bytes()
    target.write_bytes(tflite_with_contract(whole, contract.replace(selftest=test)))
    return target


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_every_variant_passes_where_it_was_made(scheme: str, run: Any) -> None:
    report = selftest(run.variants[scheme])
    assert report.passed, report
    assert len(report.checks) == 6
    assert max(check.largest_steps or 0 for check in report.checks) < 0.01
    contract = load(run.variants[scheme]).contract
    assert contract is not None
    assert contract.selftest is not None
    assert len(json.dumps(dataclasses.asdict(contract.selftest))) < 3000
    assert Contract.from_json(contract.to_json()) == contract


def test_its_items_are_unsaturated(run: Any) -> None:
    model = load(run.variants["tflite-int8"])
    assert model.contract is not None
    assert model.contract.selftest is not None
    seeds = model.contract.selftest.seeds
    chosen = np.concatenate([model.scores(seeded_item(model.contract.input, seed)) for seed in seeds])
    every = np.concatenate([model.scores(seeded_item(model.contract.input, seed)) for seed in range(24)])
    assert np.median(chosen.max(axis=1)) < np.median(every.max(axis=1))
    assert len(set(chosen.argmax(axis=1))) >= min(3, len(set(every.argmax(axis=1))))


@pytest.mark.parametrize(("scheme", "steps"), [("tflite-int8", 3.0), ("tflite-float32", 0.1), ("tflite-dynamic", 20.0)])
def test_answers_beyond_the_tolerance_fail_and_within_it_pass(
    scheme: str, steps: float, run: Any, tmp_path: Path
) -> None:
    source = run.variants[scheme]
    test = read_contract(source).selftest  # type: ignore[union-attr]
    assert test is not None
    stored = np.frombuffer(base64.b64decode(test.scores), "<u2").reshape(len(test.seeds), -1) / 65535
    step = np.maximum(test.step or 1 / 256, 2 * stored * (1 - stored) * test.logit_step)
    tolerance = SCHEMES[scheme].selftest_steps
    assert test.tolerance_steps == tolerance < steps
    for factor, passes in ((steps, False), (0.8 * tolerance, True)):
        moved = stored.copy()
        moved[2, 4] += factor * step[2, 4] if moved[2, 4] < 0.5 else -factor * step[2, 4]
        scores = base64.b64encode(np.rint(moved * 65535).astype("<u2").tobytes()).decode()
        report = selftest(changed(source, tmp_path / "m.tflite", scores=scores))
        assert [check.passed for check in report.checks] == [True, True, passes, True, True, True]
        assert report.passed is passes
        assert report.checks[2].largest_steps == pytest.approx(factor, rel=0.3)
    assert (
        "label 4 scores"
        in selftest(changed(source, tmp_path / "m.tflite", scores=scores, top=test.top)).checks[2].detail
        or SCHEMES[scheme].is_float32
    )


def test_another_best_label_fails(run: Any, tmp_path: Path) -> None:
    source = run.variants["tflite-int8"]
    test = read_contract(source).selftest  # type: ignore[union-attr]
    assert test is not None
    stored = np.frombuffer(base64.b64decode(test.scores), "<u2").reshape(len(test.seeds), -1)
    worst = tuple(int(row.argmin()) for row in stored)
    report = selftest(changed(source, tmp_path / "m.tflite", top=worst))
    assert not any(check.passed for check in report.checks)
    assert f"is the best, not {worst[0]}" in report.checks[0].detail


def test_damaged_weights_fail(run: Any, tmp_path: Path) -> None:
    """Another model's weights under this contract: same shapes, other answers."""
    source = run.variants["tflite-float32"]
    data = bytearray(source.read_bytes())
    end = data.index(b"PK\x03\x04")
    weights = np.frombuffer(data[: end // 4 * 4], np.float32)
    plausible = (np.abs(weights) > 1e-3) & (np.abs(weights) < 0.2)
    runs = np.flatnonzero(np.convolve(plausible, np.ones(64), "valid") == 64)
    for i in runs[:: max(1, len(runs) // 40)]:
        data[4 * i : 4 * i + 256] = (weights[i : i + 64] * 3).tobytes()
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(bytes(data))
    report = selftest(broken)
    assert not report.passed
    assert max(check.largest_steps or 0 for check in report.checks) > 1


def test_a_file_without_a_self_test_or_with_a_damaged_one_is_an_error(run: Any, tmp_path: Path) -> None:
    source = run.variants["tflite-int8"]
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(source.read_bytes()[: source.read_bytes().index(b"PK\x03\x04")])
    with pytest.raises(ModelFileError, match="no self-test"):
        selftest(bare)
    for wrong in ({"scores": "AAAA"}, {"scores": "?"}, {"top": (99,) * 6}, {"columns": (1, 99)}):
        with pytest.raises(ModelFileError, match="damaged self-test"):
            selftest(changed(source, tmp_path / "m.tflite", **wrong))
    raw = json.loads(read_contract(source).to_json())  # type: ignore[union-attr]
    for wrong in ({"seeds": []}, {"top": [1]}, {"seeds": [-1] * 6}, {"step": "x"}, {"scores": 3}):
        with pytest.raises(ModelFileError, match="self-test is damaged"):
            Contract.from_json(json.dumps(raw | {"selftest": raw["selftest"] | wrong}))


def test_an_older_reader_ignores_it_and_a_file_of_an_older_version_loads(run: Any) -> None:
    raw = json.loads(read_contract(run.variants["tflite-int8"]).to_json())  # type: ignore[union-attr]
    assert raw["schema_version"] == 1
    del raw["selftest"]
    assert Contract.from_json(json.dumps(raw)).selftest is None


@pytest.fixture
def bundle(run: Any, digits: Any, tmp_path: Path) -> Path:
    """A bundle's folder: a model and three real images."""
    folder = tmp_path / "bundle"
    (folder / "samples").mkdir(parents=True)
    shutil.copy(run.variants["tflite-int8"], folder / "model.tflite")
    model, samples = load(folder / "model.tflite"), []
    for i, item in enumerate(digits.test.read(slice(0, 3))):
        big = Image.fromarray(item[..., 0]).resize((60, 50))
        big.save(folder / "samples" / f"{i}.png")
        scores = model.scores(model.prepare(folder / "samples" / f"{i}.png"))[0]
        samples.append({"file": f"{i}.png", "label": model.labels[scores.argmax()], "scores": scores.tolist()})
    (folder / "samples" / "manifest.json").write_text(json.dumps({"schema_version": 1, "samples": samples}))
    return folder


def test_a_bundle_proves_decoding_too(bundle: Path) -> None:
    report = selftest(bundle)
    assert report.passed
    assert [check.name for check in report.checks][6:] == ["0.png", "1.png", "2.png"]
    Image.new("L", (60, 50)).save(bundle / "samples" / "1.png")
    (bundle / "samples" / "2.png").unlink()
    checks = selftest(bundle).checks[6:]
    assert [check.passed for check in checks] == [True, False, False]
    assert (checks[1].largest_steps or 0) > 4
    assert "does not exist" in checks[2].detail


def test_a_damaged_bundle_is_one_error(bundle: Path) -> None:
    manifest = bundle / "samples" / "manifest.json"
    good = json.loads(manifest.read_text())
    sample = good["samples"][0]
    for text in ("", "[]", "{}", *(json.dumps({"samples": [sample | w]}) for w in ({"label": "x"}, {"scores": [1]}))):
        manifest.write_text(text)
        with pytest.raises(InputError, match=r"manifest\.json is damaged"):
            selftest(bundle)
    shutil.copy(bundle / "model.tflite", bundle / "other.tflite")
    with pytest.raises(InputError, match="holds 2 model files"):
        selftest(bundle)
