"""The engine native: a model as C in a bundle, built where it is installed, and its session."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from building_c import missing
from bundling import install, reworked, unpack
from c99_graphs import GRAPHS, graph, items
from releasing import accept_changes

from edgepress.converters.to_c.lowering import lower
from edgepress.runtime import EngineError, ModelFileError, available_engines, load
from edgepress.runtime import board as board_module
from edgepress.runtime.bench import bench, best_threads
from edgepress.runtime.native_session import LIBRARY, NativeSession
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.errors import BundleError, InputError
from edgepress.toolkit.measurement.benchmarking.plan import find_engines
from edgepress.toolkit.measurement.calibrating.calibrate import calibrate
from edgepress.toolkit.shipping.bundles import native as native_module
from edgepress.toolkit.shipping.bundles.build import Bundle, bundle
from edgepress.toolkit.shipping.bundles.native import build_library, write_native

pytestmark = pytest.mark.skipif(missing("cc") != "", reason="there is no C compiler")
CHAIN = "chain-0"


def build_in(folder: Path, name: str = CHAIN) -> Path:
    """A file of a small graph with its library."""
    folder.mkdir(exist_ok=True)
    path = folder / "model.tflite"
    path.write_bytes(graph(name))
    write_native(path)
    build_library(folder)
    return path


def rows_for(path: Path, name: str = CHAIN) -> npt.NDArray[Any]:
    """Items as the file stores them, each with a batch of one."""
    source = lower(path).input
    return items(name, source.size, source.dtype).reshape(-1, *source.shape)


@pytest.mark.parametrize("name", [CHAIN, "conv-4", "softmax-rows"])
def test_answers_are_those_of_the_exact_model(name: str, tmp_path: Path) -> None:
    path = build_in(tmp_path, name)
    session = NativeSession(path, __import__("ctypes"), 1)
    rows = rows_for(path, name)
    answers = np.stack([session.stored_answers(row) for row in rows])
    np.testing.assert_array_equal(answers, lower(path).answers(rows.reshape(len(rows), -1)))


@pytest.mark.slow
@pytest.mark.skipif("tflite-micro" not in available_engines(), reason="tflite-micro is not installed")
@pytest.mark.parametrize("name", [name for name in GRAPHS if name.startswith(("chain", "wide"))])
def test_answers_are_those_of_tflite_micro(name: str, tmp_path: Path) -> None:
    path = build_in(tmp_path, name)
    native, micro = load(path, "native"), load(path, "tflite-micro")
    for row in rows_for(path, name):
        np.testing.assert_array_equal(native.outputs(row), micro.outputs(row))


def test_scores_of_a_float_input_are_quantized_as_for_every_engine(tmp_path: Path) -> None:
    path = build_in(tmp_path)
    model, values = load(path, "native"), np.linspace(0, 9, 360, dtype=np.float32).reshape(1, 12, 10, 3)
    np.testing.assert_allclose(model.scores(values), load(path, "litert").scores(values), atol=1.5 / 256)


def test_only_who_names_the_engine_gets_it(tmp_path: Path) -> None:
    """A library is code: opening a file loads none that lies beside it."""
    path = build_in(tmp_path)
    (tmp_path / LIBRARY).write_bytes(b"not even a library")
    assert load(path).engine != "native"
    assert "native" not in available_engines()
    assert "native" not in find_engines("all")
    with pytest.raises(InputError, match="compiled on the board for one model"):
        find_engines("native")


def test_calibrate_does_not_take_it(run: Any) -> None:
    """`improve` takes the name of the engine from the contract of a file, which may be a stranger's."""
    with pytest.raises(InputError, match="'native' is unknown"):
        calibrate(run.variants["tflite-int8"], max_error="2%", engine="native")


def test_what_is_wrong_with_a_library_is_said(tmp_path: Path) -> None:
    path = build_in(tmp_path)
    other = tmp_path / "other.tflite"
    other.write_bytes(graph("conv-4"))
    with pytest.raises(ModelFileError, match="was built of another file than"):
        load(other, "native")
    damaged = build_in(tmp_path / "damaged")
    (damaged.parent / LIBRARY).write_bytes(b"not even a library")
    with pytest.raises(EngineError, match="can't be used"):
        load(damaged, "native")
    (tmp_path / LIBRARY).unlink()
    with pytest.raises(EngineError, match="has no library") as caught:
        load(path, "native")
    assert "edgepress bundle FILE --engine native" in caught.value.hint


