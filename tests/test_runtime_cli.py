"""The board's command line: what it prints, its exit codes, and what becomes of bad input."""

from __future__ import annotations

import ast
import dataclasses
import faulthandler
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgepress.converters.contract_file import tflite_with_contract
from edgepress.runtime import (
    ENGINES,
    EdgepressError,
    EngineError,
    InputError,
    available_engines,
    load,
    read_contract,
)
from edgepress.runtime import board as board_module
from edgepress.runtime.__main__ import main
from edgepress.runtime.bench import bench, best_threads
from edgepress.runtime.board import doctor, working_set
from edgepress.runtime.frames import camera_frames, new_images, newest

COMMAND = [sys.executable, "-m", "edgepress.runtime"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def pictures(digits: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    items = digits.test.read(slice(0, 2))
    Image.fromarray(items[0, ..., 0]).save(folder / "a.png")
    np.save(folder / "b.npy", items[1])
    (folder / "notes.txt").write_text("no image")
    return folder


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_classify_gives_what_the_model_gives(run: Any, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(run.variants["tflite-int8"])
    assert main(["classify", path, str(pictures), "--top", "2", "--json"]) == 0
    lines = printed(capsys)
    assert [Path(line["image"]).name for line in lines] == ["a.png", "b.npy"]
    expected = load(path).classify(pictures / "a.png", 2)
    assert lines[0]["classes"] == [{"label": p.label, "score": p.score} for p in expected]
    assert main(["classify", path, str(pictures / "a.png"), "--engine", "litert"]) == 0
    assert f"{expected[0].label} {expected[0].score:.3f}" in capsys.readouterr().out


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
        (["classify", "missing.tflite", "x.png"], 1, "can't be read"),
        (["classify", "MODEL", "missing.png"], 1, "does not exist"),
        (["classify", "MODEL", "EMPTY"], 1, "holds no images"),
        (["classify", "MODEL", "x.png", "--top", "0"], 1, "top is 0"),
        (["classify", "MODEL", "x.png", "--threads", "auto"], 1, "is not known here"),
        (["classify", "MODEL"], 2, "images"),
        (["classify", "MODEL", "x.png", "--threads", "1,2"], 2, "bench alone"),
        (["bench", "MODEL", "--threads", "1,0"], 2, "no number of threads"),
        (["bench", "MODEL", "--sustained", "soon"], 2, "accepted: 90, 90s, 30m, 1h"),
        (["watch", "MODEL", "missing"], 1, "can't be watched"),
        (["serve", "MODEL", "--port", "99999"], 1, "port"),
        (["info", "EMPTY"], 1, "is a folder"),
        (["info", "MODEL", "--threads", "2"], 2, "unrecognized"),
        (["selftest", "MODEL", "--threads", "2"], 2, "unrecognized"),
        (["selftest", "EMPTY"], 1, "holds 0 model files"),
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
    with pytest.raises(InputError, match="not known here"):
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
    with pytest.raises(InputError, match="leaves the size of its input open"):
        bench(tmp_path / "m.onnx", seconds=0.1)


def test_bench_names_the_slower_when_it_slows_down(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is slow on one thread: two are best."""
    from edgepress.runtime import bench as module

    real = module.load

    def slow(path: Any, engine: Any, threads: Any) -> Any:
        model = real(path, engine, threads)
        if threads == 1:
            monkeypatch.setattr(model, "scores", lambda item: time.sleep(0.002))
        return model

    monkeypatch.setattr(module, "load", slow)
    assert bench(run.variants["tflite-int8"], threads=(1, 2), seconds=0.1)["best_threads"] == 2


def test_watch_takes_new_whole_files_once(digits: Any, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    item = Image.fromarray(digits.test.read([0])[0, ..., 0])
    item.save(folder / "old.png")
    found: list[str] = []
    images = new_images(folder, poll_s=0.02)
    threading.Thread(target=lambda: found.extend(p.name for p in _until(images, 3)), daemon=True).start()
    time.sleep(0.1)
    with (folder / "a.png").open("wb") as f:  # written in parts, each younger than a look
        for _ in range(12):
            f.write(b"part")
            f.flush()
            assert "a.png" not in found
            time.sleep(0.01)
    _wait(lambda: found == ["a.png"])
    (folder / "gone.png").touch()
    (folder / "gone.png").unlink()
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "b.png").write_bytes(b"x")
    _wait(lambda: found == ["a.png", "b.png"])
    (folder / "b.png").rename(folder / "old.txt")
    (folder / "old.png").write_bytes(b"written anew")
    _wait(lambda: found == ["a.png", "b.png", "old.png"])


def _until(images: Iterator[Path], count: int) -> Iterator[Path]:
    for _ in range(count):
        yield next(images)


def _wait(done: Any) -> None:
    end = time.monotonic() + 5
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_watch_command_survives_bad_files_and_ends_by_ctrl_c(run: Any, pictures: Path) -> None:
    command = [*COMMAND, "watch", str(run.variants["tflite-int8"]), str(pictures), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    lines = []
    while not lines:
        (pictures / f"new{time.monotonic_ns()}.png").write_bytes((pictures / "a.png").read_bytes())
        time.sleep(0.4)
        os.set_blocking(process.stdout.fileno(), False)
        lines = process.stdout.readlines()
    os.set_blocking(process.stdout.fileno(), True)
    assert {"image", "classes", "frames_per_s"} == set(json.loads(lines[0]))
    assert json.loads(lines[0])["frames_per_s"] is None  # of one frame there is no rate
    (pictures / "bad.png").write_bytes(b"no image")
    line: dict[str, Any] = {}
    while "bad.png" not in line.get("image", ""):
        line = json.loads(process.stdout.readline())
    assert "not a JPEG" in line["error"]["message"]
    assert line["frames_per_s"] > 0
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_the_newest_frame_wins() -> None:
    taken = threading.Event()

    def source() -> Iterator[int]:
        yield 0
        taken.wait(5)
        yield from range(1, 100)
        time.sleep(0.2)
        raise EdgepressError("The camera is gone.")

    frames = newest(source())
    assert next(frames) == 0
    taken.set()
    time.sleep(0.1)
    assert next(frames) == 99
    with pytest.raises(EdgepressError, match="gone"):
        next(frames)


def test_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each library by a stand-in with its interface; neither is an error that says what to install."""
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)

    class Cv2:
        COLOR_BGR2RGB = 4

        @staticmethod
        def VideoCapture(device: int) -> Any:  # noqa: N802
            frames = [(True, frame), (False, None)]
            return type("Capture", (), {"isOpened": lambda self: device == 0, "read": lambda self: frames.pop(0)})()

        @staticmethod
        def cvtColor(image: Any, code: int) -> Any:  # noqa: N802
            return image[..., ::-1]

    class Picamera2:
        def __init__(self, device: int) -> None:
            if device:
                raise IndexError("list index out of range")

        def create_video_configuration(self, main: dict[str, Any]) -> dict[str, Any]:
            return main

        def configure(self, main: dict[str, Any]) -> None:
            assert main["format"] == "BGR888"

        def start(self) -> None:
            pass

        def capture_array(self, name: str) -> Any:
            return frame

    monkeypatch.setitem(sys.modules, "picamera2", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(EdgepressError, match="neither is installed"):
        next(camera_frames())
    with monkeypatch.context() as patch:  # built for another NumPy

        def broken(name: str) -> Any:
            raise ValueError("numpy.dtype size changed") if name == "picamera2" else ModuleNotFoundError(name=name)

        patch.setattr(importlib, "import_module", broken)
        with pytest.raises(EdgepressError, match=r"picamera2 is installed, but fails: numpy\.dtype size changed"):
            next(camera_frames())
    monkeypatch.setitem(sys.modules, "cv2", Cv2)  # type: ignore[arg-type]
    frames = camera_frames()
    np.testing.assert_array_equal(next(frames), frame[..., ::-1])
    for broken in (frames, camera_frames(3)):
        with pytest.raises(EdgepressError, match="gives no pictures"):
            next(broken)
    monkeypatch.setitem(sys.modules, "picamera2", type("M", (), {"Picamera2": Picamera2}))  # type: ignore[arg-type]
    np.testing.assert_array_equal(next(camera_frames()), frame)
    with pytest.raises(EdgepressError, match="can't be opened"):
        next(camera_frames(1))


def test_doctor_finds_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = printed(capsys)[0]
    status = {e["name"]: e["status"] for e in found["engines"]}
    assert set(status) == set(ENGINES)
    assert {name for name, s in status.items() if s == "works"} == set(available_engines())
    assert found["memory_bytes"] > found["available_bytes"] > 0
    for e in found["extensions"]:
        assert e["present"] is (e["name"] in Path("/proc/cpuinfo").read_text().split())


@pytest.mark.parametrize(
    ("trouble", "detail"),
    [
        (lambda *_: (faulthandler.disable(), os.kill(os.getpid(), signal.SIGILL)), "SIGILL"),
        (lambda *_: os._exit(3), "exit code 3"),
        (lambda *_: (_ for _ in ()).throw(EngineError("no such kernel")), "no such kernel"),
        (lambda *_: type("M", (), {"scores": lambda s, x: np.array([[0.5, 0.5]])})(), "wrong answer"),
    ],
)
def test_doctor_reports_an_engine_that_does_not_run(
    trouble: Any, detail: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(board_module, "load", trouble)
    found = doctor()
    installed = [e for e in found["engines"] if e["version"]]
    assert installed
    assert {e["status"] for e in installed} == {"fails"}
    assert all(detail in e["detail"] for e in installed)
    assert found["ok"] is False
    assert main(["doctor"]) == 1
    assert detail in capsys.readouterr().out


@pytest.mark.parametrize(
    ("machine", "bits", "python", "libc", "command", "why"),
    [
        ("aarch64", 64, (3, 13), "2.41", "ai-edge-litert pillow", "can run LiteRT"),
        ("aarch64", 64, (3, 11), "2.31", "tflite-runtime 'numpy<2' pillow", "needs glibc 2.34"),
        ("aarch64", 64, (3, 13), "2.31", "onnxruntime pillow", "needs glibc 2.34"),
        ("aarch64", 32, (3, 11), "2.36", "python3-numpy", "32 bits"),
        ("armv7l", 32, (3, 11), "2.36", "tflite-runtime", "numpy < 2"),
        ("armv7l", 32, (3, 13), "2.41", "", "up to Python 3.11; this is 3.13"),
        ("armv6l", 32, (3, 11), "2.36", "", "ARMv6"),
    ],
)
def test_what_works_on_a_board(
    machine: str, bits: int, python: tuple[int, int], libc: str, command: str, why: str
) -> None:
    found = working_set(machine, bits, python, ("glibc", libc))
    assert command in found[0]
    assert bool(found[0]) is bool(command)
    assert why in found[1]


def test_the_workstations_doctor_tells_the_toolkits_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.toolkit import doctor as module

    found = module.doctor()
    assert found["ok"]
    assert {"tensorflow", "keras", "typer"} <= {p["package"] for p in found["toolkit"] if p["version"]}
    monkeypatch.setattr(module, "version", lambda package: None if package == "keras" else "1")
    found = module.doctor()
    assert not found["ok"]
    assert [p["install"] for p in found["toolkit"] if p["install"]] == [
        f"{sys.executable} -m pip install 'edgepress[toolkit]'"
    ]


def test_classify_imports_nothing_but_numpy_the_engine_and_pillow(run: Any, pictures: Path) -> None:
    code = (
        "import json, sys\nbefore = set(sys.modules)\nfrom edgepress.runtime.__main__ import main\nmain(sys.argv[1:])\n"
        "print(json.dumps(sorted({m.partition('.')[0] for m in set(sys.modules) - before})))"
    )
    arguments = ["classify", str(run.variants["tflite-int8"]), str(pictures / "a.png")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    foreign = {m for m in json.loads(done.stdout.splitlines()[-1]) if m not in sys.stdlib_module_names and m[0] != "_"}
    assert foreign == {"edgepress", "numpy", "ai_edge_litert", "PIL"}


def test_the_runtime_stays_small() -> None:
    """Bytes of all files; lines that are neither blank nor comment nor docstring."""
    texts = [path.read_text() for path in Path(board_module.__file__).parent.rglob("*.py")]
    assert sum(len(text.encode()) for text in texts) < 150_000
    lines = 0
    for text in texts:
        prose = [
            range(node.lineno, (node.end_lineno or 0) + 1)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ]
        skipped = {number for numbers in prose for number in numbers}
        lines += sum(
            bool(line.strip()) and not line.strip().startswith("#") and number not in skipped
            for number, line in enumerate(text.splitlines(), 1)
        )
    assert lines < 1500
