"""What `edgepress.runtime` costs over the same steps written by hand.

    python benchmarks/speed/runtime_overhead.py [--rounds 200]

* `Model.scores` of a ready uint8 item against set, invoke, get, dequantize (LiteRT) and `InferenceSession.run`.
* `Model.classify` of a JPEG against decode, EXIF orientation, grey, resize, the same call, sort.
* A cold start, import to first answer, in fresh processes.

The model is LeNet, trained for a moment on digits: a net so small that any cost beside the engine's shows.
"""

from __future__ import annotations

import argparse
import compileall
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from side_by_side import Comparison, compare, report, summarize

import edgepress.runtime
from edgepress.runtime import Model, load

CALL_LIMIT, JPEG_LIMIT, START_LIMIT, ADDED_US = 1.10, 1.05, 1.15, 5.0

BARE = {
    "tflite": """
import sys, numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
interpreter.set_tensor(source["index"], np.zeros((1, 28, 28, 1), np.uint8))
interpreter.invoke()
scale, zero_point = sink["quantization"]
scores = (interpreter.get_tensor(sink["index"]).astype(np.float32) - zero_point) * np.float32(scale)
""",
    "onnx": """
import sys, numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
scores = session.run(None, {"input": np.zeros((1, 28, 28, 1), np.uint8)})[0]
""",
}
OURS = """
import sys, numpy as np
from edgepress.runtime import load
scores = load(sys.argv[1]).scores(np.zeros((1, 28, 28, 1), np.uint8))
"""


def main() -> None:
    """Make the files, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder))
        results = calls(Path(folder), rounds) + starts(Path(folder), max(12, rounds // 8))
    for result in results[:3]:
        added = result.ours_us - result.theirs_us
        print(f"{result.name:58} adds {added:.2f} us (limit {ADDED_US})", file=sys.stderr)
        assert added <= ADDED_US, "more than the limit was added"
    report(results)


def make_files(folder: Path) -> None:
    """Train and convert in a process of its own, so that TensorFlow is not in the one that is timed."""
    code = """
import sys
from edgepress.toolkit.conversion.convert import convert
from edgepress.toolkit.data import open_data
from edgepress.toolkit.training.loop import train
train(open_data("digits"), "lenet", out=sys.argv[1] + "/run", epochs=3)
convert(sys.argv[1] + "/run/model.keras", "tflite-int8,tflite-float32,onnx-float32", out=sys.argv[1])
"""
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=quiet, stderr=subprocess.DEVNULL)


def calls(folder: Path, rounds: int) -> list[Comparison]:
    """Compare single calls, both sides in this process."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter
    from PIL import Image, ImageOps

    item = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1), dtype=np.uint8)
    results = []

    def interpreter_for(name: str) -> tuple[Model, Callable[[np.ndarray], np.ndarray]]:
        path = str(next(folder.glob(name)))
        interpreter = Interpreter(model_path=path, num_threads=1)
        interpreter.allocate_tensors()
        source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        scale, zero_point = sink["quantization"]

        def by_hand(x: np.ndarray) -> np.ndarray:
            interpreter.set_tensor(source["index"], x)
            interpreter.invoke()
            out = interpreter.get_tensor(sink["index"])
            return (out.astype(np.float32) - zero_point) * np.float32(scale) if scale else out

        return load(path), by_hand

    for name in ("*int8.tflite", "*float32.tflite"):
        model, by_hand = interpreter_for(name)
        np.testing.assert_array_equal(model.scores(item), by_hand(item))
        title = f"scores, {name.strip('*')}, LiteRT"
        pair = (lambda m=model: m.scores(item)), (lambda f=by_hand: f(item))
        results.append(compare(title, *pair, rounds=rounds, calls=200, limit=CALL_LIMIT))

    path = str(next(folder.glob("*float32.onnx")))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session, model = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]), load(path)
    np.testing.assert_array_equal(model.scores(item), session.run(None, {"input": item})[0])
    pair = (lambda: model.scores(item)), (lambda: session.run(None, {"input": item})[0])
    results.append(compare("scores, float32.onnx, ONNX Runtime", *pair, rounds=rounds, calls=200, limit=CALL_LIMIT))

    model, by_hand = interpreter_for("*int8.tflite")
    for side in (64, 640):
        photo = folder / f"{side}.jpg"
        noise = np.random.default_rng(1).integers(0, 256, (side // 16, side // 12, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(photo)

        def jpeg_by_hand(path: Path = photo) -> list[tuple[str, float]]:
            with Image.open(path) as image:
                image.draft(None, (56, 56))
                grey = ImageOps.exif_transpose(image).convert("L").resize((28, 28), Image.Resampling.BILINEAR)
            scores = by_hand(np.asarray(grey)[np.newaxis, :, :, np.newaxis])[0]
            return [(model.labels[i], float(scores[i])) for i in np.argsort(-scores)[:5]]

        assert jpeg_by_hand()[0] == model.classify(photo)[0]
        pair = (lambda path=photo: model.classify(path)), jpeg_by_hand
        title = f"classify, JPEG {side}x{side * 3 // 4}"
        results.append(compare(title, *pair, rounds=rounds, calls=20, limit=JPEG_LIMIT))
    return results


def starts(folder: Path, rounds: int) -> list[Comparison]:
    """Compare fresh processes, import to first answer."""
    # pip compiles what it installs, the packages of the other side too; a checkout may not have been.
    compileall.compile_dir(Path(edgepress.runtime.__file__).parent, quiet=1)
    results = []
    for kind, name in (("tflite", "*int8.tflite"), ("onnx", "*float32.onnx")):
        path = str(next(folder.glob(name)))
        sides: dict[str, list[float]] = {OURS: [], BARE[kind]: []}
        for turn in range(rounds + 1):
            for code in list(sides) if turn % 2 else list(sides)[::-1]:
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", code, path], check=True)
                if turn:  # the first of each fills the caches
                    sides[code].append(time.perf_counter() - start)
        results.append(summarize(f"cold start, {kind}", *sides.values(), limit=START_LIMIT))
    return results


if __name__ == "__main__":
    main()
