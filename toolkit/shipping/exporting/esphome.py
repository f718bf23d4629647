"""A model of sound as ESPHome's micro_wake_word loads it: a streaming `.tflite` and its manifest.

ESPHome fixes the front end (the usual one, any step), the input, int8, shape (1, rows, 40) at 26/255, and the output,
one probability as uint8 (esphome/components/micro_wake_word). The manifest is of its version 2.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.to_c.lowering import lower
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.streaming import to_streaming
from edgepress.runtime import Contract, read_contract
from edgepress.runtime.engines import import_engine
from edgepress.runtime.errors import EngineError
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.listen_options import IGNORED, ListenOptions
from edgepress.toolkit.errors import InputError, unknown
from edgepress.toolkit.shipping.exporting.folder import fill, write_folder
from edgepress.toolkit.shipping.exporting.job import Exported, ExportJob
from edgepress.toolkit.shipping.exporting.sound import rule_notes
from edgepress.toolkit.shipping.exporting.stream import stream_report, stream_vectors
from edgepress.toolkit.shipping.exporting.tflm import ENGINE, arena_of
from edgepress.toolkit.shipping.exporting.vectors import ProgramSession, TflmSession, make_vectors

ROWS = 3
"""Frames of a call unless the user says another number: what published wake words take."""
INPUT_SCALE = 26 / 255
USUAL = ListenOptions(threshold=0.9, average=5)
"""When ESPHome hears the word, unless the file says so (`edgepress calibrate --max-alarms`)."""
LEAST_VERSION = "2024.7.0"
"""The first version of ESPHome that takes such files."""


def export_esphome(job: ExportJob) -> Exported:
    """Write the folder; see `edgepress.toolkit.shipping.exporting.export`."""
    import_engine(ENGINE, f"export --to esphome of {job.path}")
    job.step("Reading the file")
    contents, report = job.in_child(_make, None)
    job.check_board(report["ram"]["arena"], report["flash"]["file"], f"an arena of {report['ram']['arena']} bytes")
    job.step(f"Writing {job.folder}")
    report, notes = write_folder(job.folder, contents, report, overwrite=job.overwrite)
    return Exported(job.folder, report, (*notes, *rule_notes(read_contract(job.path), job.stream or ROWS)))


def _make(job: ExportJob, _: None) -> tuple[dict[str, str | bytes], dict[str, Any]]:
    """The files and their report."""
    job = replace(job, stream=job.stream or ROWS)
    assert job.stream is not None
    contract = _require_sound(job.path)
    word = _chosen_word(job, contract)
    lower(job.path)  # what is damaged is refused before it is changed
    whole = one_probability(job.path.read_bytes(), None if contract.task == "sigmoid" else contract.labels.index(word))
    with ScratchFolder() as folder:
        windows_path = Path(folder, "windows.tflite")
        stream_path = Path(folder, "stream.tflite")
        windows_path.write_bytes(whole)
        stream_path.write_bytes(to_streaming(whole, job.stream))
        windows = lower(windows_path)
        stream = lower(stream_path)
        _require_input(job, windows.input)
        items, _notes = make_vectors(ProgramSession(windows_path, windows, None), None, data=None, samples=2)
        vectors = stream_vectors(windows, stream, items)
        job.step("Measuring the arena in TFLM")
        used = _tflm_arena(stream_path)
        model = stream_path.read_bytes()
    report = job.report(vectors) | {
        "name": job.name,
        "word": word,
        "ram": {"arena": arena_of(used), "used": used},
        "flash": {"file": len(model)},
        "stream": stream_report(windows, stream),
    }
    readme = fill("esphome/README.md", MODEL=job.name, FILE=job.path.name.replace("`", "'"))
    manifest = json.dumps(_manifest(job, word, report, contract), indent=2, ensure_ascii=False)
    files: dict[str, str | bytes] = {f"{job.name}.tflite": model, f"{job.name}.json": f"{manifest}\n"}
    return files | {"README.md": readme}, report


def _manifest(job: ExportJob, word: str, report: dict[str, Any], contract: Contract) -> dict[str, Any]:
    assert contract.sound is not None
    rule = contract.listen or USUAL
    return {
        "type": "micro",
        "wake_word": word,
        "author": "",
        "website": "",
        "model": f"{job.name}.tflite",
        "trained_languages": [],
        "version": 2,
        "micro": {
            "probability_cutoff": rule.threshold,
            "feature_step_size": contract.sound.step_ms,
            "sliding_window_size": rule.average,
            "tensor_arena_size": report["ram"]["arena"],
            "minimum_esphome_version": LEAST_VERSION,
        },
    }


def one_probability(model: bytes, label: int | None) -> bytes:
    """An integer file whose output is the probability of one label, uint8 in steps of 1/256.

    Args:
        model: The file, with an int8 output of probabilities.
        label: The number of the label; None: the output is one number.

    Raises:
        InputError: The output is something else.
    """
    root, graph = flat.read(model)
    _take_int8(root, graph)
    at = _int8_output(root, graph)
    output = graph.tensors[at]
    scale = [float(value) for value in (output.quantization.scale if output.quantization else None) or ()]
    if output.type != flat.TYPES[np.dtype(np.int8)] or scale != [1 / 256]:
        problem = "ESPHome takes one probability; the output of this file is none in steps of 1/256, int8."
        raise InputError(problem, "Make the file: edgepress convert MODEL --to tflite-int8 --target integer-only")
    if label is not None:
        part = flat.tensor(graph, [1, 1], "probability_int8", type=output.type)
        graph.tensors[part].quantization = output.quantization
        ends = [[0, label], [1, label + 1], [1, 1]]
        numbers = [flat.constant(root, graph, np.array(values, np.int32), "part") for values in ends]
        graph.operators.append(flat.operator(root, "STRIDED_SLICE", [at, *numbers], part))
        at = part
    result = flat.tensor(graph, [1, 1], "probability", type=flat.UINT8)
    graph.tensors[result].quantization = flat.quantization([1 / 256], [0])
    graph.operators.append(flat.operator(root, "QUANTIZE", [at], result))
    flat.redirect(root, graph, result, inputs=False)
    return flat.write(root)


def _take_int8(root: Any, graph: Any) -> None:
    """Leave out the QUANTIZE that makes int8 of a uint8 input of the same scale."""
    source = int(graph.inputs[0])
    readers = [op for op in graph.operators if source in [int(index) for index in op.inputs]]
    if graph.tensors[source].type != flat.UINT8 or [flat.kind(root, op) for op in readers] != ["QUANTIZE"]:
        return
    stored = int(readers[0].outputs[0])
    outer, inner = (_quantized_by(graph.tensors[index]) for index in (source, stored))
    if outer is not None and inner == (outer[0], outer[1] - 128):
        graph.operators.remove(readers[0])
        flat.redirect(root, graph, stored, inputs=True)


def _quantized_by(tensor: Any) -> tuple[float, int] | None:
    """The only scale of a tensor and its zero point, which is 0 where it is left out; None without one scale."""
    given = tensor.quantization
    if given is None or given.scale is None or len(given.scale) != 1:
        return None
    zero_points = [] if given.zeroPoint is None else [int(value) for value in given.zeroPoint]
    return float(given.scale[0]), zero_points[0] if zero_points else 0


def _int8_output(root: Any, graph: Any) -> int:
    """The output as int8: without the QUANTIZE that makes uint8 of it, if there is one."""
    at = int(graph.outputs[0])
    last = graph.operators[-1]
    if graph.tensors[at].type != flat.UINT8 or flat.kind(root, last) != "QUANTIZE" or int(last.outputs[0]) != at:
        return at
    graph.operators.remove(last)
    flat.redirect(root, graph, int(last.inputs[0]), inputs=False)
    return int(last.inputs[0])


def _require_sound(path: Path) -> Contract:
    """The contract of a file of sound with the front end that ESPHome has.

    Raises:
        InputError: It has none, or another one.
    """
    contract = read_contract(path)
    if contract is None or contract.sound is None:
        raise InputError(
            f"{path} is no model of sound: its contract has no front end.",
            "Train one: edgepress train --data FOLDER --arch stream-cnn, with a folder of recordings for each class.",
        )
    if changes := {*contract.sound.changes} - {"step_ms"}:
        raise InputError(
            f"ESPHome has the usual front end; the model's has other values of {', '.join(sorted(changes))}.",
            "Train with other steps alone, such as --sound step_ms=20.",
        )
    assert SoundFeatures().window_ms == contract.sound.window_ms
    return contract


def _chosen_word(job: ExportJob, contract: Contract) -> str:
    """The label that ESPHome hears.

    Raises:
        InputError: There are several and none is named, or it is none of the model's.
    """
    words = [label for label in contract.labels if label not in IGNORED]
    if contract.task == "sigmoid":
        words = list(contract.labels[1:])
    if job.label is not None:
        if job.label not in words:
            raise unknown("label", job.label, words)
        return job.label
    if len(words) != 1:
        raise InputError(f"{job.path} has the labels {', '.join(words)}; ESPHome hears one.", "Name it with --label.")
    return words[0]


def _require_input(job: ExportJob, source: Any) -> None:
    """Raise `InputError` unless the input is quantized as ESPHome quantizes frames."""
    if len(source.shape) != 3:
        raise InputError(
            f"ESPHome gives frames in the shape (1, rows, 40); {job.path} takes {list(source.shape)}.",
            "Train on windows (frames, 40), as edgepress train does.",
        )
    is_right = source.dtype == "int8" and source.zero_point == -128 and abs(source.scale / INPUT_SCALE - 1) < 1e-3
    if not is_right:
        raise InputError(
            f"ESPHome gives frames as int8 at 26/255 from -128; {job.path} takes {source.dtype} at {source.scale:.4g} "
            f"from {source.zero_point}.",
            "Make the file: edgepress convert MODEL --to tflite-int8 --target integer-only",
        )


def _tflm_arena(path: Path) -> int:
    """Bytes of the arena that TFLM uses for a file.

    Raises:
        EngineError: TFLM does not run it, or does not say.
    """
    used = TflmSession(path, import_engine(ENGINE), 1).arena_bytes
    if used is None:
        raise EngineError(f"{ENGINE} does not say which arena the model needs.", "Install the extra `micro`.")
    return used
