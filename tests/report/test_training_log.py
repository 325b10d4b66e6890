"""The training log in the form of the documents."""

import re

import pytest
from made_runs import RECIPE, finish, make_run, records, save_samples
from residua.reports.history import History
from residua.reports.structure import statistics, structure, tree
from test_report import HOSTILE, linked

from residua.recipes import built_in as recipes
from residua.recipes.loading import resolve
from residua.reports import write_report
from residua.reports.training_log import progress, regularisation


def log_of(run):
    write_report(run)
    return (run.report / "training-log.md").read_text(encoding="utf-8")


def test_the_documents_sections_are_there_in_their_order(finished):
    found = re.findall(r"^##+ (?!EPOCH)(.+)$", log_of(finished), re.MULTILINE)
    assert found == [
        "Model", "Model statistics", "Architecture", "Dataset", "Training configuration",
        "Training progress", "Summary", "Key milestones", "Training curves",
        "Training as an animation", "Analysis",
        "Overfitting gap", "Plateau", "Dynamics", "Recommendations", "Checkpoints",
        "Hardware and environment",
    ]  # fmt: skip


def test_every_epoch_is_printed_as_published(finished):
    text = log_of(finished)
    assert re.findall(r"^### EPOCH: (\d+)$", text, re.MULTILINE) == [str(n) for n in range(1, 9)]
    assert (
        "### EPOCH: 1\n```\nLoss=4.0000 Batch_id=3 Accuracy=10.00: 100%|██████████| 4/4 "
        "[00:02<00:00, 2.00it/s]\n```\nTest set: Average loss: 4.5000, Accuracy: 9.00%\n\n"
    ) in text
    assert text.count("✓ **Target Reached!**") == text.count("✓ **Best Model!**") == 1
    assert "Accuracy: 45.00% ✓ **Target Reached!**" in text
    assert "Accuracy: 63.00% ✓ **Best Model!**" in text


def test_images_are_counted_where_the_run_knows_them(finished):
    finished.record("data.json", {"splits": {"test": {"images": 200}}, "classes": ["a"] * 6})
    text = log_of(finished)
    assert "Accuracy: 18/200 (9.00%)" in text
    assert "| Test images | 200 |" in text
    assert "| Classes | 6 |" in text


def test_the_statistics_of_resnet44_are_those_of_its_document():
    table = statistics(structure(recipes.built_in("resnet44").architecture, 100, 32))
    said = dict(table.rows)
    assert said["Total parameters"] == said["Trainable parameters"] == "30,032,292"
    assert said["Non-trainable parameters"] == "0"
    assert said["Model size"] == "114.56 MB"
    assert said["Input size"] == "0.01 MB (3×32×32)"


def test_the_tree_names_every_stage():
    recipe = recipes.built_in("resnet44")
    lines = tree(recipe.architecture, structure(recipe.architecture, 100, 32))
    assert lines[0] == "Input (3×32×32)"
    assert lines[2] == "Stage 1: 5× basic block (64 channels, stride 1)   # 64×32×32"
    assert lines[5] == "Stage 4: 5× basic block (512 channels, stride 2)   # 512×4×4"
    assert lines[6] == "Average pooling → Dropout(0.3) → Linear   # 100"
    assert tree(recipe.architecture, None)[0] == "Input (3 channels)"
    assert len(tree(recipe.architecture, None)) == 7


def test_summary_and_links(finished):
    text = log_of(finished)
    assert "| Accuracy margin | +23.00 points |" in text
    assert "| Epoch of best model | 7 |" in text
    assert "| Test accuracy, last epoch | 60.12 % |" in text
    assert "Test accuracy, best epoch" not in text
    assert "- **Epoch 7**: 63.00 % (best)" in text
    names = linked(text)
    assert [name for name in names if name.endswith("webp")] == ["figures/training.webp"]
    assert len(names) == 5
    assert all((finished.report / name).is_file() for name in names)


def test_a_holdout_has_the_test_accuracies_of_both_epochs(tmp_path):
    run = make_run(tmp_path / "run", log=records(8, "holdout"))
    finish(run, "holdout")
    text = log_of(run)
    assert "| Best holdout accuracy | 63.00 % |" in text
    assert "| Test accuracy, best epoch | 63.45 % |" in text


def test_what_regularises_is_told_with_its_strength():
    said = {name: regularisation(recipes.built_in(name)) for name in recipes.names()}
    assert said["resnet44"] == "cutmix: alpha 1, p 0.5; label smoothing 0.1; dropout 0.3"
    assert said["resnet26w"] == "channel dropout in the stem 0.02"
    assert said["wrn28_10"].endswith("dropout in blocks phases: until 60, numbers (0.3, 0.2)")
    words = ["--sam.rho", "0.1", "--architecture.stochastic-depth", "0.2"]
    recipe = resolve("resnet44v2", words)
    assert regularisation(recipe) == "sam: rho 0.1; dropout 0.1; stochastic depth 0.2"


def test_checkpoints_and_hardware_are_named(finished):
    text = log_of(finished)
    assert "None is saved yet." in text
    assert "- **Device**: cpu, 2 threads" in text
    finished.best.touch()
    (finished.checkpoints / "step-00000032.safetensors").touch()
    text = log_of(finished)
    assert "- **best epoch (7)**: checkpoints/best.safetensors, 63.00 %" in text
    assert "- **last epoch (8)**: checkpoints/step-00000032.safetensors, 60.00 %" in text
    (finished.checkpoints / "step-00000034.safetensors").touch()
    assert "- **the middle of an epoch**: checkpoints/step-00000034" in log_of(finished)


def test_recommendations_come_with_the_command_to_try(tmp_path):
    log = records(12)
    for record in log:
        record["train_accuracy"] = 99.5
    run = make_run(tmp_path / "run", RECIPE, log)
    text = log_of(run)
    assert "**Augment more.** Training accuracy of at least 99 %" in text
    assert "residua train recipe.json --augmentation '[" in text
    html = (run.report / "report.html").read_text(encoding="utf-8")
    assert "What to try next" in html


@pytest.mark.parametrize("every", [1, 3])
def test_epochs_without_evaluation_say_so(every):
    history = History(records(6, every=every), "test", 20.0)
    entries = progress(history, 100)
    assert [entry.test is None for entry in entries] == [epoch % every > 0 for epoch in range(1, 7)]
    assert sum(len(entry.marks) for entry in entries) == 2


def test_a_run_without_an_epoch_has_a_log(tmp_path):
    text = log_of(make_run(tmp_path / "run"))
    assert "No epoch is finished yet" in text
    assert "## Analysis" not in text


def test_hostile_names_stay_text(tmp_path):
    run = make_run(tmp_path / "run", log=records(2))
    run.write_json("environment.json", {"device": HOSTILE, "started": HOSTILE})
    save_samples(run, [HOSTILE])
    finish(run)
    text = log_of(run)
    assert "<script" not in text
    assert "](http" not in text
