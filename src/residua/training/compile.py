"""The network as a compiled function."""

import shutil
import warnings
from collections.abc import Callable, Container
from typing import Any

import torch
from torch import Tensor, nn

from residua.recipes.recipe import CUDA_GRAPH_MODES, CompileMode

MAX_COMPILATIONS = 64
"""Of one network: for each image size, batch size and mode (training, evaluation) that it sees."""


def compile_network(
    network: nn.Module, mode: bool | CompileMode, batch_sizes: Container[int]
) -> Callable[[Tensor], Tensor]:
    """The network, compiled at its first call; uncompiled, with a warning, where that fails.

    Args:
        network: from (N, C, H, W) to logits.
        mode: whether to compile, or in which of torch's modes.
        batch_sizes: the N that are compiled. Compiling costs a minute for each; batches of other
            sizes (the last ones of an epoch and of a split) run uncompiled.
    """
    if not mode:
        return network
    if next(network.parameters()).device.type == "cpu" and not shutil.which("c++"):
        warnings.warn("no C++ compiler (c++) found: the network runs uncompiled", stacklevel=2)
        return network
    # All networks share one code object, and torch stops compiling it after some recompilations:
    # those of several trainings in one process must not add up, and a stop must be reported.
    from torch._dynamo import config, exc  # noqa: PLC0415 - takes seconds

    torch.compiler.reset()
    config.fail_on_recompile_limit_hit = True
    config.recompile_limit = MAX_COMPILATIONS
    torch_mode = mode if isinstance(mode, str) else None
    compiled: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False, mode=torch_mode)
    compiler_errors = (exc.TorchDynamoException, exc.FailOnRecompileLimitHit)
    worked = failed = False

    def forward(images: Tensor) -> Any:
        nonlocal worked, failed
        if failed or len(images) not in batch_sizes:
            return network(images)
        try:
            logits = compiled(images)
        except Exception as error:
            if worked and not isinstance(error, compiler_errors):
                raise
            failed = True
            warnings.warn(f"the network runs uncompiled from now on: {error}", stacklevel=2)
            return network(images)
        worked = True
        # CUDA graphs write the logits of every call into the same memory.
        return logits.clone() if torch_mode in CUDA_GRAPH_MODES else logits

    return forward
