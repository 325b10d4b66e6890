"""The commands: what they print, their exit codes, and their error messages."""

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

import residua
from residua.cli import main, train
from residua.cli.app import WAIT_SETTINGS, app
from residua.cli.console import stop_requests
from residua.cli.output import Output
from residua.recipes.recipe import Recipe
from residua.runs.run import Run

SMALL = [
    "--epochs", "2", "--data.train", "200", "--data.test", "100", "--device", "cpu",
    "--architecture.widths", "[4, 4, 8]", "--architecture.stem.width", "4",
]  # fmt: skip


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that exits with status 2, and return its one-line message."""
    with pytest.raises(SystemExit) as exit_:
        main(words)
    message = capsys.readouterr().err
    assert exit_.value.code == 2
    assert message.startswith("residua: ")
    assert message.count("\n") == 1
    return message


def test_train_resume_evaluate_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    main(["train", "quickstart", *SMALL, "--dir", run, "--until-epoch", "1"])
    out = capsys.readouterr().out
    assert re.search(
        r"EPOCH: 1/2  lr .*\n"
        r"Loss=\d+\.\d{4} Batch_id=1 Accuracy=\d+\.\d\d: 100%\|█+\| 2/2 \[.*\]\n"
        r"Test set: Average loss: \d+\.\d{4}, Accuracy: \d+/100 \(\d+\.\d\d%\) ✓ Best Model!\n",
        out,
    )
    assert "Saved after step 2" in out
    assert f"residua resume {run}" in out.replace("\n", "")
    main(["resume", run])
    out = capsys.readouterr().out
    assert re.search(r"last epoch +2 +\d+\.\d\d %", out)
    assert "selected on the test set itself" in out
    last = out.strip().splitlines()[-1]
    assert last.endswith(".html")
    assert Path(last).is_file()
    main(["resume", run])
    assert "finished" in capsys.readouterr().out
    main(["evaluate", run, "--checkpoint", "last"])
    out = capsys.readouterr().out
    assert re.search(r"test, 100 images, epoch 2\n", out)
    assert re.search(r"Accuracy +\d+\.\d\d % \(\d", out)
    main(["report", run])
    assert capsys.readouterr().out.strip().endswith("report.html")


def test_mistakes_exit_with_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIDUA_DATA", str(tmp_path / "nothing"))
    run = ["--dir", str(tmp_path / "run")]
    assert "did you mean resnet44" in fails(capsys, "train", "resnet4")
    assert "did you mean epochs" in fails(capsys, "train", "quickstart", "--epoch", "3")
    assert "residua data get cifar100" in fails(capsys, "train", "resnet44", *run)
    message = fails(
        capsys, "train", "quickstart", *SMALL, *run, "--normalization", "{mean: [0.5], std: [1]}"
    )
    assert "normalization has 1 channels, the images have 3" in message
    message = fails(capsys, "train", "quickstart", *SMALL, *run, "--loss.class-weights", "{cat: 2}")
    assert "loss.class_weights: there is no class 'cat'; choose from plain disc" in message
    message = fails(capsys, "train", "quickstart", *SMALL, *run, "--device", "tpu")
    assert "'tpu' is not available; available devices" in message
    assert not (tmp_path / "run").exists()
    message = fails(capsys, "train", "quickstart", *SMALL, *run, "--architecture.stem.width", "3",
                 "--architecture.block", "{kind: bottleneck, groups: 3}")  # fmt: skip
    assert "architecture: the network cannot be built" in message
    message = fails(capsys, "train", "quickstart", *SMALL, *run, "--image-size", "8",
                 "--architecture.pooling", "{kind: max, kernel_size: 4}")  # fmt: skip
    assert "architecture: the network cannot be built" in message
    message = fails(capsys, "train", "quickstart", *SMALL, *run, "--augmentation.0.padding", "32")
    assert "padding of 32 needs images larger than 32 x 32" in message
    assert not (tmp_path / "run").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    full = ["--dir", str(tmp_path / "full")]
    assert "not empty" in fails(capsys, "train", "quickstart", *SMALL, *full)
    under = ["--dir", str(tmp_path / "full/file/run")]
    assert "cannot make the run" in fails(capsys, "train", "quickstart", *SMALL, *under)
    assert "is not a run" in fails(capsys, "resume", str(tmp_path / "gone"))
    assert "has no model" in fails(capsys, "evaluate", str(tmp_path))
    assert "is not a run" in fails(capsys, "report", str(tmp_path))
    assert "Did you mean" in fails(capsys, "trian", "quickstart")
    assert "recipe" in fails(capsys, "train").lower()
    for epoch in ("soon", "0", "-1"):
        assert "--until-epoch" in fails(capsys, "train", "quickstart", "--until-epoch", epoch)
    assert "missing" in run_command(["data", "verify", "cifar100"]).stdout


def test_existing_run_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--dir", str(tmp_path / "run")]
    main(["train", "quickstart", *SMALL, *run, "--until-epoch", "1"])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    assert "residua resume" in fails(capsys, "train", "quickstart", *SMALL, *run)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_recipes_and_summary(capsys: pytest.CaptureFixture[str]) -> None:
    main(["recipes"])
    out = capsys.readouterr().out
    assert {"resnet44", "resnet44v2", "wrn28_10", "resnet26w", "resnet34", "quickstart"} <= set(
        out.split()
    )
    main(["recipes", "resnet44"])
    assert "label_smoothing: 0.1" in capsys.readouterr().out
    main(["summary", "resnet44"])
    out = capsys.readouterr().out
    assert "30,032,292" in out
    assert "114.56 MiB" in out
    main(["summary", "resnet44", "--architecture.attention.kind", "squeeze_excitation"])
    assert "30,032,292" not in capsys.readouterr().out


def run_command(words: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "residua", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from residua.cli import main; main(['--help']); "
        "sys.exit(3 if 'torch' in sys.modules or 'pydantic' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    commands = "train resume evaluate report compare recipes summary data find-lr"
    for command in commands.split():
        assert f" {command} " in done.stdout


def test_help_of_train_has_examples() -> None:
    out = run_command(["train", "--help"]).stdout
    assert "residua train resnet44 --dir runs/mine --epochs 10 --optimizer.lr 0.05" in out
    assert "--until-epoch" in out


def options_of(command: str) -> set[str]:
    """The options of a command, and of the recipe's fields that it takes as options."""
    arguments = app[command].assemble_argument_collection()
    names = {name for argument in arguments for name in argument.names if name.startswith("--")}
    fields = {f"--{name}" for name in Recipe.model_fields}
    return names | fields | {field.replace("_", "-") for field in fields}


