"""The board's command line: what it prints, its exit codes, and what becomes of bad input."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from running import COMMAND, printed

from edgepress.converters.contract.write import tflite_with_contract
from edgepress.runtime import (
    InputError,
    load,
    read_contract,
)
from edgepress.runtime.__main__ import main
from edgepress.runtime.bench import bench, best_threads

pytestmark = pytest.mark.usefixtures("own_runtime_cache")
FULL = Path("/dev/full")


def test_classify_gives_what_the_model_gives(run: Any, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(run.variants["tflite-int8"])
    assert main(["classify", path, str(pictures), "--top", "2", "--json"]) == 0
    lines = printed(capsys)
    assert [Path(line["image"]).name for line in lines] == ["a.png", "b.npy"]
    expected = load(path).classify(pictures / "a.png", 2)
    assert lines[0]["classes"] == [{"label": p.label, "score": p.score} for p in expected]
    assert main(["classify", path, str(pictures / "a.png"), "--engine", "litert"]) == 0
    assert f"{expected[0].label} {expected[0].score:.3f}" in capsys.readouterr().out


@pytest.mark.skipif(not FULL.exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_full_disk_behind_the_output_is_one_message(
    as_json: list[str], run: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["classify", str(run.variants["tflite-int8"]), str(pictures / "a.png"), *as_json]
    monkeypatch.setattr(sys, "stdout", FULL.open("w", buffering=1))
    assert main(arguments) == 1
    assert capsys.readouterr().err.endswith("No space left on device. Free some disk space.\n")


@pytest.mark.parametrize("name", ["a.png", "b.npy"])
def test_classify_reads_standard_input(name: str, run: Any, pictures: Path) -> None:
    command = [*COMMAND, "classify", str(run.variants["tflite-int8"]), "-", "--json"]
    done = subprocess.run(command, input=(pictures / name).read_bytes(), capture_output=True, check=True)
    line = json.loads(done.stdout)
    assert line["image"] == "-"
    assert line["classes"][0]["label"] == load(run.variants["tflite-int8"]).classify(pictures / name)[0].label


def test_one_bad_image_does_not_stop_the_others(run: Any, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(run.variants["tflite-int8"])
    (pictures / "aa.jpg").write_bytes(b"\xff\xd8\xff cut")
    assert main(["classify", path, str(pictures), "--json"]) == 1
    lines = printed(capsys)
    assert ["error" in line for line in lines] == [False, True, False]
    assert lines[1]["error"]["kind"] == "input"
    assert main(["classify", path, str(pictures)]) == 1
    assert "aa.jpg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["classify", "missing.tflite", "x.png"], 1, "missing.tflite"),
        (["classify", "MODEL", "missing.png"], 1, "missing.png"),
        (["classify", "MODEL", "EMPTY"], 1, "no images"),
        (["classify", "MODEL", "x.png", "--top", "0"], 1, "top is 0"),
        (["classify", "MODEL", "x.png", "--threads", "auto"], 1, "threads"),
        (["classify", "MODEL"], 2, "images"),
        (["classify", "MODEL", "x.png", "--threads", "1,2"], 2, "1,2"),
        (["bench", "MODEL", "--threads", "1,0"], 2, "1 to 256"),
        (["bench", "MODEL", "--sustained", "soon"], 2, "accepted: 90, 90s, 30m, 1h"),
        (["watch", "MODEL", "missing"], 1, "can't be watched"),
        (["serve", "MODEL", "--port", "99999"], 1, "port"),
        (["info", "EMPTY"], 1, "folder"),
        (["info", "MODEL", "--threads", "2"], 2, "unrecognized"),
        (["selftest", "MODEL", "--threads", "2"], 2, "unrecognized"),
        (["selftest", "EMPTY"], 1, "0 model files"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_bad_input_is_one_error(
    arguments: list[str], code: int, message: str, run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"MODEL": str(run.variants["tflite-int8"]), "EMPTY": str(tmp_path)}
    given = [names.get(a, a) for a in arguments]
    for as_json in (False, True):
        try:
            found = main([*given, "--json"] if as_json else given)
        except SystemExit as e:
            found = int(e.code or 0)
        out = capsys.readouterr()
        assert found == code
        if as_json and code == 1:
            documents = [json.loads(line) for line in out.out.splitlines()]
            assert len(documents) == 1
            assert message in documents[0]["error"]["message"]
        elif not as_json:
            assert message in out.out + out.err
            assert "Traceback" not in out.err


def test_usage_errors_are_json_where_json_is_asked_for() -> None:
    done = subprocess.run([*COMMAND, "classify", "--json"], capture_output=True, text=True)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "usage"


def test_selftest_command(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, other = run.variants["tflite-int8"], tmp_path / "m.tflite"
    contract = read_contract(path)
    assert contract is not None
    assert contract.selftest is not None
    wrong = dataclasses.replace(contract.selftest, top=(3,) * 6)
    other.write_bytes(tflite_with_contract(path.read_bytes(), contract.replace(selftest=wrong)))
    assert main(["selftest", str(path), "--json"]) == 0
    report = printed(capsys)[0]
    assert report["passed"] is True
    assert set(report["checks"][0]) == {"name", "passed", "largest_steps", "detail"}
    assert main(["selftest", str(other)]) == 1
    assert "is the best, not 3" in capsys.readouterr().out


def test_info_tells_the_contract(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(run.variants["onnx-int8"]), "--json"]) == 0
    found = printed(capsys)[0]
    assert (found["engine"], found["shape"], found["contract"]["scheme"]) == ("onnxruntime", [28, 28, 1], "onnx-int8")
    assert main(["info", str(run.variants["onnx-int8"])]) == 0
    shown = capsys.readouterr().out
    assert "28, 28, 1" in shown
    assert f"size {found['size_bytes'] / 1000:.4g} kB\n" in shown
    assert "None" not in shown


def test_bench_finds_the_best_number_of_threads_and_auto_uses_it(
    run: Any, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(run.variants["tflite-int8"])
    assert main(["bench", path, "--threads", "1,2", "--seconds", "0.1", "--json"]) == 0
    found = printed(capsys)[0]
    assert [r["threads"] for r in found["results"]] == [1, 2]
    for r in found["results"]:
        assert 0 < r["min_us"] <= r["p50_us"] <= r["p90_us"] <= r["p99_us"]
        assert r["count"] > 10
        assert min(r["load_ms"], r["first_us"]) > 0
    medians = {r["threads"]: r["p50_us"] for r in found["results"]}
    assert medians[found["best_threads"]] <= 1.05 * min(medians.values())
    assert Path(found["kept_in"]) == tmp_path / "cache" / "edgepress" / "threads.json"
    assert best_threads(path) == found["best_threads"]
    assert main(["classify", path, str(pictures / "a.png"), "--threads", "auto"]) == 0
    Path(found["kept_in"]).write_text("damaged")
    with pytest.raises(InputError, match=r"edgepress\.runtime bench"):
        best_threads(path)


def test_bench_sustained_reports_each_minute(run: Any) -> None:
    minutes: list[dict[str, Any]] = []
    found = bench(
        run.variants["tflite-int8"],
        threads=(1,),
        seconds=0.05,
        sustained_s=0.25,
        minute_s=0.1,
        on_minute=minutes.append,
    )
    assert [m["minute"] for m in minutes] == [1, 2, 3]
    assert found["minutes"] == minutes
    assert found["slowdown"] == pytest.approx(minutes[2]["p50_us"] / minutes[0]["p50_us"])
    assert found["kept_in"] is None
    assert found["speed"] == ("held" if found["slowdown"] < 1.05 else f"fell to {1 / found['slowdown']:.0%}")


def test_bench_needs_a_size(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    kinds = [("x", [1, None, 2]), ("y", [1, None])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in kinds)
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2], keepdims=0)
    opset = [helper.make_opsetid("", 13)]
    save(
        helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=opset, ir_version=8),
        tmp_path / "m.onnx",
    )
    with pytest.raises(InputError, match=r"m\.onnx"):
        bench(tmp_path / "m.onnx", seconds=0.1)


def test_bench_names_the_slower_when_it_slows_down(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is slow on one thread: two are best."""
    from edgepress.runtime import bench as module

    real = module.load

    def slow(path: Any, engine: Any, threads: Any, contract: Any) -> Any:
        model = real(path, engine, threads, contract)
        if threads == 1:
            monkeypatch.setattr(model, "answer", lambda item: time.sleep(0.002))
        return model

    monkeypatch.setattr(module, "load", slow)
    assert bench(run.variants["tflite-int8"], threads=(1, 2), seconds=0.1)["best_threads"] == 2
