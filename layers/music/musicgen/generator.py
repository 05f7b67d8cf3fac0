"""MusicGen: music from a text, a melody or the end of a track, by a language model over a codec's codes.

The networks come from elsewhere (see `music.musicgen.networks`); here is what makes music with them. Pieces
of over 30 s are made in windows that overlap by 12 s, and decoded as one stream.

References
----------
.. [1] Copet et al., "Simple and Controllable Music Generation", NeurIPS 2023.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from music import quality
from music.audio.master import ramp
from music.dsp.channels import centred, folded, is_silent
from music.features import Features
from music.interfaces import Candidate, GenerationError, Identity, Request
from music.musicgen import delay, melody
from music.musicgen.decoding import Steps, Window, blank, plan
from music.musicgen.networks import Codec, CodecDecoder, Condition, LanguageModel, TextEncoder
from music.musicgen.sampling import Sampling
from music.resume import Forgetful, Kept, Take
from music.seeds import candidate_seeds

PIPELINE = "2"
"""The version of the decode loop: raise it whenever the same weights, inputs and seed make other music."""

WINDOW_SECONDS = 30.0
STRIDE_SECONDS = 18.0
"""The time from one window's begin to the next one's: the last 12 s of one are the prompt of the next."""
PROMPT_SECONDS = 12.0
"""How much of a track's end is continued."""
MAX_PROMPT_TOKENS = 256
MAX_TEXT_TOKENS = 304
"""The limit of the prompt and what is said of the source together: the melody model has no more positions."""

_OFFSET = 0.01  # of a channel's RMS: a smaller offset is let be, and the samples are as published
_FADE_SECONDS = 0.02  # where a continuation was cut from its source
_CHUNK_SECONDS = 3.84  # of codes that are decoded at once: as many as the LSTM of EnCodec takes
_PREFILL = 64  # positions that are caught up with at once
_FINISH_SECONDS = 10.0  # what follows the last step, and for each second of music:
_FINISH_SHARE = 0.25


class Tokenizer(Protocol):
    """It turns texts into the text encoder's tokens, as the `tokenizers` library does."""

    def encode(self, text: str) -> Any:
        """Return an object whose `ids` are the tokens, the end token included."""
        ...


