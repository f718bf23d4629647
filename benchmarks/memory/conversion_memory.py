"""Peak memory of converting a large model, in copies of it, beside the bare calls of the libraries that do it.

    python benchmarks/memory/conversion_memory.py [--rounds 3] [--model ResNet101]

All sides are fresh processes that open the same `.keras` file and write one float file: ours, with the proof that it
answers like its parent, through `Conversion`; theirs, `tf.lite.TFLiteConverter.from_keras_model(model).convert()` and
`tf2onnx.convert.from_function`. Peak resident memory is what the kernel says of the ended process (`ru_maxrss`), less
that of a process which imports TensorFlow and Keras; the size is that of the weights. The median over rounds.
`converters.conversion.processes.COPIES` says what is counted on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from edgepress.converters.conversion.processes import COPIES
from edgepress.toolkit.machine.host import describe_host

PEAK = """
import resource
print(resource.getrusage(resource.{who}).ru_maxrss * 1024)
"""
IMPORTS = "import sys, keras, tensorflow as tf\n"
SAVE = """
import os, sys, keras
model = getattr(keras.applications, sys.argv[2])(weights=None)
model.save(sys.argv[1])
print(sum(weight.numpy().nbytes for weight in model.weights), *model.input_shape[1:])
"""
OURS = """
import sys
from pathlib import Path
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion.conversion import Conversion
path, out, scheme = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
with Conversion(path) as conversion:
    guess = guess_contract(conversion.facts, Hints(task="softmax"))
    (variant,) = conversion.run([scheme], guess.contract, adapter=guess.adapter, calibration=list, out=out)
    assert variant.path is not None, variant.error
"""
THEIRS = {
    "tflite-float32": """
model = keras.saving.load_model(sys.argv[1], compile=False)
open(sys.argv[2] + "/bare.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
""",
    "onnx-float32": """
import tf2onnx
model = keras.saving.load_model(sys.argv[1], compile=False)
spec = [tf.TensorSpec((None, *model.input_shape[1:]), "float32", name="input")]
function = tf.function(lambda x: model(x, training=False), input_signature=spec)
tf2onnx.convert.from_function(function, spec, opset=17, output_path=sys.argv[2] + "/bare.onnx")
""",
}


def main() -> None:
    """Measure all sides in alternation and report; exit with 1 if a process holds more than `COPIES`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="ResNet101", help="of keras.applications")
    args = parser.parse_args()
    peaks: dict[str, dict[str, list[int]]] = {scheme: {"ours": [], "theirs": []} for scheme in THEIRS}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.keras")
        size = int(_run(SAVE, path, args.model).split()[0])
        base = int(_run(IMPORTS + PEAK.format(who="RUSAGE_SELF")))
        for turn in range(args.rounds):
            for scheme, bare in THEIRS.items():
                sides = [
                    ("ours", OURS + PEAK.format(who="RUSAGE_CHILDREN"), [path, folder, scheme]),
                    ("theirs", IMPORTS + bare + PEAK.format(who="RUSAGE_SELF"), [path, folder]),
                ]
                for side, code, arguments in sides if turn % 2 else sides[::-1]:
                    peaks[scheme][side].append(int(_run(code, *arguments)))
    print(f"{args.model}, weights of {size / 1e6:.0f} MB; beside TensorFlow's {base / 1e6:.0f} MB:", file=sys.stderr)
    copies = {s: {side: [(p - base) / size for p in values] for side, values in v.items()} for s, v in peaks.items()}
    for scheme, both in copies.items():
        ours, theirs = (statistics.median(both[side]) for side in ("ours", "theirs"))
        ratios = [a / b for a, b in zip(both["ours"], both["theirs"], strict=True)]
        print(
            f"{scheme:16} ours {ours:5.1f} copies  theirs {theirs:5.1f}  ratio {ours / theirs:.2f} "
            f"[{min(ratios):.2f}, {max(ratios):.2f}]  counted on {COPIES}",
            file=sys.stderr,
        )
    print(json.dumps({"host": describe_host(), "model": args.model, "size_bytes": size, "copies": copies}))
    sys.exit(any(max(both["ours"]) > COPIES for both in copies.values()))


def _run(code: str, *arguments: str) -> str:
    """What a process prints last."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return done.stdout.decode().strip().splitlines()[-1]


if __name__ == "__main__":
    main()
