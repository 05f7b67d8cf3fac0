"""The decode loop: codes from a language model, step by step, window by window, candidates side by side.

What a step makes depends on the seed, the conditions and the codes before it, and on nothing else: not on the
candidates beside it, nor on where the loop was interrupted. So codes and a count of steps are all that has to
be kept to go on later.

References
----------
.. [1] Copet et al., "Simple and Controllable Music Generation", NeurIPS 2023.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from music.musicgen import delay
from music.musicgen.delay import UNKNOWN
from music.musicgen.networks import Condition, State, StepwiseModel
from music.musicgen.sampling import Sampling, draw, guide, stream
from music.resume import Take


@dataclass(frozen=True)
class Window:
    """A stretch of frames that the language model sees at once.

    Attributes
    ----------
    start, length : int
        Where the window begins and how long it is, in frames of the whole piece.
    known : int
        How many of them are there before it begins: the prompt, or what overlaps with the window before.
    """

    start: int
    length: int
    known: int

    @property
    def end(self) -> int:
        """The frame behind the last one of the window."""
        return self.start + self.length

    def steps(self, codebooks: int) -> int:
        """Count the tokens that are drawn for each codebook, those of open places included."""
        return delay.positions(self.length, codebooks) - 1 - self.known


def plan(frames: int, known: int, longest: int, stride: int) -> list[Window]:
    """Divide a piece into windows.

    Parameters
    ----------
    frames : int
        The frames of the whole piece, a prompt included.
    known : int
        The frames of the prompt.
    longest : int
        The frames that a window has at most.
    stride : int
        The frames from the start of one window to that of the next; what lies between it and `longest` is the
        prompt of the next window.

    Returns
    -------
    list of Window

    Raises
    ------
    ValueError
        If the prompt leaves nothing to be made in the first window, or windows would not overlap.

    Examples
    --------
    >>> plan(40, 0, longest=30, stride=18)
    [Window(start=0, length=30, known=0), Window(start=18, length=22, known=12)]
    """
    if not 0 <= known < min(frames, longest) or not 0 < stride < longest:
        raise ValueError(f"{known} of {frames} frames known, windows of {longest} every {stride}")
    windows = [Window(0, min(frames, longest), known)]
    while (end := windows[-1].end) < frames:
        start = windows[-1].start + stride
        windows.append(Window(start, min(frames - start, longest), end - start))
    return windows


def blank(seed: int, codebooks: int, frames: int, prompt: np.ndarray | None = None) -> Take:
    """Begin a candidate: no codes but those of the prompt [codebooks, fewer frames]."""
    codes = np.full((codebooks, frames), UNKNOWN, np.int16)
    if prompt is not None:
        codes[:, : prompt.shape[1]] = prompt
    return Take(seed, codes)


NULL = Condition(None)
"""Nothing is said: what classifier-free guidance leads away from, where nobody says what else."""


class Steps(ABC):
    """The steps that make the codes of some candidates, and how far they are.

    Parameters
    ----------
    codebooks : int
        Those of the language model.
    windows : sequence of Window
        What `plan` returns.
    takes : sequence of Take
        The candidates, all as long as the windows, and all at the same step: the first, or any other.

    Attributes
    ----------
    step, steps : int
        How many steps are made of every candidate, and how many there are in all.
    """

    def __init__(self, codebooks: int, windows: Sequence[Window], takes: Sequence[Take]) -> None:
        if {take.step for take in takes} != {takes[0].step}:
            raise ValueError("takes that are decoded together must have made the same steps")
        self._windows, self._takes = windows, takes
        self.step = takes[0].step
        self._latest = int(delay.delays(codebooks)[-1])
        self._ends = list(accumulate(window.steps(codebooks) for window in windows))
        self.steps = self._ends[-1]

    @abstractmethod
    def advance(self) -> None:
        """Make one step, or wait for some.

        Notes
        -----
        A candidate whose logits are not finite stops there (`Take.failed`); the others go on.
        """

    @property
    def behind(self) -> int:
        """How many positions, but for one, the language model lacks before it can make the next step."""
        return 0

    def catch_up(self, positions: int) -> None:  # noqa: B027  (there is nothing to do where none is behind)
        """Give the language model some of those that `behind` counts: `advance` gives it the rest at once."""

    def close(self) -> None:  # noqa: B027  (most have nothing to end)
        """End what goes on by itself."""

    @property
    def details(self) -> dict[str, Any]:
        """What else the record says of how the steps were made, JSON-ready."""
        return {}

    @property
    def complete(self) -> int:
        """How many frames, from the beginning, have all of their codes."""
        if self.step == self.steps:
            return self._windows[-1].end
        number, position = self._at(self.step)
        window = self._windows[number]
        return window.start + max(window.known, position - 1 - self._latest)

    @property
    def failed(self) -> bool:
        """Whether there is no candidate left that goes on."""
        return all(take.failed is not None for take in self._takes)

    def _at(self, step: int) -> tuple[int, int]:
        """Find the number of a step's window, and the position in it that the step makes."""
        number = bisect_right(self._ends, step)
        return number, self._windows[number].known + 1 + step - self._begin(number)

    def _begin(self, number: int) -> int:
        """Return the first step of a window."""
        return self._ends[number - 1] if number else 0


