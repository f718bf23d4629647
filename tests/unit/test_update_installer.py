"""What an update accepts of a bundle, and what it concludes from how install.sh ends."""

from __future__ import annotations

import dataclasses
import errno
import json
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates import installer
from edgepress.runtime.updates.installer import (
    UnsureError,
    VerdictError,
    read_bundle,
    remove_release,
    run_installer,
    staging_folder,
    system_error,
    unpack,
)
from edgepress.runtime.updates.place import Place
from edgepress.runtime.updates.releases import Release

ID = "4" * 64
RELEASE = Release(4, ID, "demo/demo-4.zip", ("pi64-py313",))
MANIFEST = {"name": "demo", "release": 4, "id": ID}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An installation of release 3."""
    folder = tmp_path / "prefix" / "releases" / "three-board"
    folder.mkdir(parents=True)
    (folder / "interpreter").write_text("/usr/bin/python3\n")
    return Place(tmp_path / "prefix", folder, "demo", "", 3, "3" * 64, "pi64-py313")


def bundle(folder: Path, files: dict[str, bytes] | None = None, **manifest: Any) -> Path:
    """A bundle of release 4, which holds zeros that a zip could pack."""
    content = {"demo/MANIFEST.json": json.dumps(MANIFEST | manifest).encode()} | (files or {})
    with zipfile.ZipFile(folder / "b.zip", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return folder / "b.zip"


# The bundle.


def test_a_bundle_is_unpacked_into_an_empty_folder(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "unpacked"
    (out / "old").mkdir(parents=True)
    deepest = "/".join(["demo", *"abcdef", "file"])
    path = bundle(tmp_path, {"demo/run": b"x", deepest: b"deep"})
    assert unpack(path, place, RELEASE, out) == out / "demo"
    assert not (out / "old").exists()
    assert (out / deepest).read_bytes() == b"deep"
    assert (out / "demo" / "run").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("top", "not accepted"),
        ("other/run", "not accepted"),
        ("demo/../run", "not accepted"),
        ("demo//run", "not accepted"),
        ("/".join(["demo", *"abcdefg", "file"]), "not accepted"),
    ],
)
def test_a_name_that_leads_elsewhere_or_too_deep_is_a_verdict(
    name: str, words: str, place: Place, tmp_path: Path
) -> None:
    with pytest.raises(VerdictError, match=words):
        unpack(bundle(tmp_path, {name: b"x"}), place, RELEASE, tmp_path / "unpacked")


@pytest.mark.parametrize(("files", "accepted"), [(2, True), (1, False)])
def test_a_bundle_has_so_many_files_at_most(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, *, accepted: bool
) -> None:
    monkeypatch.setattr(installer, "MAX_FILES", files)
    path = bundle(tmp_path, {"demo/run": b"x"})
    if accepted:
        unpack(path, place, RELEASE, tmp_path / "unpacked")
    else:
        with pytest.raises(VerdictError, match="it unpacks to more than its own size"):
            unpack(path, place, RELEASE, tmp_path / "unpacked")


def test_a_bundle_that_packs_its_files_is_a_verdict(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("demo/MANIFEST.json", json.dumps(MANIFEST))
        archive.writestr("demo/zeros", bytes(1 << 16))
    with pytest.raises(VerdictError, match="it unpacks to more than its own size"):
        unpack(path, place, RELEASE, tmp_path / "unpacked")


@pytest.mark.parametrize("changed", [{"name": "other"}, {"release": 5}, {"id": "5" * 64}, {"release": None}])
def test_a_bundle_that_is_not_the_one_of_the_list_is_a_verdict(
    changed: dict[str, Any], place: Place, tmp_path: Path
) -> None:
    with pytest.raises(
        VerdictError, match=r"Refused \(wrong software\): the bundle is .*, not demo 4 \(444444444444\)"
    ):
        unpack(bundle(tmp_path, **changed), place, RELEASE, tmp_path / "unpacked")


def test_what_the_system_refuses_is_no_verdict(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bundle(tmp_path)
    for error, words in (
        (OSError(errno.ENOSPC, "No space left"), "No space left"),
        (MemoryError(), "too little memory"),
    ):

        def copy(*_: Any, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(installer, "shutil", types.SimpleNamespace(rmtree=lambda *_, **__: None, copyfileobj=copy))
        with pytest.raises(UpdateError, match=rf"b\.zip can't be unpacked to .*unpacked: .*{words}") as caught:
            unpack(path, place, RELEASE, tmp_path / "unpacked")
        assert not isinstance(caught.value, VerdictError)


def test_an_error_of_the_system_names_what_failed() -> None:
    assert system_error(OSError(5, "I/O error", "/dev/x")).message == "/dev/x: I/O error."
    assert system_error(OSError(5, "I/O error", "/dev/x"), "It failed").message == "It failed: I/O error."
    assert system_error(OSError("odd")).message == "odd."
    assert system_error(MemoryError()).message == "there is too little memory."


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "other"}, "is a bundle of other, not of demo"),
        ({"release": None}, "has no release number"),
        ({"release": True}, "has no release number"),
        ({"release": "4"}, "has no release number"),
    ],
)
def test_a_bundle_that_is_given_must_be_of_the_application_and_have_a_number(
    changed: dict[str, Any], words: str, place: Place, tmp_path: Path
) -> None:
    assert read_bundle(bundle(tmp_path), place) == (4, ID)
    with pytest.raises(UpdateError, match=words):
        read_bundle(bundle(tmp_path, **changed), place)
    (tmp_path / "b.zip").write_bytes(b"no zip")
    with pytest.raises(UpdateError, match="is not a bundle"):
        read_bundle(tmp_path / "b.zip", place)


# install.sh.


class Script:
    """install.sh that ends with a code and says something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.code, self.out, self.err, self.hangs = 0, "", "", False
        self.words: list[str] = []
        self.limit_s = 0.0
        fake = types.SimpleNamespace(run=self._run, DEVNULL=None, TimeoutExpired=subprocess.TimeoutExpired)
        monkeypatch.setattr(installer, "subprocess", fake)

    def _run(self, words: list[str], *, timeout: float, **_: Any) -> Any:
        self.words, self.limit_s = words, timeout
        if self.hangs:
            raise subprocess.TimeoutExpired(words, timeout)
        return types.SimpleNamespace(returncode=self.code, stdout=self.out, stderr=self.err)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


