"""Uploads to a fake Hub, by the real client: whatever goes wrong, nothing is lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from equal_runs import assert_equal_runs
from fake_hub import TOKEN, FakeHub, Fault, Repository, local_tree, wait_until

from residua.integrations.hub import client
from residua.integrations.hub.worker import send_snapshot
from residua.integrations.observers import PUBLISH_FOLDER, PublishObserver
from residua.recipes.publish import Publish
from residua.recipes.recipe import Recipe
from residua.runs.outbox import Backoff, Outbox, SendError, drain
from residua.runs.run import Run
from residua.training.events import observe
from residua.training.loop import train

pytestmark = [
    pytest.mark.extra("huggingface_hub"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),  # Of huggingface_hub.
]

CREATE, YAML, MODES = "repos/create", "validate-yaml", "preupload"
BATCH, PUT, VERIFY, COMMIT = "objects/batch", r"PUT /lfs/\w+$", "/verify", "/commit/"
CASES = [
    # A request, its fault, how often, and whether the client itself overcomes it at once; else what
    # is said.
    (CREATE, 401, 1, "token"),
    (CREATE, 403, 1, "403"),
    (CREATE, 429, 1, "429"),
    (CREATE, 500, 1, "500"),
    (CREATE, "close", 9, "connection"),
    (CREATE, "hang", 9, "did not answer"),
    (CREATE, "late", 1, "connection"),
    (YAML, 500, 1, "500"),
    (YAML, "close", 1, "connection"),
    (MODES, 401, 1, "token"),
    (MODES, 403, 1, "403"),
    (MODES, 413, 1, "413"),
    (MODES, 429, 2, None),
    (MODES, 503, 2, None),
    (MODES, 500, 9, "500"),
    (MODES, "close", 2, None),
    (MODES, "hang", 1, None),
    (BATCH, 401, 1, "token"),
    (BATCH, 403, 1, "403"),
    (BATCH, 413, 1, "413"),
    (BATCH, 429, 2, None),
    (BATCH, 500, 99, "500"),
    (BATCH, "late", 1, None),
    (PUT, 400, 1, "400"),
    (PUT, 403, 1, "403"),
    (PUT, 413, 1, "413"),
    (PUT, 500, 2, None),
    (PUT, 503, 99, "503"),
    (PUT, "close", 2, None),
    (PUT, "half", 2, None),
    (PUT, "half", 99, "connection"),
    (PUT, "late", 1, None),
    (PUT, "hang", 1, None),
    (VERIFY, 404, 1, "404"),
    (VERIFY, 500, 2, None),
    (COMMIT, 401, 1, "token"),
    (COMMIT, 403, 1, "403"),
    (COMMIT, 409, 1, "409"),
    (COMMIT, 412, 1, "412"),
    (COMMIT, 413, 1, "413"),
    (COMMIT, 429, 1, "429"),
    (COMMIT, 500, 1, "500"),
    (COMMIT, 503, 1, "503"),
    (COMMIT, "close", 1, "connection"),
    (COMMIT, "half", 1, "connection"),
    (COMMIT, "late", 1, "connection"),
    (COMMIT, "hang", 1, "did not answer"),
]
PUBLISH = Publish(repository="alice/tiny")


def staged(repository: Path, path: Path, label: str = "epoch-10") -> Outbox:
    """An outbox with a snapshot whose repository is made already."""
    outbox = Outbox(path / PUBLISH_FOLDER)
    names = [f"{repository.name}/{name}" for name in local_tree(repository)]
    outbox.stage(repository.parent, names, label, "best-")
    return outbox


def attempt(outbox: Outbox) -> bool:
    """Try once to send what waits."""
    return drain(outbox, _send, Backoff(0, 0), lambda _: False)


def _send(path: Path) -> None:
    send_snapshot(path, PUBLISH)


@pytest.mark.parametrize(("match", "kind", "times", "said"), CASES)
def test_no_fault_loses_anything(
    match: str,
    kind: int | str,
    times: int,
    said: str | None,
    hub: FakeHub,
    delays: list[float],
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.3 if kind == "hang" else 10.0)
    outbox = staged(repository, tmp_path)
    hub.faults = [Fault(match, kind, times)]
    if said is None:
        assert attempt(outbox)
        assert hub.faults[0].hits == times
    else:
        assert not attempt(outbox)
        assert said in outbox.status.failing
        assert "\n" not in outbox.status.failing
        assert TOKEN not in outbox.log_path.read_text() + outbox.status.failing
        assert outbox.pending == ["epoch-10"]
        # A repository never has a part of a commit.
        trees = [repo.tree() for repo in hub.repositories.values()]
        whole = [*local_tree(repository), ".gitattributes"]
        assert all(set(tree) in ({".gitattributes"}, set(whole)) for tree in trees)
        hub.faults = []
        assert attempt(outbox), outbox.log_path.read_text()
    assert hub.tree("alice/tiny") == local_tree(repository)
    assert outbox.pending == []
    assert outbox.status.failing == ""
    assert outbox.log_path.read_text().endswith("epoch-10 sent\n")


def test_wrong_token_and_then_the_right_one(
    hub: FakeHub, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = staged(repository, tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrongwrong")
    assert not attempt(outbox)
    assert "hf auth login" in outbox.status.failing
    assert "hf_wrong" not in outbox.status.failing + outbox.log_path.read_text()
    monkeypatch.delenv("HF_TOKEN")
    assert not attempt(outbox)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert attempt(outbox)
    assert hub.tree("alice/tiny") == local_tree(repository)


def test_repository_that_somebody_creates_meanwhile(
    hub: FakeHub, repository: Path, tmp_path: Path
) -> None:
    hub.repositories["alice/tiny"] = Repository()
    hub.faults = [Fault("GET /api/models/alice/tiny$", 404, 1, {"X-Error-Code": "RepoNotFound"})]
    assert attempt(staged(repository, tmp_path))
    assert "POST /api/repos/create" in hub.requests
    assert hub.tree("alice/tiny") == local_tree(repository)


def test_full_quota(hub: FakeHub, repository: Path, tmp_path: Path) -> None:
    outbox = staged(repository, tmp_path)
    hub.quota = 100
    assert not attempt(outbox)
    assert "quota" in outbox.status.failing
    hub.quota = None
    assert attempt(outbox)
    assert hub.tree("alice/tiny") == local_tree(repository)


def test_hub_that_cannot_be_reached(
    hub: FakeHub, delays: list[float], repository: Path, tmp_path: Path, monkeypatch
) -> None:
    outbox = staged(repository, tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert not attempt(outbox)
    assert "connection to the Hub failed" in outbox.status.failing
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    assert attempt(outbox)
    assert hub.tree("alice/tiny") == local_tree(repository)


def test_interrupted_upload_sends_no_object_twice(
    hub: FakeHub, delays: list[float], repository: Path, tmp_path: Path
) -> None:
    outbox = staged(repository, tmp_path)
    hub.faults = [Fault(COMMIT, 500, 1)]
    assert not attempt(outbox)
    sent = list(hub.uploaded)
    assert len(sent) > 3
    assert attempt(outbox)
    assert hub.uploaded == sent
    assert hub.tree("alice/tiny") == local_tree(repository)


@pytest.mark.parametrize("kind", [500, "close", "half"])
def test_uploads_in_parts(
    kind: int | str, hub: FakeHub, delays: list[float], repository: Path, tmp_path: Path
) -> None:
    hub.multipart = True
    hub.faults = [Fault("/part/1", kind, 2)]
    outbox = staged(repository, tmp_path)
    assert attempt(outbox)
    assert any("/part/2" in line for line in hub.requests)
    assert hub.tree("alice/tiny") == local_tree(repository)


def test_retry_after_is_respected(
    hub: FakeHub, delays: list[float], repository: Path, tmp_path: Path
) -> None:
    outbox = staged(repository, tmp_path)
    hub.faults = [
        Fault(MODES, 429, 1, {"Retry-After": "31"}),
        Fault(COMMIT, 429, 1, {"Retry-After": "47"}),
    ]
    assert not attempt(outbox)
    assert max(delays) >= 31
    assert "47 s until it is tried again" in outbox.log_path.read_text()
    assert Backoff(5, 60).delay(1, 47.0) == 47.0


def test_delays_grow_to_a_limit() -> None:
    delays = [Backoff(5, 600).delay(failures) for failures in range(1, 100)]
    assert 3.7 < delays[0] < 6.3
    assert 15 < delays[2] < 26
    assert all(449 < delay < 751 for delay in delays[8:])


def test_drain_tries_again_until_it_succeeds(
    hub: FakeHub, delays: list[float], repository: Path, tmp_path: Path
) -> None:
    outbox = staged(repository, tmp_path)
    hub.faults = [Fault(COMMIT, 500, 3)]
    assert drain(outbox, _send, Backoff(0.01, 0.02), lambda _: True)
    assert outbox.log_path.read_text().count("failed") == 3


def test_snapshots_arrive_in_order_as_commits(
    hub: FakeHub, repository: Path, tmp_path: Path
) -> None:
    outbox = staged(repository, tmp_path, "epoch-10")
    names = [f"{repository.name}/README.md", f"{repository.name}/report/report.md"]
    outbox.stage(repository.parent, names, "best-11", "best-")
    outbox.stage(repository.parent, names, "epoch-20", "best-")
    assert outbox.pending == ["epoch-10", "epoch-20"]  # The best one is superseded.
    assert attempt(outbox)
    # The second snapshot has nothing new: the Hub gets no empty commit, but what it does not have
    # any more of residua's own folders is deleted.
    messages = hub.repositories["alice/tiny"].messages
    assert messages == ["initial commit", "Epoch 10", "Epoch 20"]
    tree = hub.tree("alice/tiny")
    assert [name for name in tree if name.startswith(("report/", "checkpoints/"))] == [
        "report/report.md"
    ]
    assert "model.safetensors" in tree


def test_files_that_others_added_stay(hub: FakeHub, repository: Path, tmp_path: Path) -> None:
    assert attempt(staged(repository, tmp_path))
    found = hub.repositories["alice/tiny"]
    found.commit("main", {**(found.tree() or {}), "mine.txt": b"added by hand"}, "by hand")
    assert attempt(staged(repository, tmp_path))
    assert hub.tree("alice/tiny")["mine.txt"] == b"added by hand"


@pytest.mark.parametrize("planted", ["link", "secret"])
def test_snapshot_of_a_stranger_is_not_trusted(
    planted: str, hub: FakeHub, repository: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_text("-----BEGIN OPENSSH PRIVATE KEY-----")
    outbox = staged(repository, tmp_path)
    snapshot = outbox.claim()
    assert snapshot is not None
    target = snapshot / repository.name / "notes.txt"
    target.symlink_to(secret) if planted == "link" else shutil.copy(secret, target)
    assert not attempt(outbox)
    assert "nothing is published" in outbox.status.failing
    assert hub.repositories == {} or hub.tree("alice/tiny") == {}


def test_waiting_snapshots_are_bounded(repository: Path, tmp_path: Path) -> None:
    outbox = staged(repository, tmp_path, "epoch-1")
    for epoch in range(2, 15):
        outbox.stage(repository.parent, [f"{repository.name}/README.md"], f"epoch-{epoch}", "best-")
    assert outbox.pending == [f"epoch-{epoch}" for epoch in range(5, 15)]
    assert "epoch-4 was dropped" in outbox.log_path.read_text()


def test_interrupted_staging_and_deletion_leave_nothing_to_send(
    repository: Path, tmp_path: Path
) -> None:
    outbox = staged(repository, tmp_path)
    with pytest.raises(OSError, match="no-such-file"):
        outbox.stage(repository.parent, [f"{repository.name}/README.md", "no-such-file"], "x", "b")
    assert outbox.pending == ["epoch-10"]
    (outbox.directory / ".dropped-000007-epoch-9").mkdir()
    assert outbox.pending == ["epoch-10"]


def test_only_one_process_sends(repository: Path, tmp_path: Path) -> None:
    outbox = staged(repository, tmp_path)

    def send(_: Path) -> None:
        assert not drain(outbox, send, Backoff(), lambda _: True)

    assert drain(outbox, send, Backoff(), lambda _: True)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"failing": 3}', "\0" * 100])
def test_damaged_status_counts_as_nothing(content: str, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    (tmp_path / "status.json").write_text(content)
    assert outbox.status.failing == ""


def test_what_is_not_the_hubs_fault_is_explained() -> None:
    error = client.explain(PermissionError(13, "denied"), "alice/tiny")
    assert isinstance(error, SendError)
    assert str(error).startswith("alice/tiny: PermissionError")


@pytest.mark.slow
def test_training_publishes_itself_and_nobody_waits(
    hub: FakeHub, recipe: Recipe, tmp_path: Path
) -> None:
    """The Hub hangs, then fails, then works: the training ends, and everything arrives."""
    hub.faults = [Fault(CREATE, 500, 1)]
    published = recipe.replace(publish=Publish(repository="alice/tiny", every=2, best=False))
    said: list[str] = []
    observer = PublishObserver(published.publish, said.append, first_delay=0.1)
    run = tmp_path / "run"
    for _ in observe(train(published, run), observer):
        pass
    outbox = Outbox(run / PUBLISH_FOLDER)
    assert wait_until(lambda: not outbox.pending)
    assert observer._process is not None
    assert observer._process.wait(30) == 0
    messages = hub.repositories["alice/tiny"].messages
    assert messages == ["initial commit", "Epoch 2", "Final"]
    tree = hub.tree("alice/tiny")
    assert json.loads(tree["result.json"])["epochs"] == 3
    assert tree["log.jsonl"].count(b"\n") == 3
    assert b"The training is finished" in tree["README.md"]
    assert any(name.startswith("checkpoints/step-") for name in tree)
    assert any("goes on in the background" in line for line in said)


@pytest.mark.slow
def test_training_killed_in_the_middle_of_an_upload(
    hub: FakeHub, recipe: Recipe, tmp_path: Path
) -> None:
    """kill -9 of training and upload; `residua resume` finishes both, bit for bit."""
    hub.faults = [Fault(PUT, "hang")]
    run, whole = tmp_path / "run", tmp_path / "whole"
    file = tmp_path / "recipe.json"
    publish = Publish(repository="alice/tiny", every=1)
    file.write_text(recipe.replace(epochs=6, publish=publish).model_dump_json())
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def residua(*words: str) -> list[str]:
        return [sys.executable, "-m", "residua", *words]

    command = residua("train", str(file), "--dir", str(run), "--until-epoch", "5")
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert wait_until(lambda: any(line.startswith("PUT /lfs") for line in hub.requests))
    process.kill()
    process.wait()
    worker = worker_of(run)
    if worker is not None:
        os.kill(worker, 9)
    assert wait_until(lambda: worker_of(run) is None)
    assert Outbox(run / PUBLISH_FOLDER).pending
    hub.faults = []
    for command in (
        residua("resume", str(run)),
        residua("train", str(file), "--dir", str(whole), "--publish", "null"),
    ):
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    outbox = Outbox(run / PUBLISH_FOLDER)
    assert wait_until(lambda: not outbox.pending)
    assert_equal_runs(run, whole)
    assert json.loads(hub.tree("alice/tiny")["result.json"])["epochs"] == 6


def worker_of(run: Path) -> int | None:
    """The process that uploads the snapshots of a run."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"residua.integrations.hub.worker" in words and str(run).encode() in words:
            return int(path.parent.name)
    return None


def test_observer_takes_files_and_moments_from_the_recipe(trained: Run, recipe: Recipe) -> None:
    from residua.integrations.observers import recipe_observers
    from residua.training.events import EpochFinished, Finished, Stopped

    assert recipe_observers(recipe) == ()
    assert recipe_observers(recipe.replace(publish=Publish())) == ()
    publish = Publish(repository="alice/tiny", every=2, best=True)
    (observer,) = recipe_observers(recipe.replace(publish=publish))
    first, second, third = trained.log
    assert observer.due(EpochFinished(first, best=False)) is None
    assert observer.due(EpochFinished(first, best=True)) == "best-1"
    assert observer.due(EpochFinished(second, best=True)) == "epoch-2"
    assert observer.due(EpochFinished(third, best=False)) is None
    assert observer.due(Stopped(3)) is None
    assert trained.result is not None
    assert observer.due(Finished(trained.result)) == "final"
    names = set(observer.files(trained))
    assert {"recipe.json", "log.jsonl", "model.json", "model.safetensors"} <= names
    checkpoints = {name for name in names if name.startswith("checkpoints/")}
    latest = trained.checkpoints[-1].name
    assert checkpoints == {"checkpoints/best.safetensors", f"checkpoints/{latest}"}
