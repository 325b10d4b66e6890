"""Compiled networks: what is compiled, what is not, and what happens where that fails."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from residua import UserError
from residua.models import Architecture, ConvStem, set_progress
from residua.models.layers import Dropout, StochasticDepth
from residua.recipes.loading import resolve
from residua.recipes.recipe import Recipe
from residua.schedules import Linear, TrainingProgress
from residua.training.compile import compile_network
from residua.training.events import Finished
from residua.training.loop import step, train
from residua.training.session import build_training

NETWORK = torch.nn.Linear(2, 2)
IMAGES = torch.ones(1, 2)


def fake_compile(make: Callable[[Any], Callable[[Tensor], Tensor]], seen: list[Any]) -> Any:
    """For torch.compile: notes how it is called."""

    def compile_(network: Any, **how: Any) -> Callable[[Tensor], Tensor]:
        seen.append(how)
        return make(network)

    return compile_


def counting_backend(compiled: list[Any]) -> Callable[..., Any]:
    """A backend of torch.compile that collects the graphs and runs them as they are."""

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    return backend


def test_network_runs_uncompiled_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.warns(UserWarning, match="no C"):
        assert compile_network(NETWORK, True, {1}) is NETWORK


def test_failing_compiler_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Tensor) -> Tensor:
        raise RuntimeError("the compiler broke")

    monkeypatch.setattr(torch, "compile", fake_compile(lambda _: broken, []))
    forward = compile_network(NETWORK, True, {1})
    with pytest.warns(UserWarning, match="the compiler broke"):
        forward(IMAGES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(forward(IMAGES), NETWORK(IMAGES))


def test_only_batches_of_known_sizes_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        torch, "compile", fake_compile(lambda network: lambda x: network(x) + 1, seen)
    )
    forward = compile_network(NETWORK, True, {2, 3})
    for count in (1, 2, 3, 4):
        images = torch.ones(count, 2)
        extra = 1.0 if count in (2, 3) else 0.0
        assert torch.equal(forward(images), NETWORK(images) + extra)
    assert seen == [{"dynamic": False, "mode": None}]


@pytest.mark.parametrize(("gradient_accumulation", "sizes"), [(1, [64]), (5, [13, 13, 13, 13, 12])])
def test_chunks_of_whole_batches_are_compiled(
    gradient_accumulation: int,
    sizes: list[int],
    tiny: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And those of an epoch's short last batch are not."""
    counts: list[int] = []

    def noting(network: Any) -> Callable[[Tensor], Tensor]:
        return lambda images: (counts.append(len(images)), network(images))[1]

    monkeypatch.setattr(torch, "compile", fake_compile(noting, []))
    session, state = build_training(tiny(gradient_accumulation=gradient_accumulation, compile=True))
    for _ in range(session.sampler.steps_per_epoch):
        step(session, state)
    assert counts == sizes * 3


def test_logits_of_cuda_graphs_survive_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CUDA graphs every call writes to the same memory."""
    place = torch.zeros(1, 2)
    monkeypatch.setattr(
        torch,
        "compile",
        fake_compile(lambda network: lambda x: place.copy_(network(x).detach()), []),
    )
    forward = compile_network(NETWORK, "reduce-overhead", {1})
    first = forward(IMAGES)
    expected = first.clone()
    forward(-IMAGES)
    assert torch.equal(first, expected)


def test_recipe_sets_the_compile_mode() -> None:
    assert resolve("quickstart", ["--compile", "reduce-overhead"]).compile == "reduce-overhead"
    assert resolve("quickstart", ["--compile", "true"]).compile is True
    with pytest.raises(UserError, match="compile"):
        resolve("quickstart", ["--compile", "fastest"])


@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_cuda_graphs_refuse_gradient_accumulation(mode: str) -> None:
    """Torch refuses to sum gradients that a graph wrote: pytorch/pytorch#169545."""
    with pytest.raises(
        UserError, match=f"gradient_accumulation: with the CUDA graphs of compile {mode}"
    ):
        resolve("quickstart", ["--compile", mode, "--gradient-accumulation", "2"])
    for other in ("true", "max-autotune-no-cudagraphs"):
        resolve("quickstart", ["--compile", other, "--gradient-accumulation", "2"])
    resolve("quickstart", ["--compile", mode])


def test_scheduled_rate_compiles_once() -> None:
    made: list[Any] = []
    falling = Linear(start=0.5, end=0.1)
    network = Architecture(
        stem=ConvStem(width=2, dropout=falling),
        depths=(1,),
        widths=(2,),
        dropout=falling,
        stochastic_depth=falling,
    ).build(3)
    fast = torch.compile(network, backend=counting_backend(made), dynamic=False)
    for taken in range(4):
        set_progress(network, TrainingProgress(taken, 4, 1))
        fast(torch.ones(2, 3, 8, 8))
    torch.compiler.reset()
    assert len(made) == 1


