"""Batch normalization whose statistics are those of the images of all ranks."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from residua.distributed import current_world, peer_errors

_NATIVE_BACKWARD = torch.ops.aten.native_batch_norm_backward


class SyncBatchNorm2d(nn.SyncBatchNorm, nn.BatchNorm2d):
    """Batch normalization over the images of all ranks, on any device.

    On GPUs this is `torch.nn.SyncBatchNorm`, which refuses CPUs. On CPUs each layer sums the
    moments of its channels over ranks, once in the forward and once in the backward pass. A rank
    may have no images. A single process, and evaluation, use `torch.nn.BatchNorm2d`.
    """

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape; all ranks have to call it."""
        if not self.training or current_world().size == 1:
            return nn.BatchNorm2d.forward(self, input)
        if input.device.type == "cuda":
            return super().forward(input)
        apply: Callable[..., tuple[Tensor, ...]] = _SyncBatchNorm.apply
        output, mean, var, count = apply(input, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._update_running_stats(mean, var, count)
        return output

    @torch.no_grad()
    def _update_running_stats(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        """Update as torch's batch norm does: with the unbiased variance."""
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        weight = self.momentum
        if weight is None:
            weight = 1 / float(self.num_batches_tracked)
        unbiased = var * (count / (count - 1))
        self.running_mean.mul_(1 - weight).add_(mean.float(), alpha=weight)
        self.running_var.mul_(1 - weight).add_(unbiased.float(), alpha=weight)


class _SyncBatchNorm(torch.autograd.Function):
    """Normalize by the moments over all ranks; the gradients of weight and bias are this rank's."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the output, and mean (C,), biased variance (C,) and count in float64."""
        channels = images.shape[1]
        moments = torch.zeros(2 * channels + 1, dtype=torch.float64)
        if count := images.numel() // channels:
            var, mean = torch.var_mean(images.float(), (0, 2, 3), correction=0)
            mean, var = mean.double(), var.double()
            moments = torch.cat(
                [mean * count, (var + mean**2) * count, torch.tensor([count], dtype=torch.float64)]
            )
        # In float64 the mean of squares minus the square of the mean loses nothing that matters.
        with peer_errors():
            dist.all_reduce(moments)
        total = moments[-1]
        mean, square = (moments[:-1] / total).chunk(2)
        var = (square - mean**2).clamp(min=0)
        ctx.save_for_backward(images, weight, mean, var, total)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var, total)
        output = F.batch_norm(images, mean.float(), var.float(), weight, bias, False, 0.0, eps)
        return output, mean, var, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """The gradients; that of the images also depends on the other ranks' images."""
        images, weight, mean, var, total = ctx.saved_tensors
        mean32, var32 = mean.float(), var.float()
        invstd = (var32 + ctx.eps).rsqrt()
        grad_input, grad_weight, grad_bias = (
            images,
            torch.zeros_like(weight),
            torch.zeros_like(weight),
        )
        if images.numel():  # torch's kernel divides by their number.
            # Of a normalization by constants; what the statistics contribute is added below.
            grad_input, grad_weight, grad_bias = _NATIVE_BACKWARD(
                *(grad, images, weight, mean32, var32, mean32, invstd),
                *(False, ctx.eps, [True, True, True]),
            )
        sums = torch.cat([grad_bias, grad_weight]).double()
        with peer_errors():
            dist.all_reduce(sums)
        mean_grad, mean_product = (sums / total).float().chunk(2)
        scale = weight * invstd
        slope = (scale * mean_product * invstd)[:, None, None]
        shift = (scale * mean_grad)[:, None, None] - slope * mean32[:, None, None]
        grad_input = (grad_input - (images * slope + shift)).to(images.dtype)
        return grad_input, grad_weight, grad_bias, None
