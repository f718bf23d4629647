"""Every published model in a folder through every command that could take it, beside the bare tools.

    python benchmarks/accuracy/real_models.py --real ../shared/real [--only mnist]
        [--commands inspect,predict] [--out table.md]

A file is run by its bare tool - LiteRT's interpreter, ONNX Runtime, Keras - on zeros, in a process of its own. Then
the command line gets it: `inspect`; `predict` with one item of zeros; `evaluate` where data with its labels are at
hand (`ROWS`); `convert` to all schemes, except for files that are quantized already, which no tool quantizes again. A
refusal is printed with its message. Exits with 1 if a command refuses a file that the bare tool runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SUFFIXES = (".tflite", ".onnx", ".keras", ".h5", ".hdf5")
COMMANDS = ("inspect", "predict", "evaluate", "convert")
LIMIT_S = 1800


class Row(NamedTuple):
    """What is known of a file.

    Attributes:
        data: Data to calibrate on, below the folder's `data`; "" for none.
        options: Options that describe it, for `convert` and `evaluate`.
        evaluate: Whether the data have its labels.
        quantized: Whether it is quantized, so that there is nothing to convert.
    """

    data: str = ""
    options: tuple[str, ...] = ()
    evaluate: bool = False
    quantized: bool = False


RAW, ZERO_ONE = ("--input-range", "0,255"), ("--input-range", "0,1")
MINUS_ONE = ("--input-range=-1,1",)
NO_LABELS = ("--task", "none")
MNIST = Row("mnist", ZERO_ONE, evaluate=True)
ROWS = {
    "ai_edge_quantizer/conv_fc_mnist.tflite": MNIST,
    "ai_edge_quantizer/conv_fc_mnist_srq_a8w8.tflite": MNIST._replace(quantized=True),
    "ai_edge_quantizer/mnist_quantized.tflite": MNIST._replace(quantized=True),
    "ai_edge_quantizer/partly_quantized_mnist.tflite": MNIST._replace(quantized=True),
    "coral/keras_lstm_mnist_ptq.tflite": MNIST._replace(quantized=True, options=("--color", "grey")),
    "coral/mobilenet_v1_0.25_128_quant.tflite": Row(quantized=True),
    "face_classification/fer2013_mini_XCEPTION.119-0.65.hdf5": Row("coral", MINUS_ONE),
    "mlperf_tiny/ad01_int8.tflite": Row(quantized=True, options=NO_LABELS),
    "mlperf_tiny/kws_ref_model.tflite": Row(quantized=True),
    "mlperf_tiny/kws_ref_model_float32.tflite": Row(options=("--color", "none"), quantized=True),  # its weights
    "mlperf_tiny/pretrainedResnet.h5": Row("sign_digits/Dataset"),
    "mlperf_tiny/pretrainedResnet.tflite": Row("sign_digits/Dataset", RAW),
    "mlperf_tiny/pretrainedResnet_quant.tflite": Row(quantized=True),
    "mlperf_tiny/vww_96_float.tflite": Row("coral", ZERO_ONE),
    "mlperf_tiny/vww_96_int8.tflite": Row(quantized=True),
    "mltk/image_example1.h5": Row("coral"),
    "mltk/image_example1.tflite": Row(quantized=True),
    "onnx/mnist-8.onnx": MNIST._replace(options=RAW),
    "onnx/mnist_quantized_ort2020.onnx": MNIST._replace(quantized=True),
    "tflite_support/automl_labeler_model.tflite": Row(quantized=True),
    "tflite_support/mobilenet_v1_0.25_224_1_default_1.tflite": Row("coral", MINUS_ONE),
    "tflite_support/mobilenet_v1_0.25_224_quant.tflite": Row(quantized=True),
    "tflm/trained_lstm.tflite": MNIST,
    "tflm/trained_lstm_int8.tflite": MNIST._replace(quantized=True),
    "user_keras/gowtham_mnist_model.keras": MNIST._replace(evaluate=False),
    "user_keras/gowtham_model.tflite": MNIST._replace(quantized=True),  # its weights
}
"""By path below the folder's `models`; any other file is tried without options."""


class Outcome(NamedTuple):
    """What a tool or command made of a file: "" in `refused` if it took it, and what it said."""

    refused: str
    said: str = ""

    def __str__(self) -> str:
        return f"refused: {self.refused}" if self.refused else self.said or "ok"


