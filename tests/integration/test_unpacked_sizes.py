"""Archives whose parts are small and whose sum is not are refused before they are unpacked; limits on time."""

from __future__ import annotations

import ast
import functools
import json
import math
import re
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from other_files import zipped
from test_hostile_files import CONFIG, hdf5, keras_of

import edgepress.converters
import edgepress.toolkit
from edgepress.converters.inspection import read
from edgepress.converters.sources.keras import load_keras
from edgepress.converters.sources.saved_keras import MAX_LAYERS, MAX_REBUILT, refuse_many_layers, refuse_unsafe
from edgepress.runtime import ModelFileError
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.readers import npz as npz_module
from edgepress.toolkit.data.readers.npz import stored_item
from edgepress.toolkit.errors import DataError, EdgepressError, TrainingError
from edgepress.toolkit.training import checkpoint
from edgepress.toolkit.training.nets.pretrained import load_all_but

MEBI = 1 << 20


def assets(count: int) -> bytes:
    """A `.keras` with assets of 60 MiB, each below what a part may claim."""
    return zipped({f"assets/{n}": bytes(60 * MEBI) for n in range(count)} | {"config.json": b"{}"})


def packed_sets(file: Any) -> None:
    """Four data sets of 60 MiB, each in a few kilobytes."""
    chunk = zlib.compress(bytes(15 * MEBI), 9)
    for name in "abcd":
        made = file.create_dataset(name, (4, 15 * MEBI), "uint8", chunks=(1, 15 * MEBI), compression=9)
        for row in range(4):
            made.id.write_direct_chunk((row, 0), chunk)


def unwritten_sets(file: Any) -> None:
    """A thousand data sets of a mebibyte, of which nothing is stored."""
    for number in range(1000):
        file.create_dataset(str(number), (MEBI,), "uint8", chunks=(MEBI,))


def inner_arrays() -> bytes:
    return zipped({"config.json": b"{}", "model.weights.npz": zipped({f"{n}.npy": bytes(60 * MEBI) for n in range(3)})})


BOMBS: dict[str, Callable[[], bytes]] = {
    "assets.keras": lambda: assets(3),
    "sets.h5": lambda: hdf5(packed_sets),
    "sets.keras": lambda: keras_of(hdf5(packed_sets)),
    "unwritten.h5": lambda: hdf5(unwritten_sets),
    "arrays.keras": inner_arrays,
}


@pytest.mark.parametrize("name", BOMBS)
def test_the_sum_of_the_parts_of_a_keras_file_is_limited(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(BOMBS[name]())
    assert path.stat().st_size < 2 * MEBI
    for opens in (refuse_unsafe, load_keras, read):
        with pytest.raises(ModelFileError, match=rf"{name} is a decompression bomb.* together"):
            opens(path)


def test_assets_that_do_not_fit_on_the_disk_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.keras"
    path.write_bytes(zipped({"assets/words": bytes(range(256)) * 400, "config.json": b"{}"}))
    refuse_unsafe(path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=100_000))
    with pytest.raises(ModelFileError, match=r"unpacks to 0\.0 GB, and 0\.0 GB are free"):
        refuse_unsafe(path)


def external_link(file: Any) -> None:
    import h5py

    file["layers/weights"] = h5py.ExternalLink("other.h5", "weights")


def external_storage(file: Any) -> None:
    file.create_dataset("weights", (4,), "float32", external=[("/etc/hostname", 0, 16)])


def virtual(file: Any) -> None:
    import h5py

    layout = h5py.VirtualLayout((4,), "float32")
    layout[:] = h5py.VirtualSource("other.h5", "weights", shape=(4,))
    file.create_virtual_dataset("weights", layout)


@pytest.mark.parametrize("leads", [external_link, external_storage, virtual])
def test_weights_in_other_files_are_not_read(leads: Callable[[Any], None], tmp_path: Path) -> None:
    for name, content in (("net.h5", hdf5(leads)), ("net.keras", keras_of(hdf5(leads)))):
        (tmp_path / name).write_bytes(content)
        for opens in (load_keras, read):
            with pytest.raises(ModelFileError, match=f"{name} leads to other files, which are not read: .*weights"):
                opens(tmp_path / name)
    path = tmp_path / "net.weights.h5"
    path.write_bytes(hdf5(leads))
    with pytest.raises(ModelFileError, match="leads to other files"):
        load_all_but(SimpleNamespace(layers=[]), None, path)