def test_threads_and_sessions_share_one_library(tmp_path: Path) -> None:
    """One arena: calls wait for each other, and an item never gets another one's answer."""
    path = build_in(tmp_path, "wide-0")
    rows = rows_for(path, "wide-0")
    models = [load(path, "native") for _ in range(3)]
    expected = [models[0].outputs(row) for row in rows]
    wrong: list[int] = []

    def answer(model: Any, first: int) -> None:
        for turn in range(200):
            at = (first + turn) % len(rows)
            if not np.array_equal(model.outputs(rows[at]), expected[at]):
                wrong.append(at)

    threads = [threading.Thread(target=answer, args=(model, 7 * n)) for n, model in enumerate([*models, models[0]])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_item_of_another_size_is_refused(tmp_path: Path) -> None:
    session = NativeSession(build_in(tmp_path), __import__("ctypes"), 1)
    with pytest.raises(ValueError, match="not 360"):
        session.run(np.zeros((1, 12, 10, 4), np.uint8))


@pytest.fixture(scope="module")
def native_bundle(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of LeNet in integers for the engine native."""
    from edgepress.toolkit.conversion.convert import convert

    folder = tmp_path_factory.mktemp("native")
    (variant,) = convert(run.model, "tflite-int8", target="integer-only", out=folder)
    return bundle(variant.path, folder / "app.zip", name="digits", engine="native")


def test_options_that_do_not_fit_are_named(run: Any, tmp_path: Path) -> None:
    for file, options, text in (
        ("tflite-int8", {"format": "pyz"}, "no installer"),
        ("tflite-int8", {"mqtt": True}, "no packages"),
        ("tflite-int8", {"offline": True}, "no packages"),
        ("tflite-int8", {"board": "pi64-py313"}, "no packages"),
        ("tflite-int8", {"updates": tmp_path}, "no updates"),
    ):
        with pytest.raises(InputError, match=text):
            bundle(run.variants[file], tmp_path / "app.zip", engine="native", **options)
    for file in ("tflite-float32", "onnx-int8"):
        with pytest.raises(ModelFileError) as caught:
            bundle(run.variants[file], tmp_path / "app.zip", engine="native")
        assert "--target integer-only" in caught.value.hint
    assert not (tmp_path / "app.zip").exists()


def test_without_a_compiler_no_bundle_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BundleError, match="A C compiler is missing"):
        build_library(tmp_path)
    monkeypatch.undo()
    for named in ("no-such-cc", "no-such-cc -O2"):
        monkeypatch.setenv("CC", named)
        with pytest.raises(BundleError, match="A C compiler is missing"):
            build_library(tmp_path)
    monkeypatch.setenv("CC", "'cc")
    with pytest.raises(BundleError, match="quotation"):
        build_library(tmp_path)


def test_a_compiler_may_have_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in make: CC="ccache gcc"."""
    monkeypatch.setenv("CC", "env EDGEPRESS_TEST=1 cc -DX=1")
    assert load(build_in(tmp_path), "native").engine == "native"
    script = (Path(native_module.__file__).parent / "files" / "install.sh").read_text()
    function = script.partition("\nbuild_native() {")[2].partition("\n}\n")[0]
    (tmp_path / LIBRARY).unlink()
    helpers = 'say() { echo "$*"; }; die() { echo "$*" >&2; exit 1; }; attempt() { shift 2; "$@"; }; python=true'
    program = f'set -eu; {helpers}\nbuild_native() {{{function}\n}}\nbuild_native "$1"'
    done = subprocess.run(["sh", "-c", program, "sh", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Building the model with env EDGEPRESS_TEST=1 cc -DX=1\n"
    assert (tmp_path / LIBRARY).is_file()


def test_a_release_whose_model_is_compiled_works_for_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_in(tmp_path)
    (tmp_path / "interpreter").write_text(sys.executable)
    accept_changes(tmp_path)
    monkeypatch.setattr(board_module, "_RELEASE", tmp_path)
    monkeypatch.setattr(board_module, "version", lambda package: "1" if package in ("numpy", "pillow") else None)
    monkeypatch.setattr(board_module, "_can_fork", lambda: True)  # a new Python would not have this folder
    monkeypatch.setattr(board_module.platform, "machine", lambda: "riscv64")
    found = board_module.doctor()
    assert found["ok"], found["engines"]
    assert (found["engines"][0]["name"], found["engines"][0]["status"], found["install"]) == ("native", "works", "")
    assert "needs no other engine" in found["advice"]
    (tmp_path / LIBRARY).write_bytes(b"not even a library")
    assert f"damaged: {LIBRARY} differs" in board_module.doctor()["advice"]
    accept_changes(tmp_path)
    found = board_module.doctor()
    assert not found["ok"]
    assert "can't be used" in found["engines"][0]["detail"]
    assert "install the bundle again" in found["advice"]
    (tmp_path / "interpreter").unlink()  # a library that lies there by chance is not run
    assert "native" not in {engine["name"] for engine in board_module.doctor()["engines"]}


def test_bench_times_the_one_thread_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build_in(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for threads in ((), (1, 2, 4)):
        timed = bench(path, "native", threads=threads, seconds=0.01)
        assert [each["threads"] for each in timed["results"]] == [1]
        assert (timed["best_threads"], timed["kept_in"]) == (1, None)
    assert best_threads(path, "native") == 1
    assert not (tmp_path / "cache").exists()


PORT = {"shape": [1, 4], "dtype": "uint8", "quantization": [1.0, 0]}


@pytest.mark.parametrize(
    "about",
    [
        "not json",
        "{}",
        "[]",
        "0",
        None,
        {"input": 1, "output": PORT},
        {"input": PORT},
        {"input": PORT | {"shape": []}, "output": PORT},
        {"input": PORT | {"shape": [1, "x"]}, "output": PORT},
        {"input": PORT | {"dtype": "nothing"}, "output": PORT},
        {"input": PORT | {"dtype": "float64"}, "output": PORT},
        {"input": PORT | {"quantization": []}, "output": PORT},
        {"input": PORT, "output": PORT | {"shape": [1, -4]}},
    ],
)
def test_a_library_that_does_not_describe_its_model_is_one_error(about: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(graph(CHAIN))
    write_native(path)
    if isinstance(about, dict):
        about = json.dumps({"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} | about)
    text = "(const char *)0" if about is None else json.dumps(about)
    source = f"const char *model_about(void); const char *model_about(void) {{ return {text}; }}"
    (tmp_path / "native" / "about.c").write_text(source)
    build_library(tmp_path)
    with pytest.raises((EngineError, ModelFileError), match=r"can't be used|output"):
        load(path, "native")


@pytest.mark.parametrize("command", ["calibrate", "compress", "init"])
def test_commands_that_never_take_it_do_not_offer_it(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = [] if command == "init" else [str(tmp_path / "a.tflite")]
    with pytest.raises(SystemExit, match="2"):
        main([command, *file, "--engine", "native"])
    assert "'native' is not one of" in " ".join(capfd.readouterr().err.split())
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_bundle_builds_its_library_where_it_is_installed(native_bundle: Bundle, tmp_path: Path) -> None:
    assert native_bundle.boards == ()
    assert native_bundle.selftest["engine"] == native_bundle.verified.manifest.engine == "native"
    folder = unpack(native_bundle, tmp_path / "unpacked")
    names = {file.path for file in native_bundle.verified.manifest.files if file.path.startswith("native/")}
    assert names == {"native/model.c", "native/model.h", "native/about.c"}
    assert not list(folder.glob("requirements-*"))
    prefix = tmp_path / "my apps" / "digits"
    done = install(folder, "--prefix", str(prefix), "--python", sys.executable)
    assert done.returncode == 0, done.stderr
    assert "Building the model with cc" in done.stdout
    assert json.loads((prefix / "current" / "selftest.json").read_text())["engine"] == "native"
    command = [prefix / "current" / "run", "doctor", "--json"]
    doctor = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert [doctor["engines"][0][key] for key in ("name", "status")] == ["native", "works"]
    command = [prefix / "current" / "run", "classify", folder / "samples" / "0.png", "--json"]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert answer["classes"][0]["label"] == "0"


@pytest.mark.slow
def test_a_changed_file_of_c_is_not_built(native_bundle: Bundle, tmp_path: Path) -> None:
    """The manifest lists its hash; with a manifest that fits, the self-test finds wrong answers."""
    folder = unpack(native_bundle, tmp_path / "unpacked")
    rounding = {"native/model.c": ("ep_clamp(doubled >> 1,", "ep_clamp((doubled >> 1) + 9,")}
    wrong = reworked(folder, tmp_path / "wrong", rounding)
    options = ("--prefix", str(tmp_path / "app"), "--python", sys.executable)
    done = install(wrong, *options)
    assert (done.returncode, "fails its self-test" in done.stderr) == (1, True), done.stderr
    with (folder / "native" / "model.c").open("a") as file:
        file.write("/* changed */")
    done = install(folder, *options)
    assert done.returncode == 1
    assert "model.c differs from its entry in MANIFEST.json" in done.stderr
    assert os.listdir(tmp_path / "app" / "releases") == []


@pytest.mark.slow
def test_a_board_without_a_compiler_says_so_once(native_bundle: Bundle, tmp_path: Path) -> None:
    folder = unpack(native_bundle, tmp_path / "unpacked")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in (
        "sh",
        "dirname",
        "cat",
        "mkdir",
        "flock",
        "id",
        "chmod",
        "rm",
        "ls",
        "dd",
        "sync",
        "basename",
        "readlink",
    ):
        (tools / name).symlink_to(str(shutil.which(name)))
    options = ("--prefix", str(tmp_path / "app"), "--python", sys.executable)
    done = install(folder, *options, before=f"export PATH={tools}")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: A C compiler is missing (cc gcc clang)")
    assert done.stderr.count("Error") == 1
    assert os.listdir(tmp_path / "app" / "releases") == []


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(native_bundle: Bundle, tmp_path: Path) -> None:
    model = native_bundle.path.parent / "model-int8-integer-only.tflite"
    again = bundle(model, tmp_path / "app.zip", name="digits", engine="native")
    digests = {hashlib.sha256(one.path.read_bytes()).hexdigest() for one in (native_bundle, again)}
    assert len(digests) == 1
