"""Untrusted files are refused in one line: nothing is executed, nothing is written elsewhere."""

import ast
import json
import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from processes import run_cli
from safetensors.torch import load, save
from targets import checkpoint_tensors, signed_checkpoint, signed_model

import residua
from residua import files
from residua.cli import main
from residua.errors import UserError
from residua.recipes.loading import parse_recipe, resolve
from residua.recipes.recipe import Recipe
from residua.reports import write_report
from residua.runs.checkpoint import CorruptCheckpoint
from residua.runs.model_file import load_model
from residua.runs.run import Run
from residua.training.loop import resume, step, train
from residua.training.recovery import load_checkpoint
from residua.training.session import build_training
from residua.training.state import TrainingState

Tiny = Callable[..., Recipe]
Complete = Callable[[Recipe], Path]


class Evil:
    """Unpickling it makes a directory."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "executed"


def foreign_recipes(marker: Path) -> dict[str, str]:
    call = f"!!python/object/apply:os.mkdir ['{marker}']"
    return {
        "a.yaml": call,
        "b.yaml": f"optimizer: {call}",
        "c.yaml": "optimizer: !!python/name:os.system ''",
        "d.json": json.dumps({"optimizer": {"kind": "os.mkdir", "lr": str(marker)}}),
        "e.json": json.dumps({"loss": {"__reduce__": ["os.mkdir", [str(marker)]]}}),
        "f.toml": f'name = "x"\n[data]\nkind = "residua.data.ImageFolder"\npath = "{marker}"\n',
    }


@pytest.mark.parametrize("name", foreign_recipes(Path()))
def test_recipe_that_names_a_foreign_class_is_refused(
    name: str, marker: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(foreign_recipes(marker)[name])
    with pytest.raises(UserError):
        resolve(str(tmp_path / name))
    with pytest.raises(UserError):
        resolve("quickstart", ["--optimizer", foreign_recipes(marker)["a.yaml"]])
    assert not marker.exists()


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(20)
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bomb.yaml", BOMB),
        ("self.yaml", "a: &a [*a]"),
        ("deep.yaml", "[" * 50_000),
        ("deep.json", "[" * 50_000),
        ("deep.toml", "x = " + "[" * 50_000),
        ("nested.json", '{"a":' * 60 + "1" + "}" * 60),
        ("large.json", '{"a": "' + "x" * files.MAX_TEXT_BYTES + '"}'),
        ("digits.yaml", "epochs: " + "9" * 5000),
        ("date.yaml", "epochs: 2024-99-99"),
    ],
)
def test_recipe_that_expands_when_read_is_refused_at_once(
    name: str, content: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    started = time.monotonic()
    with pytest.raises(UserError, match="cannot be read as a recipe"):
        resolve(str(tmp_path / name))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("name", ["../evil", "..", "/etc", "a/../b", "a\0b", "", ".hidden", "a\nb"])
def test_name_cannot_be_a_path(name: str, tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name: "):
        parse_recipe({"name": name})
    run = tmp_path / "run"
    list(train(tiny(), run, lambda progress: progress.step >= 2))
    recipe = json.loads((run / "recipe.json").read_text()) | {"name": name}
    (run / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(UserError, match="name: "):
        list(resume(run))


LINKS = {
    "log.jsonl": "file",
    ".lock": "file",
    ".log.jsonl.partial": "file",
    "checkpoints": "folder",
    "report": "folder",
    "artifacts": "folder",
    "model.json": "file",
    ".model.safetensors.partial": "file",
    "report/figures": "folder",
    "report/report.html": "file",
    "checkpoints/.step-00000004.safetensors.partial": "file",
}


@pytest.mark.parametrize("name", LINKS)
def test_run_with_symbolic_links_is_refused_and_nothing_outside_is_written(
    name: str, tiny: Tiny, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "folder/step-00000000.safetensors").write_text("precious")
    (outside / "file").write_text("precious")
    run = tmp_path / "run"
    list(train(tiny(), run, lambda progress: progress.step >= 2))
    link = run / name
    if link.is_dir():
        link.rename(tmp_path / "away")
    link.unlink(missing_ok=True)
    link.symlink_to(outside / LINKS[name])
    for words in (["resume"], ["report"], ["evaluate", "--checkpoint", "last"], ["compare"]):
        with pytest.raises(SystemExit) as exit_:
            main([*words, str(run)])
        assert exit_.value.code == 2
    names = {path.relative_to(outside).as_posix() for path in outside.rglob("*")}
    assert names == {"folder", "folder/step-00000000.safetensors", "file"}
    assert (outside / "file").read_text() == "precious"
    assert (outside / "folder/step-00000000.safetensors").read_text() == "precious"


def test_files_are_never_written_through_links(tmp_path: Path) -> None:
    """Not even where a link was made after the run was opened."""
    precious = tmp_path / "precious"
    precious.write_text("as it was")
    (tmp_path / "file").symlink_to(precious)
    (tmp_path / ".file.partial").symlink_to(precious)
    files.write_atomic(tmp_path / "file", "new")
    assert not (tmp_path / "file").is_symlink()
    (tmp_path / "log").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        files.append_line(tmp_path / "log", "line")
    assert precious.read_text() == "as it was"


@pytest.fixture
def state(tiny: Tiny) -> TrainingState:
    return build_training(tiny())[1]


def metadata(**changes: object) -> str:
    """What a checkpoint of step 0 contains besides tensors."""
    valid = {"step": 0, "seconds": 0.0, "optimizer": "SGD"}
    return json.dumps(valid | changes)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickle_instead_of_a_checkpoint_is_not_loaded(
    protocol: int, state: TrainingState, marker: Path, tmp_path: Path
) -> None:
    path = tmp_path / "step-00000000.safetensors"
    path.write_bytes(pickle.dumps({"network": Evil(marker)}, protocol))
    with pytest.raises(CorruptCheckpoint):
        load_checkpoint(state, path)
    torch.save({"network": Evil(marker)}, path)
    with pytest.raises(CorruptCheckpoint):
        load_checkpoint(state, path)
    assert not marker.exists()


def header(**tensors: object) -> bytes:
    content = json.dumps(tensors).encode()
    return len(content).to_bytes(8, "little") + content


def entry(shape: list[int], size: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}


@pytest.mark.parametrize(
    "content",
    [
        header(a=entry([2**40], 2**42)),
        header(a=entry([2**40], 4)) + bytes(4),
        header(a=entry([2**62, 2**62], 4)) + bytes(4),
        header(a=entry([-1], 4)) + bytes(4),
        (2**62).to_bytes(8, "little") + b"{}",
        header(a=entry([], 4), b=entry([], 4)) + bytes(4),
    ],
)
def test_tensor_larger_than_its_file_is_refused(
    content: bytes, state: TrainingState, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CorruptCheckpoint):
        load_checkpoint(state, tmp_path / "x")


def test_oversized_checkpoint_is_refused_without_reading_it(
    state: TrainingState, tmp_path: Path
) -> None:
    """A sparse terabyte takes no room on the disk, and would take all of the memory."""
    path = tmp_path / "x"
    path.write_bytes(header(a=entry([2**38], 2**40)))
    os.truncate(path, path.stat().st_size + 2**40)
    with pytest.raises(CorruptCheckpoint, match="more than"):
        load_checkpoint(state, path)


FIRST = "network.stem.0.weight"
MOMENTUM = "optimizer.0.momentum_buffer"
WRONG_TENSORS = [
    {FIRST: torch.zeros(0)},
    {FIRST: torch.zeros(4, 3, 3, 0)},
    {FIRST: torch.zeros(4, 3, 3, 3).double()},
    {FIRST: None},
    {"network.more": torch.zeros(1)},
    {MOMENTUM: torch.zeros(0)},
    {MOMENTUM: torch.zeros(4, 3, 3, 3, dtype=torch.int64)},
    {"optimizer.0.more": torch.zeros(4, 3, 3, 3)},
    {"optimizer.99.momentum_buffer": torch.zeros(1)},
    {"optimizer.-1.momentum_buffer": torch.zeros(4, 3, 3, 3)},
    {"optimizer.x": torch.zeros(1)},
    {"metrics": torch.zeros(1)},
]
"""Changes of a valid checkpoint's tensors; None removes one."""
WRONG_METADATA = [
    {"step": -1},
    {"step": "1"},
    {"step": 10**400},
    {"seconds": -1},
    {"seconds": float("nan")},
    {"history": [{}]},
    {"history": {}},
    {"scaler": []},
    {"rollbacks": None},
]


