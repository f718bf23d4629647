"""A file and a label map as Frigate's state and object classification take them, and its steps before and after.

The steps are those of Frigate, written here from its sources at commit e3fa701 of July 2026
(`data_processing/real_time/custom_classification.py`, and what its own training makes, `util/classification.py`): the
frame from I420 to RGB, the part of the camera's crop, `cv2.resize` to 224 x 224, uint8 without normalization, one
output tensor divided by its sum, and the label from the line of that number in `labelmap.txt`.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.runtime import load
from edgepress.runtime.crop import read_crop
from edgepress.toolkit import convert
from edgepress.toolkit.conversion.convert import Hints

SIDE = 224
"""Height and width of what Frigate gives a model."""
LABELS = ("blue", "green", "red")
SHARES = (0.25, 0.1, 0.75, 0.85)
"""Left, upper, right and lower edge of the crop, as Frigate's configuration has them."""
HEIGHT = 480
WIDTH = 640


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The int8 file of a net that answers which color is strongest."""
    import keras

    folder = tmp_path_factory.mktemp("frigate")
    net = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    net.layers[-1].set_weights([20 * (np.eye(3)[::-1] - 1 / 3).astype(np.float32), np.zeros(3, np.float32)])
    net.save(folder / "net.keras")
    random = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = np.stack([picture(int(label), random, SIDE, SIDE) for label in y])
    np.savez(folder / "colors.npz", x=x, y=y, labels=np.array(LABELS))
    hints = Hints(input_range="0,255", labels=LABELS)
    (variant,) = convert(folder / "net.keras", "tflite-int8", data=str(folder / "colors.npz"), hints=hints)
    assert variant.path is not None, variant
    return Path(variant.path)


def picture(label: int, random: Any, height: int, width: int) -> np.ndarray:
    """Noise that is coarse and fine, with one color a little stronger: uint8, shape (height, width, 3)."""
    coarse = random.normal(110, 40, (height // 16, width // 16, 3)).repeat(16, axis=0).repeat(16, axis=1)
    coarse[..., 2 - label] += 30
    return np.clip(coarse + random.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


def answer_in_frigate(interpreter: Any, labels: dict[int, str], frame: np.ndarray, cv2: Any) -> tuple[str, np.ndarray]:
    """Label and probabilities of a frame, I420 of shape (height * 3 / 2, width)."""
    rgb = cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420)
    x1, y1, x2, y2 = (int(share * side) for share, side in zip(SHARES, (WIDTH, HEIGHT) * 2, strict=True))
    taken = cv2.resize(rgb[y1:y2, x1:x2], (SIDE, SIDE))
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], taken[np.newaxis])
    interpreter.invoke()
    (result,) = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    probabilities = result / result.sum(axis=0)
    return labels[int(np.argmax(probabilities))], probabilities


def test_frigate_takes_the_file_and_its_labels(file: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    from ai_edge_litert.interpreter import Interpreter

    with zipfile.ZipFile(file) as archive:
        text = archive.read("labels.txt").decode()
    labels = {number: line.strip() for number, line in enumerate(text.splitlines())}
    assert tuple(labels.values()) == LABELS
    interpreter = Interpreter(str(file), num_threads=2)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (source["dtype"], [*source["shape"]]) == (np.uint8, [1, SIDE, SIDE, 3])
    assert (sink["dtype"], [*sink["shape"]]) == (np.uint8, [1, 3])

    model = load(file)
    crop = read_crop("25%,10%,50%,75%")
    random = np.random.default_rng(1)
    for label in [0, 1, 2] * 5:
        frame = picture((label + 1) % 3, random, HEIGHT, WIDTH)
        x, y, width, height = crop.box(HEIGHT, WIDTH)
        frame[y : y + height, x : x + width] = picture(label, random, HEIGHT, WIDTH)[:height, :width]
        theirs, probabilities = answer_in_frigate(interpreter, labels, cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), cv2)
        answer = model.classify(crop.cut(frame, model.contract.input), top=3)
        assert theirs == LABELS[label] == answer[0].label
        ours = {prediction.label: prediction.score for prediction in answer}
        assert probabilities == pytest.approx([ours[name] for name in LABELS], abs=0.05)