def one_text_many_times() -> bytes:
    """A data set of 1,000 texts, all of which are one text of 1 MiB in the file's heap."""
    import h5py

    def write(file: Any) -> None:
        made = file.create_dataset("model_weights/dense/kernel", (1000,), h5py.string_dtype())
        made[0] = "x" * MEBI

    data = bytearray(hdf5(write))
    start = data.index(struct.pack("<I", MEBI), data.index(b"model_weights"))
    while any(data[start + 16 : start + 16 * 1000]):  # the heap has the length, too; the other texts are zeros
        start = data.index(struct.pack("<I", MEBI), start + 1)
    data[start : start + 16 * 1000] = data[start : start + 16] * 1000
    return bytes(data)


def test_texts_that_are_the_same_bytes_many_times_are_counted_as_often(tmp_path: Path) -> None:
    """A file of 21 MB took 6 GB: HDF5 counts 16 bytes a text."""
    content = one_text_many_times()
    for name, whole in (("net.h5", content), ("net.keras", keras_of(content))):
        (tmp_path / name).write_bytes(whole)
        with pytest.raises(ModelFileError, match=rf"{name} is a decompression bomb"):
            refuse_unsafe(tmp_path / name)


def test_names_of_classes_beside_the_weights_are_no_bomb(tmp_path: Path) -> None:
    import h5py

    def write(file: Any) -> None:
        file.create_dataset("words", data=[f"class {n}" for n in range(500)], dtype=h5py.string_dtype())
        file.create_dataset("lists", (50,), h5py.vlen_dtype(np.int32))[0] = np.arange(9)
        file.create_dataset("references", data=[file["words"].ref] * 50, dtype=h5py.ref_dtype)
        file["kernel"] = np.random.default_rng(0).normal(size=(1 << 19)).astype(np.float32)
        file["nothing"] = h5py.Empty("f4")

    (tmp_path / "net.h5").write_bytes(hdf5(write))
    refuse_unsafe(tmp_path / "net.h5")


def test_links_within_a_file_are_followed_once(tmp_path: Path) -> None:
    import h5py

    def circle(file: Any) -> None:
        group = file.create_group("a")
        group["itself"] = group
        group["soft"] = h5py.SoftLink("/a")
        group["weights"] = np.zeros(4)

    (tmp_path / "net.h5").write_bytes(hdf5(circle))
    refuse_unsafe(tmp_path / "net.h5")


# Arrays.


def header(shape: str, *, descr: str = "'<f4'", length: int | None = None) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text) if length is None else length) + text


LYING: dict[str, tuple[bytes, str]] = {
    "more than is stored": (header("(1000000000, 4)") + bytes(64), r"claims the shape \(1000000000, 4\)"),
    "beyond 64 bits": (header("(4611686018427387904, 4611686018427387904)"), "claims the shape"),
    "negative": (header("(-1, 4)") + bytes(64), r"claims the shape \(-1, 4\)"),
    "objects": (header("(2, 2)", descr="'|O'") + bytes(64), "Python objects"),
    "objects inside": (header("(2, 2)", descr="[('a', '|O')]") + bytes(64), "Python objects"),
    "a header of 256 MiB": (header("(2, 2)", length=256 * MEBI) + bytes(256 * MEBI), "header"),
    "a deep header": (header("(" * 5000 + ")" * 5000), "can't be read"),
    "no shape": (header("None"), "can't be read"),
}


@pytest.mark.parametrize(("content", "reason"), LYING.values(), ids=LYING)
def test_arrays_that_claim_what_can_not_be_are_one_error(content: bytes, reason: str, tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "data.npz"
    path.write_bytes(zipped({"x.npy": content, "y.npy": header("(2,)")}))
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(DataError, match=rf"data\.npz.*{reason}"):
        open_data(path)
    assert stored_item(path) is None
    assert time.process_time() - start < 10
    assert tracemalloc.get_traced_memory()[1] < 64 * MEBI
    tracemalloc.stop()


@pytest.fixture
def zeros(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    x = np.zeros((3000, 64, 64), np.uint8)
    x[:, 0, :2] = np.arange(3000, dtype=">u2").view(np.uint8).reshape(-1, 2)  # all differ
    y = np.arange(1500) % 2
    np.savez_compressed(path, x_train=x[:1500], y_train=y, x_test=x[1500:], y_test=y)
    return path


def test_the_sum_of_arrays_is_limited_by_what_is_stored(zeros: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_data(zeros).record.counts["test"] == 1500
    monkeypatch.setattr(npz_module, "FREE_BYTES", 8 * MEBI)
    with pytest.raises(DataError, match=r"its parts claim .* together.*Save it with numpy\.savez, which packs nothing"):
        open_data(zeros)


def test_the_sum_of_arrays_is_limited_by_memory(zeros: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=20_000_000))
    with pytest.raises(DataError, match=r"takes 0\.0 GB of memory when it is read.*Give fewer items"):
        open_data(zeros)


def test_arrays_that_are_not_needed_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.npz"
    x = np.random.default_rng(0).integers(0, 256, (100, 8, 8), np.uint8)
    np.savez(path, x=x, y=np.arange(100) % 2, more=np.ones(4_000_000))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=4_000_000))
    assert len(open_data(path).labels) == 2


