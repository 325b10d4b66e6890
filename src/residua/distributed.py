"""The processes that train together: which of them this one is, and what they exchange.

Every process (rank) holds the whole state of a training and takes the same decisions, because they
are computed from figures that were summed over all ranks. The first rank reads and writes the files
of the run.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from residua.errors import PeerError, UserError

JOIN_TIMEOUT = 600.0
"""Seconds that the first rank waits for the others at the start."""


@dataclass(frozen=True)
class Share:
    """The images of a batch, or of a chunk of one, that a rank computes: `start` to `stop`."""

    count: int
    """Images over all ranks."""
    start: int
    stop: int
    offset: int = 0
    """The position of the chunk's first image in the batch."""

    def __len__(self) -> int:
        return self.stop - self.start

    def positions(self, device: torch.device) -> Tensor:
        """(n,) int64: the positions in the batch."""
        return torch.arange(self.offset + self.start, self.offset + self.stop, device=device)


@dataclass(frozen=True)
class World:
    """The rank of this process among those that train together; trivial for a single process.

    All methods but `share` need every rank to call them, in the same order, and an initialised
    process group where there are several ranks. They raise a `PeerError` where another rank ended.
    """

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank {self.rank} of {self.size}")

    @property
    def is_writer(self) -> bool:
        """Whether this process reads and writes the files of the run."""
        return self.rank == 0

    def share(self, count: int, offset: int = 0) -> Share:
        """The share of this rank in `count` images; shares differ by at most one image."""
        start, stop = (count * rank // self.size for rank in (self.rank, self.rank + 1))
        return Share(count, start, stop, offset)

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in place and returned; a single process gets its values back."""
        if self.size > 1:
            with peer_errors():
                dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is true on at least one rank."""
        return flag if self.size == 1 else bool(self.all_reduce(torch.tensor(int(flag))))

    def from_writer(self, read: Callable[[], str]) -> str:
        """The text that `read` returns on the writer; no other rank calls it.

        Raises:
            UserError: what `read` raises, as a `PeerError` on the other ranks.
        """
        if self.size == 1:
            return read()
        data = b""
        with self.same_outcome():
            if self.is_writer:
                data = read().encode()
        length = int(self._broadcast(torch.tensor(len(data))))
        if length == 0:
            return ""
        buffer = torch.frombuffer(bytearray(data or bytes(length)), dtype=torch.uint8)
        return bytes(self._broadcast(buffer).numpy()).decode()

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Replace the values of CPU tensors by those of the writer, in place."""
        for tensor in tensors:
            contiguous = tensor.contiguous()
            self._broadcast(contiguous)
            if contiguous is not tensor:
                tensor.copy_(contiguous)

    @contextmanager
    def same_outcome(self) -> Iterator[None]:
        """Let the body fail on all ranks if it fails on one; the body must exchange nothing.

        Raises:
            PeerError: the body failed on another rank, which raises its own error. If it fails on
                several, the first of them raises its own.
        """
        if self.size == 1:
            yield
            return
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        first = torch.tensor(self.size if failure is None else self.rank)
        with peer_errors():
            dist.all_reduce(first, dist.ReduceOp.MIN)
        if int(first) == self.size:
            return
        if failure is not None and int(first) == self.rank:
            raise failure
        raise PeerError(f"rank {int(first)} failed") from failure

    def _broadcast(self, values: Tensor) -> Tensor:
        with peer_errors():
            dist.broadcast(values, 0)
        return values


def current_world() -> World:
    """The world of this process: that of torch's process group, if one is initialised."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World()


@contextmanager
def joined_world() -> Iterator[World]:
    """Join the processes that `torchrun` started, until the body ends.

    Tensors on CPUs are exchanged by gloo, those on NVIDIA's GPUs by NCCL.

    Raises:
        PeerError: the others were not reached.
    """
    environment = os.environ
    launched = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= environment.keys()
    if not launched or int(environment["WORLD_SIZE"]) == 1 or dist.is_initialized():
        yield current_world()
        return
    with peer_errors():
        store, rank, size = next(rendezvous("env://"))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        fresh = _fresh_store(store, rank, size)
        dist.init_process_group(backend, store=fresh, rank=rank, world_size=size)
    yield current_world()
    # After an error the others may be gone: the end of the process closes the connections.
    dist.destroy_process_group()


def _fresh_store(store: Store, rank: int, size: int) -> Store:
    """A part of torchrun's store that only the ranks of this start use.

    torchrun keeps its store when it starts its workers again (torch 2.13), so there are addresses
    of processes that have ended. No number tells one start from another on all machines: each rank
    asks the first one with a random name for the name of this start.
    """
    name = uuid.uuid4().hex
    if rank > 0:
        store.set(f"residua/hello/{rank}", name)
        start = store.get(f"residua/welcome/{name}").decode()
        store.set(f"residua/ready/{start}/{rank}", "")
        return PrefixStore(start, store)
    missing, deadline = set(range(1, size)), time.monotonic() + JOIN_TIMEOUT
    while missing:
        for other in tuple(missing):
            hello, ready = f"residua/hello/{other}", f"residua/ready/{name}/{other}"
            if store.check([hello]):
                store.set(f"residua/welcome/{store.get(hello).decode()}", name)
            if store.check([ready]):
                missing.remove(other)
        if time.monotonic() > deadline:
            raise PeerError(f"ranks {sorted(missing)} did not start within {JOIN_TIMEOUT:.0f} s")
        time.sleep(0.02)
    return PrefixStore(name, store)


def rank_device(device: torch.device, world: World) -> torch.device:
    """The device of this rank: a GPU for each rank of a machine.

    Raises:
        UserError: there are fewer GPUs than ranks, or ranks cannot use this kind of device.
    """
    if world.size == 1 or device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise UserError(f"device: {device} cannot be shared by ranks: use cuda, cpu or auto")
    index, count = int(os.environ.get("LOCAL_RANK", world.rank)), torch.cuda.device_count()
    if index >= count:
        raise UserError(
            f"rank {index} of this machine has no GPU, there are {count}: start fewer processes "
            "(torchrun --nproc-per-node), or use --device cpu"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


@contextmanager
def peer_errors() -> Iterator[None]:
    """Raise a `PeerError` where an exchange fails: another rank ended, or is out of reach."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError(f"lost the connection to another rank: {error}") from error
