"""C that fits frames of a camera to the input of an exported model, as the runtime prepares the same picture."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.emission import lines
from edgepress.converters.to_c.lowering import Program
from edgepress.runtime import Contract, Model
from edgepress.runtime.resize import resize_rule
from edgepress.toolkit.shipping.exporting.folder import fill
from edgepress.toolkit.shipping.exporting.vectors import ProgramSession

MAX_SIDE = 2048
"""Pixels of a side of a frame, and of a model's image, at most: products of both fit into 32 bits."""
MAX_RATIO = 23
"""How many times as long as the model's a side of a frame may be: 48 weights lie on the stack. 640 is 22.9 times 28."""
MAX_DENOMINATOR = 100
"""Of F in "crop:F" as a fraction: with more, sums of weights do not fit into 24 bits."""
STACK = 500
"""Bytes of stack that a function takes, about: gcc for Cortex-M4, `-O2`, three channels."""
CODE = 1140
"""Bytes of its code, about, likewise; a table of what the file stores takes 256 more for each channel."""
_RGB565 = """\
                const uint8_t *const pixel = frame->bytes + 2 * (at + i);
                const uint32_t green = (pixel[{high}] & 7u) << 3 | pixel[{low}] >> 5;
                const uint32_t red = pixel[{high}] >> 3;
                const uint32_t blue = pixel[{low}] & 31u;
                /* the high bits again, so that white is 255 */
                ADD((red << 3 | red >> 2), (green << 2 | green >> 4), (blue << 3 | blue >> 2));"""
_READER = """\
        case {name}:
            for (int32_t i = 0; i < count; i++) {{
{read}
            }}
            break;"""


@dataclass(frozen=True)
class Format:
    """A format of frames.

    Attributes:
        meaning: What it is, in Markdown.
        read: C that adds pixel `at + i` of `frame->bytes`.
    """

    meaning: str
    read: str


FORMATS = {
    "rgb565_le": Format(
        "16 bits a pixel, 5 of red, 6 of green, 5 of blue from the highest, the low byte first: `uint16_t` in the "
        "memory of a little-endian processor",
        _RGB565.format(high=1, low=0),
    ),
    "rgb565_be": Format(
        "the same, the high byte first, as OV2640 and other sensors send it", _RGB565.format(high=0, low=1)
    ),
    "rgb888": Format(
        "three bytes a pixel: red, green, blue",
        "                const uint8_t *const pixel = frame->bytes + 3 * (at + i);\n"
        "                ADD((uint32_t)pixel[0], (uint32_t)pixel[1], (uint32_t)pixel[2]);",
    ),
    "grey": Format("one byte a pixel", "                grey += weights[i] * frame->bytes[at + i];"),
}
"""By the end of the function's name. A grey frame has no colors, so functions of models of colors leave it out."""


@dataclass(frozen=True)
class FrameSources:
    """The C that converts frames.

    Attributes:
        files: Texts by the names of the files.
        readme: A section of the README.
        report: What the report says of it.
    """

    files: dict[str, str]
    readme: str
    report: dict[str, Any]


