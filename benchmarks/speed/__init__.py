"""How fast a training is on this machine, against the loop that people write and a product."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import torch

from residua.augment import Augmentation
from residua.devices import select_device
from residua.models import training_flops
from residua.recipes.recipe import Recipe
from residua.runs.environment import environment
from speed.contender import (
    AUGMENTER,
    BFLOAT16,
    COMPILED,
    CUDA_GRAPH_MODES,
    INPUT,
    OURS,
    PLAIN,
    PRODUCT,
    Contender,
)
from speed.figures import Bench, Race
from speed.product import flops
from speed.race import Effort, race
from speed.systems import (
    COMMON,
    RESNET20,
    comparable,
    images,
    system,
)
from speed.table import tables

__all__ = ["Bench", "Contender", "Effort", "bench", "keep", "keep_json", "tables", "trainers"]


def trainers(device: str, compiled: bool) -> tuple[Contender, ...]:
    """Who trains on a device, as a recipe has it, without further programs."""
    graphs = (CUDA_GRAPH_MODES,) if select_device(device).type == "cuda" else ()
    native = select_device(device).type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return (
        OURS,
        *((COMPILED, *graphs) if compiled else ()),
        *((BFLOAT16,) if native else ()),
        PLAIN,
    )


def bench(
    systems: Sequence[str],
    contenders: Sequence[Contender],
    augmenters: Sequence[Contender],
    effort: Effort,
    batch_size: int = 128,
    device: str = "auto",
    precision: str = "auto",
    say: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Race our training of some systems against others', and our augmentation.

    Args:
        systems: names of recipes, files, or resnet20.
        contenders: who trains; those who break down at their start are left out.
        augmenters: who augments, besides ours; nobody, and ours does not either.
        effort: how much is measured.
        batch_size: images a step.
        device: where, as a recipe has it.
        precision: as a recipe has it; `auto` is bfloat16 on a GPU, float32 elsewhere.
        say: is told what is going on.

    Raises:
        UserError: there is no such system or device; a contender broke down between its laps.
    """
    where = select_device(device)
    if precision == "auto":
        precision = "bfloat16" if where.type == "cuda" else "float32"
    recipes, data = [system(name) for name in systems], images()
    skipped: list[str] = []

    def raced(recipe: Recipe, contenders: Sequence[Contender]) -> Race:
        result, broken = race(recipe, contenders, effort, say)
        skipped.extend(broken)
        return result

    def trained(recipe: Recipe) -> Race:
        work = comparable(recipe, data, batch_size, str(where), precision)
        own = INPUT.given({"augmentation": recipe.augmentation})
        network = work.architecture.build(data.class_count)
        weights = sum(weight.numel() for weight in network.parameters())
        figures = {"parameters": weights, "flops": batch_size * training_flops(network)}
        return raced(work, [*contenders, own, PRODUCT]).model_copy(update=figures)

    def augmented(operations: tuple[Augmentation, ...]) -> Race:
        work = comparable(RESNET20, data, batch_size, str(where), precision)
        name = "-".join(operation.kind for operation in operations)
        changes = {"name": name, "augmentation": operations}
        others = [replace(each, restarts=False) for each in augmenters]
        return raced(work.model_copy(update=changes), [AUGMENTER, *others])

    return Bench(
        environment=environment(where, seed=0),
        data=data.kind,
        product_flops=flops(where),
        races=tuple(map(trained, recipes)),
        augmentations=tuple(map(augmented, (COMMON[:2], COMMON))) if augmenters else (),
        skipped=tuple(skipped),
    )


def keep(figures: Bench, directory: Path) -> Path:
    """Write a benchmark to a new file of the directory, named after machine and date."""
    return keep_json(figures.model_dump_json(indent=1), figures.environment, directory)


def keep_json(text: str, environment: Mapping[str, Any], directory: Path, kind: str = "") -> Path:
    """Write what was measured in an environment to a new file of the directory.

    It is named after what it holds, where that is said, and after machine and date.
    """
    device, threads = environment["device"], environment["threads"]
    machine = environment["processor"] if device.startswith("cpu") else device
    words = f"{kind} {machine} {threads} threads {environment['started'][:10]}".lower()
    name = re.sub(r"[^a-z0-9]+", "-", words).strip("-")
    directory.mkdir(parents=True, exist_ok=True)
    paths = (directory / f"{name}{f'-{number}' if number else ''}.json" for number in count())
    path = next(path for path in paths if not path.exists())
    path.write_text(text + "\n", encoding="utf-8")
    return path
