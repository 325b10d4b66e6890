"""A trained run, and a fake Hub with the real client."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_hub import TOKEN, FakeHub

from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.training.loop import fit


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run whose last epoch is not its best, with a checkpoint of each."""
    from conftest import TINY  # type: ignore[import-not-found]

    return fit(Recipe.model_validate(TINY), tmp_path_factory.mktemp("published") / "run")


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
        monkeypatch.setattr(constants, "ENDPOINT", fake.url)
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
