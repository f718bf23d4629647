"""`edgepress export --to wasm`: answers of the module in Node.js, what the page and the package hold, refusals."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import importlib.metadata
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accepting import ACCEPT
from c99_graphs import graph
from PIL import Image
from running_wasm import NODE, as_picture, litert_answers, node_answers, run_stored

from edgepress.converters.contract.hints import Hints
from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.errors import ConversionError
from edgepress.converters.to_c.lowering import lower
from edgepress.runtime import MissingExtraError, Model, read_contract
from edgepress.runtime.acceptance import Temperature, Unknown, directions_of, stored_directions
from edgepress.runtime.adapter import Adapter
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.conversion.convert import convert
from edgepress.toolkit.conversion.inspection import annotate
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.exporting.export import export
from edgepress.toolkit.shipping.exporting.vectors import ProgramSession
from edgepress.toolkit.shipping.exporting.wasm import compile_wasm

pytest.importorskip("ziglang")
needs_node = pytest.mark.skipif(NODE is None, reason="no Node.js on this machine: apt-get install nodejs")
HOSTILE = ("</script><img src=x onerror=hacked=1>", "<!--<script>", "@NAME@ @ABOUT@", "a\u2028b\n", '"\\', "plain")
FILES = {
    *("index.html", "model.wasm", "model.mjs", "model.d.mts", "package.json", "selftest.json"),
    *("sw.js", "manifest.webmanifest", "icon.svg", "README.md", "report.json"),
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of images of 12 x 10 x 3 with hostile labels and a hostile name."""
    folder = tmp_path_factory.mktemp("labelled")
    plain = folder / "plain.tflite"
    plain.write_bytes(graph("chain-0"))
    (folder / "labels.txt").write_text("\n".join("abcdef"))
    hints = Hints(labels=folder / "labels.txt", color="rgb", task="softmax", input_range="-7.85,4.9")
    annotate(plain, folder / "known.tflite", hints=hints)
    contract = read_contract(folder / "known.tflite")
    assert contract is not None
    path = folder / "<b>&amp;'net.tflite"
    path.write_bytes(tflite_with_contract(plain.read_bytes(), contract.replace(labels=HOSTILE)))
    return path


