"""Write a program as C99: `model.c` with the kernels that it uses, and `model.h`; or of another name than `model`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.to_c.convolution import MAX_TAPS
from edgepress.converters.to_c.graph import Array, State
from edgepress.converters.to_c.lowering import Program
from edgepress.converters.to_c.placement import Placement
from edgepress.converters.to_c.shapes import MANY_CLASSES
from edgepress.converters.to_c.step import Step

KERNELS = Path(__file__).parent / "kernels"
NEEDS = {
    "conv": ("dot", "window"),
    "conv_bytes": ("dot", "window"),
    "conv_one": ("window",),
    "dense": ("dot",),
    "div": ("inverse",),
    "lstm": ("dot",),
    "softmax": ("inverse",),
}
"""Files in `kernels/` that must stand before that of a kernel."""
WIDTH = 120
C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "uint16": "uint16_t", "int32": "int32_t"}
"""C's names of types, by NumPy's."""
_HEAD = """\
/* Made by edgepress: the steps of an integer-only TFLite file. docs/microcontrollers.md of edgepress says more. */
"""
_HEADER = """\
{head}#ifndef MODEL_H
#define MODEL_H
#include <stdint.h>

#define MODEL_INPUT_BYTES {input_bytes}
#define MODEL_OUTPUT_BYTES {output_bytes}
#define MODEL_ARENA_BYTES {arena}
/* real value = scale * (stored number - zero point) */
#define MODEL_INPUT_SCALE {input_scale}f
#define MODEL_INPUT_ZERO_POINT {input_zero}
#define MODEL_OUTPUT_SCALE {output_scale}f
#define MODEL_OUTPUT_ZERO_POINT {output_zero}

#ifdef __cplusplus
extern "C" {{
#endif
/* Write the input here, shape {input_shape}; model_run() overwrites it. */
{input_type} *model_input(void);
void model_run(void);
/* Shape {output_shape}; valid until the next input is written. */
const {output_type} *model_output(void);
/* The same in an arena of your own, of MODEL_ARENA_BYTES at an address that 4 divides: several instances, or threads.
   With -DMODEL_NO_ARENA, there is no other one. */
{input_type} *model_input_in(void *arena);
void model_run_in(void *arena);
const {output_type} *model_output_in(const void *arena);
{reset}{labels}#ifdef __cplusplus
}}
#endif
#endif
"""
_RESET = """\
/* {what} what it keeps of earlier calls is part of the arena. Call it before the first model_run(),
   {when}. */
void model_reset(void);
void model_reset_in(void *arena);
"""
_STREAM = {"what": "The model takes a stream:", "when": "and to forget what was seen"}
_SERIES = {
    "what": "The model has an LSTM:",
    "when": "and before each item that does not go on where the last one ended",
}
LABELS = """\
#define MODEL_LABELS {count}
/* UTF-8, in the order of the outputs. */
extern const char *const model_labels[MODEL_LABELS];
"""
_FOOT = """\
{input_type} *model_input_in(void *arena) {{ return ({input_type} *)((int8_t *)arena + {input_at}); }}

const {output_type} *model_output_in(const void *arena)
{{
    return (const {output_type} *)((const int8_t *)arena + {output_at});
}}

void model_run_in(void *memory)
{{
    int8_t *const arena = (int8_t *)memory;
{calls}
}}

#ifndef MODEL_NO_ARENA
/* Put the arena elsewhere by -DMODEL_ARENA_ATTRIBUTES='__attribute__((section("...")))'. */
#ifndef MODEL_ARENA_ATTRIBUTES
#define MODEL_ARENA_ATTRIBUTES
#endif
static union {{
    int32_t aligned;
    int8_t bytes[MODEL_ARENA_BYTES];
}} model_arena MODEL_ARENA_ATTRIBUTES;

{input_type} *model_input(void) {{ return model_input_in(model_arena.bytes); }}

const {output_type} *model_output(void) {{ return model_output_in(model_arena.bytes); }}

void model_run(void) {{ model_run_in(model_arena.bytes); }}
#endif
"""
_RESET_FOOT = """\

void model_reset_in(void *memory)
{{
    int8_t *const arena = (int8_t *)memory;
{resets}
}}

