"""Plot a profile as an icicle: the whole inference at the top, blocks and layers below, operations at the bottom.

Width is time, from left to right in the order in which the kernels ran. Neighbours of the same block or layer share a
box. A block is the beginning of a layer's name up to a number: "block_3" of "block_3_expand".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

from edgepress.converters.files import whole_file
from edgepress.runtime.text import one_line
from edgepress.toolkit.diagnosis.profiling.profile import NodeTime, Profile
from edgepress.toolkit.documents import checked_suffix, plain_texts
from edgepress.toolkit.text import duration, plural

CHARACTER = 0.0055
"""Width of a character / width of the figure."""
BOX = "#d9dee4"
MAX_LEGEND = 12
"""Most operations that the legend names."""
DARK = 1.5
"""Text is white on boxes whose sum of red, green and blue is smaller."""


@plain_texts()
def plot_profile(profile: Profile, path: Path) -> Path:
    """Draw a profile's icicle.

    Args:
        profile: The profile.
        path: The file to write, ending in `.png` or `.svg`.

    Raises:
        InputError: The file has another suffix, or cannot be written.
    """
    checked_suffix(path)
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    nodes = [n for n in profile.nodes if n.time_us > 0]
    paths = _paths(nodes)
    depth = max((len(p) for p in paths), default=0)
    shares: dict[str, float] = {}
    for row in profile.operations:
        if row.time_us:
            shares[row.operation] = shares.get(row.operation, 0.0) + row.share
    colors = {name: colormaps["tab20"](i % 20) for i, name in enumerate(shares)}
    figure = Figure(figsize=(12, 1.3 + 0.5 * (depth + 2)), layout="constrained")
    axes = figure.add_subplot()
    ends = [0.0, *accumulate(node.time_us for node in nodes)]
    whole = ends[-1] or 1.0
    _box(axes, 0, whole, 0, text=f"{Path(profile.file).name} on {profile.engine}", color=BOX, whole=whole)
    for level in range(depth):
        for key, members in groupby(range(len(nodes)), key=lambda i: paths[i][: level + 1]):
            first, *_ = rows = list(members)
            if len(key) == level + 1:
                _box(axes, ends[first], ends[rows[-1] + 1], level + 1, text=key[-1], color=BOX, whole=whole)
    for i, node in enumerate(nodes):
        top = len(paths[i]) + 1
        text = f"{node.operation}{' *' if profile.delegated_share and not node.delegated else ''}"
        _box(
            axes,
            ends[i],
            ends[i + 1],
            top,
            text=text,
            color=colors[node.operation],
            whole=whole,
            height=depth + 2 - top,
        )
    axes.set(xlim=(0, whole), ylim=(depth + 2, 0), yticks=[], xlabel="time in one inference, µs")
    axes.spines[["top", "left", "right"]].set_visible(False)
    outside = f", {duration(profile.rest_us)} outside of them" if profile.rest_us else ""
    mark = "   * not delegated" if profile.delegated_share and any(not n.delegated for n in nodes) else ""
    title = f"{duration(profile.total_us)} an inference; kernels {duration(whole)}{outside}"
    axes.set_title(f"{title}; {plural(profile.threads, 'thread')}{mark}", fontsize=10, loc="left")
    handles = [
        Patch(color=colors[name], label=f"{one_line(name, 40)}  {100 * share:.1f} %") for name, share in shares.items()
    ]
    figure.legend(handles=handles[:MAX_LEGEND], loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=130, format=path.suffix[1:])
    return path


def _paths(nodes: Sequence[NodeTime]) -> list[tuple[str, ...]]:
    """Blocks and layers of each node, outermost first, without those that all nodes share."""
    layers: dict[str, set[str]] = {}
    for part in {part for node in nodes for part in node.name.split("/")[:-1]}:
        layers.setdefault(_block(part), set()).add(part)
    paths = []
    for node in nodes:
        levels: list[str] = []
        for part in node.name.split("/")[:-1]:
            block = _block(part)
            whole = not block or len(layers[block]) == 1  # a block of one layer is that layer
            levels += [part] if whole else [block, part.removeprefix(f"{block}_")]
        paths.append(tuple(levels))
    named = [p for p in paths if p]
    shared = 0
    while len(named) > 1 and len({p[: shared + 1] for p in named}) == 1 and all(len(p) > shared + 1 for p in named):
        shared += 1
    return [p[shared:] for p in paths]


def _block(layer: str) -> str:
    match = re.match(r"(.*?\d)_(?=[A-Za-z])", layer)
    return match[1] if match else ""


def _box(
    axes: Any, start: float, end: float, top: float, *, text: str, color: Any, whole: float, height: float = 1
) -> None:
    from matplotlib.colors import to_rgb

    axes.broken_barh([(start, end - start)], (top, height), facecolor=color, edgecolor="white", linewidth=0.6)
    room = int((end - start) / whole / CHARACTER)
    if room >= 2:
        text = one_line(text)
        shown = text if len(text) <= room else text[: room - 1] + "…" if room >= 4 else ""
        ink = "white" if sum(to_rgb(color)) < DARK else "black"
        axes.text((start + end) / 2, top + height / 2, shown, ha="center", va="center", fontsize=7, color=ink)
