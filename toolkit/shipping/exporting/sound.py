"""C that makes the input of a model of sound from samples: frames equal to the runtime's, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.emission import C_TYPES, lines
from edgepress.converters.to_c.lowering import Program
from edgepress.runtime import Contract, read_contract
from edgepress.runtime.adapted import quantized
from edgepress.runtime.sound.features import SNR_BITS, SoundFeatures
from edgepress.runtime.sound.frames import net_input
from edgepress.runtime.sound.front_end import transform_order
from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.runtime.sound.tables import FrontEndTables, tables_of
from edgepress.runtime.sound.windows import STEPS
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.exporting.folder import fill
from edgepress.toolkit.shipping.exporting.stream import calls_before_answers
from edgepress.toolkit.shipping.exporting.vectors import quantization_of

PARTS = ("MACROS", "FIELDS", "DECLARATIONS", "BEGIN", "CODE")
"""Words of templates for what a model that takes a stream has more."""
PCAN_BITS = 6
"""Bits after the point of what the gain control returns."""


def require_integer_sound(path: Path) -> None:
    """Check that a file takes frames of the front end that firmware has, if it takes sound.

    Raises:
        InputError: It takes those of another one.
    """
    contract = read_contract(path)
    if contract is None or contract.sound is None or isinstance(contract.sound, SoundFeatures):
        return
    problem = f"{path} takes frames of the front end {contract.sound.kind}, which firmware does not have"
    raise InputError(f"{problem}.", "Train with the integer one: edgepress train without --sound kind.")


@dataclass(frozen=True)
class SoundSources:
    """The C of the front end.

    Attributes:
        files: Its files by name.
        readme: What the README says of it.
    """

    files: dict[str, str]
    readme: str


def sound_sources(program: Program, contract: Contract | None, *, streams: bool) -> SoundSources | None:
    """The C for a model of sound; None for another one, or one whose channels are normalized before they are stored.

    Args:
        program: The program of the file, or of the same as a stream.
        contract: What the file says of itself; None if nothing is known.
        streams: Whether a call of the program takes the next frames, not a whole window.
    """
    if (
        contract is None
        or not isinstance(contract.sound, SoundFeatures)
        or program.input.dtype not in ("int8", "uint8")
    ):
        return None
    if contract.adapter is not None and (contract.adapter.mean or contract.adapter.std):
        return None
    features = contract.sound
    tables = tables_of(features)
    words = _words(program, features, tables) | _words_of_stream(program, contract, streams=streams)
    functions = [
        *(["sound/gain.c"] if features.pcan else []),
        *(["sound/log.c"] if features.log else []),
        "sound/scaled.c",
    ]
    words["SCALING"] = _scaling(features, tables)
    words["FUNCTIONS"] = "".join(fill(path, **words) for path in functions)
    files = {f"model_sound.{end}": fill(f"sound/model_sound.{end}", **words) for end in ("h", "c")}
    return SoundSources(files, fill("sound/README.md", **words))


def rule_notes(contract: Contract | None, rows: int) -> list[str]:
    """What to say if firmware hears otherwise than `listen`: it accepts all answers, or its steps are other ones."""
    rule = contract.listen if contract is not None else None
    notes = []
    if contract is not None and contract.sound is not None and contract.accept is not None:
        notes += ["Firmware accepts all answers, so it may hear what listen of the runtime rejects."]
    if contract is None or rule is None:
        return notes
    step = rule.step or max(contract.input.shape[0] // STEPS, 1)
    if step == rows:
        return notes
    text = f"Its threshold was chosen for an answer every {step} frames, and this one answers every {rows}."
    return [*notes, f"{text} Choose it for these: edgepress calibrate --max-alarms 1/h --step {rows}."]


def _words_of_stream(program: Program, contract: Contract, *, streams: bool) -> dict[str, str]:
    """What stands for the words of functions that take samples and run the model; nothing if it takes windows."""
    if not streams or contract.sound is None:
        return dict.fromkeys(PARTS, "") | {"USE": fill("sound/frames_use.md")}
    rows = program.input.size // contract.sound.channels
    window = contract.input.shape[0]
    usual = contract.listen or ListenOptions()
    words = {
        "ROWS": str(rows),
        "FIRST_ROW": str(-window % rows),
        "CALLS_BEFORE_ANSWERS": str(calls_before_answers(window, rows)),
        "OUTPUT_TYPE": C_TYPES[program.output.dtype],
        "IS_EVENT": ", ".join(str(int(label not in usual.ignore)) for label in contract.labels),
        "THRESHOLD": f"{usual.threshold * 1000:.0f}",
        "AVERAGE": str(usual.average),
        "PAUSE_MS": f"{usual.pause_s * 1000:.0f}",
    }
    kinds = ["heard", "listen"] if _gives_probabilities(program, contract) else ["heard"]
    for part in PARTS:
        words[part] = "".join(fill(f"sound/{kind}_{part.lower()}.c", **words) for kind in kinds)
    return words | {"USE": fill(f"sound/{kinds[-1]}_use.md", **words)}


def _gives_probabilities(program: Program, contract: Contract) -> bool:
    """Whether the model's numbers are probabilities in steps of 1/256, one a label."""
    scale, zero_point = quantization_of(program.output)
    least = np.iinfo(program.output.dtype).min
    right = contract.task == "softmax" and contract.probability is None and program.output.size == len(contract.labels)
    return right and (scale, zero_point) == (1 / 256, least)


