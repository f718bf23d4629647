"""The tensors of a program in one arena, as small as a search and smaller windows make it.

A tensor takes memory from the step that writes it to the last one that reads it; a state takes it always. Two that are
needed at the same time may share bytes in one case: the output of a step and an input that is not needed later, at a
distance that follows from the order in which the kernel reads and writes (`Step.distances`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgepress.converters.to_c.graph import unsupported
from edgepress.converters.to_c.lowering import Program
from edgepress.converters.to_c.step import SEPARATE, Step

ALIGNMENT = 4
TRIES = 4000
"""Orders that the search tries."""
PAIRS = 40_000_000
"""Most pairs of blocks that the search compares, whatever the number of orders: it takes a minute at most."""
MAX_ARENA = 1 << 26
"""Largest arena: more than the memory of any microcontroller."""
_COOLING = 0.999
_HEAT = 0.03
"""Share of the first arena by which an order may be worse at the beginning of the search."""


@dataclass(frozen=True)
class Block:
    """Something that takes memory for a while.

    Attributes:
        size: Bytes.
        first: The step that writes it; -1 of the input.
        last: The last step that reads it.
        distances: By block that this one may overlap as an output: the least distance (`Step.distances`).
    """

    size: int
    first: int
    last: int
    distances: Mapping[int, int]


@dataclass(frozen=True)
class Placement:
    """Where everything lies.

    Attributes:
        arena: Bytes of the arena.
        tensors: Offset of each activation, by the number of the tensor whose memory it is.
        scratch: Offset of each step's scratch memory, if it has any.
    """

    arena: int
    tensors: Mapping[int, int]
    scratch: Mapping[int, int]


def place(program: Program, tries: int = TRIES) -> Placement:
    """Place a program's tensors; the result is the same each time."""
    keys, blocks = blocks_of(program)
    if (least := least_arena(blocks)) > MAX_ARENA:
        raise unsupported("this file", f"it needs {least} bytes of memory; accepted: up to {MAX_ARENA}")
    arena, offsets = search(blocks, tries)
    tensors = {key: offset for (kind, key), offset in zip(keys, offsets, strict=True) if kind == "tensor"}
    scratch = {key: offset for (kind, key), offset in zip(keys, offsets, strict=True) if kind == "scratch"}
    return Placement(arena, tensors, scratch)


def blocks_of(program: Program) -> tuple[list[tuple[str, int]], list[Block]]:
    """What takes memory: each a kind and a number, and its block."""
    source = program.input.index
    result = program.of(program.output).index
    sizes = {source: program.input.size}
    first = {source: -1}
    last = {source: 0}
    for number, step in enumerate(program.steps):
        for tensor in step.inputs:
            if tensor.data is None:
                last[program.of(tensor).index] = number
        sizes[step.output.index] = step.output.size
        first[step.output.index] = number
        last[step.output.index] = number
    last[result] = len(program.steps)
    for index, state in program.states.items():
        sizes[index] = state.tensor.bytes
        first[index] = -1
        last[index] = len(program.steps)
    order = list(sizes)
    keys = [("tensor", index) for index in order]
    blocks = []
    for index in order:
        distances: dict[int, int] = {}
        if first[index] >= 0:
            step = program.steps[first[index]]
            for tensor, distance in zip(step.inputs, step.distances, strict=True):
                if tensor.data is None and last[at := program.of(tensor).index] == first[index] and distance < SEPARATE:
                    distances[order.index(at)] = max(distance, distances.get(order.index(at), distance))
        blocks.append(Block(sizes[index], first[index], last[index], distances))
    for number, step in enumerate(program.steps):
        if step.scratch:
            keys.append(("scratch", number))
            blocks.append(Block(step.scratch, number, number, {}))
    return keys, blocks


