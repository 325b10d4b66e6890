"""What strangers hand over: refused in one line, nothing executed, nothing written outside."""

import ast
import json
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from processes import residua
from safetensors.torch import save
from targets import signed

import residua as package
from residua import files
from residua.cli import main
from residua.errors import UserError
from residua.recipes.loading import parse_recipe, resolve
from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.training.loop import resume, train
from residua.training.session import build_training
from residua.training.state import CorruptCheckpoint, TrainingState

Tiny = Callable[..., Recipe]


class Evil:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "executed"


def foreign(marker: Path) -> dict[str, str]:
    call = f"!!python/object/apply:os.mkdir ['{marker}']"
    return {
        "a.yaml": call,
        "b.yaml": f"optimizer: {call}",
        "c.yaml": "optimizer: !!python/name:os.system ''",
        "d.json": json.dumps({"optimizer": {"kind": "os.mkdir", "lr": str(marker)}}),
        "e.json": json.dumps({"loss": {"__reduce__": ["os.mkdir", [str(marker)]]}}),
        "f.toml": f'name = "x"\n[data]\nkind = "residua.data.ImageFolder"\npath = "{marker}"\n',
    }


@pytest.mark.parametrize("name", foreign(Path()))
def test_a_recipe_that_names_a_foreign_class_is_refused(
    name: str, marker: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(foreign(marker)[name])
    with pytest.raises(UserError):
        resolve(str(tmp_path / name))
    with pytest.raises(UserError):
        resolve("quickstart", ["--optimizer", foreign(marker)["a.yaml"]])
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
        ("large.json", '{"a": "' + "x" * files.LARGEST + '"}'),
        ("digits.yaml", "epochs: " + "9" * 5000),
        ("date.yaml", "epochs: 2024-99-99"),
    ],
)
def test_a_recipe_that_grows_when_read_is_refused_at_once(
    name: str, content: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    started = time.monotonic()
    with pytest.raises(UserError, match="cannot be read as a recipe"):
        resolve(str(tmp_path / name))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("name", ["../evil", "..", "/etc", "a/../b", "a\0b", "", ".hidden", "a\nb"])
def test_a_name_is_no_path(name: str, tiny: Tiny, tmp_path: Path) -> None:
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
    "report/figures": "folder",
    "report/report.html": "file",
    "checkpoints/.step-00000004.safetensors.partial": "file",
}


@pytest.mark.parametrize("place", LINKS)
def test_a_run_with_links_is_refused_and_nothing_outside_is_written(
    place: str, tiny: Tiny, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "folder/step-00000000.safetensors").write_text("precious")
    (outside / "file").write_text("precious")
    run = tmp_path / "run"
    list(train(tiny(), run, lambda progress: progress.step >= 2))
    link = run / place
    if link.is_dir():
        link.rename(tmp_path / "away")
    link.unlink(missing_ok=True)
    link.symlink_to(outside / LINKS[place])
    for words in (["resume"], ["report"], ["evaluate", "--checkpoint", "last"], ["compare"]):
        with pytest.raises(SystemExit) as exit_:
            main([*words, str(run)])
        assert exit_.value.code == 2
    found = {each.relative_to(outside).as_posix() for each in outside.rglob("*")}
    assert found == {"folder", "folder/step-00000000.safetensors", "file"}
    assert (outside / "file").read_text() == "precious"
    assert (outside / "folder/step-00000000.safetensors").read_text() == "precious"


def test_files_are_never_written_through_links(tmp_path: Path) -> None:
    """Also where a link was laid after the run was opened."""
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


def contents(state: TrainingState) -> dict[str, torch.Tensor]:
    return {name: value.clone().contiguous() for name, value in state._tensors()}


def rest(**changes: object) -> str:
    sound = {"step": 0, "seconds": 0.0, "rollbacks": 0, "history": [], "scaler": {}}
    return json.dumps(sound | changes)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_calls_itself_a_checkpoint_is_not_loaded(
    protocol: int, state: TrainingState, marker: Path, tmp_path: Path
) -> None:
    path = tmp_path / "step-00000000.safetensors"
    path.write_bytes(pickle.dumps({"network": Evil(marker)}, protocol))
    with pytest.raises(CorruptCheckpoint):
        state.load(path)
    torch.save({"network": Evil(marker)}, path)
    with pytest.raises(CorruptCheckpoint):
        state.load(path)
    assert not marker.exists()


def header(**tensors: object) -> bytes:
    said = json.dumps(tensors).encode()
    return len(said).to_bytes(8, "little") + said


def claim(shape: list[int], size: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}


@pytest.mark.parametrize(
    "content",
    [
        header(a=claim([2**40], 2**42)),
        header(a=claim([2**40], 4)) + bytes(4),
        header(a=claim([2**62, 2**62], 4)) + bytes(4),
        header(a=claim([-1], 4)) + bytes(4),
        (2**62).to_bytes(8, "little") + b"{}",
        header(a=claim([], 4), b=claim([], 4)) + bytes(4),
    ],
)
def test_a_tensor_larger_than_its_file_is_refused(
    content: bytes, state: TrainingState, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CorruptCheckpoint):
        state.load(tmp_path / "x")


