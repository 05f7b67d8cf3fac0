"""What a generator asks of the networks. The CPU engine and the torch runtime both give exactly this.

Shapes are in brackets. Codes are EnCodec's: integers in [0, vocabulary), one for each codebook and frame.
A language model also takes `vocabulary` itself as a code: the token of places that a delay pattern leaves
open, and the one that every row begins with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from music.musicgen.decoding import Steps, Window
    from music.musicgen.sampling import Sampling
    from music.resume import Take


@dataclass(frozen=True, eq=False)
class Condition:
    """What one row of a language model is conditioned on.

    Attributes
    ----------
    text : np.ndarray [tokens, width] or None
        The hidden states of the text encoder. None is the null condition of classifier-free guidance: no text
        at all, which an encoded empty prompt is not.
    chroma : np.ndarray [frames, pitch classes] or None
        The one-hot chroma of a melody, where the language model's `chroma` is positive. None is no melody.
    """

    text: np.ndarray | None
    chroma: np.ndarray | None = None


class State(Protocol):
    """Rows under way: what a language model remembers of each (its key-value cache), and nothing else.

    Codes and conditions are enough to make a state again, exactly.
    """

    @property
    def length(self) -> int:
        """How many positions each row has so far."""
        ...

    def advance(self, codes: np.ndarray) -> np.ndarray:
        """Append positions to every row.

        A row's result depends neither on the other rows nor on how its positions were divided among calls:
        bit for bit, one call with many positions (a prefill) leaves what as many calls with one position
        each leave.

        Parameters
        ----------
        codes : np.ndarray [rows, new, codebooks], integers
            Each code is in [0, vocabulary]; there is at least one new position.

        Returns
        -------
        np.ndarray [rows, codebooks, vocabulary], float32
            The logits after the last position; the caller may change them.

        Raises
        ------
        ValueError
            If there is no room for them.
        """
        ...


class LanguageModel(Protocol):
    """A transformer over codes."""

    @property
    def codebooks(self) -> int:
        """How many codes a position has: 4, or 8 for stereo, where left and right take turns."""
        ...

    @property
    def vocabulary(self) -> int:
        """How many codes a codebook has; as a code, the token of open places, with which every row begins."""
        ...

    @property
    def max_positions(self) -> int:
        """How many positions a state may have, those of a prefix (melody) not counted."""
        ...

    @property
    def chroma(self) -> int:
        """How many pitch classes a melody has; 0 for a model that takes none."""
        ...

    @property
    def text_length(self) -> int:
        """How many tokens a shorter text is filled up to, 0 for a model that takes each as it is.

        Behind a melody, codes follow the text: it should not be longer, for then it moves them away from it.
        """
        ...

    def decode(
        self,
        windows: Sequence[Window],
        conditions: Callable[[Window], Condition],
        sampling: Sampling,
        takes: Sequence[Take],
        against: Condition,
    ) -> Steps:
        """Begin to make the codes of candidates; see `music.musicgen.decoding.Decoding`."""
        ...

    def state_bytes(self, rows: int, capacity: int) -> int:
        """Estimate how many bytes of memory so many rows take, with room for `capacity` positions each."""
        ...


class StepwiseModel(Protocol):
    """A language model that gives logits, of which somebody else makes codes, one step at a time."""

    @property
    def codebooks(self) -> int:
        """See `LanguageModel.codebooks`."""
        ...

    @property
    def vocabulary(self) -> int:
        """See `LanguageModel.vocabulary`."""
        ...

    @property
    def chroma(self) -> int:
        """See `LanguageModel.chroma`."""
        ...

    def start(self, conditions: Sequence[Condition], capacity: int) -> State:
        """Begin one row for each condition, with room for `capacity` positions.

        Raises
        ------
        ValueError
            If `capacity` is over `max_positions`, or a condition is not for this model.
        """
        ...


class TextEncoder(Protocol):
    """It turns prompts into what a language model is conditioned on."""

    def encode(self, ids: Sequence[int]) -> np.ndarray:
        """Encode the tokens of one prompt, the end token included [tokens, width]."""
        ...


class CodecDecoder(Protocol):
    """It turns the codes of some candidates into a continuous stream of audio of each, as they come.

    The audio of a candidate depends neither on how the codes are divided among pushes nor on the candidates
    beside it, not in a bit. It is not finite where the weights are bad.
    """

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Take the next codes, and return the samples that they settle.

        Parameters
        ----------
        codes : np.ndarray [shape=(candidates, channels * codebooks, new frames)]

        Returns
        -------
        np.ndarray [shape=(candidates, channels, n)]
        """
        ...

    def finish(self) -> np.ndarray:
        """Return the samples that were held back [candidates, channels, n]: in all, `hop` for each frame."""
        ...


class Codec(Protocol):
    """A neural audio codec of one channel; stereo is coded as two, codebooks of left and right in turn."""

    @property
    def sample_rate(self) -> int:
        """The sample rate of the audio, in Hz."""
        ...

    @property
    def codebooks(self) -> int:
        """How many codebooks one channel has."""
        ...

    @property
    def hop(self) -> int:
        """How many samples a frame has."""
        ...

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """Encode audio [channels, n] as codes [channels * codebooks, ceil(n / hop)]."""
        ...

    def decoder(self, channels: int, candidates: int) -> CodecDecoder:
        """Begin a stream of each candidate."""
        ...
