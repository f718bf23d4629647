"""The list of an installed release's files: what is compared, and that any damage is found."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from pathlib import Path

import pytest

from edgepress.runtime import installed
from edgepress.runtime.errors import InputError
from edgepress.runtime.installed import SUMS, add_report, damage_of, find_damage, write_list
from edgepress.runtime.selftest import selftest

FILES = {
    "model.tflite": b"model" * 99,
    "edgepress/runtime/installed.py": b"code",
    "samples/0.png": b"png",
    "empty": b"",
    "wheels/a.whl": b"not installed",
}


def manifest_of(files: dict[str, bytes]) -> bytes:
    rows = [{"path": name, "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()]
    fields = {"name": "demo", "files": rows}
    release_id = hashlib.sha256(f"{json.dumps(fields, indent=1)}\n".encode()).hexdigest()
    return f"{json.dumps({'id': release_id, **fields}, indent=1)}\n".encode()


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """An installed release with an environment."""
    folder = tmp_path / "release"
    added = {"interpreter": b"/bin/python\n", "venv/lib/x.py": b"x", "venv/lib/__pycache__/x.pyc": b"bytes"}
    for name, content in {**FILES, **added, "MANIFEST.json": manifest_of(FILES)}.items():
        if not name.startswith("wheels/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    (folder / "venv" / "lib64").symlink_to("lib")
    (folder / "venv" / "python").symlink_to(sys.executable)
    write_list(folder)
    report = tmp_path / "report"
    report.write_text('{"passed": true}\n')
    add_report(folder, report)
    report.rename(folder / "selftest.json")
    (folder / "former").symlink_to("../other")
    return folder


def regular_files(release: Path) -> list[Path]:
    return [path for path in sorted(release.rglob("*")) if path.is_file() and not path.is_symlink()]


def test_each_changed_byte_of_each_file_is_found(release: Path) -> None:
    assert find_damage(release) == []
    seed = random.randrange(1 << 32)
    draw = random.Random(seed)
    for path in regular_files(release):
        content = path.read_bytes()
        positions = draw.sample(range(len(content)), min(len(content), 40))
        for position in positions:
            changed = bytearray(content)
            changed[position] ^= draw.randint(1, 255)
            path.write_bytes(changed)
            assert path.name in damage_of(release), (seed, path, position)
        path.write_bytes(content[:-1] if content else b"x")
        assert path.name in damage_of(release), path
        path.write_bytes(content)
    assert find_damage(release) == []


def test_missing_files_added_ones_and_changed_links_are_found(release: Path) -> None:
    for path in regular_files(release):
        content = path.read_bytes()
        path.unlink()
        assert path.name in damage_of(release), path
        path.write_bytes(content)
    tag = sys.implementation.cache_tag
    added = ["numpy.py", "notes", "edgepress/x.py", "venv/x.pth", f"edgepress/__pycache__/x.{tag}.pyc"]
    added += [f"edgepress/__pycache__/x.{tag}.opt-1.pyc", "edgepress/x.pyc", "edgepress/__pycache__/x.so"]
    for name in added:
        (release / name).parent.mkdir(exist_ok=True)
        (release / name).touch()
        assert find_damage(release) == [f"{name} does not belong to it"]
        (release / name).unlink()
    for name in ("venv/lib64", "venv/python"):
        target = os.readlink(release / name)
        for other in ("elsewhere", f"{target}x"):
            (release / name).unlink()
            (release / name).symlink_to(other)
            assert find_damage(release) == [f"{name} differs"]
        (release / name).unlink()
        (release / name).symlink_to(target)
    assert find_damage(release) == []


def test_what_cannot_matter_is_no_damage(release: Path) -> None:
    cache = release / "edgepress" / "__pycache__"
    cache.mkdir()
    (cache / "x.cpython-30.pyc").touch()  # of another Python
    (release / "former").unlink()
    (release / "former").symlink_to("../another")
    assert find_damage(release) == []


def test_a_pipe_in_place_of_a_file_is_found_and_keeps_nobody_waiting(release: Path) -> None:
    (release / "model.tflite").unlink()
    os.mkfifo(release / "model.tflite")
    assert find_damage(release) == ["model.tflite differs"]


def test_a_message_names_three_files_and_shows_names_as_text(release: Path) -> None:
    for name in ("a\x1b[2J", "b\udcff", "c\n", "d", "e"):
        (release / name).touch()
    damage = damage_of(release)
    assert damage.endswith("and 2 more")
    assert damage.isprintable()
    assert damage.isascii()


@pytest.mark.parametrize("change", [b"x", b" ", b'"release": 9'])
def test_a_manifest_that_is_not_what_its_id_says_is_not_listed(release: Path, change: bytes) -> None:
    path = release / "MANIFEST.json"
    content = path.read_bytes()
    for position in (1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:position] + change + content[position:])
        with pytest.raises(ValueError, match=r"MANIFEST\.json is damaged|JSON|Expecting|Extra|delimiter|Invalid"):
            write_list(release)


def test_a_file_that_was_damaged_while_it_was_installed_is_found(release: Path) -> None:
    (release / "model.tflite").write_bytes(b"other")
    write_list(release)
    assert find_damage(release) == ["model.tflite differs"], "the sum is that of the manifest"


def test_a_release_of_an_earlier_edgepress_is_compared_with_its_manifest(release: Path) -> None:
    (release / SUMS).unlink()
    assert find_damage(release) == [f"{SUMS} differs"], "its installer writes the list"
    files = {name: content for name, content in FILES.items() if not name.startswith("edgepress")}
    (release / "MANIFEST.json").write_bytes(manifest_of(files))
    (release / "edgepress" / "runtime" / "installed.py").unlink()
    assert find_damage(release) == []
    (release / "more").touch()
    assert find_damage(release) == []
    (release / "model.tflite").write_bytes(b"other")
    assert find_damage(release) == ["model.tflite differs"]


def test_the_self_test_compares_the_files_of_an_installed_release(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (release / "samples" / "0.png").write_bytes(b"other")
    for path in (release, release / "model.tflite"):
        with pytest.raises(InputError, match=r"is damaged: samples/0\.png differs"):
            selftest(path)
    monkeypatch.setattr(installed, "compared", release.resolve())  # as the command has done
    with pytest.raises(Exception, match="is a text file"):
        selftest(release)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_says_what_is_damaged_and_tests_no_answers(
    release: Path, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    (release / "model.tflite").write_bytes(b"other")
    with pytest.raises(SystemExit) as ended:
        installed.main(["selftest", str(release), *["--json"] * as_json])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    said = json.loads(printed.out)["error"]["message"] if as_json else printed.err
    assert "model.tflite differs" in said
