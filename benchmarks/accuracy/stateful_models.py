"""Recurrent TFLite files with state, on MNIST: every way through edgepress beside the bare interpreter.

    python benchmarks/accuracy/stateful_models.py --real FOLDER [--images 500]      # the folder of real models and data

Two published files read a digit row by row in a fused LSTM, whose state is in variable tensors. Their accuracy is
measured by a loop around the interpreter, with and without resetting these tensors before every digit, and through
`evaluate`, `predict` and `serve` (a server on this machine gets PNG files), the last two on the first images. A copy
with a self-test (`annotate`) and the files of every scheme that the float one converts to go the same ways; their
self-test has to pass. Prints a table, and one JSON document; exits with 1 if a figure differs from the loop's with
reset by more than 0.1 percentage points, or a scheme or self-test fails.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from edgepress.runtime.selftest import selftest
from edgepress.toolkit import annotate, convert, evaluate, predict
from edgepress.toolkit.conversion.convert import Hints
from edgepress.toolkit.data import open_data

TOLERANCE = 0.001
CONVERTED = "tflm/trained_lstm.tflite"
FILES: dict[str, tuple[Hints, Callable[[np.ndarray], np.ndarray]]] = {
    CONVERTED: (Hints(input_range="0,1", color="grey"), lambda x: x.astype(np.float32) / 255),
    "coral/keras_lstm_mnist_ptq.tflite": (Hints(color="grey"), lambda x: x),
}
"""By file, what edgepress has to know, and how a bare loop prepares pixels, uint8 (N, 28, 28)."""


def main() -> None:
    """Measure, print, and exit with 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--images", type=int, default=500)
    args = parser.parse_args()
    data = str(args.real / "data" / "mnist")
    test = open_data(data).test
    pixels, labels = test.read(slice(None))[..., 0], test.y
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "png").mkdir()
        images = [folder / "png" / f"{i:05d}.png" for i in range(args.images)]
        for path, image in zip(images, pixels, strict=False):
            Image.fromarray(image).save(path)
        for file, (hints, prepare) in FILES.items():
            path, few = args.real / "models" / file, labels[: args.images]
            right = loop(path, prepare(pixels), reset=True).argmax(1) == labels
            kept = loop(path, prepare(pixels), reset=False).argmax(1) == labels
            bare = {"all": float(right.mean()), "few": float(right[: args.images].mean()), "kept": float(kept.mean())}
            copy = folder / f"copy-{path.name}"
            annotate(path, copy, hints=hints)
            ways = [(file, path, hints), (f"{file}, annotated", copy, None)]
            made = convert(path, "tflite", data=data, out=folder, hints=hints) if file == CONVERTED else []
            ways += [(v.scheme, v.path, None) for v in made if v.path is not None]
            for what, one, given in ways:
                rows.append({"file": what, "bare": bare} | measured(one, given, data, images, few))
                rows[-1]["same"] = same(rows[-1])
                print(line(rows[-1]), file=sys.stderr)
            rows += [{"file": v.scheme, "bare": bare, "same": False, "error": v.error} for v in made if not v.path]
    print(json.dumps(rows))
    sys.exit(any(not row["same"] or row.get("selftest") is False for row in rows))


def loop(path: Path, items: np.ndarray, *, reset: bool) -> np.ndarray:
    """The stored outputs for items as the file takes them, by a loop around the interpreter."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    answers = []
    for item in items:
        if reset:
            interpreter.reset_all_variables()
        interpreter.set_tensor(source, item[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(sink)[0].copy())
    return np.array(answers)


def measured(path: Path, hints: Hints | None, data: str, images: list[Path], labels: np.ndarray) -> dict[str, Any]:
    """Accuracy through each command; the server and the self-test need a file with a contract."""
    found = [int(result.classes[0].label) for result in predict(path, images, top=1, hints=hints)]
    row: dict[str, Any] = {
        "evaluate": evaluate(path, data=data, hints=hints)["accuracy"],
        "predict": float((np.array(found) == labels).mean()),
    }
    if hints is None:
        row |= {"serve": float((served(path, images) == labels).mean()), "selftest": selftest(path).passed}
    return row


def served(path: Path, images: list[Path]) -> np.ndarray:
    """The best label of each image, from a server."""
    command = [sys.executable, "-m", "edgepress.runtime", "serve", str(path), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            port = int(json.loads(server.stdout.readline())["url"].rpartition(":")[2].partition("/")[0])
            labels = []
            for image in images:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                connection.request("POST", "/classify?top=1", image.read_bytes())
                labels.append(int(json.loads(connection.getresponse().read())["classes"][0]["label"]))
            return np.array(labels)
        finally:
            server.terminate()


def same(row: dict[str, Any]) -> bool:
    """Whether every figure of a file is the bare loop's with reset."""
    bare = row["bare"]
    few = [abs(row[way] - bare["few"]) for way in ("predict", "serve") if way in row]
    return max(abs(row["evaluate"] - bare["all"]), *few) <= TOLERANCE


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    bare = row["bare"]
    figures = {"bare, all images": bare["all"], "without reset": bare["kept"], "bare, first images": bare["few"]}
    figures |= {way: row[way] for way in ("evaluate", "predict", "serve", "selftest") if way in row}
    return f"{row['file']}: " + ", ".join(f"{k} {v if isinstance(v, bool) else f'{v:.4f}'}" for k, v in figures.items())


if __name__ == "__main__":
    main()
