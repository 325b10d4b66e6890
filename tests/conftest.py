"""Fixtures every test may ask for."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, settings

import residua
from residua.recipes.loading import apply_overrides, parse_recipe
from residua.recipes.recipe import Recipe
from residua.runs.run import Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A busy machine is no reason to fail.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("unhurried"), max_examples=3000)
settings.load_profile("unhurried")
pytest.register_assert_rewrite("equal_runs")
os.environ["RESIDUA_PICTURE_CACHE"] = "off"
torch.set_num_threads(1 if os.environ.get("PYTEST_XDIST_WORKER") else 2)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=3, help="how often trainings are killed")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked with an optional module that is not installed here, or with chromium."""
    for mark in item.iter_markers("extra"):
        for module in mark.args:
            if module == "chromium":
                if shutil.which("chromium") is None:
                    pytest.skip("the program chromium is not installed")
            else:
                pytest.importorskip(module)


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Headless chromium of the system; mark the test `extra("playwright", "chromium")`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=[*options, "--disable-sync"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of a narrow `quickstart` on 200 generated images; do not change it."""
    words = ["--epochs", "2", "--data.train", "200", "--data.test", "100", "--device", "cpu"]
    narrow = ["--architecture.widths", "[4, 8, 8]", "--architecture.stem.width", "4"]
    path = tmp_path_factory.mktemp("small_run") / "run"
    return residua.fit(residua.resolve("quickstart", [*words, *narrow]), path)


@pytest.fixture(scope="session")
def cifar100_root() -> Path:
    """The folder that holds cifar-100-python; the test is skipped where there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "residua"
    root = Path(os.environ.get("RESIDUA_DATA", cache))
    if not (root / "cifar-100-python" / "train").is_file():
        pytest.skip(f"no CIFAR-100 under {root}: run `residua data get cifar100`")
    return root


TINY = {
    "name": "tiny",
    "data": {"kind": "shapes100", "train": 200, "test": 100},
    "augmentation": [{"kind": "crop", "padding": 2}, {"kind": "flip"}],
    "architecture": {
        "stem": {"kind": "conv", "width": 4},
        "depths": [1, 1],
        "widths": [4, 8],
    },
    "optimizer": {"kind": "sgd", "lr": {"kind": "cosine", "start": 0.1}, "weight_decay": 1e-4},
    "epochs": 3,
    "batch_size": 64,
    "device": "cpu",
    "precision": "float32",
}


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Recipe]:
    """A recipe that trains in a second; give it fields to change, dots as double underscores."""

    def changed(**changes: Any) -> Recipe:
        pairs = [(path.replace("__", "."), value) for path, value in changes.items()]
        return parse_recipe(apply_overrides(TINY, pairs))

    return changed
