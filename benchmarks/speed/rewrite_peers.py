"""Are our int8 files at least as fast as those that other tools make of the same nets?

    python benchmarks/speed/rewrite_peers.py --out CACHE [--models MobileNetV2,lenet] [--make] [--time] [--table]

For every net of `rewrites.py`, from the same Keras model with the same calibration items:

tflite-converter  `tf.lite.TFLiteConverter`, full integer: TFLITE_BUILTINS_INT8, uint8 in and out; on LiteRT
litert-quantizer  `static_wi8_ai8`, its recipe for static int8, with its own `calibrate`, of a float file of batch 1;
                  on LiteRT
ort-static        `onnxruntime.quantization.quantize_static` as it is, after its own preparation, of our float ONNX
                  file; on ONNX Runtime
nncf              `nncf.quantize` as it is, of our float ONNX file with batch 1, or of our float TFLite file where it
                  fails for that (MobileNetV3); on OpenVINO. It has an environment of its own, made by pip in the cache

All files of a net are timed in alternation in one process (`rewrite_timing`), LiteRT's, ONNX Runtime's and OpenVINO's
together. A line is the ratio of our file, of the same engine, to the peer's, with its 95 % interval; of nncf, of the
faster one of ours. Exits with 1 if a peer's file on LiteRT or ONNX Runtime is faster beyond the interval.
Signal to noise is that of each file's answers to Keras', for nets with labels the share of right answers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from rewrite_nets import REAL, Net, nets
from rewrite_timing import Log, add_options, caller, file_hash, judged, key_of, machine, options_of, timed
from rewrites import make
from side_by_side import Comparison, summarize

from edgepress.runtime.engines import import_engine
from edgepress.runtime.openvino_session import openvino_options
from edgepress.toolkit.machine.host import describe_host

PEERS = {
    "tflite-converter": ("tflite", "tflite-int8"),
    "litert-quantizer": ("tflite", "tflite-int8"),
    "ort-static": ("onnx", "onnx-int8"),
    "nncf": ("xml", ""),
}
"""The suffix of a peer's file, and our scheme that it stands beside; "" for the faster of ours."""
OURS = {"tflite-int8": "litert", "onnx-int8": "onnxruntime"}
ENGINE_OF = {"tflite": "litert", "onnx": "onnxruntime", "xml": "openvino"}
NNCF = ("nncf", "openvino==2026.4.1", "onnx")
NNCF_CODE = """
import sys
import numpy as np, nncf, openvino
items, target, *sources = sys.argv[1:]
items = np.load(items)["calibration"]
for source in sources:
    try:
        model = openvino.Core().read_model(source)
        model.reshape([1, *items.shape[1:]])
        made = nncf.quantize(model, nncf.Dataset([x[np.newaxis] for x in items]))
    except ValueError as e:
        error = e
    else:
        openvino.save_model(made, target, compress_to_fp16=False)
        break
else:
    raise error
"""
Array = npt.NDArray[Any]


def main() -> None:
    """Run the stages asked for; exit with 1 if a peer is faster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the cache")
    parser.add_argument("--real", type=Path, default=REAL, help="folder of real data")
    parser.add_argument("--models", default="", help="words that the names of the wanted nets hold")
    add_options(parser)
    for stage in ("make", "time", "table"):
        parser.add_argument(f"--{stage}", action="store_true")
    args = parser.parse_args()
    every = not (args.make or args.time or args.table)
    chosen = list(nets(args.out, [w for w in args.models.split(",") if w], real=args.real))
    log, faster, lines = Log(args.out, "peers", args.clock), 0, 0
    for net in chosen:
        if args.make or every:
            make(net, [*OURS, "tflite-float32", "onnx-float32"])
            make_peers(net)
        if args.time or every:
            measure(net, log, args)
        if args.table or every:
            for line, kept in rows(net, log):
                print(line, flush=True)
                faster, lines = faster + (not kept), lines + 1
    print(json.dumps({"host": describe_host(), "lines": lines, "peers_faster": faster}))
    sys.exit(bool(faster))


def files_of(net: Net) -> dict[str, Path]:
    """Our files and the peers' by scheme or name, those that there are."""
    ours = {scheme: path for scheme, path in net.files("after").items() if scheme in OURS}
    theirs = {name: _path(net, name) for name in PEERS}
    return ours | {name: path for name, path in theirs.items() if path.exists()}


def measure(net: Net, log: Log, args: argparse.Namespace) -> None:
    """Time and judge a net's files where that was not done."""
    files, items = files_of(net), net.items()
    engines = {name: ENGINE_OF[path.suffix[1:]] for name, path in files.items()}
    for path in (p for p in files.values() if p.suffix != ".xml"):
        log.once(key_of("answers", file_hash(path)), lambda path=path: judged(path, items))

    def times() -> dict[str, Any]:
        print(f"timing {net.name}", file=sys.stderr, flush=True)
        item = items["test"][:1]
        calls = {n: _openvino(p, item) if p.suffix == ".xml" else caller(p, engines[n], item) for n, p in files.items()}
        return {"net": net.name, "times": timed(calls, **options_of(args))}

    log.once(_key(files), times)


