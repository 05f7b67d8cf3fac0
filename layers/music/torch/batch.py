"""Many generations in one batch: streams join and leave between steps, whoever asked for them.

One thread does all that the language model does on the device. It takes in who waits, in the order in which
they came, makes some steps of all streams, and hands out their codes. Whoever asked goes on with something
else meanwhile, such as decoding what is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from music.musicgen import delay
from music.musicgen.networks import Condition
from music.musicgen.sampling import Sampling
from music.torch.language import NEVER, Slots

CHUNK = 25
"""Steps, half a second of music, that are made before anybody may join or leave."""


class Made(NamedTuple):
    """How far a stream was at one moment.

    Attributes
    ----------
    codes : np.ndarray [codebooks, frames]
        What is there, `delay.UNKNOWN` elsewhere.
    position : int
        The position that is made next.
    failed : int or None
        The position at which its logits were not finite; it ends there.
    slots : set of int
        With how many streams its steps were computed, empty places included.
    """

    codes: np.ndarray
    position: int
    failed: int | None
    slots: frozenset[int]


class Stream:
    """One sequence of frames that is asked for; `Batch.wait` says what has been made of it.

    Parameters
    ----------
    codes : np.ndarray [codebooks, frames]
        What is there, `delay.UNKNOWN` elsewhere. It is not changed.
    position : int
        The position that is made next (see `delay`).
    conditions : pair of Condition
        Its own, and what guidance leads away from.
    sampling : Sampling
        How its tokens are drawn.
    uniform : np.ndarray [steps, codebooks]
        A random number for each token that is still to be made.
    """

    def __init__(
        self,
        codes: np.ndarray,
        position: int,
        conditions: tuple[Condition, Condition],
        sampling: Sampling,
        uniform: np.ndarray,
    ) -> None:
        self.made = Made(codes, position, None, frozenset())
        self.conditions, self.sampling, self.uniform = conditions, sampling, uniform
        self.withdrawn = False
        self.problem: BaseException | None = None
        self._end = delay.positions(codes.shape[1], len(codes))

    @property
    def left(self) -> int:
        """Steps that are still to be made."""
        return 0 if self.made.failed is not None else self._end - self.made.position


class Batch:
    """Runs streams side by side.

    Parameters
    ----------
    slots : callable
        Makes the slots. It is called at the first stream, in the thread that uses them.
    count : int
        How many slots they are.
    """

    def __init__(self, slots: Callable[[], Slots], count: int) -> None:
        self.count = count
        self._slots = slots
        self._changed = threading.Condition()
        self._waiting: list[Stream] = []
        self._seats: list[Stream] = []  # by slot
        self._thread: threading.Thread | None = None

    def ask(self, stream: Stream) -> None:
        """Ask for a stream. It begins as soon as there is a slot."""
        with self._changed:
            self._waiting.append(stream)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="batch", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, streams: Sequence[Stream], position: int) -> list[Made]:
        """Wait until each stream is behind a position, or ended; return how far each is.

        Raises
        ------
        RuntimeError
            If the device failed; that is the cause.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: all(
                    stream.problem is not None or stream.made.position > position or not stream.left
                    for stream in streams
                )
            )
            for stream in streams:
                if stream.problem is not None:
                    raise RuntimeError("the language model failed on its device") from stream.problem
            return [stream.made for stream in streams]

    def withdraw(self, stream: Stream) -> None:
        """Let a stream go that nobody wants any more."""
        with self._changed:
            stream.withdrawn = True
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            with torch.inference_mode():
                slots = self._slots()
                while True:
                    for stream in self._settle(slots):
                        codes, position, *_ = stream.made
                        slots.join(codes, position, stream.conditions, stream.sampling, stream.uniform)
                    steps = min(CHUNK, *(stream.left for stream in self._seats))
                    computed = slots.step(steps)
                    self._hand_out(steps, computed, *slots.codes())
        except Exception as problem:  # whatever it is, those who wait must hear of it
            with self._changed:
                for stream in (*self._seats, *self._waiting):
                    stream.problem = problem
                self._seats, self._waiting, self._thread = [], [], None
                self._changed.notify_all()

    def _settle(self, slots: Slots) -> list[Stream]:
        """Let go who is done; wait until there is somebody; give seats to who waits, and return those."""
        with self._changed:
            while True:
                for slot in reversed(range(len(self._seats))):
                    if self._seats[slot].withdrawn or not self._seats[slot].left:
                        slots.leave(slot)
                        self._seats[slot] = self._seats[-1]
                        self._seats.pop()
                self._waiting = [stream for stream in self._waiting if not stream.withdrawn]
                room = self.count - len(self._seats)
                joining, self._waiting = self._waiting[:room], self._waiting[room:]
                self._seats += joining
                if self._seats:
                    return joining
                self._changed.wait()

    def _hand_out(self, steps: int, computed: int, codes: np.ndarray, failed: np.ndarray) -> None:
        with self._changed:
            for stream, made, where in zip(self._seats, codes, failed, strict=True):
                before = stream.made
                stream.made = Made(
                    made[:, : before.codes.shape[1]],
                    before.position + steps,
                    int(where) if where < NEVER else None,
                    before.slots | {computed},
                )
            self._changed.notify_all()
