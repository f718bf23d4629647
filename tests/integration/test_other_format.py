"""TFLite files made of ONNX models by onnx2tf, which has an environment of its own, and ONNX files of TFLite models."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from foreign_models import onnx_of

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.errors import ConversionError
from edgepress.converters.proof.compare import seeded_items
from edgepress.converters.schemes import ALL
from edgepress.converters.sources import onnx as onnx_source
from edgepress.converters.sources.open import open_source
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_tflite.from_onnx import VERSION, not_installed
from edgepress.runtime import InputSpec, load
from edgepress.runtime.errors import EngineError
from edgepress.toolkit.cli.app import run as cli
from edgepress.toolkit.conversion import Hints, convert
from edgepress.toolkit.engines import environments
from edgepress.toolkit.engines.environments import add_engine, engine_states, onnx2tf_python

TFLITE = "tflite-float32,tflite-int8"


@pytest.fixture
def fake(home: Path, tmp_path: Path) -> Path:
    """An environment that looks like onnx2tf's; the tests write what its `convert` does into the file returned."""
    site = home / "onnx2tf" / "lib" / "python3.12" / "site-packages"
    (site / f"onnx2tf-{VERSION}.dist-info").mkdir(parents=True)
    (site / f"onnx2tf-{VERSION}.dist-info" / "METADATA").write_text(f"Name: onnx2tf\nVersion: {VERSION}\n")
    python = home / "onnx2tf" / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{site}" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return site / "onnx2tf.py"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A linear classifier of 8x8 images, height x width x channels, of values 0-255."""
    from onnx import helper

    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["out"]),
    ]
    return onnx_of(tmp_path / "linear.onnx", nodes)