def rows(net: Net, log: Log) -> Iterator[tuple[str, bool]]:
    """A line for each peer, and whether our file is as fast."""
    files = files_of(net)
    if _key(files) not in log.lines:
        yield f"{net.name:22}not timed", False
        return
    times = log.lines[_key(files)][-1]["times"]
    for peer, (_, scheme) in PEERS.items():
        if peer not in times:
            yield f"{net.name:22}{peer:18}has no file: {_reason(net, peer)}", True
            continue
        ours = [scheme] if scheme else [s for s in OURS if s in times]
        if any(s not in times for s in ours) or not ours:
            yield f"{net.name:22}{peer:18}no file of ours", False
            continue
        best = min(ours, key=lambda s: float(np.median(times[s])))
        found = summarize(peer, times[best], times[peer])
        kept = not scheme or found.ratio_low is None or found.ratio_low <= 1
        yield (
            f"{net.name:22}{peer:18}{_line(found, best)}  {_worth(files, best, peer, log)}"
            + ("" if kept else "   PEER FASTER"),
            kept,
        )


def _line(found: Comparison, best: str) -> str:
    spread = f"[{found.ratio_low:.3f}, {found.ratio_high:.3f}]" if found.ratio_low and found.ratio_high else ""
    return f"{best:12}{found.ours_us:10.1f} us, theirs {found.theirs_us:10.1f} us, ratio {found.ratio:.3f} {spread:16}"


def _worth(files: dict[str, Path], ours: str, peer: str, log: Log) -> str:
    """What both answers are worth."""
    pair = []
    for name in (ours, peer):
        lines = log.lines.get(key_of("answers", file_hash(files[name])))
        found = lines[-1] if lines else {}
        right = f"{100 * found['right'] / found['items']:.2f} %" if "right" in found else ""
        pair.append(right or (f"{found['sqnr_db']:.1f} dB" if found else "-"))
    return f"{pair[0]} beside {pair[1]}"


def make_peers(net: Net) -> None:
    """Make the peers' files where they are missing; why one can't be made is kept beside them."""
    missing = [name for name in PEERS if not _path(net, name).exists() and not _reason(net, name)]
    (net.folder / "peers").mkdir(exist_ok=True)
    for name in missing:
        print(f"making {net.name} {name}", file=sys.stderr, flush=True)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                pool.submit(_made, name, net).result()
            except Exception as e:  # whatever the tool raises
                _path(net, name).with_suffix(".error").write_text(f"{type(e).__name__}: {str(e)[-300:]}")


def _made(name: str, net: Net) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        MAKERS[name](net)


def _tflite_converter(net: Net) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(_of_one(net))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[np.newaxis]] for x in _floats(net))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    _path(net, "tflite-converter").write_bytes(converter.convert())


def _litert_quantizer(net: Net) -> None:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import recipe
    from litert_quantizer.quantizer import Quantizer

    model = bytes(tf.lite.TFLiteConverter.from_keras_model(_of_one(net)).convert())
    ((signature, names),) = Interpreter(model_content=model).get_signature_list().items()
    quantizer = Quantizer(model, recipe.static_wi8_ai8())
    seen = quantizer.calibrate({signature: [{names["inputs"][0]: x[np.newaxis]} for x in _floats(net)]})
    made = quantizer.quantize(seen).quantized_model
    assert made is not None
    _path(net, "litert-quantizer").write_bytes(bytes(made))


def _ort_static(net: Net) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.items = iter(net.items()["calibration"])

        def get_next(self) -> dict[str, Array] | None:
            item = next(self.items, None)
            return None if item is None else {"input": item[np.newaxis]}

    target = _path(net, "ort-static")
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(net.files("before")["onnx-float32"]), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(target), Reader())
    prepared.unlink()


def _nncf(net: Net) -> None:
    folder, target = net.cache / "venvs" / "nncf", _path(net, "nncf")
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run(["python3.11", "-m", "venv", "--without-pip", str(folder)], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *NNCF], check=True)
    sources = [str(net.files("before")[f"{format}-float32"]) for format in ("onnx", "tflite")]
    command = [str(python), "-c", NNCF_CODE, str(net.folder / "items.npz"), str(target), *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])


MAKERS: dict[str, Callable[[Net], None]] = {
    "tflite-converter": _tflite_converter,
    "litert-quantizer": _litert_quantizer,
    "ort-static": _ort_static,
    "nncf": _nncf,
}


def _of_one(net: Net) -> Any:
    """The Keras model with batch 1."""
    import keras

    model = keras.saving.load_model(net.model, compile=False)
    source = keras.Input(batch_shape=(1, *model.input_shape[1:]))
    return keras.Model(source, model(source))


def _floats(net: Net) -> Array:
    items: Array = net.items()["calibration"].astype(np.float32)
    return items


def _openvino(path: Path, item: Array) -> Callable[[], object]:
    """A function that answers one item by OpenVINO, with our runtime's options."""
    openvino = import_engine("openvino")
    compiled = openvino.Core().compile_model(str(path), "CPU", openvino_options(1))
    request = compiled.create_infer_request()
    tensor = openvino.Tensor(compiled.inputs[0].element_type, openvino.Shape(item.shape))
    request.set_input_tensor(tensor)

    def call() -> Array:
        tensor.data[...] = item
        request.infer(share_outputs=True)
        answer: Array = request.get_output_tensor(0).data.copy()
        return answer

    return call


def _path(net: Net, peer: str) -> Path:
    return net.folder / "peers" / f"{peer}.{PEERS[peer][0]}"


def _reason(net: Net, peer: str) -> str:
    path = _path(net, peer).with_suffix(".error")
    return path.read_text() if path.exists() else ""


def _key(files: dict[str, Path]) -> str:
    engines = [machine(engine) for engine in ENGINE_OF.values()]
    return key_of("peers", {name: file_hash(path) for name, path in files.items()}, engines)


if __name__ == "__main__":
    main()