@pytest.mark.parametrize("rate", [Linear(start=0.4, end=0.0), Linear(start=1.0, end=1.0)], ids=str)
@pytest.mark.parametrize("kind", [Dropout, lambda rate: Dropout(rate, True), StochasticDepth])
def test_compiled_scheduled_dropout_drops_the_same_share(
    monkeypatch: pytest.MonkeyPatch, rate: Linear, kind: Callable[[Linear], torch.nn.Module]
) -> None:
    module = kind(rate)
    values = torch.ones(2000, 3, 2, 2)
    torch.manual_seed(0)
    plain = module(values)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.manual_seed(0)
    other = module(values)
    assert other.unique().tolist() == pytest.approx(plain.unique().tolist())
    assert float(other.mean()) == pytest.approx(float(plain.mean()), abs=0.06)
    assert (other.flatten(1).std(1) == 0).all() == (plain.flatten(1).std(1) == 0).all()
    assert torch.equal(module.eval()(values), values)


def test_compiled_training_gives_equal_results(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a compiler that does nothing: which batches go where changes no figure."""
    seen: list[Any] = []
    monkeypatch.setattr(torch, "compile", fake_compile(lambda network: network, seen))
    results = []
    for name, mode in (("plain", False), ("compiled", "max-autotune")):
        *_, end = train(tiny(compile=mode), tmp_path / name)
        assert isinstance(end, Finished)
        results.append(end.result.last)
    assert seen == [{"dynamic": False, "mode": "max-autotune"}]
    assert results[0] == results[1]


def test_recompilation_limit_that_is_hit_later_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch would go on uncompiled in silence."""
    calls = []

    def limited(images: Tensor) -> Tensor:
        calls.append(len(images))
        if len(calls) > 1:
            raise torch._dynamo.exc.FailOnRecompileLimitHit("recompile_limit reached")
        return NETWORK(images)

    monkeypatch.setattr(torch, "compile", fake_compile(lambda _: limited, []))
    forward = compile_network(NETWORK, True, {1})
    forward(IMAGES)
    with pytest.warns(UserWarning, match="uncompiled from now on: recompile_limit reached"):
        assert torch.equal(forward(IMAGES), NETWORK(IMAGES))
    forward(IMAGES)
    assert len(calls) == 2


def test_each_compiled_training_starts_with_a_fresh_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    resets = []
    monkeypatch.setattr(torch, "compile", fake_compile(lambda network: network, []))
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(None))
    for _ in range(3):
        compile_network(NETWORK, True, {1})
    assert len(resets) == 3
    assert torch._dynamo.config.recompile_limit >= 64


BLOCKS = ("basic", "preact", "conv", "bottleneck", "basic", "preact")


@pytest.mark.parametrize("reset", [True, False])
def test_six_compiled_trainings_in_one_process_run_compiled(
    reset: bool, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As benchmarks/reproduce.py trains them; without a reset the limit adds up, which is said."""
    compiled: list[Any] = []
    real_compile, real_reset = torch.compile, torch.compiler.reset
    monkeypatch.setattr("shutil.which", lambda _: "c++")
    monkeypatch.setattr("residua.training.compile.MAX_COMPILATIONS", 3)
    monkeypatch.setattr(
        torch,
        "compile",
        lambda network, **_: real_compile(
            network, backend=counting_backend(compiled), dynamic=False
        ),
    )
    real_reset()
    if not reset:
        monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    counts, messages = [], []
    for index, kind in enumerate(BLOCKS):
        recipe = tiny(
            compile=True, architecture__block={"kind": kind}, architecture__depths=[1, 1 + index]
        )
        session, state = build_training(recipe)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step(session, state)
        before = sum(counts)
        counts.append(len(compiled) - before)
        messages += [str(each.message) for each in caught if "uncompiled" in str(each.message)]
    real_reset()
    if reset:
        assert counts == [1] * len(BLOCKS)
        assert messages == []
    else:
        assert counts[-1] == 0
        assert len(messages) == counts.count(0)


def test_scheduled_rates_do_not_recompile_evaluations() -> None:
    compiled: list[Any] = []
    rate = Linear(start=0.5, end=0.1)
    network = Architecture(
        stem=ConvStem(width=2, dropout=rate), depths=(1,), widths=(2,), dropout=rate
    ).build(3)
    fast = torch.compile(network.eval(), backend=counting_backend(compiled), dynamic=False)
    for taken in range(4):
        set_progress(network, TrainingProgress(taken, 4, 1))
        with torch.inference_mode():
            fast(torch.ones(2, 3, 8, 8))
    torch.compiler.reset()
    assert len(compiled) == 1
