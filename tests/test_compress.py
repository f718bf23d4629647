"""`compress`: limits, which file is best, the ladder on a tiny net, stopping and resuming, errors at the beginning."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgepress.converters.sources.keras import sha256_of
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.compressing import measuring
from edgepress.toolkit.compressing.compress import _former, compress
from edgepress.toolkit.compressing.limits import Limits
from edgepress.toolkit.compressing.trial import Trial, best_of, packed, with_drop
from edgepress.toolkit.errors import BoardError, EdgepressError, InputError, TrainingError

COUNT = 200


def trial(number: int, cost: int, wrong: list[int], **figures: Any) -> Trial:
    correct = np.ones(COUNT, bool)
    correct[wrong] = False
    about = {
        "rung": f"rung{cost}",
        "cost": cost,
        "how": "",
        "scheme": "s",
        "file": Path("f"),
        "correct": packed(correct),
    }
    reference = Trial(rung="float", cost=0, how="", scheme="s", correct=packed(np.ones(COUNT, bool)))
    return with_drop(Trial(number=number, **about, **figures), reference, COUNT)


def test_limits_are_read_with_and_without_units():
    limits = Limits.of(0.5, "200kB", 5, "64 MiB")
    assert limits.values == {"drop": 0.5, "size": 200e3, "latency": 5e3, "memory": 64 * 2**20}
    assert Limits.of(max_latency="80us").values["latency"] == 80
    assert Limits.of(max_size=1000).values["size"] == 1000
    for wrong in ("-3kB", "3 km", "0", "nan", "kB", "1e999kB"):
        with pytest.raises(InputError, match="--max-size is"):
            Limits.of(max_size=wrong)
    with pytest.raises(InputError, match="--max-drop is 101"):
        Limits.of(101)


def test_a_limit_is_missed_above_it_and_by_an_unknown_figure():
    limits = Limits.of(0.5, "1kB", "1ms")
    figures = {"drop": 0.5, "size": 1000.0, "latency": 1000.0, "memory": None}
    assert limits.excess(figures) == {}
    assert limits.excess(figures | {"drop": 1.5, "size": 2000.0}) == {"drop": 1.0, "size": 2.0}
    assert limits.excess(figures | {"latency": None}) == {"latency": None}


def test_the_best_keeps_the_limits_loses_least_and_was_cheapest_among_equals():
    limits = Limits.of(5, 1000)
    cheap = trial(1, 1, [0, 1], size_bytes=900)
    exact = trial(2, 2, [], size_bytes=500)
    assert best_of([exact, cheap], limits, COUNT) == cheap  # two items of 200 are chance
    poor = trial(3, 1, list(range(9)), size_bytes=900)
    assert best_of([exact, poor], limits, COUNT) == exact  # nine are not
    assert best_of([exact, replace(cheap, size_bytes=1001)], limits, COUNT) == exact
    smaller = trial(4, 1, [5], size_bytes=800)
    assert best_of([cheap, smaller], limits, COUNT) == smaller
    assert best_of([trial(5, 1, list(range(11)), size_bytes=1)], limits, COUNT) is None
    assert best_of([replace(cheap, error="does not run")], limits, COUNT) is None


@pytest.fixture(scope="module")
def climbed(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """LeNet on digits that must be smaller than its int8 file."""
    folder = tmp_path_factory.mktemp("compressed")
    trials: list[Trial] = []
    answered: list[int] = []
    limit = int(0.8 * run.variants["tflite-int8"].stat().st_size)
    real = measuring.collect_answers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "ROUNDS", 2)
        patch.setattr(measuring, "collect_answers", lambda c, d, **k: answered.append(len(d.test)) or real(c, d, **k))
        result = compress(run.model, max_drop=2, max_size=limit, out=folder, on_trial=trials.append)
    return folder, result, trials, limit, answered


def test_the_ladder_stops_at_the_first_rung_that_keeps_the_limits(climbed):
    folder, result, trials, limit, _ = climbed
    assert result.met
    assert result.model.parent == folder
    assert result.model.stat().st_size <= limit
    assert [t.rung for t in trials] == ["float", "int8", "int4"]
    assert trials[0].drop_pp == 0
    assert all(t.latency_us > 0 and t.accuracy > 0.8 for t in trials)
    document = json.loads((folder / "compress.json").read_text())
    assert document == result.document
    assert document["trials"][document["best"]]["scheme"] == "tflite-int4"
    assert {each["rung"] for each in document["skipped"]} == {"calibration", "mixed", "weights"}
    assert "keeps all limits" in document["why"]
    assert (folder / "climb.png").read_bytes().startswith(b"\x89PNG")


def test_the_final_figure_is_on_test_items_and_the_others_are_not(climbed, digits):
    from edgepress.toolkit import evaluate

    _, result, trials, _, _ = climbed
    assert result.document["final"]["items"] == len(digits.test)
    assert result.document["data"]["validation"] == len(digits.val)
    assert evaluate(result.model)["accuracy"] == pytest.approx(result.document["final"]["accuracy"])
    one = 1 / len(digits.val)
    assert all(t.accuracy / one == pytest.approx(round(t.accuracy / one)) for t in trials)


def test_test_items_take_no_part_in_choosing(climbed, digits):
    _, _, _, _, answered = climbed
    assert answered == [len(digits.val)] * 3 + [len(digits.test)] * 2


@pytest.mark.slow
def test_nothing_is_done_twice_and_other_limits_use_what_is_there(climbed, run, monkeypatch):
    folder, result, _, limit, _ = climbed
    steps: list[str] = []
    again = compress(run.model, max_drop=2, max_size=limit, out=folder, on_step=steps.append)
    assert steps == []
    assert again.document == result.document
    easier = compress(run.model, max_drop=2, out=folder, on_step=steps.append)
    assert steps == ["measuring the best file on test items"]
    assert easier.model.name == "model-int8.tflite"
    assert not result.model.exists(), "the folder holds one result"


@pytest.mark.slow
def test_a_file_that_keeps_the_limits_is_not_given_for_one_that_does_not(climbed, run):
    folder, *_ = climbed
    result = compress(run.model, max_drop=0, max_size="5kB", minutes=1e-6, out=folder)
    assert (result.met, result.model) == (False, None)
    missed = {miss["limit"]: miss for miss in result.document["misses"]}
    assert missed["size"]["least"] > 5000
    assert missed["size"]["least_file"].startswith("tflite-int8")
    assert "None of" in result.document["why"]
    assert "tune" in {each["rung"] for each in result.document["skipped"]}
    assert "More time (--minutes)" in result.document["why"]
    assert not [*folder.glob("*.tflite")], "no file of an easier climb is left for the result of this one"


@pytest.mark.slow
def test_what_failed_is_tried_again(climbed, run, tmp_path, monkeypatch):
    """The reason of a failure, such as too little memory, may be gone; time that was spent is counted once."""
    folder, _, _, limit, _ = climbed
    shutil.copytree(folder / "work", tmp_path / "work")
    real = measuring.collect_answers

    def fail(candidates: list[Any], data: Any, **options: Any) -> Any:
        return [EdgepressError("The process was killed.", "Close other programs.")]

    monkeypatch.setattr(measuring, "collect_answers", fail)
    for entry in (tmp_path / "work" / "results").glob("*/*/entry.json"):
        if "compress-accuracy" in entry.read_text():
            shutil.rmtree(entry.parent)
    with pytest.raises(EdgepressError, match="does not run: The process was killed"):
        compress(run.model, max_drop=2, max_size=limit, out=tmp_path)
    monkeypatch.setattr(measuring, "collect_answers", real)
    result = compress(run.model, max_drop=2, max_size=limit, out=tmp_path)
    assert result.met
    seconds = [each["seconds"] for each in result.document["trials"]]
    assert sum(seconds) <= result.document["seconds"] + 0.1 * len(seconds)


def test_a_file_of_the_user_is_not_taken_for_an_earlier_result(tmp_path):
    report = {"model": "m.tflite", "file": "m-int8.tflite", "best": 0, "trials": [{"sha256": "other"}]}
    (tmp_path / "m-int8.tflite").write_bytes(b"own")
    (model := tmp_path / "m.tflite").write_bytes(b"m")
    for text in ("", "[]", "{", json.dumps(report)):
        (tmp_path / "compress.json").write_text(text)
        assert _former(tmp_path, model) is None
    report["trials"] = [{"sha256": sha256_of(tmp_path / "m-int8.tflite")}]
    (tmp_path / "compress.json").write_text(json.dumps(report))
    assert _former(tmp_path, model) == tmp_path / "m-int8.tflite"
    assert _former(tmp_path, tmp_path / "other.tflite") is None, "the result of another model"
    model.unlink()
    model.hardlink_to(tmp_path / "m-int8.tflite")
    assert _former(tmp_path, model) is None, "the model itself"


KILLED = """
import os, signal, sys
from edgepress.toolkit.compressing import measuring
from edgepress.toolkit.compressing.compress import compress
from edgepress.toolkit.sweeping.store import Store

