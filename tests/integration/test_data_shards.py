"""Tar shards: the layout, splits and labels, and archives that are damaged or hostile."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_data_folder import classes, image

from edgepress.runtime.image import load_image
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.readers import shard_scan
from edgepress.toolkit.errors import DataError

Member = tuple[str | tarfile.TarInfo, bytes]


def png(seed: int, size: tuple[int, int] = (30, 30)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def pairs(count: int = 10, first: int = 0, labels: int = 2) -> list[Member]:
    """Images with their classes."""
    members: list[Member] = []
    for i in range(first, first + count):
        members += [(f"{i:04d}.png", png(i)), (f"{i:04d}.cls", str(i % labels).encode())]
    return members


def shard(path: Path, members: Iterable[Member]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def special(name: str, kind: bytes, target: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def names(split) -> list[str]:  # type: ignore[no-untyped-def]
    return [split.name(row) for row in range(len(split))]


def test_shards_are_split_and_read_as_the_same_files_in_folders(tmp_path: Path) -> None:
    folder = classes(tmp_path / "photos", names=("0", "1"), count=12)
    files = sorted(folder.rglob("*.png"))
    for number in range(3):
        members = [
            (f"{i:03d}.{end}", content)
            for i, path in enumerate(files[number::3])
            for end, content in (("png", path.read_bytes()), ("cls", path.parent.name.encode()))
        ]
        shard(tmp_path / f"shards/{number:02d}.tar", members)
    expected = open_data(folder)
    for source in (str(tmp_path / "shards"), str(tmp_path / "shards/{00..02}.tar")):
        data = open_data(source)
        assert (data.sha256, data.labels, data.input) == (expected.sha256, expected.labels, expected.input)
        for name in ("train", "val", "test"):
            ours, theirs = getattr(data, name), getattr(expected, name)
            assert np.array_equal(ours.read(slice(None)), theirs.read(slice(None)))
            assert np.array_equal(ours.y, theirs.y)
    rows = np.array([3, 0, 7, 3])  # any order, and twice
    again = pickle.loads(pickle.dumps(data.train))
    assert np.array_equal(again.read(rows), expected.train.read(rows))
    assert len(again.source) == len(data.train)
    assert names(data.test) == names(pickle.loads(pickle.dumps(data.test)))
    assert data.train.source.stored_size(0) == (30, 30)


def test_splits_by_the_names_of_shards(tmp_path: Path) -> None:
    shard(tmp_path / "digits-train-0.tar", pairs(20))
    shard(tmp_path / "digits-test-0.tar", pairs(4, first=100))
    data = open_data(tmp_path)
    assert data.record.counts == {"train": 18, "val": 2, "test": 4}
    assert all("digits-test-0.tar: " in name for name in names(data.test))
    assert open_data(str(tmp_path / "digits-{train,test}-0.tar")).sha256 == data.sha256
    assert len(open_data(tmp_path / "digits-test-0.tar", purpose="evaluation").test) == 4
    with pytest.raises(DataError, match="none of train"):
        open_data(tmp_path / "digits-test-0.tar")
    for part in ("train", "test"):
        (tmp_path / "split" / part).mkdir(parents=True)
        (tmp_path / f"digits-{part}-0.tar").rename(tmp_path / f"split/{part}/0.tar")
    assert open_data(tmp_path / "split").sha256 == data.sha256
    shard(tmp_path / "one/train-0.tar", pairs())
    shard(tmp_path / "one/more-0.tar", pairs(first=50))
    with pytest.raises(DataError, match=r"more-0\.tar is not"):
        open_data(tmp_path / "one")


def test_copy_of_a_test_image_is_not_trained_on(tmp_path: Path) -> None:
    shard(tmp_path / "train-0.tar", [*pairs(20), ("copy.png", png(101)), ("copy.cls", b"1")])
    shard(tmp_path / "test-0.tar", pairs(4, first=100))
    assert [name for name, _ in open_data(tmp_path).skipped] == [f"{tmp_path}/train-0.tar: copy.png"]


def test_labels(tmp_path: Path) -> None:
    shard(tmp_path / "a/0.tar", [(f"{i}.{end}", content) for i in range(10) for end, content in
          (("png", png(i)), ("json", f'{{"label": "{"cat" if i % 2 else "ant"}", "by": "me"}}'.encode()))])  # fmt: skip
    assert open_data(tmp_path / "a").labels == ("ant", "cat")
    shard(tmp_path / "b/0.tar", pairs())
    assert open_data(tmp_path / "b").labels == ("0", "1")
    (tmp_path / "b/classes.txt").write_text("dog\ncat\n")
    assert open_data(tmp_path / "b").labels == ("dog", "cat")
    (tmp_path / "b/classes.txt").write_bytes(b"\xef\xbb\xbfdog\r\ncat\r\n")  # as editors of Windows write it
    data = open_data(tmp_path / "b")
    assert data.labels == ("dog", "cat")
    for row in range(len(data.train)):
        assert data.train.y[row] == int(Path(data.train.name(row)).stem.split(" ")[1]) % 2
    shard(tmp_path / "b/1.tar", pairs(labels=3, first=20))
    with pytest.raises(DataError, match=r"1\.tar has items of the class 2; .* 2 classes"):
        open_data(tmp_path / "b")
    data = open_data(tmp_path / "b", skip_unreadable=True)
    assert sum(data.record.counts.values()) == 10 + 6
    (tmp_path / "b/classes.txt").write_text("dog\ndog\n")
    with pytest.raises(DataError, match="'dog' more than once"):
        open_data(tmp_path / "b")


def test_items_without_labels_are_not_called_a_class(tmp_path: Path) -> None:
    shard(tmp_path / "0.tar", [(name, content) for name, content in pairs() if str(name).endswith("png")])
    with pytest.raises(DataError, match="has no item with a label"):
        open_data(tmp_path, skip_unreadable=True)


def test_items_without_labels_are_enough_to_calibrate(tmp_path: Path) -> None:
    bare = [(name, content) for name, content in pairs() if str(name).endswith("png")]
    shard(tmp_path / "0.tar", bare)
    assert len(open_data(tmp_path, purpose="calibration").train) == 9
    with pytest.raises(DataError, match=r"10 images in .*0\.tar have no label.*unpack the archive"):
        open_data(tmp_path)


def test_netpbm_and_what_belongs_to_no_item(tmp_path: Path) -> None:
    pixels = np.arange(30 * 30, dtype=np.uint16).astype(np.uint8).reshape(30, 30)
    pgm = b"P5 30 30 255\n" + pixels.tobytes()
    members = [*pairs(), ("pgm.pgm", pgm), ("pgm.cls", b"0"), ("README.md", b"x"), ("._0001.png", b"x")]
    shard(tmp_path / "0.tar", [*members, ("__meta__/0.png", b"x"), special("folder", tarfile.DIRTYPE)])
    data = open_data(tmp_path, color="grey")
    every = np.concatenate([split.read(slice(None)) for split in (data.train, data.val, data.test)])
    assert len(every) == 11
    assert any(np.array_equal(item[:, :, 0], pixels) for item in every)


HOSTILE: dict[str, tuple[list[Member], str]] = {
    "link": ([special("9.png", tarfile.SYMTYPE, "/etc/passwd")], "9.png is a link to /etc/passwd"),
    "hard link": ([special("9.png", tarfile.LNKTYPE, "0000.png")], "is a link to 0000.png"),
    "device": ([special("9.png", tarfile.CHRTYPE)], "9.png is a device"),
    "pipe": ([special("9.png", tarfile.FIFOTYPE)], "9.png is a device"),
    "absolute": ([("/tmp/9.png", png(9)), ("/tmp/9.cls", b"0")], "leads out of the archive"),
    "parent": ([("a/../../9.png", png(9))], "leads out of the archive"),
    "no image": ([("9.cls", b"0")], "9 has no image"),
    "two images": ([("9.png", png(9)), ("9.jpg", png(8)), ("9.cls", b"0")], "has 2 images"),
    "not an image": ([("9.png", b"x" * 99), ("9.cls", b"0")], "9.png.* is not a JPEG"),
    "cut image": ([("9.png", png(9)[:-400]), ("9.cls", b"0")], r"9\.png.*decoded"),
    "bad label": ([("9.png", png(9)), ("9.cls", b"\xff")], "cls that can't be read"),
    "empty label": ([("9.png", png(9)), ("9.cls", b" ")], "has the label ''"),
    "json": ([("9.png", png(9)), ("9.json", b"{")], "json that can't be read"),
    "list": ([("9.png", png(9)), ("9.json", b"[1]")], "json that can't be read"),
    "deep": ([("9.png", png(9)), ("9.json", b'{"label": [1]}')], r"has the label \[1\]"),
    "same key": ([("0001.png", png(9)), ("0001.cls", b"0")], r"0001\.png is in the shard twice"),
    "same name": ([("9.png", png(9)), ("9.png", png(8)), ("9.cls", b"0")], r"9\.png is in the shard twice"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_members_that_can_not_be_used_are_named_or_listed(tmp_path: Path, kind: str) -> None:
    members, message = HOSTILE[kind]
    shard(tmp_path / "0.tar", [*pairs(), *members])
    for _ in range(2):  # read, then from the cache
        with pytest.raises(DataError, match=rf"0\.tar: .*{message}"):
            open_data(tmp_path)
    data = open_data(tmp_path, skip_unreadable=True)
    assert sum(data.record.counts.values()) == (11 if kind == "same name" else 10)
    assert len(data.skipped) >= 1


def test_an_image_of_a_huge_number_of_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    shard(tmp_path / "0.tar", [*pairs(4), ("9.png", png(9, (60, 60))), ("9.cls", b"0")])
    with pytest.raises(DataError, match=r"9\.png.*too large"):
        open_data(tmp_path)


def test_huge_members_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_scan, "MAX_IMAGE_BYTES", 100_000)
    members = [*pairs(), ("8.png", bytes(1 << 20)), ("8.cls", b"0"), ("9.png", png(9)), ("9.cls", b"0" * (1 << 20))]
    shard(tmp_path / "0.tar", members)
    data = open_data(tmp_path, skip_unreadable=True)
    assert [(name.split()[-1], "accepted: up to" in reason) for name, reason in data.skipped] == [
        ("8.png", True), ("9.png", True)]  # fmt: skip


def test_a_header_that_claims_to_be_huge(tmp_path: Path) -> None:
    info = tarfile.TarInfo("name")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 7 << 30
    whole = shard(tmp_path / "0.tar", pairs()).read_bytes().rstrip(b"\0")
    whole += bytes(-len(whole) % 512)
    (tmp_path / "0.tar").write_bytes(whole + info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(DataError, match=r"0\.tar is cut off, damaged"):
        open_data(tmp_path)


def test_a_header_of_digits_takes_no_minutes(tmp_path: Path) -> None:
    content = b"1" * shard_scan.MAX_HEADER_BYTES  # for Python before 3.11.10: a quarter of an hour
    pax = special("x", tarfile.XHDTYPE)[0]
    pax.size = len(content)
    (tmp_path / "x.tar").write_bytes(pax.tobuf() + content + bytes(1024))
    with pytest.raises(DataError, match=r"a header with a number of more than 255 digits"):
        open_data(tmp_path / "x.tar")
    shard(tmp_path / "y.tar", [(f"{'7' * 120}{name}", content) for name, content in pairs(20)])
    assert len(open_data(tmp_path / "y.tar").test)


@pytest.mark.parametrize("damage", ["cut in an image", "cut in a header", "no end", "overwritten", "joined", "empty"])
def test_damaged_archives(tmp_path: Path, damage: str) -> None:
    path = shard(tmp_path / "0.tar", pairs(20))
    whole = path.read_bytes()
    third = whole.index(b"0003.png")
    bad = {
        "cut in an image": whole[: third + 700],
        "cut in a header": whole[: third + 100],
        "no end": whole[: third],
        "overwritten": whole[:third] + b"\xee" * 512 + whole[third + 512 :],
        "joined": whole + whole,
        "empty": b"",
    }  # fmt: skip
    path.write_bytes(bad[damage])
    with pytest.raises(DataError, match=r"shard .*0\.tar is cut off, damaged, or not a tar file"):
        open_data(tmp_path)
    if damage != "empty":
        count = 20 if damage == "joined" else 3
        data = open_data(tmp_path, skip_unreadable=True, purpose="calibration")
        assert sum(data.record.counts.values()) == count
        assert data.skipped


def test_paths_that_can_not_be_used(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar.gz", "w:gz"):
        pass
    for source in (tmp_path, tmp_path / "0.tar.gz"):
        with pytest.raises(DataError, match=r"0\.tar\.gz is packed"):
            open_data(source)
    with pytest.raises(DataError, match=r"1\.tar can't be read: No such file"):
        open_data(str(tmp_path / "{1..2}.tar"))
    shard(tmp_path / "none/0.tar", [])
    with pytest.raises(DataError, match="holds no images"):
        open_data(tmp_path / "none")


def test_a_tar_beside_class_folders_does_not_count(tmp_path: Path) -> None:
    classes(tmp_path)
    shard(tmp_path / "photos.tar", pairs())
    assert open_data(tmp_path).labels == ("cat", "dog")


def test_a_shard_that_changes_is_noticed_and_indexed_again(tmp_path: Path) -> None:
    path = shard(tmp_path / "0.tar", pairs(20))
    before = open_data(tmp_path)
    shard(path, pairs(20, first=40))
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match="has changed since"):
        before.train.read([0])
    assert open_data(tmp_path).sha256 != before.sha256


def test_index_is_kept_and_made_again_if_it_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    path = shard(tmp_path / "data/0.tar", pairs(20))
    built = []
    scan = shard_scan.Scan.index
    monkeypatch.setattr(shard_scan.Scan, "index", lambda self: built.append(self.path) or scan(self))
    first = open_data(path)
    assert open_data(path).sha256 == first.sha256
    assert built == [str(path)]
    (kept,) = (tmp_path / "cache/shards").iterdir()
    kept.write_bytes(kept.read_bytes()[:-200])
    assert open_data(path).sha256 == first.sha256
    assert len(built) == 2
    (kept.parent / "other.npz").write_bytes(bytes(100))
    os.utime(kept.parent / "other.npz", (1, 1))
    monkeypatch.setattr(shard_scan, "CACHE_BYTES", kept.stat().st_size + 50)
    kept.unlink()
    open_data(path)
    assert [*kept.parent.iterdir()] == [kept]
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "file"))
    assert open_data(path).sha256 == first.sha256


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held for an image is its place, label and hash: not its pixels."""
    peaks = {}
    for count in (200, 2000):
        for number in range(count // 100):
            first = 10_000 + 100 * number
            members = []
            for i in range(first, first + 100):
                file = io.BytesIO()
                Image.new("RGB", (4, 4), (i % 256, i // 256, 0)).save(file, "BMP")
                members += [(f"{i}.bmp", file.getvalue()), (f"{i}.cls", str(i % 2).encode())]
            shard(tmp_path / f"{count}/{number:02d}.tar", members)
        open_data(tmp_path / str(count), size=64)
        tracemalloc.start()
        data = open_data(tmp_path / str(count), size=64)
        for split in (data.train, data.val, data.test):
            for _ in split.batches(32):
                pass
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (peaks[2000] - peaks[200]) / 1800 < 64 * 64 * 3 / 15


def test_hash_is_that_of_the_file(tmp_path: Path) -> None:
    image(tmp_path / "1.png", 7)
    content = (tmp_path / "1.png").read_bytes()
    path = shard(tmp_path / "0.tar", [("1.png", content), ("1.cls", b"3")])
    index = shard_scan.index_of(shard_scan.Shard.of(str(path)))
    assert index.hashes.tolist() == [hashlib.sha256(content).hexdigest().encode()]
    assert index.labels == ("3",)
    assert content == path.read_bytes()[index.offset[0] : index.offset[0] + index.length[0]]
    assert load_image(content, InputSpec.image(30, 30, "rgb")).shape == (30, 30, 3)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("t-{0..999999999}.tar", "names 1000000000 shards"), ("t-{0..3.tar", "The pattern .* can't be read")],
)
def test_a_pattern_that_names_no_shards_or_too_many_is_one_error(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_data(tmp_path / name)


@pytest.mark.parametrize(("kind", "content"), [(tarfile.GNUTYPE_LONGNAME, b"n\0"), (tarfile.XHDTYPE, b"11 path=ab\n")])
def test_headers_of_headers_without_end_are_damage(tmp_path: Path, kind: bytes, content: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(content)
    header = info.tobuf(tarfile.GNU_FORMAT) + content.ljust(512, b"\0")
    (tmp_path / "x.tar").write_bytes(header * 3000 + bytes(1024))
    with pytest.raises(DataError, match="damaged, or not a tar file"):
        open_data(tmp_path / "x.tar")
