"""Models on the Hub are loaded from safetensors and JSON only, cached, and used offline."""

import os
from pathlib import Path

import pytest
import torch
from fake_hub import FakeHub, Fault, local_tree

from residua.errors import UserError
from residua.inference.classifier import load
from residua.integrations.hub import client, download_model
from residua.runs.run import Run

pytestmark = pytest.mark.extra("huggingface_hub")


@pytest.fixture
def published(hub: FakeHub, repository: Path) -> FakeHub:
    """A Hub with the repository, in two commits."""
    with pytest.warns(DeprecationWarning, match="content="):
        client.upload_folder(repository, "alice/tiny", "first")
    tree = dict(hub.repositories["alice/tiny"].tree() or {})
    hub.repositories["alice/tiny"].commit("main", tree | {"model.json": b"{}"}, "broken")
    hub.requests.clear()
    return hub


def commit(hub: FakeHub, index: int) -> str:
    return list(hub.repositories["alice/tiny"].commits)[index]


def test_pinned_revision_is_the_trained_network(published: FakeHub, trained: Run) -> None:
    folder = download_model(f"hub:alice/tiny@{commit(published, 1)}")
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    ours, theirs = load(trained).predict(images), load(folder).predict(images)
    assert torch.equal(ours.probabilities, theirs.probabilities)
    through_load = load(f"hub:alice/tiny@{commit(published, 1)}")
    assert torch.equal(through_load.predict(images).probabilities, ours.probabilities)
    files = {line.rpartition("/")[2] for line in published.requests if "/resolve/" in line}
    assert files == {"model.json", "model.safetensors"}


def test_latest_revision_is_taken_without_one(published: FakeHub) -> None:
    with pytest.raises(UserError, match=r"model\.json is damaged"):
        load(download_model("hub:alice/tiny"))


def test_last_epoch_is_fetched_on_request(published: FakeHub, trained: Run) -> None:
    source = f"hub:alice/tiny@{commit(published, 1)}"
    folder = download_model(source, "last")
    assert trained.result is not None
    assert load(folder, "last").info.epoch == trained.result.last.epoch


def test_offline_afterwards(published: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"hub:alice/tiny@{commit(published, 1)}"
    first, latest = download_model(source), download_model("hub:alice/tiny")
    published.requests.clear()
    assert download_model(source) == first
    assert not [line for line in published.requests if "resolve" in line]
    for fault in ("close", 500, 401):
        published.faults = [Fault(".", fault)]
        assert download_model("hub:alice/tiny") == latest
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert download_model(source) == first
    assert download_model("hub:alice/tiny") == latest


def test_interrupted_download_is_continued(
    published: FakeHub, repository: Path, delays: list[float]
) -> None:
    source = f"hub:alice/tiny@{commit(published, 1)}"
    published.faults = [Fault("GET .*/resolve/.*safetensors", "close", 2)]
    folder = download_model(source)
    expected = local_tree(repository)
    assert (folder / "model.safetensors").read_bytes() == expected["model.safetensors"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("hub:alice/none", "404, there is no such repository"),
        ("hub:alice/tiny@none", "there is no such revision"),
        ("hub:alice/empty", "has no model of residua: there is no model.json"),
        ("hub:alice", "is no model on the Hub: hub:USER/NAME"),
        ("hub:alice/tiny/x", "is no model on the Hub"),
        ("hub:../../etc", "is no model on the Hub"),
        ("hub:alice/tiny@", "is no model on the Hub"),
    ],
)
def test_mistakes_are_one_line(source: str, said: str, published: FakeHub) -> None:
    from fake_hub import Repository

    published.repositories["alice/empty"] = Repository()
    with pytest.raises(UserError, match=said) as raised:
        download_model(source)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", [500, "close", "hang", 401, 403, 429])
def test_hub_without_an_answer_and_without_a_cache(
    kind: int | str, published: FakeHub, delays: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.2)
    published.faults = [Fault(".", kind)]
    with pytest.raises(UserError) as raised:
        download_model("hub:alice/tiny")
    assert str(raised.value).startswith("alice/tiny: ")
    assert "\n" not in str(raised.value)


def test_private_repository_needs_a_token(
    published: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.repositories["alice/tiny"].private = True
    assert download_model("hub:alice/tiny")
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrongwrong")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", os.devnull + "-none")
    with pytest.raises(UserError, match="hf auth login"):
        download_model("hub:alice/tiny")
