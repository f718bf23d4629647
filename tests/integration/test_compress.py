"""`compress`: limits, which file is best, strategies on a tiny net, stopping and resuming, errors at the beginning."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgepress.converters.files import sha256_of
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.errors import BoardError, EdgepressError, TrainingError
from edgepress.toolkit.search.compression import builder, measure, strategies
from edgepress.toolkit.search.compression.compress import compress
from edgepress.toolkit.search.compression.report import file_of, set_aside
from edgepress.toolkit.search.compression.search import StrategySearch
from edgepress.toolkit.search.compression.trial import Trial


@pytest.fixture(scope="module")
def compressed(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """LeNet on digits that must be smaller than its int8 file."""
    folder = tmp_path_factory.mktemp("compressed")
    trials: list[Trial] = []
    answered: list[int] = []
    limit = int(0.8 * run.variants["tflite-int8"].stat().st_size)
    real = measure.collect_answers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "ROUNDS", 2)
        patch.setattr(measure, "collect_answers", lambda c, d, **k: answered.append(len(d.test)) or real(c, d, **k))
        result = compress(run.model, max_drop=2, max_size=limit, out=folder, on_trial=trials.append)
    return folder, result, trials, limit, answered


@pytest.mark.slow
def test_the_search_stops_at_the_first_strategy_that_keeps_the_limits(compressed):
    folder, result, trials, limit, _ = compressed
    assert result.met
    assert result.model.parent == folder
    assert result.model.stat().st_size <= limit
    assert [t.strategy for t in trials] == ["float", "int8", "int4"]
    assert trials[0].drop_pp == 0
    assert all(t.latency_us > 0 and t.accuracy > 0.8 for t in trials)
    document = json.loads((folder / "compress.json").read_text())
    assert document == result.document
    assert document["trials"][document["best"]]["scheme"] == "tflite-int4"
    assert {each["strategy"] for each in document["skipped"]} == {"calibration", "mixed", "weights"}
    assert "keeps all limits" in document["why"]
    assert (folder / "search.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_result_is_the_float_file_where_no_other_is_worth_it(run, tmp_path, monkeypatch, digits):
    monkeypatch.setattr(StrategySearch, "is_worth_it", lambda self, best: False)
    monkeypatch.setattr(measure, "ROUNDS", 2)
    monkeypatch.setattr(strategies, "STRATEGIES", strategies.STRATEGIES[:1])
    result = compress(run.model, max_drop=2, out=tmp_path)
    assert result.met
    assert (result.model.name, result.model.read_bytes()[4:8]) == ("model-float32.tflite", b"TFL3")
    document = result.document
    assert (document["best"], document["final"]["drop_pp"]) == (0, 0)
    assert document["why"].startswith("The float file itself keeps all limits. The best of the others, tflite-int8, ")


@pytest.mark.slow
def test_the_final_figure_is_on_test_items_and_the_others_are_not(compressed, digits):
    from edgepress.toolkit import evaluate

    _, result, trials, _, _ = compressed
    assert result.document["final"]["items"] == len(digits.test)
    assert result.document["data"]["validation"] == len(digits.val)
    assert evaluate(result.model)["accuracy"] == pytest.approx(result.document["final"]["accuracy"])
    one = 1 / len(digits.val)
    assert all(t.accuracy / one == pytest.approx(round(t.accuracy / one)) for t in trials)


@pytest.mark.slow
def test_test_items_take_no_part_in_choosing(compressed, digits):
    _, _, _, _, answered = compressed
    assert answered == [len(digits.val)] * 3 + [len(digits.test)] * 2


@pytest.mark.slow
def test_nothing_is_done_twice_and_other_limits_use_what_is_there(compressed, run, monkeypatch):
    folder, result, _, limit, _ = compressed
    steps: list[str] = []
    again = compress(run.model, max_drop=2, max_size=limit, out=folder, on_step=steps.append)
    assert steps == []
    assert again.document == result.document
    monkeypatch.setattr(StrategySearch, "is_worth_it", lambda self, best: True)  # with AMX, int8 may be slower
    easier = compress(run.model, max_drop=2, out=folder, on_step=steps.append)
    assert steps == ["measuring the best file on test items"]
    assert easier.model.name == "model-int8.tflite"
    (kept,) = (folder / "earlier").iterdir()
    assert kept.name.startswith(f"drop-2-size-{limit}-")
    assert (kept / result.model.name).exists(), "the earlier result"


@pytest.mark.slow
def test_a_file_that_keeps_the_limits_is_not_given_for_one_that_does_not(compressed, run):
    folder, *_ = compressed
    result = compress(run.model, max_drop=0, max_size="5kB", minutes=1e-6, out=folder)
    assert (result.met, result.model) == (False, None)
    missed = {miss["limit"]: miss for miss in result.document["misses"]}
    assert missed["size"]["least"] > 5000
    assert missed["size"]["least_file"].startswith("tflite-int8")
    assert "None of" in result.document["why"]
    assert "tune" in {each["strategy"] for each in result.document["skipped"]}
    assert "More time (--minutes)" in result.document["why"]
    assert not [*folder.glob("*.tflite")], "no file of an easier search is left for the result of this one"


@pytest.mark.slow
def test_what_failed_is_tried_again(compressed, run, tmp_path, monkeypatch):
    """The reason of a failure, such as too little memory, may be gone; time that was spent is counted once."""
    folder, _, _, limit, _ = compressed
    shutil.copytree(folder / "work", tmp_path / "work")
    real = measure.collect_answers

    def fail(candidates: list[Any], data: Any, **options: Any) -> Any:
        return [EdgepressError("The process was killed.", "Close other programs.")]

    monkeypatch.setattr(measure, "collect_answers", fail)
    for entry in (tmp_path / "work" / "results").glob("*/*/entry.json"):
        if "compress-accuracy" in entry.read_text():
            shutil.rmtree(entry.parent)
    with pytest.raises(EdgepressError, match="does not run: The process was killed"):
        compress(run.model, max_drop=2, max_size=limit, out=tmp_path)
    monkeypatch.setattr(measure, "collect_answers", real)
    result = compress(run.model, max_drop=2, max_size=limit, out=tmp_path)
    assert result.met
    seconds = [each["seconds"] for each in result.document["trials"]]
    assert sum(seconds) <= result.document["seconds"] + 0.1 * len(seconds)


def result_in(folder: Path, limits: dict[str, float], content: bytes = b"own") -> dict[str, Any]:
    """A result in a folder: its document, the file and the picture."""
    folder.mkdir(exist_ok=True)
    (folder / "m-int8.tflite").write_bytes(content)
    (folder / "search.png").write_bytes(b"picture")
    document = {"model": "m.tflite", "file": str(folder / "m-int8.tflite"), "best": 0, "limits": limits, "seed": 0}
    document |= {"trials": [{"sha256": sha256_of(folder / "m-int8.tflite")}]}
    (folder / "compress.json").write_text(json.dumps(document))
    return document


def test_a_file_of_the_user_is_not_taken_for_an_earlier_result(tmp_path):
    document = result_in(tmp_path, {"drop": 0.5})
    (model := tmp_path / "m.tflite").write_bytes(b"m")
    assert file_of(document, tmp_path, model) == tmp_path / "m-int8.tflite"
    for wrong in ({}, {"trials": [{"sha256": "other"}]}, {"best": 7}, {"file": None}):
        assert file_of(document | wrong if wrong else {}, tmp_path, model) is None
    model.unlink()
    model.hardlink_to(tmp_path / "m-int8.tflite")
    assert file_of(document, tmp_path, model) is None, "the model itself"


@pytest.mark.parametrize(
    "change", [{"limits": {"drop": 0.5, "size": 5e4}}, {"prefer": "size"}, {"model": "n.keras"}, {"seed": 3}]
)
def test_the_result_of_other_settings_is_kept_under_its_limits(tmp_path, change):
    before = result_in(tmp_path, {"drop": 0.5, "size": 6e4})
    (model := tmp_path / "m.keras").write_bytes(b"m")
    assert set_aside(tmp_path, model, before) is None, "the same command replaces its own result"
    assert (tmp_path / "compress.json").exists()
    home = set_aside(tmp_path, model, before | change)
    assert home is not None
    assert home.parent == tmp_path / "earlier"
    assert home.name.startswith("drop-0.5-size-60000-")
    kept = json.loads((home / "compress.json").read_text())
    assert Path(kept["file"]).read_bytes() == b"own"
    assert kept | {"file": ""} == before | {"file": ""}
    assert sorted(p.name for p in home.iterdir()) == ["compress.json", "m-int8.tflite", "search.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["earlier", "m.keras"]


def test_what_is_no_result_stays(tmp_path):
    (model := tmp_path / "m.tflite").write_bytes(b"m")
    for text in ("", "[]", "{", '{"limits": 5}'):
        (tmp_path / "compress.json").write_text(text)
        assert set_aside(tmp_path, model, {"limits": {"drop": 1}}) is None
        assert (tmp_path / "compress.json").read_text() == text


KILLED = """
import os, signal, sys
from edgepress.toolkit.search.compression import builder, measure, strategies
from edgepress.toolkit.search.compression.compress import compress
from edgepress.toolkit.search.compression.search import StrategySearch
from edgepress.toolkit.search.sweeping.store import Store

