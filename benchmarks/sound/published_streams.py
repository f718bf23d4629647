"""Answers of published streaming files (microWakeWord) in exported C against TensorFlow Lite for Microcontrollers.

    EDGEPRESS_TFLM_PYTHON=... python benchmarks/sound/published_streams.py FILE.tflite ... [--calls 8200] [--seed 0]

Each file answers frames of drawn sounds by the C that `export` writes, compiled for this machine, and by TFLM's wheel
(`benchmarks/microcontrollers/c99_answers.py` says how to install it). Wake words answer 0 to nearly everything, so the
numbers before the last function are compared, too: the file without LOGISTIC and what follows it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.lowering import lower
from edgepress.converters.to_c.passes import place_smallest, without_constant_channels
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.frames import frames_of

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "support"))
sys.path.append(str(Path(__file__).parents[1] / "microcontrollers"))


def drawn_sounds(count: int, seed: int) -> npt.NDArray[np.int16]:
    """Samples of tones and noise whose levels change every half a second."""
    chance = np.random.default_rng(seed)
    features = SoundFeatures()
    parts = []
    length = features.rate // 2
    time = np.arange(length) / features.rate
    for _ in range(count // length + 1):
        tone = sum(np.sin(2 * np.pi * chance.uniform(80, 4000) * time + chance.uniform(0, 6)) for _ in range(4))
        level = 10 ** chance.uniform(0, 4)
        noise = chance.normal(0, 10 ** chance.uniform(0, 4), length)
        envelope = np.abs(np.sin(np.pi * chance.uniform(1, 12) * time))
        parts.append(level * tone * envelope + noise)
    return np.clip(np.concatenate(parts), -32768, 32767).astype(np.int16)[:count]


def stored_frames(count: int, seed: int) -> npt.NDArray[np.int8]:
    """Frames of such sounds as ESPHome stores them, shape (count, 40)."""
    features = SoundFeatures()
    frames = frames_of(drawn_sounds(features.samples_of(count), seed), features).astype(np.int64)
    return np.clip((frames * 256 + 333) // 666 - 128, -128, 127).astype(np.int8)


def without_end(content: bytes) -> bytes:
    """The file whose output is the input of its LOGISTIC."""
    from ai_edge_litert import schema_py_generated as fb

    from edgepress.converters.to_tflite import flatbuffer as flat

    root = fb.ModelT.InitFromObj(fb.Model.GetRootAs(content, 0))
    for code in root.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    graph = root.subgraphs[0]
    at = next(n for n, op in enumerate(graph.operators) if flat.kind(root, op) == "LOGISTIC")
    graph.outputs = [int(graph.operators[at].inputs[0])]
    graph.operators = graph.operators[:at]
    root.signatureDefs = []
    root.metadata = []
    return flat.write(root)


def main() -> None:
    """Print a row for each file."""
    from building_c import Library
    from c99_answers import standard_answers

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--calls", type=int, default=8200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    head = (
        "file",
        "calls",
        "other answers",
        "other numbers before LOGISTIC",
        "values of these",
        "arena",
        "MACs a call",
    )
    print(f"| {' | '.join(head)} |")
    print("|---|---|---|---|---|---|---|")
    total = 0
    for file in options.files:
        cells: list[Any] = []
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for form, content in (("whole", file.read_bytes()), ("numbers", without_end(file.read_bytes()))):
                path = folder / f"{form}.tflite"
                path.write_bytes(content)
                program, placement = place_smallest(without_constant_channels(lower(path)))
                rows = program.input.size // SoundFeatures().channels
                calls = stored_frames(options.calls * rows, options.seed).reshape(options.calls, -1)
                ours = Library(program, placement, folder / form, "-O2").answers(calls)
                theirs = standard_answers(path, calls)
                cells.append(int((ours != theirs).any(axis=1).sum()))
        total += options.calls
        cells += [len(np.unique(theirs)), placement.arena, program.macs]
        print(f"| {file.stem} | {options.calls} | {' | '.join(map(str, cells))} |", flush=True)
    print(f"{total} calls")


if __name__ == "__main__":
    main()
