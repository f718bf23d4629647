"""C that makes a model's input of a camera's frames: the numbers are those of the runtime's preparation."""

from __future__ import annotations

import ctypes
import itertools
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from building_c import STRICT, emulate, missing
from int8_graphs import Net

from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.to_c.lowering import lower
from edgepress.runtime import Contract, InputSpec, Model
from edgepress.runtime.adapter import Adapter
from edgepress.runtime.image import resize_array
from edgepress.toolkit.shipping.exporting.export import Exported, export
from edgepress.toolkit.shipping.exporting.frames import MAX_RATIO, MAX_SIDE, STACK, InputRecorder

pytestmark = pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
CHANCE = np.random.default_rng(0)
COLORS = ("rgb565_le", "rgb565_be", "rgb888")


def graph(shape: tuple[int, ...], dtype: Any) -> bytes:
    """A net that sums pixels, which are stored as uint8 or as int8 less 128."""
    net, size = Net((1, *shape), 1 / 255, 0 if dtype == np.uint8 else -128, dtype), int(np.prod(shape))
    at = net.op("QUANTIZE", [net.input], (1, *shape), 1 / 128, -128)
    flat = net.constant(np.array([1, size], np.int32))
    at = net.op("RESHAPE", [at, flat], (1, size), 1 / 128, -128, newShape=[1, size])
    weights = net.constant(np.ones((2, size), np.int8), [0.01], 0)
    bias = net.constant(np.zeros(2, np.int32), [0.01 / 128])
    net.op("FULLY_CONNECTED", [at, weights, bias], (1, 2), 1.0, 0, table="FullyConnected")
    return net.model()


