"""A copy of a run that can be published: every file is read, checked, scrubbed and written anew."""

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save

from residua import files
from residua.config import Config
from residua.integrations.hub.private import PrivateText, public_recipe
from residua.recipes.recipe import Recipe
from residua.runs import artifacts
from residua.runs.artifacts import Predictions
from residua.runs.checkpoint import Checkpoint
from residua.runs.environment import RunEnvironment
from residua.runs.model_file import Which, load_model, model_paths, sign_model
from residua.runs.outbox import link_or_copy
from residua.runs.records import EpochRecord
from residua.runs.run import Run

Value = TypeVar("Value", bound=Config)


def copy_public_run(source: Run, folder: Path, private: PrivateText, checkpoints: bool) -> Run:
    """Copy a run without what is private.

    Fields that this version does not know are left out. The pictures of a data set that is the
    user's own are left out too.

    Args:
        source: the run.
        folder: where to; empty.
        private: what is replaced.
        checkpoints: whether checkpoints are copied.

    Raises:
        UserError: a file of the run is damaged.
    """
    recipe, log = public_recipe(source.recipe, private), source.log
    target = Run.create(folder)
    environment = source.environment
    if environment != RunEnvironment():
        target.write_json("environment.json", _public_environment(environment, private))
    target.write_json("data.json", source.data.replace(skipped=()))  # Names of own files.
    target.rewrite_log([_scrubbed(record, private) for record in log])
    if (result := source.result) is not None:
        changes = tuple(private.scrub(text) for text in result.environment_changes)
        target.write_json(
            "result.json", result.replace(recipe=recipe.name, environment_changes=changes)
        )
    target.write_recipe(recipe)
    whiches: tuple[Which, ...] = ("best", "last")
    for which in whiches:
        if all(path.is_file() for path in model_paths(source.path, which)):
            _copy_model(source, target, which, recipe)
    _copy_artifacts(source, target, has_own_pictures(recipe))
    if checkpoints:
        for path in (source.best_checkpoint, *source.checkpoints[-1:]):
            if path.is_file():
                _copy_checkpoint(path, target.checkpoint_dir / path.name, recipe, private)
    return target


def has_own_pictures(recipe: Recipe) -> bool:
    """Whether the data set is the user's own: its pictures are not published."""
    return recipe.data.kind not in ("cifar100", "cifar10", "shapes100")


def _public_environment(environment: RunEnvironment, private: PrivateText) -> RunEnvironment:
    """Without command lines; they contain paths."""
    resumed = tuple(each.replace(command=()) for each in environment.resumed)
    return _scrubbed(environment.replace(command=(), resumed=resumed), private)


def _scrubbed(value: Value, private: PrivateText) -> Value:
    return type(value).model_validate(private.scrub_tree(value.model_dump()))


def _copy_model(source: Run, target: Run, which: Which, recipe: Recipe) -> None:
    network, info = load_model(source.path, which)
    weights, description = model_paths(target.path, which)
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    files.write_atomic(weights, save(tensors, {"format": "pt"}))
    target.write_json(description.name, sign_model(info.replace(recipe=recipe), tensors))


def _copy_artifacts(source: Run, target: Run, own_pictures: bool) -> None:
    """What the report is drawn from; of own pictures, only the figures."""
    for path in source.artifact_dir.glob("*.safetensors"):
        if not own_pictures or path.name == "filters.safetensors":
            link_or_copy(path, target.artifact_dir / path.name)
    if own_pictures and (predictions := artifacts.load_predictions(source)) is not None:
        artifacts.save_predictions(target, _without_pictures(predictions))


def _without_pictures(predictions: Predictions) -> Predictions:
    none = torch.zeros(0, dtype=torch.int64)
    return Predictions(
        labels=predictions.labels,
        last=predictions.last,
        best=predictions.best,
        mistakes=none,
        confidence=none.float(),
        images=predictions.images[:0],
        classes=predictions.classes,
    )


def _copy_checkpoint(source: Path, target: Path, recipe: Recipe, private: PrivateText) -> None:
    checkpoint = Checkpoint.load(source)
    history: tuple[EpochRecord, ...] = checkpoint.metadata.history
    metadata = checkpoint.metadata.replace(
        recipe=recipe, history=tuple(_scrubbed(record, private) for record in history)
    )
    Checkpoint(checkpoint.tensors, metadata).save(target)