@pytest.fixture(scope="module")
def folder(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder, made once."""
    return export(labelled, "wasm", out=tmp_path_factory.mktemp("wasm") / "out", samples=3).folder


@pytest.fixture
def changed(labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that exports the file with another contract."""

    def made(source: str = "chain-0", /, **changes: Any) -> tuple[Path, Path]:
        contract = read_contract(labelled)
        assert contract is not None
        path = tmp_path / "net.tflite"
        path.write_bytes(tflite_with_contract(graph(source), contract.replace(**changes)))
        return path, export(path, "wasm", out=tmp_path / "out", overwrite=True, samples=2).folder

    return made


def exact(path: Path) -> Model:
    """A file whose answers are those of its exact program, which are TFLM's."""
    return Model(path, "c99", 1, ProgramSession(path, lower(path), read_contract(path)))


def test_a_folder_holds_its_files_and_says_what_it_takes(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    assert {path.name for path in folder.iterdir()} == FILES
    assert report["wasm"]["bytes"] == (folder / "model.wasm").stat().st_size < 20_000
    assert report["wasm"]["page"] == (folder / "index.html").stat().st_size
    assert 0 < report["wasm"]["gzip"] < report["wasm"]["bytes"]
    assert report["compiler"] == f"ziglang {importlib.metadata.version('ziglang')}"
    assert not re.search(r"@[A-Z_]{3,}@", (folder / "README.md").read_text().replace("@NAME@ @ABOUT@", ""))


@needs_node
def test_answers_in_node_are_those_of_the_c_to_the_bit(labelled: Path, folder: Path) -> None:
    items = np.random.default_rng().integers(0, 256, (40, 12, 10, 3)).astype(np.uint8)
    program = lower(labelled)  # what TFLM answers: LiteRT rounds a leaky slope in another way
    stored = run_stored(folder, items, program.output.dtype)
    np.testing.assert_array_equal(stored, program.answers(items).reshape(40, -1))
    assert len(np.unique(stored, axis=0)) > 20
    vectors = json.loads((folder / "selftest.json").read_text())
    assert node_answers(folder, [("selfTest", vectors)]) == [{"items": 3, "right": 3}]
    first = base64.b64decode(vectors["outputs"][0])
    vectors["outputs"][0] = base64.b64encode(bytes([first[0] ^ 1, *first[1:]])).decode()
    assert node_answers(folder, [("selfTest", vectors)]) == [{"items": 3, "right": 2}]


@pytest.fixture(scope="module")
def lenet(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An integer-only file of a trained net."""
    folder = tmp_path_factory.mktemp("lenet")
    (made,) = convert(run.model, "tflite-int8", target="integer-only", out=folder, verify=False)
    return made.path


@needs_node
def test_a_trained_net_answers_in_node_as_its_c_and_as_litert(lenet: Path, digits: Any, tmp_path: Path) -> None:
    made = export(lenet, "wasm", out=tmp_path / "out")
    chance = np.random.default_rng().integers(0, 256, (40, 28, 28, 1)).astype(np.uint8)
    items = np.concatenate([digits.test.read(slice(0, 40)), chance])
    program = lower(lenet)
    found = run_stored(made.folder, items, program.output.dtype)
    np.testing.assert_array_equal(found, program.answers(items).reshape(80, -1))
    near = litert_answers(lenet, items)  # its reference kernels round a softmax in another way, in some items
    assert (found.argmax(axis=1) == near.argmax(axis=1)).mean() > 0.95
    assert (found == near).all(axis=1).mean() > 0.5


@needs_node
@pytest.mark.parametrize("resize", ["stretch", "crop", "crop:0.875", "pad"])
def test_pictures_are_prepared_as_the_runtime_does(resize: str, changed: Any, tmp_path: Path) -> None:
    """Drawn pictures of drawn sizes, some of them transparent."""
    spec = InputSpec.image(12, 10, "rgb", resize)
    path, out = changed(input=spec, labels=tuple("abcdef"))
    model = exact(path)
    rng = np.random.default_rng()
    pictures = [rng.integers(0, 256, (*rng.integers(1, 60, 2), rng.choice([3, 4])), np.uint8) for _ in range(60)]
    for picture, answer in zip(
        pictures, node_answers(out, [("classify", as_picture(p)) for p in pictures]), strict=True
    ):
        expected = model.classify(Image.fromarray(picture), top=6)
        assert [each["label"] for each in answer["classes"]] == [each.label for each in expected]
        np.testing.assert_allclose(
            [each["score"] for each in answer["classes"]], [p.score for p in expected], atol=1e-6
        )
        assert answer["accepted"] is None


@needs_node
@pytest.mark.parametrize(
    ("task", "limits"),
    [("softmax", False), ("softmax", True), ("logits", False), ("logits", True), ("multilabel", False)],
)
def test_decisions_are_those_of_the_runtime(task: str, limits: bool, changed: Any) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 12, 10, 3)).astype(np.uint8)
    more: dict[str, Any] = {"task": task, "labels": tuple("abcdef")}
    if task == "multilabel":
        more["threshold"] = 0.35
    if limits:
        path, _ = changed(**more)
        scores = exact(path).scores(images)
        directions = directions_of(scores[:5], 0.002)
        certainty = float(np.median(1 + (scores * np.log(np.maximum(scores, 1e-6))).sum(axis=1) / np.log(6)))
        more["accept"] = dataclasses.replace(ACCEPT, at_least=round(certainty, 4))
        more["unknown"] = Unknown(references=stored_directions(directions), labels=6, at_least=0.6, floor=0.002)
        more["probability"] = Temperature(temperature=1.7, offset=0.01, slope=0.1)
    path, out = changed(**more)
    model = exact(path)
    accepted = []
    for image, found in zip(images, node_answers(out, [("classify", as_picture(i)) for i in images]), strict=True):
        expected = model.judge(image, top=6)
        named = {each.label: each.score for each in expected.classes}
        scores = {each["label"]: each["score"] for each in found["classes"]}
        assert named == pytest.approx({label: scores[label] for label in named}, abs=2e-6)
        assert found["answer"] == ([*named] if task == "multilabel" else [expected.classes[0].label])
        assert found["accepted"] is expected.accepted
        accepted.append(found["accepted"])
    assert set(accepted) == ({True, False} if limits else {None})


@needs_node
def test_real_values_are_normalized_and_quantized_as_the_runtime_does(changed: Any) -> None:
    spec = InputSpec(shape=(12, 10, 3), dtype="float32")
    path, out = changed(
        input=spec,
        labels=tuple("abcdef"),
        adapter=Adapter(shape=(12, 10, 3), mean=(0.5, 0.1, -2.0), std=(0.3, 2.0, 1.0)),
    )
    items = np.random.default_rng().normal(0, 4, (40, 12, 10, 3)).astype(np.float32)
    scores = exact(path).scores(items)
    calls: list[tuple[str, Any]] = [("scores", item.ravel().tolist()) for item in items]
    *found, short, letters = node_answers(out, [*calls, ("scores", [1.0]), ("scores", ["x"] * 360)])
    np.testing.assert_allclose(found, scores, atol=1e-6)
    assert short == {"error": "The model takes 360 values, not 1."}
    assert letters == {"error": "A value is no finite number."}
    page = (out / "index.html").read_text()
    assert "360 values, shape 12 x 10 x 3" in page
    assert "not pictures" in page


@pytest.mark.parametrize(("engine", "promised"), [("litert", False), ("tflite-micro", True)])
def test_a_promise_holds_for_engines_with_the_same_answers(engine: str, promised: bool, changed: Any) -> None:
    _, out = changed(labels=tuple("abcdef"), accept=dataclasses.replace(ACCEPT, engine=engine))
    page = (out / "index.html").read_text()
    assert ("at most 2 % of accepted answers are wrong" in page) == promised
    assert ("Nothing is promised with WebAssembly" in page) != promised


@needs_node
def test_one_probability_names_one_of_two_labels(changed: Any) -> None:
    spec = InputSpec(shape=(1, 4), dtype="float32")
    adapter = Adapter(shape=(1, 4), sigmoid=True)
    more = {"task": "sigmoid", "labels": ("no", "yes"), "input": spec, "adapter": adapter}
    items = np.random.default_rng(0).normal(0, 3, (60, 1, 4)).astype(np.float32)
    middle = float(np.median(exact(changed("maximum-13", **more)[0]).scores(items)[:, 1]))
    path, out = changed("maximum-13", **more, threshold=middle)
    model = exact(path)
    named = []
    for item, found in zip(
        items, node_answers(out, [("classify", item.ravel().tolist()) for item in items]), strict=True
    ):
        scores = model.scores(item[np.newaxis])[0]
        shown = {each["label"]: each["score"] for each in found["classes"]}
        assert shown == pytest.approx({"no": scores[0], "yes": scores[1]}, abs=1e-6)
        assert found["answer"] == [each.label for each in model.decide(item)]
        named += found["answer"]
    assert {*named} == {"no", "yes"}


@needs_node
def test_the_types_name_what_the_module_exports(folder: Path) -> None:
    (names,) = node_answers(folder, [("names", None)])
    text = (folder / "model.d.mts").read_text()
    assert re.findall(r"export declare (?:const|class|function) (\w+)", text) == ["about", "Classifier", "load"]
    assert names == ["Classifier", "about", "load"]
    package = json.loads((folder / "package.json").read_text())
    for path in (package["types"], package["exports"]["."]["default"], *package["files"]):
        assert (folder / path).is_file()
    assert re.fullmatch(r"[a-z0-9._-]+", package["name"])


def test_the_same_file_gives_the_same_folder(labelled: Path, folder: Path, tmp_path: Path) -> None:
    again = export(labelled, "wasm", out=tmp_path / "out", samples=3).folder
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


@needs_node
def test_a_name_is_that_of_the_files(labelled: Path, tmp_path: Path) -> None:
    made = export(labelled, "wasm", out=tmp_path / "out", name="front", samples=2)
    assert {path.name for path in made.folder.iterdir()} == {name.replace("model.", "front.") for name in FILES}
    vectors = json.loads((made.folder / "selftest.json").read_text())
    assert node_answers(made.folder, [("selfTest", vectors)], "front") == [{"items": 2, "right": 2}]
    again = export(labelled, out=tmp_path / "out")
    assert not (again.folder / "front.mjs").exists()


class Elements(HTMLParser):
    """Elements of a page by their names, and what the last script and style hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        self.texts[self.names[-1] if self.names else ""] = data


def test_texts_of_strangers_stay_texts_in_the_page(folder: Path) -> None:
    page = (folder / "index.html").read_text()
    found = Elements(page)
    assert [found.names.count(tag) for tag in ("script", "style", "img", "b")] == [1, 1, 1, 0]
    assert page.count("</script") == 1
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    for tag in ("script", "style"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "http" not in policy
    about = re.search(r"const about = (\{.*?\});\n", page)
    assert about is not None
    assert tuple(json.loads(about[1])["labels"]) == HOSTILE
    assert "&lt;b&gt;&amp;amp;&#x27;net" in page
    assert "<img" not in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "none", "labels": (), "output_shape": (6,)}, "has no labels; a page classifies"),
        ({"adapter": Adapter(shape=(12, 10, 3), per_image="minmax")}, r"scaled by their own values \(minmax\)"),
        ({"input": InputSpec(shape=(12, 10, 3), dtype="int32")}, "takes whole numbers"),
    ],
)
def test_what_a_page_can_not_do_is_refused_and_nothing_is_written(
    changes: dict[str, Any], message: str, changed: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        changed(**changes)
    assert "--to c99" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"board": "pico"}, "A page runs in a browser, not on pico"),
        ({"stream": 2}, "not for wasm"),
        ({"layout": "arduino"}, "for C99, not for wasm"),
        ({"specialize": True}, "specialize is for kernels of C99"),
        ({"label": "a"}, "wasm has all of them"),
        ({"accelerator": "ethos-u65-256"}, "not for wasm"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str, labelled: Path) -> None:
    with pytest.raises(InputError, match=message):
        export(labelled, "wasm", **options)


def test_a_file_without_a_contract_is_told_how_to_say_it(tmp_path: Path) -> None:
    path = tmp_path / "plain.tflite"
    path.write_bytes(graph("chain-0"))
    with pytest.raises(InputError, match="does not say what it takes") as caught:
        export(path, "wasm")
    assert "edgepress annotate" in caught.value.hint


def test_a_float_file_is_refused(run: Any, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="integer"):
        export(run.variants["tflite-float32"], "wasm", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_the_compiler_one_error_names_the_extra(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(MissingExtraError, match="ziglang") as caught:
        export(labelled, "wasm")
    assert "edgepress[browser]" in caught.value.hint


def test_c_that_does_not_compile_is_one_error() -> None:
    with pytest.raises(ConversionError, match=r"ziglang can't compile the C: .*nonsense"):
        compile_wasm({"model.c": "nonsense", "model.h": ""})


def test_the_command_says_where_the_page_is(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["export", str(labelled), "--to", "wasm", "--out", str(tmp_path / "out"), "--samples", "2"])
    said = "".join(capsys.readouterr().out.split())  # lines may end anywhere in a path
    assert "WebAssembly,gzipped" in said
    assert "index.html" in said
