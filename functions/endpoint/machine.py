"""What the container must find before it takes work, and how it refuses when it does not.

Everything is looked at before a model is loaded: the weights' files, the driver, the memory that the profile
takes with so many streams. A refusal has a code and a sentence, which `/ping` answers until somebody helps:

    wrong_settings          the environment lacks a variable, or holds what cannot be meant
    wrong_profile           the image has the weights of another profile than the stack's
    no_gpu                  the image is for a GPU, and the container has none
    driver_too_old          the driver of the GPU cannot run the CUDA that torch was built with
    too_little_gpu_memory   the weights and the streams do not fit the GPU
    too_little_memory       they do not fit the machine, where there is no GPU
    weights_damaged         a file of weights is missing, or is not what it was when the image was built
    not_loaded              what else loading a profile may say
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUMS = "SHA256SUMS"
"""The file beside a checkpoint that lists its files' hashes, as ``sha256sum`` writes them."""
DRIVER = "libcuda.so.1"
GPU_BYTES = 2_500_000_000
"""What CUDA, its libraries and the recorded steps take of a GPU beside weights and streams: an estimate."""
HOST_BYTES = 500_000_000
"""What Python and torch take of a machine beside weights and streams: an estimate."""


class Refused(Exception):
    """The container must not be given work, by a stable `code` and a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


@dataclass(frozen=True)
class Driver:
    """The driver of NVIDIA's GPUs.

    Attributes
    ----------
    cuda : tuple of int
        The newest CUDA that it runs, major and minor.
    gpus : tuple of (str, int)
        The name and the bytes of memory of each GPU that the container has.
    """

    cuda: tuple[int, int]
    gpus: tuple[tuple[str, int], ...]


def read_driver(load: Callable[[str], Any] = ctypes.CDLL) -> Driver | None:
    """Ask the driver what there is; None where there is no driver.

    Parameters
    ----------
    load : callable
        Opens a shared library by its name, or raises `OSError`.
    """
    try:
        cuda = load(DRIVER)
    except OSError:
        return None
    version, count = ctypes.c_int(), ctypes.c_int()
    if cuda.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    runs = divmod(version.value, 1000)
    gpus = []
    if cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0:
        for number in range(count.value):
            device, size = ctypes.c_int(), ctypes.c_size_t()
            name = ctypes.create_string_buffer(128)
            cuda.cuDeviceGet(ctypes.byref(device), number)
            cuda.cuDeviceGetName(name, len(name), device)
            cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
            gpus.append((name.value.decode(errors="replace"), size.value))
    return Driver((runs[0], runs[1] // 10), tuple(gpus))


def require_gpu(built_for: str, driver: Driver | None, needed: int) -> None:
    """Refuse a machine whose GPU cannot run the profile.

    Parameters
    ----------
    built_for : str
        The CUDA that torch was built with, such as ``"13.0"``.
    driver : Driver or None
        What the container has.
    needed : int
        Bytes that the profile takes of the GPU.

    Raises
    ------
    Refused
        ``no_gpu``, ``driver_too_old``, ``too_little_gpu_memory``.

    References
    ----------
    .. [1] NVIDIA, "CUDA Compatibility": what was built with a CUDA of one major version runs on every driver
       that knows this major version, be its minor one older.
    """
    if driver is None:
        raise Refused(
            "no_gpu",
            f"torch is built for CUDA {built_for}, and the container has no {DRIVER}: it needs an "
            "instance with an NVIDIA GPU, in Docker `--gpus all`.",
        )
    if driver.cuda[0] < int(built_for.split(".")[0]):
        raise Refused(
            "driver_too_old",
            f"The GPU's driver runs CUDA {driver.cuda[0]}.{driver.cuda[1]} at most, and torch is built for "
            f"{built_for}: it needs an instance with a newer driver, or an image with an older torch.",
        )
    if not driver.gpus:
        raise Refused("no_gpu", "There is a driver, but the container has none of its GPUs.")
    name, size = driver.gpus[0]
    if needed > size:
        raise Refused(
            "too_little_gpu_memory",
            f"{needed / 1e9:.1f} GB of the GPU's memory are needed, and {name} has {size / 1e9:.1f} GB: "
            "it needs a larger instance, or fewer streams.",
        )


def require_memory(needed: int, available: int) -> None:
    """Refuse a machine without a GPU whose memory the profile does not fit.

    Raises
    ------
    Refused
        ``too_little_memory``.
    """
    if needed > available:
        raise Refused(
            "too_little_memory",
            f"{needed / 1e9:.1f} GB of memory are needed, and {available / 1e9:.1f} GB are there.",
        )


def read_config(folder: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself.

    Raises
    ------
    Refused
        ``weights_damaged``.
    """
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if not isinstance(config, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise Refused("weights_damaged", f"{folder / 'config.json'}: cannot be read: {error}.") from error
    return config


def verify(folder: Path) -> None:
    """Compare every file of a checkpoint with the hash that was taken when the image was built.

    Raises
    ------
    Refused
        ``weights_damaged``: one is missing or differs, or there are no hashes.
    """
    sums = folder / SUMS
    try:
        lines = sums.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise Refused("weights_damaged", f"{sums}: cannot be read: {error}.") from error
    if not lines:
        raise Refused("weights_damaged", f"{sums}: lists no file.")
    for line in lines:
        expected, _, name = line.partition("  ")
        path = folder / name.removeprefix("./")
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise Refused("weights_damaged", f"{path}: cannot be read: {error.strerror}.") from error
        if found != expected:
            raise Refused("weights_damaged", f"{path}: its sha256 is {found}, not {expected}.")


if __name__ == "__main__":  # the image runs it when it is built
    try:
        verify(Path(sys.argv[1]))
    except Refused as refused:
        sys.exit(f"error: {refused.detail} `python -m weights torch` makes them.")
