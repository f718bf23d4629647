"""Bundles: what is inside, that they are reproducible, that no change goes unnoticed, and that they install."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.runtime import ModelFileError, load, read_contract
from edgepress.runtime.errors import EdgepressError
from edgepress.toolkit.bundles import boards
from edgepress.toolkit.bundles.archive import write_archive
from edgepress.toolkit.bundles.build import Bundle, bundle
from edgepress.toolkit.bundles.manifest import NAME, Manifest, describe_files
from edgepress.toolkit.bundles.signature import NAMESPACE, signature_path
from edgepress.toolkit.bundles.verify import dos_date, verify
from edgepress.toolkit.errors import BundleError

REPOSITORY = Path(__file__).resolve().parent.parent
ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH")


def key_pair(folder: Path, name: str = "key") -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@example", "-f", str(folder / name)]
    subprocess.run(command, check=True)
    return folder / name


@pytest.fixture(scope="module")
def made(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of LeNet int8, signed where OpenSSH is there; read-only."""
    folder = tmp_path_factory.mktemp("bundle")
    key = key_pair(folder) if shutil.which("ssh-keygen") else None
    return bundle(run.variants["tflite-int8"], folder / "app.zip", name="digits", sign=key)


@pytest.fixture
def unpacked(made: Bundle, tmp_path: Path) -> Path:
    with zipfile.ZipFile(made.path) as archive:
        archive.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked" / "digits"


def test_a_bundle_is_not_taken_for_a_model(made: Bundle) -> None:
    with pytest.raises(ModelFileError, match=r"app\.zip is a bundle"):
        load(made.path)


def test_it_holds_what_a_board_needs(made: Bundle, run: Any) -> None:
    with zipfile.ZipFile(made.path) as archive:
        assert archive.testzip() is None
        names = {n.removeprefix("digits/") for n in archive.namelist()}
        modes = {i.filename.rpartition("/")[2]: i.external_attr >> 16 for i in archive.infolist()}
        assert archive.read("digits/model.tflite") == run.variants["tflite-int8"].read_bytes()
        manifest = json.loads(archive.read(f"digits/{NAME}"))
    assert {"README.md", "install.sh", "run", "service.unit", "edgepress/__init__.py"} <= names
    assert {f"requirements-{board}.txt" for board in boards.BOARDS} <= names
    sources = {f"edgepress/runtime/{p.name}" for p in (REPOSITORY / "runtime").glob("*.py")}
    assert {n for n in names if n.startswith("edgepress/runtime/")} == sources
    assert manifest["scheme"] == "tflite-int8"
    assert manifest["engine"] == "litert"
    assert {f["path"] for f in manifest["files"]} == names - {NAME}
    assert stat.S_IMODE(modes["install.sh"]) == stat.S_IMODE(modes["run"]) == 0o755
    assert stat.S_IMODE(modes["model.tflite"]) == 0o644
    assert made.path.stat().st_size < 400_000


def test_samples_are_test_items_that_the_file_gets_right(unpacked: Path) -> None:
    from PIL import Image

    samples = json.loads((unpacked / "samples" / "manifest.json").read_text())["samples"]
    assert len({s["label"] for s in samples}) == len(samples) == 8  # one a class, none taken for another
    sizes = {Image.open(unpacked / "samples" / s["file"]).size for s in samples}
    assert sizes == {(28, 28), (42, 42)}  # some must be resized, too


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
    with pytest.raises(BundleError, match="self-test fails"):
        bundle(file, tmp_path / "a.zip", samples=0)
    assert not (tmp_path / "a.zip").exists()


def test_what_can_not_be_bundled_is_one_error(run: Any, tmp_path: Path) -> None:
    int8, out = run.variants["tflite-int8"], tmp_path / "a.zip"
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (run.model, {}, "Keras model"),
        (int8, {"boards": ["pi65"]}, "Unknown board"),
        (run.variants["onnx-int8"], {"boards": ["pi32-py311"]}, "no engine for .onnx"),
        (int8, {"offline": True}, "boards that are named"),
        (int8, {"format": "pyz", "boards": ["pi64-py311"]}, "A pyz brings no packages"),
        (int8, {"name": "../x"}, "can't be named"),
        (int8, {"sign": tmp_path / "none", "samples": 0}, "does not exist"),
    ]
    for file, options, message in cases:
        with pytest.raises(EdgepressError, match=re.escape(message)):
            bundle(file, out, **options)
    assert list(tmp_path.iterdir()) == []


