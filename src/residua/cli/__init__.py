"""The command line: one module for each group of commands.

Importing it imports nothing heavy: a command imports what it needs when it runs.
"""

import sys

try:
    from residua.cli import (  # noqa: F401
        data,
        evaluate,
        explain,
        export,
        find_lr,
        predict,
        push,
        recipes,
        report,
        sweep,
        train,
        watch,
    )
    from residua.cli.app import main
except KeyboardInterrupt:
    # Ctrl-C right after the start, before `main` can handle it.
    print("residua: interrupted", file=sys.stderr)
    sys.exit(130)

__all__ = ["main"]