class Decoding(Steps):
    """Makes the codes of some candidates, one step at a time.

    Parameters
    ----------
    language : StepwiseModel
        The model that makes the logits.
    windows : sequence of Window
        What `plan` returns.
    conditions : callable
        Gives the condition of a window.
    sampling : Sampling
        How tokens are drawn.
    takes : sequence of Take
        The candidates, all as long as the windows, and all at the same step: the first, or any other.
    against : Condition, optional
        What guidance leads away from: by default the null condition.

    Attributes
    ----------
    step, steps : int
        How many steps are made, and how many there are in all.

    Examples
    --------
    >>> decoding = Decoding(language, windows, conditions, Sampling(), takes)   # doctest: +SKIP
    >>> while decoding.step < decoding.steps:                                   # doctest: +SKIP
    ...     decoding.advance()
    """

    def __init__(
        self,
        language: StepwiseModel,
        windows: Sequence[Window],
        conditions: Callable[[Window], Condition],
        sampling: Sampling,
        takes: Sequence[Take],
        against: Condition = NULL,
    ) -> None:
        super().__init__(language.codebooks, windows, takes)
        self._language, self._conditions = language, conditions
        self._sampling, self._against = sampling, against
        self._streams = [stream(take.seed, self.step * language.codebooks) for take in takes]
        self._state: State | None = None
        self._number = -1

    @property
    def behind(self) -> int:
        """See `Steps.behind`."""
        _, position = self._here()
        return position - 1 - (self._state.length if self._state else 0)

    def catch_up(self, positions: int) -> None:
        """See `Steps.catch_up`."""
        window, _ = self._here()
        if self._state is None:
            self._state = self._start(window)
        first = self._state.length
        self._state.advance(self._inputs(window, first, first + min(positions, self.behind)))

    def advance(self) -> None:
        """Make one step: a token for each codebook of every candidate."""
        window, position = self._here()
        if self._state is None:
            self._state = self._start(window)
        logits = self._logits(self._state.advance(self._inputs(window, self._state.length, position)))
        for take, chosen, rng in zip(self._takes, logits, self._streams, strict=True):
            if take.failed is not None:
                continue
            if not np.isfinite(chosen).all():
                take.failed = self.step
                continue
            tokens = draw(chosen, self._sampling, rng)
            delay.place(take.codes[:, window.start :], position, window.length, tokens)
            take.step = self.step + 1
        self.step += 1
        if self.step == self._ends[self._number]:
            self._state = None

    def _here(self) -> tuple[Window, int]:
        """Find the window of the next step, and the position that it makes."""
        self._number, position = self._at(self.step)
        return self._windows[self._number], position

    def _start(self, window: Window) -> State:
        condition = self._conditions(window)
        rows = [condition, self._against] if self._guided else [condition]
        capacity = delay.positions(window.length, self._language.codebooks) - 1
        return self._language.start(rows * len(self._takes), capacity)

    @property
    def _guided(self) -> bool:
        return self._sampling.guidance_scale != 1.0

    def _inputs(self, window: Window, first: int, last: int) -> np.ndarray:
        """Collect what positions [first, last) of every row hold [rows, last - first, codebooks]."""
        filler = self._language.vocabulary
        rows = [
            np.full((last - first, self._language.codebooks), filler)  # nobody looks at what comes of it
            if take.failed is not None
            else delay.spread(take.codes[:, window.start :], first, last, window.length, filler)
            for take in self._takes
        ]
        return np.repeat(np.stack(rows), 2 if self._guided else 1, axis=0)

    def _logits(self, logits: np.ndarray) -> np.ndarray:
        """Turn the logits of the rows into those of the candidates [candidates, codebooks, vocabulary]."""
        if not self._guided:
            return logits
        return guide(logits[0::2], logits[1::2], self._sampling.guidance_scale)
