"""A valid input for every target: what fuzzing starts from."""

import io
import json
import pickle
import tarfile

import numpy as np
import targets
import torch
from safetensors.torch import save

from residua import load
from residua.inference.export import export_info
from residua.inference.exported_file import save_exported
from residua.recipes.built_in import built_in, names

RECIPES = [targets.TINY, *(built_in(name).model_dump(mode="json") for name in names())]
RECORD = targets.RECORD.model_dump(mode="json", exclude_defaults=True)
FIGURES = {"epoch": 1, "test_loss": 1.0, "test_accuracy": 3.0, "test_top5": 9.0}
RESULT = {
    "epochs": 1, "epochs_planned": 2, "selection_split": "test", "last": FIGURES, "best": FIGURES,
}  # fmt: skip
CHECKPOINT_METADATA = {
    "step": 4, "seconds": 1.0, "rollbacks": 0, "optimizer": "SGD", "history": [RECORD],
    "scaler": {},
}  # fmt: skip


def archive_file() -> bytes:
    """A pickle with arrays and names, like those of the data sets."""
    pixels = np.zeros((2, 3072), dtype=np.uint8)
    content = {
        b"data": pixels, b"fine_labels": [0, 1], b"coarse_labels": [0, 0],
        b"fine_label_names": [b"a", b"b"], b"coarse_label_names": [b"c"],
    }  # fmt: skip
    return pickle.dumps(content, 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def tar(members: list[tuple[str, bytes]]) -> bytes:
    """A compressed archive of these names and types."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, kind in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, "../../outside", 4
            archive.addfile(entry, io.BytesIO(b"evil"))
    return stream.getvalue()


def checkpoint() -> bytes:
    tensors = targets.checkpoint_tensors(targets.training()[1])
    return targets.signed_checkpoint(tensors, json.dumps(CHECKPOINT_METADATA))


def samples() -> dict[str, torch.Tensor]:
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    return {"originals": images, "augmented": images.clone(), "labels": torch.tensor([0, 1])}


def exported_model() -> bytes:
    model = load(targets.run(), device="cpu")
    path = targets.DIRECTORY / "valid.safetensors"
    tensors = {name: value.contiguous() for name, value in model.network.state_dict().items()}
    save_exported(path, tensors, export_info(model, "safetensors"))
    return path.read_bytes()


FILES = {
    targets.yaml: b"base: resnet34\nepochs: 3\noptimizer: {lr: &x 0.1, momentum: *x}\n",
    targets.toml: b'name = "x"\nepochs = 3\n[optimizer]\nkind = "sgd"\nlr = 0.1\n',
    targets.json_recipe: json.dumps(targets.TINY).encode(),
    targets.archive_file: archive_file(),
    targets.download_archive: tar([("cifar-100-python/other", tarfile.REGTYPE)]),
    targets.log: json.dumps(RECORD).encode() + b"\n",
    targets.json_files: json.dumps(RESULT).encode(),
    targets.checkpoint: checkpoint(),
    targets.model_weights: (targets.run().path / "model.safetensors").read_bytes(),
    targets.model_description: (targets.run().path / "model.json").read_bytes(),
    targets.exported_model: exported_model(),
    targets.artifacts: save(samples(), {"classes": json.dumps(["a", "b"])}),
}
