"""Files and results of `compare` as commands: what is measured side by side, and what is not compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgepress.toolkit.cli.main import main
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.comparison.compare import compare

V1 = Path(__file__).parents[1] / "support" / "benchmark_v1.json"


def edgepress(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)


def test_a_result_and_a_model_file_are_not_compared(run: Any) -> None:
    with pytest.raises(InputError, match=rf"{V1.name} .*one is a model file, the other a result"):
        compare(V1, run.variants["tflite-int8"])
    with pytest.raises(InputError, match="same file"):
        compare(run.variants["tflite-int8"], run.variants["tflite-int8"])


@pytest.mark.slow
def test_a_model_file_that_can_not_be_read_is_an_error_and_not_a_comparison(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, cut = str(run.variants["tflite-int8"]), tmp_path / "cut.tflite"
    cut.write_bytes(run.variants["tflite-int8"].read_bytes()[:9000])
    for files in ((good, str(cut)), (str(cut), good)):
        assert edgepress("compare", *files, "--rounds", "1") == 1
        shown = capsys.readouterr().err
        assert str(cut) in "".join(shown.splitlines())
        assert "baseline" not in shown


@pytest.mark.slow
def test_two_model_files_are_measured_side_by_side(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(run.variants[scheme]) for scheme in ("tflite-int8", "tflite-int16x8")]
    gates = ["--fail-if", "latency>2x", "--fail-if", "size>50%", "--fail-if", "drop>10", "--fail-if", "agreement<50%"]
    assert edgepress("compare", *files, *gates, "--rounds", "6", "--engine", "litert", "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert [(v["gate"], v["outcome"]) for v in document["verdicts"]] == [
        ("latency>2x", "failed"),  # int16x8 is not delegated, some 25 times slower
        ("size>50%", "passed"),
        ("drop>10", "passed"),
        ("agreement<50%", "passed"),
    ]
    hows = {f["name"]: f["how"] for f in document["pairs"][0]["figures"]}
    assert "rounds" in hows["p50_us"]
    assert "360" in hows["accuracy"]
