"""How much of the source the output repeats as it is, and how often at once.

A unit played after the same unit as in the source, or after a recording identical to it (`Units.label`),
continues a verbatim run; loops therefore count however often the source itself repeats them.
"""

from copy import copy

import numpy as np

from music.mosaic.path import Step
from music.mosaic.units import Units

LONGEST_RUN = 7.4
"""Seconds of a verbatim run; with its crossfades it stays below 8 s."""
LONG_RUN = 3.7
"""Seconds beyond which a run counts as long (4 s with its crossfades)."""
LONG_SHARE = 0.31
"""Share of the output that long runs may fill; with crossfades it stays below 0.40."""

_STUTTER_UNITS = 8  # that a passage may have and still count as a short one, where there are no bars
ALIGNED = 0.015  # seconds: a join can move a run by less than that


class Verbatim:
    """How long a stretch of the source the output's end repeats, wherever in the source that stretch lies.

    A match is a unit that is the same recording as the last one played. It goes on from the match before it
    if the recordings also follow each other at the same distance, as far as joins can tell (`ALIGNED`).
    """

    def __init__(self, units: Units) -> None:
        self._units = units
        self._begin = units.bounds[:-1] / units.rate
        self.seconds = np.diff(units.bounds) / units.rate
        order = np.argsort(units.label, kind="stable")
        self._members = np.split(order, np.flatnonzero(np.diff(units.label[order])) + 1)
        self._matches = np.zeros(0, dtype=np.int64)
        self._lengths = np.zeros(0)
        self._ends = np.zeros(0)  # where in the source each match ends, in seconds
        self.longest = 0.0
        self.now = 0.0  # seconds of source played
        self.covered = 0.0  # end of the last run of over LONG_RUN
        self.long = 0.0  # seconds inside such runs

    def after(self) -> np.ndarray:
        """Return the seconds of the run that each next unit would make or continue [shape=(N,)]."""
        longest = np.zeros(len(self.seconds))
        units = self._units
        for match, length, end in zip(self._matches, self._lengths, self._ends, strict=True):
            following = match + 1
            if following < len(longest):
                like = self._members[units.label[following]]
                begin = self._begin[following] + units.shift[following] - units.shift[like]
                goes_on = like[np.abs(begin - end) < ALIGNED]
                longest[goes_on] = np.maximum(longest[goes_on], length)
        return longest + self.seconds

    def long_after(self, length: np.ndarray) -> np.ndarray:
        """Return what `long` would be after each next unit [shape=(N,)], from `after`'s lengths."""
        end = self.now + self.seconds
        return self.long + np.where(length > LONG_RUN, end - np.maximum(end - length, self.covered), 0.0)

    def push(self, unit: int) -> None:
        """Play a unit."""
        units = self._units
        matches = self._members[units.label[unit]]
        begins = self._begin[matches] + units.shift[matches] - units.shift[unit]
        lengths = np.full(len(matches), self.seconds[unit])
        where = np.searchsorted(self._matches, matches - 1)
        known = np.flatnonzero(where < len(self._matches))
        known = known[self._matches[where[known]] == matches[known] - 1]
        known = known[np.abs(self._ends[where[known]] - begins[known]) < ALIGNED]
        lengths[known] += self._lengths[where[known]]
        self._matches, self._lengths, self._ends = matches, lengths, begins + self.seconds[unit]
        length = float(lengths.max())
        self.now += float(self.seconds[unit])
        self.longest = max(self.longest, length)
        if length > LONG_RUN:
            self.long += self.now - max(self.now - length, self.covered)
            self.covered = self.now


def same_as(units: Units, unit: int) -> np.ndarray:
    """Find the units that sound the same as `unit` in its place [shape=(N,), bool]."""
    return (units.label == units.label[unit]) & (np.abs(units.shift - units.shift[unit]) < ALIGNED)


def stutters(steps: list[Step], units: Units, onward: int) -> list[int]:
    """Find the jumps that would play a passage of under two bars a third time in a row."""
    played = [step.unit for step in steps]
    longest = max(2 * units.meter, _STUTTER_UNITS)
    again = {
        played[-size]
        for size in range(1, min(longest, len(played) // 2) + 1)
        if played[-size:] == played[-2 * size : -size]
    }
    return [unit for unit in again if unit != onward]


def allowed(units: Units, steps: list[Step], phrase: list[Step], verbatim: Verbatim, duration: float) -> bool:
    """Do the limits on copies and on short passages allow a phrase after what was played?"""
    ahead = copy(verbatim)
    played = list(steps)
    for step in phrase:
        if step.jumped and step.unit in stutters(played, units, -1):
            return False
        played.append(step)
        ahead.push(step.unit)
    return ahead.longest <= LONGEST_RUN and ahead.long <= LONG_SHARE * duration