def test_a_checkpoint_is_read_within_the_same_limits(tmp_path: Path) -> None:
    (tmp_path / checkpoint.NAME).write_bytes(zipped({"facts.npy": header("(1000000000, 4)")}))
    with pytest.raises(TrainingError, match="claims the shape"):
        checkpoint.load(tmp_path)


# Layers.


def layers(count: int, kind: str = "ReLU", name: str = "s") -> dict[str, Any]:
    first = {"module": "keras.layers", "class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 4]}}
    others = [
        {"module": "keras.layers", "class_name": kind, "config": {"name": f"l{n}"}, "inbound_nodes": []}
        for n in range(count - 1)
    ]
    return {"module": "keras", "class_name": name, "config": {"name": "m", "layers": [first, *others]}}


def inside(count: int, inner: dict[str, Any], name: str) -> dict[str, Any]:
    return {"module": "keras", "class_name": name, "config": {"name": "o", "layers": [inner] * count}}


MANY: dict[str, dict[str, Any]] = {
    "a Sequential of ten thousand": layers(10_000, name="Sequential"),
    "a Sequential of a thousand": layers(1000, name="Sequential"),
    "a functional model of ten thousand": layers(10_000, name="Functional"),
    "ten Sequentials of four hundred": inside(10, layers(400, name="Sequential"), "Functional"),
    "a hundred models of a hundred": inside(100, layers(100, name="Functional"), "Functional"),
    "a Sequential of models": inside(100, layers(40, name="Functional"), "Sequential"),
    "in a list": {"class_name": "Functional", "config": {"layers": [[layers(10_000)]]}},
    "of Keras 2": {"class_name": "Sequential", "config": layers(1000)["config"]["layers"]},
}


@pytest.mark.parametrize("config", MANY.values(), ids=MANY)
def test_a_model_of_too_many_layers_is_refused_at_once(config: dict[str, Any], tmp_path: Path) -> None:
    path, start = tmp_path / "net.keras", time.process_time()
    path.write_bytes(keras_of(hdf5(lambda file: None), json.dumps(config).encode()))
    with pytest.raises(ModelFileError, match=rf"net\.keras has \d+ layers; accepted: up to {MAX_LAYERS}"):
        load_keras(path)
    assert time.process_time() - start < 10


def test_models_of_usual_depth_are_accepted(tmp_path: Path) -> None:
    refuse_many_layers(tmp_path, layers(2000, name="Functional"))
    refuse_many_layers(tmp_path, layers(math.isqrt(MAX_REBUILT), name="Sequential"))
    refuse_many_layers(tmp_path, inside(5, layers(50, name="Sequential"), "Sequential"))
    for damaged in (None, 3, [], {"config": 3}, {"class_name": "Sequential", "config": {"layers": {"a": 1}}}):
        refuse_many_layers(tmp_path, damaged)


@pytest.mark.parametrize("kind", ["InputLayer", "ReLU"])
def test_reading_many_layers_takes_time_in_proportion(kind: str, tmp_path: Path) -> None:
    path, seconds = tmp_path / "net.keras", []
    for count in (4000, 16_000):
        config = json.dumps(layers(count, kind)).encode()
        path.write_bytes(keras_of(hdf5(lambda file: None), config))
        seconds.append(min(cpu_seconds(read, path) for _ in range(3)))  # the garbage collector may run in one of them
    assert seconds[1] < 8 * seconds[0] + 0.5


def cpu_seconds(call: Callable[[Path], object], path: Path) -> float:
    start = time.process_time()
    call(path)
    return time.process_time() - start


def test_nested_models_end_with_one_error(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    for depth in (300, 5000, 100_000):
        text = '{"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": ['
        config = text * depth + json.dumps(CONFIG) + "]}}" * depth
        path.write_bytes(keras_of(hdf5(lambda file: None), config.encode()))
        with pytest.raises(ModelFileError, match=r"net\.keras"):
            load_keras(path)


# Limits on time, and a table of all places where archives are opened.

ROOMS = Path(edgepress.toolkit.__file__).parent, Path(edgepress.converters.__file__).parent
UNLIMITED = {
    "search/sweeping/runners.py": "a job is a training, which may take days",
    "search/cluster/worker.py": "a job is a training, which may take days",
    "search/cluster/setup.py": "that of distributed",
    "conversion/processes.py": "passes `silence_s` of Conversion",
}
OPENS = {
    "arrays.py": "writes an .npz",
    "contract/metadata.py": "reads up to MAX_BYTES of each text",
    "contract/write.py": "files that were made or checked here",
    "data/readers/idx.py": "refuse_bomb",
    "data/readers/npz.py": "refuse_bomb",
    "data/readers/shard_scan.py": "reads headers through _Bounded",
    "data/readers/shard_source.py": "the user's own cache",
    "inspection/keras_file.py": "refuse_unsafe",
    "inspection/tflite_file.py": "reads names only",
    "shipping/boards/facts.py": "answers of the user's own board",
    "shipping/boards/remote_answer.py": "items that were sent to the board",
    "shipping/boards/remote_outputs.py": "items that were sent to the board",
    "shipping/boards/rows.py": "a bundle that was built here",
    "shipping/boards/ssh.py": "writes a tar",
    "shipping/bundles/pyz_main.py": "the bundle that runs it",
    "shipping/bundles/updates.py": "a bundle that was verified",
    "shipping/publishing/entries.py": "a bundle that was verified",
    "shipping/publishing/trust.py": "a bundle that was verified, and a root of limited size",
    "sources/saved_keras.py": "a file that sources/keras.py or inspection/keras_file.py has judged, or refuse_bomb",
    "training/nets/pretrained.py": "refuse_unsafe",
    "workers/answer.py": "items that the parent wrote",
    "workers/operation_outputs.py": "items that the parent wrote",
    "workers/turn.py": "items that the parent wrote",
}
"""Modules that open archives or arrays, and what limits what they unpack, or why nothing has to."""
CALLS = {"ZipFile", "File", "load", "open"}
OWNERS = {"zipfile", "h5py", "np", "gzip", "tarfile"}
CHILDREN = ("Worker", "run_in_child")


@functools.cache
def modules() -> list[tuple[str, ast.Module]]:
    """Name and tree of each module that opens an archive or starts a child process."""
    texts = {p.relative_to(room).as_posix(): p.read_text() for room in ROOMS for p in room.rglob("*.py")}
    words = re.compile("|".join((*OWNERS, *CHILDREN)))
    return [(name, ast.parse(text)) for name, text in texts.items() if words.search(text)]


def test_every_place_that_opens_archives_is_judged() -> None:
    opening = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS
        if isinstance(node.func.value, ast.Name) and node.func.value.id in OWNERS
    }
    assert opening == OPENS.keys()


def test_every_child_process_has_a_limit_on_time() -> None:
    calls = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in CHILDREN and "silence_s" not in {k.arg for k in node.keywords}
    }
    assert calls <= UNLIMITED.keys() | {"worker.py"}


@pytest.mark.slow
def test_bundle_gives_up_on_a_model_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calling_graphs import endless

    from edgepress.toolkit.shipping.bundles import build
    from edgepress.toolkit.shipping.bundles.samples import SampleJob

    path = tmp_path / "endless.tflite"
    path.write_bytes(endless())
    monkeypatch.setattr(build, "SILENCE_S", 4.0)
    start = time.monotonic()
    with pytest.raises(ModelFileError, match=r"endless\.tflite crashed .*no answer in 4 s"):
        build._write_samples(SampleJob(path, None, tmp_path, ((np.array(0), np.zeros((1, 4), np.float32)),)))
    assert time.monotonic() - start < 60


def test_evaluate_opens_a_keras_file_in_a_child_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.toolkit.measurement import evaluation

    def never(*_: Any) -> None:
        raise AssertionError("in this process")

    (tmp_path / "net.keras").write_bytes(assets(3))
    monkeypatch.setattr(evaluation, "load_keras", never)
    with pytest.raises(EdgepressError, match="decompression bomb"):
        evaluation.model_scores(tmp_path / "net.keras", SimpleNamespace())  # type: ignore[arg-type]
