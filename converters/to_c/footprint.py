"""Flash and memory that a program takes on a 32-bit board, before it is compiled.

Constants and the arena are counted exactly. Code and stack are those of each kernel for Cortex-M4, which
`benchmarks/microcontrollers/c99_sizes.py` measures (`sizes.toml`); other cores and compilers differ by some kB.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.converters.to_c.emission import Sources, emit, largest_window
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_c.passes import place_smallest, without_constant_channels
from edgepress.converters.to_c.placement import Placement

CALL = 18
"""Bytes of code for calling a kernel."""
_CALLS_STACK = 16
"""Stack of `model_run` itself."""
_MEASURED_TAPS = 9
"""Pixels of the window with which the stack of `depthwise` was measured."""
_TAP_STACK = 8
"""Stack for each further pixel of its window: two offsets."""
_WORD = 4
_SIZES = Path(__file__).with_name("sizes.toml")


@dataclass(frozen=True)
class Footprint:
    """Bytes of flash and memory.

    Attributes:
        constants: Flash of weights and other constants, by what they are.
        layers: Flash of the numbers of each step.
        code: Flash of code, about, without the C library's memcpy and memset.
        arena: Memory of all tensors.
        stack: Stack that the deepest call takes, about.
    """

    constants: Mapping[str, int]
    layers: int
    code: int
    arena: int
    stack: int

    @property
    def flash(self) -> int:
        """All flash."""
        return sum(self.constants.values()) + self.layers + self.code

    @property
    def ram(self) -> int:
        """All memory."""
        return self.arena + self.stack


def footprint(program: Program, placement: Placement, sources: Sources, *, specialize: bool = False) -> Footprint:
    """The footprint of a program, and of the C that was written of it; `specialize` as there."""
    sizes = kernel_sizes()
    stacks = {kernel: sizes[kernel]["stack"] for kernel in sources.kernels}
    if "depthwise" in stacks:
        stacks["depthwise"] += _TAP_STACK * max(0, largest_window(program) - _MEASURED_TAPS)
    copies = [step.kernel for step in program.steps] if specialize else sources.kernels
    return Footprint(
        constants=sources.constant_bytes,
        layers=sum(_layer_bytes(step.layer) for step in program.steps),
        code=sum(sizes[kernel]["code"] for kernel in copies) + CALL * len(program.steps),
        arena=placement.arena,
        stack=max(stacks.values()) + _CALLS_STACK,
    )


def compute_footprint(path: Path) -> Footprint:
    """The footprint of a file's C with shared kernels, without writing it.

    Raises:
        ModelFileError: The file is damaged, or holds something that is not exactly supported.
    """
    program, placement = place_smallest(without_constant_channels(lower(path)))
    return footprint(program, placement, emit(program, placement))


@functools.cache
def kernel_sizes() -> Mapping[str, Mapping[str, int]]:
    """Code and stack of each kernel."""
    return tomllib.loads(_SIZES.read_text(encoding="utf-8"))


def _layer_bytes(layer: Mapping[str, Any]) -> int:
    """Bytes of a struct whose fields are numbers of 32 bits, pointers, and such structs."""
    return sum(_layer_bytes(value) if isinstance(value, Mapping) else _WORD for value in layer.values())
