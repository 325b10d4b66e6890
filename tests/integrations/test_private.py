"""Nothing private is published: secrets, paths, user and machine names are planted in a run."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from fake_hub import local_tree
from safetensors import safe_open

from residua.data import ImageFolder
from residua.errors import UserError
from residua.integrations.hub.private import (
    STAND_IN,
    PrivateText,
    check_public,
    config_paths,
    public_recipe,
)
from residua.integrations.hub.repository import Contents, write_repository
from residua.recipes.publish import Publish
from residua.recipes.recipe import Recipe
from residua.runs.checkpoint import Checkpoint
from residua.runs.model_file import load_model
from residua.runs.run import Run

TOKEN = "hf_plantedplantedplantedplanted"
OTHER_TOKENS = [
    "ghp_plantedplantedplantedplanted12345",
    "AKIAPLANTEDPLANTED12",
    "eyJhbGciOiJIUzI1NiJ9.eyJwbGFudGVkIjoxfQ.plantedplanted",
    "sk-plantedplantedplantedplanted",
]
PASSWORD = "planted-secret-of-the-environment"
USER, HOST, EMAIL = "plantedalice", "planted-host-7", "planted@example.org"
PATHS = [
    f"/home/{USER}/pictures/train",
    "/mnt/planted/drive",
    "C:\\Users\\planted\\pictures",
    "\\\\planted-nas\\share\\pictures",
    "~/planted/folder",
]
PLANTED = [TOKEN, *OTHER_TOKENS, PASSWORD, USER, HOST, EMAIL, "planted"]
SENTENCE = " and ".join([*OTHER_TOKENS, TOKEN, PASSWORD, EMAIL, f"{USER}@{HOST}", *PATHS])


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> PrivateText:
    """A machine with a user, a name and secrets."""
    monkeypatch.setattr("getpass.getuser", lambda: USER)
    monkeypatch.setattr("platform.node", lambda: f"{HOST}.example.org")
    monkeypatch.setenv("HOME", f"/home/{USER}")
    monkeypatch.setenv("SERVICE_API_KEY", PASSWORD)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return PrivateText.of_this_machine()


@pytest.fixture
def planted(private: PrivateText, trained: Run, tmp_path: Path) -> Run:
    """A copy of the trained run with something private in every file."""
    run = Run(tmp_path / USER / "run")
    shutil.copytree(trained.path, run.path)
    plant_in_json(run.path / "recipe.json", device="cpu", sync=PATHS[1])
    plant_in_json(
        run.path / "environment.json",
        hostname=HOST,
        user=USER,
        command=["residua", "train", PATHS[0], "--token", TOKEN],
        processor=f"CPU of {SENTENCE}",
        resumed=[{"command": [PATHS[0]], "system": SENTENCE, "secret": PASSWORD}],
    )
    plant_in_json(run.path / "data.json", path=PATHS[0], note=SENTENCE)
    plant_in_json(run.path / "result.json", environment_changes=[SENTENCE], note=SENTENCE)
    lines = (run.path / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) | {"gradient_warning": SENTENCE, "x": TOKEN} for line in lines]
    (run.path / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    for name in ("report/report.html", "report/report.md", "report/notes.txt", ".env", "notes.txt"):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_text(SENTENCE)
    recipe = run.recipe
    for path in (run.best_checkpoint, *run.checkpoints):
        checkpoint = Checkpoint.load(path)
        metadata = checkpoint.metadata
        history = tuple(each.replace(gradient_warning=SENTENCE) for each in metadata.history)
        Checkpoint(checkpoint.tensors, metadata.replace(recipe=recipe, history=history)).save(path)
    return run


def plant_in_json(path: Path, /, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_nothing_planted_is_in_any_file(planted: Run, tmp_path: Path) -> None:
    folder = write_repository(planted, tmp_path / "out", Contents("bob/tiny", checkpoints=True))
    files = local_tree(folder)
    assert len(files) > 20
    for name, content in files.items():
        for text in PLANTED:
            assert text.encode() not in content, f"{name}: {text}"
            assert text not in name
        assert str(tmp_path).encode() not in content, name
    assert "notes.txt" not in files
    assert ".env" not in files
    # What is not private is still there.
    log = [json.loads(line) for line in files["log.jsonl"].splitlines()]
    assert [each["train_loss"] for each in log] == [each.train_loss for each in planted.log]
    assert "SECRET" in log[0]["gradient_warning"]
    public = Run.open(folder)
    assert public.recipe == planted.recipe.replace(sync=None)
    assert public.environment.packages == planted.environment.packages
    assert public.environment.command == ()
    assert public.data == planted.data


def test_public_files_are_sound(planted: Run, tmp_path: Path) -> None:
    """Models and checkpoints have new checksums and the same tensors."""
    folder = write_repository(planted, tmp_path / "out", Contents("bob/tiny", checkpoints=True))
    for which in ("best", "last"):
        network, info = load_model(folder, which)
        own, _ = load_model(planted.path, which)
        assert info.recipe == planted.recipe.replace(sync=None)
        for name, value in own.state_dict().items():
            assert torch.equal(network.state_dict()[name], value)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    published = Run.open(folder)
    assert [path.name for path in published.checkpoints] == [planted.checkpoints[-1].name]
    for path in (published.best_checkpoint, *published.checkpoints):
        public = Checkpoint.load(path)
        original = Checkpoint.load(planted.checkpoint_dir / path.name)
        assert public.metadata.step == original.metadata.step
        for name, value in original.tensors.items():
            assert torch.equal(public.tensors[name], value)


def test_recipes_lose_paths_and_copies(private: PrivateText, recipe: Recipe) -> None:
    folder = ImageFolder(path=Path(PATHS[0]), size=16)
    changed = recipe.replace(
        data=folder, sync=Path(PATHS[1]), publish=Publish(repository="bob/tiny"), name=USER
    )
    assert len(list(config_paths(changed))) == 2
    public = public_recipe(changed, private)
    assert public.data == folder.replace(path=STAND_IN)
    assert (public.sync, public.publish, public.name) == (None, None, "USER")
    assert public.replace(data=recipe.data, name=recipe.name) == recipe
    cifar = recipe.replace(data={"kind": "cifar100", "root": PATHS[0]})
    assert public_recipe(cifar, private).data.root is None


def test_own_pictures_are_not_published(trained: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(trained.path, run.path)
    data = {"kind": "folder", "path": "/mnt/planted/pictures"}
    plant_in_json(run.path / "recipe.json", data=data)
    folder = write_repository(run, tmp_path / "out", Contents())
    page = (folder / "report/report.html").read_text()
    assert "planted" not in page
    assert "no sample images" in page
    figures = {path.name for path in (folder / "report/figures").iterdir()}
    assert not figures & {"augmentation.png", "mistakes.png"}
    assert "loss.svg" in figures
    assert "data set of its own" in (folder / "README.md").read_text()


@pytest.mark.parametrize("text", [TOKEN, *OTHER_TOKENS, PASSWORD, *PATHS, EMAIL, USER, HOST])
def test_each_kind_is_replaced(private: PrivateText, text: str) -> None:
    assert "planted" not in private.scrub(f"before {text}, after").lower()
    assert private.scrub(f"before {text}, after").startswith("before ")


@pytest.mark.parametrize(
    "text",
    [
        "847 images/s, 3.5 it/s at 1/2 of the steps",
        "torch 2.13.0+cpu on Linux x86_64",
        "https://huggingface.co/uoft-cs/cifar100",
        "AMD EPYC 9B14, 2 threads",
        "2026-11-25T03:28:39+00:00",
        "from step 1,560: torch is 2.13.0, was 2.12.1",
        "conv2d: 3 x 3 / stride 2; train/loss and test/accuracy",
        "</p><br/> report/figures/loss.svg",
    ],
)
def test_other_text_stays(private: PrivateText, text: str) -> None:
    assert private.scrub(text) == text


def test_generic_names_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setattr("platform.node", lambda: "localhost")
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.setenv("USER", "root")
    monkeypatch.delenv("HOSTNAME", raising=False)
    private = PrivateText.of_this_machine()
    assert private.scrub("the root of the tree on localhost") == "the root of the tree on localhost"


@pytest.mark.parametrize("name", ["a.md", "b.json", "c.html", "d.onnx"])
@pytest.mark.parametrize("text", [TOKEN, PASSWORD, f"/home/{USER}/x", HOST, USER])
def test_last_check_refuses_a_leak(
    private: PrivateText, name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"\xff\x00 " + text.encode() + b" \n")
    with pytest.raises(UserError, match=f"{name} contains .* nothing is published"):
        check_public(tmp_path, private)


def test_last_check_ignores_images_in_pages(private: PrivateText, tmp_path: Path) -> None:
    page = f'<img src="data:image/png;base64,AAA/{USER}/AAA"><p>fine</p>'
    (tmp_path / "page.html").write_text(page)
    check_public(tmp_path, private)


def test_failed_write_leaves_nothing(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "WideResNet-tiny-secret")
    run = Run(tmp_path / "run")
    shutil.copytree(trained.path, run.path)
    classes = ["WideResNet-tiny-secret", *run.data.classes[1:]]
    plant_in_json(run.path / "data.json", classes=classes)
    with pytest.raises(UserError, match=r"data\.json contains a secret"):
        write_repository(run, tmp_path / "out", Contents())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