real, measure.ROUNDS = Store.put, 2
def put(self, *arguments, **options):
    entry = real(self, *arguments, **options)
    if len([*self]) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return entry
Store.put = put
compress(sys.argv[1], max_drop=2, max_size=int(sys.argv[4]), out=sys.argv[2])
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_file(compressed, run, tmp_path):
    _, undisturbed, _, limit, _ = compressed
    expected = undisturbed.document["trials"][undisturbed.document["best"]]["sha256"]
    arguments = [str(run.model), str(tmp_path), "6", str(limit)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert not (tmp_path / "compress.json").exists()
    steps: list[str] = []
    result = compress(run.model, max_drop=2, max_size=limit, out=tmp_path, on_step=steps.append)
    assert sha256_of(result.model) == expected
    assert not any("converting" in step for step in steps)


@pytest.mark.slow
def test_two_runs_in_one_folder(compressed, run):
    from edgepress.toolkit.training.run_folder import only_run

    folder, *_ = compressed
    with only_run(folder), pytest.raises(TrainingError, match="Another run is using"):
        compress(run.model, out=folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"max_size": "300B"}, "--max-size is 300 B; the contract in each file", marks=pytest.mark.slow),
        pytest.param({"max_latency": "0.5us"}, "--max-latency is .* calling an engine", marks=pytest.mark.slow),
        ({"format": "onnx", "engine": "litert"}, "litert does not open .onnx files"),
        ({"format": "onnx", "max_ram": "8kB"}, "--max-ram and --max-flash are for TFLite files; the format is onnx"),
        (
            {"engine": "onnxruntime", "max_flash": "8kB"},
            "onnxruntime .* .tflite files, which --max-ram and --max-flash are",
        ),
        pytest.param({"max_ram": "700B"}, "--max-ram is 700 B; one item .* has 784 B", marks=pytest.mark.slow),
        ({"engine": "tensorrt"}, "tensorrt"),
        ({"format": "gguf"}, "gguf"),
        ({"minutes": 0}, "minutes is 0"),
        pytest.param({"data": "no-such-folder"}, "no-such-folder", marks=pytest.mark.slow),
    ],
)
def test_what_can_t_be_done_is_one_error_at_the_beginning(run, tmp_path, options, message):
    with pytest.raises(EdgepressError, match=message) as refused:
        compress(run.model, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    assert "format" in options or "--format" not in refused.value.hint, "no advice about what was not given"


def test_a_board_that_can_t_be_reached_ends_it_before_any_work(run, tmp_path):
    config = tmp_path / "ssh_config"
    config.write_text("Host *\n  HostName 127.0.0.1\n  Port 1\n  ConnectTimeout 1\n")
    with pytest.raises(BoardError, match=r"can't be reached|not installed"):
        compress(run.model, board="pi@nowhere", ssh_config=config, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_exits_with_3_and_says_what_would_have_to_give(compressed, run):
    folder, *_ = compressed
    words = ["compress", str(run.model), "--max-size", "5kB", "--max-drop", "2", "--minutes", "0.000001"]
    words += ["--out", str(folder)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 3, shown.output
    assert "--max-size" in shown.stdout
    assert "Least size" in shown.stdout
    printed = CliRunner().invoke(app, [*words, "--json"])
    assert printed.exit_code == 3
    assert json.loads(printed.stdout)["met"] is False


@pytest.mark.slow
def test_the_command_shows_the_strategies_and_the_best_file(compressed, run):
    folder, _, _, limit, _ = compressed
    words = ["compress", str(run.model), "--max-size", str(limit), "--max-drop", "2", "--out", str(folder)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "best" in shown.stdout
    assert "Left out: calibration" in shown.stdout
    assert "in turns with the float file" in " ".join(shown.stdout.split())


@pytest.mark.slow
def test_what_keeps_ram_and_flash_fits_an_emulated_board(run, tmp_path, monkeypatch):
    from building_c import emulate, missing

    from edgepress.toolkit.shipping.exporting.export import export

    if absent := missing("arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"):
        pytest.skip(f"{absent} is not installed")
    monkeypatch.setattr(measure, "ROUNDS", 2)
    monkeypatch.setattr(builder, "PRUNE_EPOCHS", 4)
    model = tmp_path / "model.keras"
    shutil.copyfile(run.model, model)
    result = compress(model, max_drop=20, max_ram="4kB", max_flash="24kB", out=tmp_path / "out")
    assert result.met, result.document["why"]
    made = export(result.model, out=tmp_path / "c99", data="digits", samples=8)
    best = result.document["trials"][result.document["best"]]
    assert best["ram_bytes"] == made.report["ram"]["arena"] + made.report["ram"]["stack"] <= 4000
    assert best["flash_bytes"] == made.report["flash"]["total"] <= 24_000
    on_board = emulate(made.folder, "m4")
    assert on_board.wrong == 0
    assert on_board.arena + on_board.stack <= 4000 + 160, "the test's own frames"
    built = ["arm-none-eabi-gcc", "-O2", "-mcpu=cortex-m4", "-mthumb", "-c", "model.c", "-o", "model.o"]
    subprocess.run(built, cwd=made.folder, check=True)
    sizes = subprocess.run(
        ["arm-none-eabi-size", "model.o"], cwd=made.folder, check=True, capture_output=True, text=True
    )
    text, data, bss = map(int, sizes.stdout.splitlines()[1].split()[:3])
    assert text + data == pytest.approx(best["flash_bytes"], rel=0.05)
    assert text + data <= 24_000
    assert bss == made.report["ram"]["arena"]
    assert {t["scheme"] for t in result.document["trials"]} == {"tflite-float32", "tflite-int8"}
    assert result.document["trials"][1]["flash_bytes"] > 24_000, "the net as it was does not fit"
