"""Results of sweeps, and whole sweeps of small nets."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from edgepress.toolkit.errors import InputError, SweepError
from edgepress.toolkit.results.figures import pack
from edgepress.toolkit.search.sweeping.result import Row, load_sweep, sweep_schema
from edgepress.toolkit.search.sweeping.store import Store
from edgepress.toolkit.search.sweeping.sweep import _relative, configurations_of, sweep, winners_of
from edgepress.toolkit.stats.choice import Rule


def test_files_are_found_through_links(tmp_path: Path) -> None:
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "deep")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "x.tflite").touch()
    assert (tmp_path / "out" / _relative(tmp_path / "store" / "x.tflite", tmp_path / "out")).is_file()


def row(accuracy: float, latency: float | None, size: int, seed: int = 0, **point: Any) -> Row:
    facts = {"val_accuracy": accuracy, "accuracy": accuracy - 0.01, "size_bytes": size, "latency_us": latency}
    return Row(point={"arch": "lenet", **point, "seed": seed}, status="ok", **facts)


def test_configurations_are_means_over_seeds() -> None:
    rows = [row(0.90, 10, 100, 0, width=1), row(0.94, 12, 110, 1, width=1), row(0.91, 20, 90, 0, width=2)]
    failed = Row(point={"arch": "lenet", "width": 3, "seed": 0}, status="failed", error="x")
    first, second = configurations_of([*rows, failed])
    assert first.point == {"arch": "lenet", "width": 1}
    assert (first.rows, first.best, first.size_bytes, first.latency_us) == ((0, 1), 1, 105, 11)
    assert first.val_accuracy == pytest.approx(0.92)
    assert first.val_accuracy_std == pytest.approx(0.04 / 2**0.5)
    assert first.accuracy == pytest.approx(0.91)
    assert first.accuracy_std == pytest.approx(0.04 / 2**0.5)
    assert second.val_accuracy_std is None


def test_the_front_and_the_winners() -> None:
    rows = [
        row(0.95, 30, 300, n=0),  # most accurate
        row(0.945, 20, 400, n=1),  # fast, and close to it
        row(0.942, 25, 200, n=2),  # small, and close
        row(0.90, 1, 1, n=3),  # on the front, too far below
        row(0.94, 30, 300, n=4),  # worse than the first
        row(0.95, 30, 300, n=5),  # as good as the first
    ]
    found = configurations_of(rows)
    winners = {name: found[number].point["n"] for name, number in winners_of(found).items()}
    assert winners == {"accurate": 0, "fast": 1, "small": 2}
    assert {c.point["n"] for c in found if c.on_front} == {0, 1, 2, 3, 5}


def test_one_is_recommended_that_is_surely_near_the_most_accurate() -> None:
    """By the rule of `benchmark`, judged item by item against the most accurate one."""
    count = 400
    best = np.ones(count, bool)
    best[:20] = False

    def answered(wrong: int, latency: float | None, size: int, n: int) -> Row:
        correct = best.copy()
        correct[20 : 20 + wrong] = False
        return dataclasses.replace(row(float(correct.mean()), latency, size, n=n), val_correct=pack(correct))

    rows = [
        answered(0, 30, 300, 0),
        answered(1, 12, 200, 1),  # 1 lost of 400: 95 % sure to be within 1 pp
        answered(1, 11, 400, 2),
        answered(3, 2, 20, 3),  # .75 pp lower: not sure enough
        answered(20, 1, 10, 4),
    ]
    found = configurations_of(rows)

    def recommended(rule: Rule, of: list[Row] = rows) -> int | None:
        number = winners_of(found, of, count, rule).get("recommended")
        return None if number is None else found[number].point["n"]

    assert {p: recommended(Rule(prefer=p)) for p in ("balanced", "size", "latency")} == {
        "balanced": 1,
        "size": 1,
        "latency": 2,
    }
    assert recommended(Rule(0.99)) == 0, "the most accurate one is sure to be as good as itself"
    assert recommended(Rule(0.6)) == 3
    older = [*rows[:4], dataclasses.replace(rows[4], val_correct="")]
    assert recommended(Rule(), older) is None, "results of an older edgepress do not say what they answered"
    assert winners_of(found)["small"] == winners_of(found, rows, count, Rule())["small"]


def test_without_times_accuracy_and_size_count() -> None:
    found = configurations_of([row(0.9, None, 10, n=0), row(0.8, None, 20, n=1), row(0.7, None, 5, n=2)])
    assert [c.on_front for c in found] == [True, False, True]
    assert winners_of(found) == {"accurate": 0, "small": 0}
    assert winners_of(()) == {}


PLAN: dict[str, Any] = {
    "data": {"source": "digits"},
    "dimensions": {"arch": ["lenet"], "seed": [0], "to": ["tflite-int8"]},
    "training": {"epochs": 3},
    "timing": {"rounds": 2},
}


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of one net, by the command."""
    from shared_folders import once_per_run

    def make(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        text = '[data]\nsource = "digits"\n[dimensions]\nseeds = 2\nto = "tflite-int8"\n[training]\nepochs = 9\n'
        (folder / "plan.toml").write_text(text + "[timing]\nrounds = 2\n")
        command = [
            sys.executable,
            "-m",
            "edgepress.toolkit.cli.main",
            "sweep",
            str(folder / "plan.toml"),
            "--out",
            str(folder),
        ]
        command += ["--seeds", "1", "--epochs", "3", "--json"]  # options replace what the file says
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        (folder / "out.json").write_text(done.stdout)

    return once_per_run(tmp_path_factory, "swept", make)


@pytest.mark.slow
def test_the_command_writes_what_it_prints(swept: Path) -> None:
    document = json.loads((swept / "out.json").read_text())
    assert document == json.loads((swept / "sweep.json").read_text())
    (found,) = document["rows"]
    assert found["status"] == "ok"
    assert (found["epochs"], found["point"]["seed"], found["engine"]) == (3, 0, "litert")
    assert found["accuracy"] > 0.85
    assert found["latency_us"] > 0
    assert (swept / found["file"]).stat().st_size == found["size_bytes"]
    assert (swept / "accurate.tflite").read_bytes() == (swept / found["file"]).read_bytes()
    assert document["winners"] == {"accurate": 0, "fast": 0, "small": 0, "recommended": 0}
    assert (document["confidence"], document["prefer"]) == (0.9, "balanced")
    assert document["jobs"] == {"ok": 3, "failed": 0}


@pytest.mark.slow
def test_results_are_read_again(swept: Path, tmp_path: Path) -> None:
    found = load_sweep(swept / "sweep.json")
    assert found.to_dict() == json.loads((swept / "sweep.json").read_text())
    for change in ({"schema_version": 99}, {"rows": 3}, {"rows": []}, {"winners": {"accurate": 7}}):
        path = tmp_path / "sweep.json"
        path.write_text(json.dumps(found.to_dict() | change))
        with pytest.raises(InputError):
            load_sweep(path)
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match="not the result of a sweep"):
        load_sweep(tmp_path / "a.json")


