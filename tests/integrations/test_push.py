"""`residua push`: a whole repository, or one line that says what to change."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from fake_hub import FakeHub, Fault, local_tree
from test_uploads import COMMIT, staged

import residua
from residua.cli import main
from residua.integrations.observers import PUBLISH_FOLDER
from residua.recipes.publish import Publish
from residua.runs.outbox import Outbox
from residua.runs.run import Run

hub_test = [
    pytest.mark.extra("huggingface_hub"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]
pytestmark = hub_test


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line of a command that fails."""
    with pytest.raises(SystemExit) as raised:
        main(["push", *words])
    assert raised.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("residua: ")
    return lines[-1]


def test_folder_has_what_is_uploaded(
    hub: FakeHub, trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, folder = str(trained.path), tmp_path / "folder"
    main(["push", run, "alice/tiny", "--license", "mit", "--to", str(folder)])
    assert hub.requests == []
    main(["push", run, "alice/tiny", "--license", "mit", "--private"])
    assert hub.tree("alice/tiny") == local_tree(folder)
    assert hub.repositories["alice/tiny"].private
    assert capsys.readouterr().out.splitlines() == [str(folder), f"{hub.url}/alice/tiny"]
    assert not any(name.startswith("checkpoints") for name in local_tree(folder))
    main(["push", run, "alice/tiny", "--license", "mit", "--checkpoints", "--revision", "more"])
    assert "checkpoints/best.safetensors" in hub.tree("alice/tiny", "more")
    assert "checkpoints/best.safetensors" not in hub.tree("alice/tiny")


def test_pushing_twice_makes_one_commit(hub: FakeHub, trained: Run) -> None:
    for _ in range(2):
        main(["push", str(trained.path), "alice/tiny", "--license", "mit"])
    assert len(hub.repositories["alice/tiny"].messages) == 2


def test_transient_fault_is_overcome(
    hub: FakeHub, trained: Run, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.faults = [Fault(COMMIT, 503, 2)]
    main(["push", str(trained.path), "alice/tiny", "--license", "none"])
    assert "the Hub answered 503: fault; trying again in" in capsys.readouterr().err
    assert hub.tree("alice/tiny")


def test_permanent_fault_is_one_line(
    hub: FakeHub, trained: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults = [Fault(COMMIT, 403, 1, message="read only token")]
    line = fails(capsys, str(trained.path), "alice/tiny", "--license", "mit")
    assert "403" in line
    assert "nothing was published" in line
    assert hub.tree("alice/tiny") == {}


def test_long_rate_limit_is_not_waited_for(
    hub: FakeHub, trained: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults = [Fault(COMMIT, 429, headers={"Retry-After": "3600"})]
    assert "429" in fails(capsys, str(trained.path), "alice/tiny", "--license", "mit")


def test_continues_what_waits(
    hub: FakeHub,
    trained: Run,
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.path, run)
    assert "has no repository" in fails(capsys, str(run))
    publish = Publish(repository="alice/tiny")
    Run(run).write_recipe(trained.recipe.replace(publish=publish))
    main(["push", str(run)])
    assert "nothing waits" in capsys.readouterr().out
    staged(repository, run)
    hub.faults = [Fault("create", 401)]
    line = fails(capsys, str(run))
    assert "hf auth login" in line
    assert f"residua push {run}" in line
    hub.faults = []
    main(["push", str(run)])
    assert hub.tree("alice/tiny") == local_tree(repository)
    assert Outbox(run / PUBLISH_FOLDER).pending == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["alice"], "is not USER/NAME"),
        (["../x/y"], "is not USER/NAME"),
        (["alice/tiny", "--license", "MIT License"], "abbreviation of a licence"),
        (["alice/tiny", "--license", ""], "abbreviation of a licence"),
        (["alice/tiny", "--to", "{run}"], "exists and is not empty"),
        (["alice/tiny", "--to", "/proc/x/y"], "cannot make the folder"),
    ],
)
def test_mistakes(
    words: list[str], said: str, trained: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("{run}", str(trained.path)) for word in words]
    assert said in fails(capsys, str(trained.path), *words)


def test_run_without_a_model(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.path, run)
    (run / "model.json").unlink()
    assert "has no model yet" in fails(capsys, str(run), "alice/tiny", "--license", "mit")
    assert "is not a run" in fails(capsys, str(tmp_path), "alice/tiny")


def test_missing_extra_is_one_line(
    trained: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    line = fails(capsys, str(trained.path), "alice/tiny", "--license", "mit")
    assert "pip install 'residua[hub]'" in line
    main(["push", str(trained.path), "alice/tiny", "--license", "mit", "--to", str(tmp_path / "x")])


def test_licence_is_asked_for_in_a_terminal(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer, expected in (("apache-2.0", "license: apache-2.0"), ("", "No licence was chosen")):
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        folder = tmp_path / (answer or "none")
        main(["push", str(trained.path), "alice/tiny", "--to", str(folder)])
        assert expected in (folder / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.extra("onnx", "onnxruntime")
def test_onnx_file_has_the_probabilities_and_no_paths(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx_files = pytest.importorskip("residua.integrations.onnx_files")
    folder = tmp_path / "folder"
    main(["push", str(trained.path), "alice/tiny", "--onnx", "--to", str(folder)])
    content = (folder / "model.onnx").read_bytes()
    assert b"/site-packages/" not in content
    assert b"residua/models" not in content
    assert "`model.onnx`" in (folder / "README.md").read_text()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    predictor = onnx_files.load_onnx(folder / "model.onnx")
    expected = residua.load(trained).predict(images).probabilities
    torch.testing.assert_close(predictor.probabilities(images), expected, atol=1e-5, rtol=1e-4)