# Verification.


@ssh_keygen
def test_every_kind_of_tampering_is_refused(made: Bundle) -> None:
    script = REPOSITORY / "benchmarks" / "tampered_bundles.py"
    if not script.exists():
        pytest.skip("needs the repository")
    spec = importlib.util.spec_from_file_location("tampered_bundles", script)
    assert spec is not None
    assert spec.loader is not None
    tampering = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tampering)
    ways = [way for way in tampering.TAMPERS if "hundred megabytes" not in way]  # its own test, below
    tampering.TAMPERS = {way: tampering.TAMPERS[way] for way in ways}
    outcomes = tampering.check(made.path, made.path.with_name("key.pub"), 4 * len(ways), 1)
    assert {text for found in outcomes.values() for text in found if not text.startswith("refused")} == set()


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED, attributes: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr, info.create_system = attributes, 3
            made.writestr(info, data, method)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (archive({"a/../../evil": b""}), "may lead out"),
        (archive({"/etc/evil": b""}), "may lead out"),
        (archive({"..\\evil": b""}), "may lead out"),
        (archive({"C:evil": b""}), "may lead out"),
        (archive({"x/a": b"", "X/A": b""}), "twice"),
        (archive({"x": b"", "x/a": b""}), "folder of another"),
        (archive({"x/link": b"/etc/passwd"}, attributes=0o120777 << 16), "a link"),
        (archive({"x/a": bytes(50 << 20)}, zipfile.ZIP_DEFLATED), "compressed"),
        (archive({f"x/{i}": b"" for i in range(2001)}), "2001 members"),
        (b"", "does not end as"),
        (b"PK\x05\x06" + bytes(18), "does not begin with"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_zips_are_refused_for_what_they_are(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    tracemalloc.start()
    with pytest.raises(BundleError, match=reason):
        verify(tmp_path / "a.zip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_byte_changed_is_refused(made: Bundle, data: st.DataObject) -> None:
    whole = made.path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1) | st.integers(len(whole) - 3000, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    copy = made.path.with_name("changed.zip")
    copy.write_bytes(changed)
    with pytest.raises(BundleError):
        verify(copy)


def test_a_large_bundle_is_checked_in_pieces(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "weights").write_bytes(bytes(48 << 20))
    date = "1980-01-01T00:00:00Z"
    manifest = Manifest(
        name="x",
        format="zip",
        edgepress="0",
        model="m",
        scheme="s",
        engine="e",
        dated=date,
        boards=(),
        offline=False,
        files=describe_files(folder),
    )
    (folder / NAME).write_bytes(manifest.to_bytes())
    write_archive(tmp_path / "x.zip", tmp_path, [f"x/{NAME}", "x/weights"], date=dos_date(date))
    tracemalloc.start()
    verify(tmp_path / "x.zip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_verifying_imports_nothing_heavy(made: Bundle) -> None:
    code = f"""
import sys
from edgepress.toolkit.bundles.verify import verify
verify({str(made.path)!r})
print(*sorted({{"tensorflow", "keras", "typer", "PIL", "ai_edge_litert", "onnx", "sklearn"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# Signatures.


@ssh_keygen
def test_a_signature_names_its_signer_and_nobody_else(made: Bundle, tmp_path: Path) -> None:
    public = made.path.with_name("key.pub")
    assert verify(made.path, key=public).signer == "me@example"
    allowed = tmp_path / "allowed_signers"
    allowed.write_text(f'boss,team namespaces="{NAMESPACE}" {public.read_text()}')
    assert verify(made.path, key=allowed).signer == "boss"
    allowed.write_text(f'boss namespaces="git" {public.read_text()}')
    with pytest.raises(BundleError, match="is not what a key in"):
        verify(made.path, key=allowed)
    with pytest.raises(BundleError, match="is not what a key in"):
        verify(made.path, key=key_pair(tmp_path, "other").with_suffix(".pub"))
    with pytest.raises(EdgepressError, match="is a private key"):
        verify(made.path, key=made.path.with_name("key"))
    unsigned = shutil.copy(made.path, tmp_path / "unsigned.zip")
    with pytest.raises(BundleError, match="has no signature"):
        verify(unsigned, key=public)


@ssh_keygen
def test_the_command_in_the_readme_checks_a_signature_without_edgepress(
    made: Bundle, unpacked: Path, tmp_path: Path
) -> None:
    for name in ("app.zip", "app.zip.sig"):
        shutil.copy(made.path.with_name(name), tmp_path / name)
    shutil.copy(made.path.with_name("key.pub"), tmp_path / "sender.pub")
    readme = (unpacked / "README.md").read_text()
    commands = [line.strip() for line in readme.splitlines() if line.startswith("    ") and "allowed_signers" in line]
    assert len(commands) == 2
    done = subprocess.run(["sh", "-ec", "\n".join(commands)], cwd=tmp_path, capture_output=True, text=True)
    assert 'Good "edgepress-bundle" signature for sender' in done.stdout
    with (tmp_path / "app.zip").open("r+b") as file:
        file.seek(1000)
        file.write(b"x")
    assert subprocess.run(["sh", "-ec", commands[1]], cwd=tmp_path, capture_output=True).returncode != 0


@ssh_keygen
def test_an_unsigned_bundle_takes_its_predecessors_signature_away(run: Any, tmp_path: Path) -> None:
    out = tmp_path / "a.zip"
    bundle(run.variants["tflite-int8"], out, samples=0, sign=key_pair(tmp_path))
    assert signature_path(out).exists()
    notes = bundle(run.variants["tflite-int8"], out, samples=0, name="other").notes
    assert not signature_path(out).exists()
    assert any("older bundle" in note for note in notes)


# Runnable files.


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


# Installation; with packages that are there already, so that nothing is downloaded.


def install(folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{path}:{os.environ['PATH']}"}
    command = ["sh", str(folder / "install.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)


def reworked(folder: Path, to: Path, change: dict[str, tuple[str, str]]) -> Path:
    """A copy of an unpacked bundle with texts replaced, and a manifest that fits."""
    shutil.copytree(folder, to)
    for name, (old, new) in change.items():
        text = (to / name).read_text()
        assert old in text
        (to / name).write_text(text.replace(old, new))
    raw = json.loads((to / NAME).read_text())
    del raw["id"]
    raw |= {"boards": tuple(raw["boards"]), "files": describe_files(to)}
    (to / NAME).write_bytes(Manifest(**raw).to_bytes())
    return to


@pytest.fixture
def broken(unpacked: Path, tmp_path: Path) -> Path:
    """A bundle in good form whose first sample gets another answer."""
    return reworked(unpacked, tmp_path / "broken", {"samples/manifest.json": ('"label": "0"', '"label": "5"')})


def test_install_update_rollback_uninstall(unpacked: Path, broken: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "my apps" / "digits"
    options = ("--prefix", str(prefix), "--system", "--python", sys.executable)
    assert "Nothing is installed" in install(unpacked, "update", *options).stderr
    done = install(unpacked, *options)
    assert done.returncode == 0, done.stderr
    (first,) = os.listdir(prefix / "releases")
    assert (prefix / "current").readlink() == Path("releases") / first
    command = [prefix / "current" / "run", "classify", unpacked / "samples" / "0.png", "--json"]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert answer["classes"][0]["label"] == "0"
    assert json.loads((prefix / "current" / "selftest.json").read_text())["passed"] is True

    failed = install(broken, "update", *options)
    assert failed.returncode == 1
    assert "fails its self-test on this machine and is not used. 0.png: label " in failed.stderr
    assert f"stays as it was: {first}" in failed.stderr
    assert os.listdir(prefix / "releases") == [first]
    assert (prefix / "current").readlink() == Path("releases") / first

    (prefix / "releases" / "killed").mkdir()  # what a killed installation leaves
    newer = reworked(unpacked, tmp_path / "newer", {"README.md": ("A classifier", "A newer classifier")})
    done = install(newer, "update", *options)
    assert done.returncode == 0, done.stderr
    second = (prefix / "current").readlink().name
    assert sorted(os.listdir(prefix / "releases")) == sorted([first, second])

    done = install(prefix / "current", "rollback")
    assert done.returncode == 0, done.stderr
    assert (prefix / "current").readlink().name == first
    assert (prefix / "previous").readlink().name == second
    assert f"current: {first}" in install(prefix / "current", "status").stdout

    model = prefix / "current" / "model.tflite"
    model.write_bytes(model.read_bytes()[:-2000])  # a bad card; to install it once more mends that
    done = install(unpacked, *options)
    assert done.returncode == 0, done.stderr
    assert f"{first} is damaged and is installed anew" in done.stdout
    assert (prefix / "current").readlink().name == f"again-{first}"
    subprocess.run(command, capture_output=True, check=True)

    (prefix / "mine.txt").touch()
    assert install(prefix / "current", "uninstall").returncode == 0
    assert os.listdir(prefix) == ["mine.txt"]


def test_install_refuses_damaged_files_and_wrong_words(unpacked: Path, tmp_path: Path) -> None:
    options = ("--prefix", str(tmp_path / "p"), "--system", "--python", sys.executable)
    for arguments in (["instal"], ["install", "update"], ["--prefix"], ["--port", "x"]):
        assert install(unpacked, *arguments).returncode == 2
    (unpacked / "model.tflite").write_bytes(b"x")
    done = install(unpacked, *options)
    assert done.returncode == 1
    assert "is not what MANIFEST.json lists" in done.stderr
    (unpacked / "model.tflite").unlink()
    assert "is missing" in install(unpacked, *options).stderr
    assert os.listdir(tmp_path / "p" / "releases") == []
    lock = subprocess.Popen(
        ["flock", str(tmp_path / "p" / ".lock"), "-c", "echo held; sleep 30"], stdout=subprocess.PIPE
    )
    try:
        assert lock.stdout is not None
        lock.stdout.readline()
        assert "Another installation" in install(unpacked, *options).stderr
    finally:
        lock.kill()


def test_install_touches_no_releases_but_its_own(unpacked: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "p"
    options = ("--prefix", str(prefix), "--system", "--python", sys.executable)
    foreign = prefix / "releases" / "20260101"
    foreign.mkdir(parents=True)
    for action in ("install", "uninstall"):
        done = install(unpacked, action, *options)
        assert done.returncode == 1
        assert "holds releases of something else" in done.stderr
        assert foreign.exists()
    foreign.rmdir()
    assert install(unpacked, *options).returncode == 0
    other = reworked(unpacked, tmp_path / "other", {"install.sh": ('[ "$owner" = digits ]', '[ "$owner" = birds ]')})
    for action in ("install", "uninstall"):
        assert "holds digits, not" in install(other, action, *options).stderr
    assert (prefix / "current" / "run").exists()


SYSTEMCTL = """\
#!{python}
import contextlib, os, shlex, signal, subprocess, sys
state, unit = "{state}", "{unit}"
if "restart" in sys.argv or "disable" in sys.argv:
    if os.path.exists(state):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(open(state).read()), signal.SIGTERM)
        os.remove(state)
if "restart" in sys.argv:
    (line,) = [line for line in open(unit) if line.startswith("ExecStart=")]
    words = shlex.split(line.removeprefix("ExecStart="))
    log = open(state + ".log", "ab")
    process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, close_fds=True)
    open(state, "w").write(str(process.pid))
"""


def test_without_systemd_a_service_is_one_error_and_the_rest_works(unpacked: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "bin", tmp_path / "units"):
        folder.mkdir()
    fake = tmp_path / "bin" / "systemctl"
    fake.write_text("#!/bin/sh\necho 'Host is down' >&2\nexit 1\n")
    fake.chmod(0o755)
    prefix, units, path = tmp_path / "p", ("--unit-dir", str(tmp_path / "units")), str(tmp_path / "bin")
    options = ("--prefix", str(prefix), "--system", "--python", sys.executable, *units)
    done = install(unpacked, *options, "--service", path=path)
    assert done.returncode == 1
    assert f"Without systemd: {prefix}/current/run serve --port 8600" in done.stderr
    assert not list((tmp_path / "units").iterdir())
    (tmp_path / "units" / "edgepress-digits.service").touch()  # of a time when systemd ran
    assert install(prefix / "current", "uninstall", *units, path=path).returncode == 0
    assert not prefix.exists()


def test_a_service_that_does_not_come_up_is_rolled_back(unpacked: Path, tmp_path: Path) -> None:
    import http.client
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    prefix, unit = tmp_path / "p", tmp_path / "units" / "edgepress-digits.service"
    for folder in (tmp_path / "bin", tmp_path / "units"):
        folder.mkdir()
    fake = tmp_path / "bin" / "systemctl"
    fake.write_text(SYSTEMCTL.format(python=sys.executable, state=tmp_path / "pid", unit=unit))
    fake.chmod(0o755)
    options = ("--prefix", str(prefix), "--system", "--python", sys.executable, "--unit-dir", str(unit.parent))
    service = ("--service", "--port", str(port), "--memory", "256M")
    path = str(fake.parent)

    def ready() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/ready")
        return connection.getresponse().status

    try:
        done = install(unpacked, *options, *service, path=path)
        assert done.returncode == 0, done.stderr
        assert ready() == 200
        text = unit.read_text()
        assert "MemoryMax=256M" in text
        assert "DynamicUser=yes" in text
        assert "NoNewPrivileges=yes" in text
        assert not re.search(r"%[A-Z]+%", text)
        first = (prefix / "current").readlink()
        change = {
            "edgepress/runtime/serve.py": ("def serve(", "raise SystemExit(1)\n\n\ndef serve("),
            "install.sh": ("range(60)", "range(4)"),
        }
        done = install(reworked(unpacked, tmp_path / "bad", change), "update", *options, path=path)
        assert done.returncode == 1
        assert "it runs" in done.stderr
        assert (prefix / "current").readlink() == first
        assert ready() == 200
        assert install(prefix / "current", "uninstall", "--unit-dir", str(unit.parent), path=path).returncode == 0
        assert not unit.exists()
        assert not prefix.exists()
    finally:
        subprocess.run([str(fake), "disable"], check=True)


def test_the_scripts_are_clean_and_the_unit_is_valid(unpacked: Path, tmp_path: Path) -> None:
    if shutil.which("shellcheck"):
        scripts = [str(unpacked / name) for name in ("install.sh", "run")]
        done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
        assert done.stdout == ""
    text = (unpacked / "service.unit").read_text()
    for key, value in {"PREFIX": "/", "PORT": "1", "USER": "DynamicUser=yes", "HOME": "yes", "MEMORY": "1G"}.items():
        text = text.replace(f"%{key}%", value)
    text = text.replace("//current/run", "/bin/true")
    (tmp_path / "a.service").write_text(text)
    if shutil.which("systemd-analyze"):
        command = ["systemd-analyze", "verify", "--recursive-errors=no", str(tmp_path / "a.service")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("", "")


def test_every_board_has_a_pinned_and_hashed_set() -> None:
    for name, board in boards.BOARDS.items():
        for format, engine in board.engines.items():
            lines = boards.pinned(name, format).read_text().splitlines()[1:]
            assert all(re.fullmatch(r"[\w.-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
            names = {line.partition("==")[0] for line in lines}
            assert set(boards.PACKAGES[engine]) <= names


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


# With the network.


@pytest.mark.slow
@pytest.mark.parametrize("board", boards.BOARDS)
def test_pinned_sets_resolve_for_their_boards(board: str) -> None:
    for format in boards.BOARDS[board].engines:
        path = boards.pinned(board, format)
        found = boards.resolve(board, ("--require-hashes", "--no-deps", "-r", str(path)))
        assert len(found) == len(path.read_text().splitlines()) - 1


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.13"])
@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
def test_a_fresh_environment_is_installed_and_proven(version: str, offline: bool, run: Any, tmp_path: Path) -> None:
    python = shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"needs Python {version}")
    board = f"pc64-py{version.replace('.', '')}"
    for samples in (2, 3):
        out = tmp_path / f"{samples}.zip"
        options = {"name": "app", "boards": [board], "offline": offline, "samples": samples}
        bundle(run.variants["tflite-int8"], out, **options)
        with zipfile.ZipFile(out) as archive:
            archive.extractall(tmp_path / f"{samples}")
    prefix = tmp_path / "prefix"
    for samples in (2, 3):
        done = install(tmp_path / f"{samples}" / "app", "--prefix", str(prefix), "--python", python)
        assert done.returncode == 0, done.stderr
    assert install(prefix / "current", "rollback").returncode == 0
    command = [prefix / "current" / "run", "classify", prefix / "current" / "samples" / "0.png", "--json"]
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["classes"][0]["label"] == "0"
