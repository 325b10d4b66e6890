"""A trained run, the repository made from it, and a fake Hub with the real client."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_hub import TOKEN, FakeHub

from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.training.loop import fit

RECIPE = {
    "name": "tiny",
    "data": {"kind": "shapes100", "train": 200, "test": 100},
    "augmentation": [{"kind": "crop", "padding": 2}, {"kind": "flip"}],
    "architecture": {"stem": {"kind": "conv", "width": 4}, "depths": [1, 1], "widths": [4, 8]},
    "optimizer": {"kind": "sgd", "lr": {"kind": "linear", "start": 0.1, "end": 0.5}},
    "epochs": 3,
    "batch_size": 64,
    "keep_checkpoints": 2,
    "device": "cpu",
    "precision": "float32",
}


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe.model_validate(RECIPE)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Run:
    """A finished run; tests copy it before they change it."""
    return fit(recipe, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, trained: Run) -> Path:
    """The files that are uploaded of the run."""
    from residua.integrations.hub.repository import Contents, write_repository

    contents = Contents("alice/tiny", "mit", checkpoints=True)
    return write_repository(trained, tmp_path_factory.mktemp("hub") / ".repository", contents)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A fake Hub that the client talks to, with a token and a cache of its own."""
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    with FakeHub() as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield fake


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the client would have waited between its own attempts."""
    http = pytest.importorskip("huggingface_hub.utils._http")
    waited: list[float] = []

    class Clock:
        sleep: Callable[[float], None] = staticmethod(waited.append)

        def __getattr__(self, name: str) -> object:
            import time

            return getattr(time, name)

    monkeypatch.setattr(http, "time", Clock())
    return waited
