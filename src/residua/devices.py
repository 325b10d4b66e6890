"""The device that a training runs on."""

import ctypes
import os
import platform
import resource
import sys

import torch

from residua.errors import UserError

MIB = 2**20
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""What torch's allocators say, where they have no class of error for it."""
NOT_DETERMINISTIC = " does not have a deterministic implementation"


def select_device(name: str) -> torch.device:
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


def set_deterministic(enabled: bool) -> None:
    """Take only algorithms that give the same bits every time; or whichever is fastest.

    For the whole process. An operation that has no such algorithm then raises a RuntimeError; the
    documentation of `torch.use_deterministic_algorithms` names them.
    """
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # cuDNN's search times algorithms, so another one may win in every process.
    torch.backends.cudnn.benchmark = not enabled
    torch.use_deterministic_algorithms(enabled)


def error_advice(error: RuntimeError) -> str | None:
    """What a user can do about an error of the device; None where it is another kind of error."""
    said = str(error)
    if isinstance(error, torch.OutOfMemoryError) or any(each in said for each in OUT_OF_MEMORY):
        return (
            "the device is out of memory: `--gradient-accumulation 2` (or 4, 8 ...) takes each "
            "batch through the network in parts; or lower --batch-size"
        )
    if NOT_DETERMINISTIC in said:
        operation = said.partition(NOT_DETERMINISTIC)[0].split()[-1]
        return f"deterministic: {operation} has no deterministic form on this device"
    return None


def peak_memory(device: torch.device) -> float:
    """The most memory held so far, in MiB: the device's, or this process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def describe_device(device: torch.device) -> str:
    """The device in words: a GPU's name, or the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"
