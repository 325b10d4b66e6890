"""The device that a training runs on."""

import ctypes
import platform
import resource
import sys

import torch

from residua.errors import UserError

MIB = 2**20


def choose(name: str) -> torch.device:
    """The device of this name; `auto` takes the fastest there is.

    Raises:
        UserError: the name means nothing, or the device is not here.
    """
    present = ["cpu"]
    if torch.cuda.is_available():
        present = ["cuda", *(f"cuda:{place}" for place in range(torch.cuda.device_count())), "cpu"]
    elif torch.backends.mps.is_available():
        present = ["mps", "cpu"]
    if name == "auto":
        return torch.device(present[0])
    if name not in present:
        raise UserError(f"device: there is no device {name!r} here; there are {', '.join(present)}")
    return torch.device(name)


def keep_freed_memory() -> None:
    """Let glibc's allocator keep what is freed, instead of giving it back page by page.

    A training frees and allocates the same large tensors at every step; given back each time, each
    is paid for again in page faults, which cost a CPU more than the cheap layers' arithmetic.
    Does nothing elsewhere than on Linux with glibc. The names are those of mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mmap_max, trim_threshold, top_pad = -4, -1, -2
    libc = ctypes.CDLL(None)
    for parameter, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**26)):
        libc.mallopt(parameter, value)


def peak_memory(device: torch.device) -> float:
    """The most memory held so far, in MiB: the device's, or this process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def describe(device: torch.device) -> str:
    """The device in words: a GPU's name, or the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
