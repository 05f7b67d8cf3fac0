"""The audio tower of CLAP: HTS-AT, a Swin transformer over the mel spectrogram of ten seconds.

From log mels to a vector in the space that the text tower shares: Wu et al. 2023 (arXiv:2211.06687). HTS-AT
is of Chen et al. 2022 (arXiv:2202.00874), Swin of Liu et al. 2021 (arXiv:2103.14030). It computes what
`ClapModel` of transformers does, for checkpoints without feature fusion.

The spectrogram is stretched to 1024 frames, cut into four pieces that are laid under each other as a
picture of 256 x 256, and every 4 x 4 patch of that becomes a token. Each stage attends within windows of 8
x 8 tokens, every other block within windows shifted by half their size; between stages 2 x 2 tokens merge
into one.

Tokens always lie in memory in the order of the windows that they are attended in, so a window is a run of
rows. To shift the windows, or to merge tokens, is to gather rows by an index made once; nothing is rolled,
partitioned or put back. A block needs nothing outside its windows: it runs from its first norm to its last
residual on a few of them at a time, in buffers that stay in the processor's cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from music.engine import ops
from music.engine.packing import Tensors

NORM_EPSILON = 1e-5
_ROWS_AT_ONCE = 512
_MASKED = -100.0
"""What transformers adds to the scores of tokens that are neighbours only because the picture was rolled."""


class ClapAudio:
    """The audio tower; one call at a time.

    Parameters
    ----------
    tensors : Tensors
        Those of a bundle's ``clap_audio``.

    Attributes
    ----------
    bins, dimension : int
        How many mel bands a spectrogram has, and how many numbers a vector.
    """

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        made = tensors.metadata
        self.bins: int = made["bins"]
        self.dimension: int = made["dimension"]
        self._depths: list[int] = made["depths"]
        self._heads: list[int] = made["heads"]
        self._window: int = made["window"]
        self._epsilon: float = made["epsilon"]
        self._picture: int = made["picture"]
        self._grid: int = made["picture"] // made["patch"]
        self._patches = _patches(self._picture, self.bins, made["patch"])
        self._patches = self._patches[_windows(self._grid, self._window, 0)].ravel()
        self._biases = {
            (stage, block): _bias(
                tensors.array(f"{stage}.{block}.positions"),
                self._grid >> stage,
                self._window,
                self._shift(stage, block),
            )
            for stage, depth in enumerate(self._depths)
            for block in range(depth)
        }
        self._recorded: dict[int, tuple[ops.Program, np.ndarray, np.ndarray]] = {}

    def __call__(self, mels: np.ndarray) -> np.ndarray:
        """Embed windows of sound; a window's vector does not depend on the windows beside it.

        Parameters
        ----------
        mels : np.ndarray [shape=(windows, frames, bins), float32]
            Spectrograms in dB, of at most `picture` x `picture` / `bins` frames.

        Returns
        -------
        np.ndarray [shape=(windows, dimension), float32]
            Vectors that are not normalised.
        """
        count = len(mels)
        if count not in self._recorded:
            self._recorded[count] = self._record(count)
        program, patches, tokens = self._recorded[count]
        normal = mels * self._tensors.array("mel.scale") + self._tensors.array("mel.shift")
        picture = _stretch(normal, self._picture**2 // self.bins)  # (windows, frames of the picture, bins)
        np.take(picture.reshape(count, -1), self._patches, axis=1, out=patches.reshape(count, -1))
        program.run()
        pooled = tokens.reshape(count, -1, tokens.shape[1]).mean(axis=1)  # (windows, width of the last stage)
        return self._linear(self._linear(pooled, "projection.1", activation="relu"), "projection.2")

    def _record(self, count: int) -> tuple[ops.Program, np.ndarray, np.ndarray]:
        """Record the network for so many windows of sound: a program, its input and its output."""
        patches = np.zeros((count * self._grid**2, len(self._patches) // self._grid**2), np.float32)
        spare = _Spare()
        with ops.recording() as program:
            x = self._linear(patches, "patches")  # (windows * tokens, width)
            x = self._norm(x, "patches.norm", out=x)
            for stage, depth in enumerate(self._depths):
                grid = self._grid >> stage
                order = _windows(grid, self._window, 0)
                for block in range(depth):
                    wanted = _windows(grid, self._window, self._shift(stage, block))
                    if not np.array_equal(order, wanted):
                        x = ops.gather(x, _batched(_places(order)[wanted], count), out=spare.other(x))
                        order = wanted
                    self._block(x, stage, block, spare)
                if stage + 1 < len(self._depths):
                    merged = _quads(grid)[_windows(grid // 2, self._window, 0)]
                    x = ops.gather(x, _batched(_places(order)[merged.ravel()], count), out=spare.other(x))
                    x = x.reshape(count * (grid // 2) ** 2, -1)  # (windows * tokens / 4, 4 * width)
                    x = self._norm(x, f"{stage}.merge.norm", out=x)
                    x = self._linear(x, f"{stage}.merge")  # (windows * tokens / 4, 2 * width)
            tokens = self._norm(x, "norm", out=x)
        return program, patches, tokens

    def _block(self, x: np.ndarray, stage: int, block: int, spare: _Spare) -> None:
        """Run a block of Swin in place; `x` [shape=(rows, width)] lies in the order of its windows."""
        tokens, heads, width = self._window**2, self._heads[stage], x.shape[1]
        bias, name = self._biases[stage, block], f"{stage}.{block}"
        inner = self._tensors.weight(f"{name}.up.weight").outputs
        for first, last in _pieces(len(x) // tokens, len(bias), max(1, _ROWS_AT_ONCE // tokens)):
            piece = x[first * tokens : last * tokens]
            cache = spare.cache(last - first, heads, width // heads, tokens)
            normal = self._norm(piece, f"{name}.before", self._epsilon, spare("normal", len(piece), width))
            qkv = self._linear(normal, f"{name}.qkv", out=spare("qkv", len(piece), 3 * width))
            q, k, v = np.split(qkv, 3, axis=1)  # each (attention windows * tokens, heads * size)
            part = bias if last - first >= len(bias) else bias[first % len(bias) :][: last - first]
            ops.attend(q, cache, k, v, scale=(width // heads) ** -0.5, bias=part, out=normal)
            self._linear(normal, f"{name}.out", residual=piece, out=piece)
            self._norm(piece, f"{name}.after", self._epsilon, normal)
            hidden = spare("hidden", len(piece), inner)
            self._linear(normal, f"{name}.up", activation="gelu", out=hidden)
            self._linear(hidden, f"{name}.down", residual=piece, out=piece)

    def _shift(self, stage: int, block: int) -> int:
        """Say how far the windows of a block are shifted: not at all where there is only one."""
        return self._window // 2 if block % 2 and self._grid >> stage > self._window else 0

    def _linear(self, x: np.ndarray, name: str, **more: Any) -> np.ndarray:
        weight, bias = self._tensors.weight(f"{name}.weight"), self._tensors.optional(f"{name}.bias")
        return ops.linear(x, weight, bias=bias, **more)

    def _norm(
        self, x: np.ndarray, name: str, epsilon: float = NORM_EPSILON, out: np.ndarray | None = None
    ) -> np.ndarray:
        gain, shift = self._tensors.array(f"{name}.gain"), self._tensors.array(f"{name}.shift")
        return ops.norm(x, gain, shift, epsilon=epsilon, out=out)


class _Spare:
    """Buffers by name and shape, used again and again so that they stay in the processor's cache."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, int, int], np.ndarray] = {}
        self._caches: dict[tuple[int, int, int, int], ops.Cache] = {}

    def __call__(self, name: str, rows: int, width: int) -> np.ndarray:
        return self._buffers.setdefault((name, rows, width), np.empty((rows, width), np.float32))

    def other(self, x: np.ndarray) -> np.ndarray:
        """Give a buffer of the shape of `x` that is not `x`."""
        one = self("one", *x.shape)
        return self("another", *x.shape) if one is x else one

    def cache(self, sequences: int, heads: int, size: int, capacity: int) -> ops.Cache:
        key = (sequences, heads, size, capacity)
        return self._caches.setdefault(key, ops.Cache(*key))


