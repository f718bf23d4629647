"""The rooms whose code `mutation.py` mutates, and the tests that must notice."""

from __future__ import annotations

from typing import NamedTuple


class Room(NamedTuple):
    """Files that are mutated, and the tests that must notice.

    Attributes:
        files: Patterns below the root.
        tests: Names of modules of tests/unit or, if there is none, of tests/integration: "stats" is `test_stats.py`.
            `*` stands for the tests of the mutated file in `TESTS`.
    """

    files: str
    tests: str


TESTS = {
    "adaround": "adaround tuning_rounding",
    "layer_rounding": "rounding_samples layer_rounding tuning_rounding",
    "bias_absorption": "bias_absorption tuning_centre",
    "bias_correction": "bias_means tuning_centre tuning_repair",
    "calibration": "methods",
    "channel_links": "channel_links tuning_groups",
    "channel_ranges": "channel_ranges tuning_centre tuning_limits",
    "channel_scales": "channel_scales tuning_groups tuning_equalize",
    "equalization": "equalize_layers equalize tuning_limits tuning_equalize tuning_repair",
    "feature_scaling": "feature_scaling feature_ranges",
    "pipeline": "pipeline_methods pipeline_run tuning_repair",
    "repair": "feature_scaling tuning_repair",
    "plan": "pruning_plan pruning_constants pruning",
    "importance": "pruning_constants pruning",
    "links": "pruning_links pruning",
    "remove": "pruning_constants pruning",
    "units": "pruning_links pruning",
    "score": "scorer judge methods tuning_repair",
    "stages": "tuning_repair",
    "channel_affine": "rewrite_guards rewrite_joins rewrite_more_joins",
    "body_inputs": "onnx_bodies",
    "concat_tree": "rewrite_joins rewrite_more_joins",
    "fold_pool": "rewrite_joins rewrite_more_joins",
    "dense_products": "rewrite_more_joins",
    "float16_biases": "rewrite_float16",
    "single_mean": "rewrite_guards rewrite_pixels rewrite_fold_normalization",
    "fold_normalization": "rewrite_guards rewrite_pixels rewrite_fold_normalization",
    "depthwise_multiplier": "rewrite_guards rewrite_depthwise_multiplier",
    "grouped_depthwise": "rewrite_guards rewrite_grouped_depthwise",
    "split_depthwise": "rewrite_guards rewrite_split_depthwise",
    "unused_taps": "rewrite_guards rewrite_unused_taps",
    "wide_taps": "rewrite_guards rewrite_wide_taps",
    "windows": "rewrite_guards rewrite_pixels rewrite_line_pads rewrite_wide_taps rewrite_unused_taps "
    "rewrite_grouped_depthwise rewrite_depthwise_multiplier rewrite_split_depthwise rewrite_joins "
    "rewrite_fold_normalization rewrite_norm_bounds rewrite_more_joins",
    "lookup_islands": "rewrite_lookup_bounds rewrite_lookup_islands",
    "int8": "rewrite_integer_kernels rewrite_integer_hard_swish rewrite_lookup_islands",
    "layer_norm": "rewrite_norm_bounds rewrite_layer_norm rewrite_onnx_norms rewrite_onnx_dense "
    "rewrite_onnx_neighbours",
    "dense": "rewrite_onnx_products rewrite_onnx_dense rewrite_onnx_neighbours",
    "gelu": "rewrite_onnx_products rewrite_onnx_dense rewrite_onnx_neighbours",
    "float_gelu": "rewrite_onnx_products rewrite_onnx_dense onnx_emission_turns",
    "depthwise_channels": "rewrite_onnx_channels rewrite_onnx_int8 rewrite_onnx_neighbours",
    "quantized_hard_sigmoid": "rewrite_onnx_bytes rewrite_onnx_int8",
    "relu_bytes": "rewrite_onnx_bytes rewrite_onnx_int8",
    "swish": "rewrite_onnx_bytes rewrite_onnx_int8",
    "first_convolution": "rewrite_onnx_first rewrite_onnx_int8_input rewrite_onnx_neighbours",
    "input_bytes": "rewrite_onnx_input_bytes rewrite_onnx_int8_input rewrite_onnx_neighbours",
    "input_zero": "rewrite_onnx_pixels rewrite_onnx_int8_input rewrite_onnx_neighbours",
    "hard_gates": "rewrite_onnx_gates rewrite_onnx_float rewrite_onnx_neighbours",
    "hard_sigmoid": "rewrite_onnx_gates rewrite_onnx_float rewrite_onnx_neighbours",
    "input_scale": "rewrite_onnx_pixels rewrite_onnx_float rewrite_onnx_neighbours",
    "float_chains": "float_chains onnx_float_chains float_front_ends",
    "comparisons": "comparisons",
    "constants": "plain_constants foreign_forms",
    "forms": "foreign_forms plain_constants",
    "resizes": "foreign_forms",
    "plain_forms": "foreign_forms matmul",
    "classical": "classical",
    "frozen_fixes": "frozen_fixes",
    "frozen_patches": "frozen_fixes",
    "names": "onnx_names",
    "pads": "rewrite_onnx_gates rewrite_onnx_float rewrite_onnx_neighbours",
    "plain_shapes": "rewrite_onnx_gates rewrite_onnx_float rewrite_onnx_neighbours",
    "pool_strides": "rewrite_onnx_gates rewrite_onnx_float rewrite_onnx_neighbours",
}
"""The tests of files of repairs, pruning and rewrites; those of another rewrite are in "rewrite_" and its name."""
PUBLISHING = "toolkit/publishing/entries.py toolkit/publishing/expiry.py toolkit/publishing/publish.py"
"""What decides about releases; the rest of that room writes files."""
INSTALLING = "runtime/updates/update.py runtime/updates/confirm.py runtime/updates/installer.py"
"""What decides whether a board switches to a release; `watching` decides whether it stays."""
SWEEPING = (
    "toolkit/sweeping/front.py toolkit/sweeping/proposals.py toolkit/sweeping/search.py toolkit/sweeping/space.py"
)
"""What decides about configurations; the rest of that room runs jobs."""
FORMS = (
    "converters/float_chains.py converters/to_*/float_chains.py converters/to_*/comparisons.py "
    "converters/to_tflite/constants.py converters/to_tflite/plain_forms.py converters/to_onnx/forms.py "
    "converters/to_onnx/resizes.py converters/to_onnx/classical.py "
    "converters/to_onnx/names.py "
    "converters/frozen_fixes.py converters/frozen_patches.py"
)
"""What changes graphs before and after quantization, and decides what stays float."""
ROOMS = {
    "stats": Room(
        "toolkit/stats/intervals.py toolkit/stats/metrics.py toolkit/stats/samples.py",
        "stats intervals metrics item_plans remarks_items advice expected promises",
    ),
    "comparison": Room(
        "toolkit/comparison/*.py",
        "comparison gates matching comparison_text compare_models compare",
    ),
    "results": Room("toolkit/results/*.py", "results results_file"),
    "splits": Room("toolkit/data/splits.py", "splits data_splits"),
    "contract": Room("runtime/contract.py", "contract_fields contract"),
    "several inputs": Room("runtime/input_record.py runtime/several.py", "input_record record_reader"),
    "selftest": Room("runtime/selftest.py", "selftest_tolerance selftest"),
    "advice": Room(
        "toolkit/benchmarking/advice.py toolkit/benchmarking/needed.py toolkit/benchmarking/engine_advice.py", "advice"
    ),
    "recommendation": Room("toolkit/stats/posterior.py toolkit/stats/choice.py", "choice posterior advice"),
    "source check": Room(
        "toolkit/source_check.py toolkit/stats/largest_class.py converters/contract/preparations.py",
        "source_check remarks",
    ),
    "more": Room("toolkit/benchmarking/more.py", "benchmark_more"),
    "formats": Room("toolkit/data/idx.py toolkit/data/npz.py toolkit/text.py", "data_npz data_idx data text"),
    "archive": Room("toolkit/bundles/archive.py toolkit/bundles/manifest.py", "archive"),
    "expected": Room("toolkit/benchmarking/expected.py toolkit/benchmarking/accepted.py", "expected accepted"),
    "temperature": Room("converters/temperature.py", "temperature"),
    "acceptance": Room(
        "runtime/acceptance.py toolkit/stats/acceptance.py toolkit/calibrating/fit.py",
        "acceptance promises calibration_fit accepted",
    ),
    "calibrating": Room(
        "toolkit/calibrating/calibrate.py toolkit/calibrating/items.py toolkit/calibrating/references.py",
        "calibrate_steps calibration_references calibration_fit drift calibrate",
    ),
    "drift": Room("runtime/drift.py runtime/scenes.py", "drift drift_watch scenes drift_proof"),
    "keeping": Room("runtime/keeping.py", "keeping"),
    "collecting": Room("toolkit/boards/collect.py", "collect"),
    "labelling": Room("toolkit/labelling/*.py", "labelling label"),
    "improving": Room("toolkit/improving/*.py", "improving improving_steps"),
    "compression": Room(
        "toolkit/compression/limits.py toolkit/compression/search.py toolkit/compression/trial.py",
        "trial compress",
    ),
    "sweeping": Room(SWEEPING, "search sweep_plan"),
    "publishing": Room(PUBLISHING, "release_entries publishing publishing_dates publishing_keys"),
    "published": Room("toolkit/published/*.py", "publishing_trust published published_commands publishing_keys"),
    "roots": Room("runtime/updates/roots.py runtime/updates/left.py", "update_sources updates update_steps"),
    "multi-label": Room(
        "toolkit/truth.py toolkit/stats/multilabel.py toolkit/data/npz_labels.py",
        "multilabel_metrics multilabel_data data_npz data",
    ),
    "few items": Room("toolkit/training/few_items.py toolkit/stats/learning_curve.py", "few_items"),
    "updates": Room(
        "runtime/updates/releases.py runtime/updates/state.py",
        "releases release_lists update_state publishing publishing_dates",
    ),
    "installing": Room(INSTALLING, "releases update_confirm update_installer update_steps"),
    "watching": Room("runtime/updates/watch.py", "watch_limits"),
    "shadow": Room("runtime/updates/shadow.py", "shadow_limits"),
    "arithmetic": Room(
        "converters/to_c/arithmetic.py converters/to_c/bounds.py", "c_bounds c_arithmetic to_c_sums to_c"
    ),
    "placement": Room(
        "converters/to_c/placement.py converters/to_c/tables.py converters/to_c/removal.py",
        "c_placement to_c_tables to_c_removal to_c_footprint to_c",
    ),
    "proof": Room(
        "converters/proof/compare.py converters/proof/labels.py converters/conversion/advice.py",
        "lost_labels verification rejected_advice",
    ),
    "repairs": Room("converters/ptq/*.py", "*"),
    "pruning": Room("converters/pruning/*.py", "*"),
    "forms": Room(FORMS, "*"),
    "importers": Room("converters/importers/*.py", "importers"),
    "retraining": Room("toolkit/retraining/sizes.py", "retraining_sizes"),
    "rewrites": Room("converters/rewrites/*/*.py", "*"),
}
"""Rooms by name: what computes and decides."""