def test_checkpoint_with_a_right_checksum_and_wrong_contents_is_refused(
    state: TrainingState, tmp_path: Path
) -> None:
    """A checksum detects damage; an attacker computes a new one."""
    path, valid = tmp_path / "x", checkpoint_tensors(state)

    def load_signed(tensors: dict[str, torch.Tensor | None], metadata: str) -> None:
        present = {name: value for name, value in tensors.items() if value is not None}
        path.write_bytes(signed_checkpoint(present, metadata))
        load_checkpoint(state, path)

    for changes in WRONG_TENSORS:
        with pytest.raises(UserError, match="another network or optimiser: it differs in"):
            load_signed(valid | changes, metadata())
    for changes in WRONG_METADATA:
        with pytest.raises(CorruptCheckpoint):
            load_signed(valid, metadata(**changes))
    with pytest.raises(UserError, match=r"another network or optimiser: .* AdamW"):
        load_signed(valid, metadata(optimizer="AdamW"))
    with pytest.raises(UserError, match="another precision"):
        load_signed(valid, metadata(scaler={"scale": 1.0}))
    after = checkpoint_tensors(state)
    assert all(torch.equal(after[name], valid[name]) for name in valid), "nothing was changed"
    load_signed(valid, metadata(step=3))
    assert state.step == 3