class MusicGen:
    """The generator of the neural profiles.

    Parameters
    ----------
    name : str
        The name of the engine, such as ``musicgen-small``.
    language : LanguageModel
        The transformer.
    tokenizer, text : Tokenizer, TextEncoder
        What turns prompts into conditions.
    codec : Codec
        EnCodec.
    identity : Identity
        The identity of the weights.
    license : str or None
        The licence of the weights.
    machine : str
        What the same bytes are promised on: the runtime, its instruction set and threads.
    memory : int
        The bytes that candidates may take while they are made. More candidates than fit take their turns; one
        is always made.

    Notes
    -----
    ``similar``: the text is what the user asks for and what was measured (see `describe`).

    ``continue``: the last `PROMPT_SECONDS` of the track, silence at its end left out, are the begin of the
    first window; they are cut from the result. ``melody``: each window is given the pitch classes of the
    track, from the window's own place in it on; a track that is too short begins again. In these two modes
    the user's prompt is all of the text, but for a tempo and a key that are asked for; without one, it is as
    in ``similar``.
    """

    checks: Sequence[str] = quality.FAULTS

    def __init__(
        self,
        name: str,
        language: LanguageModel,
        tokenizer: Tokenizer,
        text: TextEncoder,
        codec: Codec,
        *,
        identity: Identity,
        license: str | None,
        machine: str = "",
        memory: int = 2**30,
    ) -> None:
        self.name, self.identity, self.license = name, identity, license
        self.sample_rate = codec.sample_rate
        self.channels = language.codebooks // codec.codebooks
        self._language, self._tokenizer, self._text, self._codec = language, tokenizer, text, codec
        self._machine, self._memory = machine, memory
        self._frame_rate = codec.sample_rate / codec.hop
        if delay.positions(self._frames(WINDOW_SECONDS), language.codebooks) - 1 > language.max_positions:
            raise ValueError(f"{WINDOW_SECONDS:g} s do not fit {language.max_positions} positions")

    def candidates(self, request: Request, progress: Callable[[float], None]) -> Iterator[Candidate]:
        """Make candidates as `music.interfaces.Generator` says, those side by side that there is memory for.

        Yields
        ------
        Candidate
            At least `duration` long; or without audio and with a `fault`, where the logits were not finite.

        Raises
        ------
        GenerationError
            ``prompt_too_long``; ``silent_source`` where nothing can be continued, taken up or described.
        Suspended
            There is not enough time: all that was made is kept.
        """
        progress(0.0)
        source, parameters = centred(request.source, _OFFSET), request.parameters
        kept = request.kept or Kept(Forgetful())
        text, description = self._describe(request)
        unwanted = self._encoded((parameters.negative_prompt or "").strip(), "negative prompt")
        if is_silent(source) and not (parameters.prompt or "").strip():
            raise GenerationError(
                "silent_source", "The source is silent: only a prompt can say what to make."
            )
        prompt = self._prompt(source) if parameters.mode == "continue" else None
        mono = folded(_sounding(source)) if parameters.mode == "melody" else None
        known = 0 if prompt is None else prompt.shape[1]
        frames = known + self._frames(parameters.duration)
        windows = plan(frames, known, self._frames(WINDOW_SECONDS), self._frames(STRIDE_SECONDS))
        sampling = Sampling(
            parameters.temperature, parameters.top_k, parameters.top_p, parameters.guidance_scale
        )
        kept.open(self._inputs(text, unwanted, prompt, mono, sampling, frames), self._machine)

        def condition(window: Window) -> Condition:
            if mono is None:
                return Condition(text)
            return Condition(text, melody.chroma(melody.stretch(mono, window.start / self._frame_rate)))

        seeds = candidate_seeds(parameters.seed, parameters.candidates)
        takes = [
            kept.takes.setdefault(seed, blank(seed, self._language.codebooks, frames, prompt))
            for seed in seeds
        ]
        steps = sum(window.steps(self._language.codebooks) for window in windows)
        finish = _FINISH_SECONDS + _FINISH_SHARE * parameters.duration * len(seeds)
        waiting = list(takes)
        while waiting:
            together = self._together(waiting, sampling, frames)
            waiting = [take for take in waiting if take not in together]
            others = sum(take.step for take in takes if take not in together)

            decoding = self._language.decode(windows, condition, sampling, together, Condition(unwanted))

            def report(decoding: Steps = decoding, others: int = others, count: int = len(together)) -> None:
                progress((others + count * decoding.step) / (steps * len(takes)))

            sound = _Sound(self._codec, self.channels, together, self._frames(_CHUNK_SECONDS))
            rest = 0.0 if waiting else finish
            try:
                speed = self._run(decoding, sound, kept, rest, report)
            finally:
                decoding.close()
            kept.make_room(rest)
            for take, audio in zip(together, sound.finish(decoding, report), strict=True):
                details = {
                    "steps": take.step,
                    "steps_per_second": round(speed, 2),
                    "resumed": kept.resumed,
                    "machine": " then ".join(kept.machines),
                    "description": description,
                    **decoding.details,
                }
                if isinstance(audio, str):
                    yield Candidate(np.zeros((self.channels, 0), np.float32), take.seed, details, fault=audio)
                    continue
                audio = audio[:, known * self._codec.hop :]
                if known:
                    _fade_in(audio, round(_FADE_SECONDS * self.sample_rate))
                yield Candidate(audio, take.seed, details)

    def _run(
        self, decoding: Steps, sound: _Sound, kept: Kept, rest: float, report: Callable[[], None]
    ) -> float:
        """Make all steps, before what else takes `rest` seconds; return how many a second."""
        began, spent = decoding.step, 0.0
        while decoding.step < decoding.steps and not decoding.failed:
            report()
            kept.make_room(0.0)
            started = time.perf_counter()
            while decoding.behind >= _PREFILL:
                decoding.catch_up(_PREFILL)
                report()
            decoding.advance()
            spent += time.perf_counter() - started
            kept.worked()
            left = (decoding.steps - decoding.step) * spent / (decoding.step - began)
            if sound.ready(decoding) and kept.fits(left + rest):
                sound.decode(decoding, report)
        return (decoding.step - began) / spent if spent else 0.0

    def _together(self, waiting: Sequence[Take], sampling: Sampling, frames: int) -> list[Take]:
        """Choose the next candidates to be made side by side: at one step, as many as there is memory for."""
        rows = 1 if sampling.guidance_scale == 1.0 else 2
        window = min(frames, self._frames(WINDOW_SECONDS))
        positions = delay.positions(window, self._language.codebooks)
        audio = 4 * self.channels * self._codec.hop * frames
        most = self._memory // (self._language.state_bytes(rows, positions) + audio)
        alike = [take for take in waiting if take.step == waiting[0].step]
        return alike[: max(1, most)]

    def _describe(self, request: Request) -> tuple[np.ndarray | None, str]:
        """Encode the text, None where there is nothing to say; also return what is said of the source."""
        prompt, tags = (request.parameters.prompt or "").strip(), request.tags
        self._check_length(prompt, "prompt")
        description = ""
        if request.parameters.mode == "similar" or not prompt:
            most = self._language.text_length or MAX_TEXT_TOKENS
            for count in range(len(tags), -1, -1):
                description = describe(request.features, tags[:count])
                if len(self._tokenizer.encode(joined(prompt, description)).ids) <= most:
                    break
        else:
            wanted = request.parameters
            told = replace(
                request.features,
                tempo=request.features.tempo if wanted.tempo is not None else 0.0,
                key=request.features.key if wanted.key is not None else None,
            )
            description = describe(told, ())
        text = joined(prompt, description)
        return (self._text.encode(self._tokenizer.encode(text).ids) if text else None), description

    def _encoded(self, text: str, what: str) -> np.ndarray | None:
        """Encode a text of the user's, None where there is none."""
        self._check_length(text, what)
        return self._text.encode(self._tokenizer.encode(text).ids) if text else None

    def _check_length(self, text: str, what: str) -> None:
        tokens = len(self._tokenizer.encode(text).ids)
        if tokens > MAX_PROMPT_TOKENS:
            raise GenerationError(
                "prompt_too_long",
                f"The {what} has {tokens} tokens; at most {MAX_PROMPT_TOKENS} are understood.",
            )

    def _prompt(self, source: np.ndarray) -> np.ndarray:
        """Code the end of a track [codebooks, frames]."""
        end = _sounding(source)[:, -round(PROMPT_SECONDS * self.sample_rate) :]
        return self._codec.encode(end)

    def _inputs(
        self,
        text: np.ndarray | None,
        unwanted: np.ndarray | None,
        prompt: np.ndarray | None,
        mono: np.ndarray | None,
        sampling: Sampling,
        frames: int,
    ) -> str:
        """Digest all that codes depend on besides their seeds."""
        digest = hashlib.sha256(repr((self.name, self.identity.id, sampling, frames)).encode())
        for part in (text, prompt, mono):
            digest.update(b"none" if part is None else np.ascontiguousarray(part).tobytes())
        if unwanted is not None:
            digest.update(b"unwanted" + np.ascontiguousarray(unwanted).tobytes())
        return digest.hexdigest()

    def _frames(self, seconds: float) -> int:
        return math.ceil(round(seconds * self._frame_rate, 6))


