"""Changes of the `tiny` recipe that together use every feature of a training.

`test_every_field_of_the_resumption_tests_has_an_effect` checks that none of them is idle.
"""

EVERYTHING = {
    "augmentation": [
        {"kind": "crop", "mode": "reflect"},
        {"kind": "alternating_flip"},
        {"kind": "affine", "degrees": 10, "p": 0.5},
        {"kind": "color_jitter", "brightness": 0.2, "hue": 0.1},
        {"kind": "random_erasing", "fill": "noise"},
        {"kind": "mixup", "alpha": 0.2, "p": 0.5},
        {"kind": "cutmix", "p": {"kind": "phases", "boundaries": [1], "values": [1.0, 0.2]}},
    ],
    "architecture__dropout": {"kind": "linear", "start": 0.4, "end": 0.1},
    "architecture__stem__dropout": 0.1,
    "architecture__attention": {"kind": "squeeze_excitation"},
    "optimizer__momentum": {"kind": "linear", "start": 0.95, "end": 0.85},
    "optimizer__nesterov": True,
    "weight_average": {"kind": "ema", "decay": 0.8},
    "max_grad_norm": 0.1,
    "data__holdout": 40,
    "image_size": {"kind": "phases", "boundaries": [1], "values": [16, 32]},
    "loss__label_smoothing": 0.1,
    "gradient_accumulation": 3,
}
SHORT = {
    "augmentation": [{"kind": "alternating_flip"}],
    "architecture": {
        "stem": {"kind": "whitening", "bias_epochs": 2},
        "depths": [1, 1],
        "widths": [8, 12],
        "strides": [2, 2],
        "block": {"kind": "conv"},
        "downsampling": "pooled",
        "activation": "silu",
        "norm": {"kind": "batch", "scale": False},
        "initialization": "dirac",
    },
    "optimizer": {
        "kind": "muon",
        "lr": {"kind": "linear", "start": 0.2, "end": 0},
        "aux": {"bias_lr_scale": 8, "nesterov": True},
    },
    "weight_average": {"kind": "lookahead", "interval": 3},
    "precision": "bfloat16",
    "drop_last": True,
}
SHARP = {
    "augmentation": [
        {"kind": "flip"},
        {"kind": "rand_augment", "magnitude": {"kind": "linear", "start": 0, "end": 20}},
        {"kind": "trivial_augment", "mode": "reflect"},
        {"kind": "auto_augment"},
        {"kind": "cutmix"},
    ],
    "architecture__attention": {"kind": "cbam"},
    "architecture__dropout": 0.2,
    "architecture__stochastic_depth": {"kind": "linear", "start": 0.5, "end": 0.2},
    "architecture__shake_drop": 0.4,
    "sam": {"kind": "sam", "rho": {"kind": "phases", "boundaries": [1], "values": [0.05, 0.1]}},
    "weight_average": {"kind": "swa", "start_epoch": 1, "bn_images": 130},
    "optimizer__lr": {"kind": "warm_restarts", "start": 0.1, "t_0": 1},
    "max_grad_norm": 0.1,
}
WAITING = {
    "optimizer__lr": {
        "kind": "plateau",
        "start": 0.1,
        "factor": 0.5,
        "patience": 0,
        "threshold": 9,
    },
    "early_stopping": {"patience": 3, "min_delta": 50.0},
    "augmentation": [
        {"kind": "color_jitter", "contrast": 0.4, "saturation": 0.4},
        {"kind": "cutout", "size": 8},
        {"kind": "coarse_dropout", "size": 8},
    ],
    "epochs": 5,
}
ADAPTIVE = {
    "augmentation": [{"kind": "flip"}, {"kind": "mixup", "alpha": 0.5}],
    "architecture__norm": {"kind": "group", "groups": 2},
    "architecture__dropout": 0.1,
    "optimizer": {
        "kind": "adamw",
        "lr": {"kind": "cosine", "start": 0.01},
        "weight_decay": 0.1,
        "decay_filter": "weights",
    },
    "weight_average": {"kind": "ema", "decay": 0.5},
    "loss__label_smoothing": 0.1,
}
BALANCED = {
    "augmentation": [{"kind": "flip"}],
    "sampler": "balanced",
    "loss__class_weights": {"plain disc": 5.0},
}
FEATURE_SETS = {
    "everything": EVERYTHING,
    "short": SHORT,
    "sharp": SHARP,
    "waiting": WAITING,
    "adaptive": ADAPTIVE,
    "balanced": BALANCED,
}
