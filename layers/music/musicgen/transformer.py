"""MusicGen's transformer (Copet et al. 2023): from codes and a condition to the logits of the next codes.

A decoder with pre-norm layers and sinusoidal positions; the embeddings of a position's codebooks are summed.
Text comes in by cross-attention. The melody model has none: its projected chroma and text stand before the
codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from music.engine.memory import zeros
from music.engine.ops import Cache, Program, attend, feed_forward, linear, norm, recording
from music.engine.packing import Tensors
from music.musicgen.decoding import NULL, Decoding, Window
from music.musicgen.networks import Condition
from music.musicgen.sampling import Sampling
from music.resume import Take

POSITIONS = 2048
"""The number of positions that the checkpoints were trained for, a prefix included."""

_CHUNK = 64  # positions of a prefill that are computed at once, of each row


class MusicGen:
    """The transformer, a `music.musicgen.networks.LanguageModel`.

    Parameters
    ----------
    tensors : Tensors
        Those of a bundle's ``musicgen``.
    """

    def __init__(self, tensors: Tensors) -> None:
        config = tensors.metadata
        self.tensors = tensors
        self.layers: int = config["layers"]
        self.heads: int = config["heads"]
        self.vocabulary: int = config["vocabulary"]
        self.prefix: int = config["prefix"]
        self.text_length: int = config.get("text_length", 0)
        self.embedding = tensors.array("embedding")
        self.codebooks, _, self.width = self.embedding.shape
        # Integers are accurate enough for the cache where they are for the weights.
        self.cache_precision = "float32" if config["precision"] == "float32" else "int8"
        self.exact: frozenset[int] = frozenset(
            config.get("exact", ())
        )  # layers whose scores they are too coarse for
        self.positions = sinusoids(POSITIONS, self.width)

    @property
    def chroma(self) -> int:
        """How many pitch classes a melody has, 0 for a model that takes none."""
        return self.tensors.weight("chroma").inputs if self.prefix else 0

    @property
    def max_positions(self) -> int:
        """How many positions a state may have, beside a prefix of chroma and up to 64 tokens of text."""
        return POSITIONS - (self.prefix + 64 if self.prefix else 0)

    def state_bytes(self, rows: int, capacity: int) -> int:
        """Estimate the memory of a state: its caches and what a step needs."""
        integers = 0 if self.cache_precision == "float32" else self.layers - len(self.exact)
        elements = integers * (1 + 4 * self.heads / self.width) + 4 * (self.layers - integers)
        return int(rows * (2 * (capacity + self.prefix) * self.width * elements + 4 * 16 * self.width))

    def start(self, conditions: Sequence[Condition], capacity: int) -> MusicGenState:
        """Begin a row for each condition.

        Raises
        ------
        ValueError
            If there is none, `capacity` is over `max_positions`, or a condition is not for this model.
        """
        if not conditions or not 1 <= capacity <= self.max_positions:
            raise ValueError(f"a state has at least one row and 1 to {self.max_positions} positions")
        for condition in conditions:
            if condition.text is not None and condition.text.shape[1:] != (
                self.tensors.weight("text").inputs,
            ):
                raise ValueError(f"text of width {self.tensors.weight('text').inputs} is needed")
            if condition.chroma is not None and condition.chroma.shape[1:] != (self.chroma,):
                raise ValueError(f"this model takes chroma of {self.chroma} pitch classes")
        return MusicGenState(self, conditions, capacity)

    def decode(
        self,
        windows: Sequence[Window],
        conditions: Callable[[Window], Condition],
        sampling: Sampling,
        takes: Sequence[Take],
        against: Condition = NULL,
    ) -> Decoding:
        """Begin to make the codes of candidates, one step at a time."""
        return Decoding(self, windows, conditions, sampling, takes, against)

    def embed(self, codes: np.ndarray, start: int) -> np.ndarray:
        """Embed codes [rows, new, codebooks] at the positions from `start` on [rows, new, width]."""
        x = self.embedding[0][codes[:, :, 0]].astype(np.float32)  # (rows, new, width)
        for book in range(1, self.codebooks):
            x += self.embedding[book][codes[:, :, book]]
        x += self.positions[start : start + codes.shape[1]]
        return x

    def project(self, name: str, values: np.ndarray) -> np.ndarray:
        """Project text or chroma [n, ...] into the width [n, width]."""
        return linear(
            np.ascontiguousarray(values, np.float32),
            self.tensors.weight(name),
            bias=self.tensors.array(f"{name}.bias"),
        )


class MusicGenState:
    """Rows under way, which are their key-value caches."""

    def __init__(self, model: MusicGen, conditions: Sequence[Condition], capacity: int) -> None:
        self._model = model
        self._rows = len(conditions)
        # Inside, rows of one text stand together: they share its keys and values.
        self._order, self._shared = by_text(conditions)
        self._back = np.argsort(self._order)
        conditions = [conditions[row] for row in self._order]
        prefix = self._prefix(conditions) if model.prefix else None
        self._before = 0 if prefix is None else prefix.shape[1]
        self._capacity = capacity
        size = model.width // model.heads
        self._lengths = np.zeros(self._rows, np.int32)
        self._self = [
            Cache(
                self._rows,
                model.heads,
                size,
                capacity + self._before,
                "float32" if layer in model.exact else model.cache_precision,
                self._lengths,
            )
            for layer in range(model.layers)
        ]
        self._cross: list[Cache] = [] if model.prefix else self._texts(conditions)
        self._step: tuple[np.ndarray, np.ndarray, Program] | None = None
        if prefix is not None:
            prefix += model.positions[: self._before]
            for start in range(0, self._before, _CHUNK):
                self._forward(np.ascontiguousarray(prefix[:, start : start + _CHUNK]))

    @property
    def length(self) -> int:
        """How many positions there are so far, the prefix not counted."""
        return int(self._lengths[0]) - self._before

    def advance(self, codes: np.ndarray) -> np.ndarray:
        """Append positions [rows, new, codebooks]; see `music.musicgen.networks.State`."""
        model = self._model
        codes = np.asarray(codes)
        if (
            codes.ndim != 3
            or codes.shape[0] != self._rows
            or codes.shape[2] != model.codebooks
            or not codes.shape[1]
        ):
            raise ValueError(
                f"codes [{self._rows}, 1 or more, {model.codebooks}] are needed, not {codes.shape}"
            )
        if codes.min() < 0 or codes.max() > model.vocabulary:
            raise ValueError(f"a code is in [0, {model.vocabulary}]")
        if self.length + codes.shape[1] > self._capacity:
            raise ValueError(f"there is room for {self._capacity} positions")
        codes = codes[self._order]
        for start in range(0, codes.shape[1], _CHUNK):
            x = model.embed(codes[:, start : start + _CHUNK], int(self._lengths[0]))
            logits = self._forward(x, last=start + _CHUNK >= codes.shape[1])
        assert logits is not None
        # Indexed by an array, it is a copy: the next step writes over the logits.
        return logits.reshape(self._rows, model.codebooks, model.vocabulary)[self._back]

    def _forward(self, x: np.ndarray, last: bool = False) -> np.ndarray | None:
        """Compute new positions [rows, new, width]; return the logits of the last one if it is the last.

        The next call may write over them.
        """
        rows, new, width = x.shape
        if new == 1 and last:
            if self._step is None:
                step = zeros((rows, width))
                with recording() as program:
                    self._layers(step, 1)
                    logits = self._logits(step)
                self._step = step, logits, program
            step, logits, program = self._step
            step[:] = x[:, 0]
            program.run()
            self._lengths += 1
            return logits
        flat = x.reshape(-1, width)
        self._layers(flat, new)
        self._lengths += new
        return self._logits(np.ascontiguousarray(flat.reshape(x.shape)[:, -1])) if last else None

    def _layers(self, x: np.ndarray, new: int) -> None:
        """Replace `x` [rows * new, width] by what the layers make of it."""
        model, w = self._model, self._model.tensors
        width, scale = model.width, (model.width // model.heads) ** -0.5
        # All layers write into the same arrays: memory that was just in use is nearer than other memory.
        rows, hidden = len(x), w.weight("0.feed.in").outputs
        h, qkv, feed = zeros((rows, width)), zeros((rows, 3 * width)), zeros((rows, hidden))
        q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
        for index in range(model.layers):
            self._norm(x, f"{index}.self.norm", h)
            linear(h, w.weight(f"{index}.self.qkv"), out=qkv)
            attend(q, self._self[index], k, v, scale=scale, causal=True, out=h)
            linear(h, w.weight(f"{index}.self.out"), residual=x, out=x)
            if self._cross:
                self._norm(x, f"{index}.cross.norm", h)
                linear(h, w.weight(f"{index}.cross.q"), out=q)
                # The texts are the sequences of this cache: rows of one text stand together.
                attend(q, self._cross[index], scale=scale, out=h)
                linear(h, w.weight(f"{index}.cross.out"), residual=x, out=x)
            self._norm(x, f"{index}.feed.norm", h)
            inner, outer = w.weight(f"{index}.feed.in"), w.weight(f"{index}.feed.out")
            feed_forward(h, inner, outer, activation="gelu", hidden=feed, residual=x, out=x)

    def _logits(self, x: np.ndarray) -> np.ndarray:
        """Compute the logits [rows, codebooks * vocabulary] of `x` [rows, width]."""
        return linear(self._norm(x, "norm"), self._model.tensors.weight("heads"))

    def _norm(self, x: np.ndarray, name: str, out: np.ndarray | None = None) -> np.ndarray:
        return norm(x, self._model.tensors.array(name), self._model.tensors.array(f"{name}.bias"), out=out)

    def _texts(self, conditions: Sequence[Condition]) -> list[Cache]:
        """Compute keys and values of each text, once. A null condition has none: zeros come of it."""
        model = self._model
        texts = [
            np.empty((0, model.width), np.float32) if c.text is None else model.project("text", c.text)
            for c in conditions[:: self._shared]
        ]
        lengths = np.array([len(text) for text in texts], np.int32)
        caches = []
        for index in range(model.layers):
            cache = Cache(len(texts), model.heads, model.width // model.heads, max(1, lengths.max()))
            weight = model.tensors.weight(f"{index}.cross.kv")
            for number, text in enumerate(texts):
                if len(text):
                    kv = linear(text, weight)  # (tokens, 2 * heads * size)
                    cache.put(number, kv[:, : model.width], kv[:, model.width :])
            caches.append(cache)
        return caches

    def _prefix(self, conditions: Sequence[Condition]) -> np.ndarray:
        """Compute what stands before the codes of the melody model [rows, chroma and text, width].

        As transformers does it: chroma is repeated or cut to the trained length, no melody is the first pitch
        class throughout, and the null condition has zeros for text, as many as the others have tokens. Zeros
        follow a text that is shorter than `text_length`.
        """
        model = self._model
        tokens = max([model.text_length, *(len(c.text) for c in conditions if c.text is not None)])
        rows = np.zeros((self._rows, model.prefix + tokens, model.width), np.float32)
        none = np.eye(1, model.chroma, dtype=np.float32)
        for row, condition in zip(rows, conditions, strict=True):
            chroma = none if condition.chroma is None or not len(condition.chroma) else condition.chroma
            row[: model.prefix] = np.resize(model.project("chroma", chroma), (model.prefix, model.width))
            if condition.text is not None:
                row[model.prefix : model.prefix + len(condition.text)] = model.project("text", condition.text)
        return rows


def by_text(conditions: Sequence[Condition]) -> tuple[np.ndarray, int]:
    """Order rows by their text, so that rows with the same one can share what is computed from it.

    Returns
    -------
    order : np.ndarray [rows]
        The number of the row that comes at each place.
    shared : int
        How many rows each text has; 1, and the given order, where texts do not have as many rows each.
    """
    rows: dict[int, list[int]] = {}
    for row, condition in enumerate(conditions):
        rows.setdefault(id(condition.text), []).append(row)
    counts = {len(group) for group in rows.values()}
    if len(counts) > 1:
        return np.arange(len(conditions)), 1
    return np.concatenate([np.array(group) for group in rows.values()]), counts.pop()


def sinusoids(positions: int, width: int) -> np.ndarray:
    """Compute positional embeddings, cosines then sines (as in tensor2tensor) [positions, width].

    Computed in float32 in the published order of operations, which large positions are sensitive to.
    """
    half = width // 2
    step = np.float32(np.log(10000) / (half - 1))
    angles = np.arange(positions, dtype=np.float32)[:, None] * np.exp(
        np.arange(half, dtype=np.float32) * -step
    )
    table = np.zeros((positions, width), np.float32)
    table[:, :half] = np.cos(angles)
    table[:, half : 2 * half] = np.sin(angles)
    return table
