"""The network as a compiled function."""

import shutil
import warnings
from collections.abc import Callable, Container
from typing import Any

import torch
from torch import Tensor, nn

from residua.recipes.recipe import CUDA_GRAPH_MODES, CompileMode


def compile_network(
    network: nn.Module, mode: bool | CompileMode, batch_sizes: Container[int]
) -> Callable[[Tensor], Tensor]:
    """The network, compiled at its first call; uncompiled, with a warning, where that fails.

    Args:
        network: from (N, 3, H, W) to logits.
        mode: whether to compile, or in which of torch's modes.
        batch_sizes: the N that are compiled. Compiling costs a minute for each; batches of other
            sizes (the last ones of an epoch and of a split) run uncompiled.
    """
    if not mode:
        return network
    if next(network.parameters()).device.type == "cpu" and not shutil.which("c++"):
        warnings.warn("no C++ compiler (c++) found: the network runs uncompiled", stacklevel=2)
        return network
    torch_mode = mode if isinstance(mode, str) else None
    compiled: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False, mode=torch_mode)
    working: list[Callable[[Tensor], Tensor]] = []
    """What the first call has shown to work."""

    def forward(images: Tensor) -> Any:
        if len(images) not in batch_sizes:
            return network(images)
        if working:
            logits = working[0](images)
        else:
            try:
                logits = compiled(images)
                working.append(compiled)
            except Exception as error:
                warnings.warn(f"the network runs uncompiled: {error}", stacklevel=2)
                working.append(network)
                logits = network(images)
        # CUDA graphs write the logits of every call into the same memory.
        return logits.clone() if torch_mode in CUDA_GRAPH_MODES else logits

    return forward
