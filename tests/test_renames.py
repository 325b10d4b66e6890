"""Old names and new names of recipes and of a run's files translate into each other."""

import runpy
from pathlib import Path
from typing import Any

import pytest

RENAMES = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks/renames.py"))
to_new, to_old = RENAMES["to_new"], RENAMES["to_old"]

PHASES_OLD = {
    "kind": "phases",
    "until": [1, 2, 3, 4, 5],
    "numbers": [
        {"kind": "linear", "start": 0.01, "end": 0.1, "per": "step"},
        {"kind": "warm_restarts", "start": 0.1, "period": 2, "growth": 1.5, "per": "epoch"},
        {"kind": "steps", "start": 0.1, "milestones": [1], "factor": 0.5},
        {"kind": "plateau", "start": 0.1, "factor": 0.5, "minimum": 0.01},
        {"kind": "exponential", "start": 0.1, "end": 0.01, "per": "epoch"},
        {
            "kind": "phases",
            "until": [1],
            "numbers": [{"kind": "cosine", "start": 1, "per": "epoch"}, 0.1],
        },
    ],
}
PHASES_NEW = {
    "kind": "phases",
    "boundaries": [1, 2, 3, 4, 5],
    "values": [
        {"kind": "linear", "start": 0.01, "end": 0.1, "interval": "step"},
        {"kind": "warm_restarts", "start": 0.1, "t_0": 2, "t_mult": 1.5, "interval": "epoch"},
        {"kind": "multi_step", "start": 0.1, "milestones": [1], "gamma": 0.5},
        {"kind": "plateau", "start": 0.1, "factor": 0.5, "min_value": 0.01},
        {"kind": "exponential", "start": 0.1, "end": 0.01, "interval": "epoch"},
        {
            "kind": "phases",
            "boundaries": [1],
            "values": [{"kind": "cosine", "start": 1, "interval": "epoch"}, 0.1],
        },
    ],
}
OLD: dict[str, Any] = {
    "name": "all",
    "data": {"kind": "shapes100", "train": 300},
    "normalise": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    "augmentation": [
        {"kind": "affine", "scale": [PHASES_OLD, 1.1]},
        {"kind": "rand_augment", "number": 3, "magnitude": 9},
        {"kind": "cutout", "size": 8},
    ],
    "architecture": {
        "stem": {"kind": "convolution", "width": 8, "norm": True},
        "block": {"kind": "plain", "convolutions": 2, "dropout": PHASES_OLD},
        "shortcut": {"kind": "projection", "norm": False},
        "pooling": {"kind": "max", "size": 4},
        "norm_momentum": 0.4,
        "norm_gain": False,
        "head_deviation": 0.1,
        "initialisation": "he_normal",
    },
    "optimizer": {
        "kind": "muon",
        "lr": PHASES_OLD,
        "iterations": 3,
        "rescaled": True,
        "rest": {"kind": "sgd", "lr": PHASES_OLD, "decayed": "weights"},
    },
    "sharpness": {"kind": "sam", "rho": 0.05},
    "average": {"kind": "swa", "start": 2, "images": 100},
    "clip_norm": 1.0,
    "on_divergence": {"kind": "roll_back", "factor": 0.5, "times": 2},
    "accumulate": 2,
    "last_batch": "drop",
    "views": "mirrored",
    "keep_last": 2,
    "target": 75,
    "early_stopping": {"patience": 2, "after": 3},
}
NEW: dict[str, Any] = {
    "name": "all",
    "data": {"kind": "shapes100", "train": 300},
    "normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    "augmentation": [
        {"kind": "affine", "scale": [PHASES_NEW, 1.1]},
        {"kind": "rand_augment", "num_ops": 3, "magnitude": 9},
        {"kind": "cutout", "size": 8},
    ],
    "architecture": {
        "stem": {"kind": "conv", "width": 8, "norm": True},
        "block": {"kind": "conv", "num_convs": 2, "dropout": PHASES_NEW},
        "shortcut": {"kind": "projection", "norm": False},
        "pooling": {"kind": "max", "kernel_size": 4},
        "norm": {"kind": "batch", "momentum": 0.4, "scale": False},
        "head_init_std": 0.1,
        "initialization": "kaiming_normal",
    },
    "optimizer": {
        "kind": "muon",
        "lr": PHASES_NEW,
        "ns_steps": 3,
        "normalize_weights": True,
        "aux": {"kind": "sgd", "lr": PHASES_NEW, "decay_filter": "weights"},
    },
    "sam": {"kind": "sam", "rho": 0.05},
    "weight_average": {"kind": "swa", "start_epoch": 2, "bn_images": 100},
    "max_grad_norm": 1.0,
    "on_divergence": {"kind": "roll_back", "factor": 0.5, "max_rollbacks": 2},
    "gradient_accumulation": 2,
    "drop_last": True,
    "tta": "mirror",
    "keep_checkpoints": 2,
    "target_accuracy": 75,
    "early_stopping": {"patience": 2, "start_epoch": 3},
}
OTHERS = [
    ({"block": {"kind": "basic", "activated": False}},
     {"block": {"kind": "basic", "final_activation": False}}),
    ({"block": {"kind": "preactivation", "skip": "input"}},
     {"block": {"kind": "preact", "shortcut_input": "input"}}),
    ({"block": {"kind": "bottleneck", "inner": 0.5}},
     {"block": {"kind": "bottleneck", "inner_ratio": 0.5}}),
    ({"stem": {"kind": "whitened", "kernel": 2}}, {"stem": {"kind": "whitening", "kernel": 2}}),
    ({"initialisation": "identity"}, {"initialization": "dirac"}),
    ({"initialisation": "torch"}, {"initialization": "torch"}),
]  # fmt: skip