class InputRecorder(ProgramSession):
    """A session that answers nothing and keeps what it is given, as the file stores it."""

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Zeros."""
        self.items += list(batch)
        return np.zeros((len(batch), self.classes), np.float32)


def frame_sources(path: Path, program: Program, contract: Contract | None) -> tuple[FrameSources | None, list[str]]:
    """The C for frames of a camera, None if items are no images or it can't be written, and a note on why it can't.

    Args:
        path: The file.
        program: Its program.
        contract: Its contract.
    """
    if contract is None or not contract.input.is_image:
        return None, []
    if reason := _refusal(contract):
        return None, [f"No C for frames of a camera is written: {reason}."]
    spec = contract.input
    adapter = contract.adapter
    rule, share = resize_rule(spec.resize)
    shown = Fraction(str(share))
    height, width, channels = spec.shape
    names = [name for name in FORMATS if channels == 1 or name != "grey"]
    values = {
        "MAX_SIDE": str(MAX_SIDE),
        "MAX_RATIO": str(MAX_RATIO),
        "HEIGHT": str(height),
        "WIDTH": str(width),
        "CHANNELS": str(channels),
        "CHANNELS_FIRST": str(int(adapter is not None and adapter.channels_first)),
        "BLUE_FIRST": str(int(adapter is not None and adapter.bgr)),
        "CROP": str(int(rule == "crop")),
        "PAD": str(int(rule == "pad")),
        "SHOWN_NUMERATOR": str(shown.numerator),
        "SHOWN_DENOMINATOR": str(shown.denominator),
        "STORED": _stored(stored_levels(path, program, contract)),
        "RULE": spec.resize,
    }
    code = {
        "FORMATS": ", ".join(name.upper() for name in names),
        "READERS": "\n".join(_READER.format(name=name.upper(), read=FORMATS[name].read) for name in names),
        "DECLARATIONS": "\n".join(f"{_signature(name)};" for name in names),
        "DEFINITIONS": "\n".join(_definition(name) for name in names),
    }
    listed = "\n".join(f"* `model_input_from_{name}`: {FORMATS[name].meaning}" for name in names)
    exact = not (rule == "crop" and (share != 1 or height != width))
    text = {
        "FIRST": names[0],
        "FORMATS": listed,
        "EXACT": _equality(rule, exact),
        "STACK": str(STACK),
        "CODE": str(CODE),
    }
    files = {f"model_frame.{kind}": fill(f"frames/model_frame.{kind}", **values, **code) for kind in "hc"}
    report = {"formats": names, "resize": spec.resize, "equals_runtime": exact}
    return FrameSources(files, fill("frames/README.md", **values, **text), report), []


def _refusal(contract: Contract) -> str:
    """Why integers of 32 bits can't prepare frames as a contract says; empty if they can."""
    spec = contract.input
    adapter = contract.adapter
    share = resize_rule(spec.resize)[1]
    if adapter is not None and adapter.per_image:
        return f"images are scaled by their own values ({adapter.per_image})"
    if Fraction(str(share)).denominator > MAX_DENOMINATOR:
        near = max(0.01, round(share, 2))
        return f"{spec.resize} has too fine a share; use one with two decimals, such as crop:{near:g}"
    if max(spec.shape[:2]) > MAX_SIDE:
        return f"the model's image has more than {MAX_SIDE} pixels a side"
    return ""


def _equality(rule: str, exact: bool) -> str:
    """How far the numbers are from the runtime's, in Markdown."""
    if not exact:
        return (
            "A frame of the model's own size and channels gives the runtime's numbers. Of others, pixels differ by one "
            "grey level, rarely by two and never by more, because the runtime rounds the borders of what it shows to "
            "single precision: mostly single pixels, but up to a third of them where borders of the model's pixels "
            "lie at halves of the frame's, or where (frame height - model height) > 2 x (frame width - model width)."
        )
    other = "shown" if rule == "pad" else "model"
    text = (
        f"The numbers are those of the runtime, bit for bit, if (frame height - {other} height) <= 2 x (frame width - "
        f"{other} width). Of other frames, pixels may differ by one grey level: Pillow 13 resizes their columns first, "
        "earlier versions their rows."
    )
    ties = (
        " Shown is the picture on black. Where scaling gives a side of exactly n + 1/2 pixels, it may be one pixel "
        "longer or shorter."
    )
    return text + (ties if rule == "pad" else "")


def _signature(name: str) -> str:
    return f"int model_input_from_{name}(const uint8_t *frame, int width, int height)"


def _definition(name: str) -> str:
    return f"{_signature(name)}\n{{\n    return convert(frame, width, height, {name.upper()});\n}}\n"


def stored_levels(path: Path, program: Program, contract: Contract) -> npt.NDArray[np.uint8]:
    """What the file stores, as bytes, for each grey level, by the file's channels: shape (channels, 256)."""
    recorder = InputRecorder(path, program, contract)
    shape = contract.input.shape
    levels = np.arange(256, dtype=np.uint8)
    Model(path, "export", 1, recorder).outputs(np.broadcast_to(levels[:, None, None, None], (256, *shape)))
    items = np.stack(recorder.items).view(np.uint8).reshape(256, -1)
    channels_first = contract.adapter is not None and contract.adapter.channels_first
    planes = items.reshape((256, shape[2], -1) if channels_first else (256, -1, shape[2]))
    return planes[:, :, 0].T.copy() if channels_first else planes[:, 0, :].T.copy()


def _stored(tables: npt.NDArray[np.uint8]) -> str:
    """C of STORED, which makes what the file stores of a grey level."""
    levels = np.arange(256, dtype=np.uint8)
    if (tables == levels).all():
        return "#define STORED(slot, level) ((uint8_t)(level))"
    if (tables == levels ^ 128).all():
        return "/* The model's int8 is the level - 128. */\n#define STORED(slot, level) ((uint8_t)((level) ^ 128u))"
    rows = tables[:1] if (tables == tables[0]).all() else tables
    text = ",\n".join(f"    {{{lines(map(str, row.tolist()))}}}" for row in rows)
    slot = "(slot)" if len(rows) > 1 else "0"
    return (
        f"static const uint8_t stored[{len(rows)}][256] = {{\n{text}\n}};\n"
        f"#define STORED(slot, level) ((void)(slot), stored[{slot}][level])"
    )
