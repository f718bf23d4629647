"""What the tests of diagnoses share."""

from __future__ import annotations

from edgepress.toolkit.results.records import Ceiling

CEILING = Ceiling(
    float32_macs_per_s=50e9,
    int8_macs_per_s=200e9,
    memory_bytes_per_s=20e9,
    kernels={},
    depthwise_float32_macs_per_s=20e9,
    depthwise_int8_macs_per_s=20e9,
)
