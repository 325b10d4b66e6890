"""Exported files: read again, compared, described, and refused where they are wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from residua import Classifier, UserError, load, load_predictor
from residua.inference import export, sources
from residua.inference.export import (
    RealImages,
    check_comparison,
    compare,
    export_safetensors,
    export_torch,
    real_images,
)
from residua.inference.exported_file import METADATA_KEY, Comparison, ExportInfo, parse_export_info
from residua.inference.sources import absolute_source
from residua.runs.run import Run


@pytest.fixture(scope="module")
def classifier(small_run: Run) -> Classifier:
    return load(small_run, device="cpu")


@pytest.fixture(scope="module")
def images(classifier: Classifier) -> RealImages:
    return RealImages(real_images(classifier).images[:20], "test set")


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        entries = file.metadata()
    assert isinstance(entries, dict)
    return entries


def test_a_safetensors_file_gives_the_same_answers(
    classifier: Classifier, images: RealImages, tmp_path: Path
) -> None:
    path = tmp_path / "network.safetensors"
    info = export_safetensors(classifier, path, images)
    loaded = load(path)
    assert torch.equal(
        loaded.predict(images.images).probabilities, classifier.predict(images.images).probabilities
    )
    assert loaded.classes == classifier.classes
    assert loaded.recipe == classifier.recipe
    assert loaded.info.metrics == classifier.info.metrics
    assert info.comparisons[0].max_difference == 0
    assert info.comparisons[0].same_top1 == info.comparisons[0].images == 26
    kept, _ = parse_export_info(metadata(path)[METADATA_KEY])
    assert kept.comparisons == info.comparisons
    assert [each.name for each in tmp_path.iterdir()] == ["network.safetensors"]


def test_filters_in_bfloat16_change_no_answer_of_a_bfloat16_network(
    classifier: Classifier, images: RealImages, tmp_path: Path
) -> None:
    recipe = classifier.recipe.replace(precision="bfloat16")
    info = classifier.info.replace(recipe=recipe)
    half = Classifier(classifier.network, info, torch.device("cpu"))
    path = tmp_path / "half.safetensors"
    exported = export_safetensors(half, path, images, "bfloat16")
    assert exported.comparisons[0].max_difference == 0
    stored = load_file(path)
    assert stored["network.stem.0.weight"].dtype == torch.bfloat16
    assert stored["normalize.mean"].dtype == torch.float32
    # A float32 network keeps its answers but for the rounding of its filters.
    rounded = export_safetensors(classifier, tmp_path / "r.safetensors", images, "float16")
    assert 0 < rounded.comparisons[0].max_difference < 0.02


def test_a_torch_program_answers_for_any_number_of_images_of_any_size(
    classifier: Classifier, images: RealImages, tmp_path: Path
) -> None:
    path = tmp_path / "network.pt2"
    info = export_torch(classifier, path, images, tta="mirror")
    assert info.comparisons[0].max_difference < 1e-5
    extra = {METADATA_KEY: ""}
    program = torch.export.load(path, extra_files=extra).module()
    kept = ExportInfo.model_validate_json(extra[METADATA_KEY])
    assert (kept.tta, kept.model.classes) == ("mirror", classifier.classes)
    for shape in ((1, 3, 32, 32), (5, 3, 70, 41), (2, 3, 1, 9)):
        batch = torch.randint(0, 256, shape, dtype=torch.uint8)
        expected = classifier.predict(batch, tta="mirror").probabilities
        assert torch.allclose(program(batch), expected, rtol=0, atol=1e-5)


def test_files_with_other_answers_are_not_kept(
    classifier: Classifier, images: RealImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(tensor: torch.Tensor, size: int) -> torch.Tensor:
        return tensor[:, :, :1, :1].float().expand(-1, -1, size, size)

    monkeypatch.setattr("residua.inference.export_graph.crop_and_resize", wrong)
    with pytest.raises(UserError, match="was not kept: 26 images"):
        export_torch(classifier, tmp_path / "wrong.pt2", images)
    monkeypatch.setattr(export, "HALF_TOLERANCE", 0.0)
    with pytest.raises(UserError, match="was not kept"):
        export_safetensors(classifier, tmp_path / "wrong.safetensors", images, "float16")
    assert list(tmp_path.iterdir()) == []


def test_answers_that_are_not_numbers_are_a_difference(
    classifier: Classifier, images: RealImages
) -> None:
    def broken(batch: torch.Tensor) -> torch.Tensor:
        return torch.full((len(batch), 100), torch.nan)

    comparison = compare(broken, classifier, images, "reference")
    assert comparison.max_difference == 2
    with pytest.raises(UserError, match="does not give the answers"):
        check_comparison(comparison, 1.0)
    check_comparison(
        Comparison(images=1, source="s", reference="r", max_difference=1e-5, same_top1=1), 1e-4
    )


def test_compared_images_are_of_the_test_set_else_of_the_run_else_generated(
    classifier: Classifier, small_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert real_images(classifier).source == "test set"
    load_split = export.load_split

    def missing(model: Classifier, split: Any, data: Any = None) -> Any:
        if data is None:
            raise UserError("no data set")
        return load_split(model, split, data)

    monkeypatch.setattr(export, "load_split", missing)
    assert real_images(classifier, small_run.path).source == "training images stored in the run"
    assert real_images(classifier).source.startswith("generated pictures")


def test_every_name_of_a_model_is_understood(
    small_run: Run, classifier: Classifier, images: RealImages, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / "tiny.safetensors"
    export_safetensors(classifier, path, images)
    monkeypatch.setattr(sources, "PRETRAINED", tmp_path)
    monkeypatch.chdir(tmp_path)
    run = small_run.path
    names: list[Any] = [small_run, run, str(run), f"{run}:best", f"{run}:last", path, "tiny"]
    names += [run / "model.safetensors", run / "model.json", "./tiny.safetensors"]
    for name in names:
        assert load(name).classes == classifier.classes
        assert load_predictor(name).image_size == 32
    assert load(f"{run}:last").info.epoch == 2

    class Hub:
        @staticmethod
        def download_model(source: str, which: str) -> Path:
            assert (source, which) == ("hub:user/network@v1", "best")
            return run

    monkeypatch.setattr(sources, "import_module", {sources.HUB_MODULE: Hub}.__getitem__)
    assert load("hub:user/network@v1").classes == classifier.classes
    assert absolute_source("tiny") == "tiny"
    assert absolute_source("hub:user/network") == "hub:user/network"
    assert absolute_source("./tiny.safetensors") == str(path)
    monkeypatch.chdir(run.parent)
    assert absolute_source(f"{run.name}:last") == f"{run}:last"


def test_wrong_names_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PRETRAINED", tmp_path)
    (tmp_path / "pocket.safetensors").write_bytes(b"x")
    for name in ("network.onnx", "network.pt2", "network.bin"):
        (tmp_path / name).write_bytes(b"x")
    messages = {
        "poket": "there is no trained network 'poket'.*did you mean pocket",
        "none/at/all": "there is no trained network 'none/at/all'",
        "none.safetensors": "there is no trained network",
        "pocket": "pocket.safetensors is damaged",
        str(tmp_path): "has no model",
        str(tmp_path / "network.onnx"): "can only predict",
        str(tmp_path / "network.pt2"): "torch.export.load",
        str(tmp_path / "network.bin"): "is not a trained network",
    }
    for name, message in messages.items():
        with pytest.raises(UserError, match=message):
            load(name)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "version": (lambda tree: tree.update(format_version=2), "is 2, and this version"),
    "class": (lambda tree: tree["model"]["classes"].__setitem__(0, "cat"), "do not match"),
    "recipe": (lambda tree: tree["model"]["recipe"].update(epochs=7), "do not match"),
    "field": (lambda tree: tree["model"].update(epoch="x"), "epoch"),
    "no model": (lambda tree: tree.pop("model"), "model"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_changed_files_are_refused(
    classifier: Classifier,
    images: RealImages,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    path = tmp_path / "network.safetensors"
    export_safetensors(classifier, path, RealImages(images.images[:1], "test set"))
    entries, tensors = metadata(path), load_file(path)
    tree = json.loads(entries[METADATA_KEY])
    change(tree)
    save_file(tensors, path, entries | {METADATA_KEY: json.dumps(tree)})
    with pytest.raises(UserError, match=message):
        load(path)


def test_damaged_files_are_refused(
    classifier: Classifier, images: RealImages, tmp_path: Path
) -> None:
    path = tmp_path / "network.safetensors"
    export_safetensors(classifier, path, RealImages(images.images[:1], "test set"))
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-10] ^= 1
    for damaged in (content[: len(content) // 2], b"", bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged"):
            load(path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="no description"):
        load(path)