real, measuring.ROUNDS = Store.put, 2
def put(self, *arguments):
    entry = real(self, *arguments)
    if len([*self]) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return entry
Store.put = put
compress(sys.argv[1], max_drop=2, max_size=int(sys.argv[4]), out=sys.argv[2])
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_file(climbed, run, tmp_path):
    _, undisturbed, _, limit, _ = climbed
    expected = undisturbed.document["trials"][undisturbed.document["best"]]["sha256"]
    arguments = [str(run.model), str(tmp_path), "6", str(limit)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert not (tmp_path / "compress.json").exists()
    steps: list[str] = []
    result = compress(run.model, max_drop=2, max_size=limit, out=tmp_path, on_step=steps.append)
    assert sha256_of(result.model) == expected
    assert not any("converting" in step for step in steps)


def test_two_runs_in_one_folder(climbed, run):
    from edgepress.toolkit.training.run_folder import only_run

    folder, *_ = climbed
    with only_run(folder), pytest.raises(TrainingError, match="Another run is using"):
        compress(run.model, out=folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_size": "300B"}, "--max-size is 300 B; the contract in each file of model.keras"),
        ({"max_latency": "0.5us"}, "--max-latency is .* calling an engine"),
        ({"format": "onnx", "engine": "litert"}, "litert does not open .onnx files"),
        ({"engine": "tensorrt"}, "tensorrt"),
        ({"format": "gguf"}, "gguf"),
        ({"minutes": 0}, "minutes is 0"),
        ({"data": "no-such-folder"}, "no-such-folder"),
    ],
)
def test_what_can_t_be_done_is_one_error_at_the_beginning(run, tmp_path, options, message):
    with pytest.raises(EdgepressError, match=message):
        compress(run.model, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_board_that_can_t_be_reached_ends_it_before_any_work(run, tmp_path):
    config = tmp_path / "ssh_config"
    config.write_text("Host *\n  HostName 127.0.0.1\n  Port 1\n  ConnectTimeout 1\n")
    with pytest.raises(BoardError, match=r"can't be reached|not installed"):
        compress(run.model, board="pi@nowhere", ssh_config=config, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_exits_with_3_and_says_what_would_have_to_give(climbed, run):
    folder, *_ = climbed
    words = ["compress", str(run.model), "--max-size", "5kB", "--max-drop", "2", "--minutes", "0.000001"]
    words += ["--out", str(folder)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 3, shown.output
    assert "--max-size" in shown.stdout
    assert "Least size" in shown.stdout
    printed = CliRunner().invoke(app, [*words, "--json"])
    assert printed.exit_code == 3
    assert json.loads(printed.stdout)["met"] is False


def test_the_command_shows_the_ladder_and_the_best_file(climbed, run):
    folder, _, _, limit, _ = climbed
    words = ["compress", str(run.model), "--max-size", str(limit), "--max-drop", "2", "--out", str(folder)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "best" in shown.stdout
    assert "Left out: calibration" in shown.stdout
    assert "in turns with the float file" in " ".join(shown.stdout.split())
