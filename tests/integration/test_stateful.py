"""A TFLite file with variable tensors answers each item as if it were the first, unless its state is to be kept."""

from __future__ import annotations

import base64
import http.client
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import COMMAND

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.errors import ConversionError
from edgepress.converters.inspection import saved_model
from edgepress.converters.proof.verify import remainder
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.sources.open import open_source
from edgepress.converters.sources.tflite import TFLiteSource
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.runtime import InputSpec, frames, load
from edgepress.runtime.__main__ import main
from edgepress.runtime.errors import EngineError, ModelFileError
from edgepress.toolkit.diagnosis.profiling.profile import profile


@pytest.fixture(scope="module")
def stateful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SVDF layer of 3 outputs with a memory of 4 items, in a variable tensor."""
    from ai_edge_litert import schema_py_generated as fb

    from edgepress.converters.to_tflite.flatbuffer import append, opcode, tensor, write

    random = np.random.default_rng(0)
    graph = fb.SubGraphT(tensors=[], operators=[])
    model = fb.ModelT(version=3, operatorCodes=[], subgraphs=[graph], buffers=[fb.BufferT()])

    def weights(name: str, *shape: int) -> int:
        values = random.normal(size=shape).astype(np.float32)
        return tensor(
            graph, list(shape), name, buffer=append(model.buffers, fb.BufferT(data=np.frombuffer(values, np.uint8)))
        )

    taken, feature, time, bias = (
        tensor(graph, [1, 5], "input"),
        weights("feature", 3, 5),
        weights("time", 3, 4),
        weights("bias", 3),
    )
    state, given = tensor(graph, [1, 12], "state"), tensor(graph, [1, 3], "scores")
    graph.tensors[state].isVariable = True
    graph.inputs, graph.outputs = [taken], [given]
    layer = fb.OperatorT(
        opcodeIndex=opcode(model, fb.BuiltinOperator.SVDF),
        inputs=[taken, feature, time, bias, state],
        outputs=[given],
        builtinOptionsType=fb.BuiltinOptions.SVDFOptions,
        builtinOptions=fb.SVDFOptionsT(rank=1),
    )
    append(graph.operators, layer)
    path = tmp_path_factory.mktemp("stateful") / "svdf.tflite"
    path.write_bytes(write(model))
    return path


ITEMS = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)


def test_the_interpreter_alone_keeps_the_state(stateful: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(stateful))
    interpreter.allocate_tensors()
    answers = []
    for _ in range(2):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], ITEMS[:1])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).copy())
    assert not np.array_equal(*answers), "else the tests below prove nothing"


@pytest.mark.parametrize("who", ["runtime", "source"])
def test_an_item_is_answered_the_same_alone_and_after_others(stateful: Path, who: str) -> None:
    def scores(items: np.ndarray) -> np.ndarray:
        return load(stateful).scores(items) if who == "runtime" else TFLiteSource(stateful).answer(items)

    together = scores(ITEMS)
    alone = np.concatenate([scores(item[np.newaxis]) for item in ITEMS])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(scores(ITEMS[::-1])[::-1], together)


def test_ranges_of_calibration_do_not_depend_on_the_order_of_items(stateful: Path) -> None:
    model = stateful.read_bytes()
    forwards = tflite_statistics(model, lambda: [ITEMS], None).ranges()
    assert tflite_statistics(model, lambda: [ITEMS[::-1]], None).ranges() == forwards


def test_operations_that_onnx_lacks_are_named(stateful: Path) -> None:
    with pytest.raises(ConversionError, match="SVDF"):
        float_onnx_of(stateful.read_bytes())


def _with_dense(svdf: Path, folder: Path) -> Path:
    """The SVDF layer with a dense layer behind it, which the quantizer supports."""
    from ai_edge_litert import schema_py_generated as fb

    from edgepress.converters.to_tflite import flatbuffer as flat

    root, graph = flat.read(svdf.read_bytes())
    random = np.random.default_rng(2)
    weights = flat.constant(root, graph, random.normal(size=(4, 3)).astype(np.float32), "dense")
    inner, scores = int(graph.outputs[0]), flat.tensor(graph, [1, 4], "logits")
    dense = fb.OperatorT(
        opcodeIndex=flat.opcode(root, fb.BuiltinOperator.FULLY_CONNECTED),
        inputs=[inner, weights, -1],
        outputs=[scores],
        builtinOptionsType=fb.BuiltinOptions.FullyConnectedOptions,
        builtinOptions=fb.FullyConnectedOptionsT(),
    )
    graph.operators.append(dense)
    graph.outputs = [scores]
    path = folder / "dense.tflite"
    path.write_bytes(flat.write(root))
    return path


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name.startswith("tflite")])
def test_a_layer_that_stays_float_at_an_end_does_not_keep_a_file_from_its_scheme(
    stateful: Path, tmp_path: Path, scheme: str
) -> None:
    source, row = TFLiteSource(_with_dense(stateful, tmp_path)), SCHEMES[scheme]
    adapter = InputAdapter(InputSpec(shape=(5,), dtype="float32"), (5,))
    flat = source.tflite(adapter)
    ranges = tflite_statistics(flat, lambda: [ITEMS], None).ranges() if row.calibrated else None
    (tmp_path / "made.tflite").write_bytes(with_scheme(flat, row, ranges, uint8=False))
    made, expected = load(tmp_path / "made.tflite"), source.answer(ITEMS)
    integers = row.output_dtype == "uint8" and not row.is_mixed  # of a mixed file, the first layer takes floats
    assert made.ready[1] == (np.uint8 if integers else np.float32)
    assert np.abs(made.scores(ITEMS) - expected).max() < 0.05 * np.abs(expected).max()
    assert bool(remainder(tmp_path / "made.tflite", row)) == (row.calibrated and not row.is_mixed), (
        "what stays float is noted"
    )


def test_a_file_of_which_nothing_can_be_quantized_is_no_int8_file(stateful: Path) -> None:
    ranges = tflite_statistics(stateful.read_bytes(), lambda: [ITEMS], None).ranges()
    with pytest.raises(ConversionError, match="SVDF"):
        with_scheme(stateful.read_bytes(), SCHEMES["tflite-int8"], ranges, uint8=False)


@pytest.fixture(scope="module")
def accumulating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net that adds all items it has seen, in a resource variable, which interpreters do not reset."""
    import tensorflow as tf

    class Net(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.sum = tf.Variable(tf.fill([1, 5], 0.5))

        @tf.function(input_signature=[tf.TensorSpec((1, 5))])
        def scores(self, x: Any) -> Any:
            return tf.nn.softmax(self.sum.assign_add(x))

    folder, net = tmp_path_factory.mktemp("accumulating"), Net()
    tf.saved_model.save(net, str(folder / "model"), signatures=net.scores)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "model"))
    converter.experimental_enable_resource_variables = True
    (folder / "sum.tflite").write_bytes(converter.convert())
    return folder / "sum.tflite"


