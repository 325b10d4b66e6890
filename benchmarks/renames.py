"""Names that commit 99f4eba used, and the names that replaced them, in all files of a run.

`to_new` and `to_old` translate the parsed content of recipe.json (or of a recipe file), of
result.json, of data.json and of a checkpoint's metadata. log.jsonl kept its keys. A value with a
`kind` is recognised by it, wherever it stands, so a recipe file has to state its kinds.
"""

from typing import Any, Literal

Tree = Any
"""What JSON can hold: dictionaries, lists, strings, numbers, booleans, None."""
Document = Literal["recipe.json", "result.json", "data.json", "checkpoint"]

FOLDERS = {"evidence": "artifacts"}
"""Folders of a run: old name to new name."""
TENSORS = {"tally": "metrics"}
"""Tensors of a checkpoint: old name to new name."""

INTERVAL = {"per": "interval"}
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "basic": ("basic", {"activated": "final_activation"}),
    "bottleneck": ("bottleneck", {"inner": "inner_ratio"}),
    "convolution": ("conv", {}),
    "cosine": ("cosine", INTERVAL),
    "exponential": ("exponential", INTERVAL),
    "linear": ("linear", INTERVAL),
    "max": ("max", {"size": "kernel_size"}),
    "muon": ("muon", {"iterations": "ns_steps", "rescaled": "normalize_weights", "rest": "aux"}),
    "phases": ("phases", {"until": "boundaries", "numbers": "values"}),
    "plain": ("conv", {"convolutions": "num_convs"}),
    "plateau": ("plateau", {"minimum": "min_value"}),
    "preactivation": ("preact", {"skip": "shortcut_input"}),
    "rand_augment": ("rand_augment", {"number": "num_ops"}),
    "roll_back": ("roll_back", {"times": "max_rollbacks"}),
    "sgd": ("sgd", {"decayed": "decay_filter"}),
    "steps": ("multi_step", {"factor": "gamma"}),
    "swa": ("swa", {"start": "start_epoch", "images": "bn_images"}),
    "warm_restarts": ("warm_restarts", {"period": "t_0", "growth": "t_mult"} | INTERVAL),
    "whitened": ("whitening", {}),
}
"""Old kind to new kind and, of its fields, old name to new name."""

FIELDS: dict[str, dict[str, str]] = {
    "recipe.json": {
        "normalise": "normalization",
        "sharpness": "sam",
        "average": "weight_average",
        "views": "tta",
        "accumulate": "gradient_accumulation",
        "clip_norm": "max_grad_norm",
        "keep_last": "keep_checkpoints",
        "last_batch": "drop_last",
        "target": "target_accuracy",
    },
    "architecture": {"initialisation": "initialization", "head_deviation": "head_init_std"},
    "early_stopping": {"after": "start_epoch"},
    "result.json": {
        "selected_on": "selection_split",
        "views": "tta",
        "best_lost": "lost_best_epoch",
        "target": "target_accuracy",
        "target_reached_in_epoch": "target_epoch",
    },
    "data.json": {"normalisation": "normalization"},
    "checkpoint": {"left_out": "skipped_steps"},
}
"""Of a document, or a field whose value has no kind: old field to new field."""

VALUES: dict[str, dict[str | bool, str | bool]] = {
    "views": {"single": "none", "mirrored": "mirror", "translated": "mirror_translate"},
    "initialisation": {"he_normal": "kaiming_normal", "identity": "dirac"},
    "last_batch": {"keep": False, "drop": True},
}
"""Old field to the values that were renamed: old value to new value."""

NORM = {"norm_momentum": "momentum", "norm_gain": "scale"}
"""Old fields of an architecture to fields of its new field `norm`, of kind `batch`."""


def to_new(document: Document, tree: Tree) -> Tree:
    """Translate a parsed document from old names to new names."""
    return _renamed(tree, document, back=False)


def to_old(document: Document, tree: Tree) -> Tree:
    """Translate a parsed document from new names to old names.

    Raises:
        ValueError: the architecture has another normalization than batch normalization, for which
            there is no old name.
    """
    return _renamed(tree, document, back=True)


def _renamed(tree: Tree, place: str, back: bool) -> Tree:
    """Translate a tree that stands in a field called `place`, or is a whole document."""
    if isinstance(tree, list):
        return [_renamed(each, place, back) for each in tree]
    if not isinstance(tree, dict):
        return tree
    kind = str(tree.get("kind"))
    old_kind = _old_kind(kind, place) if back else kind
    new_kind, fields = KINDS.get(old_kind, (old_kind, FIELDS.get(place, {})))
    names: dict[str, str] = _inverse(fields) if back else fields
    renamed: dict[str, Tree] = {}
    for key, value in tree.items():
        name = names.get(key, str(key))
        values = _inverse(VALUES.get(name, {})) if back else VALUES.get(key, {})
        known = isinstance(value, str | bool) and value in values
        renamed[name] = values[value] if known else _renamed(value, key, back)
    if "kind" in tree:
        renamed["kind"] = old_kind if back else new_kind
    if place == "architecture":
        return _split_norm(renamed) if back else _join_norm(renamed)
    return renamed


def _old_kind(kind: str, place: str) -> str:
    if kind == "conv":
        return "plain" if place == "block" else "convolution"
    return {new: old for old, (new, _) in KINDS.items()}.get(kind, kind)


def _join_norm(architecture: dict[str, Tree]) -> dict[str, Tree]:
    norm = {NORM[key]: architecture.pop(key) for key in NORM if key in architecture}
    return architecture | ({"norm": {"kind": "batch", **norm}} if norm else {})


def _split_norm(architecture: dict[str, Tree]) -> dict[str, Tree]:
    norm = architecture.pop("norm", {"kind": "batch"})
    if norm.get("kind") != "batch":
        raise ValueError(f"normalization {norm} has no old name")
    return architecture | {old: norm[new] for old, new in NORM.items() if new in norm}


def _inverse(names: dict[Any, Any]) -> dict[Any, Any]:
    return {new: old for old, new in names.items()}
