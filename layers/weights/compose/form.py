"""The form of a piece: which sections follow each other, how it begins and ends."""

import math
from collections.abc import Callable, Mapping, Sequence

from weights.compose.arrangement import Arrangement
from weights.compose.melody import Melody, ornamented
from weights.compose.parts import bass_pitch
from weights.compose.piece import DRUM_CHANNEL
from weights.compose.section import INTRO, Section
from weights.compose.theory import Bar, chord, nearest, progression
from weights.compose.voicing import voice

# What an instrument plays in the last bar.
BASS, CHORD, LEAD, BOTH_HANDS = "bass", "chord", "lead", "both hands"


def write(
    a: Arrangement,
    play: Callable[[Section], None],
    *,
    form: str,
    phrase: int,
    progressions: Sequence[str] | Mapping[str, Sequence[str]],
    melody: Callable[[str, Sequence[Bar]], Melody] | None = None,
    intro: int = 2,
    ending: Sequence[tuple[int, str]] = (),
    ends: float = 0.5,
    variation: float = 0.22,
    dynamics: Mapping[str, float] | None = None,
    final_chord: str | None = None,
) -> None:
    """Write a piece section by section.

    Parameters
    ----------
    a : Arrangement
    play : callable
        Has the parts play a section.
    form : str
        Letters of the sections, over again until the time is full.
    phrase : int
        Bars of a section.
    progressions : sequence of str, or one for each letter
        What the letters' chords are drawn from; no two take the same if there are others.
    melody : callable, optional
        Writes the melody of a letter over its bars.
    intro : int
        Bars of an introduction, which not every piece has; 0 for none.
    ending : sequence of (int, str)
        Channels that play in the last bar, and what.
    ends : float
        How often the piece comes to its end rather than being cut, 0 to 1.
    variation : float
        How much a melody that returns is ornamented, 0 to 1.
    dynamics : mapping of str to float, optional
        Intensities of letters, or of `INTRO`; 1 otherwise, of the introduction 0.82.
    final_chord : str, optional
        The tonic's if not given.
    """
    sections, ended = _plan(a, form, phrase, intro, ends)
    dynamics = {INTRO: 0.82, **(dynamics or {})}
    themes: dict[str, tuple[list[Bar], Melody | None]] = {}
    taken: set[str] = set()
    for letter in dict.fromkeys(form):
        if isinstance(progressions, Mapping):
            chosen = a.rng.choice(progressions[letter])
        else:
            chosen = a.rng.choice([text for text in progressions if text not in taken] or progressions)
        taken.add(chosen)
        bars = (2 * progression(chosen, a.tonic))[:phrase]
        themes[letter] = bars, melody(letter, bars) if melody else None

    start = 0.0
    heard: dict[str, int] = {}
    for label, count in sections:
        bars, theme = themes[form[0] if label == INTRO else label]
        repeat = heard.get(label, 0)
        heard[label] = repeat + 1
        if label == INTRO:
            bars, theme = bars[:count], None
        else:
            # A section that is cut short loses its beginning, so that it ends with the cadence.
            lost = (len(bars) - count) * a.bar
            bars = bars[len(bars) - count :]
            if theme is not None:
                theme = ornamented(a, theme, variation) if repeat else theme
                theme = [note._replace(at=note.at - lost) for note in theme if note.at >= lost - 1e-6]
        a.intensity = dynamics.get(label, 1.0) * (1.0 + 0.03 * min(repeat, 2))
        play(Section(label, start, bars, a.bar, theme, repeat))
        start += count * a.bar
    a.intensity = 1.0
    if ended:
        _last_bar(a, start, ending, final_chord or ("I" if a.mode == "major" else "i"))


def _plan(
    a: Arrangement, form: str, phrase: int, intro: int, ends: float
) -> tuple[list[tuple[str, int]], bool]:
    """Labels and bars that fill the time, and whether a last bar follows; sets what the beginning loses."""
    rng = a.rng
    bars = a.seconds / a.bar_seconds
    ended = rng.random() < 0.7 * ends and bars > 5
    if ended:
        before_last = a.seconds - min(a.bar_seconds, rng.uniform(1.4, 2.6))
        total = math.ceil(before_last / a.bar_seconds) + 1
        a.skip = ((total - 1) * a.bar_seconds - before_last) / a.quarter_seconds
    else:
        total = math.ceil(bars) + 1
    left = total - ended
    sections = []
    if intro and rng.random() < 0.55 and total > phrase + intro:
        sections.append((INTRO, intro))
        left -= intro
    letter = 0 if rng.random() < 0.6 else rng.randrange(len(form))
    while left > 0:
        sections.append((form[letter % len(form)], min(phrase, left)))
        left -= phrase
        letter += 1
    return sections, ended


def _last_bar(a: Arrangement, at: float, ending: Sequence[tuple[int, str]], symbol: str) -> None:
    last = chord(symbol, a.tonic)
    for channel, role in ending:
        low, high = a.range(channel)
        if role == BASS:
            pitches, spread, velocity = [bass_pitch(last, max(low, 26), high, 36)], 0.0, 90
        elif role == CHORD:
            pitches, spread, velocity = voice(last, None, max(low, 48), min(high, 76)), 0.04, 78
        elif role == LEAD:
            pitches, spread, velocity = [nearest((a.tonic,), (max(low, 60) + min(high, 84)) // 2)], 0.0, 84
        else:
            root = bass_pitch(last, 36, 52, 40)
            pitches, spread, velocity = [root, root + 12, *voice(last, None, 58, 77)], 0.05, 76
        for number, pitch in enumerate(pitches):
            a.note(channel, at + spread * number, a.bar + 1.0, pitch, velocity)
    if DRUM_CHANNEL in a.programs:
        a.hit(at, "kick", 96)
        a.hit(at, "crash", 84)