@pytest.mark.parametrize("command", ["train", "resume"])
def test_no_option_abbreviates_one_of_torchrun(command: str) -> None:
    """Torchrun's parser also reads abbreviations of its options behind the program's name."""
    torchrun = {option for action in get_args_parser()._actions for option in action.option_strings}
    assert "--run-path" in torchrun
    options = options_of(command)
    assert "--until-epoch" in options
    assert ("--dir" in options) == (command == "train")
    for option in options:
        assert not [other for other in torchrun if other.startswith(option)], option


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_save_and_print_how_to_resume(number: signal.Signals, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", "quickstart", *SMALL, "--epochs", "5000", "--dir", str(run)]
    command = [sys.executable, "-m", "residua", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    for _ in range(600):
        if (run / "log.jsonl").exists():
            break
        time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 0), err
    assert f"residua resume {run}" in out.replace("\n", "")
    assert list((run / "checkpoints").glob("step-*.safetensors"))


def test_signals_that_are_ignored_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests() as received:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert received == []
    finally:
        signal.signal(signal.SIGHUP, previous)


@pytest.mark.parametrize(
    "words", [["--version"], ["train", "--version"], ["data", "get", "--version"]]
)
def test_version_is_that_of_residua(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", {"residua": "12.34"}.__getitem__)
    main(words)
    assert capsys.readouterr().out == "12.34\n"


def test_trainings_started_in_the_same_second_get_directories_of_their_own(tmp_path: Path) -> None:
    parent = tmp_path / "runs"
    with (
        train._new_directory(parent, "a-1") as first,
        train._new_directory(parent, "a-1") as second,
    ):
        assert (first, second) == (parent / "a-1", parent / "a-1-2")
        (first / "file").touch()
    assert list(parent.iterdir()) == [first]


def test_mistake_leaves_no_default_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fails(capsys, "train", "quickstart", *SMALL, "--loss.class-weights", "{cat: 2}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a[/red]b", "exp[lr=0.1]", "my exp"])
def test_path_is_printed_whole_and_quoted(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("residua.reports.write_report", lambda path: tmp_path / name)
    run = str(tmp_path / name)
    main(["train", "quickstart", *SMALL, "--dir", run, "--until-epoch", "1"])
    out = capsys.readouterr().out
    assert f"on cpu, in {run}\n" in out
    assert f"To continue: residua resume {shlex.quote(run)}\n" in out
    assert out.endswith(f"{run}\n")


def test_unknown_home_directory_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "quickstart", "--data.kind", "cifar10", "--data.root"]
    assert "home directory" in fails(capsys, *words, "~nosuchuser/x")
    for name in ("HOME", "RESIDUA_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987_654)
    assert "home directory" in fails(capsys, "data", "verify", "cifar10")


def test_training_goes_on_when_the_reader_of_its_output_ends(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "residua", "train", "quickstart", *SMALL, "--dir", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"quickstart" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=100) == 0
    assert (run / "result.json").is_file()
    assert (run / "report/report.html").is_file()


def test_command_whose_reader_ends_is_silent() -> None:
    command = f"{shlex.quote(sys.executable)} -m residua recipes resnet44 | head -0"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_closed_terminal_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "terminal").open("w") as terminal:

        class Closed:
            def write(self, text: str) -> int:
                raise OSError(errno.EIO, "Input/output error")

            def fileno(self) -> int:
                return terminal.fileno()

            flush = write

        monkeypatch.setattr(sys, "stdout", Closed())
        assert Output().write("text") == 4


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_that_cannot_show_the_bar_gets_other_characters(encoding: str) -> None:
    code = (
        "from residua.cli import app, console\n"
        "from residua.runs import log_lines\n"
        "app.app = lambda *_, **__: console.console.print('✓', log_lines.BAR)\n"
        "app.main([])"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, check=False
    )
    expected = "✓ ██████████" if encoding == "utf-8" else "* ##########"
    assert done.stdout.decode() == f"{expected}\n", done.stderr


def test_interrupt_while_the_command_line_is_imported_is_one_line() -> None:
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(name, path, target=None):\n"
        "        if name == 'cyclopts': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt)\n"
        "from residua.cli import main"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "residua: interrupted\n")


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP shows its settings")
@pytest.mark.parametrize(
    ("settings", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")]
)
def test_threads_of_a_command_do_not_spin(settings: dict[str, str], expected: str) -> None:
    """OpenMP itself says how its threads wait, unless the user had set it."""
    environment = {key: value for key, value in os.environ.items() if key not in WAIT_SETTINGS}
    environment |= {"OMP_DISPLAY_ENV": "TRUE"} | settings
    command = [sys.executable, "-m", "residua", "summary", "quickstart"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert re.search(rf"OMP_WAIT_POLICY *= *'{expected}'", done.stderr), done.stderr


def test_importing_the_package_imports_nothing_else() -> None:
    """Ctrl-C before the command line is imported is a traceback: that time is kept short."""
    code = "import sys; before = set(sys.modules); import residua; print(set(sys.modules) - before)"
    environment = os.environ | {"PYTHONPATH": str(Path(residua.__file__).parent.parent)}
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "{'residua'}\n"


def test_warning_is_one_plain_line() -> None:
    code = (
        "import warnings\n"
        "from residua.cli import app\n"
        "app.app = lambda *_, **__: warnings.warn('a\\x1b[31mb\\nc')\n"
        "app.main([])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "residua: warning: a [31mb c\n")


def test_test_set_is_evaluated_on_purpose_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training with a holdout leaves it out; `evaluate` adds it to report and compare."""
    run = str(tmp_path / "run")
    main(["train", "quickstart", *SMALL, "--epochs", "1", "--data.holdout", "40", "--dir", run])
    assert f"To do it: residua evaluate {run}" in capsys.readouterr().out
    for when in ("before", "after"):
        main(["report", run])
        main(["compare", run, "--output", str(tmp_path / when)])
        report = (tmp_path / "run/report/report.md").read_text()
        log = (tmp_path / "run/report/training-log.md").read_text()
        comparison = (tmp_path / when / "compare.md").read_text()
        measured = Run.open(Path(run)).result
        assert measured is not None
        accuracy = measured.last.test_accuracy
        if when == "before":
            assert accuracy is None
            assert "The test set was not evaluated" in report
            assert "| Test accuracy, last epoch | not evaluated |" in log
            assert "Holdout accuracy, last epoch, %" in comparison
            main(["evaluate", run])
        else:
            assert accuracy is not None
            assert f"| Test accuracy | {accuracy:.2f} % |" in report
            assert f"| Test accuracy, last epoch | {accuracy:.2f} % |" in log
            assert "Test accuracy, last epoch, %" in comparison
            assert "not evaluated" not in report + log + comparison


def test_finished_run_is_extended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    main(["train", "quickstart", *SMALL, "--epochs", "1", "--dir", run])
    main(["resume", run])
    assert "--epochs N` extends it" in capsys.readouterr().out
    assert "planned for 1 epochs already" in fails(capsys, "resume", run, "--epochs", "1")
    main(["resume", run, "--epochs", "2"])
    out = capsys.readouterr().out
    assert "Extended from 1 to 2 epochs" in out
    assert "It rises again" in out
    assert "EPOCH: 2/2" in out


def test_time_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    words = ["train", "quickstart", *SMALL[2:], "--dir", str(run)]
    assert "leave out --epochs" in fails(capsys, *words, "--epochs", "3", "--minutes", "1")
    assert "one epoch takes about" in fails(capsys, *words, "--minutes", "0.02")
    assert not run.exists()
