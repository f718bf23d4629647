"""MediaPipe Tasks, a reader that is not ours, takes our files: the same labels, the same scores, the same metadata.

MediaPipe runs in a process of its own: it is heavy, and keeps TensorFlow Lite's symbols apart from the other engines'.
It needs two system libraries, libEGL and libGLESv2.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.contract.metadata import tflite_metadata
from edgepress.converters.to_tflite.metadata import NAME
from edgepress.converters.to_tflite.passes import with_metadata
from edgepress.runtime import load

LIBRARIES = {"EGL": "libegl1", "GLESv2": "libgles2"}
MISSING = [package for name, package in LIBRARIES.items() if find_library(name) is None]
pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("mediapipe") is None, reason="mediapipe is not installed"),
    pytest.mark.skipif(bool(MISSING), reason=f"mediapipe needs the system packages {MISSING}"),
]

COLORS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 50), "yellow": (220, 210, 60)}
SCHEMES = ["tflite-int8", "tflite-float32", "tflite-float16", "tflite-dynamic", "tflite-int16x8"]

CLASSIFY = """
import json, sys
sys.modules["tensorflow"] = None
import numpy as np
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions, vision

answers = {}
for path in sys.argv[2:]:
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=path))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        images = (mp.Image(image_format=mp.ImageFormat.SRGB, data=pixels) for pixels in np.load(sys.argv[1]))
        heads = [classifier.classify(image).classifications[0] for image in images]
    answers[path] = [{c.category_name: c.score for c in head.categories} for head in heads]
print(json.dumps(answers))
"""
# The wheel of mediapipe 1.2.3 lacks the native module that only its writer of metadata calls; the reader works without.
DISPLAY = """
import json, sys, types
for name in ("mediapipe.tasks.cc", "mediapipe.tasks.cc.metadata", "mediapipe.tasks.cc.metadata.python"):
    sys.modules[name] = types.ModuleType(name)
sys.modules[name]._pywrap_metadata_version = None
sys.modules["tensorflow"] = None
from mediapipe.tasks.python.metadata.metadata import MetadataDisplayer

shown = MetadataDisplayer.with_model_file(sys.argv[1])
print(json.dumps([shown.get_packed_associated_file_list(), json.loads(shown.get_metadata_json())]))
"""
# The schema's own classes, which mediapipe generates from metadata_schema.fbs.
WRITE = """
import sys
sys.modules["tensorflow"] = None
import flatbuffers
from mediapipe.tasks.metadata import metadata_schema_py_generated as fb