class Frames:
    """An exported file whose functions for frames are a shared library, and its model in the runtime."""

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int, int],
        resize: str = "stretch",
        *,
        dtype: Any = np.uint8,
        adapter: Adapter | None = None,
        compiles: bool = True,
    ) -> None:
        self.file = folder / "model.tflite"
        folder.mkdir(exist_ok=True)
        spec = InputSpec.image(shape[0], shape[1], "grey" if shape[2] == 1 else "rgb", resize)
        contract = Contract(
            task="logits", labels=("a", "b"), input=spec, scheme="tflite-int8", parent_sha256="", adapter=adapter
        )
        self.file.write_bytes(tflite_with_contract(graph(adapter.shape if adapter else shape, dtype), contract))
        self.exported: Exported = export(self.file, out=folder / "c", samples=1)
        if not compiles:
            return
        sources = [str(self.exported.folder / f"model{end}.c") for end in ("", "_frame")]
        command = ["gcc", *STRICT, "-Wconversion", "-Wno-sign-conversion", "-O1", "-fPIC", "-shared"]
        sanitized = ["-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan"]
        out = folder / "frames.so"
        done = subprocess.run([*command, *sanitized, *sources, "-o", str(out)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:2000]
        self.library = ctypes.CDLL(str(out))
        self.library.model_input.restype = ctypes.c_void_p
        program = lower(self.file)
        self.spec, self._size = spec, program.input.size
        self._recorder = InputRecorder(self.file, program, contract)
        self._model = Model(self.file, "export", 1, self._recorder)

    def convert(self, name: str, frame: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
        """The bytes of the model's input that the C makes of a frame."""
        given = np.ascontiguousarray(frame)
        function = getattr(self.library, f"model_input_from_{name}")
        assert function(given.ctypes.data_as(ctypes.c_void_p), width, height) == 0
        return np.frombuffer(ctypes.string_at(self.library.model_input(), self._size), np.uint8)

    def expected(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The bytes that the runtime makes of a picture."""
        self._model.outputs(self._model.prepare(picture)[np.newaxis])
        return np.frombuffer(self._recorder.items.pop().tobytes(), np.uint8)


def make_picture(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A random picture of colors: noise on a ramp."""
    ramp = np.add.outer(np.arange(height) * 3, np.arange(width))[..., None] + CHANCE.integers(0, 200, 3)
    return np.where(CHANCE.random((height, width, 1)) < 0.5, ramp, CHANCE.integers(0, 256, (height, width, 3))).astype(
        np.uint8
    )


def pack(colors: npt.NDArray[np.uint8], name: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A picture in a format, and the picture that it stands for."""
    if name == "rgb888":
        return colors, colors
    if name == "grey":
        return colors[..., 0], colors[..., 0]
    red, green, blue = (colors[..., c].astype(np.uint16) for c in range(3))
    words = red >> 3 << 11 | green >> 2 << 5 | blue >> 3
    shown = np.stack([red & 248 | red >> 5, green & 252 | green >> 6, blue & 248 | blue >> 5], axis=2)
    return words.astype("<u2" if name == "rgb565_le" else ">u2").view(np.uint8), shown.astype(np.uint8)


SIZES = ((24, 20), (12, 10), (60, 80), (37, 91), (5, 7), (1, 1), (12, 290), (13, 10), (90, 80))
TALL = ((100, 21), (200, 24), (61, 23))
"""Frames of which Pillow 13 resizes columns first, and earlier versions rows, as the C does."""


def differences(frames: Frames, name: str, height: int, width: int) -> npt.NDArray[np.int64]:
    """How far each stored number is from the runtime's."""
    frame, shown = pack(make_picture(height, width), name)
    return abs(frames.convert(name, frame, height, width).astype(np.int64) - frames.expected(shown))


def largest_difference(frames: Frames, names: tuple[str, ...], sizes: Any) -> int:
    """The largest difference of a stored number from the runtime's."""
    largest = 0
    for name, (height, width) in itertools.product(names, sizes):
        largest = max(largest, int(differences(frames, name, height, width).max()))
    return largest


@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
def test_square_models_get_the_numbers_of_the_runtime(resize: str, tmp_path: Path) -> None:
    for shape, names in (((20, 20, 3), COLORS), ((20, 20, 1), (*COLORS, "grey"))):
        frames = Frames(tmp_path / str(shape[2]), shape, resize)
        assert frames.exported.report["frames"] == {"formats": list(names), "resize": resize, "equals_runtime": True}
        assert largest_difference(frames, names, SIZES) == 0
        assert largest_difference(frames, names, TALL) <= 1


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_other_shapes_get_the_numbers_of_the_runtime(resize: str, tmp_path: Path) -> None:
    frames = Frames(tmp_path / "f", (24, 13, 3), resize)
    assert largest_difference(frames, COLORS, SIZES) == 0
    assert largest_difference(frames, COLORS, TALL) <= 1


@pytest.mark.parametrize(
    ("resize", "shape"), [("crop", (24, 13, 3)), ("crop:0.875", (20, 20, 1)), ("crop:0.3", (20, 16, 3))]
)
def test_borders_between_pixels_cost_two_grey_levels_at_most(
    resize: str, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    frames = Frames(tmp_path / "f", shape, resize)
    assert frames.exported.report["frames"]["equals_runtime"] is False
    assert largest_difference(frames, COLORS, (*SIZES, *TALL)) <= 2
    own = "grey" if shape[2] == 1 else "rgb888"
    assert largest_difference(frames, (own,), [shape[:2]] * 5) == 0, "a frame of the model's own size"


@pytest.mark.parametrize(
    ("shape", "adapter"),
    [
        ((16, 16, 3), {"std": (255.0,)}),
        ((16, 16, 3), {"std": (255.0,), "bgr": True}),
        ((3, 16, 16), {"channels_first": True, "bgr": True, "mean": (20.0, 0.0, 9.0), "std": (300.0, 250.0, 280.0)}),
    ],
)
def test_numbers_are_stored_as_the_file_wants_them(
    shape: tuple[int, ...], adapter: dict[str, Any], tmp_path: Path
) -> None:
    """Signed numbers, blue first, a mean for each channel: what the contract says comes after resizing."""
    frames = Frames(tmp_path / "f", (16, 16, 3), dtype=np.int8, adapter=Adapter(shape=shape, **adapter))
    assert largest_difference(frames, COLORS, SIZES[:4]) == 0


def test_frames_outside_the_limits_leave_the_input_as_it_was(tmp_path: Path) -> None:
    frames = Frames(tmp_path / "f", (20, 16, 3))
    before = frames.convert("rgb888", make_picture(9, 9), 9, 9).tobytes()
    pixels = np.zeros(10, np.uint8).ctypes.data_as(ctypes.c_void_p)
    for width, height in ((0, 9), (9, -1), (MAX_SIDE + 1, 9), (16 * MAX_RATIO + 1, 9), (9, 20 * MAX_RATIO + 1)):
        assert frames.library.model_input_from_rgb888(pixels, width, height) == -1
    assert ctypes.string_at(frames.library.model_input(), len(before)) == before


def test_large_frames_stay_within_32_bits(tmp_path: Path) -> None:
    frames = Frames(tmp_path / "f", (90, 91, 1), "crop:0.99")
    height, width = MAX_SIDE, MAX_SIDE - 1
    noise = CHANCE.integers(0, 256, (height, width)).astype(np.uint8)
    apart = frames.convert("grey", noise, height, width).astype(int) - resize_array(noise, frames.spec).reshape(-1)
    assert abs(apart).max() <= 2


def test_crops_of_any_shape_stay_within_the_bound_that_is_told(tmp_path: Path) -> None:
    """24 models and frames by chance, and one with the two grey levels that are rare."""
    chance = np.random.default_rng(7)
    for number in range(24):
        resize = str(chance.choice(["crop", "crop:0.875", "crop:0.9", "crop:0.99", "crop:0.5", "crop:0.01"]))
        height, width = map(int, chance.integers(16, 40, 2))
        frames = Frames(tmp_path / str(number), (height, width, int(chance.choice([1, 3]))), resize)
        for most in (2, 2, 5, 15):
            size = [int(chance.integers(2, most * side)) for side in (height, width)]
            if most == 2:  # borders of pixels lie at halves
                size = [side * int(chance.integers(1, 9)) // int(chance.integers(1, 3)) for side in (height, width)]
            apart = differences(frames, "rgb888", *size)
            assert apart.max() <= 2, (resize, frames.spec.shape, size)
            assert (apart > 0).mean() < 1 / 3, (resize, frames.spec.shape, size)
    frames = Frames(tmp_path / "two", (33, 32, 3), "crop:0.99")
    assert max(int(differences(frames, "rgb888", 40, 720).max()) for _ in range(8)) in (1, 2)


@pytest.mark.parametrize("layout", ["cmake", "arduino"])
def test_frames_of_an_earlier_export_never_meet_another_model(layout: Any, tmp_path: Path) -> None:
    """A stale model_frame.c would write behind the memory of a smaller model."""
    large = Frames(tmp_path / "large", (64, 64, 3), compiles=False).file
    small = Frames(tmp_path / "small", (8, 8, 3), "crop:0.8765", compiles=False).file
    sources = tmp_path / "both" / ("src" if layout == "arduino" else "")
    export(large, out=tmp_path / "both", samples=1, layout=layout)
    stale = (sources / "model_frame.c").read_text()
    assert export(small, out=tmp_path / "both", samples=1, layout=layout).report["frames"] is None
    assert {path.name for path in sources.glob("model*")} == {"model.h", "model.c"}
    (sources / "model_frame.c").write_text(stale)
    export(large, out=tmp_path / "large" / "again", samples=1)
    (sources / "model_frame.h").write_text((tmp_path / "large" / "again" / "model_frame.h").read_text())
    command = ["gcc", "-c", str(sources / "model_frame.c"), "-o", str(tmp_path / "x.o")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "exported for another model" in done.stderr


def test_the_arduino_layout_holds_the_functions_for_frames(tmp_path: Path) -> None:
    file = Frames(tmp_path / "f", (16, 16, 3), compiles=False).file
    folder = export(file, out=tmp_path / "library", samples=1, layout="arduino").folder
    assert "includes=model.h,model_frame.h" in (folder / "library.properties").read_text().splitlines()
    for name in ("model", "model_frame"):
        command = ["gcc", *STRICT, "-c", str(folder / "src" / f"{name}.c"), "-o", str(tmp_path / f"{name}.o")]
        subprocess.run(command, check=True)
    main = tmp_path / "main.cpp"
    main.write_text(
        "#include <model.h>\n#include <model_frame.h>\nstatic const uint8_t frame[27] = {9};\n"
        "int main() { return model_input_from_rgb888(frame, 3, 3); }\n"
    )
    objects = [str(tmp_path / f"{name}.o") for name in ("model", "model_frame")]
    include, out = f"-I{folder / 'src'}", str(tmp_path / "main")
    subprocess.run(["g++", "-Wall", "-Wextra", "-Werror", include, str(main), *objects, "-o", out], check=True)
    assert subprocess.run([out]).returncode == 0


def test_the_readme_names_all_sources_to_compile(tmp_path: Path) -> None:
    folder = Frames(tmp_path / "f", (16, 16, 3), compiles=False).exported.folder
    assert "compile `model.c` and `model_frame.c` with `-O2`" in (folder / "README.md").read_text()


def test_what_integers_cannot_do_is_said_and_not_written(tmp_path: Path) -> None:
    shape = (16, 16, 3)
    own = Adapter(shape=shape, per_image="standardize")
    for number, given in enumerate(({"resize": "crop:0.8765"}, {"adapter": own})):
        exported = Frames(tmp_path / str(number), shape, compiles=False, **given).exported  # type: ignore[arg-type]
        assert exported.report["frames"] is None
        assert not (exported.folder / "model_frame.c").exists()
        assert any(note.startswith("No C for frames of a camera is written: ") for note in exported.notes)
        share = "crop:0.8765 has too fine a share; use one with two decimals, such as crop:0.88."
        assert number or share in exported.notes[-1]
        texts = [(exported.folder / name).read_text() for name in ("README.md", "CMakeLists.txt")]
        assert "model_frame" not in "".join(texts)


@pytest.mark.slow
@pytest.mark.skipif(missing("arm-none-eabi-gcc", "qemu-system-arm") != "", reason="no emulated board")
@pytest.mark.parametrize("core", ["m0", "m4"])
def test_an_emulated_core_makes_the_same_numbers_with_little_stack(core: str, tmp_path: Path) -> None:
    frames = Frames(tmp_path / "f", (12, 16, 3), "pad")
    height, width = 30, 50
    frame, _ = pack(make_picture(height, width), "rgb565_be")
    expected = frames.convert("rgb565_be", frame, height, width)
    arrays = [
        f"static const uint8_t {name}[] = {{{', '.join(map(str, values.ravel().tolist()))}}};"
        for name, values in (("frame", frame), ("expected", expected))
    ]
    call = f"model_input_from_rgb565_be(frame, {width}, {height})"
    compare = "memcmp(model_input(), expected, sizeof expected)"
    body = f"int model_selftest(void) {{ return {call} != 0 || {compare} != 0; }}"
    lines = ['#include "model_frame.c"', "#include <string.h>", "int model_selftest(void);", *arrays, body]
    (frames.exported.folder / "selftest.c").write_text("\n".join(lines))
    result = emulate(frames.exported.folder, core)
    assert result.wrong == 0
    assert result.stack <= STACK + 100, "the test's own frames and memcmp's"


@pytest.mark.slow
@pytest.mark.skipif(missing("cmake") != "", reason="cmake is not installed")
def test_cmake_builds_the_functions_into_the_library(tmp_path: Path) -> None:
    folder = Frames(tmp_path / "f", (16, 16, 3), compiles=False).exported.folder
    for command in (["cmake", "-B", "b"], ["cmake", "--build", "b"], ["ctest", "--test-dir", "b"]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    symbols = subprocess.run(["nm", folder / "b" / "libmodel.a"], check=True, capture_output=True, text=True).stdout
    assert "model_input_from_rgb565_be" in symbols
