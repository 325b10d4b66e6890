"""Recipes by name, from files and with dotted overrides; the messages for mistakes."""

import contextlib
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from residua.errors import UserError
from residua.optim import EMA, SGD
from residua.recipes import built_in as recipes
from residua.recipes.loading import apply_overrides, parse_overrides, resolve
from residua.recipes.recipe import EarlyStopping, Recipe
from residua.schedules import Cosine, OneCycle


@pytest.mark.parametrize("name", recipes.names())
def test_built_in_recipes_round_trip_through_json_and_are_described(name: str) -> None:
    recipe = recipes.built_in(name)
    assert recipe.name == name
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert f"residua train {name}" in recipes.description(name)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.epochs = 3  # type: ignore[misc]


def test_overrides_apply_at_every_depth() -> None:
    recipe = resolve(
        "resnet44",
        ["--epochs=3", "--batch-size", "64", "--augmentation.0.padding", "2",
         "--optimizer.weight_decay", "1e-3", "--data.limit", "100", "--target-accuracy", "null"],
    )  # fmt: skip
    assert (recipe.epochs, recipe.batch_size, recipe.target_accuracy) == (3, 64, None)
    assert recipe.augmentation[0].padding == 2  # type: ignore[union-attr]
    assert recipe.optimizer.weight_decay == 1e-3
    assert recipe.data.limit == 100
    assert isinstance(recipe.optimizer.lr, OneCycle)


def test_override_turns_number_into_schedule_and_back() -> None:
    words = ["--optimizer.lr.start", "0.3", "--optimizer.lr.kind", "cosine"]
    assert resolve("resnet26w", words).optimizer.lr == Cosine(start=0.3)
    assert resolve("resnet44", ["--optimizer.lr", "0.3"]).optimizer.lr == 0.3
    inline = ["--optimizer.lr", "{kind: cosine, start: 0.3}"]
    assert resolve("resnet44", inline).optimizer.lr == Cosine(start=0.3)


def test_override_of_a_field_creates_its_missing_section() -> None:
    words = ["--weight-average.decay", "0.9", "--weight-average.kind", "ema"]
    assert resolve("resnet44", words).weight_average == EMA(decay=0.9)
    assert resolve("resnet44", ["--early-stopping.patience", "3"]).early_stopping is not None


@pytest.mark.parametrize("suffix", ["toml", "yaml", "json"])
def test_recipe_file_changes_its_base(suffix: str, tmp_path: Path) -> None:
    content = {
        "toml": 'base = "resnet34"\nepochs = 7\n[optimizer]\nlr = 1e-3\n',
        "yaml": "base: resnet34\nepochs: 7\noptimizer: {lr: 1e-3}\n",
        "json": json.dumps({"base": "resnet34", "epochs": 7, "optimizer": {"lr": 1e-3}}),
    }
    path = tmp_path / f"mine.{suffix}"
    path.write_text(content[suffix])
    recipe = resolve(str(path), ["--seed", "4"])
    assert (recipe.name, recipe.epochs, recipe.seed) == ("mine", 7, 4)
    base = recipes.built_in("resnet34")
    assert recipe.optimizer == base.replace(**{"optimizer.lr": 1e-3}).optimizer
    assert recipe.architecture == base.architecture


def test_dumped_recipe_is_a_recipe_file(tmp_path: Path) -> None:
    base = recipes.built_in("wrn28_10")
    path = tmp_path / "wrn28_10.yaml"
    path.write_text(yaml.safe_dump(base.model_dump(mode="json")))
    assert resolve(str(path)) == base