@pytest.mark.slow
def test_the_same_sweep_again_does_nothing_and_finds_the_same(swept: Path, tmp_path: Path) -> None:
    events = []
    found = sweep(PLAN, tmp_path, store=swept, on_event=events.append)
    assert {event.kind for event in events} == {"kept"}
    rows = [dataclasses.replace(r, file="", model="") for r in (*found.rows, *load_sweep(swept / "sweep.json").rows)]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_a_killed_sweep_ends_with_the_same_result(swept: Path, tmp_path: Path) -> None:
    """Killed while it trains; what is left of the training is used, and accuracy and weights are the same."""
    plan = '[data]\nsource = "digits"\n[training]\nepochs = 3\n[timing]\nrounds = 0\n'
    (tmp_path / "plan.toml").write_text(plan)
    store = tmp_path / "store"
    command = [sys.executable, "-m", "edgepress.toolkit.cli.main", "sweep", str(tmp_path / "plan.toml")]
    command += ["--out", str(tmp_path), "--store", str(store)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not [*store.glob("partial/*/run/checkpoint.npz")] and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "sweep.json").exists()
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    disturbed, undisturbed = (load_sweep(folder / "sweep.json").rows[0] for folder in (tmp_path, swept))
    for kind in ("train", "convert"):
        a, b = Store(store).get(disturbed.keys[kind]), Store(swept).get(undisturbed.keys[kind])
        assert a is not None
        assert a.result == b.result


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgepress.toolkit.cli.main", "sweep", "--data", "digits", "--seeds", "3"]
    command += ["--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    assert "Jobs run in" in process.stderr.readline()
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Go on with the same command" in " ".join(err.split())
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "sweep.json").exists()


@pytest.mark.slow
def test_nets_that_all_fail_are_an_error_and_a_record(tmp_path: Path) -> None:
    plan = PLAN | {"dimensions": {"learning_rate": [1e30]}, "training": {"epochs": 1}}
    with pytest.raises(SweepError, match="The first error: The loss became"):
        sweep(plan, tmp_path)
    found = load_sweep(tmp_path / "sweep.json")
    assert found.rows[0].status == "failed"
    assert found.jobs == {"ok": 0, "failed": 3}
    assert (found.winners, found.configurations) == ({}, ())


@pytest.mark.slow
def test_the_schema_in_the_guides_is_that_of_the_result(swept: Path) -> None:
    schema = json.loads((Path(__file__).parents[2] / "docs/schema/sweep.schema.json").read_text())
    assert schema == sweep_schema()
    jsonschema.validate(json.loads((swept / "sweep.json").read_text()), schema)
