"""Tampered bundles: `edgepress verify` refuses each of them, and takes the bundle that they were made from.

    python benchmarks/faults/tampered_bundles.py [FILE] [--count 1000] [--seed 0]

FILE is a model to bundle; without one, a LeNet is trained on digits and converted to int8. Its signed bundle is changed
in all the ways below, seeded, in turn. Copies are checked without a key, which is harder: only those that nothing but
a signature can tell (somebody made everything fit again) are checked with the signer's key. Each copy differs from the
bundle in its bytes; many hold the same files as far as any unzip can see. What must happen is one `BundleError`; an
acceptance or another exception is a failure. Exit code 1 if there was one.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import random
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from edgepress.toolkit.errors import BundleError
from edgepress.toolkit.shipping.bundles.archive import read_archive, signature_path, write_archive
from edgepress.toolkit.shipping.bundles.build import bundle
from edgepress.toolkit.shipping.bundles.verify import NAME, describe_files, parse_manifest, verify

Tamper = Callable[[bytes, random.Random], bytes]
Files = dict[str, bytes]
HOSTILE = (
    "../evil",
    "/etc/evil",
    "..\\evil",
    "C:\\evil",
    "C:evil",
    "a/../../evil",
    "./evil",
    ".hidden",
    "a//b",
    "é",
    "a\0b",
)


def main() -> int:
    """Make the bundle, tamper, check, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        made = bundle(options.file or _lenet(folder), folder / "app.zip", sign=folder / "key").path
        verify(made, key=folder / "key.pub")
        verify(made)
        return 1 if report(check(made, folder / "key.pub", options.count, options.seed)) else 0


def check(bundle: Path, key: Path, count: int, seed: int) -> dict[str, list[str]]:
    """What happened to each copy, by the way it was tampered with: "refused: REASON", or what should not be.

    Args:
        bundle: A signed bundle; copies are made beside it.
        key: The signer's public key.
        count: Number of copies.
        seed: Of all choices.
    """
    whole, outcomes = bundle.read_bytes(), {name: [] for name in TAMPERS}  # type: dict[str, list[str]]
    copy = bundle.with_name("copy.zip")
    signature_path(copy).write_bytes(signature_path(bundle).read_bytes())
    ways = list(TAMPERS.items())
    for i in range(count):
        rng, (name, tamper) = random.Random(f"{seed} {i}"), ways[i % len(ways)]
        changed = tamper(whole, rng)
        if changed == whole:  # a random change that changed nothing
            changed = whole[:-1]
        copy.write_bytes(changed)
        try:
            verify(copy, key=key if name in ONLY_SIGNATURE else None)
        except BundleError as e:
            outcomes[name].append(f"refused: {e.message}")
        except Exception as e:  # whatever it is, it is a finding
            outcomes[name].append(f"FAILED with {type(e).__name__}: {e}")
        else:
            outcomes[name].append("ACCEPTED")
    return outcomes


def report(outcomes: dict[str, list[str]]) -> int:
    """Print the outcomes and return how many copies were not refused."""
    total = sum(map(len, outcomes.values()))
    for name, found in outcomes.items():
        print(f"{sum(text.startswith('refused') for text in found):4} of {len(found):4} refused: {name}")
        for text in found:
            if not text.startswith("refused"):
                print(f"      {text}")
    refused = sum(text.startswith("refused") for found in outcomes.values() for text in found)
    print(f"{refused} of {total} tampered bundles refused.")
    return total - refused


# Changes of the bytes.


def flip(whole: bytes, rng: random.Random) -> bytes:
    """One bit, anywhere."""
    return _flip(whole, rng.randrange(len(whole)), rng)


def flip_header(whole: bytes, rng: random.Random) -> bytes:
    """One bit of a header or the directory, perhaps in a field that nobody reads."""
    at = rng.choice([i for i in range(len(whole) - 4) if whole[i : i + 2] == b"PK"])
    return _flip(whole, min(at + rng.randrange(46), len(whole) - 1), rng)


def truncate(whole: bytes, rng: random.Random) -> bytes:
    """The end, or the beginning, is missing."""
    n = rng.randrange(1, len(whole))
    return rng.choice([whole[:n], whole[n:], b"", whole[:-1], whole[1:]])


def splice(whole: bytes, rng: random.Random) -> bytes:
    """A piece in the place of another, or moved in between."""
    a, b = sorted(rng.randrange(len(whole)) for _ in range(2))
    at = rng.randrange(len(whole))
    return whole[:at] + whole[a:b] + whole[at + rng.choice([0, b - a]) :]