def tflite_of(function: Any, shape: tuple[int, ...]) -> bytes:
    import tensorflow as tf

    traced = tf.function(function, input_signature=[tf.TensorSpec((1, *shape), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])
    return bytes(converter.convert())


def writes(model: Path, factor: float) -> str:
    """What onnx2tf would do, if it made a file whose weights are larger by a factor."""
    import onnx
    import tensorflow as tf

    (held,) = onnx.load(model).graph.initializer
    weights = onnx.numpy_helper.to_array(held) * np.float32(factor)
    file = model.with_suffix(".made")
    file.write_bytes(tflite_of(lambda x: tf.reshape(x, (1, -1)) @ weights, (8, 8, 3)))
    copy = "shutil.copy({!r}, output_folder_path + '/model_float32.tflite')"
    return f"import shutil\ndef convert(output_folder_path, **options):\n    {copy.format(str(file))}\n"


def test_tflite_files_of_an_onnx_model_are_verified_against_it(model: Path, fake: Path, tmp_path: Path) -> None:
    fake.write_text(writes(model, 1))
    variants = convert(model, "tflite-float32,onnx-float32", out=tmp_path / "out", hints=Hints(input_range="0,1"))
    assert [v.error for v in variants] == ["", ""]
    pixels = seeded_items(InputSpec.image(8, 8, "rgb"), 6)
    tflite, onnx = (load(v.path) for v in variants)
    np.testing.assert_allclose(tflite.scores(pixels), onnx.scores(pixels), atol=1e-6)
    assert tflite.contract is not None
    assert tflite.contract.tools["onnx2tf"] == VERSION


@pytest.mark.parametrize(
    ("does", "found"),
    [
        pytest.param("def convert(**options): raise KeyError('Magic')", "KeyError: 'Magic'", marks=pytest.mark.slow),
        pytest.param(
            "import sys\ndef convert(**options): sys.exit(print('ERROR: Magic is not implemented') or 1)",
            "Magic is not",
            marks=pytest.mark.slow,
        ),
        ("import os\ndef convert(**options): os.abort()", "SIGABRT"),
        pytest.param("def convert(**options): pass", "it wrote no file", marks=pytest.mark.slow),
    ],
)
def test_what_onnx2tf_can_not_convert_ends_the_tflite_rows_alone(
    does: str, found: str, model: Path, fake: Path, tmp_path: Path
) -> None:
    fake.write_text(does)
    first, second, onnx = convert(model, f"{TFLITE},onnx-float32".replace("int8", "float16"), out=tmp_path / "out")
    assert found in first.error
    assert first.error == second.error, "it is not tried twice"
    assert onnx.error == ""


def test_a_file_that_answers_otherwise_is_refused(model: Path, fake: Path, tmp_path: Path) -> None:
    fake.write_text(writes(model, 1.01))
    (variant,) = convert(model, "tflite-float16", out=tmp_path / "out")
    assert "does not answer like the model" in variant.error
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(("amplification", "accepted"), [(1e6, True), (1.0, False)])
def test_an_error_is_compared_with_what_rounding_makes(
    amplification: float, accepted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A net that amplifies the last bits of its input answers in no two engines alike."""
    import tensorflow as tf
    from onnx import helper, numpy_helper

    factor = np.float32(amplification)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["sums"]),
        helper.make_node("Constant", [], ["factor"], value=numpy_helper.from_array(factor)),
        helper.make_node("Mul", ["sums", "factor"], ["angles"]),
        helper.make_node("Sin", ["angles"], ["out"]),
    ]
    path = onnx_of(tmp_path / "waves.onnx", nodes)
    (weights,) = (numpy_helper.to_array(held) for held in onnx.load(path).graph.initializer)
    shift = np.float32(0.01)
    file = tflite_of(lambda x: tf.sin((tf.reshape(x, (1, -1)) @ weights) * factor + shift), (8, 8, 3))
    monkeypatch.setattr(onnx_source, "convert_file", lambda job, python: job.target.write_bytes(file))
    source = open_source(path)
    adapter = guess_contract(source.facts, Hints(input_range="0,1", task="logits")).adapter
    if accepted:
        assert source.tflite(adapter, tmp_path)
    else:
        with pytest.raises(ConversionError, match="does not answer like the model"):
            source.tflite(adapter, tmp_path)


def test_a_file_that_divides_black_by_zero_is_refused(model: Path, fake: Path, tmp_path: Path) -> None:
    """As one that has lost the least norm of a normalization."""
    import onnx
    import tensorflow as tf

    (held,) = onnx.load(model).graph.initializer
    weights = onnx.numpy_helper.to_array(held)
    script = writes(model, 1)
    shares = lambda x: tf.reshape(x * (tf.reduce_sum(x) / tf.reduce_sum(x)), (1, -1)) @ weights  # noqa: E731
    model.with_suffix(".made").write_bytes(tflite_of(shares, (8, 8, 3)))
    fake.write_text(script)
    (variant,) = convert(model, "tflite-float16", out=tmp_path / "out")
    assert "returns NaN or infinity for an item of 0 alone" in variant.error


@pytest.mark.slow
def test_onnx_files_are_repaired_whether_tflite_files_are_made_or_not(
    model: Path, home: Path, fake: Path, tmp_path: Path
) -> None:
    """By an onnx2tf that is installed; without one, a note says so."""
    items = np.random.default_rng(0).integers(0, 256, (2, 40, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(40) % 10
    np.savez(tmp_path / "data.npz", x_train=items[0], x_test=items[1], y_train=labels, y_test=labels)
    notes: list[str] = []

    def repairs() -> Any:
        notes.clear()
        (variant,) = convert(
            model, "onnx-int8", data=str(tmp_path / "data.npz"), out=tmp_path / "out", on_note=notes.append
        )
        assert variant.path is not None
        contract = load(variant.path).contract
        assert contract is not None
        return contract.compression

    fake.write_text(writes(model, 1))
    assert "repairs" in repairs()
    assert not any("onnx2tf" in note for note in notes)
    shutil.rmtree(home / "onnx2tf")
    assert "repairs" not in repairs()
    (note,) = [each for each in notes if "onnx2tf" in each]
    assert "no file is repaired" in note
    assert "edgepress engine add onnx2tf" in note


def test_without_onnx2tf_the_onnx_rows_are_made(model: Path, home: Path, tmp_path: Path) -> None:
    arguments = ["convert", str(model), "--to", "tflite-float32,onnx-float32", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="4"):
        cli([*arguments, "--offline"])
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["linear-float32.onnx"]
    assert not home.exists()


@pytest.mark.slow
def test_what_can_not_be_installed_is_a_reason(
    model: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    tflite, onnx = convert(model, "tflite-float32,onnx-float32", out=tmp_path / "out")
    assert "onnx2tf can't be installed" in tflite.error or "needs Python 3.12" in tflite.error
    assert "edgepress engine add onnx2tf" in tflite.hint
    assert onnx.error == ""
    assert list(home.iterdir()) == []


def test_python_older_than_3_12_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_version", lambda python: (3, 11))
    with pytest.raises(EngineError, match=r"needs Python 3\.12 to 3\.13; found: .*\(3\.11\)"):
        add_engine("onnx2tf", python=Path(sys.executable))


def test_an_environment_of_another_version_is_made_again_once(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = next(fake.parent.glob("*/METADATA"))
    metadata.write_text("Name: onnx2tf\nVersion: 1.0\n")
    made, said = [], []

    def install(name: str, base: Path) -> None:
        made.append(name)
        time.sleep(0.2)
        metadata.write_text(f"Name: onnx2tf\nVersion: {VERSION}\n")

    monkeypatch.setattr(environments, "_install", install)
    monkeypatch.setattr(environments, "_version", lambda python: (3, 12))
    assert isinstance(onnx2tf_python(said.append, install=False), ConversionError)
    runs = [threading.Thread(target=onnx2tf_python, args=[said.append]) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert made == ["onnx2tf"]
    assert len(said) == 1


def test_onnx2tf_is_listed_and_its_pins_name_its_version(fake: Path) -> None:
    assert engine_states()[-1].version == VERSION
    assert f"\nonnx2tf=={VERSION}\n" in environments.PINS.read_text()
    assert "because" in not_installed("because").message


def test_onnx_files_of_a_tflite_model_take_any_batch() -> None:
    """Its operations merge the batch with a dimension of the item, as a dense layer over steps does."""
    import onnxruntime
    import tensorflow as tf

    random = np.random.default_rng(0)
    first, second = random.normal(size=(4, 5)).astype(np.float32), random.normal(size=(30, 3)).astype(np.float32)
    steps = lambda x: tf.reshape(tf.nn.relu(tf.reshape(x, (6, 4)) @ first), (1, 30)) @ second  # noqa: E731
    model = float_onnx_of(tflite_of(steps, (6, 4)))
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    items = random.normal(size=(7, 6, 4)).astype(np.float32)
    expected = (np.maximum(items @ first, 0)).reshape(7, 30) @ second
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {model.graph.input[0].name: items})
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_onnx_file_whose_operations_take_one_item_keeps_that_batch() -> None:
    import tensorflow as tf

    both = lambda x: tf.nn.softmax(tf.reduce_sum(tf.concat([x, 2 * x], 0), 0, keepdims=True))  # noqa: E731
    model = float_onnx_of(tflite_of(both, (6,)))
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The real environment, in a data folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        found = onnx2tf_python(lambda text: None)
        if isinstance(found, ConversionError):
            pytest.skip(found.message)
        yield found


def saved(path: Path, nodes: list[Any], shape: tuple[int, ...], weights: dict[str, Any]) -> Path:
    """A model with a free batch and three outputs, as PyTorch exports it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch_size", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch_size", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.slow
def test_channels_of_images_move_to_the_end_and_those_of_tensors_stay(installed: Path, tmp_path: Path) -> None:
    from onnx import helper

    random = np.random.default_rng(0)
    node = helper.make_node

    def weights(*shape: int) -> Any:
        return random.normal(0, 0.3, shape).astype(np.float32)

    images = saved(
        tmp_path / "image.onnx",
        [
            node("Conv", ["x", "kernel"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
            node("Relu", ["c"], ["r"]),
            node("MaxPool", ["r"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
            node("Flatten", ["p"], ["f"]),  # the order of its values depends on that of the axes
            node("Gemm", ["f", "dense"], ["y"]),
        ],
        (3, 12, 16),
        {"kernel": weights(6, 3, 3, 3), "dense": weights(6 * 3 * 4, 3)},
    )
    steps = saved(
        tmp_path / "steps.onnx",
        [
            node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
            node("Conv", ["t", "kernel"], ["c"], kernel_shape=[3]),
            node("Relu", ["c"], ["r"]),
            node("Flatten", ["r"], ["f"]),
            node("Gemm", ["f", "dense"], ["y"]),
        ],
        (49, 10),
        {"kernel": weights(6, 10, 3), "dense": weights(6 * 47, 3)},
    )
    np.savez(tmp_path / "pixels.npz", x=seeded_items(InputSpec.image(12, 16, "rgb"), 200))
    np.savez(tmp_path / "steps.npz", x=random.normal(size=(200, 49, 10)).astype(np.float32))
    for path in (tmp_path / "pixels.npz", tmp_path / "steps.npz"):
        items = np.load(path)["x"]
        np.savez(path, x=items, y=np.arange(len(items)) % 3)
    for model, data in ((images, "pixels.npz"), (steps, "steps.npz")):
        variants = convert(model, "all", data=str(tmp_path / data), out=tmp_path / model.stem)
        assert {v.scheme: v.error for v in variants} == dict.fromkeys(ALL, "")
