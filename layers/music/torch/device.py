"""What torch runs on: a GPU where there is one, else the processor; and in which precision."""

from __future__ import annotations

import torch

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Device:
    """The device, and what is promised of it.

    Parameters
    ----------
    precision : str, optional
        A key of `PRECISIONS`, for the language model. By default ``bfloat16`` on a GPU and ``float32`` on a
        processor. Everything else is float32, and no product of float32 is rounded to less.

    Attributes
    ----------
    name : str
        As torch names it.
    precision : str
    dtype : torch.dtype

    Raises
    ------
    ValueError
        If the precision is none of them.
    """

    def __init__(self, precision: str | None = None) -> None:
        self.name = "cuda" if torch.cuda.is_available() else "cpu"
        self.precision = precision or ("bfloat16" if self.name == "cuda" else "float32")
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown PRECISION {precision!r} on torch; known: {', '.join(PRECISIONS)}")
        self.dtype = PRECISIONS[self.precision]
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False

    def free_memory(self, host: int) -> int:
        """Return the bytes that are free on the device; a processor has those of its host."""
        return torch.cuda.mem_get_info()[0] if self.name == "cuda" else host

    def describe(self) -> str:
        """Say what the same bytes are promised on."""
        if self.name == "cuda":
            return f"torch {torch.__version__}, {torch.cuda.get_device_name()}, {self.precision}"
        return f"torch {torch.__version__} cpu, {torch.get_num_threads()} threads, {self.precision}"
