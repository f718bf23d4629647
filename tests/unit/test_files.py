import json
import os
from pathlib import Path

import pytest

from edgepress.converters.files import require_folder, temporary_path, whole_file, write_bytes, write_json, write_text
from edgepress.toolkit.errors import InputError


def test_writes_text_bytes_and_json_and_makes_the_folder(tmp_path):
    write_text(tmp_path / "new" / "folder" / "a.txt", "grün")
    write_bytes(tmp_path / "b", b"\x00\xff")
    write_json(tmp_path / "c.json", {"label": "grün", "n": [1, 2.5]})
    assert (tmp_path / "new" / "folder" / "a.txt").read_text(encoding="utf-8") == "grün"
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert json.loads((tmp_path / "c.json").read_text()) == {"label": "grün", "n": [1, 2.5]}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    write_text(tmp_path / "a.txt", "old")

    def interrupted():
        with whole_file(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else(tmp_path):
    left = ".a[1].edgepress-999999994.json"  # no process has such a number
    (tmp_path / left).write_text("half")
    own = [".a[1].json", ".a[1].2024.json", ".a[1].edgepress-x.json", f".a[1].edgepress-{os.getpid()}.json.bak"]
    others = [f".a[1].edgepress-{os.getppid()}.json", ".b.edgepress-999999995.json"]
    for name in (*own, *others):
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / ".a[1].edgepress-999999998.json").symlink_to(".a[1].json")
    (tmp_path / ".a[1].edgepress-999999997.json").mkdir()
    (tmp_path / ".a[1].edgepress-999999996.json").write_text("being written now by another machine")
    os.utime(tmp_path / left, (1, 1))
    before = {*os.listdir(tmp_path)}
    write_text(tmp_path / "a[1].json", "{}")
    assert {*os.listdir(tmp_path)} == before - {left} | {"a[1].json"}


def test_the_temporary_file_has_the_same_suffix_and_folder(tmp_path):
    with whole_file(tmp_path / "model.keras") as temporary:
        assert temporary.suffix == ".keras"
        assert temporary.parent == tmp_path
        temporary.touch()
        assert not (tmp_path / "model.keras").exists()
    assert os.listdir(tmp_path) == ["model.keras"]


def test_a_full_disk_is_one_clear_error(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")

    def fill():
        with whole_file(tmp_path / "a.txt"), open("/dev/full", "wb") as full:
            full.write(b"x" * 100_000)

    with pytest.raises(InputError, match=r"a\.txt can't be written: No space left") as e:
        fill()
    assert "disk space" in e.value.hint


def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match="can't be written"):
        write_text(tmp_path / "a" / "b.txt", "")


def test_a_folder_that_can_not_be_written_is_known_beforehand(tmp_path, monkeypatch):
    require_folder(tmp_path / "new/folder")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/inner"):
        with pytest.raises(InputError, match=r"file is not a folder.*--out"):
            require_folder(folder)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(InputError, match=r"can't be written.*another folder with --out"):
        require_folder(tmp_path / "new/folder")


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert not os.listdir(tmp_path)


def test_a_link_under_the_temporary_name_is_not_followed(tmp_path):
    """A repository may hold one for every process number."""
    (tmp_path / "mine").write_text("mine")
    temporary_path(tmp_path / "x.md", os.getpid()).symlink_to(tmp_path / "mine")
    with whole_file(tmp_path / "x.md") as temporary:
        temporary.write_text("report")
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "x.md").is_symlink()
    assert (tmp_path / "x.md").read_text() == "report"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
@pytest.mark.parametrize("link", [False, True])
def test_a_pipe_or_a_link_to_one_is_not_replaced(tmp_path, link):
    path = tmp_path / "out.html"
    os.mkfifo(tmp_path / "pipe" if link else path)
    if link:
        path.symlink_to("pipe")
    before = path.lstat()
    with pytest.raises(InputError, match=r"out\.html can't be written: it is a pipe, a socket or a device"):
        write_text(path, "<p>")
    assert path.lstat() == before
    assert not [name for name in os.listdir(tmp_path) if "edgepress" in name]


@pytest.mark.parametrize("name", ["stdout", "edgepress-new"])
def test_nothing_is_renamed_into_the_folder_of_devices(tmp_path, monkeypatch, name):
    """Root may: /dev/stdout became the report. The folder is another one here."""
    (tmp_path / "file").write_text("of the shell: command > file")
    (tmp_path / "stdout").symlink_to("file")
    (tmp_path / "fd").symlink_to(tmp_path)
    monkeypatch.setattr("os.path.realpath", lambda path: "/dev" if path in (tmp_path, tmp_path / "fd") else str(path))
    for folder in (tmp_path, tmp_path / "fd"):
        with pytest.raises(InputError, match="it lies in /dev, whose files other programs need"):
            write_text(folder / name, "<p>")
    assert {*os.listdir(tmp_path)} == {"file", "stdout", "fd"}
    write_text(tmp_path / "deeper" / name, "<p>")
