"""Any content of any file is read or refused by a `UserError`; `make fuzz` does it for longer."""

import contextlib
import json
import shutil
import tarfile
from typing import Any

import pytest
import targets
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from valid_inputs import CHECKPOINT_METADATA, FILES, RECIPES, RECORD, RESULT, samples, tar

from residua.errors import UserError
from residua.runs.artifacts import load_samples

fuzzed = settings(deadline=None, suppress_health_check=list(HealthCheck))
"""The number of examples is the profile's; files are slow, and the inputs are large."""

NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**31, 2**63, 10**400, 1e308])
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=8)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
PATCHES = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 9)), max_size=4)
"""Where bytes are replaced, from 0 to 1; by which bytes; how many are removed."""


def patched(content: bytes, patches: list[tuple[float, bytes, int]]) -> bytes:
    """Some bytes replaced by others, fewer or more."""
    for position, patch, removed in patches:
        start = int(position * len(content))
        content = content[:start] + patch + content[start + removed :]
    return content


def paths(tree: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a tree, the tree itself included."""
    if not isinstance(tree, dict | list):
        return [prefix]
    children = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return [prefix, *(path for key, child in children for path in paths(child, (*prefix, key)))]


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a tree with another value at a path."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = replaced(tree[path[0]], path[1:], value)
    return copy


@st.composite
def changed(draw: st.DrawFn, tree: Any, is_root: bool = True) -> Any:
    """A tree with any value at any path; at its root too, if `is_root`."""
    return replaced(tree, draw(st.sampled_from(paths(tree)[not is_root :])), draw(TREES))


@fuzzed
@given(TREES)
def test_any_tree_is_a_recipe_or_refused(tree: Any) -> None:
    targets.tree(tree)


@fuzzed
@given(st.data())
def test_recipe_with_any_value_in_any_field_is_a_recipe_or_refused(data: st.DataObject) -> None:
    tree = data.draw(st.sampled_from(RECIPES))
    for _ in range(data.draw(st.integers(1, 2))):
        tree = data.draw(changed(tree))
    targets.tree(tree)


@fuzzed
@given(st.sampled_from([targets.yaml, targets.toml, targets.json_recipe]), st.data())
def test_any_recipe_file_is_read_or_refused(target: Any, data: st.DataObject) -> None:
    target(data.draw(st.binary(max_size=60)))
    target(patched(FILES[target], data.draw(PATCHES)))


@fuzzed
@given(st.lists(st.text(max_size=30), max_size=3), st.text("[]{}:,.-&*!0e~'\"\n #", max_size=30))
def test_any_words_are_overrides_or_refused(texts: list[str], value: str) -> None:
    targets.overrides(*(word for text in texts for word in (f"--{text}", text)))
    targets.overrides("--optimizer.lr", value)


@fuzzed
@given(st.binary(max_size=80), PATCHES)
def test_any_archive_is_read_or_refused(content: bytes, patches: Any) -> None:
    targets.archive_file(content)
    targets.archive_file(patched(FILES[targets.archive_file], patches))


NAMES = st.sampled_from(
    ["../evil", "/tmp/residua-evil", "a/../../evil", "cifar-100-python/train",
     "cifar-100-python/../../evil"]
)  # fmt: skip
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])


@fuzzed
@given(st.binary(max_size=80), st.lists(st.tuples(NAMES, KINDS), max_size=4), PATCHES)
def test_any_download_is_extracted_into_its_folder_or_refused(
    content: bytes, members: Any, patches: Any
) -> None:
    targets.download_archive(content)
    targets.download_archive(patched(tar(members), patches))


@fuzzed
@given(st.binary(max_size=80), PATCHES, st.lists(TREES, max_size=3))
def test_any_log_is_read_or_refused(content: bytes, patches: Any, trees: list[Any]) -> None:
    targets.log(content)
    targets.log(patched(FILES[targets.log], patches))
    targets.log("".join(json.dumps(tree) + "\n" for tree in trees).encode())


@fuzzed
@given(changed([RECORD, RECORD | {"epoch": 2, "step": 8}], is_root=False))
def test_log_with_any_value_in_any_field_is_read_or_refused(records: list[Any]) -> None:
    targets.log("".join(json.dumps(record) + "\n" for record in records).encode())


DATA = {"classes": ["a"], "normalization": {"mean": [0.5] * 3, "std": [0.1] * 3},
        "splits": {"test": {"images": 1, "sha256": ""}}}  # fmt: skip
ENVIRONMENT = {"command": ["residua"], "packages": {"torch": "2"}, "threads": 1,
               "git": {"commit": "", "changed": True}}  # fmt: skip


@fuzzed
@given(st.binary(max_size=60), st.one_of(map(changed, (RESULT, DATA, ENVIRONMENT))))
def test_any_other_json_file_of_a_run_is_read_or_refused(content: bytes, tree: Any) -> None:
    targets.json_files(content)
    targets.json_files(json.dumps(tree).encode())


@fuzzed
@given(st.binary(max_size=80), PATCHES)
def test_any_checkpoint_is_loaded_or_refused(content: bytes, patches: Any) -> None:
    targets.checkpoint(content)
    targets.checkpoint(patched(FILES[targets.checkpoint], patches))


SHAPES = st.lists(st.integers(0, 3), max_size=5)
DTYPES = st.sampled_from([torch.float32, torch.int64, torch.bool, torch.float8_e5m2])


@fuzzed
@given(st.data())
def test_checkpoint_with_any_content_and_a_right_checksum_is_loaded_or_refused(
    data: st.DataObject,
) -> None:
    tensors = load(FILES[targets.checkpoint])
    name = data.draw(st.sampled_from([*tensors, "optimizer.0.momentum_buffer", "optimizer.x"]))
    tensor = torch.zeros(data.draw(SHAPES)).to(data.draw(DTYPES))
    valid = json.dumps(CHECKPOINT_METADATA)
    targets.checkpoint(targets.signed_checkpoint(tensors | {name: tensor}, valid))
    metadata = json.dumps(data.draw(changed(CHECKPOINT_METADATA)))
    targets.checkpoint(targets.signed_checkpoint(tensors, metadata))


@fuzzed
@given(st.binary(max_size=80), PATCHES)
def test_any_model_is_loaded_or_refused(content: bytes, patches: Any) -> None:
    for target in (targets.model_weights, targets.model_description, targets.exported_model):
        target(content)
        target(patched(FILES[target], patches))


@fuzzed
@given(st.data())
def test_model_with_any_content_and_a_right_checksum_is_loaded_or_refused(
    data: st.DataObject,
) -> None:
    tensors = load(FILES[targets.model_weights])
    info = json.loads(FILES[targets.model_description])
    name = data.draw(st.sampled_from([*tensors, "network.x"]))
    tensor = torch.zeros(data.draw(SHAPES)).to(data.draw(DTYPES))
    targets.model(*targets.signed_model(tensors | {name: tensor}, info))
    targets.model(*targets.signed_model(tensors, data.draw(changed(info, is_root=False))))


@fuzzed
@given(st.data(), st.binary(max_size=60), PATCHES)
def test_any_artifacts_are_read_or_refused(
    data: st.DataObject, content: bytes, patches: Any
) -> None:
    targets.artifacts(content)
    tensors = samples() | {"labels": torch.tensor([0, data.draw(st.integers(-2, 3))])}
    name = data.draw(st.sampled_from([*tensors, "more"]))
    tensors[name] = torch.zeros(data.draw(SHAPES)).byte()
    valid = save(tensors, {"classes": json.dumps(data.draw(TREES | st.just(["a", "b"])))})
    targets.artifacts(valid)
    targets.artifacts(patched(valid, patches))


def test_inputs_are_valid_before_they_are_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the other tests are refused for what they changed."""
    monkeypatch.setattr(targets, "suppress", lambda _: contextlib.nullcontext())
    for recipe in RECIPES:
        targets.tree(recipe)
    for target in targets.BYTES:
        if target not in (targets.download_archive, targets.json_files, targets.artifacts):
            target(FILES[target])
    with pytest.raises(UserError, match="lacks"):
        targets.download_archive(FILES[targets.download_archive])
    run = targets.run()
    shutil.rmtree(run.path / "evaluations", ignore_errors=True)
    for name, tree in (("result", RESULT), ("data", DATA), ("environment", ENVIRONMENT)):
        (run.path / f"{name}.json").write_text(json.dumps(tree))
        assert getattr(run, name) == type(getattr(run, name)).model_validate(tree)
    (run.artifact_dir / "samples.safetensors").write_bytes(FILES[targets.artifacts])
    assert load_samples(run) is not None
