"""What must not be published: secrets, local paths, names of users and machines."""

import getpass
import os
import platform
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from residua.config import Config
from residua.errors import UserError
from residua.recipes.recipe import Recipe

SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL", re.I)
"""Environment variables whose values are secrets."""
SECRET = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"  # GitHub
    r"|\bglpat-[\w-]{16,}|\bsk-[\w-]{20,}|\bxox[abprs]-[\w-]{10,}"  # GitLab, OpenAI, Slack
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}"  # AWS, Google
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,}"  # JSON web tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"  # a password in an address
)
PATH = re.compile(
    r"(?<![\w./:@<-])~?/(?:[^\s\"'<>|:;,=()\[\]{}/]+/)+[^\s\"'<>|:;,=()\[\]{}/]*"
    r"|(?<![\w])[A-Za-z]:[\\/](?:[^\s\"'<>|:;,]+)"
    r"|\\\\[\w.-]+\\[^\s\"'<>|:;,]+"
)
"""Absolute paths with at least one folder: POSIX, Windows, network shares."""
EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b|\b[\w.-]+@[\w-]+(?=:)")
GENERIC = {
    *("root", "user", "users", "admin", "ubuntu", "debian", "runner", "jenkins", "docker", "home"),
    *("localhost", "local", "host", "server", "train", "test", "data", "model", "residua", "torch"),
    *("cpu", "gpu", "cuda", "none", "nobody", "guest", "default", "work", "main", "linux"),
}
"""Names of users and machines that say nothing about anybody."""
MIN_NAME = 3
MIN_SECRET = 8
MIN_CERTAIN = 6
"""Characters from which on the name of a user or a machine is no word of a report by chance."""
DATA_URI = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+")
STAND_IN = Path("PATH")
"""What takes the place of a path that a recipe needs."""

Value = TypeVar("Value", bound=Config)


@dataclass(frozen=True)
class PrivateText:
    """Texts that are private on this machine."""

    secrets: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    @classmethod
    def of_this_machine(cls) -> "PrivateText":
        """Tokens, the home directory, the user and the machine."""
        home = _attempt(lambda: str(Path.home()))
        users = {_attempt(getpass.getuser), Path(home).name, os.environ.get("USER", "")}
        host = platform.node()
        return cls(
            secrets=tuple(sorted(_secrets(), key=len, reverse=True)),
            paths=tuple({home, _attempt(lambda: str(Path.cwd()))} - {"", "/"}),
            users=_names(users),
            hosts=_names({host, host.partition(".")[0], os.environ.get("HOSTNAME", "")}),
        )

    def with_recipe(self, recipe: Recipe, run: Path) -> "PrivateText":
        """Add the paths of a recipe and of its run."""
        paths = {str(path) for path in config_paths(recipe)} | {str(run.absolute())}
        paths = {path for path in paths if Path(path).is_absolute() and path.count("/") > 1}
        return replace(self, paths=tuple({*self.paths, *paths}))

    def scrub(self, text: str) -> str:
        """The text with everything private replaced: SECRET, PATH, EMAIL, USER, HOST."""
        for secret in self.secrets:
            text = text.replace(secret, "SECRET")
        text = SECRET.sub("SECRET", text)
        for path in sorted(self.paths, key=len, reverse=True):
            text = text.replace(path, "PATH")
        text = PATH.sub("PATH", text)
        text = EMAIL.sub("EMAIL", text)
        for names, word in ((self.hosts, "HOST"), (self.users, "USER")):
            for name in names:
                text = _word(name).sub(word, text)
        return text

    def scrub_tree(self, tree: Any) -> Any:
        """A JSON tree with all of its texts scrubbed, those of keys too."""
        if isinstance(tree, str):
            return self.scrub(tree)
        if isinstance(tree, dict):
            return {self.scrub(str(key)): self.scrub_tree(value) for key, value in tree.items()}
        if isinstance(tree, list | tuple):
            return [self.scrub_tree(value) for value in tree]
        return tree

    def find(self, text: str) -> str | None:
        """What kind of private text a file contains, if it does; images in pages are ignored."""
        text = DATA_URI.sub("", text)
        if SECRET.search(text) or any(secret in text for secret in self.secrets):
            return "a secret"
        if any(path in text for path in self.paths if path.count("/") > 1):
            return "a local path"
        for names, kind in ((self.hosts, "the machine"), (self.users, "the user")):
            if any(len(name) >= MIN_CERTAIN and _word(name).search(text) for name in names):
                return f"the name of {kind}"
        return None


def public_recipe(recipe: Recipe, private: PrivateText) -> Recipe:
    """The recipe without local paths, and without where its runs are copied to."""
    public = without_paths(recipe.replace(publish=None, sync=None))
    return public.replace(name=private.scrub(recipe.name), device=private.scrub(recipe.device))


def config_paths(value: Any) -> Iterator[Path]:
    """Every path in a value of recipes."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Config):
        for _, each in value:
            yield from config_paths(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from config_paths(each)


def without_paths(value: Value) -> Value:
    """A copy whose paths have their defaults, or `PATH` where they are required."""
    changes: dict[str, Any] = {}
    for name, field in type(value).model_fields.items():
        old = getattr(value, name)
        if isinstance(old, Path):
            changes[name] = STAND_IN if field.is_required() else field.default
        elif isinstance(old, Config):
            changes[name] = without_paths(old)
        elif isinstance(old, tuple) and any(isinstance(each, Path) for each in old):
            changes[name] = tuple(STAND_IN for _ in old)
    return value.replace(**changes) if changes else value


def check_public(folder: Path, private: PrivateText) -> None:
    """Check the files of a repository once more before they are uploaded.

    Raises:
        UserError: a file contains something private.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (found := private.find(_text(path))):
            name = path.relative_to(folder)
            raise UserError(f"{name} contains {found} of this machine: nothing is published")


def _text(path: Path) -> str:
    """The text of a file; of a safetensors file, its header."""
    with path.open("rb") as file:
        if path.suffix == ".safetensors":
            size = min(int.from_bytes(file.read(8), "little"), 2**26)
            return file.read(size).decode("utf-8", "replace")
        return file.read().decode("utf-8", "replace")


def _secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) >= MIN_SECRET and not Path(value).exists():
            yield value
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    with suppress(OSError, ValueError, RuntimeError):
        token = Path(home, "token").expanduser().read_text(encoding="utf-8").strip()
        if len(token) >= MIN_SECRET:
            yield token


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        sorted(
            (name for name in names if len(name) >= MIN_NAME and name.lower() not in GENERIC),
            key=len,
            reverse=True,
        )
    )


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])")


def _attempt(function: Any) -> str:
    """The result of a function of the system; nothing where the system does not know it."""
    try:
        return str(function())
    except (OSError, KeyError, RuntimeError, ImportError):
        return ""
