"""Rhythms: step patterns, as drum machines have them, and the rhythms that melodies are made of."""

from collections.abc import Iterator

STEPS = 4  # a step is a sixteenth: four to the quarter note


def strokes(pattern: str, bar: int, steps: int) -> Iterator[tuple[int, str, int]]:
    """Read one bar of a step pattern.

    Parameters
    ----------
    pattern : str
        A character a step: ``.`` is a rest, ``-`` holds what was struck, any other is a stroke.
    bar : int
        Number of the bar: a pattern of two bars goes on in the second one.
    steps : int
        Steps in a bar.

    Yields
    ------
    (int, str, int)
        The step, the character, and for how many steps it holds.
    """
    first = bar * steps
    line = [pattern[(first + step) % len(pattern)] for step in range(steps)]
    for step, stroke in enumerate(line):
        if stroke in "-.":
            continue
        length = 1
        while step + length < steps and line[step + length] == "-":
            length += 1
        yield step, stroke, length


def _bars(text: str) -> list[list[float]]:
    return [[float(length) for length in bar.split()] for bar in text.split("/")]


# One-bar rhythms in quarter notes, by meter and kind; what is negative is a rest.
_RHYTHMS = {
    "4/4": {
        "slow": _bars("2 2 / 3 1 / 4 / 1 1 2 / 2 1 1 / -1 1 2 / 1.5 .5 2 / -2 1 1"),
        "mid": _bars(
            "1 1 1 1 / 1 .5 .5 2 / 1.5 .5 1 1 / .5 .5 1 2 / 1 1 .5 .5 1 / -.5 .5 1 1 1 / 1.5 .5 1.5 .5 /"
            ".5 .5 .5 .5 1 1 / -1 1 1 1 / 1 .5 .5 1 -1"
        ),
        "fast": _bars(
            ".5 .5 .5 .5 .5 .5 .5 .5 / 1 .5 .5 .5 .5 1 / .5 .5 1 .5 .5 1 / .5 .5 .5 .5 .5 .5 1 /"
            ".5 .25 .25 .5 .5 1 1 / 1 .5 .5 1 .5 .5 / .5 .5 .5 .5 1 -.5 .5 / .75 .25 .5 .5 1 .5 .5"
        ),
        "syncopated": _bars(
            ".75 .75 .5 1 1 / .5 1 .5 1 1 / .75 .75 1 .5 1 / -.5 .5 .5 1 .5 1 / .75 .75 .75 .75 1 /"
            "1 .75 .75 .5 1 / .5 .5 1 .5 .5 -1 / .5 .5 .75 .75 1.5 / 1.5 1 1.5"
        ),
        "swing": _bars(
            "1 .5 .5 1 .5 .5 / -.5 .5 .5 .5 .5 .5 1 / .5 .5 .5 .5 1 -1 / 1.5 .5 1 -1 / -1 .5 .5 .5 .5 .5 .5 /"
            ".5 .5 .5 .5 .5 .5 .5 .5 / -.5 .5 1 .5 .5 .5 .5 / .5 1 .5 1 -1 / -1.5 .5 .5 .5 1"
        ),
        "run": _bars(
            ".25 .25 .25 .25 .5 .5 .5 .5 1 / .5 .25 .25 .5 .25 .25 .5 .25 .25 1 /"
            ".25 .25 .25 .25 .25 .25 .25 .25 .5 .5 1 / .5 .25 .25 .5 .5 .25 .25 .25 .25 1 /"
            ".25 .25 .25 .25 .25 .25 .25 .25 .25 .25 .25 .25 .5 .5 /"
            ".5 .5 .5 .5 .25 .25 .25 .25 .25 .25 .25 .25"
        ),
        "funk": _bars(
            ".25 .25 .5 -.5 .25 .25 .5 .5 -1 / -.5 .25 .25 .5 .75 .25 .5 1 / .5 .25 .5 .25 .5 -1 .5 .5 /"
            ".75 .25 -.5 .5 .5 .5 1 / -.25 .25 .5 .5 .5 -1 .25 .25 .5"
        ),
        "march": _bars(
            "1 .75 .25 1 1 / .75 .25 .75 .25 1 1 / 1 .5 .5 1 1 / 1 1 .5 .5 .5 .5 / 1.5 .5 1 1 /"
            ".5 .5 .5 .5 1 1 / 1 1 2"
        ),
        "reel": _bars(
            ".5 .5 .5 .5 .5 .5 .5 .5 / 1 .5 .5 .5 .5 .5 .5 / .5 .5 1 .5 .5 1 /"
            ".5 .25 .25 .5 .5 .5 .25 .25 .5 .5 / .5 .5 .5 .5 .5 .5 1 / 1 .5 .5 1 .5 .5"
        ),
    },
    "3/4": {
        "slow": _bars("3 / 2 1 / 1 2 / 1.5 .5 1 / -1 1 1 / 1 1 1"),
        "mid": _bars("1 1 1 / 2 1 / 1 .5 .5 1 / 1.5 .5 1 / 1 1 .5 .5 / .5 .5 1 1 / 2 .5 .5"),
        "fast": _bars(
            ".5 .5 .5 .5 .5 .5 / 1 .5 .5 .5 .5 / 1.5 .5 .5 .5 / .5 .5 .5 .5 1 / 1 1 .5 .5 / .75 .25 1 1"
        ),
        "run": _bars(
            ".5 .25 .25 .5 .5 .5 .5 / .25 .25 .25 .25 .5 .5 .5 .5 / .5 .5 .5 .5 .5 .5 /"
            ".25 .25 .25 .25 .25 .25 .25 .25 .5 .5 / 1 .25 .25 .25 .25 .5 .5"
        ),
    },
    "6/8": {
        "slow": _bars("3 / 1.5 1.5 / 1 .5 1.5 / 1.5 1 .5"),
        "mid": _bars("1 .5 1 .5 / 1.5 1 .5 / 1 .5 1.5 / .5 .5 .5 1.5 / 1.5 .5 .5 .5"),
        "fast": _bars(
            ".5 .5 .5 .5 .5 .5 / 1 .5 .5 .5 .5 / .5 .5 .5 1 .5 / .5 .5 .5 1.5 / .75 .25 .5 .5 .5 .5"
        ),
        "run": _bars(".5 .5 .5 .5 .5 .5 / .25 .25 .25 .25 .5 .5 .5 .5 / .5 .25 .25 .5 .5 .5 .5"),
    },
}


def rhythms(meter: str, kind: str) -> list[list[float]]:
    """One-bar rhythms of a kind: ``slow``, ``mid``, ``fast``, ``run``; in 4/4, others named after styles."""
    return _RHYTHMS[meter][kind]
