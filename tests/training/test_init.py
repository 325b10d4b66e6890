"""Starting from the weights of a trained network."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from equal_runs import assert_equal_runs, log_without_measurements
from PIL import Image

from residua import UserError, fit, load, resolve
from residua.inference.sources import read_model
from residua.recipes.loading import parse_recipe
from residua.recipes.recipe import Recipe
from residua.reports import write_report
from residua.runs.run import Run
from residua.training.events import Stopped
from residua.training.loop import resume, train
from residua.training.session import build_training

Tiny = Callable[..., Recipe]
OPTIMIZERS = {
    "sgd": {"kind": "sgd", "lr": {"kind": "cosine", "start": 0.1}},
    "adamw": {"kind": "adamw", "lr": 0.01, "decay_filter": "weights"},
    "muon": {"kind": "muon", "lr": {"kind": "linear", "start": 0.2, "end": 0}},
}


@pytest.fixture(scope="module")
def trained(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on shapes100, normalized in its own way."""
    stats = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
    return fit(tiny(epochs=1, normalization=stats), tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture
def source(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, which a test may change."""
    shutil.copytree(trained, tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Any]:
    """A folder of two classes."""
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 40), ("test", 8)):
        for name, low in (("dark", 0), ("bright", 120)):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = torch.randint(low, low + 130, (32, 32, 3), generator=generator)
                Image.fromarray(pixels.byte().numpy()).save(folder / f"{index}.png")
    return {"kind": "folder", "path": str(tmp_path / "pictures"), "size": 32}


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_same_classes_take_over_every_weight_and_the_normalization(
    tiny: Tiny, source: Path
) -> None:
    session, state = build_training(tiny(init=str(source), weight_average={"kind": "ema"}))
    trained = load(source).network
    for name, value in trained.network.state_dict().items():
        assert torch.equal(state.network.state_dict()[name], value), name
        assert torch.equal(state.average[name], value), name
    assert session.recipe.normalization == load(source).info.normalization
    assert torch.equal(session.pipeline.normalize.mean, trained.normalize.mean)
    assert session.init is not None
    assert not session.init.new_head


def test_other_classes_get_a_new_head(tiny: Tiny, source: Path, pictures: dict[str, Any]) -> None:
    recipe = tiny(data=pictures, init=str(source))
    session, state = build_training(recipe)
    plain = build_training(tiny(data=pictures))[1].network.state_dict()
    trained = load(source).network.network.state_dict()
    heads = [name for name in plain if name.startswith(f"head.{len(state.network.head) - 1}.")]
    assert len(heads) == 2
    for name, value in state.network.state_dict().items():
        assert torch.equal(value, (plain if name in heads else trained)[name]), name
    assert session.init is not None
    assert session.init.new_head


def test_normalization_of_the_data_or_of_the_recipe(tiny: Tiny, source: Path) -> None:
    own = build_training(tiny())[0].pipeline.normalize.mean
    init = {"source": str(source), "normalization": "data"}
    session, _ = build_training(tiny(init=init))
    assert torch.equal(session.pipeline.normalize.mean, own)
    assert session.init is not None
    assert not session.init.source_normalization
    stated = {"mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 1.0]}
    session, _ = build_training(tiny(init=str(source), normalization=stated))
    assert session.recipe.normalization == tiny(normalization=stated).normalization


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_resumption_is_exact_and_needs_no_source(
    tiny: Tiny, source: Path, pictures: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    init = {"source": str(source), "body_lr_scale": 0.1}
    recipe = tiny(data=pictures, init=init, optimizer=OPTIMIZERS[kind], batch_size=32, epochs=2)
    fit(recipe, tmp_path / "whole")
    *_, end = train(recipe, tmp_path / "parts", lambda progress: progress.step >= 2)
    assert end == Stopped(2)
    shutil.rmtree(source)
    list(resume(tmp_path / "parts"))
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    kept = Run.open(tmp_path / "parts")
    assert kept.recipe.init is not None
    assert kept.init is not None
    assert kept.recipe.init.sha256 == kept.init.sha256 != ""
    text = (write_report(kept).parent / "report.md").read_text()
    assert f"SHA-256 {kept.init.sha256[:16]}" in text


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_body_learns_more_slowly(tiny: Tiny, source: Path, kind: str) -> None:
    """Of one step without momentum, the body's change is scaled and the head's is not."""
    from residua.training.loop import step

    def change(scale: float) -> dict[str, torch.Tensor]:
        init = {"source": str(source), "body_lr_scale": scale}
        optimizer = OPTIMIZERS[kind] | {"lr": 0.01}
        optimizer |= {"normalize_weights": False} if kind == "muon" else {"weight_decay": 0.0}
        session, state = build_training(tiny(init=init, optimizer=optimizer))
        before = weights(state.network)
        step(session, state)
        trained = [name for name, _ in state.network.named_parameters()]
        return {name: state.network.state_dict()[name] - before[name] for name in trained}

    whole, slow, frozen = change(1.0), change(0.25), change(0.0)
    for name, value in whole.items():
        scale = 1.0 if name.startswith("head.") else 0.25
        torch.testing.assert_close(slow[name], scale * value, rtol=0.02, atol=2e-6)
        assert frozen[name].any() == name.startswith("head."), name


def test_log_has_the_recipes_learning_rate(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    init = {"source": str(source), "body_lr_scale": 0.1}
    optimizer = {"kind": "muon", "lr": 0.2}
    run = fit(tiny(init=init, optimizer=optimizer, epochs=1), tmp_path / "run")
    assert run.log[0].lr == 0.2


def test_init_has_an_effect(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    changes = ({}, {"init": str(source)}, {"init": {"source": str(source), "body_lr_scale": 0.5}})
    for index, change in enumerate(changes):
        fit(tiny(epochs=1, **change), tmp_path / str(index))
    logs = [log_without_measurements(tmp_path / str(index)) for index in range(3)]
    assert logs[0] != logs[1] != logs[2] != logs[0]


def test_recipe_of_the_run_states_the_weights(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    run = fit(tiny(init=str(source), epochs=1), tmp_path / "run")
    again = fit(resolve(str(run.path / "recipe.json")), tmp_path / "again")
    assert again.recipe == run.recipe
    assert_equal_runs(run.path, again.path)
    shutil.rmtree(source)
    fit(tiny(epochs=1, seed=1), source)
    with pytest.raises(UserError, match="has other weights than the recipe states"):
        build_training(run.recipe)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture__widths": [4, 12]}, r"architecture.widths \[4, 8\], this recipe has"),
        ({"architecture__activation": "silu"}, 'architecture.activation "relu", this recipe'),
        ({"architecture__norm": {"kind": "none"}}, "architecture.norm"),
    ],
)
def test_other_networks_are_refused(
    tiny: Tiny, source: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build_training(tiny(init=str(source), **changes))
    assert "\n" not in str(caught.value)


def test_the_pretrained_network_is_a_source() -> None:
    words = ["--data.kind", "shapes100", "--data.train", "200", "--data.test", "100"]
    recipe = resolve("pocket", [*words, "--batch-size", "64", "--init", "pocket"])
    _, state = build_training(recipe)
    network, info = read_model("pocket")
    trained, own = network.network.state_dict(), state.network.state_dict()
    same = [name for name, value in own.items() if torch.equal(value, trained[name])]
    assert set(own) - set(same) == {"head.2.weight"}
    assert len(info.classes) == 100


def test_dropout_and_pooling_may_differ(tiny: Tiny, source: Path) -> None:
    build_training(
        tiny(
            init=str(source),
            architecture__dropout=0.2,
            architecture__stem__dropout=0.1,
            architecture__pooling={"kind": "max"},
        )
    )


def test_sources_that_are_not_there(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    for path, message in (
        ("nowhere", "there is no trained network 'nowhere'"),
        (tmp_path / "empty", "has no model"),
        (tmp_path / "notes.txt", "is not a trained network"),
    ):
        with pytest.raises(UserError, match=message):
            build_training(tiny(init=str(path)))
        assert not (tmp_path / "run").exists()
    info = json.loads((source / "model.json").read_text())
    (source / "model.json").write_text(json.dumps(info | {"epoch": 7}))
    with pytest.raises(UserError, match="damaged"):
        build_training(tiny(init=str(source / "model.safetensors")))


@pytest.mark.parametrize(
    "words",
    [
        ["--init", "runs/x", "--init.body-lr-scale", "0.1"],
        ["--init.body-lr-scale", "0.1", "--init", "runs/x"],
        ["--init", "{source: runs/x, body_lr_scale: 0.1}"],
    ],
)
def test_short_and_long_form(words: list[str]) -> None:
    init = resolve("quickstart", words).init
    assert init is not None
    assert (init.source, init.body_lr_scale) == ("runs/x", 0.1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "init: must be a run"),
        ({"source": "x", "body_lr_scale": 2}, "init.body_lr_scale: input should be less than"),
        ({"source": "x", "weights": 2}, "init.weights: there is no such field"),
        ({"source": "x", "sha256": "abc"}, "init.sha256"),
        ({}, "init.source: this field is required"),
    ],
)
def test_wrong_values(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_recipe({"init": value})


def test_shipped_network_is_a_source_by_its_name() -> None:
    """`pocket`'s weights, and the name stays in the recipe."""
    words = ["--data.kind", "shapes100", "--data.train", "600", "--data.test", "20"]
    session, state = build_training(resolve("pocket", [*words, "--init", "pocket"]))
    trained = load("pocket").network.network.state_dict()
    for name, value in state.network.state_dict().items():
        assert name.startswith("head.") or torch.equal(value, trained[name]), name
    assert session.recipe.init is not None
    assert session.recipe.init.source == "pocket"
