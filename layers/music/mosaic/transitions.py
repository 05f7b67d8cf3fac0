"""What it costs to play one unit after another.

Going on to the unit that follows in the source is free; a jump costs the musical distance between what would
have come and what comes instead, each seen with its neighbours.

References
----------
.. [1] Schwarz, "Data-Driven Concatenative Sound Synthesis", PhD thesis, Université Paris 6, 2004.
"""

import numpy as np

from music.mosaic.units import Units

JUMP = 0.7
"""Cost of jumping at all."""
OFF_BAR = 9.0
"""More for a jump that is not from the end of a bar to the beginning of one."""

_SEMITONES = (0, -1, 1, -2, 2)


class Transitions:
    """How well each unit of a source follows each other one, made once per source.

    Attributes
    ----------
    cost : np.ndarray [shape=(N, N), float32]
        ``cost[i, j]`` of playing `j` after `i`; a good jump of this source costs about 1. Infinite where `j`
        is not playable.
    scale : float
        Distance in descriptors that makes a cost of 1.
    """

    def __init__(self, units: Units) -> None:
        self.units = units
        count = len(units)
        level = np.clip(units.loudness, units.loudness.max() - 50.0, None)
        self._plain = np.concatenate(
            [
                units.timbre.reshape(count, -1) * (0.5 / np.sqrt(24.0)),
                level[:, None] / 9.0,
                np.clip(units.rhythm, 0.0, 4.0) * 0.12,
            ],
            axis=1,
        ).astype(np.float32)
        distance = _pairwise(self._plain)
        distance += _harmony(units.chroma, units.chroma)
        cost = _in_context(distance)
        del distance
        self._places = _places(units)
        following = np.minimum(np.arange(count) + 1, count - 1)
        best = []
        for i in range(count):
            fits = np.flatnonzero((self._places[i] < 1.0) & units.playable)
            fits = fits[np.abs(fits - following[i]) > 1]
            if len(fits):
                near = min(6, len(fits))
                best.append(np.partition(cost[i, fits], near - 1)[:near].mean())
        self.scale = max(float(np.median(best)), 0.15) if best else 1.0
        cost /= self.scale
        cost += self._places
        cost[:, ~units.playable] = np.inf
        self.cost = cost

    def row(self, i: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
        """Weigh every unit as the next one, each in the transposition that suits best.

        Parameters
        ----------
        i : int
            The unit that is played.
        shift : int
            The semitones that it is played up.

        Returns
        -------
        cost : np.ndarray [shape=(N,), float64]
            As `cost` has it.
        semitones : np.ndarray [shape=(N,), int64]
            How far each unit would be transposed.
        """
        count = len(self.units)
        cost, chosen = self.cost[i].astype(np.float64), np.zeros(count, dtype=np.int64)
        if not self.units.pulsed:
            return cost, chosen
        at = np.clip([i, i + 1, i + 2], 0, count - 1)
        there = _harmony(self.units.chroma[at], self.units.chroma)
        options = np.empty((len(_SEMITONES), count))
        for k, semitones in enumerate(_SEMITONES):
            turned = np.roll(self.units.chroma[at], shift - semitones, axis=2)
            harmony = _harmony(turned, self.units.chroma)
            change = _row_in_context(harmony - there) / self.scale
            options[k] = change + (0.8 + 0.3 * abs(semitones) + 1.5 * (shift != 0)) * (semitones != 0)
        best = options.argmin(axis=0)
        return cost + options[best, np.arange(count)], np.asarray(_SEMITONES)[best]


def _pairwise(points: np.ndarray) -> np.ndarray:
    """Return Euclidean distances [shape=(N, N), float32] between rows [shape=(N, d)], without BLAS."""
    norms = np.einsum("ik,ik->i", points, points)
    squares = np.einsum("ik,jk->ij", points, points)
    squares *= -2.0
    squares += norms[:, None]
    squares += norms[None]
    return np.sqrt(np.maximum(squares, 0.0, out=squares), out=squares)


def _harmony(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the distance in harmony, 0 to 2 [shape=(N, M)], of chromas [shape=(N, 2, 12) and (M, 2, 12)]."""
    return 2.0 - np.einsum("ihk,jhk->ij", a, b)


def _in_context(distance: np.ndarray) -> np.ndarray:
    """Return the cost of jumping from `i` to `j` [shape=(N, N)] from the distances of units [shape=(N, N)].

    ``cost[i, j] = 0.5 d[i + 1, j] + 0.25 d[i, j - 1] + 0.25 d[i + 2, j + 1]``: what is replaced, what came
    before and what comes after.
    """
    count = len(distance)
    rows = np.arange(count)
    one, two = np.minimum(rows + 1, count - 1), np.minimum(rows + 2, count - 1)
    before = np.maximum(rows - 1, 0)
    cost = 0.5 * distance[one]
    cost += 0.25 * distance[:, before]
    cost += 0.25 * distance[two][:, one]
    return cost


def _row_in_context(rows: np.ndarray) -> np.ndarray:
    """Return row i of `_in_context` [shape=(N,)] from the distances of i, i + 1, i + 2 [shape=(3, N)]."""
    count = rows.shape[1]
    columns = np.arange(count)
    return (
        0.5 * rows[1]
        + 0.25 * rows[0, np.maximum(columns - 1, 0)]
        + 0.25 * rows[2, np.minimum(columns + 1, count - 1)]
    )


def _places(units: Units) -> np.ndarray:
    """Return the cost of breaking the bar [shape=(N, N), float32]: by landing or leaving inside it."""
    count = len(units)
    if units.meter == 1:
        return np.zeros((count, count), dtype=np.float32)
    ends = (units.phase + 1) % units.meter == 0
    keeps = ends[:, None] & (units.phase == 0)[None]
    return np.where(keeps, np.float32(0.0), np.float32(OFF_BAR))


def evened(units: Units, before: int, unit: int) -> float:
    """Return the gain in dB that evens out a jump from unit `before` to `unit` in loudness."""
    expected = float(units.loudness[min(before + 1, len(units) - 1)])
    return float(np.clip(0.6 * (expected - units.loudness[unit]), -2.5, 2.5))
