"""How near an output may lie to its input: the distance of a step, tried, and by its reads and writes one by one."""

from __future__ import annotations

from typing import Any

from edgepress.converters.to_c import placement


def with_overlap(step: Any, distance: int) -> Any:
    """A placement of a program of one step, whose input begins `distance` bytes behind its output."""
    source, output = step.inputs[0], step.output
    at = max(0, distance)
    begin = at - distance
    end = -(-max(at + source.size, begin + output.size) // 4) * 4  # `scratch` holds numbers of 16 and 32 bits
    return placement.Placement(
        end + (step.scratch or 0), {source.index: at, output.index: begin}, {0: end} if step.scratch else {}
    )


def least_distance(step: Any) -> int:
    """The least distance of a kernel, by its reads and writes one after the other."""
    g = step.layer["geometry"]
    reaches = reached if step.kernel == "transpose_conv" else window
    by_channel = step.kernel in ("max_pool", "average_pool", "depthwise") or (
        step.kernel == "depthwise_any" and g["channels"] == g["out_channels"]
    )
    pixels = 2 if step.kernel == "conv" else 1
    places = [(y, x) for y in range(g["out_height"]) for x in range(g["out_width"])]
    events: list[tuple[list[int], int]] = []  # what is read, and then the end of what is written
    for first in range(0, len(places), pixels):
        group = places[first : first + pixels]
        inputs = [place for y, x in group for place in reaches(g, y, x)]
        begin, end = first * g["out_channels"], (first + len(group)) * g["out_channels"]
        if by_channel:
            together = 4 if step.kernel == "depthwise" else 1
            for k in range(0, g["channels"], together):
                events.append(([place + k for place in inputs], begin + k + together))
        else:
            reads = [place + k for place in inputs for k in range(g["channels"])]
            copied = step.kernel in ("conv", "conv_bytes") and not step.layer.get("in_place")
            before = 0 if copied else (g["out_channels"] - 1) // (4 if step.kernel == "conv_bytes" else 1)
            before *= 4 if step.kernel == "conv_bytes" else 1
            events += [*([(reads, begin + before)] if before else []), (reads, end)]
    least = -(10**9)
    later = 10**9
    for reads, end in reversed(events):
        least = max(least, end - later) if later < 10**9 else least
        later = min([later, *reads])
    return least


def window(g: dict[str, int], y: int, x: int) -> list[int]:
    """The first byte of each pixel of the image in a window."""
    places = []
    for ky in range(g["kernel_height"]):
        for kx in range(g["kernel_width"]):
            row = y * g["stride_y"] - g["pad_y"] + ky * g["dilation_y"]
            column = x * g["stride_x"] - g["pad_x"] + kx * g["dilation_x"]
            if 0 <= row < g["height"] and 0 <= column < g["width"]:
                places.append((row * g["width"] + column) * g["channels"])
    return places


def reached(g: dict[str, int], y: int, x: int) -> list[int]:
    """The first byte of each pixel of the image whose window, in a TRANSPOSE_CONV, reaches a pixel of the output."""
    places = []
    for row in range(g["height"]):
        for column in range(g["width"]):
            ky = y + g["pad_y"] - row * g["stride_y"]
            kx = x + g["pad_x"] - column * g["stride_x"]
            if 0 <= ky < g["kernel_height"] and 0 <= kx < g["kernel_width"]:
                places.append((row * g["width"] + column) * g["channels"])
    return places