options = fb.NormalizationOptionsT()
options.mean, options.std = [103.5, 116.25, 123.5], [58.0, 57.0, 56.5]
unit = fb.ProcessUnitT()
unit.optionsType, unit.options = fb.ProcessUnitOptions.NormalizationOptions, options
image = fb.ImagePropertiesT()
image.colorSpace = fb.ColorSpaceType.GRAYSCALE
content = fb.ContentT()
content.contentPropertiesType, content.contentProperties = fb.ContentProperties.ImageProperties, image
source, sink, subgraph, model = fb.TensorMetadataT(), fb.TensorMetadataT(), fb.SubGraphMetadataT(), fb.ModelMetadataT()
source.name, source.content, source.processUnits = "x", content, [unit]
subgraph.inputTensorMetadata, subgraph.outputTensorMetadata = [source], [sink]
model.name, model.subgraphMetadata = "theirs", [subgraph]
builder = flatbuffers.Builder(0)
builder.Finish(model.Pack(builder), b"M001")
open(sys.argv[1], "wb").write(bytes(builder.Output()))
"""


def mediapipe(code: str, *arguments: object) -> Any:
    """The last line that a program prints, from JSON; MediaPipe logs on stderr."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout else None


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Variants of a small classifier of coloured, noisy images, and some pixels that it has not seen."""
    from PIL import Image

    from edgepress.toolkit.conversion.convert import convert
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.training.loop import train

    folder = tmp_path_factory.mktemp("colors")
    random = np.random.default_rng(0)
    for label, color in COLORS.items():
        (folder / "data" / label).mkdir(parents=True)
        for i in range(40):
            pixels = np.clip(random.normal(color, 60, (28, 36, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "data" / label / f"{i}.png")
    data = open_data(folder / "data", size=(28, 36))
    train(data, "lenet", out=folder / "run", epochs=4, seed=0, progress=False)
    variants = convert(folder / "run" / "model.keras", ",".join(SCHEMES), out=folder / "variants")
    # Beside real items, mixtures of two: their answers are spread, so that equal scores mean something.
    items = data.test.read(slice(None))
    mixed = (items[:-1].astype(np.uint16) + items[1:]) // 2
    np.save(folder / "pixels.npy", np.concatenate([items, mixed.astype(np.uint8)]))
    return {v.scheme: v.path for v in variants if v.path is not None} | {"pixels": folder / "pixels.npy"}


def test_mediapipe_answers_as_we_do(colors: dict[str, Path]) -> None:
    pixels = np.load(colors["pixels"])
    answers = mediapipe(CLASSIFY, colors["pixels"], *(colors[scheme] for scheme in SCHEMES))
    for scheme in SCHEMES:
        model, found = load(colors[scheme]), answers[str(colors[scheme])]
        assert set(found[0]) == set(model.labels) == set(COLORS)
        theirs = np.array([[answer[label] for label in model.labels] for answer in found])
        ours = model.scores(pixels)
        assert len(set(ours.argmax(axis=1))) == len(COLORS)
        np.testing.assert_array_equal(ours.argmax(axis=1), theirs.argmax(axis=1), err_msg=scheme)
        np.testing.assert_allclose(ours, theirs, atol=1 / 256, err_msg=scheme)


def test_mediapipe_displays_our_metadata(colors: dict[str, Path]) -> None:
    files, shown = mediapipe(DISPLAY, colors["tflite-int8"])
    assert files == ["edgepress.json", "labels.txt"]
    (graph,) = shown["subgraph_metadata"]
    (image,), (answer,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    properties = {"color_space": "RGB", "default_size": {"width": 36, "height": 28}}
    assert image["content"] == {"content_properties_type": "ImageProperties", "content_properties": properties}
    assert image["process_units"] == [
        {"options_type": "NormalizationOptions", "options": {"mean": [0.0], "std": [1.0]}}
    ]
    assert image["stats"] == {"max": [255.0], "min": [0.0]}
    assert answer["stats"] == {"max": [1.0], "min": [0.0]}
    assert answer["associated_files"] == [
        {"name": "labels.txt", "description": "One label a line", "type": "TENSOR_AXIS_LABELS"}
    ]


def test_we_read_what_the_schema_s_own_classes_write(colors: dict[str, Path], tmp_path: Path) -> None:
    mediapipe(WRITE, tmp_path / "block")
    model = colors["tflite-int8"].read_bytes()
    found = tflite_metadata(with_metadata(model, NAME, (tmp_path / "block").read_bytes()))
    assert (found.color, found.mean, found.std) == ("grey", (103.5, 116.25, 123.5), (58.0, 57.0, 56.5))


@pytest.mark.parametrize("stored", [None, ("uint8", 1 / 127, 128)])
def test_mediapipe_answers_as_we_do_with_an_annotated_file(stored: Any, tmp_path: Path) -> None:
    """Its scaling, from an option or from the quantization of the input, and its labels are in the metadata."""
    from published import PIXELS, tflite_of

    from edgepress.converters.contract.hints import Hints
    from edgepress.toolkit.conversion.inspection import annotate

    path, labels = tflite_of(tmp_path / "m.tflite", stored=stored), ("ant", "bee", "cat", "dog")
    hints = Hints(labels=labels, input_range=None if stored else "-1,1")
    copy = annotate(path, tmp_path / "copy.tflite", hints=hints).path
    np.save(tmp_path / "pixels.npy", PIXELS)
    found = mediapipe(CLASSIFY, tmp_path / "pixels.npy", copy)[str(copy)]
    theirs = np.array([[answer[label] for label in labels] for answer in found])
    np.testing.assert_allclose(load(copy).scores(PIXELS), theirs, atol=1e-6)
