"""The network as a compiled function."""

import shutil
import warnings
from collections.abc import Callable, Container
from typing import Any

import torch
from torch import Tensor, nn

from residua.recipes.recipe import CUDA_GRAPH_MODES, CompileMode


def compiled(
    network: nn.Module, wish: bool | CompileMode, sizes: Container[int]
) -> Callable[[Tensor], Tensor]:
    """The network compiled at its first call; as it is, with a warning, where that fails.

    Args:
        network: from (N, 3, H, W) to logits.
        wish: whether to compile, or in which mode.
        sizes: the N that are worth it. Compiling costs a minute for each; batches of other sizes
            run uncompiled: the last ones of an epoch, and of a split.
    """
    if not wish:
        return network
    if next(network.parameters()).device.type == "cpu" and not shutil.which("c++"):
        warnings.warn("no C++ compiler (c++) found: the network runs uncompiled", stacklevel=2)
        return network
    mode = wish if isinstance(wish, str) else None
    fast: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False, mode=mode)
    chosen: list[Callable[[Tensor], Tensor]] = []

    def forward(images: Tensor) -> Any:
        if len(images) not in sizes:
            return network(images)
        if chosen:
            logits = chosen[0](images)
        else:
            try:
                logits = fast(images)
                chosen.append(fast)
            except Exception as error:
                warnings.warn(f"the network runs uncompiled: {error}", stacklevel=2)
                chosen.append(network)
                logits = network(images)
        return logits.clone() if mode in CUDA_GRAPH_MODES else logits

    return forward
