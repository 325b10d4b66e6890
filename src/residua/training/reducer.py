"""Sums over ranks: the gradients, while the backward pass still computes others, and figures."""

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from residua.distributed import World, peer_errors
from residua.models import SyncBatchNorm2d

BUCKET_BYTES = 2**20
"""Gradients are exchanged in buckets of at most this size, or of one parameter. Smaller buckets
start earlier, larger ones have less latency."""


class Reducer:
    """Sums a network's gradients over the ranks of a world; a single process sums nothing.

    Buckets are filled in the order in which a backward pass computes gradients: from the last
    parameter to the first. Each is reduced as soon as it is full. Buckets and their order never
    change, unlike those of torch's DistributedDataParallel, so that resumption is exact.

    Args:
        network: the network; its gradients are those of a part of the batch.
        world: the ranks.
    """

    def __init__(self, network: nn.Module, world: World) -> None:
        self.world = world
        self._buckets: list[Bucket] = []
        self._statistics: list[Tensor] = []
        self._active, self._next = False, 0
        if world.size == 1:
            return
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        self._buckets = [Bucket(weights) for weights in _grouped(trained[::-1])]
        for bucket in self._buckets:
            for weight in bucket.weights:
                weight.register_post_accumulate_grad_hook(self._hook(bucket))  # type: ignore[no-untyped-call]
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and not isinstance(module, SyncBatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                self._statistics += [module.running_mean, module.running_var]

    @property
    def bytes_per_step(self) -> int:
        """What one step sums over ranks: gradients, figures, statistics of local batch norm."""
        gradients = sum(bucket.nbytes for bucket in self._buckets)
        return gradients + sum(value.nbytes for value in self._statistics) + 8

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of a loss; after the last one, they are the sums over all ranks.

        Args:
            loss: scalar.
            last: whether it is the last chunk of the batch.
        """
        if not last or not self._buckets:
            torch.autograd.backward(loss)
            return
        self._active, self._next = True, 0
        for bucket in self._buckets:
            bucket.missing = len(bucket.weights)
        torch.autograd.backward(loss)
        self._active = False
        for bucket in self._buckets[self._next :]:
            bucket.start()
        for bucket in self._buckets:
            bucket.finish()

    @torch.no_grad()
    def reduce_figures(self, loss: Tensor, correct: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        """Sum a step's figures, and take the mean of local batch norm's running statistics.

        So every rank has the same network, figures and statistics after each step.

        Args:
            loss: scalar, this rank's part of the batch's mean.
            correct: scalar, this rank's images that are classified correctly.
            weight: the part of the batch that this rank computes.

        Returns:
            the same over all ranks.
        """
        if self.world.size == 1:
            return loss, correct
        figures = torch.stack([loss.float(), correct.float()])
        loss, correct = self._reduce([figures, *self._statistics], weight)[:2]
        return loss, correct

    @torch.no_grad()
    def average_statistics(self, weight: float) -> None:
        """Take the mean of local batch norm's running statistics over ranks.

        Args:
            weight: of this rank's statistics; all weights together are 1.
        """
        if self._statistics:
            self._reduce([self._statistics[0].new_zeros(2), *self._statistics], weight)

    def _reduce(self, values: list[Tensor], weight: float) -> Tensor:
        """Sum two figures and the weighted statistics; returns all of them, flat."""
        figures, *statistics = values
        weighted = torch._foreach_mul(statistics, weight) if statistics else []
        flat = self.world.all_reduce(torch.cat([figures, *weighted]))
        if statistics:
            parts = torch.split(flat[2:], [value.numel() for value in statistics])
            torch._foreach_copy_(statistics, parts)
        return flat

    def _hook(self, bucket: "Bucket") -> Callable[[Tensor], None]:
        def count(_: Tensor) -> None:
            if not self._active:
                return
            bucket.missing -= 1
            # In the same order on all ranks: only after the buckets before it.
            while self._next < len(self._buckets) and self._buckets[self._next].missing == 0:
                self._buckets[self._next].start()
                self._next += 1

        return count


class Bucket:
    """Some parameters whose gradients are reduced at once, in one flat tensor."""

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self.weights = weights
        self.missing = 0
        """Parameters whose gradients this backward pass has yet to compute."""
        self.nbytes = sum(weight.nbytes for weight in weights)
        self._orders = [_memory_order(weight) for weight in weights]
        self._flat: Tensor | None = None
        self._work: dist.Work | None = None

    @torch.no_grad()
    def start(self) -> None:
        """Start to sum the gradients over all ranks; a missing gradient counts as 0."""
        for weight in self.weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        flat = torch.cat([gradient.reshape(-1) for gradient in self._gradients()])
        with peer_errors():
            self._flat, self._work = flat, dist.all_reduce(flat, async_op=True)

    @torch.no_grad()
    def finish(self) -> None:
        """Wait for the sums, and make them the gradients."""
        assert self._flat is not None
        assert self._work is not None
        with peer_errors():
            self._work.wait()
        gradients = self._gradients()
        parts = torch.split(self._flat, [gradient.numel() for gradient in gradients])
        sums = [part.view(each.shape) for part, each in zip(parts, gradients, strict=True)]
        torch._foreach_copy_(gradients, sums)
        self._flat = self._work = None

    def _gradients(self) -> list[Tensor]:
        """The gradients, with their dimensions in the order of memory."""
        return [
            weight.grad.permute(order)
            for weight, order in zip(self.weights, self._orders, strict=True)
            if weight.grad is not None
        ]


def _memory_order(weight: Tensor) -> tuple[int, ...]:
    """The dimensions of a tensor, from the largest stride to the smallest."""
    strides = weight.stride()
    return tuple(sorted(range(weight.ndim), key=lambda dim: -strides[dim]))


def _grouped(weights: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Successive parameters of one type, in groups of at most `BUCKET_BYTES`, or of one."""
    groups: list[list[nn.Parameter]] = []
    for weight in weights:
        group = groups[-1] if groups else []
        size = sum(other.nbytes for other in group) + weight.nbytes
        if group and size <= BUCKET_BYTES and group[0].dtype == weight.dtype:
            group.append(weight)
        else:
            groups.append([weight])
    return groups
