"""Everything that reads untrusted files: each target takes bytes, and allows only `UserError`."""

import atexit
import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from residua.data import archive, download
from residua.errors import UserError
from residua.inference.sources import read_model
from residua.recipes.loading import parse_recipe, resolve
from residua.recipes.recipe import Recipe
from residua.runs.artifacts import load_filters, load_predictions, load_samples
from residua.runs.checkpoint import tensor_digest
from residua.runs.evaluations import load_corruptions, load_evaluations, load_outputs
from residua.runs.model_file import load_model, save_model
from residua.runs.records import EpochRecord
from residua.runs.run import Run
from residua.training.epoch import model_info
from residua.training.recovery import load_checkpoint
from residua.training.session import TrainingSession, build_training
from residua.training.state import TrainingState

DIRECTORY = Path(tempfile.mkdtemp(prefix="residua-fuzz-"))
atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)
TINY = {
    "name": "tiny",
    "data": {"kind": "shapes100", "train": 20, "test": 10},
    "augmentation": [{"kind": "crop", "padding": 2}, {"kind": "flip"}, {"kind": "cutmix"}],
    "architecture": {
        "stem": {"kind": "conv", "width": 2},
        "depths": [1],
        "widths": [2],
        "attention": {"kind": "cbam", "reduction": 1},
    },
    "optimizer": {"kind": "sgd", "lr": {"kind": "phases", "boundaries": [1], "values": [0.1, 0.2]}},
    "image_size": {"kind": "linear", "start": 16, "end": 32},
    "weight_average": {"kind": "swa", "start_epoch": 1},
    "epochs": 2,
    "batch_size": 10,
    "device": "cpu",
    "precision": "float32",
}
RECORD = EpochRecord(
    epoch=1, step=4, train_loss=4.0, train_accuracy=10.0, lr=0.1, grad_norm=1.0, seconds=2.0,
    images_per_second=1500.0, test_loss=1.0, test_accuracy=3.0, test_top5=9.0,
    grad_norms={"stem": 1.0},
)  # fmt: skip


@functools.cache
def training() -> tuple[TrainingSession, TrainingState]:
    return build_training(parse_recipe(TINY))


@functools.cache
def run() -> Run:
    """A run with a model."""
    created, (session, state) = Run.create(DIRECTORY / "run"), training()
    created.write_recipe(session.recipe)
    save_model(created, state.network, model_info(session, RECORD, {}))
    return created


def checkpoint_tensors(state: TrainingState) -> dict[str, Tensor]:
    """Copies of everything that a checkpoint of this state contains."""
    tensors = state.to_checkpoint().tensors
    return {name: value.clone().contiguous() for name, value in tensors.items()}


def signed_checkpoint(tensors: dict[str, Tensor], metadata: str) -> bytes:
    """A checkpoint of any contents whose checksum is right: anyone can make one."""
    return save(tensors, {"state": metadata, "sha256": tensor_digest(tensors, metadata)})


def signed_model(tensors: dict[str, Tensor], info: dict[str, Any]) -> tuple[bytes, bytes]:
    """model.safetensors and model.json of any contents whose checksum is right."""
    text = json.dumps(info | {"sha256": ""}, sort_keys=True)
    signed = info | {"sha256": tensor_digest(tensors, text)}
    return save(tensors, {"format": "pt"}), json.dumps(signed).encode()


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """A file with another content, for a moment."""
    original = path.read_bytes() if path.exists() else b""
    path.write_bytes(content)
    yield
    path.write_bytes(original)


def tree(content: object) -> None:
    """The fields of a recipe."""
    with suppress(UserError):
        recipe = parse_recipe(content)
        assert isinstance(recipe, Recipe)
        assert parse_recipe(json.loads(recipe.model_dump_json())) == recipe


def recipe_file(content: bytes, suffix: str) -> None:
    """A recipe file."""
    path = DIRECTORY / f"recipe{suffix}"
    path.write_bytes(content)
    with suppress(UserError):
        assert isinstance(resolve(str(path)), Recipe)


def yaml(content: bytes) -> None:
    recipe_file(content, ".yaml")


def toml(content: bytes) -> None:
    recipe_file(content, ".toml")


