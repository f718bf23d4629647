"""What export says of a model of sound before it is written."""

from __future__ import annotations

import pytest
from accepting import ACCEPT

from edgepress.runtime import Contract, InputSpec
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.toolkit.shipping.exporting.sound import rule_notes

PLAIN = Contract(
    task="softmax",
    labels=("background", "go"),
    input=InputSpec(shape=(98, 40), dtype="float32", value_range=(0.0, 26.0)),
    scheme="tflite-int8",
    sound=SoundFeatures(),
)


@pytest.mark.parametrize(
    ("contract", "said"),
    [
        (None, []),
        (PLAIN, []),
        (PLAIN.replace(listen=ListenOptions(step=3)), []),
        (PLAIN.replace(listen=ListenOptions(step=7)), ["an answer every 7 frames"]),
        (PLAIN.replace(listen=ListenOptions()), ["an answer every 24 frames"]),
        (PLAIN.replace(accept=ACCEPT), ["accepts all answers"]),
        (PLAIN.replace(accept=ACCEPT, listen=ListenOptions(step=3)), ["accepts all answers"]),
        (PLAIN.replace(accept=ACCEPT, listen=ListenOptions(step=7)), ["accepts all answers", "every 7 frames"]),
        (PLAIN.replace(accept=ACCEPT, sound=None), []),
    ],
)
def test_notes_say_where_firmware_hears_otherwise(contract: Contract | None, said: list[str]) -> None:
    notes = rule_notes(contract, 3)
    assert len(notes) == len(said)
    for note, part in zip(notes, said, strict=True):
        assert part in note
