"""The model card says what was measured, and nothing else."""

import re
from pathlib import Path

import pytest
import yaml

from residua.integrations.hub.card import measured, metadata, model_card
from residua.recipes.recipe import Recipe
from residua.reports.run_data import RunData
from residua.runs.records import Metrics
from residua.runs.run import Run


def header(text: str) -> dict[str, object]:
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert found
    return yaml.safe_load(found[1])


def test_figures_of_last_and_best_epoch_are_apart(trained: Run, repository: Path) -> None:
    result = trained.result
    assert result is not None
    card = (repository / "README.md").read_text()
    fields = header(card)
    assert fields["library_name"] == "residua"
    assert fields["pipeline_tag"] == "image-classification"
    assert fields["license"] == "mit"
    assert "datasets" not in fields
    last, best = fields["model-index"][0]["results"]
    for entry, which, at in ((last, "last", result.last), (best, "best", result.best)):
        assert entry["dataset"]["split"] == "test"
        values = {each["type"]: each["value"] for each in entry["metrics"]}
        assert values == {
            "accuracy": pytest.approx(at.test_accuracy, abs=1e-4),
            "top_5_accuracy": pytest.approx(at.test_top5, abs=1e-4),
            "loss": pytest.approx(at.test_loss, abs=1e-4),
        }
        for each in entry["metrics"]:
            assert f"{which} epoch ({at.epoch}), test split, 1 seed" in each["name"]
            assert each["args"] == {"epoch": at.epoch, "which": which, "seeds": 1}
        row = f"| {which} ({at.epoch}) | test | 100 | {at.test_accuracy:.2f} % "
        assert row in card
    assert "selected on the test set itself: its accuracy is optimistic" in card
    assert "&id" not in card


def test_every_figure_in_the_card_is_in_the_run(trained: Run, repository: Path) -> None:
    """Each number of the text, apart from code, is one that the run has."""
    card = (repository / "README.md").read_text().partition("\n---\n")[2]
    text = re.sub(r"```.*?```|`[^`]*`", "", card, flags=re.DOTALL)
    result, records = trained.result, trained.log
    assert result is not None
    known = {"2,948", "32", "100", "200", "64", "0", "1", "3", "2.13.0", "0.1.0", "2", "5"}
    for at in (result.last, result.best):
        known |= {f"{at.test_accuracy:.2f}", f"{at.test_top5:.2f}", f"{at.test_loss:.4f}"}
        known.add(str(at.epoch))
    known.add(f"{sum(record.seconds for record in records) / 60:.1f}")
    known |= {str(version) for version in trained.environment.packages.values()}
    known |= {trained.recipe.precision, *re.findall(r"\d+", trained.environment.device)}
    parameters = re.findall(r"([\d,]+) parameters", text)
    known |= set(parameters)
    for number in re.findall(r"\d[\d,.]*\d|\d", text):
        assert any(number in each for each in known), number


def test_without_a_licence_the_card_says_so(trained: Run) -> None:
    card = model_card(RunData.read(trained), None, None, "alice/tiny", None)
    assert "license" not in header(card)
    assert "No licence was chosen." in card


def test_unfinished_run_has_the_figures_so_far(trained: Run, recipe: Recipe) -> None:
    run = RunData(trained.path, recipe, tuple(trained.log[:2]))
    assert [(each.which, each.split) for each in measured(run)] == [
        ("last", "test"),
        ("best", "test"),
    ]
    card = model_card(run, None, None, None, None)
    assert "not finished: 2 of 3 epochs" in card
    nothing = model_card(RunData(trained.path, recipe), None, None, None, None)
    assert "model-index" not in header(nothing)
    assert "Nothing was measured yet" in nothing


def test_holdout_figures_have_their_split(trained: Run, recipe: Recipe) -> None:
    record = trained.log[0].replace(test_loss=None, test_accuracy=None, test_top5=None)
    held = record.with_evaluation("holdout", Metrics(loss=1.5, accuracy=40, top5=80), 1.0, False)
    data = recipe.data.replace(holdout=20)
    run = RunData(trained.path, recipe.replace(data=data), (held,), trained.result)
    shown = [(each.which, each.split) for each in measured(run)]
    assert shown == [("last", "test"), ("best", "test"), ("last", "holdout"), ("best", "holdout")]
    assert "selected on the holdout" in model_card(run, None, None, None, None)


def test_data_sets_have_their_names(trained: Run, recipe: Recipe) -> None:
    run = RunData(trained.path, recipe.replace(data={"kind": "cifar100"}), tuple(trained.log))
    fields = metadata(run, "alice/tiny", None)
    assert fields["datasets"] == ["uoft-cs/cifar100"]
    assert fields["model-index"][0]["name"] == "tiny"


@pytest.mark.extra("huggingface_hub")
def test_hub_reads_the_card(repository: Path, trained: Run) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(repository / "README.md")
    assert trained.result is not None
    values = [
        each.metric_value for each in card.data.eval_results if each.metric_type == "accuracy"
    ]
    assert values == [
        pytest.approx(trained.result.last.test_accuracy, abs=1e-4),
        pytest.approx(trained.result.best.test_accuracy, abs=1e-4),
    ]
    assert card.data.library_name == "residua"
