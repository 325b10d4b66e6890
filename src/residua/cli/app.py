"""The `residua` program: where commands register, and how mistakes are reported."""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CoercionError, CycloptsError, Parameter, Token

from residua.cli.output import discard_output, printable, replace_unencodable
from residua.errors import PeerError, UserError


def _version() -> str:
    from importlib.metadata import version

    return version("residua")


app = App(
    name="residua",
    help="Deep residual networks on small images: from one command to a trained, tested model.",
    result_action="return_value",
    version=_version,
)
WAIT_SETTINGS = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
"""Variables that say how threads wait: of OpenMP, and of GNU's and Intel's implementation."""


def _whole_number(_: object, tokens: Sequence[Token]) -> int:
    try:
        return int(tokens[0].value)
    except ValueError:
        raise CoercionError(target_type=int) from None


WholeNumber = Annotated[int, Parameter(converter=_whole_number)]
"""An option that takes no fraction; by itself cyclopts rounds 1.5 to 2."""
Overrides = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
"""Words after a recipe that override its fields: `--optimizer.lr 0.05`."""


def main(words: Sequence[str] | None = None) -> None:
    """Run a command.

    Exits with status 2 and one line on stderr where the user has to change something, with 130
    when interrupted, and with 1 where another process of the same training failed.

    Args:
        words: the command and its arguments; left out: those of this process.
    """
    _sleep_while_waiting()
    format_warning = warnings.formatwarning
    warnings.formatwarning = _warning_line
    replace_unencodable()
    try:
        _run(words)
    finally:
        warnings.formatwarning = format_warning


def _sleep_while_waiting() -> None:
    """Let the threads of operations sleep while they wait for one another, instead of spinning.

    Spinning takes the core away from the thread that is waited for where other programs run: a
    tiny network got slower by a factor of ten and more. OpenMP reads these variables once, when
    torch is imported; what the user has set stays.
    """
    if "torch" not in sys.modules and not os.environ.keys() & WAIT_SETTINGS:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def _run(words: Sequence[str] | None) -> None:
    try:
        app(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        _fail(str(error))
    except PeerError:
        sys.exit(1)  # The process that failed says why; torchrun names one that was killed.
    except UserError as error:
        _fail(str(error))
    except BrokenPipeError:
        discard_output()
    except RuntimeError as error:
        if "home directory" not in str(error):
            raise
        _fail("the home directory is not known: give the whole path, without ~, or set HOME")
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(message: str, status: int = 2) -> None:
    print(f"residua: {printable(message)}", file=sys.stderr)
    sys.exit(status)


def _warning_line(message: Warning | str, *_: object, **__: object) -> str:
    return f"residua: warning: {printable(str(message))}\n"
