"""Installing bundles, mostly with packages that are already here, so that nothing is downloaded."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from bundling import install, reworked

from edgepress.toolkit.shipping.bundles.build import bundle


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
    assert "0.png: label " in failed.stderr
    assert first in failed.stderr
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
    assert (prefix / "previous").resolve().name == second
    assert f"current: {first}" in install(prefix / "current", "status").stdout

    model = prefix / "current" / "model.tflite"
    model.write_bytes(model.read_bytes()[:-2000])  # a bad card; to install it once more fixes that
    done = install(unpacked, *options)
    assert done.returncode == 0, done.stderr
    assert f"{first} is damaged" in done.stdout
    assert (prefix / "current").readlink().name == f"again-{first}"
    subprocess.run(command, capture_output=True, check=True)

    (prefix / "mine.txt").touch()
    assert install(prefix / "current", "uninstall").returncode == 0
    assert os.listdir(prefix) == ["mine.txt"]


def test_a_bundle_without_samples_installs(run: Any, tmp_path: Path) -> None:
    """The line that names a sample ended the installation, after everything was installed."""
    path = bundle(run.variants["tflite-int8"], tmp_path / "app.zip", name="digits", samples=0).path
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    prefix = tmp_path / "my apps"
    done = install(tmp_path / "digits", "--prefix", str(prefix), "--system", "--python", sys.executable)
    assert done.returncode == 0, done.stderr
    assert "its self-test passes." in done.stdout
    assert "Try:" not in done.stdout


def test_install_refuses_damaged_files_and_wrong_words(unpacked: Path, tmp_path: Path) -> None:
    options = ("--prefix", str(tmp_path / "p"), "--system", "--python", sys.executable)
    for arguments in (["instal"], ["install", "update"], ["--prefix"], ["--port", "x"]):
        assert install(unpacked, *arguments).returncode == 2
    (unpacked / "model.tflite").write_bytes(b"x")
    done = install(unpacked, *options)
    assert done.returncode == 1
    assert "MANIFEST.json" in done.stderr
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
        assert str(prefix) in done.stderr
        assert foreign.exists()
    foreign.rmdir()
    assert install(unpacked, *options).returncode == 0
    other = reworked(unpacked, tmp_path / "other", {"install.sh": ('[ "$owner" = digits ]', '[ "$owner" = birds ]')})
    for action in ("install", "uninstall"):
        assert "digits, not" in install(other, action, *options).stderr
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
            "install.sh": ("answers 30", "answers 4"),
        }
        done = install(reworked(unpacked, tmp_path / "bad", change), "update", *options, path=path)
        assert done.returncode == 1
        assert first.name in done.stderr
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


@pytest.mark.parametrize("version", ["3.11", "3.13"])
@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
def test_a_fresh_environment_is_installed_and_proven(version: str, offline: bool, run: Any, tmp_path: Path) -> None:
    python = shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"needs Python {version}")
    board = f"pc64-py{version.replace('.', '')}"
    for samples in (2, 3):
        out = tmp_path / f"{samples}.zip"
        options = {"name": "app", "board": [board], "offline": offline, "samples": samples}
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
