"""Load recipes by name or from a file, apply dotted overrides, and report mistakes in one line."""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from residua import files
from residua.errors import UserError
from residua.recipes.built_in import built_in, names
from residua.recipes.recipe import Recipe

SUFFIXES = (".toml", ".yaml", ".yml", ".json")
JsonTree = Any
"""A parsed JSON document: dictionaries, lists, strings, numbers, booleans, None."""
OTHER_NAMES = {
    **dict.fromkeys(("out", "output", "out_dir", "output_dir", "run", "run_dir"), "--dir"),
    "learning_rate": "--optimizer.lr",
}
"""What other programs call an option, and its name here."""
SHORT_FORMS = {"init": "source"}
"""Fields that take a text in place of a mapping, and which of its fields the text is."""


NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class DuplicateKey(ValueError):
    """A mapping has the same key twice."""


def _check_unique(keys: Iterable[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise DuplicateKey(f"it has the field {key!r} twice")
        seen.add(key)


def _unique_pairs(pairs: list[tuple[str, JsonTree]]) -> dict[str, JsonTree]:
    _check_unique(key for key, _ in pairs)
    return dict(pairs)


def _parse_yaml(text: str) -> JsonTree:
    _check_yaml(yaml.compose(text, yaml.SafeLoader))
    return yaml.safe_load(text)


def _check_yaml(root: yaml.Node | None) -> None:
    """Refuse duplicate keys, and numbers that YAML 1.1 reads in base 60 or 8: `1:30`, `010`.

    Raises:
        ValueError: one of these.
    """
    stack, seen = [root], set()
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = (key for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            _check_unique(key.value for key in keys)
            stack += [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            stack += node.value
        elif (
            isinstance(node, yaml.ScalarNode)
            and node.tag in NUMBER_TAGS
            and re.match(r"[-+]?(0[0-9_]|.*:)", node.value)
        ):
            raise ValueError(f"{node.value} is not a number in base 10")


def _parse_json(text: str) -> JsonTree:
    return json.loads(text, object_pairs_hook=_unique_pairs)


def resolve(source: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe by name or from a file, and apply dotted overrides.

    Args:
        source: the name of a built-in recipe, or the path of a TOML, YAML or JSON file. A file
            changes the built-in recipe that its `base` names; without `base`, the defaults.
        overrides: command-line words: `--optimizer.lr 0.05 --epochs=3`.

    Raises:
        UserError: no such recipe or file, or a field that is unknown, ill-typed or out of range.
    """
    if source.endswith(SUFFIXES) or "/" in source or Path(source).is_file():
        tree = _from_file(Path(source))
    elif source in names():
        tree = built_in(source).model_dump(mode="json")
    else:
        raise UserError(f"there is no recipe {source!r}{suggestions(source, names())}")
    return parse_recipe(apply_overrides(tree, parse_overrides(overrides)))


def parse_recipe(tree: JsonTree) -> Recipe:
    """Validate a parsed document as a recipe.

    Raises:
        UserError: a field is wrong; names the first one and what is allowed.
    """
    try:
        return Recipe.model_validate(files.check_tree_size(tree))
    except ValidationError as error:
        raise UserError(format_error(error, tree)) from None
    except ValueError as error:
        raise UserError(f"the recipe cannot be read: {error}") from None


def _from_file(path: Path) -> JsonTree:
    if not path.is_file():
        raise UserError(f"there is no recipe file {path}")
    parsers: dict[str, Callable[[str], JsonTree]] = {".toml": tomllib.loads, ".json": _parse_json}
    parse = parsers.get(path.suffix, _parse_yaml)
    try:
        # Some editors write a byte order mark at the start.
        tree = files.check_tree_size(parse(files.read_bytes(path).decode("utf-8-sig")))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as a recipe: {reason}") from None
    if not isinstance(tree, dict) or not tree:
        raise UserError(f"{path} cannot be read as a recipe: it has no fields")
    tree = {"name": re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "custom", **tree}
    name = tree.pop("base", None)
    if name is not None and name not in names():
        hint = suggestions(str(name), names())
        raise UserError(f"{path}: there is no recipe {name!r}{hint}")
    base = Recipe() if name is None else built_in(name)
    return merged(base.model_dump(mode="json"), tree)


def merged(tree: JsonTree, changes: JsonTree) -> JsonTree:
    """Merge changes into a tree; a mapping whose `kind` changes is replaced as a whole."""
    if not isinstance(tree, Mapping) or not isinstance(changes, Mapping):
        return changes
    if "kind" in changes and changes["kind"] != tree.get("kind"):
        return dict(changes)
    return dict(tree) | {key: merged(tree.get(key), value) for key, value in changes.items()}


def parse_overrides(words: Sequence[str]) -> list[tuple[str, JsonTree]]:
    """Parse command-line words into pairs of dotted path and value.

    Raises:
        UserError: a word that is not an override, or an override without a value.
    """
    pairs, remaining = [], list(words)
    while remaining:
        word = remaining.pop(0)
        if not word.startswith("--") or word == "--":
            raise UserError(f"unexpected word {word!r}: overrides look like --optimizer.lr 0.05")
        path, equals, text = word[2:].partition("=")
        if not equals:
            if not remaining or (remaining[0].startswith("--") and len(remaining[0]) > 2):
                raise UserError(f"--{path} needs a value")
            text = remaining.pop(0)
        try:
            value = files.check_tree_size(_parse_yaml(text))
        except DuplicateKey as error:
            raise UserError(f"--{path}: {error}") from None
        except (yaml.YAMLError, ValueError, RecursionError):
            value = text
        pairs.append((path.replace("-", "_"), value))
    return pairs


def apply_overrides(tree: JsonTree, pairs: Iterable[tuple[str, JsonTree]]) -> JsonTree:
    """Set values at dotted paths. Each `kind`, and what a text stands for, is set first.

    So the order does not matter.

    Raises:
        UserError: a path has an index beyond the end of a list.
    """

    def is_later(pair: tuple[str, JsonTree]) -> bool:
        return not pair[0].endswith(".kind") and pair[0] not in SHORT_FORMS

    for path, value in sorted(pairs, key=is_later):
        tree = _put(tree, path.split("."), value, path)
    return tree


def _put(tree: JsonTree, keys: list[str], value: JsonTree, path: str) -> JsonTree:
    """Return a copy of a tree with a value at the path that `keys` spells."""
    if not keys:
        return value
    key, *rest = keys
    if isinstance(tree, list):
        if not key.isdigit() or int(key) >= len(tree):
            raise UserError(f"--{path}: {key!r} is not an index of a list of {len(tree)}")
        index = int(key)
        return [*tree[:index], _put(tree[index], rest, value, path), *tree[index + 1 :]]
    fields = tree if isinstance(tree, dict) else {}
    if isinstance(tree, str) and (name := path.partition(".")[0]) in SHORT_FORMS:
        fields = {SHORT_FORMS[name]: tree}
    if key == "kind" and not rest and fields.get("kind") != value:
        return {"kind": value}
    return {**fields, key: _put(fields.get(key), rest, value, path)}


def format_error(error: ValidationError, tree: JsonTree) -> str:
    """Describe the most relevant problem in one line: the field, and what is allowed."""
    problems = error.errors(include_url=False)
    first = min(problems, key=lambda problem: (_is_other_branch(problem), -len(problem["loc"])))
    # A problem's location also names the branches of unions, which the tree does not have.
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
        hint = _option_of(path, tree) or suggestions(path[-1], _siblings(tree, path))
        return f"{field}: there is no such field{hint}"
    if first["type"] == "union_tag_invalid":
        kinds = re.findall(r"'([^']*)'", first["ctx"]["expected_tags"])
        tag = first["ctx"]["tag"]
        return f"{field}.kind: there is no kind {tag!r}; choose from {', '.join(kinds)}"
    if first["type"] == "union_tag_not_found":
        return f"{field}.kind: this field is required"
    if first["type"] == "missing":
        return f"{field}: this field is required"
    if isinstance(first["input"], str) and (kind := _kind_of(first["input"], path, tree)):
        return f"{field}: this field needs a kind; did you mean {_option([*path, 'kind'])} {kind}?"
    value = f" (got {first['input']!r})" if not isinstance(first["input"], Mapping) else ""
    return f"{field}: {message[0].lower()}{message[1:]}{value}"


def _is_other_branch(problem: Any) -> bool:
    """Whether a problem belongs to a branch of a union that the user did not choose."""
    is_mapping = isinstance(problem["input"], Mapping)
    return (is_mapping and problem["type"].endswith("_type")) or (
        not is_mapping and problem["type"] == "model_attributes_type"
    )


def _option_of(path: list[str], tree: JsonTree) -> str:
    """Suggest the option that an unknown field at the top level means: `lr`, or `out`."""
    if len(path) != 1:
        return ""
    if path[0] in OTHER_NAMES:
        return f"; did you mean {OTHER_NAMES[path[0]]}?"
    paths = [each for each in _paths(tree) if len(each) > 1 and each[-1] == path[0]]
    depth = min(map(len, paths), default=0)
    options = [_option(each) for each in paths if len(each) == depth]
    return f"; did you mean {' or '.join(options[:3])}?" if options else ""


def _option(path: Iterable[str]) -> str:
    return "--" + ".".join(path).replace("_", "-")


def _paths(tree: JsonTree) -> Iterator[tuple[str, ...]]:
    """The path of every field in a tree."""
    items = enumerate(tree) if isinstance(tree, list) else tree.items()
    for key, value in items:
        yield (str(key),)
        if isinstance(value, list | dict):
            yield from ((str(key), *rest) for rest in _paths(value))


def _kind_of(word: str, path: list[str], tree: JsonTree) -> str | None:
    """The kind meant by a word in place of a whole value: `--optimizer adam` is kind `adamw`."""
    guess = {"kind": word}
    try:
        Recipe.model_validate(_put(tree, path, guess, ""))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        own = [problem for problem in problems if problem["input"] == guess]
        for problem in own:
            if problem["type"] == "union_tag_invalid":
                kinds = re.findall(r"'([^']*)'", problem["ctx"]["expected_tags"])
                return next(iter(difflib.get_close_matches(word.lower(), kinds, 1, 0.5)), None)
        if not any(problem["type"] == "missing" for problem in own) and (
            own or any(problem["loc"][-1:] == ("kind",) for problem in problems)
        ):
            return None
    return word


def _siblings(tree: JsonTree, path: list[str]) -> list[str]:
    """List the keys beside the last key of a path."""
    for key in path[:-1]:
        tree = tree[int(key)] if isinstance(tree, Sequence) else tree[key]
    return [key for key in tree if key != path[-1]]


def suggestions(word: str, choices: Iterable[str]) -> str:
    """Suggest the choices most like a misspelt word, as the end of a sentence."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; choose from {', '.join(choices)}" if choices else ""
