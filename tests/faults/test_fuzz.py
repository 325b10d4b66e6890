"""Whatever is read: no crash but our own errors. `make fuzz` does it for longer, with atheris."""

import contextlib
import json
import tarfile
from typing import Any

import pytest
import targets
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from sound import FILES, RECIPES, RECORD, REST, RESULT, samples, tar

from residua.errors import UserError
from residua.runs import artifacts as artifacts

fuzzed = settings(deadline=None, suppress_health_check=list(HealthCheck))
"""As many examples as the profile says; files are slow, and what is tried first is large."""

NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**31, 2**63, 10**400, 1e308])
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=8)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
SPOTS = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 9)), max_size=4)


def mutated(content: bytes, spots: list[tuple[float, bytes, int]]) -> bytes:
    """Some bytes replaced by others, fewer or more."""
    for place, patch, gone in spots:
        start = int(place * len(content))
        content = content[:start] + patch + content[start + gone :]
    return content


def paths(tree: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(tree, dict | list):
        return [before]
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return [before, *(path for key, each in inside for path in paths(each, (*before, key)))]


def planted(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = planted(tree[path[0]], path[1:], value)
    return copy


@fuzzed
@given(TREES)
def test_any_tree_is_a_recipe_or_refused(tree: Any) -> None:
    targets.tree(tree)


@fuzzed
@given(st.data())
def test_a_recipe_with_anything_in_any_place_is_a_recipe_or_refused(data: st.DataObject) -> None:
    tree = data.draw(st.sampled_from(RECIPES))
    for _ in range(data.draw(st.integers(1, 2))):
        tree = planted(tree, data.draw(st.sampled_from(paths(tree))), data.draw(TREES))
    targets.tree(tree)


@fuzzed
@given(st.sampled_from([targets.yaml, targets.toml, targets.json_recipe]), st.data())
def test_any_recipe_file_is_read_or_refused(target: Any, data: st.DataObject) -> None:
    target(data.draw(st.binary(max_size=60)))
    target(mutated(FILES[target], data.draw(SPOTS)))


@fuzzed
@given(st.lists(st.text(max_size=30), max_size=3), st.text("[]{}:,.-&*!0e~'\"\n #", max_size=30))
def test_any_words_are_overrides_or_refused(texts: list[str], value: str) -> None:
    targets.words(*(word for text in texts for word in (f"--{text}", text)))
    targets.words("--optimizer.lr", value)


@fuzzed
@given(st.binary(max_size=80), SPOTS)
def test_any_archive_is_read_or_refused(content: bytes, spots: Any) -> None:
    targets.member(content)
    targets.member(mutated(FILES[targets.member], spots))


NAMES = st.sampled_from(
    ["../evil", "/tmp/residua-evil", "a/../../evil", "cifar-100-python/train",
     "cifar-100-python/../../evil"]
)  # fmt: skip
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])


@fuzzed
@given(st.binary(max_size=80), st.lists(st.tuples(NAMES, KINDS), max_size=4), SPOTS)
def test_any_download_is_unpacked_into_its_folder_or_refused(
    content: bytes, names: Any, spots: Any
) -> None:
    targets.packed(content)
    targets.packed(mutated(tar(names), spots))


@fuzzed
@given(st.binary(max_size=80), SPOTS, st.lists(TREES, max_size=3))
def test_any_log_is_read_or_refused(content: bytes, spots: Any, trees: list[Any]) -> None:
    targets.log(content)
    targets.log(mutated(FILES[targets.log], spots))
    targets.log("".join(json.dumps(tree) + "\n" for tree in trees).encode())


@fuzzed
@given(st.data())
def test_a_log_with_anything_in_any_place_is_read_or_refused(data: st.DataObject) -> None:
    records = [RECORD, RECORD | {"epoch": 2, "step": 8}]
    tree = planted(records, data.draw(st.sampled_from(paths(records)[1:])), data.draw(TREES))
    targets.log("".join(json.dumps(each) + "\n" for each in tree).encode())


@fuzzed
@given(st.binary(max_size=60), st.data())
def test_any_other_file_of_a_run_is_read_or_refused(content: bytes, data: st.DataObject) -> None:
    targets.facts(content)
    tree = data.draw(st.sampled_from([RESULT, {"classes": ["a"], "splits": {"test": {}}}]))
    tree = planted(tree, data.draw(st.sampled_from(paths(tree))), data.draw(TREES))
    targets.facts(json.dumps(tree).encode())


@fuzzed
@given(st.binary(max_size=80), SPOTS)
def test_any_checkpoint_is_sound_or_refused(content: bytes, spots: Any) -> None:
    targets.checkpoint(content)
    targets.checkpoint(mutated(FILES[targets.checkpoint], spots))


@fuzzed
@given(st.data())
def test_a_signed_checkpoint_with_anything_in_any_place_is_refused_or_taken(
    data: st.DataObject,
) -> None:
    rest = planted(REST, data.draw(st.sampled_from(paths(REST))), data.draw(TREES))
    tensors = {name: value.clone().contiguous() for name, value in targets.state()._tensors()}
    name = data.draw(st.sampled_from([*tensors, "optimizer.0.momentum_buffer", "optimizer.x"]))
    shape = data.draw(st.lists(st.integers(0, 3), max_size=5))
    kind = data.draw(st.sampled_from([torch.float32, torch.int64, torch.bool, torch.float8_e5m2]))
    made = tensors | {name: torch.zeros(shape).to(kind)}
    targets.checkpoint(targets.signed(made, json.dumps(REST)))
    targets.checkpoint(targets.signed(tensors, json.dumps(rest)))


@fuzzed
@given(st.data(), st.binary(max_size=60), SPOTS)
def test_any_evidence_is_read_or_refused(data: st.DataObject, content: bytes, spots: Any) -> None:
    targets.proof(content)
    tensors = samples() | {"labels": torch.tensor([0, data.draw(st.integers(-2, 3))])}
    tensors[data.draw(st.sampled_from([*tensors, "more"]))] = torch.zeros(
        data.draw(st.lists(st.integers(0, 3), max_size=4))
    ).byte()
    sound = save(tensors, {"classes": json.dumps(data.draw(TREES | st.just(["a", "b"])))})
    targets.proof(sound)
    targets.proof(mutated(sound, spots))


def test_what_is_changed_was_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the others are refused for what was changed in them."""
    monkeypatch.setattr(targets, "suppress", lambda _: contextlib.nullcontext())
    for recipe in RECIPES:
        targets.tree(recipe)
    for target in targets.BYTES:
        if target not in (targets.packed, targets.facts, targets.proof):
            target(FILES[target])
    with pytest.raises(UserError, match="lacks"):
        targets.packed(FILES[targets.packed])
    targets.run().record("result.json", RESULT)
    assert targets.run().result == RESULT
    (targets.run().artifacts / "samples.safetensors").write_bytes(FILES[targets.proof])
    assert artifacts.samples(targets.run()) is not None