def _pieces(windows: int, period: int, most: int) -> list[tuple[int, int]]:
    """Cut a row of attention windows into pieces that meet the period of their bias at a fixed place."""
    if period > most:
        size = max(size for size in range(1, most + 1) if period % size == 0)
    else:
        size = most // period * period
    return [(first, min(first + size, windows)) for first in range(0, windows, size)]


def _batched(index: np.ndarray, count: int) -> np.ndarray:
    """Repeat an index for each picture of a batch."""
    return (np.arange(count)[:, None] * len(index) + index).astype(np.int32).ravel()


def _places(order: np.ndarray) -> np.ndarray:
    """Say where each number is in `order`."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places


def _windows(grid: int, window: int, shift: int) -> np.ndarray:
    """List the cells of a square grid, numbered row by row, in the order of the windows that hold them."""
    cells = np.roll(np.arange(grid**2).reshape(grid, grid), (-shift, -shift), (0, 1))
    return cells.reshape(grid // window, window, grid // window, window).swapaxes(1, 2).ravel()


def _quads(grid: int) -> np.ndarray:
    """List the four cells that merge into each one of the next stage [shape=(cells / 4, 4)]."""
    cells = np.arange(grid**2).reshape(grid // 2, 2, grid // 2, 2)
    return cells.transpose(0, 2, 3, 1).reshape(-1, 4)


def _bias(table: np.ndarray, grid: int, window: int, shift: int) -> np.ndarray:
    """Compute what a block adds to its scores [shape=(windows, heads, queries, keys)].

    Where windows are not shifted, one stands for all.
    `table` [shape=((2 window - 1)^2, heads)] has a number for each offset between two tokens of a window.
    """
    y, x = np.divmod(np.arange(window**2), window)
    offset = (y[:, None] - y + window - 1) * (2 * window - 1) + x[:, None] - x + window - 1
    bias = table[offset].transpose(2, 0, 1)[None]
    if shift:
        cell = np.arange(grid)
        side = (cell >= grid - window).astype(int) + (cell >= grid - shift)
        region = (3 * side[:, None] + side).ravel()[_windows(grid, window, 0)].reshape(-1, window**2)
        apart = region[:, :, None] != region[:, None, :]
        bias = bias + np.where(apart, np.float32(_MASKED), np.float32(0))[:, None]
    return np.ascontiguousarray(bias, np.float32)


def _patches(picture: int, bins: int, patch: int) -> np.ndarray:
    """Find the places of each patch's points [shape=(patches, patch^2)] in a spectrogram [frames][bins]."""
    row, column = np.divmod(np.arange(picture**2), picture)
    place = ((row // bins * picture + column) * bins + row % bins).reshape(picture, picture)
    cells = picture // patch
    return place.reshape(cells, patch, cells, patch).swapaxes(1, 2).reshape(cells**2, patch**2)


def _stretch(mels: np.ndarray, frames: int) -> np.ndarray:
    """Resample along time as torch's bicubic ``interpolate(align_corners=True)`` does.

    The kernel is that of Keys (1981) with a = -0.75; positions are float32 there, and so here.
    """
    length = mels.shape[1]
    if length > frames:
        raise ValueError(f"{length} frames do not fit a picture of {frames}")
    if length == frames:
        return mels
    position = np.arange(frames, dtype=np.float32) * (np.float32(length - 1) / np.float32(frames - 1))
    first = np.floor(position).astype(np.int64)
    t = position - first.astype(np.float32)

    def near(d: np.ndarray) -> np.ndarray:
        return (np.float32(1.25) * d - np.float32(2.25)) * d * d + np.float32(1)

    def far(d: np.ndarray) -> np.ndarray:
        return ((np.float32(-0.75) * d + np.float32(3.75)) * d - np.float32(6)) * d + np.float32(3)

    result = np.zeros((len(mels), frames, mels.shape[2]), np.float32)
    for step, weight in zip((-1, 0, 1, 2), (far(t + 1), near(t), near(1 - t), far(2 - t)), strict=True):
        result += mels[:, np.clip(first + step, 0, length - 1)] * weight[:, None]
    return result
