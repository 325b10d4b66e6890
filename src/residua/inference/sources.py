"""What a user may name a trained network by."""

from importlib import import_module
from pathlib import Path
from typing import get_args

from residua.errors import UserError
from residua.inference.exported_file import load_exported
from residua.models.network import NormalizedNetwork
from residua.recipes.loading import suggestions
from residua.runs.model_file import ModelInfo, Which, load_model

PRETRAINED = Path(__file__).parent.parent / "pretrained"
"""The networks that the package ships: NAME.safetensors."""
HUB = "hub:"
HUB_MODULE = "residua.integrations.hub"
"""Has `download_model(source, which) -> Path`, the directory of a published model. It is imported
when a name begins with `hub:`: it needs an optional dependency."""
ONNX_MODULE = "residua.integrations.onnx_files"
"""Has `load_onnx(path) -> Predictor`; it is imported when an .onnx file is opened."""
MODEL_STEMS: dict[str, Which] = {"model": "best", "model-last": "last"}
"""The files of a run's models, without their suffix."""


def pretrained_names() -> list[str]:
    """The names of the networks that the package ships."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def read_model(source: Path | str, which: Which = "best") -> tuple[NormalizedNetwork, ModelInfo]:
    """Read a trained network, on the CPU and in evaluation mode, and its description.

    Args:
        source: one of

            - the directory of a run, or any directory with model.safetensors and model.json; as a
              text also with `:best` or `:last` behind it, which takes the place of `which`;
            - an exported .safetensors file, or the model.safetensors of a run;
            - as a text, the name of a pretrained network (`./NAME` is a path);
            - as a text, `hub:user/name` or `hub:user/name@revision`.
        which: the network of the best or of the last epoch, where the source is a run.

    Raises:
        UserError: there is no such network, or it is damaged or of another version.
    """
    if isinstance(source, str):
        if source.startswith(HUB):
            return _read_path(import_module(HUB_MODULE).download_model(source, which), which)
        if source in pretrained_names():
            return _read_path(PRETRAINED / f"{source}.safetensors", which)
    path = Path(source).expanduser()
    if not path.exists():
        stem, colon, suffix = str(path).rpartition(":")
        if colon and suffix in get_args(Which) and Path(stem).exists():
            return read_model(Path(stem), "last" if suffix == "last" else "best")
    return _read_path(path, which)


def absolute_source(source: str) -> str:
    """The same name of a network from any directory: paths become absolute."""
    if source.startswith(HUB) or source in pretrained_names():
        return source
    stem, colon, suffix = source.rpartition(":")
    for path, end in ((source, ""), (stem, colon + suffix)):
        if path and Path(path).expanduser().exists():
            return f"{Path(path).expanduser().resolve()}{end}"
    return source


def _read_path(path: Path, which: Which) -> tuple[NormalizedNetwork, ModelInfo]:
    if path.is_dir():
        return load_model(path, which)
    if not path.exists():
        hint = "" if len(path.parts) > 1 else suggestions(str(path), pretrained_names())
        raise UserError(
            f"there is no trained network {str(path)!r}: neither a run, an exported file, nor "
            f"the name of a pretrained network{hint}"
        )
    if path.stem in MODEL_STEMS and all(
        path.with_suffix(suffix).is_file() for suffix in (".safetensors", ".json")
    ):
        return load_model(path.parent, MODEL_STEMS[path.stem])
    if path.suffix == ".safetensors":
        network, info = load_exported(path)
        return network, info.model
    if path.suffix == ".onnx":
        raise UserError(
            f"{path}: an .onnx file can only predict, by `residua predict` or "
            "`residua.load_predictor`; use the run or a .safetensors file"
        )
    if path.suffix == ".pt2":
        raise UserError(
            f"{path}: a .pt2 file is a program that torch.export.load runs; use the run or a "
            ".safetensors file"
        )
    raise UserError(
        f"{path} is not a trained network: it takes a run, or a file of `residua export`"
    )
