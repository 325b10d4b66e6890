"""Where a run is published while it trains."""

from typing import Annotated

from pydantic import Field, PositiveInt

from residua.config import Config

RepositoryName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")
]
"""USER/NAME, or ORGANIZATION/NAME."""
LicenseName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]{0,63}$")]
"""A licence as the Hub abbreviates it: mit, apache-2.0, cc-by-4.0 ..."""


class Publish(Config):
    """Upload a run to the Hugging Face Hub while it trains; inert without a repository.

    Uploads run in a process of their own, from files that are staged in the run. They can fail or
    hang without an effect on the training.
    """

    repository: RepositoryName | None = None
    """USER/NAME; it is created where there is none."""
    every: PositiveInt = 10
    """Epochs between uploads; the finished run is always uploaded."""
    best: bool = True
    """Whether each new best epoch is uploaded too."""
    private: bool = True
    """Whether a repository that is created is private."""
    license: LicenseName | None = None
    """The licence that the model card states: mit, apache-2.0 ...; None: none is stated."""
