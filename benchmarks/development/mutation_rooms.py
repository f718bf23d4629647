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
    "bias": "bias_absorption tuning_centre bias_means tuning_repair",
    "calibration": "methods",
    "channel_links": "channel_links tuning_groups",
    "channel_scales": "channel_ranges tuning_centre tuning_limits channel_scales tuning_groups tuning_equalize",
    "equalization": "equalize_layers equalize tuning_limits tuning_equalize tuning_repair",
    "repair": "feature_scaling feature_ranges tuning_repair",
    "pipeline": "pipeline_methods pipeline_run tuning_repair",
    "plan": "pruning_plan pruning_constants pruning",
    "importance": "pruning_constants pruning",
    "units": "pruning_links pruning",
    "remove": "pruning_constants pruning",
    "score": "scorer judge methods tuning_repair",
    "stages": "tuning_repair",
    "folding": "rewrite_guards rewrite_joins rewrite_more_joins rewrite_pixels rewrite_fold_normalization",
    "bytes": "onnx_bodies rewrite_onnx_channels rewrite_onnx_int8 rewrite_onnx_neighbours rewrite_onnx_bytes",
    "operations": "rewrite_joins rewrite_more_joins rewrite_float16",
    "depthwise": "rewrite_guards rewrite_depthwise_multiplier rewrite_grouped_depthwise rewrite_split_depthwise",
    "taps": "rewrite_guards rewrite_unused_taps rewrite_wide_taps",
    "convolutions": "rewrite_guards rewrite_pixels rewrite_line_pads rewrite_wide_taps "
    "rewrite_unused_taps rewrite_grouped_depthwise rewrite_depthwise_multiplier "
    "rewrite_split_depthwise rewrite_joins rewrite_fold_normalization "
    "rewrite_norm_bounds rewrite_more_joins rewrite_onnx_products rewrite_onnx_dense "
    "rewrite_onnx_neighbours rewrite_onnx_first rewrite_onnx_int8_input "
    "rewrite_onnx_gates rewrite_onnx_float",
    "windows": "rewrite_guards rewrite_pixels rewrite_line_pads rewrite_wide_taps "
    "rewrite_unused_taps rewrite_grouped_depthwise rewrite_depthwise_multiplier "
    "rewrite_split_depthwise rewrite_joins rewrite_fold_normalization "
    "rewrite_norm_bounds rewrite_more_joins rewrite_integer_kernels "
    "rewrite_integer_hard_swish rewrite_lookup_islands",
    "integers": "rewrite_lookup_bounds rewrite_lookup_islands",
    "activations": "rewrite_norm_bounds rewrite_layer_norm rewrite_onnx_norms rewrite_onnx_dense "
    "rewrite_onnx_neighbours rewrite_onnx_products onnx_emission_turns "
    "rewrite_onnx_bytes rewrite_onnx_int8 rewrite_onnx_gates rewrite_onnx_float",
    "layer_norm": "rewrite_norm_bounds rewrite_layer_norm rewrite_onnx_norms rewrite_onnx_dense "
    "rewrite_onnx_neighbours",
    "dense": "rewrite_onnx_products rewrite_onnx_dense rewrite_onnx_neighbours",
    "inputs": "rewrite_onnx_input_bytes rewrite_onnx_int8_input rewrite_onnx_neighbours "
    "rewrite_onnx_pixels rewrite_onnx_float",
    "float_chains": "float_chains onnx_float_chains float_front_ends",
    "float_layers": "float_chains onnx_float_chains float_front_ends",
    "constants": "comparisons plain_constants foreign_forms",
    "grids": "comparisons",
    "forms": "foreign_forms plain_constants classical frozen_fixes",
    "products": "foreign_forms",
    "resizes": "foreign_forms",
    "plain_forms": "foreign_forms matmul",
    "fixes": "frozen_fixes",
    "convert": "onnx_names",
}
"""The tests of files of repairs, pruning and rewrites; those of another rewrite are in "rewrite_" and its name."""
PUBLISHING = (
    "toolkit/shipping/publishing/entries.py toolkit/shipping/publishing/trust.py toolkit/shipping/publishing/publish.py"
)
"""What decides about releases; the rest of that room writes files."""
INSTALLING = "runtime/updates/update.py runtime/updates/confirm.py runtime/updates/installer.py"
"""What decides whether a board switches to a release; `watching` decides whether it stays."""
SWEEPING = (
    "toolkit/search/sweeping/sweep.py "
    "toolkit/search/sweeping/proposals.py "
    "toolkit/search/sweeping/search.py "
    "toolkit/search/sweeping/space.py"
)
"""What decides about configurations; the rest of that room runs jobs."""
FORMS = (
    "converters/float_chains.py "
    "converters/to_*/float_layers.py "
    "converters/to_tflite/constants.py "
    "converters/to_onnx/grids.py "
    "converters/to_tflite/constants.py converters/to_tflite/plain_forms.py converters/to_onnx/forms.py "
    "converters/to_onnx/products.py converters/to_onnx/forms.py "
    "converters/to_onnx/convert.py "
    "converters/freezing/fixes.py converters/freezing/forms.py"
)
"""What changes graphs before and after quantization, and decides what stays float."""
ROOMS = {
    "stats": Room(
        "toolkit/stats/intervals.py toolkit/stats/metrics.py toolkit/stats/samples.py toolkit/stats/rates.py",
        "rates stats intervals metrics item_plans remarks_items advice expected promises",
    ),
    "comparison": Room(
        "toolkit/measurement/comparison/*.py",
        "comparison gates matching comparison_text compare_models compare compare_streams",
    ),
    "results": Room("toolkit/results/*.py", "results results_file compare_streams"),
    "splits": Room("toolkit/data/splits.py", "splits data_splits"),
    "contract": Room("runtime/contract.py", "contract_fields contract"),
    "several inputs": Room("runtime/input_record.py runtime/several.py", "input_record record_reader"),
    "selftest": Room("runtime/selftest.py", "selftest_tolerance selftest"),
    "advice": Room(
        "toolkit/measurement/benchmarking/advice.py "
        "toolkit/measurement/benchmarking/expected.py "
        "toolkit/measurement/benchmarking/remarks.py",
        "advice",
    ),
    "recommendation": Room("toolkit/stats/choice.py", "choice posterior advice"),
    "source check": Room(
        "toolkit/conversion/source_check.py toolkit/stats/metrics.py",
        "source_check remarks",
    ),
    "more": Room("toolkit/measurement/benchmarking/more.py", "benchmark_more"),
    "formats": Room(
        "toolkit/data/readers/idx.py toolkit/data/readers/npz.py toolkit/text.py", "data_npz data_idx data text"
    ),
    "archive": Room("toolkit/shipping/bundles/archive.py toolkit/shipping/bundles/verify.py", "archive"),
    "expected": Room(
        "toolkit/measurement/benchmarking/expected.py toolkit/measurement/benchmarking/accuracy.py", "expected accepted"
    ),
    "temperature": Room("converters/numeric/metrics.py", "temperature"),
    "acceptance": Room(
        "runtime/acceptance.py toolkit/stats/acceptance.py toolkit/measurement/calibrating/fit.py",
        "acceptance promises calibration_fit accepted",
    ),
    "calibrating": Room(
        "toolkit/measurement/calibrating/calibrate.py toolkit/measurement/calibrating/references.py",
        "calibrate_steps calibration_references calibration_fit drift calibrate",
    ),
    "drift": Room("runtime/drift.py runtime/scenes.py", "drift drift_watch scenes drift_proof"),
    "keeping": Room("runtime/keeping.py", "keeping"),
    "collecting": Room("toolkit/shipping/boards/collect.py", "collect"),
    "labelling": Room("toolkit/improvement/labelling/*.py", "labelling label"),
    "improving": Room("toolkit/improvement/improving/*.py", "improving improving_steps"),
    "compression": Room(
        "toolkit/search/compression/trial.py toolkit/search/compression/search.py",
        "trial compress",
    ),
    "sweeping": Room(SWEEPING, "search sweep_plan"),
    "publishing": Room(PUBLISHING, "release_entries publishing publishing_dates publishing_keys"),
    "published": Room(
        "toolkit/shipping/published/*.py", "publishing_trust published published_commands publishing_keys"
    ),
    "roots": Room("runtime/updates/roots.py runtime/updates/confirm.py", "update_sources updates update_steps"),
    "multi-label": Room(
        "toolkit/truth.py toolkit/stats/multilabel.py toolkit/data/npz_labels.py",
        "multilabel_metrics multilabel_data data_npz data",
    ),
    "few items": Room("toolkit/training/features.py toolkit/stats/metrics.py", "few_items"),
    "updates": Room(
        "runtime/updates/releases.py runtime/updates/state.py",
        "releases release_lists update_state publishing publishing_dates",
    ),
    "installing": Room(INSTALLING, "releases update_confirm update_installer update_steps"),
    "watching": Room("runtime/updates/watch.py", "watch_limits"),
    "shadow": Room("runtime/updates/shadow.py", "shadow_limits"),
    "arithmetic": Room("converters/to_c/arithmetic.py", "c_bounds c_arithmetic to_c_sums to_c"),
    "functions and pairs": Room(
        "converters/to_c/lookup.py converters/to_c/elementwise.py", "to_c_lookup to_c_quotients to_c_refusals to_c"
    ),
    "placement": Room(
        "converters/to_c/placement.py converters/to_c/passes.py",
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
    "retraining": Room("toolkit/training/graphs/sizes.py", "retraining_sizes"),
    "rewrites": Room("converters/rewrites/*/*.py", "*"),
}
"""Rooms by name: what computes and decides."""