MISTAKES = [
    (["--epochs", "0"], "epochs: input should be greater than 0 (got 0)"),
    (["--epochs", "1.5"], "epochs: input should be a valid integer"),
    (["--epochs", "many"], "epochs: input should be a valid integer"),
    (["--epochs"], "--epochs needs a value"),
    (["--epochs", "--seed", "1"], "--epochs needs a value"),
    (["epochs", "3"], "unexpected word 'epochs'"),
    (["--epoch", "3"], "epoch: there is no such field; did you mean epochs"),
    (["--optimiser.lr", "3"], "optimiser: there is no such field; did you mean optimizer"),
    (["--optimizer.rate", "3"], "optimizer.rate: there is no such field"),
    (["--optimizer.lr", "fast"], "optimizer.lr: input should be a valid number"),
    (["--optimizer.lr", "-1"], "optimizer.lr: must be 0 or more (got -1)"),
    (["--optimizer.lr", "nan"], "optimizer.lr: input should be"),
    (["--optimizer.lr.kind", "cosne"], "optimizer.lr"),
    (["--optimizer.lr.kind", "cosine"], "optimizer.lr.start: this field is required"),
    (["--optimizer.momentum", "1.0"], "optimizer.momentum: must be at least 0 and below 1"),
    (["--augmentation.9.p", "0.1"], "'9' is not an index of a list of"),
    (["--augmentation.0.p", "0.1"], "augmentation.0.p: there is no such field"),
    (["--augmentation.1.p", "1.1"], "augmentation.1.p: must be between 0 and 1 (got 1.1)"),
    (["--architecture.depths", "[1]"], "architecture: depths, widths and strides need"),
    (
        ["--architecture.block.kind", "basics"],
        "architecture.block.kind: there is no kind 'basics'; choose from basic, preact",
    ),
    (
        ["--precision", "int8"],
        "precision: input should be 'auto', 'float32', 'tf32', 'bfloat16' or 'float16'",
    ),
    (["--target-accuracy", "120"], "target_accuracy: input should be less than or equal to 100"),
    (["--image-size", "4"], "image_size must be between 8 and 512"),
    (
        ["--weight-average.kind", "mean"],
        "weight_average.kind: there is no kind 'mean'; choose from ema, lookahead, swa",
    ),
    (["--weight-average.kind", "swa"], "weight_average.start_epoch: this field is required"),
    (["--weight-average.decay", "0.9"], "weight_average.kind: this field is required"),
    (
        [
            "--weight-average.kind",
            "swa",
            "--weight-average.start",
            "3",
            "--weight-average.start-epoch",
            "3",
        ],
        "weight_average.start: there is no such field; did you mean start_epoch",
    ),
    (["--sam.rho", "-1"], "sam.rho: must be 0 or more (got -1)"),
    (
        ["--architecture.attention.kind", "cbm"],
        "architecture.attention.kind: there is no kind 'cbm'; choose from squeeze_excitation, cbam",
    ),
    (["--architecture.stochastic-depth", "2"], "must be between 0 and 1 (got 2)"),
    (
        ["--data.kind", "imagenet"],
        "data.kind: there is no kind 'imagenet'; choose from cifar100, cifar10",
    ),
    (["--epochs", "yes"], "epochs: input should be a valid number (got True)"),
    (["--epochs", "True"], "epochs: input should be a valid number (got True)"),
    (["--seed", "true"], "seed: input should be a valid number (got True)"),
    (["--optimizer.lr", "true"], "optimizer.lr: input should be a valid number (got True)"),
    (["--architecture.depths", "[true, 1, 1, 1]"], "architecture.depths.0: input should be"),
    (["--augmentation.0.padding", "false"], "augmentation.0.padding: input should be"),
    (["--epochs", "1:30"], "epochs: input should be a valid integer"),
    (["--optimizer.lr", "1:30.5"], "optimizer.lr: input should be a valid number"),
    (
        ["--weight-average", "{kind: swa, start_epoch: 50}", "--epochs", "10"],
        "weight_average.start_epoch 50 is beyond the last epoch, 10",
    ),
    (["--optimizer", "{kind: sgd, lr: 1, lr: 2}"], "--optimizer: it has the field 'lr' twice"),
    (["--lr", "0.1"], "lr: there is no such field; did you mean --optimizer.lr?"),
    (["--momentum", "0.9"], "did you mean --optimizer.momentum?"),
    (["--padding", "2"], "did you mean --augmentation.0.padding?"),
    (["--learning-rate", "0.1"], "did you mean --optimizer.lr?"),
    (["--out", "x"], "out: there is no such field; did you mean --dir?"),
    (["--output-dir", "x"], "did you mean --dir?"),
    (["--data", "cifar10"], "did you mean --data.kind cifar10?"),
    (["--optimizer", "adam"], "did you mean --optimizer.kind adamw?"),
    (["--optimizer", "AdamW"], "did you mean --optimizer.kind adamw?"),
    (["--optimizer.lr", "cosine"], "did you mean --optimizer.lr.kind cosine?"),
    (["--weight-average", "ema"], "did you mean --weight-average.kind ema?"),
    (["--loss", "mse"], "loss: input should be"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=lambda value: str(value)[:40])
def test_mistakes_are_reported_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve("resnet44", words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_recipes_and_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean resnet44"):
        resolve("resnet4")
    with pytest.raises(UserError, match=r"no recipe file .*gone\.yaml"):
        resolve("gone.yaml")
    for name, content, message in (
        ("a.yaml", "{", "cannot be read"),
        ("b.toml", "x = ", "cannot be read"),
        ("c.json", "[1]", "has no fields"),
        ("d.yaml", "base: resnet4", "did you mean"),
        ("e.yaml", "epochz: 3", "did you mean epochs"),
        ("f.yaml", "!!python/object/apply:os.system ['true']", "cannot be read"),
        ("g.json", b"\xff\xfe", "cannot be read"),
        ("h.json", "{}", "has no fields"),
        ("i.yaml", "", "has no fields"),
        ("j.toml", "", "has no fields"),
        ("k.yaml", "epochs: 1\nepochs: 2", "it has the field 'epochs' twice"),
        ("l.yaml", "optimizer:\n  lr: 1\n  lr: 2", "it has the field 'lr' twice"),
        ("m.json", '{"epochs": 1, "epochs": 2}', "it has the field 'epochs' twice"),
        ("n.toml", "epochs = 1\nepochs = 2", "cannot be read"),
        ("o.yaml", "epochs: yes", "epochs: input should be a valid number"),
        ("p.yaml", "epochs: 1:30", "1:30 is not a number in base 10"),
        ("r.yaml", "seed: 010", "010 is not a number in base 10"),
        ("q.json", '{"batch_size": true}', "batch_size: input should be a valid number"),
    ):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError, match=message):
            resolve(str(path))


@pytest.mark.parametrize("suffix", ["toml", "yaml", "json"])
def test_byte_order_mark_is_ignored(suffix: str, tmp_path: Path) -> None:
    content = {"toml": "epochs = 7", "yaml": "epochs: 7", "json": '{"epochs": 7}'}
    path = tmp_path / f"mine.{suffix}"
    path.write_text(content[suffix], encoding="utf-8-sig")
    assert resolve(str(path)).epochs == 7


def test_unambiguous_yaml_is_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 0x10\nseed: 1_000\ntarget_accuracy: 0.65e+2\ncompile: yes\nsam: ~\n")
    recipe = resolve(str(path))
    assert (recipe.epochs, recipe.seed, recipe.target_accuracy) == (16, 1000, 65.0)
    assert recipe.compile is True
    path.write_text("epochs: 3\nearly_stopping: {<<: {patience: 4}, patience: 5}\n")
    assert resolve(str(path)).early_stopping == EarlyStopping(patience=5)


def test_nesterov_is_checked_after_all_overrides() -> None:
    words = ["--optimizer.nesterov", "true", "--optimizer.momentum", "0"]
    with pytest.raises(UserError, match="nesterov needs a momentum"):
        resolve("resnet26w", words)
    assert resolve("resnet26w", ["--optimizer.nesterov", "true"]).optimizer == SGD(
        lr=0.01, nesterov=True, weight_decay=1e-5
    )


KEYS = st.sampled_from(["a", "b", "c"])


@given(st.lists(KEYS, min_size=1, max_size=4), st.integers())
def test_applied_override_is_found_at_its_path(path: list[str], value: int) -> None:
    tree = apply_overrides({"a": {"b": 1}, "c": 2}, [(".".join(path), value)])
    for key in path:
        tree = tree[key]
    assert tree == value


@given(st.lists(st.text(max_size=12), max_size=5))
def test_any_words_are_parsed_or_rejected(words: list[str]) -> None:
    with contextlib.suppress(UserError):
        assert len(parse_overrides(words)) <= len(words)
        assert isinstance(resolve("quickstart", words), Recipe)


def test_every_documented_command_changes_the_recipe() -> None:
    page = (Path(__file__).parents[2] / "docs/recipes.md").read_text()
    commands = re.findall(r"`residua train ([^`]*)`", page)
    assert len(commands) > 20
    for command in commands:
        name, *words = shlex.split(command)
        assert resolve(name, words) != recipes.built_in(name), command