@pytest.mark.parametrize("kind", ["sgd", "muon", "adamw"])
def test_checkpoint_with_incomplete_optimizer_state_is_refused(
    kind: str, tiny: Tiny, tmp_path: Path
) -> None:
    """What the first step would create is complete, and of the right shapes, or absent."""
    session, state = build_training(tiny(optimizer={"kind": kind}))
    step(session, state)
    tensors = checkpoint_tensors(state)
    valid = state.to_checkpoint().metadata.to_json_text()
    (tmp_path / "x").write_bytes(signed_checkpoint(tensors, valid))
    load_checkpoint(state, tmp_path / "x")
    names = [name for name in tensors if name.startswith("optimizer.0.")]
    for name in names:
        changes = [tensors | {name: torch.zeros(2, 2)}]
        if len(names) > 1:
            changes.append({other: tensors[other] for other in tensors if other != name})
        for changed in changes:
            (tmp_path / "x").write_bytes(signed_checkpoint(changed, valid))
            with pytest.raises(UserError, match=r"it differs in optimizer\.0\."):
                load_checkpoint(state, tmp_path / "x")


WRONG_MODEL_TENSORS = [
    {"network.head.2.bias": None},
    {"network.head.2.weight": torch.zeros(0)},
    {"network.head.2.weight": torch.zeros(100, 8).double()},
    {"normalize.mean": torch.zeros(1, 1, 1)},
    {"network.more": torch.zeros(1)},
]
WRONG_INFO = [
    {"classes": []},
    {"classes": ["a"]},
    {"classes": [1] * 100},
    {"classes": None},
    {"image_size": [32]},
    {"image_size": [32, 2**40]},
    {"image_size": [0, 32]},
    {"normalization": {"mean": [0.5], "std": [0.5]}},
    {"normalization": {"mean": [0.5] * 3, "std": [float("inf")] * 3}},
    {"recipe": {"architecture": {"widths": [65536] * 16, "depths": [256] * 16}}},
    {"recipe": {"architecture": {"widths": [8, 8], "depths": [1, 1]}}},
    {"recipe": {"tta": "os.system"}},
    {"metrics": {"test": {"loss": 1, "accuracy": "3", "top5": 9}}},
    {"metrics": {"other": {"loss": 1.0, "accuracy": 3.0, "top5": 9.0}}},
    {"epoch": "1"},
    {"format_version": 2},
]


def test_model_with_a_right_checksum_and_wrong_contents_is_refused(
    tiny: Tiny, complete_run: Complete, tmp_path: Path
) -> None:
    run = complete_run(tiny())
    tensors = load((run / "model.safetensors").read_bytes())
    info = json.loads((run / "model.json").read_text())

    def load_signed(tensors: dict[str, torch.Tensor | None], info: dict) -> None:
        present = {name: value for name, value in tensors.items() if value is not None}
        weights, description = signed_model(present, info)
        (tmp_path / "model.safetensors").write_bytes(weights)
        (tmp_path / "model.json").write_bytes(description)
        load_model(tmp_path)

    load_signed(tensors, info)
    load_signed(tensors, info | {"unknown": "fields are ignored"})
    wrong = [(tensors | changes, info) for changes in WRONG_MODEL_TENSORS]
    wrong += [(tensors, info | changes) for changes in WRONG_INFO]
    for changed_tensors, changed_info in wrong:
        with pytest.raises(UserError, match=r"model\.\w+ is damaged: ") as caught:
            load_signed(changed_tensors, changed_info)
        assert "\n" not in str(caught.value)


