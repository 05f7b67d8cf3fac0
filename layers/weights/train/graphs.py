"""A training step that is recorded once and replayed: a GPU that waits for no Python between its kernels.

The networks here are small, and a step of theirs is over a thousand kernels: started one by one, they take
several times as long as they run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch


class Replay:
    """Call a function again and again, as a CUDA graph where there is CUDA.

    Parameters
    ----------
    step : callable
        Takes and returns nothing: it reads and writes tensors that stay where they are, waits for nothing,
        and starts the same kernels every time. It is called a few times before it is recorded.
    device : torch.device
    quiet : context manager
        Held while it is recorded: nothing else may use the device then.
    """

    def __init__(
        self,
        step: Callable[[], None],
        device: torch.device,
        quiet: AbstractContextManager[object] | None = None,
    ) -> None:
        self._step = step
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            # All shapes are always the same: the fastest kernels are worth a search.
            with torch.cuda.stream(side), torch.backends.cudnn.flags(benchmark=True, allow_tf32=True):
                for _ in range(3):
                    step()
            torch.cuda.current_stream().wait_stream(side)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with (
                quiet or nullcontext(),
                torch.backends.cudnn.flags(benchmark=True, allow_tf32=True),
                torch.cuda.graph(graph, capture_error_mode="thread_local"),
            ):
                step()
            self._graph = graph

    def __call__(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        else:
            self._step()
