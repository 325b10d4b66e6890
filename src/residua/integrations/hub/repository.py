"""The tree of a repository on the Hub, made from a run."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from residua import files
from residua.errors import UserError
from residua.inference.classifier import load
from residua.inference.export import real_images
from residua.integrations.hub.card import model_card
from residua.integrations.hub.private import PrivateText, check_public
from residua.integrations.hub.public_run import copy_public_run
from residua.integrations.hub.transformers_files import write_transformers_files
from residua.reports import write_report
from residua.reports.run_data import RunData
from residua.runs.model_file import load_model, model_paths
from residua.runs.run import Run


@dataclass(frozen=True)
class Contents:
    """What a repository contains besides the model, the report and the card."""

    repository: str | None = None
    """USER/NAME."""
    license_name: str | None = None
    """None: none is stated."""
    checkpoints: bool = False
    """Whether the best and the last checkpoint are uploaded."""
    onnx: bool = False
    """Whether model.onnx is exported."""


def write_repository(run: Run, folder: Path, contents: Contents) -> Path:
    """Write the files of a repository to a new folder, completely or not at all.

    Nothing private goes into it: see `private.py`.

    Args:
        run: the run, finished or not.
        folder: does not exist yet, or is empty.
        contents: what else it contains.

    Returns:
        The folder.

    Raises:
        UserError: files of the run are damaged, or the folder is not empty.
        OSError: a file cannot be written.
    """
    with new_folder(folder) as partial:
        private = PrivateText.of_this_machine().with_recipe(run.recipe, run.path)
        public = copy_public_run(run, partial, private, contents.checkpoints)
        write_report(public)
        _write_model_files(public, contents)
        shutil.rmtree(public.artifact_dir)
        if not contents.checkpoints:
            shutil.rmtree(public.checkpoint_dir)
        check_public(partial, private)
    return folder


def _write_model_files(run: Run, contents: Contents) -> None:
    """The card, and what transformers and ONNX Runtime need."""
    info = parameters = None
    if model_paths(run.path)[1].is_file():
        network, info = load_model(run.path)
        parameters = sum(value.numel() for value in network.network.parameters())
        write_transformers_files(run.path, network, info)
        if contents.onnx:
            write_onnx(run.path)
    extra = [path.name for path in run.path.iterdir() if path.name != "checkpoints"]
    extra += ["checkpoints"] * contents.checkpoints
    card = model_card(
        RunData.read(run), info, parameters, contents.repository, contents.license_name, extra
    )
    (run.path / "README.md").write_text(card, encoding="utf-8")


def write_onnx(folder: Path) -> None:
    """Export the model in a folder to model.onnx.

    Raises:
        UserError: the extra `onnx` is missing, or the file gives other answers than the network.
    """
    try:
        import onnx  # noqa: PLC0415

        from residua.integrations import onnx_files  # noqa: PLC0415
    except ImportError:
        raise UserError("--onnx needs onnxruntime: pip install 'residua[onnx]'") from None
    classifier, path = load(folder, device="cpu"), folder / "model.onnx"
    onnx_files.export_onnx(classifier, path, real_images(classifier))
    # Nodes have the source lines that they come from, with the paths of this machine.
    graph = onnx.load(str(path))
    for node in graph.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    files.write_atomic(path, graph.SerializeToString())


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder under another name that gets its own at the end, unless something fails.

    Raises:
        UserError: the folder exists and is not empty, or it cannot be made.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty: choose another folder")
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from None
    try:
        yield partial
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
