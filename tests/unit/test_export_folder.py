"""A folder that `edgepress export` writes into: nothing of the user's is lost, and all files are written or none."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgepress.converters import files
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.exporting.folder import REPORT, WRITTEN, write_folder

TEXTS = {"model.c": "int a;\n", "model.h": "int b;\n", "README.md": "# a\n", "src/model.c": "int c;\n"}
NEW = {name: f"/* new */ {text}" for name, text in TEXTS.items()}


def write(folder: Path, texts: dict[str, str] = TEXTS, *, overwrite: bool = False) -> list[str]:
    return write_folder(folder, texts, {"schema_version": 1, "file": "a.tflite"}, overwrite=overwrite)[1]


def content(folder: Path) -> dict[str, Any]:
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_an_export_replaces_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    write(tmp_path / "c")
    before = content(tmp_path / "c")
    assert write(tmp_path / "c") == []
    assert content(tmp_path / "c") == before
    write(tmp_path / "c", NEW)
    assert (tmp_path / "c" / "model.c").read_text() == NEW["model.c"]


@pytest.mark.parametrize("name", [*WRITTEN, REPORT])
def test_a_file_of_the_user_is_named_and_stays_unless_it_may_be_replaced(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    put(folder / name, "mine")
    texts = dict.fromkeys(WRITTEN, "int new;\n")
    with pytest.raises(InputError, match=r"holds files that export would replace") as caught:
        write(folder, texts)
    assert name in caught.value.message
    assert "--overwrite" in caught.value.hint
    assert content(folder) == {name: b"mine"}
    write(folder, texts, overwrite=True)
    assert content(folder).keys() == {*WRITTEN, REPORT}
    assert b"mine" not in content(folder).values()


@pytest.mark.parametrize("name", [*TEXTS, REPORT])
def test_a_changed_file_of_an_earlier_export_is_named_alone_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    write(tmp_path / "c")
    path = tmp_path / "c" / name
    path.write_text(path.read_text().replace("a", "A", 1) + " ")
    before = content(tmp_path / "c")
    with pytest.raises(InputError, match="changed since") as caught:
        write(tmp_path / "c", NEW)
    named = caught.value.message.partition("changed since: ")[2].rstrip(".").split(", ")
    assert named == ([*TEXTS, REPORT] if name == REPORT else [name])
    assert content(tmp_path / "c") == before
    write(tmp_path / "c", NEW, overwrite=True)
    assert path.read_text() != before[name].decode()


def test_a_forged_report_makes_no_file_an_exports(tmp_path: Path) -> None:
    write(tmp_path / "c")
    report = (tmp_path / "c" / REPORT).read_text()
    put(tmp_path / "c" / "model.h", "mine")
    (tmp_path / "c" / REPORT).write_text(report.replace("model.c", "mine.c"))
    before = content(tmp_path / "c")
    with pytest.raises(InputError):
        write(tmp_path / "c", NEW)
    assert content(tmp_path / "c") == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("link", ["c", "c/src"])
def test_a_link_to_a_folder_leads_no_file_elsewhere(link: str, overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    before = content(tmp_path)
    with pytest.raises(InputError, match="is a link"):
        write(tmp_path / "c", overwrite=overwrite)
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["model.c", REPORT])
def test_a_link_to_a_file_is_replaced_by_request_alone_and_its_file_stays(name: str, tmp_path: Path) -> None:
    put(tmp_path / "mine", "mine")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / name).symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="holds files"):
        write(tmp_path / "c")
    write(tmp_path / "c", overwrite=True)
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "c" / name).is_symlink()


def test_a_folder_in_the_place_of_a_file_is_never_replaced(tmp_path: Path) -> None:
    put(tmp_path / "c" / "model.h" / "a", "mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"model\.h is no file"):
            write(tmp_path / "c", overwrite=overwrite)
    assert content(tmp_path / "c") == {"model.h/a": b"mine"}


def fail_at(place: int, original: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """A function that raises an error in its call of this number, from 0."""
    calls = itertools.count()

    def failing(*arguments: Any) -> Any:
        if next(calls) == place:
            raise error
        return original(*arguments)

    return failing


@pytest.mark.parametrize("kind", ["writing", "renaming"])
def test_an_interrupted_export_loses_nothing_and_the_next_one_goes_on(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each file in turn: what is there is old or new, and old everywhere while files are written."""
    folder = tmp_path / "c"
    for place in range(len(TEXTS) + 1):
        write(folder)
        before = content(folder)
        left = random.Random(place).choice((OSError(28, "No space left on device"), KeyboardInterrupt()))
        owner, name = (Path, "write_bytes") if kind == "writing" else (files, "replace")
        failing = fail_at(place, getattr(owner, name), left)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing)
            with pytest.raises((InputError, KeyboardInterrupt)):
                write(folder, NEW)
        after = content(folder)
        assert after.keys() == before.keys()
        assert all(after[each] in (before[each], NEW.get(each, "").encode()) for each in after)
        assert kind == "renaming" or after == before
        write(folder, NEW)
        write(folder)
