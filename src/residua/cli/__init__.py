"""The command line: one module for each group of commands.

Importing it imports nothing heavy: a command imports what it needs when it runs.
"""

from residua.cli import data, evaluate, find_lr, recipes, report, train  # noqa: F401
from residua.cli.app import main

__all__ = ["main"]
