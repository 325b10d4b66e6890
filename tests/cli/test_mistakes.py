"""Mistakes of users: one clear line, status 2, and nothing written."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from residua.cli import main
from residua.recipes.loading import parse_recipe
from residua.training.loop import fit, train

TINY = {
    "name": "tiny",
    "data": {"kind": "shapes100", "train": 200, "test": 100},
    "architecture": {"stem": {"kind": "conv", "width": 4}, "depths": [1, 1], "widths": [4, 8]},
    "epochs": 2,
    "batch_size": 64,
    "device": "cpu",
}


def save_images(folder: Path, *classes: str) -> None:
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (8, 8), (60 * index, 0, 0)).save(folder / name / f"{index}.png")


def damaged_copy(run: Path, name: str, file: str, damage: Callable[[bytes], bytes]) -> None:
    copy = shutil.copytree(run, run.parent / name)
    path = copy / file
    path.write_bytes(damage(path.read_bytes()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs, recipes and folders of pictures, some of them damaged."""
    root = tmp_path_factory.mktemp("mistakes")
    recipe = parse_recipe(TINY)
    finished = fit(recipe, root / "finished").path
    stopped = root / "stopped"
    list(train(recipe, stopped, lambda progress: progress.step >= 2))

    def cut(content: bytes) -> bytes:
        return content[: len(content) // 2]

    damaged_copy(stopped, "cut-recipe", "recipe.json", cut)
    for file in ("result.json", "log.jsonl", "data.json", "model.safetensors"):
        damaged_copy(
            finished, f"cut-{file.partition('.')[0]}", file, lambda content: b"{" + content
        )
    damaged_copy(finished, "cut-predictions", "artifacts/predictions.safetensors", cut)
    damaged_copy(finished, "list-recipe", "recipe.json", lambda _: b"[]")
    damaged_copy(finished, "null-result", "result.json", lambda _: b"null")
    damaged_copy(finished, "no-utf8", "environment.json", lambda _: b'{"device": "\xff"}')
    damaged_copy(finished, "backwards", "log.jsonl", lambda c: c + c.splitlines()[0] + b"\n")
    damaged_copy(stopped, "unknown-field", "recipe.json", lambda c: c.replace(b"epochs", b"epoch"))
    damaged_copy(stopped, "other-network", "recipe.json", lambda c: c.replace(b"8", b"9"))
    for checkpoint in (shutil.copytree(stopped, root / "no-checkpoints") / "checkpoints").iterdir():
        checkpoint.unlink()
    copy = shutil.copytree(finished, root / "report-is-a-file")
    shutil.rmtree(copy / "report")
    (copy / "report").write_text("")

    texts = {
        "empty.yaml": "",
        "comment.toml": "# nothing",
        "list.json": "[1]",
        "number.yaml": "3",
        "cut.json": '{"epochs": 3',
        "tab.yaml": "epochs:\t3\n\tseed: 1",
        "twice.json": '{"seed": 1, "seed": 2}',
        "base.yaml": "base: resnet4",
        "base-list.yaml": "base: [resnet44]\nseed: 1",
        "nan.json": '{"optimizer": {"kind": "sgd", "lr": NaN}}',
        "text.txt": "text",
        "date.toml": "seed = 2024-01-01",
        "nested.yaml": "optimizer: {kind: {kind: sgd}}",
        "keys.yaml": "1: 2\nepochs: 3",
    }
    for name, text in texts.items():
        (root / name).write_text(text)
    (root / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    (root / "folder.yaml").mkdir()
    save_images(root / "extra/train", "a", "b")
    save_images(root / "extra/test", "a", "c")
    save_images(root / "no-test/train", "a", "b")
    save_images(root / "broken/train", "a", "b")
    save_images(root / "broken/test", "a", "b")
    (root / "broken/train/a/0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    save_images(root / "hollow/train", "a")
    save_images(root / "hollow/test", "a")
    (root / "hollow/train/b").mkdir()
    return root


PICTURES = "train quickstart --data.kind folder --data.size 8 --batch-size 4 --data.path"
MISTAKES = {
    # Recipes: names and files.
    "train": "recipe",
    "train quickstrat": "did you mean quickstart",
    "train ''": "there is no recipe",
    "train @/none.yaml": "there is no recipe file",
    "train @/folder.yaml": "there is no recipe file",
    "train @/text.txt": "no fields",
    "train @/empty.yaml": "no fields",
    "train @/comment.toml": "no fields",
    "train @/list.json": "no fields",
    "train @/number.yaml": "no fields",
    "train @/cut.json": "cannot be read as a recipe",
    "train @/binary.yaml": "cannot be read as a recipe",
    "train @/tab.yaml": "cannot be read as a recipe",
    "train @/twice.json": "field 'seed' twice",
    "train @/base.yaml": "did you mean resnet44",
    "train @/base-list.yaml": "there is no recipe",
    "train @/nan.json": "optimizer.lr",
    "train @/date.toml": "seed",
    "train @/nested.yaml": "optimizer",
    "train @/keys.yaml": "1",
    "summary quikstart": "did you mean quickstart",
    "recipes nosuch": "there is no recipe",
    "recipes @/none.yaml": "there is no recipe file",
    # Recipes: fields.
    "train quickstart --epochs": "--epochs needs a value",
    "train quickstart --epochs 0": "epochs: ",
    "train quickstart --epochs -3": "epochs: ",
    "train quickstart --epochs 2.5": "epochs: ",
    "train quickstart --epochs ''": "epochs: ",
    "train quickstart --epochs nan": "epochs: ",
    "train quickstart --epochs 1e400": "epochs: ",
    "train quickstart --epochs [3]": "epochs: ",
    "train quickstart --epochs yes": "epochs: ",
    "train quickstart --epochs 3 epochs=3": "unexpected word",
    "train quickstart --=3": "field",
    "train quickstart -e 3": "unexpected word",
    "train quickstart --seed -1": "seed: ",
    "train quickstart --batch-size 0": "batch_size: ",
    "train quickstart --optimizer.lr -0.1": "optimizer.lr: ",
    "train quickstart --optimizer.lr .inf": "optimizer.lr: ",
    "train quickstart --optimizer.kind adamm": "no kind 'adamm'; choose from sgd, adamw",
    "train quickstart --optimizer sgdd": "optimizer",
    "train quickstart --optimizer.momentum 1": "at least 0 and below 1",
    "train quickstart --weight-average.kind ema --weight-average.decay 1": "below 1",
    "train quickstart --weight-average.decay 0.9": "weight_average.kind",
    "train quickstart --augmentation flip": "augmentation",
    "train quickstart --augmentation '[{kind: flop}]'": "augmentation.0",
    "train quickstart --augmentation.0.padding -1": "augmentation.0.padding",
    "train quickstart --augmentation.9.padding 1": "not an index",
    "train quickstart --augmentation.first.padding 1": "not an index",
    "train quickstart --image-size 4": "image_size",
    "train quickstart --architecture.depths []": "architecture.depths",
    "train quickstart --architecture.widths [4,8]": "one entry for each stage",
    "train quickstart --architecture.stem.kernel 4": "architecture.stem.kernel",
    "train quickstart --precision float64": "precision",
    "train quickstart --compile fastest": "compile",
    "train quickstart --deterministic maybe": "deterministic",
    "train quickstart --device gpu": "available devices",
    "train quickstart --device cuda:99": "available devices",
    "train quickstart --name ../x": "name: ",
    "train quickstart --name ''": "name: ",
    "train quickstart --save-every 0": "save_every",
    "train quickstart --keep-checkpoints 0": "keep_checkpoints",
    "train quickstart --gradient-accumulation 500": "gradient_accumulation",
    # Data.
    "train quickstart --data.kind cifar1000": "data.kind",
    "train quickstart --data.limit 0": "data.limit",
    "train quickstart --data.holdout -1": "data.holdout",
    "train quickstart --data.holdout 20000": "leaves nothing to train on",
    "train quickstart --data.kind folder": "data.path",
    f"{PICTURES} @/none": "no folder",
    f"{PICTURES} @/text.txt": "is neither a folder nor",
    f"{PICTURES} @/hollow": "has no images",
    f"{PICTURES} @/broken": "cannot be read",
    f"{PICTURES} @/extra": "classes that train does not have: c",
    f"{PICTURES} @/no-test": "no test",
    "data get imagenet": "imagenet",
    "data verify": "cifar100 is incomplete",
    "data verify cifar100 --root @/none": "incomplete",
    "data get cifar100 --root @/text.txt": "text.txt",
    "data remove cifar100": "remove",
    # Directories of runs.
    "train quickstart --dir": "--dir",
    "train quickstart --dir @/text.txt": "choose another --dir",
    "train quickstart --dir @/text.txt/run": "cannot make the run",
    "train quickstart --dir @/finished": "is a run already",
    "train quickstart --dir @/broken": "choose another --dir",
    "train quickstart --dir @/x --dir @/y": "--dir",
    "train quickstart --until-epoch 1.5": "--until-epoch",
    "train quickstart --until-epoch 0x2": "--until-epoch",
    "resume": "run",
    "resume @/none": "is not a run",
    "resume @/text.txt": "is not a run",
    "resume @/broken": "is not a run",
    "resume @/stopped @/finished": "finished",
    "resume @/stopped --until-epoch 0": "--until-epoch",
    "resume @/cut-recipe": "recipe.json is damaged",
    "resume @/unknown-field": "there is no such field",
    "resume @/other-network": "architecture.widths is [4, 9], was [4, 8]",
    "resume @/no-checkpoints": "none of 0 checkpoints",
    "resume @/null-result": "result.json is damaged",
    # Reading runs.
    "evaluate @/none": "has no model",
    "evaluate @/stopped": "has no model",
    "evaluate @/cut-model": "model.safetensors is damaged",
    "report @/list-recipe": "recipe",
    "evaluate @/finished --split validation": "--split",
    "evaluate @/finished --split holdout": "holdout",
    "evaluate @/finished --checkpoint 2": "--checkpoint",
    "evaluate @/finished --tta flip": "--tta",
    "evaluate @/finished --device gpu": "available devices",
    "report": "run",
    "report @/none": "is not a run",
    "report @/finished --reference resnet45": "resnet44",
    "report @/finished @/none": "is not a run",
    "report @/cut-result": "result.json is damaged",
    "report @/cut-log": "log.jsonl is damaged",
    "report @/cut-data": "data.json is damaged",
    "report @/backwards": "log.jsonl is damaged",
    "report @/no-utf8": "environment.json is damaged",
    "report @/cut-predictions": "predictions.safetensors is damaged",
    "report @/report-is-a-file": "report",
    "compare": "run",
    "compare @/finished @/text.txt": "is not a run",
    "compare @/finished @/cut-log --output @/new": "log.jsonl is damaged",
    "compare @/finished --output @/stopped": "is a run: choose another --output",
    "compare @/finished --output @/text.txt/new": "cannot write",
    # Measuring.
    "find-lr quickstart --start 0": "start",
    "find-lr quickstart --start 1 --end 0.1": "end",
    "find-lr quickstart --steps 0": "steps",
    "find-lr quickstart --steps many": "--steps",
    "find-lr quickstart --steps 2.5": "--steps",
    "find-lr quickstart --start nan": "start",
    "find-lr quickstart --end inf": "end",
    "find-lr quickstart --plot @/plot.txt": ".png or .svg",
    "find-lr quickstart --plot @/none/plot.png": "there is no directory @/none",
    "find-lr quickstart --plot @/folder.svg --epochs 0": "epochs",
    "summary": "recipe",
    "summary quickstart --time --data.kind folder --data.path @/none": "no folder",
    "summary quickstart --architecture.widths [1,1,1] --architecture.block.kind x": "block",
    "trian quickstart": "train",
    "--nosuch": "--nosuch",
}


def contents(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("command", MISTAKES)
def test_mistake_is_one_line_and_writes_nothing(
    command: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESIDUA_DATA", str(tmp_path / "no-data"))
    before = contents(folder)
    words = [word.replace("@", str(folder)) for word in shlex.split(command)]
    with pytest.raises(SystemExit) as exit_:
        main(words)
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert captured.err.startswith("residua: ")
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 500
    assert MISTAKES[command].lower() in captured.err.lower().replace(str(folder), "@")
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == []
