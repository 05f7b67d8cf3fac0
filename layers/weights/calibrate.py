"""What integers cost: which activations need more than they hold, and what is lost in the end.

Trained transformers have a few activations that are far larger than all others (Dettmers et al. 2022,
arXiv:2208.07339; Sun et al. 2024, arXiv:2402.17762). Integers that share a scale with one of them lose what
the others say. `calibrate` runs a checkpoint in float32 on a fixed prompt and finds them:

- Inputs of a matrix, of which the largest activation is over six times what is typical: their weights and
  activations stay float32, beside the integers.
- Channels of keys and values, likewise: a power of two moves what is too much of a key to the query, and what
  is too much of a value to the matrix behind it. The network computes what it did.
- Layers whose attention is so sharp that the rounding of a key decides what is heard: projections and cache
  of these stay float32.

Where there is nothing of this kind, as in random checkpoints, a bundle is what it would be without.
`accuracy` then compares the bundle with the checkpoint. Where integers still cost more than `BAR`, more stays
float32 (`calibrations`): what a network amplifies, no scale can mend.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from music.engine import bundle
from music.engine.ops import linear, observing
from music.engine.packing import Tensors, Weight
from music.musicgen.networks import Condition
from music.musicgen.t5 import T5
from music.musicgen.transformer import MusicGen
from weights.check import Checkpoint
from weights.export import musicgen, t5
from weights.export.layers import Calibration, matrix

PROMPT = "a calm solo piano with warm strings, slow, 80 BPM, in D minor"
POSITIONS = 48  # a second of music
BAR = 0.03
"""What int8 may cost: the relative root mean square error of the logits against float32."""
_PIECES = 2
_GUIDANCE = 3.0

_OUTLIER = 6.0  # times the typical activation; Gaussian ones and those behind a GELU stay below
_MOST_APART = 4, 1 / 32  # inputs of a matrix, or this share of them where that is more
_MOST_MOVED = 2.0**16  # from a key to its query: beyond it, what is typical of the head is as good as nothing
_SHARP = 8.0  # deviation of the scores, in nats: a key's rounding changes them by a hundredth of that


class Exact(Tensors):
    """A network of a checkpoint in float32, of which a matrix is in memory only while it is used.

    Parameters
    ----------
    checkpoint : Checkpoint
    network : str
        ``t5`` or ``musicgen``.
    """

    def __init__(self, checkpoint: Checkpoint, network: str) -> None:
        exporter = {"t5": t5, "musicgen": musicgen}[network]
        self.path = checkpoint.folder
        self._checkpoint = checkpoint
        self._matrices = exporter.matrices(checkpoint)
        self._others, self.metadata = exporter.others(checkpoint, "float32")
        self._asked: deque[tuple[str, Weight]] = deque(maxlen=2)  # `feed_forward` takes two at once

    def __contains__(self, name: str) -> bool:
        return name in self._matrices or name in self._others

    @property
    def matrices(self) -> list[str]:
        """The names of the matrices."""
        return list(self._matrices)

    @property
    def width(self) -> int:
        """The width of the hidden state."""
        return int(self.array("norm").shape[0])

    def array(self, name: str) -> np.ndarray:
        """Return a tensor that is no matrix."""
        found = self._others[name]
        assert isinstance(found, np.ndarray)
        return np.ascontiguousarray(found)

    def weight(self, name: str) -> Weight:
        """Pack a matrix."""
        weight = matrix(self._checkpoint, "float32", *self._matrices[name])
        self._asked.append((name, weight))
        return weight

    def name(self, weight: Weight) -> str:
        """Give the name of one of the two matrices that were asked for last."""
        return next(name for name, asked in self._asked if asked is weight)


def calibrations(checkpoint: Checkpoint) -> Iterator[dict[str, Calibration]]:
    """Yield what to export with, as long as the bundle is not accurate enough.

    First what `calibrate` finds. Then the text encoder stays float32, which runs once for each prompt. Then
    all layers up to the last one of sharp attention do, because it amplifies what they lose. Then everything.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of MusicGen.

    Yields
    ------
    dict of str to Calibration
        For the networks ``t5`` and ``musicgen``.
    """
    found = calibrate(checkpoint)
    yield found

    def exact(t5: Iterable[str], musicgen: Iterable[str]) -> dict[str, Calibration]:
        names = {"t5": frozenset(t5), "musicgen": frozenset(musicgen)}
        return {network: replace(told, exact=names[network]) for network, told in found.items()}

    text, music = (Exact(checkpoint, network).matrices for network in ("t5", "musicgen"))
    sharp = found["musicgen"].exact
    yield exact(text, sharp)
    if sharp:
        last = max(_layer(name) for name in sharp)
        yield exact(text, (name for name in music if _layer(name) <= last))
    yield exact(text, music)


def _layer(matrix: str) -> int:
    """Tell the layer of a matrix, -1 where it is in none."""
    first = matrix.partition(".")[0]
    return int(first) if first.isdigit() else -1


def calibrate(checkpoint: Checkpoint) -> dict[str, Calibration]:
    """Find what integers are too coarse for.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of MusicGen.

    Returns
    -------
    dict of str to Calibration
        For the networks ``t5`` and ``musicgen``.
    """
    seen: dict[str, dict[str, np.ndarray]] = {"t5": {}, "musicgen": {}}
    encoder, decoder = Exact(checkpoint, "t5"), Exact(checkpoint, "musicgen")
    attention: dict[str, dict[str, np.ndarray]] = {}
    texts: dict[str, np.ndarray] = {}  # the keys of the prompt, by layer
    exact: dict[str, set[str]] = {"t5": set(), "musicgen": set()}

    def note(network: str, name: str, x: np.ndarray) -> None:
        most = np.abs(x).max(axis=0)
        seen[network][name] = np.maximum(seen[network].get(name, 0), most)

    def note_text(x: np.ndarray, weight: Weight) -> None:
        name, heads = encoder.name(weight), encoder.metadata["heads"]
        note("t5", name, x)
        if name.endswith(".qkv"):
            q, k, _ = np.split(linear(x, weight), 3, axis=1)
            if _deviation(q, k, heads, scale=1.0) > _SHARP:
                exact["t5"].add(name)

    def note_music(x: np.ndarray, weight: Weight) -> None:
        name, heads = decoder.name(weight), decoder.metadata["heads"]
        note("musicgen", name, x)
        scale = (decoder.width // heads) ** -0.5
        if name.endswith(".qkv"):
            attention[name] = _attention(linear(x, weight), heads, scale, attention.get(name))
        elif name.endswith(".cross.kv"):
            texts[name] = np.split(linear(x, weight), 2, axis=1)[0]
        elif name.endswith(".cross.q"):
            behind = name.removesuffix("q") + "kv"
            if _deviation(linear(x, weight), texts[behind], heads, scale) > _SHARP:
                exact["musicgen"] |= {name, behind}

    with observing(note_text):
        text = T5(encoder).encode(_tokens(checkpoint))
    model = MusicGen(decoder)
    codes = np.random.default_rng(0).integers(0, model.vocabulary, (1, POSITIONS, model.codebooks))
    codes[:, np.arange(POSITIONS)[:, None] <= np.arange(model.codebooks)] = model.vocabulary
    with observing(note_music):
        state = model.start([Condition(text), Condition(None)], POSITIONS)
        state.advance(np.repeat(codes, 2, axis=0))

    columns = {
        network: {name: apart for name, most in found.items() if len(apart := _outliers(most))}
        for network, found in seen.items()
    }
    rows, inputs = {}, {}
    for name, found in attention.items():
        keys, values = (_exponents(found[part], model.heads) for part in ("k", "v"))
        behind = name.replace(".qkv", ".out")
        if keys.any() or values.any():
            rows[name] = np.concatenate([keys, -keys, -values])
        if values.any():
            inputs[behind] = values
            apart = np.union1d(columns["musicgen"].get(behind, np.empty(0, int)), np.flatnonzero(values))
            columns["musicgen"][behind] = apart
        if found["score"] > _SHARP:
            exact["musicgen"].add(name)
    return {
        "t5": Calibration(columns["t5"], exact=frozenset(exact["t5"])),
        "musicgen": Calibration(columns["musicgen"], rows, inputs, frozenset(exact["musicgen"])),
    }


def _tokens(checkpoint: Checkpoint) -> list[int]:
    return list(Tokenizer.from_str(checkpoint.tokenizer).encode(PROMPT).ids)


def _outliers(most: np.ndarray) -> np.ndarray:
    """Find the inputs whose largest activations [shape=(inputs,)] are far larger than is typical."""
    if not most.any():
        return np.empty(0, np.int64)
    typical = np.median(most[most > 0])  # an input behind a ReLU may be zero throughout
    order = np.argsort(-most, kind="stable")[: max(_MOST_APART[0], int(_MOST_APART[1] * len(most)))]
    return np.sort(order[most[order] > _OUTLIER * typical])


def _exponents(most: np.ndarray, heads: int) -> np.ndarray:
    """Find the powers of two by which channels [shape=(width,)] exceed what is typical of their head."""
    split = most.reshape(heads, -1)
    typical = np.median(split, axis=1, keepdims=True)
    ratio = np.divide(split, typical, where=typical > 0, out=np.zeros_like(split))
    powers = np.rint(np.log2(np.clip(ratio, 1, _MOST_MOVED)))
    return np.where(ratio > _OUTLIER, powers, 0).astype(np.int32).ravel()


def _attention(
    qkv: np.ndarray, heads: int, scale: float, before: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Sum up queries, keys and values [shape=(positions, 3 * width)], of which `scale` times q k are scores.

    Returns
    -------
    dict
        ``k`` and ``v``: the largest of each channel [shape=(width,)]; ``score``: how far the terms of the
        scores deviate, root mean square.
    """
    q, k, v = np.split(qkv, 3, axis=1)
    found = {
        "k": np.abs(k).max(axis=0),
        "v": np.abs(v).max(axis=0),
        "score": _deviation(q, k, heads, scale),
    }
    return found if before is None else {name: np.maximum(found[name], before[name]) for name in found}