def test_oversized_model_is_refused_without_reading_it(
    tiny: Tiny, complete_run: Complete, tmp_path: Path
) -> None:
    run = complete_run(tiny())
    (tmp_path / "model.json").write_bytes((run / "model.json").read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(header(a=entry([2**38], 2**40)))
    os.truncate(weights, weights.stat().st_size + 2**40)
    with pytest.raises(UserError, match="more than"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("environment", {"threads": "2"}, "threads"),
        ("environment", {"packages": {"torch": 2}}, "packages.torch"),
        ("environment", {"git": {"changed": "yes"}}, "git.changed"),
        ("data", {"classes": "abc"}, "classes"),
        ("data", {"splits": {"train": {"images": 1.5}}}, "splits.train.images"),
        ("data", {"normalization": {"mean": [0, 0], "std": [1, 1]}}, "normalization"),
        ("result", {"epochs": "3"}, "epochs"),
        ("result", {"epochs": True}, "epochs"),
        ("result", {"last": {}}, "last.epoch"),
        ("result", {"selection_split": "train"}, "selection_split"),
        ("result", {"train_seconds": -1.0}, "train_seconds"),
    ],
)
def test_json_file_with_a_wrong_type_is_refused_in_one_line(
    name: str,
    changes: dict,
    field: str,
    tiny: Tiny,
    complete_run: Complete,
    tmp_path: Path,
) -> None:
    run = Run(shutil.copytree(complete_run(tiny()), tmp_path / "run"))
    path = run.path / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=rf"{name}\.json is damaged: {field}: ") as caught:
        getattr(run, name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "field", "commands"),
    [
        ("environment", "processor", ("report", "compare")),
        ("data", "classes", ("report", "compare")),
        ("result", "recipe", ("resume", "report", "compare")),
        ("recipe", "device", ("report", "compare")),
        ("model", "classes", ("evaluate",)),
    ],
)
def test_half_a_character_in_a_json_file_is_one_line(
    name: str,
    field: str,
    commands: tuple[str, ...],
    tiny: Tiny,
    complete_run: Complete,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    r"""JSON can spell `\ud800` alone, which no file can be written with."""
    run = shutil.copytree(complete_run(tiny()), tmp_path / "run")
    tree = json.loads((run / f"{name}.json").read_text())
    half = "a\ud800b"
    tree[field] = [half] * len(tree[field]) if isinstance(tree.get(field), list) else half
    (run / f"{name}.json").write_text(json.dumps(tree))
    for command in commands:
        with pytest.raises(SystemExit) as exit_:
            main([command, str(run)])
        assert exit_.value.code == 2
        message = capsys.readouterr().err
        assert message.endswith(rf"{name}.json is damaged: a\ud800b is not valid UTF-8" + "\n")
        assert message.count("\n") == 1


def test_class_names_of_artifacts_are_checked(
    tiny: Tiny, complete_run: Complete, tmp_path: Path
) -> None:
    run = Run(shutil.copytree(complete_run(tiny()), tmp_path / "run"))
    path = run.artifact_dir / "predictions.safetensors"
    tensors = load(path.read_bytes())
    path.write_bytes(save(tensors, {"classes": json.dumps(["\ud800"] * 100)}))
    with pytest.raises(UserError, match=r"predictions.safetensors is damaged: \\ud800 is not"):
        write_report(run)


def test_names_that_are_not_utf8_are_refused_before_anything_is_written(
    tiny: Tiny, tmp_path: Path
) -> None:
    """Of a run's directory, and in a recipe; safetensors and JSON take UTF-8 only."""
    name = os.fsdecode(b"a\xff")
    for recipe, path in ((tiny(), tmp_path / name), (tiny(), tmp_path / name / "run")):
        with pytest.raises(UserError, match=r"a\\xff(/run)? is not valid UTF-8"):
            list(train(recipe, path))
    for field in ("device", "data.path"):
        with pytest.raises(UserError, match=r"a\\xff is not valid UTF-8"):
            resolve("quickstart", ["--data.kind", "folder", f"--{field}", name])
    assert list(tmp_path.iterdir()) == []


def test_command_line_that_is_not_utf8_is_recorded_escaped(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["residua", os.fsdecode(b"--a=\xff")])
    list(train(tiny(), tmp_path / "run", lambda progress: progress.step >= 1))
    assert Run(tmp_path / "run").environment.command == ("residua", r"--a=\xff")


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture__widths": [65536, 65536]},
        {"architecture__depths": [100, 100], "architecture__widths": [4096, 4096]},
        {"architecture__widths": [2**70, 2**70]},
        {"architecture__depths": [10**9, 1]},
        {"architecture__block": {"kind": "bottleneck", "inner_ratio": 0.001}},
        {"architecture__block": {"kind": "bottleneck", "expansion": 10**9}},
        {"architecture__block": {"kind": "bottleneck", "inner_ratio": 1e300}},
        {"architecture__stem__width": 10**12},
        {"epochs": 10**400},
    ],
    ids=str,
)
def test_network_or_training_beyond_all_limits_is_refused(
    changes: dict, tiny: Tiny, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        list(train(tiny(**changes), tmp_path / "run"))
    assert "no such field" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_artifacts_that_contradict_themselves_are_refused(
    tiny: Tiny, complete_run: Complete, tmp_path: Path
) -> None:
    run = Run(shutil.copytree(complete_run(tiny(epochs=2)), tmp_path / "run"))
    for name, changes in (
        ("samples", {"labels": torch.tensor([10**9])}),
        ("samples", {"originals": torch.zeros(0, dtype=torch.uint8)}),
        ("samples", {"foreign": torch.zeros(1)}),
        ("predictions", {"mistakes": torch.tensor([-1])}),
        ("predictions", {"best": torch.zeros(3)}),
        ("filters", {"epoch-0001": torch.zeros(0, 3, 3, 3).half()}),
        ("filters", {"epoch-x": torch.zeros(4, 3, 3, 3).half()}),
        ("filters", {"epoch-0001": torch.zeros(4, 3, 3, 3)}),
    ):
        path = run.artifact_dir / f"{name}.safetensors"
        before = path.read_bytes()
        tensors, description = files.read_safetensors(path, 2**30)
        path.write_bytes(save(tensors | changes, description))
        with pytest.raises(UserError, match=f"{name}.safetensors is damaged"):
            write_report(run)
        path.write_bytes(before)
    write_report(run)


def test_errors_pass_no_control_codes_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text('"\\e]0;owned\\a\\e[2Jepochs": 3\n')
    with pytest.raises(SystemExit):
        main(["train", str(recipe)])
    message = capsys.readouterr().err
    assert message.startswith("residua: ")
    assert "\x1b" not in message
    assert "\x07" not in message


def test_command_line_answers_hostile_files_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "bomb.yaml").write_text(BOMB)
    result = run_cli("train", tmp_path / "bomb.yaml", "--dir", tmp_path / "run")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_nothing_else_extracts_or_executes_what_it_reads() -> None:
    """One unpickler allows arrays only; one tar reader extracts known names; nothing reads zip."""
    source = Path(residua.__file__).parent
    suspects = {"pickle", "marshal", "shelve", "zipfile", "tarfile", "shutil.unpack_archive",
                "torch.load", "np.load", "yaml.load", "yaml.unsafe_load", "eval", "exec",
                "os.system", "runpy", "import_module", "__import__"}  # fmt: skip
    uses = set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.Call):
                names = [ast.unparse(node.func)]
            module = path.relative_to(source).as_posix()
            uses |= {(module, name) for name in names if name in suspects}
    assert uses == {
        ("data/archive.py", "pickle"),
        ("data/download.py", "tarfile"),
        ("__init__.py", "import_module"),
        ("recipes/built_in/__init__.py", "import_module"),
        # Modules of residua, by constants.
        ("cli/export.py", "import_module"),
        ("inference/classifier.py", "import_module"),
        ("inference/sources.py", "import_module"),
    }
