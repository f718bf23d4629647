"""Files of weights in PyTorch's old format, whole, damaged and hostile, and what edgepress says of them.

    python benchmarks/faults/weight_files.py [--cases 200] [--seed 0]

Each case is made from a small whole file by a random generator (`KINDS`). It is read twice: with the SHA-256 of the
whole file, as edgepress does, which must refuse it by its hash; and with its own, as if it were the known file, which
must be one error, or tensors that lie in the file. A case that runs code writes `RAN`; then the script fails.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import io
import pickle
import random
import sys
import tempfile
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.toolkit.errors import ModelFileError
from edgepress.toolkit.training.nets.packaged import MAGIC, read_torch_file

RAN: list[str] = []
"""What hostile files have called."""
View = tuple[str, int, tuple[int, ...], tuple[int, ...]]
"""Key of a storage, offset, shape and strides."""


def run_me(name: str = "") -> None:
    """What hostile files call."""
    RAN.append(name)


def torch_modules() -> dict[str, types.ModuleType]:
    """Modules with the names that such a file refers to."""
    torch = types.ModuleType("torch")
    utils = types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*parts: Any) -> None: ...

    for name in ("FloatStorage", "LongStorage", "DoubleStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    torch._utils = utils  # type: ignore[attr-defined]
    return {"torch": torch, "torch._utils": utils}


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.parts = (function, arguments)

    def __reduce__(self) -> Any:
        return self.parts


class _Stored:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.parts if isinstance(value, _Stored) else None


def torch_file(
    storages: Mapping[str, np.ndarray], views: Mapping[str, View], *, more: Any = None, kind: str = "storage"
) -> bytes:
    """A file of these tensors; `more` is another value of its state."""
    modules = torch_modules()
    kept = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        types_of = {np.dtype("f4"): "FloatStorage", np.dtype("i8"): "LongStorage", np.dtype("f8"): "DoubleStorage"}
        rebuild = modules["torch._utils"]._rebuild_tensor_v2
        state: Any = collections.OrderedDict()
        for name, (key, offset, shape, strides) in views.items():
            storage_type = getattr(modules["torch"], types_of[storages[key].dtype])
            stored = _Stored(kind, storage_type, key, "cpu", storages[key].size, None)
            state[name] = _Call(rebuild, stored, offset, shape, strides, False, collections.OrderedDict())
        if more is not None:
            state["more"] = more
        out = io.BytesIO()
        for value in (MAGIC, 1001, {"little_endian": True}):
            pickle.dump(value, out, protocol=2)
        _Pickler(out, protocol=2).dump(state)
        pickle.dump(sorted(storages), out, protocol=2)
        for key in sorted(storages):
            out.write(storages[key].size.to_bytes(8, "little") + storages[key].tobytes())
        return out.getvalue()
    finally:
        for name, module in kept.items():
            sys.modules.pop(name) if module is None else sys.modules.__setitem__(name, module)


def draw_whole(rng: random.Random) -> tuple[dict[str, np.ndarray], dict[str, View], dict[str, np.ndarray]]:
    """Storages, views and the tensors that they are: drawn, some transposed, some in one storage."""
    numbers = np.random.default_rng(rng.randrange(2**32))
    storages: dict[str, np.ndarray] = {}
    views: dict[str, View] = {}
    tensors: dict[str, np.ndarray] = {}
    for i in range(rng.randint(1, 4)):
        shape = tuple(rng.randint(1, 5) for _ in range(rng.randint(0, 4)))
        dtype = rng.choice(["f4", "i8"])
        whole = numbers.integers(-100, 100, int(np.prod(shape)) + 8).astype(dtype)
        storages[f"s{i}"] = whole
        order = [*range(len(shape))]
        rng.shuffle(order)
        for j in range(rng.randint(1, 2)):
            offset = rng.randint(0, 8)
            laid = whole[offset : offset + int(np.prod(shape))].reshape(shape)
            tensor = laid.transpose(order) if j == 0 else laid
            strides = tuple(stride // whole.itemsize for stride in tensor.strides)
            views[f"t{i}.{j}"] = (f"s{i}", offset, tensor.shape, strides)
            tensors[f"t{i}.{j}"] = tensor
    return storages, views, tensors


def _beyond(rng: random.Random) -> bytes:
    """A tensor outside of its storage: by offset, shape, stride or a negative number."""
    storages, views, _ = draw_whole(rng)
    name = rng.choice([*views])
    key, offset, shape, strides = views[name]
    size = storages[key].size
    bad: list[View] = [
        (key, size + rng.randint(0, 9), shape, strides),
        (key, -rng.randint(1, 2**40), shape, strides),
        (key, offset, (*shape, size + 1), (*strides, 1)),
        (key, offset, (*shape, 2), (*strides, rng.choice([size, 2**62, -1]))),
        (key, offset, (*shape, 2**40), (*strides, 0)),
        (key, offset, (*shape, -1), (*strides, 1)),
        (key, offset, (*shape, 2), strides),
    ]
    return torch_file(storages, views | {name: rng.choice(bad)})


def _calling(rng: random.Random) -> bytes:
    """A pickle that calls something."""
    storages, views, _ = draw_whole(rng)
    call = rng.choice(
        [
            _Call(run_me, "reduce"),
            _Call(eval, "__import__('weight_files')"),
            _Call(getattr, "", "join"),
            _Call(__import__, "os"),
            _Call(Path, "x"),
            _Call(np.zeros, 3),
            run_me,
            pickle.Unpickler,
        ]
    )
    return torch_file(storages, views, more=call)


def _other_value(rng: random.Random) -> bytes:
    """A state with something that is no tensor, or of other numbers."""
    storages, views, _ = draw_whole(rng)
    if rng.random() < 0.3:
        return torch_file(storages | {"d": np.zeros(3)}, views | {"d": ("d", 0, (3,), (1,))})
    if rng.random() < 0.3:
        return torch_file(storages, views, kind=rng.choice(["module", "", "x" * 100]))
    values = [1, "x", [], {}, (1, 2), 1e300, b"x" * 1000, None, {1: 2}, {"a": [1] * 1000}]
    return torch_file(storages, views, more=rng.choice(values[:7]))


def _cut(rng: random.Random) -> bytes:
    """The beginning of a file."""
    content = torch_file(*draw_whole(rng)[:2])
    return content[: rng.randrange(len(content))]


def _changed(rng: random.Random) -> bytes:
    """A file with changed bytes, mostly in its pickles."""
    content = bytearray(torch_file(*draw_whole(rng)[:2]))
    for _ in range(rng.randint(1, 6)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def _noise(rng: random.Random) -> bytes:
    """Bytes that mean nothing, or opcodes that take memory."""
    start = pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    many = rng.randint(1, 1 << 20)
    bodies = [
        rng.randbytes(many),
        b"\x80\x02" + b"(" * many,
        b"\x80\x02" + b"}" * many + b".",
        b"\x80\x04\x8e" + (2**62).to_bytes(8, "little"),
        b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little"),
        b"cweight_files\nrun_me\n(tR.",
        b"\x80\x04\x8c\x0cweight_files\x8c\x06run_me\x93)R.",
    ]
    return start * rng.randint(0, 1) + rng.choice(bodies)


KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "beyond its storage": _beyond,
    "calls something": _calling,
    "other values": _other_value,
    "cut": _cut,
    "changed": _changed,
    "noise": _noise,
}
"""The kinds of damage, by their names."""


def outcome(path: Path, content: bytes, sha256: str) -> str:
    """What reading a file leads to: "refused", with one message, or "read"."""
    path.write_bytes(content)
    try:
        tensors = read_torch_file(path, sha256)
    except ModelFileError as e:
        if "\n" in e.message or not e.hint:
            raise AssertionError(f"not one message with what to do: {e}") from e
        return "refused"
    if sum(tensor.nbytes for tensor in tensors.values()) > 64 * len(content):
        raise AssertionError("more than the file holds")
    return "read"


def try_case(kind: str, seed: int, folder: Path) -> str:
    """Make a case and read it both ways; what reading it as the known file leads to."""
    rng = random.Random(f"{kind} {seed}")
    content = KINDS[kind](rng)
    path = folder / "weights.pth"
    known = hashlib.sha256(torch_file(*draw_whole(rng)[:2]) + b"known").hexdigest()
    if outcome(path, content, known) != "refused":
        raise AssertionError("another file was read")
    return outcome(path, content, hashlib.sha256(content).hexdigest())


def main() -> None:
    """Try the cases and count what they lead to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for case in range(options.cases):
            kind = [*KINDS][case % len(KINDS)]
            counts[kind, try_case(kind, options.seed + case, Path(folder))] += 1
    for (kind, result), count in sorted(counts.items()):
        print(f"{kind:20} {result:8} {count}")
    print(f"{options.cases} cases, each refused by its hash; code run: {len(RAN)}")
    if RAN:
        sys.exit(1)


if __name__ == "__main__":
    sys.modules["weight_files"] = sys.modules["__main__"]
    main()
