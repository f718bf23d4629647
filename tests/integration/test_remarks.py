"""Remarks of whole commands: on trainings made sick in one way, and none on healthy ones."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgepress.toolkit.cli.app import app
from edgepress.toolkit.data import open_data
from edgepress.toolkit.measurement.benchmarking.benchmark import BenchmarkOptions, benchmark, write_benchmark
from edgepress.toolkit.measurement.evaluation import evaluate
from edgepress.toolkit.reports.markdown import markdown
from edgepress.toolkit.reports.page import page
from edgepress.toolkit.results.file import load_benchmark
from edgepress.toolkit.results.records import Benchmark
from edgepress.toolkit.results.remarks.facts import Remark
from edgepress.toolkit.training.loop import train

ROOT = Path(__file__).parents[2]
QUICK = ["12 items in two classes"]
"""A case of a second or two; `test_all_cases` has the others."""
HOSTILE = "<script>x</script> `a` *b*"


@pytest.fixture(scope="module")
def cases() -> Any:
    """The cases of benchmarks/diagnosis/remarks.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks" / "diagnosis"))
        return importlib.import_module("remark_sets").CASES


@pytest.fixture(scope="module")
def few(run: Any, tmp_path_factory: pytest.TempPathFactory, digits: Any) -> Benchmark:
    """The float and the int8 file on 72 of the digits' test items."""
    path = tmp_path_factory.mktemp("few") / "few.npz"
    np.savez(path, x_test=digits.test.read(slice(0, 72)), y_test=digits.test.y[:72], labels=list(digits.labels))
    files = [run.variants[name] for name in ("tflite-float32", "tflite-int8")]
    return benchmark(files, data=str(path), options=BenchmarkOptions(engine="litert", rounds=1, prefer="size"))


