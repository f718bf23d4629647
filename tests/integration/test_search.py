"""Parts of real trainings end with the weights of an undisturbed one; the options of a search."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytest.importorskip("optuna")
pytest.importorskip("keras")

from typer.testing import CliRunner

from edgepress.toolkit.cli.app import app
from edgepress.toolkit.search.sweeping.jobs import Job, run_job
from edgepress.toolkit.search.sweeping.store import Store
from edgepress.toolkit.training import checkpoint
from edgepress.toolkit.training.loop import train


@pytest.mark.slow
def test_a_run_that_stops_after_an_epoch_goes_on_to_the_same_end(tmp_path, digits):
    options = {"epochs": 3, "progress": False}
    part = train(digits, "dense", out=tmp_path / "run", stop_after=2, **options)
    assert len(part.history) == 2
    assert part.metrics == {}
    assert not part.model.exists()
    again = train(digits, "dense", out=tmp_path / "run", stop_after=1, resume=True, **options)
    assert len(again.history) == 2, "it is further already"
    done = train(digits, "dense", out=tmp_path / "run", stop_after=3, resume=True, **options)
    whole = train(digits, "dense", out=tmp_path / "whole", **options)
    assert done.metrics["confusion_matrix"] == whole.metrics["confusion_matrix"]
    assert [row["loss"] for row in done.history] == [row["loss"] for row in whole.history]


@pytest.mark.slow
def test_a_training_in_parts_ends_with_the_weights_of_one_without(tmp_path, digits):
    arguments = {"arch": "dense", "epochs": 4, "seed": 1, "augmentation": "none", "data": digits.sha256}
    context = {"data": "digits"}
    store, other = Store(tmp_path / "parts"), Store(tmp_path / "whole")
    first = run_job(Job("part", arguments | {"until": 1}, context=context), store)
    second = run_job(Job("part", arguments | {"until": 2}, {"part": first.key}, context), store)
    assert [len(part.result["history"]) for part in (first, second)] == [1, 2]
    context |= {"checkpoint": str(second.files[checkpoint.NAME])}
    parts, whole = Job("train", arguments, context=context), Job("train", arguments, context={"data": "digits"})
    assert parts.key == whole.key
    assert run_job(parts, store).result == run_job(whole, other).result


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--max-size", "200kB"), "limits of a search"),
        (("--search", "3", "--max-latency", "5m"), "--max-latency is '5m'; accepted: a number above 0 with a unit (us"),
        (("--search", "3", "--max-size", "0MB"), "--max-size is '0MB'"),
        (("--scheduler", ""), "The scheduler '' is not a valid address"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_clear_error(tmp_path, options, says):
    command = ["sweep", "--data", "digits", "--out", str(tmp_path / "sweep"), "--json", *options]
    run = CliRunner().invoke(app, command)
    assert says in f"{run.exception} {run.output}"
