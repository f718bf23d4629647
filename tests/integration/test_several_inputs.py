"""Classifiers of several inputs: from the model to files of both formats, their figures, a bundle and the runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from several_inputs import Case, draw_case
from sklearn.metrics import accuracy_score

from edgepress.converters.contract.hints import Hints
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime import load
from edgepress.runtime.contract import Contract
from edgepress.runtime.errors import EdgepressError, InputError
from edgepress.toolkit import BenchmarkOptions, benchmark, bundle, convert, evaluate, open_data, predict

TO = (
    "tflite-float32,tflite-float16,tflite-dynamic,tflite-int8,tflite-int16x8,"
    "onnx-float32,onnx-float16,onnx-dynamic,onnx-int8"
)
ENDS = ("tflite-int8", "onnx-int8")


@pytest.fixture(scope="module", params=["values", "pictures"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    seed = int(np.random.default_rng().integers(1000))
    print(f"seed {seed}")
    return draw_case(request.param, seed, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def files(case: Case) -> dict[str, Path]:
    variants = convert(case.model, TO, data=case.data)
    assert [(v.status, v.error) for v in variants] == [("ok", "")] * len(variants)
    return {v.scheme: v.path for v in variants if v.path is not None}


@pytest.mark.parametrize("scheme", TO.split(","))
def test_a_file_answers_as_keras_and_its_accuracy_is_that_of_scikit_learn(
    case: Case, files: dict[str, Path], scheme: str
) -> None:
    model = load(files[scheme])
    scores = model.scores(case.test_inputs())
    expected = case.expected()
    near = {"float32": 1e-4, "float16": 0.02}.get(SCHEMES[scheme].precision, 0.15)
    assert np.abs(scores - expected).max() < near
    first, other = case.inputs
    answers = [
        model.classify(case.inputs[first][row], top=1, **{other: case.inputs[other][row]})[0].label
        for row in case.tests
    ]
    accuracy = accuracy_score([case.labels[y] for y in case.y[case.tests]], answers)
    assert evaluate(files[scheme], data=case.data)["accuracy"] == accuracy > 1.5 / len(case.labels)


@pytest.mark.parametrize("scheme", ENDS)
def test_the_contract_lists_each_input(case: Case, files: dict[str, Path], scheme: str) -> None:
    contract = load(files[scheme]).contract
    assert contract is not None
    document = json.loads(contract.to_json())
    assert document["schema_version"] == 5
    inputs = document["input"]["inputs"]
    assert [(each["name"], tuple(each["shape"])) for each in inputs] == [
        (n, x.shape[1:]) for n, x in case.inputs.items()
    ]
    for each, x in zip(inputs, case.inputs.values(), strict=True):
        colors = {1: "grey", 3: "rgb"}
        assert (each["dtype"], each["color"]) == (("uint8", colors[x.shape[3]]) if x.ndim == 4 else ("float32", None))
        scale, zero = each["quantization"]
        if x.ndim == 4 or scheme == "onnx-int8":
            assert (scale, zero) == (1, 0)
        else:  # all values that were seen can be stored, and not many more
            low, high = (min(0.0, float(x.min())), float(x.max()))
            assert scale * (0 - zero) == pytest.approx(low, abs=0.2 * (high - low))
            assert scale * (255 - zero) == pytest.approx(high, abs=0.2 * (high - low))
    assert Contract.from_json(contract.to_json()) == contract


@pytest.mark.parametrize("scheme", ENDS)
def test_a_bundle_tests_itself_and_classifies(case: Case, files: dict[str, Path], scheme: str, tmp_path: Path) -> None:
    made = bundle(files[scheme], tmp_path / "app.zip", data=case.data)
    assert made.selftest["passed"]
    assert any(check["name"].endswith(".npz") for check in made.selftest["checks"])
    with zipfile.ZipFile(made.path) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / files[scheme].stem
    (first, x), (other, z) = ((name, x[case.tests[0]]) for name, x in case.inputs.items())
    from PIL import Image

    Image.fromarray(x.squeeze()).save(tmp_path / "first.png")
    np.save(tmp_path / "other.npy", z)
    given = f"{other}={tmp_path / 'other.npy'}" if z.ndim > 1 else f"{other}={','.join(map(str, z.tolist()))}"
    np.savez(tmp_path / "item.npz", **{first: x, other: z})
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "edgepress.runtime", "classify", *folder.glob("model.*"), "--json", "--top", "1"]
    answers = []
    for item in ([tmp_path / "first.png", "--input", given], [tmp_path / "item.npz"]):
        done = subprocess.run([*command, *item], cwd=folder, env=environment, capture_output=True, text=True)
        answers.append(json.loads(done.stdout)["classes"])
    expected = load(files[scheme]).classify({first: x, other: z}, top=1)
    assert answers == [[{"label": expected[0].label, "score": expected[0].score}]] * 2


def test_a_benchmark_compares_the_files(case: Case, files: dict[str, Path], tmp_path: Path) -> None:
    paths = [files["tflite-float32"], files["tflite-int8"], files["onnx-int8"]]
    options = BenchmarkOptions(engine="litert,onnxruntime", rounds=2, timing_s=0.1)
    result = benchmark(paths, data=case.data, options=options)
    assert len(result.results) == len(paths)
    for row in result.results:
        assert not row.failed
        assert row.accuracy == evaluate(row.file, data=case.data)["accuracy"]
        assert row.p50_us is not None


@pytest.mark.parametrize("form", ["names", "order", "pair", "pairs", "set"])
def test_arrays_of_python_give_the_figures_of_the_file(case: Case, files: dict[str, Path], form: str) -> None:
    tests = case.test_inputs()
    y = np.array(case.labels)[case.y]
    rest = np.setdiff1d(np.arange(len(y)), case.tests)
    trained = {name: x[rest] for name, x in case.inputs.items()}
    data: Any = {
        "names": {f"{name}_test": x for name, x in tests.items()} | {"y_test": y[case.tests]},
        "order": {"x_test": tuple(tests.values()), "y_test": y[case.tests]},
        "pair": {"x_test": tests, "y_test": y[case.tests]},
        "pairs": ((tuple(trained.values()), y[rest]), (tuple(tests.values()), y[case.tests])),
    }.get(form)
    if form == "set":
        contract = load(files["onnx-int8"]).contract
        assert contract is not None
        data = open_data(case.data, input=contract.input)
    assert (
        evaluate(files["onnx-int8"], data=data)["accuracy"] == evaluate(files["onnx-int8"], data=case.data)["accuracy"]
    )


def test_inputs_are_known_by_name_and_not_by_place(case: Case, files: dict[str, Path]) -> None:
    item = {name: x[case.tests[0]] for name, x in case.inputs.items()}
    first, other = item
    turned = {other.upper(): item[other], first.capitalize(): item[first]}
    for scheme in ENDS:
        model = load(files[scheme])
        assert model.classify(turned) == model.classify(item[first], **{other: item[other]})
        assert model.inputs == (first, other)
    if case.inputs[first].shape == case.inputs[other].shape:  # two pictures: swapped, they are another item
        dark_and_bright = next(i for i in case.tests if abs(int(case.y[i]) % 2 - int(case.y[i]) // 2) == 1)
        left, right = (x[dark_and_bright] for x in case.inputs.values())
        assert model.classify(left, right=right)[0].label != model.classify(right, right=left)[0].label


WRONG: dict[str, tuple[Any, str]] = {
    "missing": (lambda first, x, other, z: ((x,), {}), "missing: {other}"),
    "unknown": (lambda first, x, other, z: ((x,), {"size": z}), "unknown: size"),
    "extra": (lambda first, x, other, z: ((x,), {other: z, "size": 1}), "unknown: size"),
    "twice": (lambda first, x, other, z: ((x,), {other: z, first: x}), "given twice"),
    "shape": (lambda first, x, other, z: ((x,), {other: z[..., :0]}), "Input {other}"),
    "text": (lambda first, x, other, z: ((x,), {other: np.full(z.shape, "a")}), "Input {other}"),
    "infinite": (lambda first, x, other, z: ((x,), {other: np.full(z.shape, np.inf)}), "NaN or infinite"),
}


@pytest.mark.parametrize("scheme", ENDS)
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_item_is_one_clear_error(case: Case, files: dict[str, Path], wrong: str, scheme: str) -> None:
    (first, x), (other, z) = ((name, x[0]) for name, x in case.inputs.items())
    given, message = WRONG[wrong]
    args, named = given(first, x, other, z)
    with pytest.raises(InputError, match=message.format(other=other)) as error:
        load(files[scheme]).classify(*args, **named)
    assert first in str(error.value) or other in str(error.value) or wrong == "infinite"


def _without(arrays: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: x for key, x in arrays.items() if not key.startswith(name)}


@pytest.mark.parametrize("mistake", ["missing", "lengths", "shape", "single", "objects", "alike"])
def test_wrong_data_are_one_clear_error(case: Case, files: dict[str, Path], mistake: str, tmp_path: Path) -> None:
    first, other = case.inputs
    with np.load(case.data) as archive:
        arrays = dict(archive)
    few = arrays[f"{other}_test"][:-1]
    wrong = {
        "missing": _without(arrays, other) | {"sizes_test": few},
        "lengths": arrays | {f"{other}_test": few},
        "shape": arrays
        | {f"{other}_{part}": arrays[f"{other}_{part}"].astype(float)[:, :-1] for part in ("train", "test")},
        "single": {"x": arrays[f"{first}_train"], "y": arrays["y_train"]},
        "objects": arrays | {f"{other}_test": np.array([None] * len(arrays["y_test"]))},
        "alike": _without(arrays, other)
        | dict.fromkeys((f"{other.title()}_test", f"{other.upper()}_test"), arrays[f"{other}_test"]),
    }[mistake]
    np.savez(tmp_path / "wrong.npz", **wrong)
    with pytest.raises(EdgepressError) as error:
        evaluate(files["tflite-int8"], data=tmp_path / "wrong.npz")
    words = {"missing": "sizes", "lengths": "different numbers", "shape": f"Input {other}", "objects": "Python objects"}
    assert other in str(error.value)
    assert words.get(mistake, first) in str(error.value)


def test_names_of_arrays_may_differ_in_capitals(case: Case, files: dict[str, Path], tmp_path: Path) -> None:
    with np.load(case.data) as archive:
        arrays = {key.title().replace("_T", "_t") if key[0] not in "yl" else key: x for key, x in archive.items()}
        arrays |= {key: x for key, x in archive.items() if key.startswith(("y_", "labels"))}
    np.savez(tmp_path / "capitals.npz", **arrays)
    file = files["tflite-int8"]
    assert evaluate(file, data=tmp_path / "capitals.npz")["accuracy"] == evaluate(file, data=case.data)["accuracy"]


@pytest.mark.parametrize("source", ["saved_model", "tflite", "onnx", "tflite-float32", "onnx-float32"])
def test_other_sources_make_the_same_files(case: Case, files: dict[str, Path], source: str, tmp_path: Path) -> None:
    path = files.get(source) or _exported(case, source, tmp_path)
    hints = Hints(labels=case.labels) if source not in files else None
    variants = convert(
        path, "tflite-float32,tflite-int8,onnx-float32,onnx-int8", data=case.data, hints=hints, out=tmp_path
    )
    for variant in variants:
        assert variant.status == "ok", variant
        assert variant.path is not None
        scores = load(variant.path).scores(case.test_inputs())
        assert np.abs(scores - case.expected()).max() < (1e-4 if "float32" in variant.scheme else 0.15)


def _exported(case: Case, kind: str, folder: Path) -> Path:
    """The model as another tool saves it."""
    if kind == "saved_model":
        case.keras.export(str(folder / "saved"), verbose=False)
        return folder / "saved"
    if kind == "onnx":
        return _channels_first(case, folder / "other.onnx")
    import tensorflow as tf

    case.keras.export(str(folder / "saved"), verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    (folder / "other.tflite").write_bytes(converter.convert())
    return folder / "other.tflite"


def _channels_first(case: Case, path: Path) -> Path:
    """The model in ONNX as PyTorch exports it: images are channels x height x width."""
    import onnx
    from onnx import TensorProto, helper

    from edgepress.converters.contract.hints import Hints

    (file,) = convert(case.model, "onnx-float32", hints=Hints(color="none"), out=path.parent / "plain", verify=False)
    model = onnx.load(file.path)
    del model.metadata_props[:]
    front = []
    for value in model.graph.input:
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim][1:]
        if len(dims) == 3:
            old = f"{value.name}_last"
            for node in model.graph.node:
                node.input[:] = [old if name == value.name else name for name in node.input]
            front.append(helper.make_node("Transpose", [value.name], [old], perm=[0, 2, 3, 1]))
            shape = ["batch", dims[2], *dims[:2]]
            value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shape))
    nodes = [*front, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def test_predict_takes_items_of_several_inputs(case: Case, files: dict[str, Path], tmp_path: Path) -> None:
    item = {name: x[case.tests[0]] for name, x in case.inputs.items()}
    np.savez(tmp_path / "item.npz", **item)
    (result,) = predict(files["onnx-int8"], tmp_path / "item.npz", top=1)
    assert [*result.classes] == load(files["onnx-int8"]).classify(item, top=1)


def test_other_commands_refuse_by_name(case: Case, files: dict[str, Path], tmp_path: Path) -> None:
    from edgepress.toolkit import annotate, diagnose_accuracy, export, profile, prune, tune

    foreign = _channels_first(case, tmp_path / "foreign.onnx")
    for work in (
        lambda: tune(case.model, data=case.data, minutes=0.1),
        lambda: prune(case.model, data=case.data, minutes=0.1, macs="60%"),
        lambda: profile(files["tflite-int8"]),
        lambda: export(files["tflite-int8"], out=tmp_path / "c"),
        lambda: diagnose_accuracy(case.model, files["tflite-int8"], data=case.data),
        lambda: annotate(foreign, tmp_path / "copy.onnx"),
        lambda: load(files["tflite-int8"]).watch_drift(50),
        lambda: load(files["tflite-int8"]).keep_pictures(tmp_path / "kept"),
    ):
        with pytest.raises(EdgepressError, match="inputs"):
            work()
    for command in (["serve", "--port", "0"], ["watch", str(tmp_path)]):
        words = [sys.executable, "-m", "edgepress.runtime", command[0], str(files["tflite-int8"]), *command[1:]]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert f"has the inputs {', '.join(case.inputs)}" in done.stderr


@pytest.mark.parametrize("scheme", ENDS)
def test_a_file_of_one_input_loads_nothing_of_this(run: Any, scheme: str) -> None:
    code = (
        "import sys, numpy as np; from edgepress.runtime import load; model = load(sys.argv[1]); "
        "model.classify(np.zeros(model.shape, np.uint8)); "
        "print(sorted(name for name in sys.modules if name.startswith('edgepress.runtime')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run.variants[scheme])], capture_output=True, text=True)
    assert "edgepress.runtime.items" in done.stdout
    assert "input_record" not in done.stdout
    assert "several" not in done.stdout