def _words(program: Program, features: SoundFeatures, tables: FrontEndTables) -> dict[str, str]:
    """What stands in the templates for their words in @."""
    half = features.fft_size // 2
    first_value, least = _least_numbers(program, features)
    roots = tables.twiddles[: half - half // 4]  # the others are never read
    return {
        "RATE": str(features.rate),
        "STEP": str(features.step),
        "WINDOW": str(features.window),
        "CHANNELS": str(features.channels),
        "FFT_SIZE": str(features.fft_size),
        "SMOOTHING_BITS": str(features.smoothing_bits),
        "CORRECTION_BITS": str(features.correction_bits),
        "WINDOW_TABLE": _rows(tables.window),
        "ORDER": _rows(transform_order(half)),
        "TWIDDLES": _rows(roots),
        "SUPER_TWIDDLES": _rows(tables.super_twiddles),
        "FIRST_BIN": _rows(tables.first_bin),
        "WEIGHTS": _rows(tables.weights),
        "UNWEIGHTS": _rows(tables.unweights),
        "GAIN_TABLE": _table("int16_t gain", tables.gain) if features.pcan else "",
        "LOG_TABLE": _table("uint16_t log_two", tables.log) if features.log else "",
        "EVEN": str(tables.smoothing[0]),
        "ODD": str(tables.smoothing[1]),
        "MIN_SIGNAL": str(tables.min_signal),
        "SCALE_SHIFT": str(features.scale_shift),
        "TYPE": C_TYPES[program.input.dtype],
        "LEAST": _rows(least),
        "LEAST_COUNT": str(len(least)),
        "FIRST_VALUE": str(first_value),
    }


def _scaling(features: SoundFeatures, tables: FrontEndTables) -> str:
    """The lines that make a number of a frame of a channel without its noise."""
    lines_of = []
    if features.pcan:
        large = f"(snr >> {SNR_BITS - PCAN_BITS}) - {1 << PCAN_BITS}u"
        lines_of += [
            f"const uint32_t snr = (uint32_t)(((uint64_t)value * gain_of(estimate)) >> {tables.snr_shift});",
            f"value = snr < {2 << SNR_BITS}u ? (snr * snr) >> {2 + 2 * SNR_BITS - PCAN_BITS} : {large};",
        ]
    if features.log:
        bits = features.correction_bits
        lines_of += [
            f"value = value {'<<' if bits >= 0 else '>>'} {abs(bits)};",
            "value = value > 1 ? log_of(value) : 0;",
        ]
    return "".join(f"    {line}\n" for line in lines_of)


def _least_numbers(program: Program, features: SoundFeatures) -> tuple[int, npt.NDArray[Any]]:
    """The stored value of 0, and for each larger one, the least number of a frame that is stored as it or more."""
    numbers = np.arange(1 << 16, dtype=np.uint16)
    dtype = np.dtype(program.input.dtype)
    stored = quantized(net_input(numbers, features), quantization_of(program.input), dtype).astype(int)
    first = int(stored[0])
    return first, np.searchsorted(stored, np.arange(first + 1, int(stored[-1]) + 1))


def _table(name: str, values: npt.NDArray[Any]) -> str:
    return f"static const {name}[{values.size}] = {{\n{_rows(values)}\n}};\n"


def _rows(values: npt.NDArray[Any]) -> str:
    return lines(map(str, values.ravel().tolist() or [0]))  # C has no empty arrays: channels may lie between bins
