from __future__ import annotations

import io
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgepress.runtime import (
    EngineError,
    InputError,
    MissingExtraError,
    ModelFileError,
    available_engines,
    load,
)
from edgepress.runtime.engines import PACKAGED

KINDS = ["tflite-int8", "tflite-float32", "onnx-float32"]


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest, run: Any) -> Any:
    return load(run.variants[request.param])


@pytest.fixture(scope="session")
def items(digits: Any) -> Any:
    return digits.test.read(slice(0, 12))


def test_a_board_loads_nothing_it_does_not_need() -> None:
    heavy = "tensorflow keras typer rich sklearn scipy matplotlib PIL onnx onnxruntime ai_edge_litert tflite_runtime"
    code = f"""
import sys
import edgepress.runtime
loaded = set(sys.modules)
print([m for m in {heavy.split()} if m in loaded])
print([m for m in loaded if m.startswith(('edgepress.toolkit', 'edgepress.converters'))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


def test_classifying_an_array_needs_no_pillow(run: Any) -> None:
    code = """
import sys
import numpy as np
from edgepress.runtime import load
model = load(sys.argv[1])
model.classify(np.zeros((28, 28, 1), np.uint8))
print('PIL' in sys.modules, 'tensorflow' in sys.modules)
"""
    command = [sys.executable, "-c", code, str(run.variants["tflite-int8"])]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["False", "False"]


def test_one_item_and_a_batch_get_the_same_answer(model: Any, items: Any) -> None:
    together = model.scores(items)
    alone = np.concatenate([model.scores(item) for item in items])
    np.testing.assert_allclose(alone, together, atol=1e-6)
    np.testing.assert_allclose(model.scores(items[..., 0]), together, atol=1e-6)
    np.testing.assert_allclose(model.scores(items[0, ..., 0]), together[:1], atol=1e-6)
    assert model.scores(items[:0]).shape == (0, 10)


def test_answers_do_not_change_after_the_fact(model: Any, items: Any) -> None:
    first = model.scores(items[:1])
    kept = first.copy()
    model.scores(items[1:2])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_other_types_in_the_same_units_get_the_same_answer(model: Any, items: Any, dtype: Any) -> None:
    np.testing.assert_allclose(model.scores(items.astype(dtype)), model.scores(items), atol=1e-6)


def test_arrays_that_do_not_fit_are_refused(model: Any) -> None:
    with pytest.raises(InputError, match=r"\[28, 28, 1\].*\[32, 32, 3\]"):
        model.scores(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(InputError, match="NaN"):
        model.scores(np.full((28, 28, 1), np.nan))
    with pytest.raises(InputError, match="type"):
        model.scores(np.zeros((28, 28, 1), complex))


def test_pixels_scaled_to_one_are_refused_but_black_is_not(run: Any, items: Any) -> None:
    model = load(run.variants["tflite-int8"])
    with pytest.raises(InputError, match="255"):
        model.scores(items / np.float32(255))
    assert model.scores(np.zeros((1, 28, 28, 1))).shape == (1, 10)


def test_every_way_to_give_an_image_gives_the_same_answer(model: Any, items: Any, tmp_path: Path) -> None:
    picture = Image.fromarray(items[3, ..., 0])
    path, array_path, encoded = tmp_path / "a.png", tmp_path / "a.npy", io.BytesIO()
    picture.save(path)
    picture.save(encoded, "PNG")
    np.save(array_path, items[3])
    ways = [str(path), path, encoded.getvalue(), picture, items[3], items[3, ..., 0], str(array_path)]
    answers = [model.classify(way, top=3) for way in ways]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0].label == model.labels[int(model.scores(items[3]).argmax())]
    assert [p.score for p in answers[0]] == sorted((p.score for p in answers[0]), reverse=True)


def test_pixels_are_those_of_training(run: Any, tmp_path: Path) -> None:
    """A folder of odd-sized pictures read as training data and on the board: the same arrays."""
    from edgepress.toolkit.data import open_data

    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(10):
            size = (int(rng.integers(20, 90)), int(rng.integers(20, 90)), 3)
            Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / label / f"{i}.jpg")
    model = load(run.variants["tflite-int8"])
    data = open_data(tmp_path, input=model.contract.input)
    for row in range(len(data.train)):
        np.testing.assert_array_equal(data.train.read([row])[0], model.prepare(tmp_path / data.train.name(row)))


def test_an_array_of_another_size_is_resized_like_its_picture(run: Any) -> None:
    model = load(run.variants["tflite-int8"])
    array = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    np.testing.assert_array_equal(model.prepare(array), model.prepare(Image.fromarray(array)))


@pytest.mark.parametrize("count", [0, 2])
def test_classify_takes_one_item_and_does_not_choose_among_several(count: int, run: Any, items: Any) -> None:
    model = load(run.variants["tflite-int8"])
    with pytest.raises(InputError, match=f"{count} items"):
        model.classify(items[:count])
    assert model.classify(items[:1]) == model.classify(items[0])


def test_files_that_are_no_arrays(run: Any, items: Any, tmp_path: Path) -> None:
    model = load(run.variants["tflite-int8"])
    np.savez(tmp_path / "a.npz", items[0])
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a\.npy can't be read .*\.npz"):
        model.classify(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(b"PK\x03\x04 cut")
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999,), }".ljust(117) + b"\n"
    (tmp_path / "c.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + head)
    np.save(tmp_path / "d.npy", np.array([{}], object), allow_pickle=True)
    for name, why in (("b", "as an array"), ("c", "memory"), ("d", "as an array")):
        with pytest.raises(InputError, match=rf"{name}\.npy .*{why}"):
            model.classify(tmp_path / f"{name}.npy")
    np.save(tmp_path / "e.npy", items[0])
    (tmp_path / "e.npy").rename(tmp_path / "E.NPY")
    assert model.classify(tmp_path / "E.NPY") == model.classify(items[0])


def test_top(model: Any, items: Any) -> None:
    assert len(model.classify(items[0], top=1)) == 1
    assert len(model.classify(items[0], top=99)) == 10
    with pytest.raises(InputError, match="top"):
        model.classify(items[0], top=0)


def test_engines(run: Any) -> None:
    assert set(available_engines("tflite")) <= {"litert", "tflite-runtime", "openvino", "tflite-micro"}
    assert available_engines("onnx")[0] == "onnxruntime"
    assert load(run.variants["tflite-int8"]).engine == "litert"
    assert load(run.variants["onnx-int8"], engine="onnxruntime", threads=2).threads == 2
    with pytest.raises(EngineError, match=r"Did you mean 'litert'"):
        load(run.variants["tflite-int8"], engine="liter")
    with pytest.raises(EngineError, match=r"\.onnx"):
        load(run.variants["tflite-int8"], engine="onnxruntime")
    with pytest.raises(InputError, match="threads"):
        load(run.variants["tflite-int8"], threads=0)


@pytest.mark.parametrize("name", list(PACKAGED))
def test_a_missing_engine_says_what_to_install(name: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = PACKAGED[name]
    monkeypatch.setitem(sys.modules, engine.module, None)
    wanted = re.escape(f"pip install 'edgepress[{engine.extra}]'" if engine.extra else f"pip install {engine.package}")
    with pytest.raises(MissingExtraError, match=wanted):
        load(run.variants[f"{engine.formats[0]}-int8"], engine=name)


def test_an_engine_that_is_installed_but_broken_says_why(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ImportError("numpy failed to import")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(EngineError, match="numpy failed to import"):
        load(run.variants["tflite-int8"])


def test_an_interpreter_for_another_numpy_is_one_error(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """tflite-runtime 2.14 beside NumPy 2: it can be imported, and fails like this."""

    def interpreter(**options: Any) -> Any:
        raise SystemError("<built-in method CreateWrapperFromFile> returned a result with an exception set")

    module = types.ModuleType("tflite_runtime.interpreter")
    module.Interpreter = interpreter  # type: ignore[attr-defined]
    monkeypatch.setattr("importlib.import_module", lambda name: module)
    with pytest.raises(EngineError, match=r"tflite_runtime.*numpy"):
        load(run.variants["tflite-int8"], engine="tflite-runtime")


def test_files_that_are_not_models(run: Any, tmp_path: Path) -> None:
    def attempt(name: str, content: bytes) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        load(path)

    with pytest.raises(ModelFileError, match=r"missing\.tflite can't be read: No such file"):
        load(tmp_path / "missing.tflite")
    with pytest.raises(ModelFileError, match="folder"):
        load(tmp_path)
    with pytest.raises(ModelFileError, match="empty"):
        attempt("a.tflite", b"")
    with pytest.raises(ModelFileError, match=r"b\.tflite"):
        attempt("b.tflite", b"GIF89a" * 9)
    with pytest.raises(ModelFileError, match=r"c\.onnx"):
        attempt("c.onnx", b"hello")
    with pytest.raises(ModelFileError, match="edgepress convert"):
        attempt("d.tflite", run.model.read_bytes())


def _without_contract(whole: bytes) -> range:
    """Lengths at which all of a flatbuffer is there and nothing of the zip behind it can be seen."""
    start = whole.find(b"PK\x03\x04")
    return range(start, start + 4)


def test_a_file_that_was_cut_off_in_its_contract_is_refused(run: Any, tmp_path: Path) -> None:
    whole, cut = run.variants["tflite-int8"].read_bytes(), tmp_path / "cut.tflite"
    for length in range(_without_contract(whole).stop, len(whole), 7):
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match=r"cut\.tflite"):
            load(cut)


@pytest.mark.parametrize("name", ["tflite-int8", "onnx-int8"])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_a_truncated_model_is_a_clear_error(name: str, share: float, run: Any, tmp_path: Path) -> None:
    whole = run.variants[name].read_bytes()
    cut = tmp_path / f"cut.{name.partition('-')[0]}"
    length = int(share * len(whole))
    assume(length not in _without_contract(whole))
    cut.write_bytes(whole[:length])
    with pytest.raises(ModelFileError, match=r"cut\."):
        load(cut)


def test_a_file_that_contradicts_its_contract_is_refused(run: Any, tmp_path: Path) -> None:
    from edgepress.converters.contract.write import tflite_with_contract
    from edgepress.runtime import read_contract

    path = run.variants["tflite-int8"]
    whole, contract = path.read_bytes(), read_contract(path)
    bare = whole[: whole.index(b"PK\x03\x04")]
    wrong = tmp_path / "wrong.tflite"
    wrong.write_bytes(tflite_with_contract(bare, contract.replace(labels=("only", "two"))))
    with pytest.raises(ModelFileError, match=r"wrong\.tflite.*contract"):
        load(wrong)
    foreign = tmp_path / "foreign.tflite"
    foreign.write_bytes(bare)
    assert load(foreign).contract is None
    assert load(foreign).labels == tuple("0123456789")
    with pytest.raises(InputError, match="contract"):
        load(foreign).classify(str(path))


def test_damaged_metadata_is_one_error(run: Any, tmp_path: Path) -> None:
    whole = run.variants["onnx-int8"].read_bytes()
    place = whole.index(b"parent_sha256")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(whole[:place] + b"\xef" + whole[place + 1 :])
    with pytest.raises(ModelFileError, match=r"damaged\.onnx"):
        load(damaged)