class _Sound:
    """The audio of candidates that are made together, decoded while their codes come."""

    def __init__(self, codec: Codec, channels: int, takes: Sequence[Take], chunk: int) -> None:
        self._takes, self._chunk = takes, chunk
        self._decoder: CodecDecoder = codec.decoder(channels, len(takes))
        self._parts: list[list[np.ndarray]] = [[] for _ in takes]
        self._decoded = 0

    def ready(self, decoding: Steps) -> bool:
        """Whether there is a chunk to decode."""
        return decoding.complete - self._decoded >= self._chunk

    def decode(self, decoding: Steps, between: Callable[[], None]) -> None:
        """Decode all whole chunks; the last one when there are no more steps."""
        while self.ready(decoding) or (decoding.step == decoding.steps and self._decoded < decoding.complete):
            end = min(self._decoded + self._chunk, decoding.complete)
            codes = np.stack([take.codes[:, self._decoded : end] for take in self._takes])
            # A candidate that failed has none any more: nobody listens to what comes of it.
            self._keep(self._decoder.push(np.maximum(codes, 0)))
            self._decoded = end
            between()

    def finish(self, decoding: Steps, between: Callable[[], None]) -> Iterator[np.ndarray | str]:
        """Yield each candidate's audio [channels, n], or what is wrong with it."""
        if not decoding.failed:
            self.decode(decoding, between)
            self._keep(self._decoder.finish())
        for index, take in enumerate(self._takes):
            if take.failed is not None:
                yield f"logits not finite at step {take.failed}"
                continue
            audio = np.concatenate(self._parts[index], axis=1)
            self._parts[index] = []
            yield audio if np.isfinite(audio).all() else "audio not finite"

    def _keep(self, audio: np.ndarray) -> None:
        """Keep what was decoded [candidates, channels, n], apart: a candidate's is given up with it."""
        for parts, piece in zip(self._parts, audio, strict=True):
            parts.append(piece.copy())


def describe(features: Features, tags: Sequence[str]) -> str:
    """Say in words what a track is like, as the descriptions did that MusicGen was trained with.

    These had metadata behind the text now and then, "name: value" joined by full stops [1]_. So have ours:
    the tags as keywords, the measured tempo in whole beats per minute where there is a pulse, and the key
    where there is one.

    References
    ----------
    .. [1] Copet et al., "Simple and Controllable Music Generation", NeurIPS 2023, section 3.1 and appendix.

    Examples
    --------
    >>> describe(features, ["calm", "piano"])   # doctest: +SKIP
    'keywords: calm, piano. bpm: 82. key: D minor'
    """
    parts = []
    if tags:
        parts.append(f"keywords: {', '.join(tags)}")
    if features.tempo > 0.0:
        parts.append(f"bpm: {features.tempo:.0f}")
    if features.key:
        parts.append(f"key: {features.key} {features.mode}")
    return ". ".join(parts)


def joined(prompt: str, description: str) -> str:
    """Put the description behind the prompt, which stays as it is but for its last full stop."""
    return ". ".join(part for part in (prompt.rstrip("."), description) if part) if description else prompt


def _sounding(source: np.ndarray) -> np.ndarray:
    """Cut the silence (60 dB below the peak) at the end of a track off.

    Raises
    ------
    GenerationError
        If there is nothing else.
    """
    if is_silent(source):
        raise GenerationError("silent_source", "The source is silent: there is no music to go on from.")
    size = np.abs(source).max(axis=0)
    peak = float(size.max())
    return source[:, : int(np.flatnonzero(size > 1e-3 * peak)[-1]) + 1]


def _fade_in(audio: np.ndarray, samples: int) -> None:
    samples = min(samples, audio.shape[1])
    audio[:, :samples] *= ramp(samples)
