"""The one byte form of a bundle's zip and of its manifest: written exactly, and anything else refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import assert_frozen

from edgepress.toolkit.errors import BundleError
from edgepress.toolkit.shipping.bundles import archive, verify
from edgepress.toolkit.shipping.bundles.archive import pieces, read_archive, write_archive
from edgepress.toolkit.shipping.bundles.verify import BundledFile, Manifest, describe_files, parse_manifest

DATE = ((2026 - 1980) << 9 | 11 << 5 | 25) << 16 | (13 << 11 | 14 << 5 | 30 // 2)
FILES = {
    "app/MANIFEST.json": b"{}",
    "app/install.sh": b"#!/bin/sh\n",
    "app/run": b"x" * 3000,
    "app/lib/run": b"",
    "top": b"1",
}


def made(folder: Path, files: dict[str, bytes] = FILES, *, date: int = DATE) -> Path:
    for name, content in files.items():
        path = folder / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    write_archive(folder / "a.zip", folder / "source", list(files), date=date)
    return folder / "a.zip"


def refused(path: Path, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    with path.open("rb") as file, pytest.raises(BundleError) as caught:
        read_archive(file)
    return str(caught.value)


def test_any_unzip_reads_what_is_written(tmp_path: Path) -> None:
    with zipfile.ZipFile(made(tmp_path)) as zipped:
        assert zipped.testzip() is None
        assert {i.filename: zipped.read(i) for i in zipped.infolist()} == FILES
        for info in zipped.infolist():
            assert info.date_time == (2026, 11, 25, 13, 14, 30)
            assert (info.compress_type, info.create_system, info.flag_bits) == (zipfile.ZIP_STORED, 3, 0)
            assert (info.extract_version, info.create_version) == (20, 20)
            program = info.filename in ("app/install.sh", "app/run")
            assert info.external_attr >> 16 == (0o100755 if program else 0o100644)
            assert (info.extra, info.comment, info.internal_attr) == (b"", b"", 0)


def test_headers_of_members_say_what_the_directory_says(tmp_path: Path) -> None:
    content = made(tmp_path, {"ab": b"12345"}).read_bytes()
    time, date, crc = DATE & 0xFFFF, DATE >> 16, zlib.crc32(b"12345")
    assert content[:30] == struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, time, date, crc, 5, 5, 2, 0)
    assert content[30:37] == b"ab12345"
    entry = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 788, 20, 0, 0, time, date, crc, 5, 5, 2, *[0] * 4, 0o100644 << 16, 0
    )
    assert content[37:] == entry + b"ab" + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, 48, 37, 0)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    with made(tmp_path).open("rb") as file:
        found = read_archive(file)
        assert found.date == DATE
        assert {name: b"".join(pieces(file, m)) for name, m in found.members.items()} == FILES
        for name, member in found.members.items():
            assert (member.name, member.size, member.crc) == (name, len(FILES[name]), zlib.crc32(FILES[name]))


def test_large_members_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_PIECE", 1000)
    with made(tmp_path).open("rb") as file:
        found = list(pieces(file, read_archive(file).members["app/run"]))
        assert [len(piece) for piece in found] == [1000, 1000, 1000]
        assert len(list(pieces(file, read_archive(file).members["app/lib/run"]))) == 0


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path)
    size = path.stat().st_size
    last = len(FILES) * 30 + sum(map(len, FILES)) + sum(map(len, FILES.values()))
    with path.open("rb") as file:
        monkeypatch.setattr(archive, "MAX_BYTES", size)
        read_archive(file)
    monkeypatch.setattr(archive, "MAX_BYTES", size - 1)
    assert str(size - 1) in refused(path)
    monkeypatch.setattr(archive, "MAX_BYTES", last)
    made(tmp_path)
    monkeypatch.setattr(archive, "MAX_BYTES", last - 1)
    with pytest.raises(BundleError, match=str(last - 1)):
        made(tmp_path)
    monkeypatch.undo()
    made(tmp_path)
    monkeypatch.setattr(archive, "MAX_MEMBERS", len(FILES))
    with path.open("rb") as file:
        read_archive(file)
    monkeypatch.setattr(archive, "MAX_MEMBERS", len(FILES) - 1)
    assert "5 members" in refused(path)


def test_a_bundle_is_no_larger_than_a_plain_zip_can_say() -> None:
    assert archive.MAX_BYTES == 2**32 - 1


@pytest.mark.parametrize(
    "name", ["../a", "/a", "a//b", "a/", "a/../b", ".hidden", "a/.b", "a\\b", "a b", "ä", "C:", "-a", "a/-b", "", "a\n"]
)
def test_names_that_may_lead_out_of_the_folder_are_refused(name: str) -> None:
    with pytest.raises(BundleError):
        archive._check_names([name])


def test_names_that_differ_in_case_alone_or_make_a_folder_of_a_file_are_refused() -> None:
    archive._check_names(["a-b_c.d+e/F1", "a-b_c.d+e/f2", "x" * 240])
    for names in (["a", "A"], ["a/b", "A/B"], ["a", "a"], ["a", "a/b"], ["a/b/c", "a/B"], ["A/b", "a"], ["x" * 241]):
        with pytest.raises(BundleError):
            archive._check_names(names)


def test_a_wrong_name_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        made(tmp_path, {"a": b"", "a b": b""})


def test_any_changed_byte_of_a_header_is_refused_and_any_of_the_data_is_left_to_the_hash(tmp_path: Path) -> None:
    path = made(tmp_path, {"app/a": b"12345", "app/b": b""})
    whole = path.read_bytes()
    data = range(30 + 5, 30 + 5 + 5)
    for at in range(len(whole)):
        for flip in (1, 0x80):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            with path.open("rb") as file:
                if at in data:
                    read_archive(file)
                else:
                    with pytest.raises(BundleError):
                        read_archive(file)


def test_cut_continued_and_other_files_are_refused(tmp_path: Path) -> None:
    path = made(tmp_path)
    whole = path.read_bytes()
    for content in (
        b"",
        whole[:-1],
        whole[:-22],
        whole + b"\0",
        b"\0" + whole,
        whole[:21],
        b"PK\x05\x06",
        whole + whole,
    ):
        refused(path, content)
    comment = whole[:-2] + struct.pack("<H", 1) + b"c"
    refused(path, comment)


def test_a_gap_between_members_or_before_the_directory_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, {"a": b"1", "b": b"2"})
    whole = path.read_bytes()
    start = struct.unpack_from("<I", whole, len(whole) - 6)[0]

    def move_ranges(content: bytes, by: int, second: int) -> bytes:
        end = len(content) - 6
        entry = start + by + 46 + 1 + 42  # where the second member begins
        content = content[:end] + struct.pack("<I", start + by) + content[end + 4 :]
        return content[:entry] + struct.pack("<I", 32 + second) + content[entry + 4 :]

    assert move_ranges(whole, 0, 0) == whole
    refused(path, move_ranges(whole[:start] + b"\0" + whole[start:], 1, 0))
    refused(path, move_ranges(whole[:32] + b"\0" + whole[32:], 1, 1))
    refused(path, move_ranges(b"\0" + whole, 1, 1))


@pytest.mark.parametrize(
    ("offset", "form", "value", "named"),
    [
        (8, "<H", 1, "encrypted"),
        (10, "<H", 8, "8"),
        (20, "<I", 7, "7"),
        (38, "<I", 0o120777 << 16, ""),
        (38, "<I", 0o060644 << 16, ""),
    ],
)
def test_the_commonest_other_zips_are_told_apart(
    tmp_path: Path, offset: int, form: str, value: int, named: str
) -> None:
    path = made(tmp_path, {"a": b"12345"})
    whole = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", whole, len(whole) - 6)[0]
    struct.pack_into(form, whole, start + offset, value)
    text = refused(path, bytes(whole))
    assert named in text
    assert "'a'" in text
    assert "fields" not in text, "it is named, not only found to differ"


def test_zips_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", method) as zipped:
            zipped.writestr("a", b"1" * 100)
        refused(path)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9_]{1,6}(/[a-z0-9_]{1,4})?", fullmatch=True), st.binary(max_size=40), max_size=5
    )
)
def test_whatever_is_written_is_read_or_refused_at_once(tmp_path_factory: Any, files: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("any")
    tops = {name for name in files if "/" not in name}
    if any(name.partition("/")[0] in tops for name in files if "/" in name):
        return
    with made(folder, files).open("rb") as file:
        found = read_archive(file)
        assert {name: b"".join(pieces(file, m)) for name, m in found.members.items()} == files
        assert found.date == (DATE if files else 0)


# The manifest.

WHOLE = Manifest(
    name="app",
    format="zip",
    edgepress="1.0",
    model="model.tflite",
    scheme="tflite-int8",
    engine="litert 2.3",
    dated="2026-11-25T13:14:30Z",
    boards=("pi4",),
    offline=False,
    files=(
        BundledFile(path="a", size_bytes=3, sha256="0" * 64),
        BundledFile(path="model.tflite", size_bytes=0, sha256="1" * 64),
    ),
)


def test_records_are_frozen() -> None:
    assert_frozen(verify, by_position=frozenset({"Verified"}))


def test_a_manifest_is_read_back_and_its_id_covers_all_of_it() -> None:
    data = WHOLE.to_bytes()
    assert parse_manifest(data) == WHOLE
    raw = json.loads(data)
    assert next(iter(raw)) == "id"
    del raw["id"]
    assert WHOLE.id == hashlib.sha256((json.dumps(raw, indent=1) + "\n").encode()).hexdigest()
    for field in dataclasses.fields(Manifest):
        changed = {"offline": True, "boards": (), "files": (), "schema_version": 2}.get(field.name, "other")
        assert dataclasses.replace(WHOLE, **{field.name: changed}).id != WHOLE.id
    assert data.isascii()
    assert dataclasses.replace(WHOLE, name="ä").to_bytes().isascii()


@pytest.mark.parametrize(
    "change",
    [
        {"id": "0" * 64},
        {"name": 3},
        {"format": None},
        {"dated": 1},
        {"files": [{"path": 1, "size_bytes": 3, "sha256": "00"}]},
        {"files": [{"path": "a"}]},
        {"files": 3},
        {"boards": None},
        {"more": 1},
        {"schema_version": 2},
        {"schema_version": "1"},
        {"schema_version": None},
    ],
)
def test_a_manifest_that_was_edited_is_refused(change: dict[str, Any]) -> None:
    raw = json.loads(WHOLE.to_bytes()) | change
    with pytest.raises(BundleError):
        parse_manifest((json.dumps(raw, indent=1) + "\n").encode())


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../x"},
        {"name": ""},
        {"name": "\x1b[2J"},
        {"name": "a" * 65},
        {"name": 3},
        {"format": "exe"},
        {"edgepress": None},
        {"model": "other"},
        {"model": None},
        {"scheme": {"a": 1}},
        {"engine": 3},
        {"dated": []},
        {"boards": (1,)},
        {"boards": ([],)},
        {"offline": "maybe"},
        {"offline": 1},
        {"release": 0},
        {"release": True},
        {"release": 1.0},
        {"schema_version": "1"},
        {"schema_version": 1.0},
        {"schema_version": True},
        {"schema_version": 0},
        {"files": ()},
        {"files": (*WHOLE.files, BundledFile(path="c", size_bytes="3", sha256="0" * 64))},  # type: ignore[arg-type]
        {"files": (*WHOLE.files, BundledFile(path="c", size_bytes=3, sha256="00"))},
        {"files": (*WHOLE.files, BundledFile(path=1, size_bytes=3, sha256="0" * 64))},  # type: ignore[arg-type]
    ],
)
def test_a_manifest_with_a_right_hash_and_other_values_than_edgepress_writes_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="is not in the form"):
        parse_manifest(dataclasses.replace(WHOLE, **change).to_bytes())


@pytest.mark.parametrize("field", ["id", "name", "boards", "files", "schema_version"])
def test_a_manifest_without_a_field_is_refused(field: str) -> None:
    raw = json.loads(WHOLE.to_bytes())
    del raw[field]
    with pytest.raises(BundleError):
        parse_manifest((json.dumps(raw, indent=1) + "\n").encode())


def test_a_manifest_in_other_bytes_is_refused() -> None:
    data = WHOLE.to_bytes()
    for other in (data[:-1], data + b"\n", data.replace(b"\n ", b"\n  "), b"", b"[]", b"3", b"[" * 5000):
        with pytest.raises(BundleError):
            parse_manifest(other)


def test_a_manifest_of_as_many_files_as_a_bundle_may_hold_is_within_its_limit() -> None:
    files = tuple(
        BundledFile(path=f"{'folder/' * 12}{number}", size_bytes=9, sha256="f" * 64)
        for number in range(archive.MAX_MEMBERS)
    )
    assert len(dataclasses.replace(WHOLE, files=files).to_bytes()) < verify.MAX_BYTES


def test_a_newer_manifest_says_so() -> None:
    with pytest.raises(BundleError, match=r"2.*1"):
        parse_manifest(b'{"schema_version": 2}')


def test_files_are_described_by_path_without_the_manifest(tmp_path: Path) -> None:
    for name, content in {"b": b"123", "a/c": b"", "MANIFEST.json": b"{}", "a/MANIFEST.json": b"4"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = describe_files(tmp_path)
    assert [(f.path, f.size_bytes) for f in found] == [("a/MANIFEST.json", 1), ("a/c", 0), ("b", 3)]
    assert found[2].sha256 == hashlib.sha256(b"123").hexdigest()


@pytest.mark.parametrize("directory", [b"PK\x01\x02", b"PK\x01\x02" + bytes(41), b"PK\x01\x02" + bytes(60), bytes(80)])
def test_a_directory_that_is_shorter_than_it_claims_is_damaged(directory: bytes) -> None:
    with pytest.raises(BundleError, match="directory is damaged"):
        archive._parse(directory, 1)
