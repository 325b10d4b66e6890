"""The training log in the form of the published documents."""

import re

import pytest
from made_runs import RECIPE, finish, make_run, records, run_data
from test_run_report import linked

from residua.recipes import built_in as recipes
from residua.recipes.loading import resolve
from residua.reports import write_report
from residua.reports.run_report.network import architecture_lines, model_statistics, structure
from residua.reports.training_log import progress_blocks, regularisation
from residua.runs import log_lines


def log_of(run):
    write_report(run)
    return (run.report_dir / "training-log.md").read_text(encoding="utf-8")


def test_sections_are_in_the_documents_order(finished):
    assert re.findall(r"^##+ (?!EPOCH)(.+)$", log_of(finished), re.MULTILINE) == [
        "Model", "Model statistics", "Architecture", "Dataset", "Training configuration",
        "Training progress", "Summary", "Key milestones", "Training curves",
        "Training as an animation", "Analysis",
        "Overfitting gap", "Plateau", "Dynamics", "Recommendations", "Checkpoints",
        "Hardware and environment",
    ]  # fmt: skip


def test_every_epoch_is_printed_as_in_the_documents(finished):
    text = log_of(finished)
    for record in finished.log:
        line = log_lines.evaluation_line(record)
        bar = log_lines.bar_line(record)
        assert f"### EPOCH: {record.epoch}\n\n```\n{bar}\n```\n\n{line}" in text
    assert text.count("✓ **Target Reached!**") == text.count("✓ **Best Model!**") == 1


def test_model_statistics_are_those_of_the_document():
    table = model_statistics(structure(recipes.built_in("resnet44").architecture, 100, 32))
    rows = dict(table.rows)
    assert rows["Total parameters"] == rows["Trainable parameters"] == "30,032,292"
    assert rows["Non-trainable parameters"] == "0"
    assert rows["Model size"] == "114.56 MB"
    assert rows["Input size"] == "0.01 MB (3×32×32)"


def test_architecture_lists_every_stage():
    architecture = recipes.built_in("resnet44").architecture
    lines = architecture_lines(architecture, structure(architecture, 100, 32))
    assert lines[0] == "Input (3×32×32)"
    assert lines[2] == "Stage 1: 5× basic block (64 channels, stride 1)   # 64×32×32"
    assert lines[5] == "Stage 4: 5× basic block (512 channels, stride 2)   # 512×4×4"
    assert lines[6] == "Average pooling → Dropout(0.3) → Linear   # 100"
    assert architecture_lines(architecture, None)[0] == "Input (3 channels)"
    assert len(architecture_lines(architecture, None)) == 7


def test_summary_and_links(finished):
    text = log_of(finished)
    for line in (
        "| Accuracy margin | +23.00 points |",
        "| Epoch of best model | 7 |",
        "| Test accuracy, last epoch | 60.12 % |",
        "- **Epoch 7**: 63.00 % (best)",
        "| device | cpu, 2 threads |",
        "| Test images | 24 |",
    ):
        assert line in text
    assert "Test accuracy, best epoch" not in text
    names = linked(text)
    assert [name for name in names if name.endswith("webp")] == ["figures/training.webp"]
    assert len(names) == 5
    assert all((finished.report_dir / name).is_file() for name in names)


def test_run_with_holdout_has_test_accuracies_of_both_epochs(tmp_path):
    run = make_run(tmp_path / "run", log=records(8, "holdout"))
    text = log_of(finish(run, split="holdout"))
    assert "| Best holdout accuracy | 63.00 % |" in text
    assert "| Test accuracy, best epoch | 63.45 % |" in text


def test_regularisation_is_listed_with_its_strength():
    texts = {name: regularisation(recipes.built_in(name)) for name in recipes.names()}
    assert texts["resnet44"] == "cutmix: alpha 1, p 0.5; label smoothing 0.1; dropout 0.3"
    assert texts["resnet26w"] == "channel dropout in the stem 0.02"
    phases = "dropout in blocks phases: boundaries 60, values (0.3, 0.2)"
    assert texts["wrn28_10"].endswith(phases)
    words = ["--sam.rho", "0.1", "--architecture.stochastic-depth", "0.2"]
    recipe = resolve("resnet44v2", words)
    assert regularisation(recipe) == "sam: rho 0.1; dropout 0.1; stochastic depth 0.2"


def test_checkpoints_are_listed(finished):
    assert "No checkpoint is saved yet." in log_of(finished)
    finished.best_checkpoint.touch()
    (finished.checkpoint_dir / "step-00000032.safetensors").touch()
    text = log_of(finished)
    assert "- **best epoch (7)**: checkpoints/best.safetensors, 63.00 %" in text
    assert "- **last epoch (8)**: checkpoints/step-00000032.safetensors, 60.00 %" in text
    (finished.checkpoint_dir / "step-00000034.safetensors").touch()
    assert "- **the middle of an epoch**: checkpoints/step-00000034" in log_of(finished)


def test_recommendations_have_a_command(tmp_path):
    run = make_run(tmp_path / "run", RECIPE, records(12, train_accuracy=99.5))
    text = log_of(run)
    assert "**Augment more.** Training accuracy is at least 99 %" in text
    assert "residua train recipe.json --augmentation '[" in text
    html = (run.report_dir / "report.html").read_text(encoding="utf-8")
    assert "What to try next" in html


@pytest.mark.parametrize("every", [1, 3])
def test_epochs_without_evaluation_say_so(every):
    _, *blocks = progress_blocks(run_data(records(6, every=every)))
    texts = [block.parts for block in blocks[2::3]]
    missing = [parts[0] == "Not evaluated." for parts in texts]
    assert missing == [epoch % every > 0 for epoch in range(1, 7)]
    assert sum(len(parts) // 2 for parts in texts) == 2


def test_run_without_an_epoch_has_a_log(tmp_path):
    text = log_of(make_run(tmp_path / "run"))
    assert "No epoch is finished yet" in text
    assert "## Analysis" not in text