def pad(whole: bytes, rng: random.Random) -> bytes:
    """Bytes before, behind, or between the last member and the directory, with offsets fixed or not."""
    more = rng.choice([b"\0", b"#!/bin/sh\n", rng.randbytes(rng.randrange(1, 400)), whole])
    start = struct.unpack_from("<I", whole, len(whole) - 6)[0]
    kind = rng.randrange(4)
    if kind == 0:
        return more + whole
    if kind == 1:
        return whole + more
    if kind == 2:  # behind the end, as a comment
        return whole[:-2] + struct.pack("<H", len(more) % 65536) + more[: len(more) % 65536]
    return whole[:start] + more + whole[start:-6] + struct.pack("<IH", start + len(more), 0)


def zip64(whole: bytes, rng: random.Random) -> bytes:
    """A second directory end, of zip64, that names another directory."""
    start, end = struct.unpack_from("<I", whole, len(whole) - 6)[0], len(whole) - 22
    other = rng.randrange(start)
    record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, end - other, other)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    tail = whole[end:] if rng.randrange(2) else whole[end : end + 8] + b"\xff" * 12 + whole[-2:]
    return whole[:end] + record + locator + tail


def field(whole: bytes, rng: random.Random) -> bytes:
    """One number of one header is another: flags, method, date, sizes, offset, mode, disk."""
    magic, size = rng.choice([(b"PK\x03\x04", 30), (b"PK\x01\x02", 46), (b"PK\x05\x06", 22)])
    places = [i for i in range(len(whole) - size + 1) if whole.startswith(magic, i)]
    at = rng.choice(places) + 2 * rng.randrange(2, size // 2)
    value = rng.choice([0, 1, 8, 9, 0x800, 0x5555, 0xFFFF, rng.randrange(1 << 16)])
    return whole[:at] + struct.pack("<H", value) + whole[at + 2 :]


# Changes of the members; everything else is made to fit by Python's zipfile, or in the one form that a bundle has.


def change_member(whole: bytes, rng: random.Random) -> bytes:
    """One file's content is another, checksums fixed; the manifest is not."""
    files = _files(whole)
    name = rng.choice([n for n in files if files[n] and not n.endswith(NAME)])
    files[name] = _flip(files[name], rng.randrange(len(files[name])), rng) + rng.choice([b"", b"\n"])
    return _zip(whole, files, rng)


def swap(whole: bytes, rng: random.Random) -> bytes:
    """Two files have each other's content."""
    files = _files(whole)
    a, b = rng.sample(sorted(n for n in files if not n.endswith(NAME)), 2)
    if files[a] == files[b]:
        return whole
    files[a], files[b] = files[b], files[a]
    return _zip(whole, files, rng)


def remove(whole: bytes, rng: random.Random) -> bytes:
    """A file is missing."""
    files = _files(whole)
    del files[rng.choice(list(files))]
    return _zip(whole, files, rng)


def add(whole: bytes, rng: random.Random) -> bytes:
    """There is one more: a module that Python would import, say."""
    files = _files(whole)
    top = next(iter(files)).partition("/")[0]
    name = rng.choice(["numpy.py", "edgepress/runtime/json.py", "sitecustomize.py", "edgepress/__main__.py"])
    files[rng.choice([f"{top}/{name}", name])] = b"import os\n"
    return _zip(whole, files, rng)


def rename(whole: bytes, rng: random.Random) -> bytes:
    """A file has another name."""
    files = _files(whole)
    name = rng.choice(list(files))
    new = rng.choice([name + "x", name.upper(), "other/" + name.partition("/")[2]])
    return _zip(whole, {new if n == name else n: data for n, data in files.items()}, rng)


def reorder(whole: bytes, rng: random.Random) -> bytes:
    """The same files in another order."""
    names = list(files := _files(whole))
    rng.shuffle(names)
    return _zip(whole, {n: files[n] for n in names}, rng)


def escape(whole: bytes, rng: random.Random) -> bytes:
    """A name that leads out of the folder."""
    files = _files(whole)
    return _zipfile(files | {rng.choice(HOSTILE): b"evil"})


def duplicate(whole: bytes, rng: random.Random) -> bytes:
    """A name twice, exactly or but for the case of its letters: which is unpacked?"""
    files = _files(whole)
    name = rng.choice(list(files))
    again = rng.choice([name, name.swapcase(), name.title()])
    return _zipfile(files, more=[(zipfile.ZipInfo(again), b"evil")])


def link(whole: bytes, rng: random.Random) -> bytes:
    """A symbolic link, a device, a folder."""
    info = zipfile.ZipInfo(next(iter(_files(whole))).partition("/")[0] + "/link")
    info.create_system, info.external_attr = 3, rng.choice([0o120777, 0o20666, 0o10666, 0o40755]) << 16
    return _zipfile(_files(whole), more=[(info, b"/etc/passwd")])


def compress(whole: bytes, rng: random.Random) -> bytes:
    """The same files, deflated or otherwise compressed."""
    methods = [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    return _zipfile(_files(whole), method=rng.choice(methods))


def bomb(whole: bytes, rng: random.Random) -> bytes:
    """A member of a hundred megabytes or more in a hundred kilobytes, its size told truly or not."""
    files = _files(whole)
    name = rng.choice(list(files))
    data = bytearray(_zipfile(files | {name: bytes(100 << 20)}, method=zipfile.ZIP_DEFLATED))
    if rng.randrange(2):
        at = data.index(struct.pack("<I", 100 << 20))
        data[at : at + 4] = struct.pack("<I", len(files[name]))
    return bytes(data)


def encrypt(whole: bytes, rng: random.Random) -> bytes:
    """Members that claim to be encrypted."""
    data, places = bytearray(whole), [i for i in range(len(whole)) if whole.startswith(b"PK\x01\x02", i)]
    for at in rng.sample(places, rng.randrange(1, len(places))):
        data[at + 8] |= 1
        header = struct.unpack_from("<I", data, at + 42)[0]
        data[header + 6] |= 1
    return bytes(data)


def rewrite(whole: bytes, rng: random.Random) -> bytes:
    """The same files, written again by Python's zipfile with other dates, comments or extra fields."""
    infos = []
    for name, data in _files(whole).items():
        info = zipfile.ZipInfo(name, (1980 + rng.randrange(2), 1, 1, 0, 0, 0))
        info.external_attr, info.create_system = 0o100644 << 16, 3
        info.extra = rng.choice([b"", struct.pack("<2H2s", 0x9999, 2, b"xx")])
        info.comment = rng.choice([b"", b"comment"])
        infos.append((info, data))
    return _zipfile({}, more=infos)


def edit_manifest(whole: bytes, rng: random.Random) -> bytes:
    """The manifest says something else, checksums fixed, its own hash not."""
    files = _files(whole)
    name = next(iter(files))
    text = files[name].decode()
    old, new = rng.choice([("0.1", "9.9"), ("int8", "int9"), ('": "', '":  "'), ("litert", "litret"), ("\n", "\n\n")])
    files[name] = text.replace(old, new, 1).encode()
    return _zip(whole, files, rng)


def forge(whole: bytes, rng: random.Random) -> bytes:
    """A file is another or one more, and the manifest, its hash and all checksums fit: a bundle in good form."""
    files = _files(whole)
    first = next(iter(files))
    top = first.partition("/")[0] + "/"
    name = rng.choice([n for n in files if n != first] + [f"{top}numpy.py"])
    files[name] = files.get(name, b"") + b"\n# evil\n"
    with tempfile.TemporaryDirectory() as folder:
        manifest = parse_manifest(files.pop(first))
        _unpack(files, Path(folder))
        manifest = dataclasses.replace(manifest, files=describe_files(Path(folder) / top))
        ordered = {first: manifest.to_bytes()} | {top + f.path: files[top + f.path] for f in manifest.files}
    return _one_form(whole, ordered)


TAMPERS: dict[str, Tamper] = {
    (f.__doc__ or "").rstrip("."): f
    for f in (
        *(flip, flip_header, truncate, splice, pad, zip64, field),
        *(change_member, swap, remove, add, rename, reorder, escape, duplicate, link, compress, bomb, encrypt),
        *(rewrite, edit_manifest, forge),
    )
}
ONLY_SIGNATURE = {(forge.__doc__ or "").rstrip(".")}


def _flip(data: bytes, at: int, rng: random.Random) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _files(whole: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(whole: bytes, files: Files, rng: random.Random) -> bytes:
    return _zipfile(files) if rng.randrange(3) == 0 else _one_form(whole, files)


def _zipfile(
    files: Files, *, method: int = zipfile.ZIP_STORED, more: list[tuple[zipfile.ZipInfo, bytes]] | None = None
) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")  # a name twice is the point
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
        for info, data in more or []:
            archive.writestr(info, data)
    return out.getvalue()


def _one_form(whole: bytes, files: Files) -> bytes:
    """A zip just as a bundle is, but for the files in it."""
    with tempfile.TemporaryDirectory() as folder:
        _unpack(files, Path(folder) / "files")
        out = Path(folder) / "out.zip"
        write_archive(out, Path(folder) / "files", list(files), date=read_archive(io.BytesIO(whole)).date)
        return out.read_bytes()


def _unpack(files: Files, folder: Path) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _lenet(folder: Path) -> Path:
    from edgepress.toolkit.conversion.convert import convert
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.training.loop import train

    trained = train(open_data("digits"), "lenet", out=folder / "run", epochs=6)
    (variant,) = convert(trained.model, "tflite-int8")
    assert variant.path is not None
    return variant.path


if __name__ == "__main__":
    sys.exit(main())