def _deviation(q: np.ndarray, k: np.ndarray, heads: int, scale: float) -> np.ndarray:
    """Compute how far the terms of scores deviate, root mean square [shape=()]."""
    squares = np.einsum("qhc,khc->hqk", *(np.square(part).reshape(len(part), heads, -1) for part in (q, k)))
    return np.asarray(scale * np.sqrt(squares.mean(dtype=np.float64)))


def greedy(model: MusicGen, conditions: list[Condition], steps: int) -> np.ndarray:
    """Generate, always the likeliest: the codes that go in [shape=(2, steps, codebooks)].

    Parameters
    ----------
    model : MusicGen
    conditions : list of Condition
        A condition and the null condition, for classifier-free guidance.
    steps : int
    """
    state = model.start(conditions, steps)
    codes = np.full((2, 1, model.codebooks), model.vocabulary)
    sequence = [codes]
    for _ in range(steps - 1):
        logits = state.advance(codes)
        tokens = (logits[1] + _GUIDANCE * (logits[0] - logits[1])).argmax(-1)
        codes = np.broadcast_to(tokens, codes.shape)
        sequence.append(codes)
    return np.concatenate(sequence, axis=1)


def accuracy(
    checkpoint: Checkpoint, folder: Path, calibration: Mapping[str, Calibration], worst: int = 5
) -> dict[str, Any]:
    """Compare a bundle's MusicGen with its checkpoint in float32, on `PROMPT` and what comes of it.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of MusicGen.
    folder : Path
        The bundle's files.
    calibration : mapping of str to Calibration
        What its networks were exported with.
    worst : int
        How many matrices are named.

    Returns
    -------
    dict
        ``logit_error``: the relative root mean square error of the logits; ``worst``: the matrices with the
        largest errors, each with its ``matrix`` and the ``error`` of what comes out of it, relative likewise;
        ``apart``: how many inputs stand apart; ``exact``: how many matrices are float32.
    """
    packed = {network: Tensors(folder / bundle.weights_file(network)) for network in ("t5", "musicgen")}
    exact = {network: Exact(checkpoint, network) for network in packed}
    tokens = _tokens(checkpoint)
    none = np.zeros(1, np.int32)
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))

    def compare(network: str, x: np.ndarray, weight: Weight) -> None:
        name, told = exact[network].name(weight), calibration[network]
        expected = linear(x, weight)
        found = linear(np.ldexp(x, -told.inputs.get(name, none)), packed[network].weight(name))
        found = np.ldexp(found, -told.rows.get(name, none))
        sums[f"{network}.{name}"] += [
            np.square(found - expected, dtype=np.float64).sum(),
            np.square(expected, dtype=np.float64).sum(),
        ]

    text = T5(packed["t5"]).encode(tokens)
    model = MusicGen(packed["musicgen"])
    codes = greedy(model, [Condition(text), Condition(None)], POSITIONS)
    ours = _logits(model, text, codes)
    with observing(lambda x, weight: compare("t5", x, weight)):
        text = T5(exact["t5"]).encode(tokens)
    with observing(lambda x, weight: compare("musicgen", x, weight)):
        theirs = _logits(MusicGen(exact["musicgen"]), text, codes)
    errors = {name: float(np.sqrt(wrong / right)) for name, (wrong, right) in sums.items() if right}
    weights = [tensors.weight(name) for tensors in packed.values() for name in tensors.matrices]
    return {
        "logit_error": _rounded(float(np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2)))),
        "worst": [
            {"matrix": name, "error": _rounded(errors[name])}
            for name in sorted(errors, key=lambda name: (-errors[name], name))[:worst]
        ],
        "apart": sum(len(weight.columns) for weight in weights if weight.columns is not None),
        "exact": sum(weight.precision == "float32" for weight in weights),
    }


def _logits(model: MusicGen, text: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Compute the logits after each piece of a sequence."""
    state = model.start([Condition(text), Condition(None)], codes.shape[1])
    return np.stack([state.advance(piece) for piece in np.split(codes, _PIECES, axis=1)])


def _rounded(error: float) -> float:
    """Keep what is the same on every machine."""
    return float(f"{error:.3g}")
