"""`residua predict`."""

import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from residua.cli.app import app
from residua.errors import UserError


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
    from contextlib import ExitStack

    from PIL import Image

    from residua.cli.answers import (
        AnswerWriter,
        CSVFile,
        JSONLines,
        SingleTable,
        Table,
        byte_output,
        csv_destination,
    )
    from residua.cli.console import picture_progress
    from residua.cli.image_paths import find_images
    from residua.inference.classifier import load_predictor
    from residua.inference.images import UnreadableImage

    for word in (*paths, str(csv)):
        if word.startswith("--") and not Path(word).exists():
            raise UserError(f"unknown option {word}; `residua predict --help` lists all")
    if not paths:
        raise UserError("no pictures: give files, folders, or - for paths from standard input")
    if csv is not None and csv.is_dir():
        raise UserError(f"--csv {csv}: it is a folder")
    if csv is not None and json:
        raise UserError("--csv and --json: choose one of them")
    # Of the pictures: what matters about them is said once, in one line.
    warnings.filterwarnings("ignore", module="PIL")
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    predictor = load_predictor(model, device=device)
    names, shown = find_images(paths), min(top, len(predictor.classes))
    unreadable, single = 0, len(names) == 1
    with ExitStack() as stack:
        writer: AnswerWriter
        if csv is not None:
            writer = CSVFile(stack.enter_context(csv_destination(csv)), shown)
        elif json:
            writer = JSONLines(byte_output())
        else:
            writer = SingleTable() if single else Table(names, predictor.classes, shown)
        to_terminal = sys.stdout.isatty() and (csv is None or str(csv) == "-")
        advance = stack.enter_context(picture_progress(len(names), shown=not to_terminal))
        answers = predictor.predict_stream(names, tta)
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, UnreadableImage):
                if single:
                    raise UserError(f"{name}: {answer.reason}")
                unreadable += 1
                advance(f"residua: {name}: {answer.reason}")
                writer.write_error(name, answer.reason)
            else:
                writer.write(name, answer.top(shown)[0])
                advance(None)
        if unreadable == len(names):
            raise UserError(f"none of the {len(names):,} pictures can be read")
    if csv is not None and str(csv) != "-":
        print(f"{csv}: the answers for {len(names) - unreadable:,} of {len(names):,} pictures")
    if unreadable:
        sys.stdout.flush()
        print(
            f"residua: {unreadable:,} of {len(names):,} pictures cannot be read", file=sys.stderr
        )
        sys.exit(1)
