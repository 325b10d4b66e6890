"""Recipes from names, files and dotted overrides, with errors that a person can act on."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from residua import files
from residua.errors import UserError
from residua.recipes import built_in as recipes
from residua.recipes.recipe import Recipe

SUFFIXES = (".toml", ".yaml", ".yml", ".json")
Tree = Any
"""What JSON can say: dictionaries, lists, strings, numbers, booleans, None."""


def resolve(source: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a name or a file, with dotted overrides.

    Args:
        source: a built-in recipe's name, or the path of a TOML, YAML or JSON file. A file's
            `base` names the built-in recipe that it changes; without one it changes the defaults.
        overrides: words as typed: `--optimizer.lr 0.05 --epochs=3`.

    Raises:
        UserError: no such recipe or file, or a field that is unknown, ill-typed or out of range.
    """
    if source.endswith(SUFFIXES) or "/" in source or Path(source).is_file():
        tree = _from_file(Path(source))
    elif source in recipes.names():
        tree = recipes.built_in(source).model_dump(mode="json")
    else:
        raise UserError(f"there is no recipe {source!r}{near(source, recipes.names())}")
    return parse_recipe(override(tree, parse(overrides)))


def parse_recipe(tree: Tree) -> Recipe:
    """The recipe that a tree describes.

    Raises:
        UserError: naming the first field that is wrong, and what is allowed.
    """
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise UserError(explain(error, tree)) from None


def _from_file(path: Path) -> Tree:
    if not path.is_file():
        raise UserError(f"there is no recipe file {path}")
    try:
        loads = {".toml": tomllib.loads, ".json": json.loads}.get(path.suffix, yaml.safe_load)
        tree = files.check_tree_size(loads(files.read_bytes(path).decode()))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as a recipe: {reason}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} cannot be read as a recipe: it holds no fields")
    tree = {"name": re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "custom", **tree}
    base = tree.pop("base", None)
    if base is not None and base not in recipes.names():
        raise UserError(f"{path}: there is no recipe {base!r}{near(str(base), recipes.names())}")
    start = Recipe() if base is None else recipes.built_in(base)
    return merged(start.model_dump(mode="json"), tree)


def merged(tree: Tree, changes: Tree) -> Tree:
    """A tree with another laid over it; where the `kind` differs, the other one stands alone."""
    if not isinstance(tree, Mapping) or not isinstance(changes, Mapping):
        return changes
    if "kind" in changes and changes["kind"] != tree.get("kind"):
        return dict(changes)
    return dict(tree) | {key: merged(tree.get(key), value) for key, value in changes.items()}


def parse(words: Sequence[str]) -> list[tuple[str, Tree]]:
    """Pairs of dotted path and value from words as typed.

    Raises:
        UserError: a word that is no override, or one without a value.
    """
    pairs, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            raise UserError(f"{word!r} is not understood; overrides look like --optimizer.lr 0.05")
        path, equals, text = word[2:].partition("=")
        if not equals:
            if not rest or (rest[0].startswith("--") and len(rest[0]) > 2):
                raise UserError(f"--{path} needs a value")
            text = rest.pop(0)
        try:
            value = files.check_tree_size(yaml.safe_load(text))
        except (yaml.YAMLError, ValueError, RecursionError):
            value = text
        pairs.append((path.replace("-", "_"), value))
    return pairs


def override(tree: Tree, pairs: Iterable[tuple[str, Tree]]) -> Tree:
    """A tree with values put at dotted paths, kinds first, whatever their order.

    Raises:
        UserError: a place beyond the end of a list.
    """
    for path, value in sorted(pairs, key=lambda pair: not pair[0].endswith(".kind")):
        tree = _put(tree, path.split("."), value, path)
    return tree


def _put(tree: Tree, keys: list[str], value: Tree, path: str) -> Tree:
    if not keys:
        return value
    key, *rest = keys
    if isinstance(tree, list):
        if not key.isdigit() or int(key) >= len(tree):
            raise UserError(f"--{path}: {key!r} is not a place in a list of {len(tree)}")
        place = int(key)
        return [*tree[:place], _put(tree[place], rest, value, path), *tree[place + 1 :]]
    fields = tree if isinstance(tree, dict) else {}
    if key == "kind" and not rest and fields.get("kind") != value:
        return {"kind": value}
    return {**fields, key: _put(fields.get(key), rest, value, path)}


def explain(error: ValidationError, tree: Tree) -> str:
    """One line for the first thing wrong: which field, and what is allowed."""
    problems = error.errors(include_url=False)
    first = min(problems, key=lambda each: (_is_side_branch(each), -len(each["loc"])))
    path, node = [], tree
    part: Any
    for part in first["loc"]:
        last = part == first["loc"][-1] and first["type"] in ("missing", "extra_forbidden")
        if (isinstance(node, Mapping) and part in node) or (
            isinstance(node, Sequence) and isinstance(part, int) and part < len(node)
        ):
            node = node[part]
        elif not last:
            continue
        path.append(str(part))
    field = ".".join(path) or "recipe"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        siblings = _siblings(tree, path)
        return f"{field}: there is no such field{near(path[-1], siblings)}"
    if first["type"] == "missing":
        return f"{field}: is needed here"
    given = f" (got {first['input']!r})" if not isinstance(first["input"], Mapping) else ""
    return f"{field}: {message[0].lower()}{message[1:]}{given}"


def _is_side_branch(problem: Any) -> bool:
    """Whether the error is of a union's branch that was not meant."""
    is_tree = isinstance(problem["input"], Mapping)
    return (is_tree and problem["type"].endswith("_type")) or (
        not is_tree and problem["type"] == "model_attributes_type"
    )


def _siblings(tree: Tree, path: list[str]) -> list[str]:
    for key in path[:-1]:
        tree = tree[int(key)] if isinstance(tree, Sequence) else tree[key]
    return [key for key in tree if key != path[-1]]


def near(word: str, known: Iterable[str]) -> str:
    """The known words that look like this one, as the end of a sentence."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are {', '.join(known)}" if known else ""
