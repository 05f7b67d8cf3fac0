"""MusicGen's transformer on torch: many streams side by side, each at a position of its own.

Everything that a step needs lies in tensors of fixed size on the device, one row of them for each stream's
slot: the codes, the position, the random numbers, and the key-value caches of its two conditions. So a step
is the same sequence of kernels whatever the streams do. On a GPU it is recorded once as a CUDA graph, for
each number of slots and each length of the caches, and played from then on.

References
----------
.. [1] Copet et al., "Simple and Controllable Music Generation", NeurIPS 2023.
.. [2] Yu et al., "Orca: A distributed serving system for transformer-based generative models", OSDI 2022:
   rows that join and leave between steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoConfig

from music.musicgen import delay
from music.musicgen.networks import Condition
from music.musicgen.sampling import Sampling
from music.musicgen.transformer import POSITIONS, sinusoids
from music.torch.checkpoint import read
from music.torch.memory import GUIDED, stream_bytes
from music.torch.sampling import draw

NEVER = 2**31
"""The step at which a stream failed that did not."""

_LENGTHS = 256  # a graph reads so many positions of the caches, or a multiple
_TOKENS = (32, 128, 512)  # and so many tokens of the texts
_PREFILL = 256  # positions of a prefill that are computed at once


@dataclass(frozen=True)
class Shape:
    """The sizes of a language model.

    Attributes
    ----------
    layers, heads, width, codebooks, vocabulary : int
        As in the checkpoint's config.
    prefix, chroma : int
        Frames of chroma before the codes, and their pitch classes; 0 where text comes by cross-attention.
    text_length : int
        Places after them that a text is filled up to with zeros; 0 in published checkpoints.
    """

    layers: int
    heads: int
    width: int
    codebooks: int
    vocabulary: int
    prefix: int
    chroma: int
    text_length: int

    @property
    def size(self) -> int:
        """The width of one head."""
        return self.width // self.heads


class Network:
    """The weights, and what a layer does with them.

    Parameters
    ----------
    folder : Path
        A checkpoint as published on the Hugging Face hub.
    device : str
        The device as torch names it.
    dtype : torch.dtype
        Of the matrices and caches. What runs through the layers (the residual stream), norms and logits are
        float32.

    Raises
    ------
    ValueError
        If tensors are missing, or have another shape than the config says.
    """

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        decoder = config.decoder
        melody = config.model_type == "musicgen_melody"
        self.shape = Shape(
            decoder.num_hidden_layers,
            decoder.num_attention_heads,
            decoder.hidden_size,
            decoder.num_codebooks,
            decoder.vocab_size,
            config.chroma_length if melody else 0,
            config.num_chroma if melody else 0,
            getattr(config, "text_length", 0),
        )
        self.device, self.dtype = torch.device(device), dtype
        self.text_width: int = config.text_encoder.hidden_size
        tensors = read(folder, ("decoder.", "enc_to_dec_proj.", "audio_enc_to_dec_proj."))
        self._w: dict[str, torch.Tensor] = {}
        shape, root = self.shape, "decoder.model.decoder"
        width, inner = shape.width, decoder.ffn_dim

        def put(name: str, sources: Sequence[str], size: tuple[int, ...], kind: torch.dtype = dtype) -> None:
            missing = [source for source in sources if source not in tensors]
            if missing:
                raise ValueError(f"{folder}: {', '.join(missing)} of the language model missing")
            found = torch.cat([tensors.pop(source) for source in sources])
            if found.shape != size:
                raise ValueError(f"{folder}: {sources[0]} has shape {tuple(found.shape)}, not {size}")
            self._w[name] = found.to(self.device, kind)

        def norm(name: str, source: str) -> None:
            for end in ("weight", "bias"):
                put(f"{name}.{end}", [f"{source}.{end}"], (width,), torch.float32)

        books = range(shape.codebooks)
        put(
            "embedding",
            [f"{root}.embed_tokens.{book}.weight" for book in books],
            (shape.codebooks * (shape.vocabulary + 1), width),
        )
        put(
            "heads",
            [f"decoder.lm_heads.{book}.weight" for book in books],
            (shape.codebooks * shape.vocabulary, width),
        )
        inputs = {"text": ("enc_to_dec_proj", self.text_width)}
        if melody:
            inputs["chroma"] = ("audio_enc_to_dec_proj", shape.chroma)
        for name, (source, given) in inputs.items():
            put(f"{name}.weight", [f"{source}.weight"], (width, given), torch.float32)
            put(f"{name}.bias", [f"{source}.bias"], (width,), torch.float32)
        norm("norm", f"{root}.layer_norm")
        for index in range(shape.layers):
            layer = f"{root}.layers.{index}"
            norm(f"{index}.self.norm", f"{layer}.self_attn_layer_norm")
            put(
                f"{index}.self.qkv",
                [f"{layer}.self_attn.{part}_proj.weight" for part in "qkv"],
                (3 * width, width),
            )
            put(f"{index}.self.out", [f"{layer}.self_attn.out_proj.weight"], (width, width))
            if not melody:
                cross = f"{layer}.encoder_attn"
                norm(f"{index}.cross.norm", f"{cross}_layer_norm")
                put(f"{index}.cross.q", [f"{cross}.q_proj.weight"], (width, width))
                put(f"{index}.cross.kv", [f"{cross}.{part}_proj.weight" for part in "kv"], (2 * width, width))
                put(f"{index}.cross.out", [f"{cross}.out_proj.weight"], (width, width))
            norm(f"{index}.feed.norm", f"{layer}.final_layer_norm")
            put(f"{index}.feed.in", [f"{layer}.fc1.weight"], (inner, width))
            put(f"{index}.feed.out", [f"{layer}.fc2.weight"], (width, inner))
        self._positions = torch.from_numpy(sinusoids(POSITIONS, width)).to(self.device)
        self._books = torch.arange(shape.codebooks, device=self.device) * (shape.vocabulary + 1)

    def embed(self, codes: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Embed codes [..., codebooks] at positions [...]: float32 [..., width]."""
        vectors = functional.embedding(
            codes + self._books, self._w["embedding"]
        ).float()  # (..., codebooks, width)
        return vectors.sum(-2) + self._positions[positions]

    def project(self, name: str, values: np.ndarray) -> torch.Tensor:
        """Project text or chroma [n, ...] into the width: float32 [n, width]."""
        given = torch.tensor(np.ascontiguousarray(values, np.float32), device=self.device)
        return functional.linear(given, self._w[f"{name}.weight"], self._w[f"{name}.bias"])

    def place(self, positions: int) -> torch.Tensor:
        """Return the embeddings of the first positions: float32 [positions, width]."""
        return self._positions[:positions]

    def texts(self, layer: int, text: torch.Tensor) -> torch.Tensor:
        """Compute a layer's keys and values of a projected text [tokens, width]: [2, heads, tokens, size]."""
        kv = functional.linear(text.to(self.dtype), self._w[f"{layer}.cross.kv"])  # (tokens, 2 * width)
        return kv.view(len(text), 2, self.shape.heads, self.shape.size).permute(1, 2, 0, 3)

    def run(
        self,
        x: torch.Tensor,
        attend: Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
        cross: Callable[[int, torch.Tensor], torch.Tensor] | None,
    ) -> torch.Tensor:
        """Run all layers.

        Parameters
        ----------
        x : torch.Tensor [rows, new, width], float32
            New positions.
        attend : callable
            Takes a layer's number and its queries, keys and values, each [rows, heads, new, size]; returns
            what the queries find in the cache that the keys and values were put into, in the same shape.
        cross : callable or None
            The same of the texts, which have their keys and values already.

        Returns
        -------
        torch.Tensor [rows, new, width], float32
        """
        w, shape = self._w, self.shape
        rows, new, width = x.shape

        def heads(flat: torch.Tensor) -> torch.Tensor:  # (rows, new, width) -> (rows, heads, new, size)
            return flat.view(rows, new, shape.heads, shape.size).transpose(1, 2)

        def flat(apart: torch.Tensor) -> torch.Tensor:  # and back
            return apart.transpose(1, 2).reshape(rows, new, width)

        for index in range(shape.layers):
            h = self._norm(x, f"{index}.self.norm")  # (rows, new, width)
            q, k, v = functional.linear(h, w[f"{index}.self.qkv"]).split(width, dim=-1)
            h = flat(attend(index, heads(q), heads(k), heads(v)))
            x = x + functional.linear(h, w[f"{index}.self.out"])
            if cross is not None:
                h = self._norm(x, f"{index}.cross.norm")
                h = flat(cross(index, heads(functional.linear(h, w[f"{index}.cross.q"]))))
                x = x + functional.linear(h, w[f"{index}.cross.out"])
            h = self._norm(x, f"{index}.feed.norm")
            h = functional.gelu(functional.linear(h, w[f"{index}.feed.in"]))  # (rows, new, inner width)
            x = x + functional.linear(h, w[f"{index}.feed.out"])
        return x

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the logits of positions [rows, width]: float32 [rows, codebooks, vocabulary]."""
        made = functional.linear(self._norm(x, "norm"), self._w["heads"]).float()
        return made.view(len(x), self.shape.codebooks, self.shape.vocabulary)

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._w[f"{name}.weight"], self._w[f"{name}.bias"]
        return functional.layer_norm(x, (self.shape.width,), weight, bias).to(self.dtype)


class Slots:
    """The streams under way: all that is remembered of each, at fixed places on the device.

    Parameters
    ----------
    network : Network
        The weights.
    count : int
        How many streams there may be.
    frames, texts : int
        How many frames and tokens of text one may have.

    Notes
    -----
    Streams stand in the first slots, without a gap, so that a step works on as few as there are: where one
    leaves, the last one takes its slot.
    """

    def __init__(self, network: Network, count: int, frames: int, texts: int) -> None:
        shape, device = network.shape, network.device
        self._network, self.count = network, count
        self._before = shape.prefix and shape.prefix + texts
        self._texts = texts
        positions = delay.positions(frames, shape.codebooks)
        self.frames, self.capacity = frames, self._before + positions
        if self.capacity > POSITIONS:
            raise ValueError(f"{self.capacity} positions are needed, and the model has {POSITIONS}")
        self._past = torch.zeros(self._cache(count, self.capacity), dtype=network.dtype, device=device)
        """Keys and values [layers, 2, slots * 2, heads, positions, size]."""
        self._said = torch.zeros(
            self._cache(count, 0 if shape.prefix else texts), dtype=network.dtype, device=device
        )
        """Those of the texts [layers, 2, slots * 2, heads, tokens, size]."""

        def of_each(*size: int, dtype: torch.dtype = torch.int64, value: float = 0) -> torch.Tensor:
            return torch.full((count, *size), value, dtype=dtype, device=device)

        self._codes = of_each(shape.codebooks, frames, value=delay.UNKNOWN)
        self._uniform = of_each(positions, shape.codebooks, dtype=torch.float64)
        self._position = of_each(value=1)  # the one that the next step makes
        self._length = of_each(value=frames)
        self._start = of_each()  # where the codes begin in the cache
        self._failed = of_each(value=NEVER)
        self._temperature, self._top_p, self._scale = (of_each(dtype=torch.float64, value=1) for _ in "tps")
        self._top_k = of_each(value=shape.vocabulary)
        self._tokens = torch.ones(count * GUIDED, dtype=torch.int64, device=device)
        self._delays = torch.from_numpy(delay.delays(shape.codebooks)).to(device)
        self._columns = torch.arange(self.capacity, device=device)
        self._graphs: dict[tuple[int, int, int], torch.cuda.CUDAGraph] = {}
        self._reach: list[int] = []  # of each stream: the position in the cache that the next step reads
        self._spoken: list[int] = []  # of each stream: the tokens of its longer text

    def _cache(self, count: int, positions: int) -> tuple[int, ...]:
        shape = self._network.shape
        return (shape.layers, 2, count * GUIDED, shape.heads, positions, shape.size)

    @staticmethod
    def bytes_of_each(network: Network, frames: int, texts: int) -> int:
        """Count the bytes that a stream takes of the device's memory."""
        shape = network.shape
        positions = delay.positions(frames, shape.codebooks) + texts + shape.prefix
        return stream_bytes(shape.layers, shape.width, positions, network.dtype.itemsize)

    @property
    def used(self) -> int:
        """How many streams there are."""
        return len(self._reach)

    def join(
        self,
        codes: np.ndarray,
        position: int,
        conditions: tuple[Condition, Condition],
        sampling: Sampling,
        uniform: np.ndarray,
    ) -> int:
        """Take a stream in, and bring its caches up to date.

        Parameters
        ----------
        codes : np.ndarray [codebooks, frames]
            What it has, `delay.UNKNOWN` elsewhere.
        position : int
            The position that its next step makes (see `delay`).
        conditions : pair of Condition
            The stream's, and what guidance leads away from.
        sampling : Sampling
            How its tokens are drawn.
        uniform : np.ndarray [steps, codebooks]
            The random numbers of its steps, in [0, 1).

        Returns
        -------
        int
            Its slot.
        """
        network, shape, slot = self._network, self._network.shape, self.used
        frames = codes.shape[1]
        if slot >= self.count or frames > self.frames:
            raise ValueError(f"there are {self.count} slots of {self.frames} frames")
        device = network.device
        self._codes[slot] = delay.UNKNOWN
        self._codes[slot, :, :frames] = torch.from_numpy(codes.astype(np.int64)).to(device)
        self._uniform[slot, position : position + len(uniform)] = torch.from_numpy(uniform).to(device)
        self._position[slot], self._length[slot], self._failed[slot] = position, frames, NEVER
        self._temperature[slot], self._scale[slot] = sampling.temperature, sampling.guidance_scale
        self._top_k[slot] = sampling.top_k or shape.vocabulary
        self._top_p[slot] = sampling.top_p or 2.0  # more than everything
        rows = slice(slot * GUIDED, (slot + 1) * GUIDED)
        texts = [None if c.text is None else network.project("text", c.text) for c in conditions]
        spoken = max((len(text) for text in texts if text is not None), default=0)
        if spoken > self._texts:
            raise ValueError(f"a text of {spoken} tokens; {self._texts} are allowed")
        start = 0
        if shape.prefix:
            before = self._prefix(conditions, texts)
            start = before.shape[1]
            for first in range(0, start, _PREFILL):
                self._fill(rows, before[:, first : first + _PREFILL], first)
        else:
            for number, text in enumerate(texts, rows.start):
                self._tokens[number] = 1 if text is None else len(text)
                self._said[:, :, number, :, :1] = 0  # nothing said: zeros come of it
                if text is not None:
                    for layer in range(shape.layers):
                        self._said[layer, :, number, :, : len(text)] = network.texts(layer, text)
        self._start[slot] = start
        self._spoken.append(max(1, spoken))
        self._reach.append(start + position - 1)
        behind = delay.spread(codes, 0, position - 1, frames, shape.vocabulary) if position > 1 else codes[:0]
        for first in range(0, position - 1, _PREFILL):
            part = torch.from_numpy(behind[first : min(first + _PREFILL, position - 1)]).to(device)
            places = torch.arange(start + first, start + first + len(part), device=device)
            x = network.embed(part, places)[None].expand(GUIDED, -1, -1)
            self._fill(rows, x, start + first)
        return slot

    def leave(self, slot: int) -> int:
        """Let a stream go; return the slot, of the last stream, that moves to its place."""
        last = self.used - 1
        if slot != last:
            for each in (
                self._codes,
                self._uniform,
                self._position,
                self._length,
                self._start,
                self._failed,
                self._temperature,
                self._top_p,
                self._scale,
                self._top_k,
            ):
                each[slot] = each[last]
            here, there = (slice(place * GUIDED, (place + 1) * GUIDED) for place in (slot, last))
            self._past[:, :, here] = self._past[:, :, there]
            self._said[:, :, here] = self._said[:, :, there]
            self._tokens[here] = self._tokens[there].clone()
            self._reach[slot], self._spoken[slot] = self._reach[last], self._spoken[last]
        self._reach.pop()
        self._spoken.pop()
        self._position[last] = 1  # an empty slot goes on at a place that it has
        self._start[last] = 0
        return last

    def step(self, count: int) -> int:
        """Make steps of all streams; return how many were computed side by side, empty slots included."""
        slots = self.used
        if self._network.device.type == "cuda":
            slots = min(self.count, 1 << (slots - 1).bit_length())
        for _ in range(count):
            longest = max(self._reach) + 1
            tokens = 1 if self._network.shape.prefix else max(self._spoken)
            if self._network.device.type == "cuda":
                longest = min(self.capacity, -(-longest // _LENGTHS) * _LENGTHS)
                tokens = min(self._texts, next(size for size in _TOKENS if size >= tokens))
                self._graph(slots, longest, tokens).replay()
            else:
                self._step(slots, longest, tokens)
            self._reach = [reach + 1 for reach in self._reach]
        return slots

    def codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the codes [streams, codebooks, frames], and where each failed [streams], `NEVER` mostly."""
        codes, failed = (each[: self.used].to("cpu", copy=True) for each in (self._codes, self._failed))
        return codes.numpy(), failed.numpy()

    def logits(self) -> torch.Tensor:
        """Compute the logits of what stands before the next position of each stream, without making it.

        Returns
        -------
        torch.Tensor [streams * 2, codebooks, vocabulary], float32
        """
        return self._forward(self.used, max(self._reach) + 1, max(self._spoken))

    def _graph(self, slots: int, longest: int, tokens: int) -> Any:
        """Return the recording of a step, made when it is first asked for."""
        key = slots, longest, tokens
        if key not in self._graphs:
            kept = [each.clone() for each in (self._codes, self._position, self._failed)]
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # what kernels allocate at first must not be recorded
                self._step(slots, longest, tokens)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(
                graph,
                pool=next(iter(self._graphs.values())).pool() if self._graphs else None,
                # Meanwhile other threads encode texts and decode audio, which must not end the recording.
                capture_error_mode="thread_local",
            ):
                self._step(slots, longest, tokens)
            for each, before in zip((self._codes, self._position, self._failed), kept, strict=True):
                each.copy_(before)
            self._graphs[key] = graph
        return self._graphs[key]

    def _step(self, slots: int, longest: int, tokens: int) -> None:
        """Make a position of the first slots."""
        logits = self._forward(slots, longest, tokens)
        chosen, null = logits[0::GUIDED], logits[1::GUIDED]  # (slots, codebooks, vocabulary)
        scale = self._scale[:slots, None, None]
        guided = torch.where(scale == 1, chosen, null + (chosen - null) * scale.float())
        position = self._position[:slots]
        finite = guided.isfinite().all(-1).all(-1)
        failed = self._failed[:slots]
        failed.copy_(torch.where(finite, failed, torch.minimum(failed, position)))
        index = position[:, None, None].expand(-1, 1, self._network.shape.codebooks)
        drawn = draw(
            torch.where(finite[:, None, None], guided, torch.zeros_like(guided)),
            self._temperature[:slots, None],
            self._top_k[:slots, None],
            self._top_p[:slots, None],
            self._uniform[:slots].gather(1, index)[:, 0],
        )
        codes = self._codes[:slots]
        frame, inside, known = self._at(slots, position)
        free = inside & (known == delay.UNKNOWN)
        codes.scatter_(2, frame[..., None], torch.where(free, drawn, known)[..., None])
        # An empty slot stays where it is, and so does a full one.
        last = self._length[:slots] + self._delays[-1] + 1  # see `delay.positions`
        position.copy_(torch.minimum(position + 1, last))

    def _at(self, slots: int, position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the frame of each codebook at a position, whether it is one, and its code (see `delay`)."""
        frame = position[:, None] - 1 - self._delays
        inside = (frame >= 0) & (frame < self._length[:slots, None])
        frame = frame.clamp(torch.zeros_like(frame), self._length[:slots, None] - 1)
        return frame, inside, self._codes[:slots].gather(2, frame[..., None])[..., 0]

    def _forward(self, slots: int, longest: int, tokens: int) -> torch.Tensor:
        """Compute the logits behind the last position of slots [slots * 2, codebooks, vocabulary]."""
        network, shape = self._network, self._network.shape
        position = self._position[:slots] - 1
        _, inside, known = self._at(slots, position)
        codes = torch.where(inside & (known != delay.UNKNOWN), known, shape.vocabulary)
        at = self._start[:slots] + position
        x = network.embed(codes, at).repeat_interleave(GUIDED, 0)[:, None]  # (rows, 1, width)
        at = at.repeat_interleave(GUIDED)
        rows = slots * GUIDED
        seen = (self._columns[:longest] <= at[:, None])[:, None, None]  # (rows, 1, 1, longest)
        heard = (self._columns[:tokens] < self._tokens[:rows, None])[:, None, None]
        place = at[:, None, None, None].expand(-1, shape.heads, 1, shape.size)

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            keys, values = self._past[layer, :, :rows]
            keys.scatter_(2, place, k)
            values.scatter_(2, place, v)
            return functional.scaled_dot_product_attention(
                q, keys[:, :, :longest], values[:, :, :longest], seen
            )

        def cross(layer: int, q: torch.Tensor) -> torch.Tensor:
            keys, values = self._said[layer, :, :rows, :, :tokens]
            return functional.scaled_dot_product_attention(q, keys, values, heard)

        return network.logits(network.run(x, attend, None if shape.prefix else cross)[:, 0])

    def _fill(self, rows: slice, x: torch.Tensor, first: int) -> None:
        """Put new positions [2, new, width] of one stream into its caches, from `first` on."""
        new = x.shape[1]
        last = first + new
        seen = torch.ones(new, last, dtype=torch.bool, device=x.device).tril(first)

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            keys, values = self._past[layer, :, rows]
            keys[:, :, first:last], values[:, :, first:last] = k, v
            return functional.scaled_dot_product_attention(q, keys[:, :, :last], values[:, :, :last], seen)

        def cross(layer: int, q: torch.Tensor) -> torch.Tensor:
            tokens = int(self._tokens[rows].max())
            heard = (self._columns[:tokens] < self._tokens[rows, None])[:, None, None]
            keys, values = self._said[layer, :, rows, :, :tokens]
            return functional.scaled_dot_product_attention(q, keys, values, heard)

        self._network.run(x, attend, None if self._network.shape.prefix else cross)

    def _prefix(self, conditions: Sequence[Condition], texts: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """Compute what stands before the codes of the melody model [2, chroma and text, width].

        As transformers does it: chroma is repeated or cut to the trained length, no melody is the first pitch
        class throughout, and the null condition has zeros for text, as many as the other has tokens.
        """
        network, shape = self._network, self._network.shape
        tokens = max([shape.text_length, *(len(text) for text in texts if text is not None)])
        rows = torch.zeros(len(texts), shape.prefix + tokens, shape.width, device=network.device)
        none = np.eye(1, shape.chroma, dtype=np.float32)
        for row, condition, text in zip(rows, conditions, texts, strict=True):
            chroma = none if condition.chroma is None or not len(condition.chroma) else condition.chroma
            projected = network.project("chroma", chroma)
            row[: shape.prefix] = projected.repeat(-(-shape.prefix // len(projected)), 1)[: shape.prefix]
            if text is not None:
                row[shape.prefix : shape.prefix + len(text)] = text
        return rows + network.place(rows.shape[1])
