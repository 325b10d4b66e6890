"""`precision: auto`: decided when a training starts, and kept."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from equal_runs import assert_equal_runs

from residua import fit, load
from residua.devices import fastest_precision
from residua.recipes import built_in
from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.training.loop import resume

Tiny = Callable[..., Recipe]
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bfloat16"),
        ({"bf16": True}, "bfloat16"),
        ({"avx512_f": True, "avx512_bf16": False}, "float32"),
        ({}, "float32"),
    ],
)
def test_processors_that_multiply_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool], precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert fastest_precision(CPU) == precision


def test_other_devices_have_float32() -> None:
    assert fastest_precision(torch.device("mps")) == "float32"


def test_this_processor_is_recognised() -> None:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    if "flags" not in flags:
        pytest.skip("/proc/cpuinfo does not list the instructions of an x86 processor")
    has_bfloat16 = "avx512_bf16" in flags or "amx_bf16" in flags
    assert (fastest_precision(CPU) == "bfloat16") == has_bfloat16


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_run_keeps_the_precision_on_another_machine(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """It is that of the machine that starts, and equal to stating it."""
    recipe = tiny(precision="auto", epochs=2)
    fit(recipe.replace(precision=precision), tmp_path / "stated")
    monkeypatch.setattr("residua.training.session.fastest_precision", lambda _: precision)
    run = fit(recipe, tmp_path / "run", lambda progress: progress.step >= 5)
    monkeypatch.setattr("residua.training.session.fastest_precision", lambda _: "none")
    list(resume(run.path))
    assert run.recipe.precision == load(run).recipe.precision == precision
    assert_equal_runs(tmp_path / "stated", run.path)
    assert Run.open(run.path).recipe == recipe.replace(precision=precision)


def test_built_in_recipes_state_their_precision() -> None:
    stated = {name: built_in.built_in(name).precision for name in built_in.names()}
    bfloat16 = {name for name, precision in stated.items() if precision == "bfloat16"}
    assert bfloat16 == {"champion", "pocket", "pyramid272", "sprint"}
    assert {stated[name] for name in stated.keys() - bfloat16} == {"float32"}
    assert Recipe().precision == "auto"
