"""`residua predict`."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from residua.cli.app import app
from residua.errors import UserError

if TYPE_CHECKING:
    from residua.augment.tta import TTA
    from residua.inference.predictor import Predictor


@app.command
def predict(
    model: str,
    /,
    *paths: Annotated[str, Parameter(allow_leading_hyphen=True)],
    top: Annotated[int, Parameter(validator=Number(gte=1))] = 5,
    csv: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    json: bool = False,
    tta: Literal["none", "mirror", "mirror_translate"] | None = None,
    device: str = "auto",
) -> None:
    """Classify pictures.

    Exits with 1 where some of the pictures cannot be read: they are named on standard error, and
    the others are answered. Exits with 2 where none can be read.

    Parameters
    ----------
    model
        A run (also RUN:last), an exported .safetensors or .onnx file, the name of a pretrained
        network (pocket), or hub:user/name.
    paths
        Files, folders (with all folders inside), patterns in quotes, or - for paths from standard
        input, one a line or separated by NUL.
    top
        How many classes to show.
    csv
        Write a CSV file instead of the table; - is standard output.
    json
        Print a JSON object for each picture, one a line, instead of the table.
    tta
        Test-time augmentation: average the logits over each image alone, with its mirror image,
        or with both also shifted by a pixel. Left out: as the recipe says.
    device
        Where to run the network.
    """
    from PIL import Image

    from residua.cli.image_paths import find_images
    from residua.inference.classifier import load_predictor

    _check_words(paths, csv, json)
    # Of the pictures: what matters about them is said once, in one line.
    warnings.filterwarnings("ignore", module="PIL")
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    predictor = load_predictor(model, device=device)
    names = find_images(paths)
    unreadable = _answer(predictor, names, min(top, len(predictor.classes)), csv, json, tta)
    if csv is not None and str(csv) != "-":
        print(f"{csv}: the answers for {len(names) - unreadable:,} of {len(names):,} pictures")
    if unreadable:
        sys.stdout.flush()
        print(f"residua: {unreadable:,} of {len(names):,} pictures cannot be read", file=sys.stderr)
        sys.exit(1)


def _check_words(paths: Sequence[str], csv: Path | None, json: bool) -> None:
    """Raise UserError where the words of the command contradict each other."""
    for word in (*paths, str(csv)):
        if word.startswith("--") and not Path(word).exists():
            raise UserError(f"unknown option {word}; `residua predict --help` lists all")
    if not paths:
        raise UserError("no pictures: give files, folders, or - for paths from standard input")
    if csv is not None and csv.is_dir():
        raise UserError(f"--csv {csv}: it is a folder")
    if csv is not None and json:
        raise UserError("--csv and --json: choose one of them")


def _answer(
    predictor: "Predictor",
    names: Sequence[str],
    top: int,
    csv: Path | None,
    json: bool,
    tta: "TTA | None",
) -> int:
    """Write the answers, and return how many pictures could not be read.

    Raises:
        UserError: none could be read, or the CSV file cannot be written.
    """
    from residua.cli.answers import open_writer
    from residua.cli.console import picture_progress
    from residua.inference.images import UnreadableImage

    unreadable, single = 0, len(names) == 1
    to_terminal = sys.stdout.isatty() and (csv is None or str(csv) == "-")
    with (
        open_writer(names, predictor.classes, top, csv, json) as writer,
        picture_progress(len(names), shown=not to_terminal) as advance,
    ):
        for name, answer in zip(names, predictor.predict_stream(names, tta), strict=True):
            if not isinstance(answer, UnreadableImage):
                writer.write(name, answer.top(top)[0])
                advance(None)
            elif single:
                raise UserError(f"{name}: {answer.reason}")
            else:
                unreadable += 1
                advance(f"residua: {name}: {answer.reason}")
                writer.write_error(name, answer.reason)
        if unreadable == len(names):
            raise UserError(f"none of the {len(names):,} pictures can be read")
    return unreadable
