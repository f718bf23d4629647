"""The row `damage` of `accuracy.py`: does a diagnosis name first the layer that was damaged on purpose?

`diagnosed.py` damages and diagnoses, one channel multiplied by 64 or one range ten times too wide; here it is done for
a few seeds of several nets, which makes twenty cases for each kind of damage and format.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("diagnosis", "shared")]

from accuracy_lines import Line
from accuracy_nets import Net, Place, alone, nets
from accuracy_peers import calibration

NETS = ("lenet-mnist", "resnet8-mnist", "mobilenet-v2-signs", "mobilenet-v3-small-signs")
SEEDS = 5
KINDS, SCHEMES = ("channel", "range"), ("tflite-int8", "onnx-int8")


def damage(place: Place, wanted: list[str], seeds: int) -> Iterator[Line]:
    """How many of twenty cases were named first, for each kind of damage and format."""
    chosen = list(nets(NETS, place, wanted))
    for kind in KINDS:
        for scheme in SCHEMES:
            found = {net.name: alone(_places, net, kind, scheme) for net in chosen}
            places = [at for several in found.values() for at in several]
            first = sum(at == 1 for at in places)
            others = "; ".join(f"{name}: {several}" for name, several in found.items() if set(several) != {1})
            text = (
                f"    {kind:10} {scheme:12} {first} of {len(places)} named first{', places ' if others else ''}{others}"
            )
            yield Line(text, "" if first == len(places) else "all must be")


def _places(net: Net, kind: str, scheme: str) -> list[int]:
    """The place at which each damaged layer is named, from 1 on; 0 if it is not."""
    import diagnosed

    graph, adapter = diagnosed.float_graph(net.model)
    items = net.split("test")[0][: diagnosed.MEASURED]
    return list(diagnosed.places(graph, adapter, scheme, kind, calibration(net), items, SEEDS))
