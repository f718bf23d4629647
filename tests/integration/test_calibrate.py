"""The command `calibrate`: copies that reject what they are not sure of, and what the runtime makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accepting import ACCEPT
from PIL import Image

from edgepress.runtime import load
from edgepress.runtime.__main__ import main as board
from edgepress.runtime.acceptance import AnswerLimits
from edgepress.toolkit import annotate, benchmark, calibrate, convert, evaluate, predict, report
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.conversion.convert import Hints
from edgepress.toolkit.conversion.inspection import write_annotated
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.measurement.benchmarking.benchmark import BenchmarkOptions, write_benchmark


def main_exits(words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def command(*words: Any) -> int:
    return main_exits(["calibrate", *map(str, words)])


@pytest.mark.parametrize("scheme", ["tflite-int8", "onnx-dynamic"])
def test_a_copy_rejects_few_known_items_on_a_board(scheme: str, run: Any, digits: Any, tmp_path: Path) -> None:
    (result,) = calibrate(run.variants[scheme], max_rejected="10%", out=tmp_path)
    assert result.path is not None
    assert result.fit.nll[1] <= result.fit.nll[0] + 0.01
    model, plain = load(result.path), load(run.variants[scheme])
    items = digits.test.read(slice(None))
    assert np.array_equal(model.scores(items), plain.scores(items))
    accepted = model.limits.accepted(model.scores(items))
    assert accepted is not None
    assert 0.5 < accepted.mean() < 1
    assert accepted.sum() >= result.fit.limits.accept.accepted  # type: ignore[union-attr]
    place = int(np.flatnonzero(~accepted)[0])
    answer = model.judge(items[place], top=2)
    assert not answer.accepted
    assert model.decide(items[place])[0].label == "unknown"
    sure = int(np.flatnonzero(accepted)[0])
    assert model.decide(items[sure])[0].label == model.classify(items[sure])[0].label


def test_the_board_says_unknown_and_the_promise(run: Any, digits: Any, tmp_path: Path, capsys: Any) -> None:
    (result,) = calibrate(run.variants["tflite-int8"], max_rejected=0.1, out=tmp_path)
    assert result.path is not None
    model = load(result.path)
    items = digits.test.read(slice(None))
    accepted = model.limits.accepted(model.scores(items))
    assert accepted is not None
    for name, place in (("sure", np.flatnonzero(accepted)[0]), ("unsure", np.flatnonzero(~accepted)[0])):
        Image.fromarray(items[place, ..., 0]).save(tmp_path / f"{name}.png")
    images = [str(tmp_path / "sure.png"), str(tmp_path / "unsure.png")]
    assert board(["classify", "--json", str(result.path), *images]) == 0
    assert [json.loads(line)["accepted"] for line in capsys.readouterr().out.splitlines()] == [True, False]
    assert board(["classify", str(result.path), *images]) == 0
    assert [": unknown: " in line for line in capsys.readouterr().out.splitlines()] == [False, True]
    assert board(["info", "--json", str(result.path)]) == 0
    assert "at most 10 % of known items are not accepted" in json.loads(capsys.readouterr().out)["promise"]
    assert board(["selftest", str(result.path)]) == 0


def test_the_command_prints_the_promise_with_its_condition(run: Any, tmp_path: Path, capsys: Any) -> None:
    assert command(run.variants["tflite-int8"], "--max-rejected", "10%", "--out", tmp_path, "--json") == 0
    document = json.loads(capsys.readouterr().out)["files"][0]
    assert document["calibrated"] == str(tmp_path / run.variants["tflite-int8"].name)
    assert document["limits"]["accept"]["engine"] == "litert"


def test_what_cannot_be_promised_writes_nothing(run: Any, tmp_path: Path, capsys: Any) -> None:
    assert command(run.variants["tflite-int8"], "--max-error", "0.1%", "--out", tmp_path / "new") == 4
    captured = capsys.readouterr()
    printed = " ".join(captured.out.split())
    assert "an error of at most 0.1 % can't be promised" in printed
    assert "0.1 % needs 2995 of them. No copy was written." in printed
    assert captured.err == ""
    assert not (tmp_path / "new").exists()


def test_the_copy_of_an_earlier_calibration_is_named(run: Any, tmp_path: Path) -> None:
    (first,) = calibrate(run.variants["tflite-int8"], max_error="20%", out=tmp_path)
    assert first.path is not None
    assert first.fit.limits.accept is not None
    assert first.fit.limits.accept.limit == 0.2
    (second,) = calibrate(run.variants["tflite-int8"], max_error="0.1%", out=tmp_path)
    assert (second.path, second.earlier) == (None, first.path)


@pytest.mark.slow
def test_what_is_made_of_a_calibrated_file_promises_nothing(run: Any, tmp_path: Path) -> None:
    (result,) = calibrate(run.variants["onnx-float32"], max_rejected="10%", out=tmp_path)
    assert result.path is not None
    (made,) = convert(result.path, "onnx-dynamic", out=tmp_path / "again", data="digits")
    assert made.path is not None
    assert load(made.path).limits == AnswerLimits()
    same = annotate(result.path, tmp_path / "same.onnx").contract
    assert same.accept == result.fit.limits.accept
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(reversed(load(result.path).labels)))
    other = annotate(result.path, tmp_path / "other.onnx", hints=Hints(labels=labels)).contract
    assert other.limits == AnswerLimits()


def test_another_engine_is_told_that_nothing_is_promised(run: Any, pictures: Path, tmp_path: Path, capsys: Any) -> None:
    source = run.variants["onnx-int8"]
    contract = load(source).contract
    assert contract is not None
    write_annotated(source, contract.replace(accept=ACCEPT), tmp_path / "net.onnx")
    assert board(["classify", "--json", str(tmp_path / "net.onnx"), str(pictures / "a.png")]) == 0
    captured = capsys.readouterr()
    assert "Note: Nothing is promised with onnxruntime: acceptance was measured with litert." in captured.err
    assert "accepted" in json.loads(captured.out)


def test_predict_says_what_is_unknown(run: Any, digits: Any, tmp_path: Path, capsys: Any) -> None:
    (result,) = calibrate(run.variants["tflite-int8"], max_rejected="10%", out=tmp_path)
    assert result.path is not None
    model = load(result.path)
    items = digits.test.read(slice(None))
    accepted = model.limits.accepted(model.scores(items))
    assert accepted is not None
    for place, known in ((np.flatnonzero(accepted)[0], True), (np.flatnonzero(~accepted)[0], False)):
        Image.fromarray(items[place, ..., 0]).save(tmp_path / "image.png")
        (answer,) = predict(result.path, tmp_path / "image.png")
        assert answer.accepted is known
    with pytest.raises(SystemExit):
        main(["predict", str(result.path), str(tmp_path / "image.png")])
    assert "no: unknown" in capsys.readouterr().out


def test_unknown_items_are_counted(run: Any, digits: Any, tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.mkdir()
    rng = np.random.default_rng(0)
    for number in range(60):
        Image.fromarray(rng.integers(0, 256, (28, 28)).astype(np.uint8)).save(noise / f"{number}.png")
    (result,) = calibrate(run.variants["tflite-int8"], max_rejected="10%", unknown=noise, out=tmp_path / "out")
    assert result.fit.auroc is not None
    assert result.fit.unknown_accepted is not None
    assert 0 <= result.fit.unknown_accepted <= 1


def test_evaluate_counts_accepted_answers(run: Any, tmp_path: Path) -> None:
    (result,) = calibrate(run.variants["tflite-int8"], max_rejected="10%", out=tmp_path)
    assert result.path is not None
    found = evaluate(result.path)
    accepted = found["accepted"]
    assert accepted["share"]["estimate"] == pytest.approx(accepted["count"] / found["count"])
    assert accepted["share"]["estimate"] > 0.8
    assert 0 <= accepted["error"]["low"] <= accepted["errors"] / accepted["count"] <= accepted["error"]["high"]
    assert evaluate(result.path, cache=tmp_path / "cache")["accepted"] == accepted
    assert evaluate(result.path, cache=tmp_path / "cache")["accepted"] == accepted  # from the cache
    assert evaluate(run.variants["tflite-int8"])["accepted"] is None
    classes = accepted["per_class"]
    assert [row["label"] for row in classes] == [row["label"] for row in found["per_class"]]
    assert sum(row["count"] for row in classes) == accepted["count"]
    assert sum(row["errors"] for row in classes) == accepted["errors"]
    assert accepted["coverage"][-1] == 1
    assert accepted["risk"][-1] == pytest.approx(1 - found["accuracy"])


@pytest.mark.slow
def test_the_benchmark_counts_accepted_answers_and_names_engines_without_a_promise(
    run: Any, tmp_path: Path, capsys: Any
) -> None:
    source = run.variants["onnx-int8"]
    contract = load(source).contract
    assert contract is not None
    write_annotated(source, contract.replace(accept=ACCEPT), tmp_path / "net.onnx")
    options = BenchmarkOptions(engine="onnxruntime", rounds=1)
    found = benchmark(tmp_path / "net.onnx", data="digits", options=options)
    write_benchmark(found, tmp_path)
    (row,) = found.results
    assert row.accepted is not None
    assert row.accepted_wrong is not None
    assert row.accepted_share == pytest.approx(row.accepted / found.data["count"])
    assert sum(c.accepted or 0 for c in row.per_class) == row.accepted
    assert len(row.coverage) == len(row.risk) > 1
    assert "net.onnx: Nothing is promised with onnxruntime: acceptance was measured with litert." in found.notes
    assert "Nothing is promised with onnxruntime" in " ".join(evaluate(tmp_path / "net.onnx", data="digits")["notes"])
    text = report(tmp_path).text
    assert 'id="curves"' in text
    assert f"({row.accepted_wrong} of {row.accepted})" in text
    assert main_exits(["evaluate", str(tmp_path / "net.onnx"), "--data", "digits", "--no-cache"]) == 0
    assert f"{row.accepted} answers are accepted" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "One promise is needed"),
        ({"max_error": 0.1, "max_rejected": 0.1}, "Only one promise"),
        ({"max_error": "200%"}, "--max-error"),
        ({"max_error": 0.0}, "--max-error is 0.0; accepted"),
        ({"max_error": 0.1, "confidence": 1.0}, "--confidence is 1.0; accepted"),
        ({"max_error": 0.1, "engine": "none"}, "engine 'none' is unknown"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str, run: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        calibrate(run.variants["tflite-int8"], out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_copy_beside_the_file_has_another_name(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "net.tflite"
    shutil.copy(run.variants["tflite-int8"], file)
    before = file.read_bytes()
    (result,) = calibrate(file, max_rejected="10%", data="digits", out=tmp_path)
    assert result.path == tmp_path / "net-calibrated.tflite"
    assert file.read_bytes() == before


def test_targets_are_checked_before_files_are_answered(run: Any, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    file = run.variants["tflite-int8"]
    with pytest.raises(InputError, match="plain is not a folder"):
        calibrate(file, max_rejected="10%", out=tmp_path / "plain")
    with pytest.raises(InputError, match="Several copies would be"):
        calibrate(file, file, max_rejected="10%", out=tmp_path / "out")
    with pytest.raises(EdgepressError, match="none"):
        calibrate(file, tmp_path / "none.tflite", max_rejected="10%", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
