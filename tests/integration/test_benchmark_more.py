"""`benchmark --more`: new images without labels make a file sure enough, and those that differ are labelled."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgepress.toolkit import benchmark, compare
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.benchmarking import benchmark as module
from edgepress.toolkit.measurement.benchmarking import collect
from edgepress.toolkit.measurement.benchmarking.benchmark import BenchmarkOptions
from edgepress.toolkit.results.file import load_benchmark

TEST = 90
"""Test items with labels: with so few, no file is 90 % sure to keep 1 pp, even if it answers all alike."""
QUICK: dict[str, Any] = {"engine": "litert", "rounds": 1, "prefer": "size"}
"""By size: with AMX, the int8 file of a small net may be slower than the float file."""


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> tuple[str, Path]:
    """A data set of few test items, and the other images in a folder without labels, with two of the test items."""
    folder = tmp_path_factory.mktemp("more")
    np.savez(folder / "few.npz", x_test=digits.test.read(slice(0, TEST)), y_test=digits.test.y[:TEST],
             labels=list(digits.labels))  # fmt: skip
    (folder / "new").mkdir()
    for row, image in enumerate(digits.test.read(slice(TEST - 2, None))):
        Image.fromarray(image[:, :, 0]).save(folder / "new" / f"{row}.png")
    return str(folder / "few.npz"), folder / "new"


@pytest.fixture
def files(run: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "variants"
    folder.mkdir()
    for name in ("tflite-float32", "tflite-int8"):
        shutil.copy(run.variants[name], folder)
    return folder


def test_new_images_without_labels_make_a_file_sure(files: Path, few: tuple[str, Path]) -> None:
    data, new = few
    options = BenchmarkOptions(**QUICK)
    alone = benchmark(files, data=data, options=options)
    assert Path(alone.advice.ship or "").name == "model-float32.tflite"
    assert Path(alone.advice.unsure_file or "").name == "model-int8.tflite"
    with_more = benchmark(files, data=data, options=BenchmarkOptions(**QUICK, more=str(new)))
    before, after = (next(r for r in b.results if r.scheme == "tflite-int8") for b in (alone, with_more))
    assert before.probability is not None
    assert after.probability is not None
    assert after.probability > before.probability
    assert with_more.more is not None
    assert with_more.more["count"] == 360 - TEST
    assert any("2 of 272 items" in note for note in with_more.notes), "the two test items are left out"
    if after.probability >= 0.9:
        assert Path(with_more.advice.ship or "").name == "model-int8.tflite"
        assert with_more.advice.probability == after.probability


@pytest.mark.slow
def test_images_that_differ_are_written_sorted_and_count(
    files: Path, few: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The int8 file answers three of the new images differently from the float file, wrongly in one of them."""
    data, new = few
    real = module.collect_answers

    def differing(pairs: Any, opened: Any, **options: Any) -> list[Any]:
        answers = real(pairs, opened, **options)
        if opened.tested != "more":
            return answers
        base = next(a for p, a in zip(pairs, answers, strict=True) if "float32" in p.file.name)
        changed = base.predicted.copy()
        changed[[5, 60, 200]] = (changed[[5, 60, 200]] + 1) % 10
        return [replace(a, predicted=changed) if "int8" in p.file.name else a
                for p, a in zip(pairs, answers, strict=True)]  # fmt: skip

    monkeypatch.setattr(module, "collect_answers", differing)
    folder = files / "to-label"
    options = BenchmarkOptions(**QUICK, more=str(new), differences=folder, confidence=0.99)
    first = benchmark(files, data=data, options=options)
    written = sorted(folder.glob("*.png"))
    assert len(written) == 3
    assert first.more is not None
    assert (first.more["to_label"], first.more["labelled"], first.more["folder"]) == (3, 0, str(folder))
    assert f"3 images on which model-int8.tflite differs from the baseline, without a label, are in {folder}" in (
        first.advice.why
    )
    classes = sorted(p for p in folder.iterdir() if p.is_dir())
    assert [p.name for p in classes] == [f"{n} {n}" for n in range(10)]
    row = {r.scheme: r for r in first.results}["tflite-int8"]
    assert row.more_differing == 3
    base, other = predicted_by(files, new, digests_of(written), data)
    for file, right in zip(written, (other, other, base), strict=True):
        digest = file.name[:16]
        file.rename(classes[right[digest]] / file.name)
    second = benchmark(files, data=data, options=options)
    after = {r.scheme: r for r in second.results}["tflite-int8"]
    assert second.more is not None
    assert (second.more["to_label"], second.more["labelled"]) == (0, 3)
    assert row.probability is not None
    assert after.probability is not None
    assert after.probability > row.probability, "two of three were gains"
    assert "are in" not in second.advice.why


def digests_of(files: list[Path]) -> list[str]:
    return [file.name[:16] for file in files]


def predicted_by(files: Path, new: Path, digests: list[str], data: str) -> tuple[dict[str, int], dict[str, int]]:
    """What the float file answers to the images of these digests, and the class after that."""
    from edgepress.toolkit.measurement.benchmarking.more import open_more
    from edgepress.toolkit.measurement.benchmarking.plan import make_plan

    plan = make_plan(files, data, BenchmarkOptions(**QUICK))
    more = open_more(str(new), plan.data)
    (answers,) = collect.collect_answers([plan.baseline], more.data)  # type: ignore[list-item]
    assert not isinstance(answers, Exception)
    own = {d: int(answers.predicted[more.digests.index(d)]) for d in digests}
    return own, {d: (c + 1) % 10 for d, c in own.items()}


@pytest.mark.slow
def test_the_command_has_the_options_and_the_document_the_fields(files: Path, few: tuple[str, Path]) -> None:
    data, new = few
    command = ["benchmark", str(files), "--data", data, "--engine", "litert", "--rounds", "1", "--no-limits"]
    command += ["--more", str(new), "--confidence", "60%", "--prefer", "size", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["advice"]["confidence"] == 0.6
    assert document["advice"]["prefer"] == "size"
    assert 0.6 <= document["advice"]["probability"] <= 1
    assert document["more"]["count"] == 360 - TEST
    back = load_benchmark(files)
    assert back.more == document["more"]
    later = compare(files, files, confidence="99.9%").advice
    assert later is not None
    assert Path(later.ship or "").name == "model-float32.tflite", "the rule of now, not that of the file"
    for wrong in (["--confidence", "90"], ["--prefer", "speed"]):
        assert CliRunner().invoke(app, [*command, *wrong]).exit_code in (1, 2)


def test_wrong_options_fail_before_any_work(files: Path) -> None:
    for wrong in ({"confidence": 90}, {"prefer": "fast"}):
        with pytest.raises(InputError):
            benchmark(files, data="nothing", options=BenchmarkOptions(**QUICK | wrong))
    assert not (files / "benchmark.json").exists()
