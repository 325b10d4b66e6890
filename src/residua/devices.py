"""The device that a training runs on."""

import contextlib
import ctypes
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from residua.errors import UserError

MIB = 2**20
OUT_OF_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")
"""Messages of torch's allocators that raise a plain RuntimeError."""
NOT_DETERMINISTIC_MESSAGE = " does not have a deterministic implementation"


def select_device(name: str) -> torch.device:
    """Return the device with this name; `auto` selects the fastest one.

    Raises:
        UserError: the name is unknown, or the device is not available.
    """
    available = ["cpu"]
    if torch.cuda.is_available():
        cuda_devices = (f"cuda:{index}" for index in range(torch.cuda.device_count()))
        available = ["cuda", *cuda_devices, "cpu"]
    elif torch.backends.mps.is_available():
        available = ["mps", "cpu"]
    if name == "auto":
        return torch.device(available[0])
    if name not in available:
        raise UserError(
            f"device: {name!r} is not available; available devices: {', '.join(available)}"
        )
    return torch.device(name)


def fastest_precision(device: torch.device) -> Literal["bfloat16", "float32"]:
    """bfloat16 where the device has instructions that multiply in it, else float32.

    These are AVX512-BF16 and AMX-BF16 of x86 processors, BF16 of ARM processors, and tensor cores
    of GPUs from compute capability 8.0 on. Without them bfloat16 is emulated, and slower.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            supported = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        found = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        supported = any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bfloat16" if supported else "float32"


def keep_freed_memory() -> None:
    """Make glibc's allocator keep freed memory instead of returning it to the system.

    A training step frees and allocates the same large tensors. If the memory was returned each
    time, the page faults would cost more than the arithmetic of the cheap layers. The function has
    an effect only on Linux with glibc. The parameter names are those of mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mmap_max, trim_threshold, top_pad = -4, -1, -2
    libc = ctypes.CDLL(None)
    for parameter, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**26)):
        libc.mallopt(parameter, value)


def set_deterministic(enabled: bool) -> None:
    """Select deterministic algorithms, or the fastest ones, for the whole process.

    If enabled, an operation without a deterministic algorithm raises a RuntimeError; the
    documentation of `torch.use_deterministic_algorithms` lists these operations.
    """
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # cuDNN's benchmark mode measures times, so each process may select another algorithm.
    torch.backends.cudnn.benchmark = not enabled
    torch.use_deterministic_algorithms(enabled)


def set_tf32(enabled: bool) -> None:
    """Select for the whole process whether float32 products on NVIDIA GPUs are rounded to TF32.

    TF32 keeps 10 bits of the mantissa instead of 23. Torch's default is to round in convolutions
    and not in matrix products: https://docs.pytorch.org/docs/stable/notes/cuda.html.
    """
    # The newer `fp32_precision` of single operations breaks torch.compile: pytorch/pytorch#166387.
    torch.backends.cudnn.allow_tf32 = enabled
    torch.backends.cuda.matmul.allow_tf32 = enabled


@contextlib.contextmanager
def tf32(enabled: bool) -> Iterator[None]:
    """`set_tf32`, and the process's own settings afterwards."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    set_tf32(enabled)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.backends.cuda.matmul.allow_tf32 = products


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed."""
    known = any(message in str(error) for message in OUT_OF_MEMORY_MESSAGES)
    return known or isinstance(error, torch.OutOfMemoryError)


def error_advice(error: RuntimeError) -> str | None:
    """Return what the user can do about a device error; None for any other error."""
    message = str(error)
    if is_out_of_memory(error):
        return (
            "the device is out of memory: `--gradient-accumulation 2` (or 4, 8 ...) splits each "
            "batch into smaller parts; or use a smaller --batch-size"
        )
    if NOT_DETERMINISTIC_MESSAGE in message:
        operation = message.partition(NOT_DETERMINISTIC_MESSAGE)[0].split()[-1]
        return f"deterministic: {operation} has no deterministic implementation on this device"
    return None


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything that was asked of it; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Stopwatch:
    """Measures training from one synchronised moment to the next, waits for the device included.

    Args:
        device: what is waited for before a time is taken.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.start()

    def start(self) -> None:
        """Start anew."""
        synchronize(self.device)
        self.started = time.perf_counter()

    def stop(self) -> float:
        """The seconds since the start."""
        synchronize(self.device)
        return time.perf_counter() - self.started


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring `peak_memory` anew, where the system can (on GPUs and on Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM.


def peak_memory(device: torch.device) -> float:
    """Return the peak memory in MiB since `reset_peak_memory`: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    status = Path("/proc/self/status")
    if status.is_file():
        sizes = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(next(sizes).split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def describe_device(device: torch.device) -> str:
    """Describe a device by the GPU's name, or by the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"