def test_a_release_is_installed_as_the_one_in_use_was(script: Script, place: Place, tmp_path: Path) -> None:
    script.out = "done"
    assert run_installer(place, tmp_path, "stage") == "done"
    assert script.words[:5] == ["sh", str(tmp_path / "install.sh"), "stage", "--prefix", str(place.prefix)]
    python = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    assert script.words[5:] == (["--python", str(python)] if python.exists() else [])
    assert script.limit_s == 3600
    system = place.release_folder.rename(place.release_folder.with_name("three-system"))
    run_installer(Place(place.prefix, system, "demo", "", 3, "", ""), tmp_path, "stage")
    assert script.words[5:] == ["--system", "--python", "/usr/bin/python3"]


@pytest.mark.parametrize(
    ("code", "action", "kind", "hint"),
    [
        (3, "stage", VerdictError, "this one is not tried again"),
        (3, "switch", VerdictError, "this one is not tried again"),
        (4, "stage", UnsureError, "the update is tried again"),
        (1, "stage", UpdateError, "the update is tried again"),
        (1, "switch", UpdateError, "goes back if it does not work"),
        (-9, "back", UpdateError, "goes back if it does not work"),
    ],
)
def test_the_exit_code_says_who_is_to_blame(
    code: int, action: str, kind: type, hint: str, script: Script, place: Place, tmp_path: Path
) -> None:
    script.code, script.err = code, "Error: it failed\n"
    with pytest.raises(UpdateError) as caught:
        run_installer(place, tmp_path, action)
    assert type(caught.value) is kind
    assert caught.value.message == "it failed"
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("Error: first\nnoise\nError: last\nmore\n", "last more"),
        ("one\ntwo\nthree\n", "two three"),
        ("\n  \n", "install.sh ended with 1."),
    ],
)
def test_the_last_error_that_it_names_is_told_else_its_last_lines(
    said: str, message: str, script: Script, place: Place, tmp_path: Path
) -> None:
    script.code, script.err = 1, said
    with pytest.raises(UpdateError) as caught:
        run_installer(place, tmp_path, "stage")
    assert caught.value.message == message


def test_a_script_that_does_not_end_is_tried_again(script: Script, place: Place, tmp_path: Path) -> None:
    script.hangs = True
    with pytest.raises(UpdateError, match=r"install\.sh stage did not end in 3600 s\."):
        run_installer(place, tmp_path, "stage")


# What it installed.


def release(place: Place, name: str, release_id: str = ID, *, complete: bool = True) -> Path:
    folder = place.prefix / "releases" / name
    folder.mkdir(exist_ok=True)
    (folder / "MANIFEST.json").write_text(json.dumps({"id": release_id}))
    if complete:
        (folder / "selftest.json").touch()
    return folder


def test_the_release_beside_the_one_in_use_is_the_complete_one_of_its_id(place: Place) -> None:
    release(place, "a", complete=False)
    (release(place, "b") / "MANIFEST.json").write_text("{")
    release(place, "c", "5" * 64)
    release(place, "three-board")
    former = release(place, "d")
    (place.release_folder / "former").symlink_to(former)
    with pytest.raises(UpdateError, match="Release 5 is not in"):
        staging_folder(place, dataclasses.replace(RELEASE, release=5, id="6" * 64))
    assert staging_folder(place, RELEASE) == former, "as after a rollback by hand"
    wanted = release(place, "e")
    assert staging_folder(place, RELEASE) == wanted, "the former one is the last choice"
    remove_release(wanted)
    assert not wanted.exists()
    remove_release(wanted)
