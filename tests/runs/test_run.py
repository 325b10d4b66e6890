"""The run directory: the lock, and which errors are its own."""

from pathlib import Path

import pytest

from residua import Run, UserError


def test_errors_of_other_files_are_not_called_errors_of_the_run(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run")
    with pytest.raises(FileNotFoundError), run.locked():
        (tmp_path / "data.bin").read_bytes()
    with pytest.raises(UserError, match="run cannot be written"), run.locked():
        (run.path / "missing" / "log").write_text("")
