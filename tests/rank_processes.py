"""Start ranks on this machine: processes of one training that exchange tensors by gloo."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_ranks(function: Callable[..., None], size: int, *arguments: Any, store: Path) -> None:
    """Call `function(*arguments)` in `size` new processes that form a process group.

    Args:
        function: of a module.
        size: the number of ranks.
        arguments: passed on; pickled.
        store: a folder for the file in which the processes meet.
    """
    number = len(list(store.glob("store-*")))
    path = store / f"store-{number}"
    path.touch()
    mp.spawn(_join, (size, str(path), function, arguments), nprocs=size)


def _join(rank: int, size: int, store: str, function: Callable[..., None], arguments: Any) -> None:
    torch.set_num_threads(1)
    file_store = dist.FileStore(store, size)
    dist.init_process_group("gloo", store=file_store, rank=rank, world_size=size)
    function(*arguments)
    dist.destroy_process_group()


def free_port() -> int:
    """A port that no other process listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def torchrun(
    *words: object, ranks: int = 2, options: tuple[str, ...] = ("--standalone",)
) -> list[str]:
    """The command that runs residua on some ranks."""
    launcher = [sys.executable, "-m", "torch.distributed.run", *options]
    return [*launcher, "--nproc-per-node", str(ranks), "-m", "residua", *map(str, words)]


def start(command: list[str], **environment: str) -> "subprocess.Popen[str]":
    """Start a process in a session of its own, on one thread, with its output in one pipe."""
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"} | environment
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=variables,
        start_new_session=True,
    )
