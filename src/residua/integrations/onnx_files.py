"""ONNX files: export, int8, and answers by ONNX Runtime. Needs the extra `onnx`."""

import json
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from residua import files
from residua.augment.tta import TTA
from residua.data import Split
from residua.data.decoding import Preparation
from residua.errors import UserError
from residua.inference.classifier import Classifier, load_split
from residua.inference.export import (
    TOLERANCE,
    RealImages,
    as_rgb,
    check_comparison,
    compare,
    export_example,
    export_info,
    references,
    trace,
)
from residua.inference.exported_file import (
    METADATA_KEY,
    ExportInfo,
    Quantization,
    parse_export_info,
)
from residua.inference.predictor import Predictor
from residua.runs.environment import processor_name
from residua.runs.records import SplitName

try:
    import onnx
    import onnxruntime
    import onnxscript  # noqa: F401 - torch.onnx.export needs it
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process
except ImportError as error:
    raise UserError(
        f".onnx files need {error.name}, which is not installed: pip install 'residua[onnx]'"
    ) from None

INPUT, OUTPUT = "images", "probabilities"
PROVIDERS = ["CPUExecutionProvider"]
QUANTIZED_OPS = ["Conv", "Gemm", "Add", "MaxPool", "GlobalAveragePool"]
CALIBRATION_IMAGES = 512
MAX_ACCURACY_LOSS = 1.0
"""Percentage points that int8 may lose before the file is refused."""
INT8_TOLERANCE = 1.0
"""Any difference of a probability but NaN: the accuracy decides about int8."""
TIMED_BATCH, TIMED_PASSES = 64, 9


class OnnxPredictor(Predictor):
    """A file that `export_onnx` wrote, run by ONNX Runtime on the CPU.

    Args:
        session: of the file.
        info: the description in the file.
    """

    def __init__(self, session: Any, info: ExportInfo) -> None:
        self.session, self.info = session, info

    @property
    def classes(self) -> tuple[str, ...]:
        """The class of each probability."""
        return self.info.model.classes

    @property
    def image_size(self) -> int:
        """The side, in pixels, that images are resized to."""
        return self.info.image_size

    @property
    def preparation(self) -> Preparation:
        """How images become those that the network takes; the graph does it once more."""
        return self.info.model.recipe.data.prepare(self.image_size)

    def probabilities(self, images: Tensor, tta: TTA | None = None) -> Tensor:
        """The probabilities (N, K) of uint8 (N, 1 or 3, H, W) of any size.

        Raises:
            UserError: another test-time augmentation than that of the file.
        """
        if tta not in (None, self.info.tta):
            raise UserError(
                f"tta: the graph of this file has {self.info.tta}; export another with --tta {tta}"
            )
        return torch.from_numpy(self.session.run([OUTPUT], {INPUT: as_rgb(images).numpy()})[0])


def load_onnx(path: Path) -> OnnxPredictor:
    """Open a file that `export_onnx` wrote.

    Raises:
        UserError: it is damaged, of another version, or not of residua.
    """
    try:
        session = _session(path)
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise UserError(f"{path} has no description: it was not written by `residua export`")
        return OnnxPredictor(session, parse_export_info(text)[0])
    except UserError:
        raise
    except Exception as error:  # ONNX Runtime has many types, which it does not name publicly.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged: {reason}") from None


def export_onnx(
    model: Classifier, path: Path, images: RealImages, tta: TTA | None = None
) -> ExportInfo:
    """Write one .onnx file: `images` uint8 (N, 3, H, W) of any size to `probabilities` (N, K).

    The metadata has the entries `residua`, an `ExportInfo` as JSON, and `classes`, a list of names.

    Args:
        model: the network.
        path: of the file.
        images: what to compare the file on.
        tta: the test-time augmentation in the graph; None uses the recipe's.

    Raises:
        UserError: the file gives other answers than the network; it is not kept.
        OSError: the file system refused.
    """
    info = export_info(model, "onnx", tta)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.onnx"
        _write_graph(model, info, draft)
        return _finish(draft, path, model, images, info)


def export_int8(
    model: Classifier,
    path: Path,
    images: RealImages,
    tta: TTA | None = None,
    max_accuracy_loss: float = MAX_ACCURACY_LOSS,
) -> ExportInfo:
    """Write an .onnx file whose convolutions are int8, if that pays.

    Quantization is static: each weight channel has a scale, the ranges of activations are those of
    unaugmented training images. The accuracy is measured on the holdout, or on the test set where
    there is none; the speed on this machine. Quantize-dequantize pairs (QDQ) hold the scales.

    Args:
        model: the network.
        path: of the file.
        images: what to compare the file on.
        tta: the test-time augmentation in the graph; None uses the recipe's.
        max_accuracy_loss: in percentage points.

    Raises:
        UserError: the data set is not at hand; or int8 loses more accuracy, or is not faster than
            the float32 file. The file is not kept then.
        OSError: the file system refused.
    """
    calibration = load_split(model, "train").subsample(CALIBRATION_IMAGES)
    info = export_info(model, "onnx", tta).replace(weights="int8")
    with tempfile.TemporaryDirectory() as folder:
        plain, draft = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        _write_graph(model, info, plain)
        quantize(plain, draft, as_rgb(calibration.images))
        measured = measure_int8(model, plain, draft)
        check_quantization(measured, max_accuracy_loss)
        info = info.replace(quantization=measured)
        return _finish(draft, path, model, images, info, tolerance=INT8_TOLERANCE)