def test_a_recipe_with_every_renamed_field_translates_both_ways() -> None:
    assert to_new("recipe.json", OLD) == NEW
    assert to_old("recipe.json", NEW) == OLD


@pytest.mark.parametrize(("old", "new"), OTHERS)
def test_other_blocks_stems_and_initializations_translate_both_ways(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert to_new("recipe.json", {"architecture": old}) == {"architecture": new}
    assert to_old("recipe.json", {"architecture": new}) == {"architecture": old}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"views": "single", "last_batch": "keep"}, {"tta": "none", "drop_last": False}),
        ({"views": "translated"}, {"tta": "mirror_translate"}),
        ({"target": None, "average": None}, {"target_accuracy": None, "weight_average": None}),
    ],
)
def test_renamed_values_and_empty_fields_translate_both_ways(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert to_new("recipe.json", old) == new
    assert to_old("recipe.json", new) == old


def test_the_tested_recipes_hold_every_renamed_field() -> None:
    text = repr((OLD, OTHERS))
    kinds = RENAMES["KINDS"].items()
    fields = [name for _, (_, renamed) in kinds for name in renamed] + list(RENAMES["NORM"])
    fields += [kind for kind, _ in kinds]
    for place in ("recipe.json", "architecture", "early_stopping"):
        fields += RENAMES["FIELDS"][place]
    assert [name for name in fields if f"'{name}'" not in text] == []


@pytest.mark.parametrize(
    ("document", "old", "new"),
    [
        (
            "result.json",
            {
                "selected_on": "test",
                "views": "translated",
                "best_lost": None,
                "target": 75,
                "target_reached_in_epoch": 3,
                "last": {"test_accuracy": 70.0},
            },
            {
                "selection_split": "test",
                "tta": "mirror_translate",
                "lost_best_epoch": None,
                "target_accuracy": 75,
                "target_epoch": 3,
                "last": {"test_accuracy": 70.0},
            },
        ),
        ("data.json", {"normalisation": {"mean": [0.5]}}, {"normalization": {"mean": [0.5]}}),
        ("checkpoint", {"step": 8, "left_out": 1}, {"step": 8, "skipped_steps": 1}),
    ],
)
def test_the_other_files_of_a_run_translate_both_ways(
    document: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert to_new(document, old) == new
    assert to_old(document, new) == old


@pytest.mark.parametrize("norm", [{"kind": "none"}, {"kind": "group", "groups": 4}])
def test_a_normalization_without_old_name_is_refused(norm: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has no old name"):
        to_old("recipe.json", {"architecture": {"norm": norm}})
