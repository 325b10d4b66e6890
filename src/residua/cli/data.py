"""`residua data get` and `residua data verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import App

from residua.cli.app import app
from residua.errors import UserError

if TYPE_CHECKING:
    from residua.data.archive import Archive

data = App(name="data", help="Download data sets, and check them.")
app.command(data)
DataSet = Literal["cifar100", "cifar10"]


def _archive(name: DataSet) -> "Archive":
    from residua.data import archive

    return {"cifar100": archive.CIFAR100, "cifar10": archive.CIFAR10}[name]


@data.command
def get(name: DataSet, /, *, root: Path | None = None) -> None:
    """Download a data set from its official URL; an interrupted download is continued.

    Parameters
    ----------
    name
        The data set.
    root
        The directory to put it in; left out: $RESIDUA_DATA, else the user's cache.
    """
    from residua.cli.console import download_progress
    from residua.data import archive
    from residua.data.download import fetch

    target = archive.data_root(root)
    with download_progress(name) as progress:
        fetched = fetch(_archive(name), target, progress)
    print(f"{fetched.folder}: {'there already' if fetched.cached else 'complete'}, checksums match")


@data.command
def verify(name: DataSet = "cifar100", /, *, root: Path | None = None) -> None:
    """Check a data set's files against their checksums; exits with 2 if one is wrong.

    Parameters
    ----------
    name
        The data set.
    root
        The directory that it is in; left out: $RESIDUA_DATA, else the user's cache.
    """
    from residua.data import archive

    target = archive.data_root(root)
    results = archive.verify(_archive(name), target)
    for result in results:
        state = "ok" if result.ok else f"wrong: {result.actual}" if result.actual else "missing"
        print(f"{result.path}  {result.expected}  {state}")
    if not all(result.ok for result in results):
        raise UserError(f"{name} is incomplete in {target}: run `residua data get {name}`")
