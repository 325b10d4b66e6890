"""The `residua` program: where commands register, and how mistakes are reported."""

import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from residua.errors import UserError

app = App(
    name="residua",
    help="Deep residual networks on small images: from one command to a trained, tested model.",
    result_action="return_value",
)
Overrides = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
"""Words after a recipe that override its fields: `--optimizer.lr 0.05`."""


def main(words: Sequence[str] | None = None) -> None:
    """Run a command.

    Exits with status 2 and one line on stderr where the user has to change something, with 130
    when interrupted.

    Args:
        words: the command and its arguments; left out: those of this process.
    """
    try:
        app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(str(error))
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(message: str, status: int = 2) -> None:
    # Text from a file may contain control codes for the terminal.
    printable = "".join(char if char.isprintable() else " " for char in message)
    print(f"residua: {' '.join(printable.split())}", file=sys.stderr)
    sys.exit(status)