def search(blocks: Sequence[Block], tries: int) -> tuple[int, list[int]]:
    """The smallest arena found, and each block's offset: simulated annealing over the order of placing."""
    neighbours = [
        [j for j, b in enumerate(blocks) if j != i and a.first <= b.last and b.first <= a.last]
        for i, a in enumerate(blocks)
    ]
    orders = [
        sorted(range(len(blocks)), key=lambda i: -blocks[i].size),
        list(range(len(blocks))),
        list(reversed(range(len(blocks)))),
    ]
    results = [_placed(order, blocks, neighbours) for order in orders]
    best, order = min(zip(results, orders, strict=True), key=lambda pair: pair[0][0])
    floor = least_arena(blocks)
    current = best[0]
    chance = random.Random(0)
    heat = _HEAT * best[0]
    for _ in range(min(tries, PAIRS // max(1, sum(map(len, neighbours))))):
        if best[0] <= floor or len(blocks) < 2:
            break
        changed = list(order)
        i = chance.randrange(len(changed))
        j = chance.randrange(len(changed))
        if chance.random() < 0.5:
            changed[i], changed[j] = changed[j], changed[i]
        else:
            changed.insert(j, changed.pop(i))
        arena, offsets = _placed(changed, blocks, neighbours)
        if arena <= current or chance.random() < math.exp((current - arena) / max(heat, 1)):
            current = arena
            order = changed
            if arena < best[0]:
                best = arena, offsets
        heat *= _COOLING
    return best


def least_arena(blocks: Sequence[Block]) -> int:
    """Bytes that no placement goes below."""
    return max(needs(blocks))


def needs(blocks: Sequence[Block]) -> list[int]:
    """Bytes needed while the input is written, at each step, and at the end: all but one of two that may overlap."""
    totals = []
    for moment in range(-1, max(block.last for block in blocks) + 1):
        alive = [i for i, block in enumerate(blocks) if block.first <= moment <= block.last]
        total = sum(blocks[i].size for i in alive)
        outputs = [i for i in alive if blocks[i].first == moment and blocks[i].distances]
        for i in outputs:
            shared = [blocks[j].size for j in blocks[i].distances if j in alive]
            total -= min(blocks[i].size, sum(shared))
        totals.append(total)
    return totals


def may_share(blocks: Sequence[Block], i: int, at: int, j: int, *, other: int) -> bool:
    """Whether a block at an offset and another one at its offset do not harm each other, needed at the same time."""
    begin, end = _harmed(blocks, i, j, other)
    return not begin < at < end


def _harmed(blocks: Sequence[Block], i: int, j: int, other: int) -> tuple[int, int]:
    """Between which offsets a block would harm another one at its offset, if they are needed at the same time.

    The ends themselves do no harm.
    """
    before = min(blocks[i].size, blocks[i].distances.get(j, SEPARATE))
    behind = min(blocks[j].size, blocks[j].distances.get(i, SEPARATE))
    return other - before, other + behind


def _placed(
    order: Sequence[int], blocks: Sequence[Block], neighbours: Sequence[Sequence[int]]
) -> tuple[int, list[int]]:
    """Each block at the lowest offset that does not harm those placed before it."""
    offsets = [-1] * len(blocks)
    for i in order:
        at = 0
        for begin, end in sorted(_harmed(blocks, i, j, offsets[j]) for j in neighbours[i] if offsets[j] >= 0):
            if at <= begin:
                break
            if at < end:
                at = _up(end)
        offsets[i] = at
    return max(at + block.size for at, block in zip(offsets, blocks, strict=True)), offsets


def _up(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


SLACK = 0.1
"""Share by which faster kernels may make the arena larger than the smallest one."""


def with_smaller_windows(program: Program) -> Program:
    """The same answers, with `Step.smaller` where a step would need more memory than `SLACK` allows."""
    whole = needs(blocks_of(program)[1])
    by_step = whole[1:]
    least = [need - _saved(step) for need, step in zip(by_step, program.steps, strict=False)]
    limit = (1 + SLACK) * max(whole[0], whole[-1], *least)
    steps = tuple(
        step.smaller if step.smaller is not None and need > limit else step
        for need, step in zip(by_step, program.steps, strict=False)
    )
    return replace(program, steps=steps) if steps != program.steps else program


def _saved(step: Step) -> int:
    return (step.scratch or 0) - (step.smaller.scratch or 0) if step.smaller is not None else 0