def test_resource_variables_begin_anew_too(accumulating: Path) -> None:
    model, kept = load(accumulating), load(accumulating, keep_state=True)
    alone = np.concatenate([load(accumulating).scores(item[np.newaxis]) for item in ITEMS])
    np.testing.assert_array_equal(model.scores(ITEMS), alone)
    np.testing.assert_array_equal(kept.scores(ITEMS), _bare(accumulating))
    assert not np.array_equal(kept.scores(ITEMS[:1]), alone[:1])
    kept.reset()
    np.testing.assert_array_equal(kept.scores(ITEMS[:1]), alone[:1])


@pytest.mark.parametrize("read", [open_source, saved_model.read], ids=["convert", "inspect"])
def test_a_saved_model_that_changes_its_variables_says_where(accumulating: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(
        ModelFileError, match=r"changes variables in each call.*AssignAddVariableOp.*augmentation.*\.keras"
    ):
        read(accumulating.parent / "model")


def _bare(path: Path) -> np.ndarray:
    """Answers of the interpreter alone, which keeps the state."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    answers = []
    for item in ITEMS:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], item[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(answers)


def test_state_is_kept_on_request_and_can_be_reset(stateful: Path) -> None:
    model = load(stateful, keep_state=True)
    assert (model.stateful, model.keeps_state) == (True, True)
    np.testing.assert_array_equal(model.scores(ITEMS), _bare(stateful))
    model.reset()
    np.testing.assert_array_equal(model.scores(ITEMS[:1]), load(stateful).scores(ITEMS[:1]))


def test_a_file_without_state_has_none_to_keep(tmp_path: Path) -> None:
    import zlib

    from edgepress.runtime.board import _TRIAL

    for format in ("tflite", "onnx"):
        path = tmp_path / f"trial.{format}"
        path.write_bytes(zlib.decompress(base64.b85decode(_TRIAL[format])))
        assert not load(path).stateful
        with pytest.raises(ModelFileError, match=path.name):
            load(path, keep_state=True)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("command", ["watch", "camera"])
def test_frames_share_state_on_request(
    command: str,
    kept: bool,
    stateful: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(frames, "new_images", lambda folder: iter(ITEMS))
    monkeypatch.setattr(frames, "camera_frames", lambda device: iter(ITEMS))
    monkeypatch.setattr(frames, "newest", lambda images: images)
    arguments = [command, str(stateful), *([str(tmp_path)] if command == "watch" else []), "--json"]
    assert main([*arguments, *(["--keep-state"] if kept else [])]) == 0
    expected = _bare(stateful) if kept else load(stateful).scores(ITEMS)
    for line, scores in zip(capsys.readouterr().out.splitlines(), expected, strict=True):
        answer = {c["label"]: c["score"] for c in json.loads(line)["classes"]}
        assert [answer[label] for label in "012"] == pytest.approx(scores.tolist())


@pytest.mark.parametrize("kept", [False, True])
def test_a_server_has_one_stream_on_request(stateful: Path, kept: bool) -> None:
    command = [*COMMAND, "serve", str(stateful), "--port", "0", "--json", *(["--keep-state"] if kept else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = json.loads(process.stdout.readline())["url"].split(":")[2].partition("/")[0]

            def post(path: str, item: np.ndarray) -> tuple[int, list[float]]:
                body = io.BytesIO()
                np.save(body, item)
                connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
                connection.request("POST", path, body.getvalue())
                reply = connection.getresponse()
                scores = {c["label"]: c["score"] for c in json.loads(reply.read()).get("classes", ())}
                return reply.status, [scores[label] for label in sorted(scores)]

            expected = _bare(stateful) if kept else load(stateful).scores(ITEMS)
            for item, scores in zip(ITEMS, expected, strict=True):
                assert post("/classify", item) == (200, pytest.approx(scores.tolist()))
            assert post("/reset", ITEMS[0])[0] == (200 if kept else 404)
            assert post("/classify", ITEMS[0])[1] == pytest.approx(expected[0].tolist())
        finally:
            process.terminate()


def test_profile_says_that_state_is_not_supported(stateful: Path) -> None:
    with pytest.raises(EngineError, match=r"svdf\.tflite has state"):
        profile(stateful)
