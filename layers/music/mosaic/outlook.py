"""What lies ahead of each unit: messages passed backwards, so that every step knows what its choices lead to.

A path leaves a passage where a good exit is, not where a limit strikes.

References
----------
.. [1] Schödl et al., "Video Textures", SIGGRAPH 2000 (future cost of a transition, on pictures).
"""

from collections.abc import Callable

import numpy as np

from music.mosaic.transitions import JUMP, Transitions
from music.mosaic.units import Units
from music.mosaic.verbatim import LONG_RUN, LONGEST_RUN, same_as

EARLY = 2.0
"""More for a jump within the first bar of a run."""
COOL = 2.0
"""Exponent of temperatures below 1: how fast draws get surer, and strays less."""

_NOISE = 0.3  # of the draw at temperature 1, where a good jump of the source costs 1
_LATE = 0.5  # per unit beyond two bars, at temperature 1: makes runs end
_EXITS = 64  # jumps out of a unit that the outlook weighs
_REGIONS = 16
_HORIZON = 12  # units the outlook sees ahead in each part of the output


class Outlook:
    """What lies ahead of each unit at a temperature: the future's share of every decision.

    Jumps to the `_EXITS` nearest units are weighed, and to the nearest in each of `_REGIONS` parts of the
    source, so that a passage unlike all others still has its ways out.
    """

    def __init__(self, transitions: Transitions, temperature: float) -> None:
        units = transitions.units
        count = len(units)
        self._noise = noise_at(temperature)
        period = float(np.median(np.diff(units.bounds))) / units.rate
        self._fresh = max(int(LONG_RUN / period), 1)
        self.most = max(min(int(LONGEST_RUN / period), 64), self._fresh)
        cost = transitions.cost.copy()
        # What sounds the same as going on is no way out of a verbatim run.
        for i in range(count - 1):
            cost[i, same_as(units, i + 1)] = np.inf
        exits = min(_EXITS, count)
        near = np.argpartition(cost, exits - 1, axis=1)[:, :exits]
        near_cost = np.take_along_axis(cost, near, axis=1)
        regions = np.array_split(np.arange(count), min(_REGIONS, count))
        far = np.stack([part[0] + cost[:, part].argmin(axis=1) for part in regions], axis=1)
        far_cost = np.take_along_axis(cost, far, axis=1)
        far_cost[far_cost <= near_cost.max(axis=1, keepdims=True)] = np.inf  # those are near ones again
        self._where = np.concatenate([near, far], axis=1)
        self._weight = (
            -(np.concatenate([near_cost, far_cost], axis=1).astype(np.float64) + JUMP) / self._noise
        )
        left = np.arange(self.most + 1)
        self._early = -EARLY * shortness(np.maximum(self._fresh - left, 1), units) / self._noise
        self._late = -lateness(np.maximum(self._fresh - left, 0), units, temperature) / self._noise
        self._goes_on = units.playable[1:, None]

    def values(self, attraction: np.ndarray, progress: Callable[[float], None]) -> np.ndarray:
        """Return the logarithm of what lies ahead from each part of the output on, passed back from the last.

        Parameters
        ----------
        attraction : np.ndarray [shape=(parts, N)]
            Cost of playing each unit in each part.
        progress : callable
            Called with the share done, in [0, 1]; whatever it raises passes through.

        Returns
        -------
        np.ndarray [shape=(parts, N, most + 1), float32]
            By part, unit, and units left before a forced jump. Differences matter; the greatest is 0.
        """
        parts, count = attraction.shape
        values = np.empty((parts, count, self.most + 1), dtype=np.float32)
        value = np.zeros((count, self.most + 1))
        for part in range(parts - 1, -1, -1):
            pull = attraction[part] / self._noise
            for _ in range(_HORIZON):
                leave = _logsumexp(self._weight + (value[:, self._fresh] - pull)[self._where])
                stay = np.full_like(value, -np.inf)
                onward = value[1:, :-1] + self._late[1:] - pull[1:, None]
                stay[:-1, 1:] = np.where(self._goes_on, onward, -np.inf)
                value = np.logaddexp(stay, leave[:, None] + self._early)
                value = np.maximum(value - value.max(), -1e6)
            values[part] = value
            progress((parts - part) / parts)
        return values


def noise_at(temperature: float) -> float:
    """Return the noise of draws, in costs."""
    return _NOISE * temperature ** (COOL if temperature < 1.0 else 1.0)


def shortness(played: np.ndarray, units: Units) -> np.ndarray:
    """Return how short runs are, by units played: 1 for none, 0 for at least a bar (or 1.6 s)."""
    period = float(np.median(np.diff(units.bounds))) / units.rate
    bar = float(units.meter) if units.whole_bar else max(1.6 / period, 1.0)
    return np.clip(1.0 - played / bar, 0.0, 1.0)


def lateness(played: np.ndarray, units: Units, temperature: float) -> np.ndarray:
    """Return the cost of one more unit in runs, by units played: low temperatures let them go on longer."""
    period = float(np.median(np.diff(units.bounds))) / units.rate
    bars = 2.0 * units.meter if units.whole_bar else max(3.0 / period, 1.0)
    wanted = min(bars, max(LONG_RUN / period, 1.0)) * temperature**-0.5
    return _LATE * temperature * np.maximum(played / wanted - 0.75, 0.0)


def _logsumexp(values: np.ndarray) -> np.ndarray:
    """Add values given as logarithms, over the last axis; rows without a finite value give -inf."""
    top = values.max(axis=-1)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return safe + np.log(np.exp(values - safe[..., None]).sum(axis=-1))
