"""`residua export`."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from residua.cli.app import app
from residua.errors import UserError


@app.command
def export(
    model: str,
    /,
    *,
    to: Literal["safetensors", "onnx", "torch"],
    output: Path | None = None,
    tta: Literal["none", "mirror", "mirror_translate"] | None = None,
    weights: Literal["float32", "bfloat16", "float16"] = "float32",
    int8: bool = False,
    max_accuracy_loss: Annotated[float, Parameter(validator=Number(gte=0, lte=100))] = 1.0,
) -> None:
    """Export a trained network to one file; it is read again and compared before it is kept.

    The programs (.onnx, .pt2) take uint8 images (N, 3, H, W) of any size and give probabilities:
    resizing, normalization and test-time augmentation are inside. The metadata has the classes, the
    recipe and the measured differences.

    Parameters
    ----------
    model
        A run (also RUN:last), an exported .safetensors file, the name of a pretrained network
        (pocket), or hub:user/name.
    to
        safetensors: weights and description, for residua itself. onnx: a program for ONNX Runtime
        and others (needs the extra onnx). torch: a program for torch.export.load.
    output
        The file to write; left out: the recipe's name with the suffix of the format.
    tta
        The test-time augmentation inside of a program; none is the fastest. Left out: as the
        recipe says.
    weights
        The type that a .safetensors file stores convolution filters in. bfloat16 changes no answer
        of a network that was trained in bfloat16.
    int8
        Quantize an .onnx file: calibrated on training images, kept only if it is faster than
        float32 here and loses little accuracy. Needs the data set.
    max_accuracy_loss
        The percentage points that int8 may lose.
    """
    from residua.cli.console import console
    from residua.inference import export as exports
    from residua.inference.classifier import load

    if int8 and to != "onnx":
        raise UserError("--int8 needs --to onnx")
    if weights != "float32" and to != "safetensors":
        raise UserError(
            "--weights needs --to safetensors; --to onnx --int8 makes a smaller program"
        )
    if tta is not None and to == "safetensors":
        raise UserError(
            "--tta needs --to onnx or torch: a .safetensors file takes any when it is used"
        )
    path = None if output is None else _checked(output, to)
    onnx_files = import_module("residua.integrations.onnx_files") if to == "onnx" else None
    classifier = load(model, device="cpu")
    if path is None:
        path = _checked(Path(f"{classifier.recipe.name}{exports.SUFFIXES[to]}"), to)
    source = Path(model)
    images = exports.real_images(classifier, source if source.is_dir() else None)
    if to == "safetensors":
        info = exports.export_safetensors(classifier, path, images, weights)
    elif to == "torch":
        info = exports.export_torch(classifier, path, images, tta)
    else:
        assert onnx_files is not None
        info = (
            onnx_files.export_int8(classifier, path, images, tta, max_accuracy_loss)
            if int8
            else onnx_files.export_onnx(classifier, path, images, tta)
        )
    for line in (*info.comparisons, *((info.quantization,) if info.quantization else ())):
        console.print(str(line), markup=False)
    console.print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", markup=False)


def _checked(path: Path, to: Literal["safetensors", "onnx", "torch"]) -> Path:
    """The path of the file to write.

    Raises:
        UserError: it has another suffix, is a file of a run, or its folder does not exist.
    """
    from residua.inference.export import SUFFIXES
    from residua.inference.sources import MODEL_STEMS

    if path.suffix != SUFFIXES[to]:
        raise UserError(f"--output {path}: a file of --to {to} ends in {SUFFIXES[to]}")
    if path.is_dir():
        raise UserError(f"--output {path}: it is a folder")
    if not path.parent.is_dir():
        raise UserError(f"--output {path}: there is no folder {path.parent}")
    if path.stem in MODEL_STEMS and path.with_suffix(".json").exists():
        raise UserError(f"--output {path}: it would replace the model of a run")
    return path