def test_an_oversized_checkpoint_is_refused_unread(state: TrainingState, tmp_path: Path) -> None:
    """A terabyte of zeros takes no room on the disk, and would take all of the memory."""
    path = tmp_path / "x"
    path.write_bytes(header(a=claim([2**38], 2**40)))
    os.truncate(path, path.stat().st_size + 2**40)
    with pytest.raises(CorruptCheckpoint, match="more than"):
        state.load(path)


def test_checkpoints_with_a_right_checksum_and_wrong_contents_are_refused(
    state: TrainingState, tmp_path: Path
) -> None:
    """A checksum finds damage; whoever means harm makes a new one."""
    sound = contents(state)
    first = "network.stem.0.weight"
    momentum = "optimizer.0.momentum_buffer"
    for change in (
        {first: torch.zeros(0)},
        {first: torch.zeros(4, 3, 3, 0)},
        {first: sound[first].double()},
        {"network.more": torch.zeros(1)},
        {momentum: torch.zeros(0)},
        {momentum: torch.zeros(4, 3, 3, 3, dtype=torch.int64)},
        {"optimizer.99.momentum_buffer": torch.zeros(1)},
        {"optimizer.-1.momentum_buffer": sound[first].clone()},
        {"optimizer.x": torch.zeros(1)},
        {"tally": torch.zeros(1)},
    ):
        (tmp_path / "x").write_bytes(signed(sound | change, rest()))
        with pytest.raises(UserError, match="another network or optimiser: it differs in"):
            state.load(tmp_path / "x")
    (tmp_path / "x").write_bytes(signed({"tally": sound["tally"]}, rest()))
    with pytest.raises(UserError, match="another network or optimiser"):
        state.load(tmp_path / "x")
    for wrong in (
        {"step": -1},
        {"step": "1"},
        {"step": 10**400},
        {"seconds": -1},
        {"seconds": float("nan")},
        {"history": [{}]},
        {"history": {}},
        {"scaler": []},
        {"rollbacks": None},
    ):
        (tmp_path / "x").write_bytes(signed(sound, rest(**wrong)))
        with pytest.raises(CorruptCheckpoint):
            state.load(tmp_path / "x")
    (tmp_path / "x").write_bytes(signed(sound, rest(scaler={"scale": 1.0})))
    with pytest.raises(UserError, match="another precision"):
        state.load(tmp_path / "x")
    after = contents(state)
    assert all(torch.equal(after[name], sound[name]) for name in sound), "whole, or not at all"
    (tmp_path / "x").write_bytes(signed(sound, rest(step=3)))
    state.load(tmp_path / "x")
    assert state.step == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture__widths": [65536, 65536]},
        {"architecture__depths": [100, 100], "architecture__widths": [4096, 4096]},
        {"architecture__widths": [2**70, 2**70]},
        {"architecture__depths": [10**9, 1]},
        {"architecture__block": {"kind": "bottleneck", "inner": 0.001}},
        {"architecture__block": {"kind": "bottleneck", "expansion": 10**9}},
        {"architecture__block": {"kind": "bottleneck", "inner": 1e300}},
        {"architecture__stem__width": 10**12},
        {"epochs": 10**400},
    ],
    ids=str,
)
def test_networks_and_trainings_without_measure_are_refused(
    changes: dict, tiny: Tiny, tmp_path: Path
) -> None:
    with pytest.raises(UserError):
        list(train(tiny(**changes), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_evidence_that_does_not_fit_together_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    list(train(tiny(epochs=2), run))
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
        path = Run.open(run).artifacts / f"{name}.safetensors"
        before = path.read_bytes()
        found, said = files.read_safetensors(path, 2**30)
        path.write_bytes(save(found | changes, said))
        with pytest.raises(UserError, match=f"{name}.safetensors is damaged"):
            _report(run)
        path.write_bytes(before)
    _report(run)


def _report(run: Path) -> None:
    from residua.reports import write_report

    write_report(Run.open(run))


def test_errors_carry_no_codes_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text('"\\e]0;owned\\a\\e[2Jepochs": 3\n')
    with pytest.raises(SystemExit):
        main(["train", str(recipe)])
    said = capsys.readouterr().err
    assert said.startswith("residua: ")
    assert "\x1b" not in said
    assert "\x07" not in said


def test_the_command_line_answers_hostile_files_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "bomb.yaml").write_text(BOMB)
    done = residua("train", tmp_path / "bomb.yaml", "--dir", tmp_path / "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_nothing_else_unpacks_or_executes_what_it_reads() -> None:
    """The one unpickler admits arrays; the one tar reader takes known names; there is no zip."""
    source = Path(package.__file__).parent
    suspects = {"pickle", "marshal", "shelve", "zipfile", "tarfile", "shutil.unpack_archive",
                "torch.load", "np.load", "yaml.load", "yaml.unsafe_load", "eval", "exec",
                "os.system", "runpy", "import_module", "__import__"}  # fmt: skip
    found = set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.Call):
                names = [ast.unparse(node.func)]
            found |= {(path.relative_to(source).as_posix(), n) for n in names if n in suspects}
    assert found == {
        ("data/archive.py", "pickle"),
        ("data/download.py", "tarfile"),
        ("__init__.py", "import_module"),
        ("recipes/__init__.py", "import_module"),
    }
