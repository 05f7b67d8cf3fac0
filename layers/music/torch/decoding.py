"""The decode loop on torch: steps that the device makes on its own, and many generations' at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from music.musicgen import delay
from music.musicgen.decoding import Steps, Window
from music.musicgen.networks import Condition
from music.musicgen.sampling import Sampling, stream
from music.resume import Take
from music.torch.batch import CHUNK, Batch, Stream


class BatchDecoding(Steps):
    """Has the codes of some candidates made by a batch, beside those of others.

    Parameters
    ----------
    batch : Batch
        Where all streams of the device are.
    codebooks : int
        Those of the language model.
    windows, conditions, sampling, takes, against
        See `music.musicgen.decoding.Decoding`.

    Notes
    -----
    The device goes on while the caller does something else, so `advance` may find many steps.
    """

    def __init__(
        self,
        batch: Batch,
        codebooks: int,
        windows: Sequence[Window],
        conditions: Callable[[Window], Condition],
        sampling: Sampling,
        takes: Sequence[Take],
        against: Condition,
    ) -> None:
        super().__init__(codebooks, windows, takes)
        self._batch, self._codebooks, self._conditions = batch, codebooks, conditions
        self._sampling, self._against = sampling, against
        self._asked: list[tuple[Take, Stream]] = []
        self._slots: set[int] = set()

    @property
    def details(self) -> dict[str, Any]:
        """Say with how many streams side by side the steps were computed, as the record has it: in a text."""
        return {"batch": ", ".join(str(count) for count in sorted(self._slots))}

    def advance(self) -> None:
        """Wait until every candidate has some more steps, and take them over."""
        number, position = self._at(self.step)
        window, first = self._windows[number], self._windows[number].known + 1
        if not self._asked:
            condition = self._conditions(window)
            for take in self._takes:
                if take.failed is None:
                    self._asked.append((take, self._stream(number, position, take, condition)))
            for _, asked in self._asked:
                self._batch.ask(asked)
        last = delay.positions(window.length, self._codebooks) - 1
        every = self._batch.wait([asked for _, asked in self._asked], min(position + CHUNK - 1, last))
        for (take, _), made in zip(self._asked, every, strict=True):
            self._slots |= made.slots
            take.codes[:, window.start : window.end] = made.codes
            if made.failed is not None:
                take.failed = take.step = self._begin(number) + made.failed - first
            else:
                take.step = self._begin(number) + made.position - first
        going = [take.step for take, _ in self._asked if take.failed is None]
        self.step = min(going, default=self._ends[number])
        if self.step == self._ends[number]:
            self._asked = []

    def close(self) -> None:
        """Let the streams go."""
        for _, asked in self._asked:
            self._batch.withdraw(asked)
        self._asked = []

    def _stream(self, number: int, position: int, take: Take, condition: Condition) -> Stream:
        window = self._windows[number]
        shape = self._ends[number] - take.step, self._codebooks
        rng = stream(take.seed, take.step * self._codebooks)
        uniform = rng.random(shape) if self._sampling.temperature else np.zeros(shape)
        codes = take.codes[:, window.start : window.end].copy()
        return Stream(codes, position, (condition, self._against), self._sampling, uniform)
