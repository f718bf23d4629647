"""What `diagnose` says of a layer without a fault: whether its weights or its output make most of its error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import quantized_layers

from edgepress.converters.diagnosis.layer import QuantizedLayer
from edgepress.toolkit.diagnosis.accuracy.result import AccuracyDiagnosis, sentences

PLAIN = quantized_layers.PLAIN | {"name": "first", "cost": 0.4, "agreement": 0.9, "weights_error": 0.01}
STANDS_OUT = "No layer stands out by a fault; first (CONV_2D) makes 40 % of the error"
WEIGHTS = ", and most of what it adds is by the rounding of its weights and biases"
OUTPUT = ", and most of what it adds is by the rounding of its output"


def diagnosis_of(layer: QuantizedLayer) -> AccuracyDiagnosis:
    """A diagnosis of a file whose worst layer this is."""
    return AccuracyDiagnosis(
        model="m.keras",
        file="m.tflite",
        scheme="tflite-int8",
        engine="litert",
        data="digits",
        items=100,
        accuracy=None,
        model_accuracy=None,
        drop_pp=None,
        drop_low_pp=None,
        drop_high_pp=None,
        agreement=0.9,
        simulated_agreement=None,
        text="",
        layers=(layer,),
        layer_items=100,
        classes=(),
        fixes=(),
    )


def said_of(layer: QuantizedLayer) -> str:
    """What is said of a file whose worst layer this is, behind the first sentence."""
    text = sentences(diagnosis_of(layer), ["a", "b"]).replace("\N{NO-BREAK SPACE}", " ")
    _, _, rest = text.partition("items. ")
    return rest


@pytest.mark.parametrize(
    ("figures", "source"),
    [
        ({"from_weights": 0.51}, WEIGHTS),
        ({"from_weights": 0.5}, OUTPUT),
        ({"from_weights": 0.0}, OUTPUT),
        ({"from_weights": 0.49, "stored": "dynamic"}, f"{OUTPUT} while the file runs"),
        ({"from_weights": 0.51, "stored": "dynamic"}, WEIGHTS),
        ({"from_weights": 0.49, "stored": "float32"}, ""),
        ({"from_weights": 0.51, "stored": "float32"}, WEIGHTS),
        ({"weights_error": 0.0, "from_weights": 0.51}, WEIGHTS),
        ({"weights_error": 0.0, "from_weights": 0.49}, OUTPUT),
        ({"weights_error": 0.0, "from_weights": 0.0}, ""),
        ({"weights_error": None, "from_weights": 0.0}, OUTPUT),
        ({"weights_error": None, "from_weights": 0.0, "stored": "dynamic"}, f"{OUTPUT} while the file runs"),
        ({"weights_error": None, "from_weights": 0.0, "stored": "float32"}, ""),
        ({"weights_error": None, "from_weights": 0.51}, ""),
    ],
)
def test_where_an_error_comes_from_is_said_as_far_as_it_is_known(figures: dict[str, Any], source: str) -> None:
    """Weights without any error were taken from the file; a layer without weights can only round its output."""
    assert said_of(QuantizedLayer(**PLAIN | figures)) == f"{STANDS_OUT}{source}."


def test_a_fault_is_said_instead() -> None:
    layer = QuantizedLayer(**PLAIN | {"from_weights": 1.0, "fault": "outlier", "spread": 60.0, "widest": 3})
    assert said_of(layer).startswith("first (CONV_2D) makes 40 % of the error: its channel 3 has 60 times the range")


@pytest.mark.parametrize(
    ("right", "trained", "doubt"),
    [
        (0.36, 0.36, None),
        (0.30, 0.38, None),  # by chance, of 100 items
        (0.36, 0.94, "only, and in 94.0 % after its training: check"),
        (0.36, None, "only: check"),
        (0.60, 0.94, None),
    ],
)
def test_labels_are_doubted_only_if_the_model_was_better_once(
    right: float, trained: float | None, doubt: str | None
) -> None:
    """Before, a net that had reached 36 % in training was said to be given other labels or data."""
    layer = QuantizedLayer(**PLAIN | {"from_weights": 1.0})
    figures = replace(diagnosis_of(layer), model_accuracy=right, trained_accuracy=trained)
    text = sentences(figures, ["a", "b", "c"]).replace("\N{NO-BREAK SPACE}", " ")
    assert ("check that it was trained" in text) == (doubt is not None)
    assert doubt is None or doubt in text
