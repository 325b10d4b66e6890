"""The saved model: what is in it, and that it gives the figures of its training."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from residua import Classifier, UserError, evaluate, fit, load
from residua.data import Shapes100, Split
from residua.inference.evaluation import evaluate_split
from residua.inference.predictor import ClassProbabilities
from residua.recipes.recipe import Recipe
from residua.runs.model_file import load_model
from residua.runs.run import Run

Tiny = Callable[..., Recipe]
FEATURES = {
    "plain": {},
    "mirror": {"tta": "mirror"},
    "bfloat16": {"precision": "bfloat16"},
    "ema": {"weight_average": {"kind": "ema", "decay": 0.5}},
    "swa": {"weight_average": {"kind": "swa", "start_epoch": 1, "bn_images": 64}},
    "whitening": {
        "architecture": {"stem": {"kind": "whitening"}, "depths": [1], "widths": [8]},
        "image_size": 16,
    },
    "group_norm": {"architecture__norm": {"kind": "group", "groups": 2}},
    "no_norm": {"architecture__norm": {"kind": "none"}, "optimizer__lr": 0.01},
}


@pytest.fixture(scope="module")
def images() -> Split:
    return Shapes100(train=200, test=100).load(0).test


@pytest.mark.parametrize("changes", FEATURES.values(), ids=FEATURES)
def test_loaded_model_gives_the_figures_of_its_training(
    tiny: Tiny, tmp_path: Path, images: Split, changes: dict
) -> None:
    """Bit for bit, from model.safetensors and model.json alone."""
    result = fit(tiny(**changes), tmp_path / "run").result
    assert result is not None
    model = tmp_path / "elsewhere"
    model.mkdir()
    for path in (tmp_path / "run").glob("model*"):
        path.rename(model / path.name)
    best = load(model).evaluate(images)
    assert (best.loss, best.accuracy) == (result.best.test_loss, result.best.test_accuracy)
    last = load(model, "last").evaluate(images)
    assert (last.loss, last.accuracy) == (result.last.test_loss, result.last.test_accuracy)


@pytest.fixture
def trained(small_run: Run) -> Run:
    return small_run


def test_model_json_says_what_the_network_is(trained: Run) -> None:
    info = json.loads((trained.path / "model.json").read_text())
    result = trained.result
    assert result is not None
    assert info["recipe"]["architecture"]["widths"] == [4, 8, 8]
    assert len(info["classes"]) == 100
    assert info["image_size"] == [32, 32]
    assert (info["epoch"], info["selection_split"]) == (result.best.epoch, "test")
    assert info["metrics"]["test"]["accuracy"] == result.best.test_accuracy
    assert info["normalization"] == trained.data.model_dump(mode="json")["normalization"]


def test_weights_hold_the_normalization_as_a_module(trained: Run) -> None:
    tensors = load_file(trained.path / "model.safetensors")
    assert {"normalize.mean", "normalize.std", "network.stem.0.weight"} <= tensors.keys()


def test_holdout_figures_are_those_of_the_log(tiny: Tiny, tmp_path: Path) -> None:
    run = fit(tiny(data__holdout=50), tmp_path / "run")
    metrics = load(run).info.metrics
    assert metrics.keys() == {"holdout"}
    epochs = {record.epoch: record.holdout_accuracy for record in run.log}
    assert metrics["holdout"].accuracy == epochs[load(run).info.epoch]
    evaluation = evaluate(run, split="holdout")
    assert evaluation.accuracy == metrics["holdout"].accuracy


def test_predictions_are_those_of_the_evaluation(trained: Run, images: Split) -> None:
    classifier = load(trained)
    evaluation = evaluate(trained)
    output = classifier.predict(images.images)
    assert isinstance(output, ClassProbabilities)
    assert output.probabilities.shape == (100, 100)
    assert output.probabilities.sum(1).tolist() == pytest.approx([1.0] * 100, abs=1e-5)
    assert output.labels == [images.classes[index] for index in evaluation.predicted.tolist()]
    (name, probability), second = output.top(2)[0]
    assert name == output.labels[0]
    assert probability == pytest.approx(float(evaluation.confidence[0]), abs=1e-5)
    assert second[1] <= probability


def test_predict_takes_files_arrays_and_pil_images(
    trained: Run, images: Split, tmp_path: Path
) -> None:
    classifier = load(trained)
    tensor = images.images[0]
    array = np.ascontiguousarray(tensor.permute(1, 2, 0).numpy())
    picture = Image.fromarray(array)
    picture.save(tmp_path / "picture.png")
    expected = classifier.predict(tensor[None]).probabilities
    for image in (tensor, array, picture, tmp_path / "picture.png", str(tmp_path / "picture.png")):
        assert torch.equal(classifier.predict(image).probabilities, expected)
    both = classifier.predict([tensor, picture.resize((64, 48))])
    assert both.probabilities.shape == (2, 100)


def test_loading_needs_no_data_and_no_optimiser(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the data set was loaded")

    monkeypatch.setattr(Shapes100, "read", refuse)
    monkeypatch.setattr(torch.optim.Optimizer, "__init__", refuse)
    classifier = load(trained.path)
    assert isinstance(classifier, Classifier)
    assert classifier.recipe.name == "quickstart"
    assert len(classifier.classes) == 100


def test_tta_and_another_data_set_can_be_given(trained: Run, images: Split) -> None:
    plain, mirrored = evaluate(trained, images), evaluate(trained, images, tta="mirror")
    assert plain.loss != mirrored.loss
    larger = evaluate(trained, Shapes100(train=10, test=300))
    assert len(larger.predicted) == 300


def test_evaluation_takes_smaller_batches_where_memory_does_not_suffice(images: Split) -> None:
    sizes: list[int] = []

    def small(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 30:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")
        return batch.flatten(1)[:, :100]

    evaluation = evaluate_split(small, images, lambda batch: batch.float())
    assert sizes == [100, 100, 100, 64, 32, *[16] * 6, 12]
    assert len(evaluation.predicted) == 100
    whole = evaluate_split(lambda batch: batch.flatten(1)[:, :100], images, torch.Tensor.float)
    assert torch.equal(evaluation.predicted, whole.predicted)
    assert evaluation.loss == pytest.approx(whole.loss)
    with pytest.raises(RuntimeError, match="shape"):
        evaluate_split(broken, images, lambda batch: batch.float())


def broken(_: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("wrong shape")


def test_other_classes_are_refused(trained: Run, images: Split) -> None:
    renamed = Split(images.images, images.labels, tuple(reversed(images.classes)))
    with pytest.raises(UserError, match="other classes"):
        evaluate(trained, renamed)


def test_missing_or_damaged_models_are_one_clear_error(trained: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no model"):
        load(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in trained.path.glob("model.*"):
        (copy / path.name).write_bytes(path.read_bytes())
    tensors = load_file(copy / "model.safetensors")
    tensors["network.stem.0.weight"] += 1
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="do not match"):
        load_model(copy)
    (copy / "model.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match="is damaged"):
        load_model(copy)
    (copy / "model.json").write_text('{"format_version": 2}')
    with pytest.raises(UserError, match="format_version is 2, and this version of residua reads 1"):
        load_model(copy)
