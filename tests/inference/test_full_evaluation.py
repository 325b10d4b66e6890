"""Evaluations of trained networks: one pass, training mode, ensembles, what is stored."""

import copy
import csv
import io
import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

import residua
from residua import Classifier, UserError, evaluate, fit, load
from residua.augment.normalize import Normalize
from residua.data import Shapes100, Split, channel_stats
from residua.inference.full_evaluation import evaluate_fully
from residua.inference.image_table import image_csv
from residua.inference.robustness import evaluate_corruptions
from residua.models.network import NormalizedNetwork
from residua.recipes.recipe import Recipe
from residua.runs.evaluations import (
    CorruptionRecord,
    Outputs,
    check_name,
    load_corruptions,
    load_evaluations,
    load_outputs,
    save_corruptions,
    save_evaluation,
)
from residua.runs.model_file import ModelInfo
from residua.runs.run import Run

Tiny = Callable[..., Recipe]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With dropout, a holdout and test-time augmentation."""
    path = tmp_path_factory.mktemp("runs") / "run"
    overrides = [
        "--epochs", "2", "--data.train", "300", "--data.test", "120", "--data.holdout", "100",
        "--device", "cpu", "--architecture.widths", "[4, 8, 8]", "--architecture.stem.width", "4",
        "--architecture.dropout", "0.5", "--tta", "mirror_translate", "--batch-size", "32",
    ]  # fmt: skip
    return fit(residua.resolve("quickstart", overrides), path)


@pytest.fixture(scope="module")
def classifier(trained: Run) -> Classifier:
    return load(trained)


@pytest.fixture(scope="module")
def test(classifier: Classifier) -> Split:
    return classifier.recipe.data.load(classifier.recipe.seed).test


def test_one_pass_gives_single_views_and_test_time_augmentation_apart(
    classifier: Classifier, test: Split
) -> None:
    record = evaluate_fully(classifier, test, "test").record
    assert list(record.views) == ["none", "mirror_translate"]
    for tta, found in record.views.items():
        plain = evaluate(classifier, test, tta=tta)
        assert (found.loss, found.accuracy) == (plain.loss, plain.accuracy)
        assert found.top5 == pytest.approx(plain.top5)
        assert found.calibrated is None
    assert record.single is record.views["none"]
    assert record.data_sha256 == test.checksum
    only_single = evaluate_fully(classifier, test, "test", tta="none").record
    assert list(only_single.views) == ["none"]
    assert only_single.single == record.single


def test_temperature_comes_from_the_holdout(classifier: Classifier, test: Split) -> None:
    holdout = classifier.recipe.data.load(classifier.recipe.seed).holdout
    record = evaluate_fully(classifier, test, "test", holdout=holdout).record
    on_holdout = evaluate_fully(classifier, holdout, "holdout", holdout=holdout).record
    for tta in record.views:
        fitted, best = record.views[tta].calibrated, on_holdout.views[tta].calibrated
        assert fitted is not None
        assert best is not None
        assert fitted.temperature == best.temperature
        # It minimises the loss on the holdout, not on the test set.
        assert best.loss <= on_holdout.views[tta].loss
    given = evaluate_fully(classifier, test, "test", temperatures={"none": 2.5}).record
    assert given.single.calibrated is not None
    assert given.single.calibrated.temperature == 2.5
    assert given.views["mirror_translate"].calibrated is None


def test_training_mode_uses_batch_statistics_and_dropout(
    classifier: Classifier, test: Split
) -> None:
    before = copy.deepcopy(classifier.network.state_dict())
    first = classifier.outputs_in_training_mode(test, seed=1, batch_size=40)
    assert not torch.equal(first.logits, classifier.outputs(test).logits)
    again = classifier.outputs_in_training_mode(test, seed=1, batch_size=40)
    assert torch.equal(first.logits, again.logits)
    other = classifier.outputs_in_training_mode(test, seed=2, batch_size=40)
    assert not torch.equal(first.logits, other.logits)
    for name, value in classifier.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not classifier.network.training


def test_training_mode_is_that_of_torch(classifier: Classifier, test: Split) -> None:
    """Without dropout it is the network in `train()`, batch by batch."""
    plain = copy.deepcopy(classifier)
    for module in plain.network.modules():
        if hasattr(module, "set_progress"):
            module.rate = 0.0
    found = plain.outputs_in_training_mode(test, batch_size=50)
    network = copy.deepcopy(plain.network).train()
    for module in network.modules():
        if hasattr(module, "set_progress"):
            module.p = 0.0
    with torch.no_grad():
        expected = torch.cat([network(part) for part in test.images.split(50)])
    torch.testing.assert_close(found.logits, expected)
    norm = next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    kept = next(m for m in plain.network.modules() if isinstance(m, nn.BatchNorm2d))
    assert not torch.equal(norm.running_mean, kept.running_mean)


def test_stored_evaluation_is_read_back(trained: Run, classifier: Classifier, test: Split) -> None:
    full = evaluate_fully(classifier, test, "stored", seed=3)
    path = save_evaluation(trained, full.record, full.outputs)
    assert path.is_file()
    assert load_evaluations(trained) == [full.record]
    outputs = load_outputs(trained, "stored")
    assert outputs is not None
    assert torch.equal(outputs.logits, full.outputs.logits)
    assert torch.equal(outputs.labels, test.labels)
    assert load_outputs(trained, "other") is None
    assert load_outputs(trained, "../stored") is None
    path.write_text(path.read_text().replace('"accuracy": ', '"accuracy": 1000'))
    with pytest.raises(UserError, match="is damaged"):
        load_evaluations(trained)
    path.unlink()
    path.with_suffix(".safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match="is damaged"):
        load_outputs(trained, "stored")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "corruptions", "x" * 65, "a b"])
def test_names_that_are_no_file_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="--name"):
        check_name(name)


@pytest.mark.parametrize(
    ("labels", "logits"),
    [
        (torch.tensor([0, 3]), torch.zeros(2, 3)),
        (torch.tensor([0, 1]), torch.zeros(3, 3)),
        (torch.tensor([0]), torch.full((1, 3), torch.nan)),
        (torch.tensor([0.0]), torch.zeros(1, 3)),
        (torch.tensor([], dtype=torch.int64), torch.zeros(0, 3)),
    ],
    ids=["label", "count", "nan", "float", "empty"],
)
def test_outputs_are_checked(labels: torch.Tensor, logits: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="must be"):
        Outputs(labels, logits)


def test_csv_has_a_row_for_each_image(classifier: Classifier, test: Split) -> None:
    outputs = classifier.outputs(test)
    rows = list(csv.DictReader(io.StringIO(image_csv(outputs, test.classes))))
    assert len(rows) == len(test)
    probabilities = outputs.logits.softmax(1)
    for index in (0, 57, 119):
        row, label = rows[index], int(test.labels[index])
        assert row["index"] == str(index)
        assert row["label"] == test.classes[label]
        best = int(probabilities[index].argmax())
        assert row["prediction"] == row["top1"] == test.classes[best]
        assert row["correct"] == str(int(best == label))
        assert float(row["label_probability"]) == pytest.approx(
            float(probabilities[index, label]), abs=1e-6
        )
        assert outputs.averaged is not None
        assert row["tta_prediction"] == test.classes[int(outputs.averaged[index].argmax())]
        assert float(row["top5_probability"]) <= float(row["top4_probability"])


def test_corruptions_are_evaluated_block_by_block(
    trained: Run, classifier: Classifier, test: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("residua.inference.corruptions.BLOCK", 50)
    sizes: list[int] = []
    original = Classifier.classify

    def classify(self: Classifier, images: torch.Tensor, tta: str = "none") -> torch.Tensor:
        sizes.append(len(images))
        return original(self, images, tta)  # type: ignore[arg-type]

    monkeypatch.setattr(Classifier, "classify", classify)
    seen: list[tuple[str, int]] = []
    record = evaluate_corruptions(
        classifier, test, ("contrast", "fog"), progress=lambda kind, s, _: seen.append((kind, s))
    )
    assert sizes == [50, 50, 20] * 10
    assert seen == [(kind, s) for kind in ("contrast", "fog") for s in (1, 2, 3, 4, 5)]
    assert record.clean == evaluate(classifier, test, tta="none").accuracy
    save_corruptions(trained, record)
    assert load_corruptions(trained) == record


def corruption_record(**changes: object) -> CorruptionRecord:
    accuracies = {"fog": (90.0, 80.0, 70.0, 60.0, 50.0), "snow": (80.0,) * 5}
    fields = {"epoch": 1, "images": 10, "clean": 95.0, "accuracies": accuracies} | changes
    return CorruptionRecord.model_validate(fields)


def test_mean_corruption_errors_by_hand() -> None:
    record = corruption_record()
    assert record.errors == {"fog": 30, "snow": 20}
    assert record.mean_error == 25
    reference = corruption_record(accuracies={"fog": (40.0,) * 5, "snow": (60.0,) * 5})
    assert record.relative_error(reference) == pytest.approx(50)
    assert record.relative_error(record) == 100
    for changes, message in (
        ({"data_sha256": "x"}, "other images"),
        ({"seed": 3}, "other images, with other seed"),
        ({"accuracies": {"fog": (40.0,) * 5}}, "other kinds"),
        ({"accuracies": {"fog": (100.0,) * 5, "snow": (60.0,) * 5}}, "no mistakes"),
    ):
        with pytest.raises(UserError, match=message):
            record.relative_error(corruption_record(**changes))
    earlier = corruption_record(accuracies={"fog": (1.0,) * 5, "frost": (2.0,) * 5})
    merged = record.merged_with(earlier)
    assert merged.errors == {"fog": 30, "frost": 98, "snow": 20}
    assert record.merged_with(corruption_record(seed=1)) == record
    with pytest.raises(ValueError, match="each severity"):
        corruption_record(accuracies={"fog": (1.0, 2.0)})


def test_everything_costs_at_most_twice_a_plain_pass() -> None:
    """Of a small network on few images, where the pass is cheap; time of one thread."""
    recipe = residua.resolve("quickstart", ["--device", "cpu"])
    data = Shapes100(train=1, test=500)
    test = data.load(0).test
    network = recipe.architecture.build(100).eval()

    stats = channel_stats(test)
    info = ModelInfo(
        recipe=recipe, classes=test.classes, normalization=stats, image_size=(32, 32), epoch=1,
        step=1, selection_split="test", metrics={},
    )  # fmt: skip
    model = Classifier(
        NormalizedNetwork(Normalize.from_stats(stats), network), info, torch.device("cpu")
    )

    def seconds(evaluation: Callable[[], object]) -> float:
        start = time.thread_time()
        evaluation()
        return time.thread_time() - start

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model.evaluate(test)
        pairs = [
            (
                seconds(lambda: model.evaluate(test)),
                seconds(lambda: evaluate_fully(model, test, "")),
            )
            for _ in range(3)
        ]
    finally:
        torch.set_num_threads(threads)
    plain, full = (min(times) for times in zip(*pairs, strict=True))
    assert full <= 2 * plain
