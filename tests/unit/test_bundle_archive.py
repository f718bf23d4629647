"""The canonical zip of a bundle: any other zip is rejected, in bounded memory."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from edgepress.toolkit.errors import BundleError
from edgepress.toolkit.shipping.bundles.archive import write_archive
from edgepress.toolkit.shipping.bundles.verify import NAME, Manifest, describe_files, dos_date, verify


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
        (archive({"a/../../evil": b""}), r"evil.*not allowed"),
        (archive({"/etc/evil": b""}), r"evil.*not allowed"),
        (archive({"..\\evil": b""}), r"evil.*not allowed"),
        (archive({"C:evil": b""}), r"evil.*not allowed"),
        (archive({"x/a": b"", "X/A": b""}), "twice"),
        (archive({"x": b"", "x/a": b""}), "another member as a folder"),
        (archive({"x/link": b"/etc/passwd"}, attributes=0o120777 << 16), "a link"),
        (archive({"x/a": bytes(50 << 20)}, zipfile.ZIP_DEFLATED), "compressed"),
        (archive({f"x/{i}": b"" for i in range(2001)}), "2001 members"),
        (b"", "is not a bundle. It is an empty file"),
        (b"PK", "truncated"),
        (b"PK\x05\x06" + bytes(18), "MANIFEST.json"),
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


def test_a_large_bundle_is_checked_in_pieces(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "weights").write_bytes(bytes(48 << 20))
    date = "1980-01-01T00:00:00Z"
    manifest = Manifest(
        name="x",
        format="zip",
        edgepress="0",
        model="weights",
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
