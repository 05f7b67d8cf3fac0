"""The audio of all pieces in the memory of the device, as int16; shards are taken up as they are rendered.

A shard is two files, ``shard-NNNNN.npy`` (int16 [pieces, samples] at 32 kHz, mono) and ``shard-NNNNN.jsonl``
(one line for each piece). The audio is put in place last, so where it is, both are whole.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from weights.train.pieces import Piece, read

_FULL_SCALE = 32768.0
_EVERY = 0.5  # seconds between two looks for shards


class Store:
    """Pieces, in the order of their shards. The first `held_out` are for evaluation only.

    Parameters
    ----------
    folder : Path
        Where shards come to be.
    device : torch.device
    room : int
        Pieces, at most.
    held_out : int
    say : callable
        Is told what goes wrong with a shard.

    Attributes
    ----------
    pieces : list of Piece
    quiet : threading.Lock
        No audio is moved to the device by whom else holds it.
    """

    def __init__(
        self, folder: Path, device: torch.device, room: int, held_out: int, say: Callable[[str], None] = print
    ) -> None:
        self.folder, self.device, self.room, self.held_out = folder, device, room, held_out
        self.pieces: list[Piece] = []
        self._say = say
        self._audio = torch.empty(0, 0, dtype=torch.int16)
        self._count = torch.zeros((), dtype=torch.float32, device=device)
        self._seen: set[Path] = set()
        self._ended = threading.Event()
        self.quiet = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stream = torch.cuda.Stream() if device.type == "cuda" else None

    @property
    def count(self) -> int:
        """Pieces that are there."""
        return len(self.pieces)

    @property
    def samples(self) -> int:
        """Of each piece."""
        return self._audio.shape[1]

    def open(self, least: int, patience: float) -> None:
        """Wait until `least` pieces are there, then go on taking shards up beside whatever is done.

        Raises
        ------
        RuntimeError
            If there are fewer after `patience` seconds.
        """
        end = time.monotonic() + patience
        while self.count < least:
            if not self._take_up():
                if time.monotonic() > end:
                    raise RuntimeError(f"{self.folder} has {self.count} pieces; {least} are needed")
                time.sleep(_EVERY)
        self._thread = threading.Thread(target=self._follow, name="shards", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take up nothing more."""
        self._ended.set()
        if self._thread:
            self._thread.join()

    def drop(self) -> None:
        """Give the memory of the audio back; what is known of the pieces stays."""
        self._audio = self._audio[:0].clone()

    def _follow(self) -> None:
        while not self._ended.is_set() and self.count < self.room:
            if not self._take_up():
                self._ended.wait(_EVERY)

    def _take_up(self) -> bool:
        """Take up the next shard, if there is one. One that cannot be read is passed over.

        What is held out is the same however many processes render: those shards are waited for in order.
        """
        for path in sorted(self.folder.glob("shard-*.npy")):
            if path in self._seen:
                continue
            if self.count < self.held_out and int(path.stem.removeprefix("shard-")) > len(self._seen):
                break
            self._seen.add(path)
            try:
                audio = np.load(path)
                lines = path.with_suffix(".jsonl").read_text("utf-8").splitlines()
                pieces = [read(line) for line in lines]
                if audio.dtype != np.int16 or audio.ndim != 2 or len(audio) != len(pieces):
                    raise ValueError(f"{len(pieces)} pieces for {audio.dtype} {audio.shape}")
                if self.count and audio.shape[1] != self.samples:
                    raise ValueError(f"pieces of {audio.shape[1]} samples among those of {self.samples}")
            except (OSError, ValueError, KeyError) as error:
                self._say(f"{path.name} is passed over: {error!r}")
                continue
            self._put(audio, pieces)
            return True
        return False

    def _put(self, audio: np.ndarray, pieces: Sequence[Piece]) -> None:
        if not self.count:
            self._audio = torch.empty(self.room, audio.shape[1], dtype=torch.int16, device=self.device)
            if self._stream:
                torch.cuda.synchronize()
        pieces = pieces[: self.room - self.count]
        target = self._audio[self.count : self.count + len(pieces)]
        with self.quiet, torch.cuda.stream(self._stream):  # of no effect where there is no CUDA
            target.copy_(torch.from_numpy(audio[: len(pieces)]))
            if self._stream:
                self._stream.synchronize()
        self.pieces.extend(pieces)

    # -- Excerpts

    def cut(self, rows: Tensor, starts: Tensor, length: int) -> Tensor:
        """Excerpts as float32 [n, length].

        Parameters
        ----------
        rows, starts : Tensor [n], int64
            Pieces, and the first sample of each; on the device, so that nothing waits for them.
        """
        places = starts[:, None] + torch.arange(length, device=self.device)
        return self._audio[rows[:, None], places].float() / _FULL_SCALE

    def draw(self, n: int, length: int) -> Tensor:
        """Random excerpts for training, float32 [n, length].

        It makes no difference to a captured graph (`graphs`) how many pieces there are: see `refresh`.
        """
        among = self._count - self.held_out
        rows = (torch.rand(n, device=self.device) * among).long() + self.held_out
        starts = torch.randint(self.samples - length + 1, (n,), device=self.device)
        return self.cut(rows, starts, length)

    def refresh(self) -> None:
        """Let `draw` know of the pieces that have come."""
        self._count.fill_(float(self.count))

    def held(self, length: int, start: int) -> Tensor:
        """Excerpts of the pieces that are held out [held_out, length]; all begin at the same sample."""
        rows = torch.arange(self.held_out, device=self.device)
        return self.cut(rows, torch.full_like(rows, start), length)
