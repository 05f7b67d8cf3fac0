"""How fast a deployment generates: measured on the jobs that it has finished, the last ones most.

Nothing depends on it but estimates, so no transaction keeps it: of two jobs that end at once one may be lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from backend.records.table import Items, number

MEMORY_JOBS = 20
"""Jobs that the mean is about: each newer one counts for a twentieth."""


@dataclass(frozen=True)
class Speed:
    """How fast a profile generates: seconds of music made in a second of work, and the jobs measured."""

    music_seconds_per_second: float
    measured_jobs: int


class Speeds:
    """The speeds of all profiles.

    Parameters
    ----------
    items : Items
        The items of the table.
    """

    def __init__(self, items: Items) -> None:
        self._items = items

    def read(self, profile: str) -> Speed | None:
        """Return how fast a profile generates; None before its first job has ended."""
        item = self._items.read(_key(profile))
        return Speed(float(item["speed"]), int(item["jobs"])) if item else None

    def note(self, profile: str, music_seconds: float, seconds: float) -> None:
        """Take a finished job into the mean.

        Parameters
        ----------
        music_seconds : float
            Of all its candidates together.
        seconds : float
            That it took.
        """
        speed, known = music_seconds / max(seconds, 1e-3), self.read(profile)
        jobs = known.measured_jobs + 1 if known else 1
        if known:
            old = known.music_seconds_per_second
            speed = old + (speed - old) / min(jobs, MEMORY_JOBS)
        self._items.table.update_item(
            Key=_key(profile),
            UpdateExpression="SET speed = :speed, jobs = :jobs",
            ExpressionAttributeValues={":speed": number(speed), ":jobs": jobs},
        )


def _key(profile: str) -> dict[str, str]:
    return {"pk": "speed", "sk": profile}
