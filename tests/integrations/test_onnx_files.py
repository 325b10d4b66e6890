"""ONNX files: the answers of the network, int8 with its cost, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from residua import Classifier, UserError, load, load_predictor
from residua.cli import main
from residua.inference.export import RealImages, real_images
from residua.inference.exported_file import Quantization
from residua.runs.run import Run

pytestmark = pytest.mark.extra("onnxruntime", "onnx", "onnxscript")


@pytest.fixture(scope="module")
def classifier(small_run: Run) -> Classifier:
    return load(small_run, device="cpu")


@pytest.fixture(scope="module")
def images(classifier: Classifier) -> RealImages:
    return RealImages(real_images(classifier).images[:20], "test set")


@pytest.fixture(scope="module")
def exported(
    classifier: Classifier, images: RealImages, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    from residua.integrations.onnx_files import export_onnx

    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    info = export_onnx(classifier, path, images, tta="mirror")
    assert info.comparisons[0].max_difference < 1e-5
    assert info.comparisons[0].same_top1 == 26
    return path


def test_the_answers_are_those_of_predict(exported: Path, classifier: Classifier) -> None:
    """ONNX Runtime alone, on pictures of any size."""
    import onnxruntime

    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 32, 32), (5, 3, 70, 41), (2, 3, 1, 9)):
        batch = torch.randint(0, 256, shape, dtype=torch.uint8)
        expected = classifier.predict(batch, tta="mirror").probabilities
        (actual,) = session.run(None, {"images": batch.numpy()})
        assert np.allclose(actual, expected, rtol=0, atol=1e-5)


def test_it_is_one_file_that_describes_itself(exported: Path, classifier: Classifier) -> None:
    import onnx

    assert [path.name for path in exported.parent.iterdir()] == ["network.onnx"]
    onnx.checker.check_model(exported)
    predictor = load_predictor(exported)
    assert predictor.classes == classifier.classes
    assert predictor.info.model.recipe == classifier.recipe  # type: ignore[attr-defined]
    metadata = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    assert metadata["classes"].startswith('["plain ')


def test_a_predictor_takes_all_kinds_of_images(
    exported: Path, classifier: Classifier, tmp_path: Path
) -> None:
    picture = Image.effect_mandelbrot((50, 40), (-2, -1.5, 1, 1.5), 50)
    picture.save(tmp_path / "a.png")
    predictor = load_predictor(exported)
    answer = predictor.predict([picture, tmp_path / "a.png", np.asarray(picture)])
    expected = classifier.predict(picture, tta="mirror")
    for row in answer.probabilities:
        assert torch.allclose(row, expected.probabilities[0], rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="the graph of this file has mirror"):
        predictor.predict(picture, tta="none")
    with pytest.raises(UserError, match="can only predict"):
        load(exported)


def test_damaged_files_are_one_clear_line(exported: Path, tmp_path: Path) -> None:
    import onnx

    content = exported.read_bytes()
    for name, damaged in (("cut", content[: len(content) // 2]), ("text", b"text")):
        (tmp_path / f"{name}.onnx").write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{name}.onnx is damaged: [^\n]+$"):
            load_predictor(tmp_path / f"{name}.onnx")
    graph = onnx.load(exported)
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "other.onnx")
    with pytest.raises(UserError, match="not written by `residua export`"):
        load_predictor(tmp_path / "other.onnx")


def test_int8_is_kept_with_what_it_costs_and_gains(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from residua.integrations import onnx_files

    monkeypatch.chdir(tmp_path)
    # Whether it is faster depends on the processor: that is checked below, with given figures.
    monkeypatch.setattr(Quantization, "speedup", 1.5)
    main(["export", str(small_run.path), "--to", "onnx", "--int8", "--output", "int8.onnx"])
    output = capsys.readouterr().out
    assert "int8: accuracy" in output
    assert "images/s" in output
    predictor = load_predictor("int8.onnx")
    assert isinstance(predictor, onnx_files.OnnxPredictor)
    measured = predictor.info.quantization
    assert measured is not None
    assert (measured.images, measured.calibration_images, measured.split) == (100, 512, "test set")
    assert predictor.info.weights == "int8"
    # The convolutions are int8, the resizing is as exact as before.
    test = real_images(load(small_run)).images
    difference = predictor.probabilities(test) - load(small_run).predict(test).probabilities
    assert 0 < float(difference.abs().max()) < 0.2


def test_int8_that_does_not_pay_is_refused(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from residua.integrations.onnx_files import check_quantization

    measured = Quantization(
        calibration_images=10, split="test set", images=100, float_accuracy=70.0,
        int8_accuracy=69.5, float_images_per_second=100.0, int8_images_per_second=150.0,
        hardware="a processor",
    )  # fmt: skip
    check_quantization(measured, 1.0)
    with pytest.raises(UserError, match=r"loses more than 0\.4 percentage points.*69\.50 %"):
        check_quantization(measured, 0.4)
    with pytest.raises(UserError, match="not faster"):
        check_quantization(measured.replace(int8_images_per_second=99.0), 1.0)
    monkeypatch.setattr(Quantization, "accuracy_loss", 50.0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(small_run.path), "--to", "onnx", "--int8"])
    assert stopped.value.code == 2
    assert list(tmp_path.iterdir()) == []