def json_recipe(content: bytes) -> None:
    recipe_file(content, ".json")


def overrides(*words: str) -> None:
    """Overrides as typed on the command line."""
    with suppress(UserError):
        assert isinstance(resolve("quickstart", words), Recipe)


def archive_file(content: bytes) -> None:
    """A file of an archive, as if it had the right MD5."""
    directory = DIRECTORY / archive.CIFAR100.folder
    directory.mkdir(exist_ok=True)
    md5 = hashlib.md5(content).hexdigest()
    for file in archive.CIFAR100.files:
        (directory / file.name).write_bytes(content)
    train, test, meta = [archive.ArchiveFile(file.name, md5) for file in archive.CIFAR100.files]
    with suppress(UserError):
        archive.load(replace(archive.CIFAR100, train=(train,), test=test, meta=meta), DIRECTORY)


def download_archive(content: bytes) -> None:
    """A downloaded archive, as if it had the right MD5; nothing is written beside its folder."""
    directory = DIRECTORY / "extracted/inside"
    directory.mkdir(parents=True, exist_ok=True)
    (DIRECTORY / "downloaded").write_bytes(content)
    with suppress(UserError):
        download._extract(archive.CIFAR100, DIRECTORY / "downloaded", directory)
    assert [path.name for path in directory.parent.iterdir()] == ["inside"]
    assert not list(directory.iterdir())


def log(content: bytes) -> None:
    (run().path / "log.jsonl").write_bytes(content)
    with suppress(UserError):
        for record in run().log:
            assert record.epoch > 0
            assert 0 <= record.train_accuracy <= 100


def json_files(content: bytes) -> None:
    """The other JSON files of a run."""
    (run().path / "evaluations").mkdir(exist_ok=True)
    for name in ("recipe", "environment", "data", "init", "result", "evaluations"):
        file = "evaluations/test.json" if name == "evaluations" else f"{name}.json"
        with replaced(run().path / file, content), suppress(UserError):
            getattr(run(), name)
    directory = run().path / "evaluations"
    directory.mkdir(exist_ok=True)
    for name, load in (("test", load_evaluations), ("corruptions", load_corruptions)):
        with replaced(directory / f"{name}.json", content), suppress(UserError):
            load(run())


def checkpoint(content: bytes) -> None:
    """A checkpoint: what it contains is loaded completely, or nothing changes."""
    path = DIRECTORY / "checkpoint.safetensors"
    path.write_bytes(content)
    _, state = training()
    with suppress(UserError):
        load_checkpoint(state, path)
        tensors = state.to_checkpoint().tensors
        assert all(value.isfinite().all() for value in tensors.values())


def model(weights: bytes, description: bytes) -> None:
    """A saved model."""
    directory = run().path
    with (
        replaced(directory / "model.safetensors", weights),
        replaced(directory / "model.json", description),
        suppress(UserError),
    ):
        network, info = load_model(directory)
        assert network.network.head[-1].out_features == len(info.classes)


def model_weights(content: bytes) -> None:
    model(content, (run().path / "model.json").read_bytes())


def model_description(content: bytes) -> None:
    model((run().path / "model.safetensors").read_bytes(), content)


def exported_model(content: bytes) -> None:
    """An exported .safetensors file."""
    path = DIRECTORY / "exported.safetensors"
    path.write_bytes(content)
    with suppress(UserError):
        network, info = read_model(path)
        assert network.network.head[-1].out_features == len(info.classes)


def artifacts(content: bytes) -> None:
    """The artifacts of a run."""
    for name in ("samples", "predictions", "filters"):
        (run().artifact_dir / f"{name}.safetensors").write_bytes(content)
    for load in (load_samples, load_predictions, load_filters):
        with suppress(UserError):
            load(run())
    directory = run().path / "evaluations"
    directory.mkdir(exist_ok=True)
    (directory / "test.safetensors").write_bytes(content)
    with suppress(UserError):
        load_outputs(run(), "test")


BYTES = (
    yaml,
    toml,
    json_recipe,
    archive_file,
    download_archive,
    log,
    json_files,
    checkpoint,
    model_weights,
    model_description,
    exported_model,
    artifacts,
)
"""Targets for a fuzzer of bytes."""
