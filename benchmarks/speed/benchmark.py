"""Compare training loops, and augmentation libraries, on this machine."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import torch

from residua.augment import Augmentation
from residua.devices import select_device
from residua.models import training_flops
from residua.recipes.recipe import Recipe
from residua.runs.environment import Environment, collect_environment
from speed.comparison import BenchConfig, compare
from speed.entry import (
    AUGMENTER,
    BFLOAT16,
    COMPILED,
    CUDA_GRAPHS,
    INPUT,
    MATMUL,
    OURS,
    PLAIN,
    Entry,
)
from speed.matmul import matmul_flops
from speed.results import Bench, Comparison, machine
from speed.systems import AUGMENTATION, RESNET20, available_data, common_training, system_recipe


def built_in_entries(device: str, compiled: bool) -> tuple[Entry, ...]:
    """The training loops that need no other library.

    Args:
        device: the device, as in a recipe.
        compiled: whether to include compiled networks.
    """
    kind = select_device(device).type
    cuda_graphs = (CUDA_GRAPHS,) if kind == "cuda" else ()
    native_bfloat16 = kind == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return (
        OURS,
        *((COMPILED, *cuda_graphs) if compiled else ()),
        *((BFLOAT16,) if native_bfloat16 else ()),
        PLAIN,
    )


def bench(
    systems: Sequence[str],
    entries: Sequence[Entry],
    augmenters: Sequence[Entry],
    config: BenchConfig,
    batch_size: int = 128,
    device: str = "auto",
    precision: str = "auto",
    progress: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Compare training loops on some networks, and augmentation libraries.

    Args:
        systems: names of recipes, recipe files, or resnet20.
        entries: the training loops; those that fail to start are skipped.
        augmenters: the augmentation libraries; empty to measure no augmentation.
        config: how much to measure.
        batch_size: images per step.
        device: the device, as in a recipe.
        precision: as in a recipe; `auto` is bfloat16 on a GPU and float32 elsewhere.
        progress: is called with a line of text for each stage.

    Raises:
        UserError: there is no such system or device, or an entry failed after its first step.
    """
    torch_device = select_device(device)
    if precision == "auto":
        precision = "bfloat16" if torch_device.type == "cuda" else "float32"
    recipes, data = [system_recipe(name) for name in systems], available_data()
    skipped: list[str] = []

    def measure(recipe: Recipe, entries: Sequence[Entry]) -> Comparison:
        comparison, failed = compare(recipe, entries, config, progress)
        skipped.extend(failed)
        return comparison

    def compare_training(recipe: Recipe) -> Comparison:
        common = common_training(recipe, data, batch_size, str(torch_device), precision)
        input_pipeline = replace(INPUT, changes={"augmentation": recipe.augmentation})
        network = common.architecture.build(data.num_classes)
        comparison = measure(common, [*entries, input_pipeline, MATMUL])
        return Comparison(
            **dict(comparison)
            | {
                "parameters": sum(weight.numel() for weight in network.parameters()),
                "flops": batch_size * training_flops(network),
            }
        )

    def compare_augmentation(operations: tuple[Augmentation, ...]) -> Comparison:
        common = common_training(RESNET20, data, batch_size, str(torch_device), precision)
        name = "-".join(operation.kind for operation in operations)
        recipe = common.replace(name=name, augmentation=operations)
        return measure(recipe, [AUGMENTER, *(replace(each, restarts=False) for each in augmenters)])

    return Bench(
        environment=collect_environment(torch_device, seed=0),
        data=data.kind,
        matmul_flops=matmul_flops(torch_device),
        training=tuple(map(compare_training, recipes)),
        augmentation=tuple(map(compare_augmentation, (AUGMENTATION[:2], AUGMENTATION)))
        if augmenters
        else (),
        skipped=tuple(skipped),
    )


def save_bench(result: Bench, folder: Path) -> Path:
    """Write a benchmark to a new JSON file in a folder, named after machine and date."""
    return save_json(result.model_dump_json(indent=1), result.environment, folder)


def save_json(text: str, environment: Environment, folder: Path, prefix: str = "") -> Path:
    """Write JSON text to a new file in a folder, named after a prefix, the machine and the date."""
    words = f"{prefix} {machine(environment)} {environment.started[:10]}".lower()
    name = re.sub(r"[^a-z0-9]+", "-", words).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    paths = (folder / f"{name}{f'-{number}' if number else ''}.json" for number in count())
    path = next(path for path in paths if not path.exists())
    path.write_text(text + "\n", encoding="utf-8")
    return path
