"""Scales that integer kernels can't compute with: refused in files, avoided by equalization."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import Net

from edgepress.converters.errors import ConversionError
from edgepress.converters.graph.program import Program
from edgepress.converters.ptq.channel_scales import channel_ranges, move_ranges, scale_groups, tensor_ranges
from edgepress.converters.ptq.equalization import ROOM, equalizing_factors, find_fixed, limit_factors
from edgepress.converters.ptq.score import runner
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.grids import LARGEST, requantization

ITEMS = np.random.default_rng(0).normal(size=(16, 4, 4, 3)).astype(np.float32)


def net() -> Program:
    made = Net((4, 4), 3, seed=1)
    made.conv(4, act=1)
    made.depthwise((3, 3), act=1)
    made.conv(2)
    return Program(made.model())


@pytest.mark.parametrize(("share", "refused"), [(1.2, True), (0.8, False)])
def test_a_file_is_refused_from_the_factor_on_that_kernels_refuse(share: float, refused: bool) -> None:
    program = net()
    ranges = tensor_ranges(channel_ranges(program, ITEMS), program.source, None)
    step = next(step for step in program.weighted() if step.kind == "DEPTHWISE_CONV_2D")
    largest = np.abs(step.constants[1]).max() / 127
    source = np.ptp((0.0, *ranges[step.inputs[0]])) / 255
    output = requantization(float(source), np.array([largest]), LARGEST * share)[0] * 255
    ranges[step.output] = (0.0, float(output))
    model = program.with_constants({})
    if refused:
        with pytest.raises(ConversionError, match=r"layer2.*too far apart") as e:
            with_scheme(model, SCHEMES["tflite-int8"], ranges, uint8=False)
        assert "--no-repairs" not in e.value.hint, "whether it was given is not known there"
        (named,) = (name for name in SCHEMES if name in e.value.hint)
        assert SCHEMES[named].precision in ("float16", "float32"), "tflite-dynamic multiplies integers, too"
        named_file = with_scheme(model, SCHEMES[named], ranges, uint8=False)
        np.testing.assert_allclose(runner(named_file)(ITEMS[0]), runner(model)(ITEMS[0]), rtol=0.01, atol=0.01)
    else:
        assert np.isfinite(runner(with_scheme(model, SCHEMES["tflite-int8"], ranges, uint8=False))(ITEMS[0])).all()


def test_equalization_stays_below_that_factor() -> None:
    program = net()
    groups, measured = scale_groups(program), channel_ranges(program, ITEMS)
    depthwise = next(step for step in program.weighted() if step.kind == "DEPTHWISE_CONV_2D")
    factors = np.ones(groups.count)
    factors[groups.of[depthwise.output][1]] = 2.0**-20  # its weights grow by as much

    def ranges(by: np.ndarray) -> dict[str, tuple[float, float]]:
        return tensor_ranges(
            move_ranges(measured, factors={name: by[ids] for name, ids in groups.of.items()}), program.source, None
        )

    narrow = ranges(np.ones(groups.count))
    found = limit_factors(groups, factors, narrow)
    weights = np.abs(groups.scale_constants(found)[depthwise.weights]).max(axis=(0, 1, 2)) / 127
    source, output = (np.ptp((0.0, *narrow[name])) / 255 for name in (depthwise.inputs[0], depthwise.output))
    assert requantization(float(source), weights, float(output)).max() == pytest.approx(LARGEST / ROOM, rel=1e-3)
    others = np.delete(np.arange(groups.count), groups.of[depthwise.output][1])
    assert (found[others] == 1).all()


def test_pinned_channels_keep_their_scale_whatever_is_excessive() -> None:
    program = net()
    groups, measured = scale_groups(program), channel_ranges(program, ITEMS)
    ranges = tensor_ranges(measured, program.source, None) | {program.sink: (0.0, 1e-12)}
    np.testing.assert_array_equal(limit_factors(groups, np.ones(groups.count), ranges), 1)


@pytest.mark.parametrize("missing", ["source", "output"])
def test_layers_of_which_a_range_is_not_known_are_not_limited(missing: str) -> None:
    program = net()
    groups, measured = scale_groups(program), channel_ranges(program, ITEMS)
    depthwise = next(step for step in program.weighted() if step.kind == "DEPTHWISE_CONV_2D")
    factors = np.ones(groups.count)
    factors[groups.of[depthwise.output][1]] = 2.0**-20
    ranges = tensor_ranges(measured, program.source, None)
    assert (limit_factors(groups, factors, ranges) != factors).any()
    del ranges[{"source": depthwise.inputs[0], "output": depthwise.output}[missing]]
    np.testing.assert_array_equal(limit_factors(groups, factors, ranges), factors)


@pytest.mark.parametrize("seed", range(3))
def test_a_channel_that_reaches_6_keeps_its_scale_whatever_is_excessive(seed: int) -> None:
    """Its weights are so large that integer kernels can't compute it, but divided, it would not reach 6 any more."""
    made = Net((4, 4), 3, seed=seed)
    made.conv(12, (3, 3), act=3)  # ReLU6
    made.conv(12, act=1)
    made.conv(2)
    program = Program(made.model())
    first = next(program.weighted())
    program = Program(
        program.with_constants(
            {
                first.weights: program.constants[first.weights]
                * np.r_[2e5, np.ones(11)][:, None, None, None].astype(np.float32)
            }
        )
    )
    groups, measured = scale_groups(program), channel_ranges(program, ITEMS)
    ranges = tensor_ranges(measured, program.source, None)
    factors = limit_factors(groups, equalizing_factors(groups, measured), ranges, find_fixed(groups, measured))
    equalized = runner(program.with_constants(groups.scale_constants(factors)))
    plain = runner(program.with_constants({}))
    for item in ITEMS:
        np.testing.assert_allclose(equalized(item), plain(item), rtol=1e-3, atol=1e-3)
