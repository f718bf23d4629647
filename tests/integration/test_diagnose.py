"""Diagnoses of real files on every engine, on the screen, in benchmarks and in reports."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diagnosing import CEILING
from typer.testing import CliRunner

from edgepress.converters.inspection import Inspection
from edgepress.runtime import EngineError, available_engines
from edgepress.toolkit import diagnose
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.cli.app import run as cli
from edgepress.toolkit.diagnosis.profiling.profile import NodeTime, Profile
from edgepress.toolkit.diagnosis.speed import about
from edgepress.toolkit.diagnosis.speed.diagnosis import DEPTHWISE, PRODUCT, sort
from edgepress.toolkit.measurement.benchmarking.explain import explain
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.reports.markdown import markdown
from edgepress.toolkit.reports.page import page
from edgepress.toolkit.results.figures import FileFigures, Finding
from edgepress.toolkit.results.records import Advice, Benchmark, Ceiling, Measurement
from edgepress.toolkit.workers.opening import Candidate


def test_grouped_convolutions_of_an_onnx_file_are_known_by_what_follows_them(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    weights = [
        helper.make_tensor("w", 1, [4, 1, 3, 3], [0.0] * 36),
        helper.make_tensor("v", 1, [4, 4, 1, 1], [0.0] * 16),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "depthwise", group=4),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "v"], ["c"], "pointwise"),
    ]
    ends = [helper.make_tensor_value_info(name, 1, [1, 4, 8, 8]) for name in ("x", "c")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    file = about.about(tmp_path / "m.onnx", Inspection(file="m", format="onnx", size_bytes=1))
    assert (file.scheme, file.source) == ("onnx-float32", str(tmp_path / "m.onnx"))
    assert "pointwise" not in file.grouped
    assert {"depthwise", "a", "b"} <= file.grouped
    named = {"b_nchwc": DEPTHWISE, "depthwise_token_3": DEPTHWISE, "pointwise": PRODUCT}
    plain = {"kernel": "Conv", "time_us": 9.0, "least_us": 9.0, "share": 0.0, "delegated": False}
    nodes = tuple(NodeTime(name=name, operation="Conv", **plain) for name in named)
    made = Profile(
        file="m",
        engine="onnxruntime",
        threads=1,
        runs=1,
        total_us=27.0,
        rest_us=0.0,
        tracing_slowdown=1.0,
        operations=(),
        nodes=nodes,
        delegated_share=None,
        delegated_operations=None,
        file_operations=None,
        method="",
    )
    assert [k.sort for k in sort(made, CEILING, file.grouped)] == list(named.values())


ENGINES = [("litert", "tflite-int8"), ("onnxruntime", "onnx-int8"), ("onnxruntime", "onnx-dynamic")]
if "openvino" in available_engines():
    ENGINES.append(("openvino", "tflite-float32"))


@pytest.mark.parametrize(("engine", "scheme"), ENGINES)
def test_a_real_file_is_diagnosed_on_every_engine(
    engine: str, scheme: str, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepress.toolkit.diagnosis.speed.diagnose.measure_ceiling", lambda threads: CEILING)
    (one,) = diagnose(run.variants[scheme], engine=[engine], runs=20)
    assert (one.engine, one.scheme, one.ceiling) == (engine, scheme, CEILING)
    assert one.text
    assert sum(p.share for p in one.parts) == pytest.approx(1)
    assert [f.share for f in one.findings] == sorted((f.share for f in one.findings), reverse=True)
    assert all(f.ground for f in one.findings)
    assert one.mapped_share > 0.99
    document = json.loads(json.dumps(one.to_dict()))
    assert [f["kind"] for f in document["findings"]] == [f.kind for f in one.findings]


def test_the_command_to_mend_a_file_names_its_model(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepress.toolkit.diagnosis.speed.diagnose.measure_ceiling", lambda threads: CEILING)
    (one,) = diagnose(run.variants["tflite-int16x8"], runs=10)
    fixed = next(f for f in one.findings if f.fix)
    assert fixed.command == f"edgepress convert {run.model} --to tflite-int8"


def test_what_can_not_be_measured_is_a_note_and_the_rest_is_told(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(threads: int) -> Ceiling:
        raise EngineError("no engine")

    monkeypatch.setattr("edgepress.toolkit.diagnosis.speed.diagnose.measure_ceiling", fails)
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(run.variants["tflite-int8"].read_bytes()[:3000])
    assert cli(["diagnose", str(run.variants["tflite-int8"]), str(cut), "--runs", "5", "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    (one,) = document["diagnoses"]
    assert any("no engine" in note for note in one["notes"])
    assert {p["reach"] for p in one["parts"]} == {None}
    assert [f["file"] for f in document["failed"]] == [str(cut)]
    assert cli(["diagnose", str(cut), "--json"]) == 1
    assert "error" in json.loads(capsys.readouterr().out)
    assert cli(["diagnose", str(run.variants["tflite-int8"]), "--engine", "tflite-runtime", "--json"]) == 1
    assert "does not report" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_the_screen_shows_sentence_shares_and_fix(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepress.toolkit.diagnosis.speed.diagnose.measure_ceiling", lambda threads: CEILING)
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, ["diagnose", str(run.variants["tflite-int16x8"]), "--runs", "5"])
    assert shown.exit_code == 0
    assert "of the time goes to" in shown.stdout
    assert re.search(r"convolutions and dense layers, not delegated +\d+", shown.stdout)
    assert f"To fix it: edgepress convert {run.model}" in " ".join(shown.stdout.split())


HOSTILE = "<img src=x onerror=alert(1)> & `code` | *b*"


def test_reports_show_the_diagnosis_and_escape_it() -> None:
    finding = Finding(kind="conversion", text=HOSTILE, time_us=1.0, share=0.42, fix=HOSTILE, command=HOSTILE)
    row = Measurement(
        file="v/a.tflite",
        scheme="tflite-int8",
        engine="litert",
        threads=1,
        size_bytes=9,
        diagnosis=f"42 % of the time goes to {HOSTILE}",
        findings=(finding,),
    )
    result = Benchmark(
        host={"name": "h", "cpu": "CPU", "machine": "x86_64", "cores": 1},
        data={"source": "digits", "sha256": "0" * 64, "count": 360},
        baseline=None,
        keras_accuracy=None,
        max_drop_pp=1.0,
        results=(row, replace(row, file="v/b.tflite", scheme="tflite-dynamic", diagnosis="", findings=())),
        advice=Advice(ship=None, engine=None, why="None."),
    )
    html, text = page(result), markdown(result)
    assert "What takes the time" in html
    assert html.count("42 % of the time goes to") == 1
    assert "<img src=x" not in html
    assert "42 % of the time goes to &lt;img" in text
    assert "What takes the time" not in page(replace(result, results=result.results[1:]))


def test_a_benchmark_with_profiles_has_diagnoses(run: Any, digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepress.toolkit.measurement.benchmarking.explain.measure_ceiling", lambda threads: CEILING)
    candidate, items = Candidate(run.variants["tflite-int16x8"], "litert"), digits.test.read(slice(0, 2))
    told = explain([candidate], items, BenchmarkOptions(profile=True, limits=True), None)
    row = FileFigures(file="a", scheme="tflite-int16x8", engine="litert", threads=1, size_bytes=9)
    figures = told.of(candidate, row, 100.0)
    assert figures.macs
    assert "of the time goes to" in figures.diagnosis
    assert figures.findings[0].scheme == "tflite-int8"
    assert figures.profile
