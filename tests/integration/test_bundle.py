"""Building bundles: their contents, that they are reproducible, and what is refused."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from bundling import REPOSITORY, key_pair, ssh_keygen
from serving import Running

from edgepress.converters.schemes import SCHEMES
from edgepress.runtime import ModelFileError, load, read_contract
from edgepress.runtime.errors import EdgepressError
from edgepress.toolkit.errors import BundleError
from edgepress.toolkit.shipping.bundles import boards
from edgepress.toolkit.shipping.bundles.archive import signature_path
from edgepress.toolkit.shipping.bundles.build import Bundle, bundle
from edgepress.toolkit.shipping.bundles.verify import NAME, verify


def test_a_bundle_is_not_taken_for_a_model(digits_bundle: Bundle) -> None:
    with pytest.raises(ModelFileError, match=r"app\.zip .*bundle"):
        load(digits_bundle.path)


def test_it_holds_what_a_board_needs(digits_bundle: Bundle, run: Any) -> None:
    with zipfile.ZipFile(digits_bundle.path) as archive:
        assert archive.testzip() is None
        names = {n.removeprefix("digits/") for n in archive.namelist()}
        modes = {i.filename.rpartition("/")[2]: i.external_attr >> 16 for i in archive.infolist()}
        assert archive.read("digits/model.tflite") == run.variants["tflite-int8"].read_bytes()
        manifest = json.loads(archive.read(f"digits/{NAME}"))
    assert {"README.md", "install.sh", "run", "service.unit", "edgepress/__init__.py"} <= names
    assert {f"requirements-{board}.txt" for board in boards.BOARDS} <= names
    runtime = REPOSITORY / "runtime"
    files = (p for p in (*runtime.iterdir(), *(runtime / "sound").iterdir()) if p.is_file())
    sources = {f"edgepress/runtime/{p.relative_to(runtime).as_posix()}" for p in files}
    assert {n for n in names if n.startswith("edgepress/runtime/")} == sources
    assert manifest["scheme"] == "tflite-int8"
    assert manifest["engine"] == "litert"
    assert {f["path"] for f in manifest["files"]} == names - {NAME}
    assert stat.S_IMODE(modes["install.sh"]) == stat.S_IMODE(modes["run"]) == 0o755
    assert stat.S_IMODE(modes["model.tflite"]) == 0o644
    assert digits_bundle.path.stat().st_size < 630_000


def test_samples_are_test_items_that_the_file_gets_right(unpacked: Path) -> None:
    from PIL import Image

    samples = json.loads((unpacked / "samples" / "manifest.json").read_text())["samples"]
    assert len({s["label"] for s in samples}) == len(samples) == 8  # one a class, none taken for another
    sizes = {Image.open(unpacked / "samples" / s["file"]).size for s in samples}
    assert sizes == {(28, 28), (42, 42)}  # some must be resized, too


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["tflite-int8", "onnx-int8"])
def test_the_same_inputs_give_the_same_bytes_and_nothing_of_this_machine(
    scheme: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = shutil.copy(run.variants[scheme], tmp_path / "my model")
    variant = Path(variant).rename(tmp_path / f"a{run.variants[scheme].suffix}")
    first = bundle(run.variants[scheme], tmp_path / "one.zip", name="x", samples=2).path.read_bytes()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.chdir(tmp_path)
    os.utime(variant, (0, 0))
    assert bundle(variant, tmp_path / "two.zip", name="x", samples=2).path.read_bytes() == first
    for text in (str(REPOSITORY), str(tmp_path.parent), sys.prefix):
        assert text.encode() not in first


def test_source_date_epoch_dates_everything(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    path = bundle(run.variants["tflite-int8"], tmp_path / "a.zip", samples=0).path
    assert {i.date_time for i in zipfile.ZipFile(path).infolist()} == {(2023, 11, 14, 22, 13, 20)}
    verify(path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(EdgepressError, match="SOURCE_DATE_EPOCH is 'soon'"):
        bundle(run.variants["tflite-int8"], tmp_path / "b.zip", samples=0)
    assert not (tmp_path / "b.zip").exists()


def test_a_file_whose_self_test_fails_is_not_bundled(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.tflite"
    data = run.variants["tflite-int8"].read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        file.write_bytes(data[: archive.infolist()[0].header_offset])
    contract = read_contract(run.variants["tflite-int8"])
    assert contract is not None
    assert contract.selftest is not None
    members["edgepress.json"] = re.sub(
        rb'"top":\[\d+', b'"top":[%d' % ((contract.selftest.top[0] + 1) % 10), members["edgepress.json"]
    )
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    with pytest.raises(BundleError, match="self-test"):
        bundle(file, tmp_path / "a.zip", samples=0)
    assert not (tmp_path / "a.zip").exists()


def test_a_bundle_for_mqtt_pins_its_package_for_every_board(run: Any, digits_bundle: Bundle, tmp_path: Path) -> None:
    built = bundle(run.variants["tflite-int8"], tmp_path / "digits.zip", samples=0, mqtt=True)
    for path, expected in ((built.path, True), (digits_bundle.path, False)):
        with zipfile.ZipFile(path) as archive:
            pins = [archive.read(name).decode() for name in archive.namelist() if "/requirements-" in name]
        assert len(pins) == len(boards.BOARDS)
        assert all(("\npaho-mqtt==" in text) == expected for text in pins)


def test_what_can_not_be_bundled_is_one_error(run: Any, tmp_path: Path) -> None:
    int8, out = run.variants["tflite-int8"], tmp_path / "a.zip"
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (run.model, {}, "Keras"),
        (int8, {"board": ["pi65"]}, "pi64-py311"),
        (run.variants["onnx-int8"], {"board": ["pi32-py311"]}, ".onnx"),
        (int8, {"offline": True}, "--offline"),
        (int8, {"format": "pyz", "board": ["pi64-py311"]}, "--board"),
        (int8, {"format": "pyz", "mqtt": True}, "--mqtt"),
        (int8, {"name": "../x"}, "../x"),
        (int8, {"sign": tmp_path / "none", "samples": 0}, "does not exist"),
    ]
    for file, options, message in cases:
        with pytest.raises(EdgepressError, match=re.escape(message)):
            bundle(file, out, **options)
    assert list(tmp_path.iterdir()) == []


@ssh_keygen
def test_an_unsigned_bundle_takes_its_predecessors_signature_away(run: Any, tmp_path: Path) -> None:
    out = tmp_path / "a.zip"
    bundle(run.variants["tflite-int8"], out, samples=0, sign=key_pair(tmp_path))
    assert signature_path(out).exists()
    notes = bundle(run.variants["tflite-int8"], out, samples=0, name="other").notes
    assert not signature_path(out).exists()
    assert any(str(signature_path(out)) in note for note in notes)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["tflite-int8", "onnx-int8"])
def test_a_pyz_runs_by_itself_and_leaves_nothing(scheme: str, run: Any, tmp_path: Path) -> None:
    app = bundle(run.variants[scheme], tmp_path / "app.pyz", format="pyz", samples=2).path
    verify(app)
    with zipfile.ZipFile(app) as archive:
        archive.extract("samples/0.png", tmp_path)
    (tmp_path / "tmp").mkdir()

    def answer(*arguments: str) -> Any:
        command = [sys.executable, "-I", str(app), *arguments, "--json"]
        environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
        return json.loads(done.stdout)

    assert answer("selftest")["passed"] is True
    assert answer("classify", "samples/0.png")["classes"][0]["label"] == "0"
    assert list((tmp_path / "tmp").glob("edgepress*")) == []  # ONNX Runtime leaves a file of its own


def test_every_board_has_a_pinned_and_hashed_set() -> None:
    for name, board in boards.BOARDS.items():
        for format, engine in board.engines.items():
            lines = boards.pinned(name, format).read_text().splitlines()[1:]
            assert all(re.fullmatch(r"[\w.-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
            names = {line.partition("==")[0] for line in lines}
            assert set(boards.PACKAGES[engine]) <= names


def test_boards_whose_engine_lacks_a_scheme_are_left_out_or_refused() -> None:
    lacking = SCHEMES["tflite-int4"].lacking
    assert "pi32-py311" in boards.boards_for("tflite")
    assert set(boards.boards_for("tflite")) - set(boards.boards_for("tflite", lacking=lacking)) == {"pi32-py311"}
    with pytest.raises(BundleError, match="tflite-runtime"):
        boards.boards_for("tflite", ["pi32-py311"], lacking=lacking)


@pytest.mark.slow
def test_bundle_and_verify_as_commands(run: Any, tmp_path: Path) -> None:
    def edgepress(*arguments: Any) -> tuple[int, Any]:
        command = [sys.executable, "-m", "edgepress.toolkit.cli.main", *map(str, arguments), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        return done.returncode, json.loads(done.stdout)

    code, made = edgepress(
        "bundle", run.variants["tflite-int8"], "--out", "a.zip", "--samples", 1, "--board", "pi64-py313"
    )
    assert (code, made["boards"], made["selftest"]["passed"]) == (0, ["pi64-py313"], True)
    code, found = edgepress("verify", "a.zip")
    assert (code, found["sha256"], found["signer"]) == (0, made["sha256"], None)
    with (tmp_path / "a.zip").open("ab") as file:
        file.write(b"x")
    code, found = edgepress("verify", "a.zip")
    assert (code, found["error"]["kind"]) == (1, "bundle")


def test_a_pyz_serves_the_page_from_inside(run: Any, tmp_path: Path) -> None:
    app = bundle(run.variants["tflite-int8"], tmp_path / "app.pyz", format="pyz").path
    running = Running("serve", command=(str(app),))
    for path, name in (("/", "page.html"), ("/page.css", "page.css"), ("/page.js", "page.js")):
        assert running.ask("GET", path)[:2] == (200, (REPOSITORY / "runtime" / name).read_bytes())
    running.end()


@pytest.mark.slow
@pytest.mark.parametrize("board", boards.BOARDS)
def test_pinned_sets_resolve_for_their_boards(board: str) -> None:
    for format in boards.BOARDS[board].engines:
        path = boards.pinned(board, format)
        found = boards.resolve(board, ("--require-hashes", "--no-deps", "-r", str(path)))
        assert len(found) == len(path.read_text().splitlines()) - 1


@pytest.mark.parametrize("path", ["app/run", "my board/run", "it's $HOME/`run`", "-a", "/é/run"])
def test_a_path_in_a_command_that_the_installer_names_is_one_word(path: str) -> None:
    """Before, the command to try did not run if the folder had a space in its name."""
    script = (REPOSITORY / "toolkit" / "shipping" / "bundles" / "files" / "install.sh").read_text()
    functions = "".join(re.findall(r"^(?:say\(\) .*\n|quoted\(\) \{[\s\S]*?^\}\n)", script, re.MULTILINE))
    told = subprocess.check_output(["sh", "-c", f'{functions}quoted "$1"', "sh", path], text=True)
    assert shlex.split(told) == [path]
    assert not re.findall(r'"  ?\$prefix/current/run |See: \$prefix|systemd: \$prefix', script)