def remarks_of(cases: Any, name: str, folder: Path, seed: int) -> list[str]:
    case = cases[name]
    opened = open_data(case.data(folder, seed), size=case.size)
    result = train(opened, case.arch, out=folder / "run", seed=seed, progress=False, **case.options)
    return [remark["kind"] for remark in result.metrics["remarks"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_training_gets_the_remark_that_its_data_were_made_for(cases: Any, name: str, tmp_path: Path) -> None:
    found = remarks_of(cases, name, tmp_path, seed=1)
    assert found == [] if cases[name].remark == "" else cases[name].remark in found


@pytest.mark.slow
def test_all_cases(cases: Any, tmp_path: Path) -> None:
    for number, (name, case) in enumerate(cases.items()):
        (tmp_path / str(number)).mkdir()
        found = remarks_of(cases, name, tmp_path / str(number), seed=0)
        assert found == [] if case.remark == "" else case.remark in found, name


@pytest.mark.slow
def test_digits_have_no_remark(run: Any) -> None:
    assert json.loads((run.folder / "metrics.json").read_text())["remarks"] == []
    assert evaluate(run.model)["remarks"] == []
    assert evaluate(run.variants["tflite-float32"])["remarks"] == []
    files = [run.variants[name] for name in ("tflite-float32", "tflite-float16")]
    assert benchmark(files, options=BenchmarkOptions(engine="litert", rounds=1)).remarks == ()


def test_a_benchmark_on_few_items_says_how_many_would_tell(few: Benchmark, run: Any) -> None:
    (remark,) = few.remarks
    assert remark.kind == "few test items"
    assert remark.text.startswith("72 test items can't tell tflite-int8 from tflite-float32 to within 1 pp")
    assert 282 <= remark.figures["items_needed"] < 5000
    (needed,) = re.findall(r"about ([\d,]+) would", remark.text)
    assert int(needed.replace(",", "")) >= 282, "so many prove it; fewer make it sure enough to be chosen"
    assert Path(few.advice.unsure_file or "").name == "model-int8.tflite"
    assert re.search(r"would be chosen, but is only \d\d % sure .* test items \(there are 72\)", few.advice.why)
    assert shlex.split(remark.command)[:2] == ["edgepress", "benchmark"]
    assert shlex.split(remark.command)[2:4] == [str(run.variants["tflite-float32"]), str(run.variants["tflite-int8"])]
    assert shlex.split(remark.command)[4:] == ["--engine", "litert", "--prefer", "size", "--data", "MORE_ITEMS"]


def test_remarks_are_read_back_and_agree_with_the_schema(few: Benchmark, tmp_path: Path) -> None:
    import jsonschema

    path = write_benchmark(few, tmp_path)[0]
    schema = json.loads((ROOT / "docs/schema/benchmark.schema.json").read_text())
    jsonschema.validate(json.loads(path.read_text()), schema)
    (back,) = load_benchmark(tmp_path).remarks
    assert back.text == few.remarks[0].text
    assert back.figures == pytest.approx(few.remarks[0].figures, rel=1e-5)


def test_reports_show_remarks_as_text(few: Benchmark) -> None:
    shown = page(few)
    assert "72 test items can&#39;t tell tflite-int8" in shown
    assert f"<code>{few.remarks[0].command}</code>" in shown
    assert "> **Remark:** 72 test items can't tell tflite-int8" in markdown(few)
    hostile = replace(few, remarks=(Remark(kind="x", text=HOSTILE, command=HOSTILE),))
    assert "<script>x</script> `a`" not in page(hostile)
    assert "<script>" not in markdown(hostile)
    assert "*b*" not in markdown(hostile).replace("\\*", "")


@pytest.mark.slow
def test_the_screen_shows_a_remark_and_json_holds_it(
    cases: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    case = cases["12 items in two classes"]
    command = ["train", "--data", case.data(tmp_path, 0), "--arch", "dense", "--epochs", "4", "--out", "run"]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0, said.output
    words = " ".join(said.stdout.split())
    assert "Remark: 24 of 1212 items have the same content as an item of another class" in words
    again = CliRunner().invoke(app, [*command, "--resume", "--json"])
    (remark,) = (r for r in json.loads(again.stdout)["remarks"] if r["kind"] == "contradictory labels")
    assert remark["figures"] == {"items": 24, "wrong": 12, "total": 1212}
    assert f"Fix: {remark['command']}" in words
    assert words.count("Next: ") == 1
    following = CliRunner().invoke(app, [*shlex.split(remark["command"])[1:], "--json"])
    assert following.exit_code == 0, following.output
    assert json.loads(following.stdout)["arguments"] == json.loads(again.stdout)["arguments"]


@pytest.mark.slow
def test_no_training_is_advised_on_data_that_a_file_is_only_measured_on(run: Any, tmp_path: Path, digits: Any) -> None:
    x, y = digits.test.read(slice(0, 72)), digits.test.y[:72]
    path = tmp_path / "theirs.npz"
    np.savez(path, x_test=np.concatenate([x, x[:9]]), y_test=np.append(y, (y[:9] + 1) % 10), labels=list(digits.labels))
    found = {r["kind"]: r["command"] for r in evaluate(run.model, data=str(path))["remarks"]}
    assert found["contradictory labels"] == f"edgepress evaluate {run.model} --data {path}"


@pytest.mark.slow
def test_a_file_beside_its_run_is_told_of_its_training(cases: Any, tmp_path: Path) -> None:
    """And one elsewhere, or whose run is damaged, only of its own answers."""
    case = cases["160 training items"]
    data = case.data(tmp_path, 0)
    model = train(data, "dense", out=tmp_path / "run", epochs=80, patience=None, progress=False).model
    assert "far above validation" in [r["kind"] for r in evaluate(model)["remarks"]]
    metrics = model.with_name("metrics.json")
    whole = metrics.read_text()
    figures = json.loads(whole)
    for damaged in (
        "{",
        "[]",
        json.dumps(figures | {"val": {"confusion_matrix": [[1]]}}),
        json.dumps(figures | {"arguments": {"arch": "dense"}}),
        json.dumps(figures | {"arguments": figures["arguments"] | {"arch": ["dense"], "dropout": None}}),
    ):
        metrics.write_text(damaged)
        assert "far above validation" not in [r["kind"] for r in evaluate(model)["remarks"]]
    metrics.write_text(whole)
    history = model.with_name("history.csv")
    for damaged in ("epoch\n1\n", "epoch,accuracy,val_accuracy,val_loss\n1,nan,2,nan\n"):
        history.write_text(damaged)
        assert "far above validation" not in [r["kind"] for r in evaluate(model)["remarks"]]
    metrics.unlink()
    assert "far above validation" not in [r["kind"] for r in evaluate(model)["remarks"]]