def measure_int8(model: Classifier, plain: Path, int8: Path) -> Quantization:
    """Measure accuracy and speed of two files in turns, so that both see the same machine.

    Args:
        model: the network, whose recipe names the data: its holdout, or its test set.
        plain: its float32 file.
        int8: its int8 file, calibrated on `CALIBRATION_IMAGES` training images.
    """
    name: SplitName = "holdout" if model.recipe.data.holdout else "test"
    split = load_split(model, name)
    predictors = [
        OnnxPredictor(_session(path), export_info(model, "onnx")) for path in (plain, int8)
    ]
    accuracies = [_accuracy(predictor, split) for predictor in predictors]
    batch = split.images[:TIMED_BATCH].contiguous()
    speeds: list[list[float]] = [[], []]
    for _ in range(TIMED_PASSES):
        for predictor, measured in zip(predictors, speeds, strict=True):
            started = time.perf_counter()
            predictor.probabilities(batch)
            measured.append(len(batch) / (time.perf_counter() - started))
    float_speed, int8_speed = map(statistics.median, speeds)
    return Quantization(
        calibration_images=CALIBRATION_IMAGES,
        split=f"{name} set",
        images=len(split),
        float_accuracy=accuracies[0],
        int8_accuracy=accuracies[1],
        float_images_per_second=float_speed,
        int8_images_per_second=int8_speed,
        hardware=f"{processor_name()}, {os.cpu_count()} threads",
    )


def check_quantization(measured: Quantization, max_accuracy_loss: float) -> None:
    """Check that int8 pays.

    Raises:
        UserError: it does not; says what was measured.
    """
    if measured.accuracy_loss > max_accuracy_loss:
        raise UserError(
            f"int8 loses more than {max_accuracy_loss:g} percentage points and was not kept: "
            f"{measured}"
        )
    if measured.speedup <= 1:
        raise UserError(f"int8 is not faster here and was not kept: {measured}")


def quantize(source: Path, target: Path, images: Tensor) -> None:
    """Write a static QDQ version of a float32 file.

    Args:
        source: the float32 file.
        target: the int8 file.
        images: uint8 (N, 3, H, W) that the ranges of activations are measured on.
    """
    prepared = source.with_name("prepared.onnx")
    with quiet_exporters():
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(target),
            _CalibrationImages(images),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=QUANTIZED_OPS,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_nodes_before_convolutions(onnx.load(str(prepared))),
        )


class _CalibrationImages(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Batches for the measurement of activations."""

    def __init__(self, images: Tensor) -> None:
        self._batches = iter(torch.split(images, TIMED_BATCH))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.numpy()}


def _nodes_before_convolutions(model: Any) -> list[str]:
    """The names of the nodes of resizing and normalization, which stay as they are."""
    from_convolutions: set[str] = set()
    names = []
    for node in model.graph.node:
        if node.op_type == "Conv" or from_convolutions & set(node.input):
            from_convolutions |= set(node.output)
        else:
            names.append(node.name)
    return names


def _write_graph(model: Classifier, info: ExportInfo, path: Path) -> None:
    example, dynamic = export_example()
    with quiet_exporters():
        program = torch.onnx.export(
            trace(model, info.tta),
            (example,),
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
        assert program is not None
        program.save(path)


def _finish(
    draft: Path,
    path: Path,
    model: Classifier,
    images: RealImages,
    info: ExportInfo,
    tolerance: float = TOLERANCE,
) -> ExportInfo:
    """Compare a file with its network, and put it in place with its description."""
    predictor = OnnxPredictor(_session(draft), info)
    comparisons = tuple(
        compare(predictor.probabilities, reference, images, name)
        for name, reference in references(model, info.tta)
    )
    check_comparison(comparisons[0], tolerance)
    info = info.replace(comparisons=comparisons)
    graph = onnx.load(str(draft))
    graph.producer_name, graph.producer_version = "residua", info.residua_version
    entries = {METADATA_KEY: info.model_dump_json(), "classes": json.dumps(info.model.classes)}
    onnx.helper.set_model_props(graph, entries)
    files.write_atomic(path, graph.SerializeToString())
    return info


def _accuracy(predictor: Predictor, split: Split) -> float:
    answers = [predictor.probabilities(batch).argmax(1) for batch in torch.split(split.images, 100)]
    return 100 * int((torch.cat(answers) == split.labels).sum()) / len(split)


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=PROVIDERS)


@contextmanager
def quiet_exporters() -> Iterator[None]:
    """Without the log lines and deprecation warnings of torch's exporter and of ONNX Runtime."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