def main() -> None:
    """Try every file; print the table, then the refusals; exit with 1 if one is of a file that the bare tool runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, default=Path("../shared/real"))
    parser.add_argument("--only", default="", help="files with this in their path")
    parser.add_argument("--commands", default=",".join(COMMANDS))
    parser.add_argument("--out", type=Path, help="write the table there, too")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)  # the part of the bare tool's process
    args = parser.parse_args()
    if args.bare:
        print(json.dumps(_bare(args.bare)))
        return
    root = args.real / "models"
    paths = [p for p in sorted(root.rglob("*")) if p.suffix in SUFFIXES and args.only in str(p)]
    commands = args.commands.split(",")
    lines = [f"| file | bare tool | {' | '.join(commands)} |", "|---" * (len(commands) + 2) + "|"]
    worse = []
    print(*lines, sep="\n")
    for path in paths:
        name = str(path.relative_to(root))
        bare, item = _run_bare(path)
        with tempfile.TemporaryDirectory() as folder:
            found = {
                c: _command(c, path, ROWS.get(name, Row()), args.real / "data", item, Path(folder)) for c in commands
            }
        lines.append(f"| {name} | {bare} | {' | '.join(str(f or '-') for f in found.values())} |")
        print(lines[-1], flush=True)
        worse += [f"{c}: {f.refused}" for c, f in found.items() if f and f.refused and not bare.refused]
    print(f"\n{len(paths)} files; refused though the bare tool runs them: {len(worse)}", *worse, sep="\n")
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")
    sys.exit(bool(worse))


def _run_bare(path: Path) -> tuple[Outcome, list[int]]:
    """The outcome of the bare tool, and the shape of an item."""
    done = subprocess.run(
        [sys.executable, __file__, "--bare", str(path)], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Outcome(last[:200]), []
    found = json.loads(done.stdout.splitlines()[-1])
    return Outcome("", f"{found['shape']} -> {found['outputs']}"), found["shape"]


def _bare(path: Path) -> dict[str, Any]:
    """Open a file with its own tool, without edgepress, and run it on zeros."""
    import numpy as np

    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        interpreter.set_tensor(source["index"], np.zeros(source["shape"], source["dtype"]))
        interpreter.invoke()
        return {"shape": source["shape"].tolist(), "outputs": list(interpreter.get_tensor(sink["index"]).shape)}
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        source = session.get_inputs()[0]
        shape = [n if isinstance(n, int) else 1 for n in source.shape]
        kind = {"tensor(uint8)": np.uint8}.get(source.type, np.float32)
        (answer, *_) = session.run(None, {source.name: np.zeros(shape, kind)})
        return {"shape": shape, "outputs": list(answer.shape)}
    import keras

    model = keras.models.load_model(path, compile=False)
    shape = [n or 1 for n in model.input_shape]
    return {"shape": shape, "outputs": list(model.predict(np.zeros(shape, np.float32), verbose=0).shape)}


def _command(command: str, path: Path, row: Row, data: Path, item: list[int], folder: Path) -> Outcome | None:
    """What a command makes of a file; None where there is nothing to try."""
    import numpy as np

    given = ["--data", str(data / row.data)] if row.data else []
    if command == "inspect":
        document, error = _edgepress("inspect", str(path))
        engine = (document or {}).get("engine") or {"opens": True}
        return Outcome(error or ("" if engine["opens"] else f"its engine does not open it: {engine['error']}"))
    if command == "predict":
        if not item or path.suffix not in (".tflite", ".onnx") or row.options == NO_LABELS:
            return None
        np.save(folder / "item.npy", np.zeros(item[1:], np.float32))
        document, error = _edgepress("predict", str(path), str(folder / "item.npy"), *row.options)
        return Outcome(error)
    if command == "evaluate":
        if not row.evaluate:
            return None
        document, error = _edgepress("evaluate", str(path), *given, *row.options)
        return Outcome(error, "" if document is None or error else f"accuracy {document['accuracy']:.4f}")
    if row.quantized:
        return None
    document, error = _edgepress("convert", str(path), "--out", str(folder / "out"), *given, *row.options)
    variants = (document or {}).get("variants", [])
    if not variants:
        return Outcome(error or "no variant")
    made = [v for v in variants if v["status"] in ("ok", "made", "verified") or not v["error"]]
    reasons = dict.fromkeys(f"{v['scheme']}: {v['error']}" for v in variants if v not in made)
    return Outcome(
        "" if made else "; ".join(reasons), f"{len(made)} of {len(variants)}" + "".join(f"; {r}" for r in reasons)
    )


def _edgepress(*arguments: str) -> tuple[dict[str, Any] | None, str]:
    """The JSON document of a command, and its error on one line, "" if there is none."""
    command: Sequence[str] = [sys.executable, "-m", "edgepress.toolkit.cli.main", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        return None, f"exit code {done.returncode}: {(done.stderr.strip().splitlines() or ['no output'])[-1][:300]}"
    if isinstance(document, dict) and "error" in document:
        error = document["error"]
        return None, f"{error['message']} {error['hint']}".strip().replace("\n", " ").replace("|", "/")
    return (document if isinstance(document, dict) else {"results": document}), ""


if __name__ == "__main__":
    main()