#ifndef MODEL_NO_ARENA
void model_reset(void) {{ model_reset_in(model_arena.bytes); }}
#endif
"""
_NAMED = re.compile(r"\bmodel(?=_[a-z]|\.(?:[ch]|tflite|json|wasm|mjs|d\.mts)\b)|(?:\b|(?<=-D))MODEL(?=_[A-Z])")
"""What begins with the name of the model in templates: functions, macros and files."""


def with_name(template: str, name: str) -> str:
    """A template of C, or the path of its file, whose functions, macros and files begin with a name, not with `model`.

    Args:
        template: The template, without texts of strangers, which are filled in afterwards.
        name: In lower case.
    """
    return _NAMED.sub(lambda word: name if word[0].islower() else name.upper(), template)


@dataclass
class Constants:
    """The constants of a program, each stored once.

    Attributes:
        texts: Their definitions, in order.
        sizes: Bytes that they take, by what they are: the field of the kernel's struct.
    """

    texts: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    _names: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def name(self, values: Array, what: str, step: int) -> str:
        """The name of an array."""
        key = values.dtype.name, values.tobytes()
        if key not in self._names:
            name = self._names[key] = f"{what}_{step}"
            kind = C_TYPES[values.dtype.name]
            numbers = lines(map(str, values.ravel().tolist()))
            self.texts.append(f"EP_ALIGNED static const {kind} {name}[{values.size}] = {{\n{numbers}\n}};")
            self.sizes[what] = self.sizes.get(what, 0) + values.nbytes
        return self._names[key]


@dataclass(frozen=True)
class Sources:
    """The C of a program.

    Attributes:
        header: `model.h`.
        source: `model.c`.
        kernels: Names of the kernels in it.
        constant_bytes: Bytes of its constants, by what they are.
        keeps: Whether something is kept between calls, so that there is `model_reset`.
        is_stream: As of the program.
    """

    header: str
    source: str
    kernels: tuple[str, ...]
    constant_bytes: Mapping[str, int]
    keeps: bool = False
    is_stream: bool = False


def emit(
    program: Program,
    placement: Placement,
    *,
    labels: Iterable[str] = (),
    specialize: bool = False,
    name: str = "model",
) -> Sources:
    """Write a program.

    Args:
        program: The program.
        placement: Where its tensors lie.
        labels: Names of the outputs.
        specialize: Whether each layer gets kernels of its own, which are faster and larger, instead of shared ones.
        name: What the names of its functions, macros and files begin with.
    """
    names = tuple(labels)
    constants = Constants()
    kernels = tuple(sorted({step.kernel for step in program.steps}))
    layers = []
    calls = []
    for number, step in enumerate(program.steps):
        fields = _fields(step.layer, constants, number, " " * 4)
        layers.append(f"static const ep_{step.kernel}_layer layer_{number} = {{\n{fields}\n}};")
        calls.append(_call(program, placement, step, number, constants))
    resets = [_reset(program, placement, state, constants) for state in program.graph.states]
    ends = {
        "input_type": C_TYPES[program.input.dtype],
        "output_type": C_TYPES[program.output.dtype],
        "input_at": placement.tensors[program.input.index],
        "output_at": placement.tensors[program.of(program.output).index],
    }
    taps = largest_window(program)
    assert taps <= MAX_TAPS
    clamps = [step.layer.get("scaling", step.layer) for step in program.steps]
    full = all((clamp.get("low", -128), clamp.get("high", 127)) == (-128, 127) for clamp in clamps)
    small = all(step.layer["scaling"]["small"] for step in program.steps if "scaling" in step.layer)
    many = any(step.kernel == "softmax" and step.layer["count"] >= MANY_CLASSES for step in program.steps)
    parts = [
        _HEAD + with_name('#include "model.h"\n#include <string.h>\n', name),
        f"#define EP_SPECIALIZE {int(specialize)}\n#define EP_TAPS {taps}\n#define EP_MANY_CLASSES {int(many)}",
        f"#define EP_ALL_SMALL {int(small)}\n#define EP_ALL_FULL {int(full)}\n",
        *(kernel_text(kernel) for kernel in files_of(kernels)),
        *constants.texts,
        *layers,
        *([label_table(names, name)] if names else []),
        with_name(_FOOT, name).format(calls="\n".join(calls), **ends),
        *([with_name(_RESET_FOOT, name).format(resets="\n".join(resets))] if resets else []),
    ]
    return Sources(
        _header(program, placement, ends, len(names), name),
        "\n".join(parts),
        kernels,
        dict(constants.sizes),
        bool(resets),
        program.is_stream,
    )


def largest_window(program: Program) -> int:
    """Pixels of the largest window of the kernel `depthwise`; 1 without it."""
    places = [step.layer["geometry"] for step in program.steps if step.kernel == "depthwise"]
    return max((place["kernel_height"] * place["kernel_width"] for place in places), default=1)


def files_of(kernels: Iterable[str]) -> list[str]:
    """The files of kernels, those that others need first."""
    return list(dict.fromkeys(["base", *(name for kernel in kernels for name in (*NEEDS.get(kernel, ()), kernel))]))


def kernel_text(name: str) -> str:
    """The text of a file in `kernels/`."""
    return (KERNELS / f"{name}.c").read_text(encoding="utf-8")


def _fields(layer: Mapping[str, Any], constants: Constants, number: int, indent: str) -> str:
    lines = []
    for name, value in layer.items():
        if isinstance(value, Mapping):
            inner = _fields(value, constants, number, indent + " " * 4)
            lines.append(f"{indent}.{name} = {{\n{inner}\n{indent}}},")
        else:
            text = constants.name(value, name, number) if isinstance(value, np.ndarray) else str(value)
            lines.append(f"{indent}.{name} = {text},")
    return "\n".join(lines)


def _call(program: Program, placement: Placement, step: Step, number: int, constants: Constants) -> str:
    arguments = [f"&layer_{number}"]
    for tensor in step.inputs:
        if tensor.data is not None:
            arguments.append(constants.name(tensor.data, "operand", number))
        else:
            arguments.append(f"arena + {placement.tensors[program.of(tensor).index]}")
    arguments.append(f"arena + {placement.tensors[step.output.index]}")
    if step.scratch is not None:
        arguments.append(f"arena + {placement.scratch.get(number, 0)}")
    return f"    ep_{step.kernel}({', '.join(arguments)}); /* {step.operation.kind} */"


def _reset(program: Program, placement: Placement, state: State, constants: Constants) -> str:
    """The line that gives a state its first values."""
    tensor = state.tensor
    at = placement.tensors[tensor.index]
    if (state.first == tensor.zero_point).all():
        return f"    memset(arena + {at}, {tensor.zero_point}, {tensor.bytes});"
    return f"    memcpy(arena + {at}, {constants.name(state.first, 'state', tensor.index)}, {tensor.bytes});"


def _header(program: Program, placement: Placement, ends: Mapping[str, Any], labels: int, name: str) -> str:
    source = program.input
    result = program.output
    reset = with_name(_RESET, name).format(**(_STREAM if program.is_stream else _SERIES))
    return with_name(_HEADER, name).format(
        head=_HEAD,
        input_bytes=source.size,
        output_bytes=result.size,
        arena=placement.arena,
        input_scale=_c_float(source.scale if len(source.scales) else 1.0),
        input_zero=source.zero_point if len(source.scales) else 0,
        output_scale=_c_float(result.scale if len(result.scales) else 1.0),
        output_zero=result.zero_point if len(result.scales) else 0,
        input_shape=" x ".join(map(str, source.shape)),
        output_shape=" x ".join(map(str, result.shape)),
        reset=reset if program.graph.states else "",
        labels=with_name(LABELS, name).format(count=labels) if labels else "",
        **ends,
    )


def _c_float(value: float) -> str:
    text = repr(float(value))
    return text if "." in text or "e" in text else f"{text}.0"


def label_table(labels: tuple[str, ...], name: str = "model") -> str:
    """The definition of `model_labels`."""
    lines = ",\n".join(f"    {c_string(label)}" for label in labels)
    return f"const char *const {name}_labels[{name.upper()}_LABELS] = {{\n{lines}\n}};\n"


def c_string(text: str) -> str:
    """A text as a C string of its UTF-8 bytes; whatever it holds, it ends where it should."""
    plain = {*range(32, 127)} - {*b'"\\?'}
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode(errors="replace")) + '"'


def lines(numbers: Iterable[str]) -> str:
    """Numbers, separated by commas, on lines of limited width."""
    rows: list[list[str]] = [[]]
    width = 0
    for number in numbers:
        width += len(number) + 2
        if width > WIDTH + 1 and rows[-1]:
            rows.append([])
            width = len(number) + 2
        rows[-1].append(number)
    return ",\n".join(", ".join(row) for row in rows)
