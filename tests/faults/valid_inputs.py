"""One sound input for every reader: what fuzzing begins from."""

import io
import json
import pickle
import tarfile

import numpy as np
import targets
import torch
from safetensors.torch import save

from residua.recipes import built_in as recipes

RECIPES = [targets.TINY, *(recipes.built_in(n).model_dump(mode="json") for n in recipes.names())]
RECORD = {
    "epoch": 1, "step": 4, "train_loss": 4.0, "train_accuracy": 10.0, "lr": 0.1, "grad_norm": 1.0,
    "seconds": 2.0, "images_per_second": 1500.0, "test_loss": 1.0, "test_accuracy": 3.0,
    "test_top5": 9.0, "grad_norms": {"stem": 1.0},
}  # fmt: skip
FIGURES = {"epoch": 1, "test_loss": 1.0, "test_accuracy": 3.0, "test_top5": 9.0}
RESULT = {"epochs": 1, "epochs_planned": 2, "selected_on": "test", "last": FIGURES, "best": FIGURES}
REST = {"step": 4, "seconds": 1.0, "rollbacks": 0, "history": [RECORD], "scaler": {}}


def archive() -> bytes:
    """A pickle with arrays and names, as those of the data sets."""
    pixels = np.zeros((2, 3072), dtype=np.uint8)
    content = {
        b"data": pixels, b"fine_labels": [0, 1], b"coarse_labels": [0, 0],
        b"fine_label_names": [b"a", b"b"], b"coarse_label_names": [b"c"],
    }  # fmt: skip
    return pickle.dumps(content, 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def tar(names: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as packed:
        for name, kind in names:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, "../../outside", 4
            packed.addfile(entry, io.BytesIO(b"evil"))
    return stream.getvalue()


def checkpoint() -> bytes:
    tensors = {name: value.clone().contiguous() for name, value in targets.state()._tensors()}
    return targets.signed(tensors, json.dumps(REST))


def samples() -> dict[str, torch.Tensor]:
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    return {"originals": images, "augmented": images.clone(), "labels": torch.tensor([0, 1])}


FILES = {
    targets.yaml: b"base: resnet34\nepochs: 3\noptimizer: {lr: &x 0.1, momentum: *x}\n",
    targets.toml: b'name = "x"\nepochs = 3\n[optimizer]\nkind = "sgd"\nlr = 0.1\n',
    targets.json_recipe: json.dumps(targets.TINY).encode(),
    targets.member: archive(),
    targets.packed: tar([("cifar-100-python/other", tarfile.REGTYPE)]),
    targets.log: json.dumps(RECORD).encode() + b"\n",
    targets.facts: json.dumps(RESULT).encode(),
    targets.checkpoint: checkpoint(),
    targets.proof: save(samples(), {"classes": json.dumps(["a", "b"])}),
}
