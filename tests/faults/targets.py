"""Everything that reads what a stranger may have made: bytes in, and UserError or nothing out."""

import atexit
import functools
import hashlib
import json
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from residua.data import archive, download
from residua.errors import UserError
from residua.recipes.loading import parse_recipe, resolve
from residua.recipes.recipe import Recipe
from residua.runs import artifacts as artifacts
from residua.runs.run import Run
from residua.training.session import build_training
from residua.training.state import TrainingState, _digest

HOME = Path(tempfile.mkdtemp(prefix="residua-fuzz-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
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
}


@functools.cache
def state() -> TrainingState:
    return build_training(parse_recipe(TINY))[1]


@functools.cache
def run() -> Run:
    made = Run.create(HOME / "run")
    made.record("recipe.json", TINY)
    return made


def tree(content: object) -> None:
    """The fields of a recipe."""
    with suppress(UserError):
        recipe = parse_recipe(content)
        assert isinstance(recipe, Recipe)
        assert parse_recipe(json.loads(recipe.model_dump_json())) == recipe


def recipe_file(content: bytes, suffix: str) -> None:
    """A file that is given as a recipe."""
    path = HOME / f"recipe{suffix}"
    path.write_bytes(content)
    with suppress(UserError):
        assert isinstance(resolve(str(path)), Recipe)


def yaml(content: bytes) -> None:
    recipe_file(content, ".yaml")


def toml(content: bytes) -> None:
    recipe_file(content, ".toml")


def json_recipe(content: bytes) -> None:
    recipe_file(content, ".json")


def words(*given: str) -> None:
    """Overrides, as typed."""
    with suppress(UserError):
        assert isinstance(resolve("quickstart", given), Recipe)


def member(content: bytes) -> None:
    """A file of an archive, as if it had the right MD5."""
    folder = HOME / archive.CIFAR100.folder
    folder.mkdir(exist_ok=True)
    known = hashlib.md5(content).hexdigest()
    for each in archive.CIFAR100.files:
        (folder / each.name).write_bytes(content)
    same = [archive.ArchiveFile(each.name, known) for each in archive.CIFAR100.files]
    made = replace(archive.CIFAR100, train=(same[0],), test=same[1], meta=same[2])
    with suppress(UserError):
        archive.load(made, HOME)


def packed(content: bytes) -> None:
    """A downloaded archive, as if it had the right MD5; nothing is written beside its folder."""
    folder = HOME / "unpacked/inside"
    folder.mkdir(parents=True, exist_ok=True)
    (HOME / "packed").write_bytes(content)
    with suppress(UserError):
        download._extract(archive.CIFAR100, HOME / "packed", folder)
    assert [each.name for each in folder.parent.iterdir()] == ["inside"]
    assert not list(folder.iterdir())


def log(content: bytes) -> None:
    (run().path / "log.jsonl").write_bytes(content)
    with suppress(UserError):
        for record in run().log:
            assert record.epoch > 0
            assert 0 <= record.train_accuracy <= 100


def facts(content: bytes) -> None:
    """The other JSON files of a run."""
    for name in ("recipe.json", "environment.json", "data.json", "result.json"):
        (run().path / name).write_bytes(content)
    for name in ("recipe", "environment", "provenance", "result"):
        with suppress(UserError):
            getattr(run(), name)


def checkpoint(content: bytes) -> None:
    """A checkpoint: what loads is what was saved, else nothing changes."""
    path = HOME / "checkpoint.safetensors"
    path.write_bytes(content)
    with suppress(UserError):
        state().load(path)
        assert all(value.isfinite().all() for _, value in state()._tensors())


def signed(tensors: dict[str, Tensor], rest: str) -> bytes:
    """A checkpoint of these contents whose checksum is right: anyone can make one."""
    return save(tensors, {"state": rest, "sha256": _digest(tensors, rest)})


def proof(content: bytes) -> None:
    """Evidence of a run."""
    for name in ("samples", "predictions", "filters"):
        (run().artifacts / f"{name}.safetensors").write_bytes(content)
    for read in (artifacts.samples, artifacts.predictions, artifacts.filters):
        with suppress(UserError):
            read(run())


BYTES = (yaml, toml, json_recipe, member, packed, log, facts, checkpoint, proof)
"""Those that a fuzzer can be let loose on."""
