"""What instruments play over a section: accompaniments, basses, melodies.

A part keeps what it played last, so that its next chord lies near. Pitches are bounded by `low` and `high`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from weights.compose.arrangement import Arrangement
from weights.compose.melody import Melody
from weights.compose.rhythm import STEPS, strokes
from weights.compose.section import Section
from weights.compose.theory import Chord, Keyboard, around, into, nearest
from weights.compose.voicing import voice


def bass_pitch(chord: Chord, low: int, high: int, near: float, pitch_class: int | None = None) -> int:
    """The pitch of a chord's bass, or of another pitch class, nearest to a pitch; rather a low one."""
    wanted = chord.bass if pitch_class is None else pitch_class
    candidates = [pitch for pitch in range(low, high + 1) if pitch % 12 == wanted]
    if not candidates:
        return low + (wanted - low) % 12
    return min(candidates, key=lambda pitch: abs(pitch - near) + 0.4 * max(0, pitch - low - 12))


@dataclass
class _Voiced:
    """A part that plays chords, each voiced near to the one before."""

    a: Arrangement
    channel: int
    velocity: float
    low: int
    high: int
    voices: int = 4
    rootless: bool = field(default=False, kw_only=True)
    _chord: Chord | None = field(default=None, init=False)
    _voicing: list[int] = field(default_factory=list, init=False)

    def _voice(self, chord: Chord) -> list[int]:
        if chord is not self._chord:
            self._voicing = voice(chord, self._voicing, self.low, self.high, self.voices, self.rootless)
            self._chord = chord
        return self._voicing


@dataclass
class Pad(_Voiced):
    """Held chords; what does not change is tied."""

    def __call__(self, section: Section) -> None:
        held: list[tuple[float, float, list[int]]] = []
        for at, length, chord, _ in section.spans():
            voicing = self._voice(chord)
            if held and held[-1][2] == voicing:
                start, before, _ = held.pop()
                at, length = start, before + length
            held.append((at, length, voicing))
        for at, length, voicing in held:
            for pitch in voicing:
                self.a.note(self.channel, at, 0.985 * length, pitch, self.velocity)


@dataclass
class Comp(_Voiced):
    """Chords by a step pattern: X accent, x stroke, o soft, s and S short, - held, . rest.

    `hold` is the share of its time that a chord sounds, `strum` the seconds from string to string.
    """

    pattern: str = field(kw_only=True)
    hold: float = field(default=0.9, kw_only=True)
    strum: float = field(default=0.0, kw_only=True)

    def __call__(self, section: Section) -> None:
        a = self.a
        between = self.strum / a.quarter_seconds
        for bar, start in enumerate(section.starts):
            for step, stroke, steps in strokes(self.pattern, bar, a.steps):
                voicing = self._voice(section.chord_at_step(bar, step))
                velocity = self.velocity * {"X": 1.12, "x": 1.0, "o": 0.75, "s": 0.9, "S": 1.1}[stroke]
                length = steps / STEPS * (0.5 if stroke in "sS" else self.hold)
                at = start + step / STEPS
                if not self.strum:
                    for pitch in voicing:
                        a.note(self.channel, at, length, pitch, velocity)
                    continue
                down = step // 2 % 2 == 0
                for string, pitch in enumerate(voicing if down else voicing[::-1]):
                    late = string * between
                    softer = velocity * (1.0 - 0.03 * string)
                    a.note(self.channel, at + late, max(0.1, length - late), pitch, softer)


@dataclass
class PowerChords:
    """Root, fifth and octave by a step pattern, on the low strings of a guitar."""

    a: Arrangement
    channel: int
    velocity: float

    def __call__(self, section: Section, pattern: str) -> None:
        for bar, start in enumerate(section.starts):
            for step, stroke, steps in strokes(pattern, bar, self.a.steps):
                root = bass_pitch(section.chord_at_step(bar, step), 40, 51, 44)
                length = steps / STEPS * (0.55 if stroke in "sS" else 0.96)
                velocity = self.velocity * (1.1 if stroke in "XS" else 0.95)
                for pitch in (root, root + 7, root + 12):
                    self.a.note(self.channel, start + step / STEPS, length, pitch, velocity)


@dataclass
class Arpeggio(_Voiced):
    """Broken chords: `rate` quarter notes a note, in an order, each held for `hold` times the rate."""

    rate: float = field(default=0.5, kw_only=True)
    order: str = field(kw_only=True)
    hold: float = field(default=1.0, kw_only=True)
    _random: list[int] = field(default_factory=list, init=False)

    def __call__(self, section: Section) -> None:
        for start, length, chord, _ in section.spans():
            pitches = self._ordered(self._voice(chord))
            for number in range(round(length / self.rate)):
                passed = number * self.rate
                lasting = 0.97 * min(self.rate * self.hold, length - passed)
                velocity = self.velocity * self.a.accent(start + passed - section.start)
                self.a.note(self.channel, start + passed, lasting, pitches[number % len(pitches)], velocity)

    def _ordered(self, v: list[int]) -> list[int]:
        if self.order == "random":
            if not self._random:
                self._random = [self.a.rng.randrange(self.voices) for _ in range(8)]
            return [v[index % len(v)] for index in self._random]
        return {
            "up": v,
            "down": v[::-1],
            "up and down": v + v[-2:0:-1],
            "Alberti": [v[0], v[-1], v[len(v) // 2], v[-1]],
            "wide": [v[0], v[1], v[2], v[-1], v[0] + 12, v[-1], v[2], v[1]],
            "skipping": [v[0], v[2], v[1], v[-1]],
            "octaves": [pitch for low in v for pitch in (low, low + 12)],
        }[self.order]


@dataclass
class Bass:
    """A bass by a step pattern: R root, 3 third, 5 fifth, 7 seventh, 8 octave, a approach, g ghost."""

    a: Arrangement
    channel: int
    velocity: float
    low: int
    high: int
    pattern: str
    hold: float = 0.92
    _near: float = field(init=False)

    def __post_init__(self) -> None:
        self._near = self.low + 5

    def __call__(self, section: Section) -> None:
        a = self.a
        for bar, start in enumerate(section.starts):
            for step, stroke, steps in strokes(self.pattern, bar, a.steps):
                chord = section.chord_at_step(bar, step)
                root = bass_pitch(chord, self.low, self.high, self._near)
                self._near = (root + self.low + 6) / 2
                if stroke == "a":
                    pitch = self._approach(root, chord, section.chord_at_step(bar, step + steps))
                else:
                    pitch = self._tone(stroke, root, chord)
                at, length = step / STEPS, steps / STEPS * self.hold
                velocity = self.velocity * a.accent(at)
                if stroke == "g":
                    length, velocity = 0.12, 0.55 * velocity
                a.note(self.channel, start + at, length, pitch, velocity)

    def _tone(self, stroke: str, root: int, chord: Chord) -> int:
        if stroke == "3":
            return root + (chord.tones[1] - root) % 12
        if stroke == "5":
            pitch = root + (chord.fifth - root) % 12
            return pitch - 12 if pitch > self.high + 3 else pitch
        if stroke == "7":
            flat = chord.minor or self.a.scale[6] == (self.a.tonic + 10) % 12
            return root + (10 if flat else 9)
        return root + 12 if stroke == "8" else root

    def _approach(self, root: int, chord: Chord, following: Chord) -> int:
        """A step away from the next root; where that is the same, the fifth."""
        target = bass_pitch(following, self.low, self.high, root)
        if target == root:
            pitch = root + (chord.fifth - root) % 12
        else:
            pitch = target + self.a.rng.choice((-1, -2, 2))
        return pitch if pitch % 12 in self.a.scale else target - 1


@dataclass
class WalkingBass:
    """A note a quarter: the root, then tones of chord and scale, and a step that leads into the next root."""

    a: Arrangement
    channel: int
    velocity: float
    low: int
    high: int
    _near: int = field(init=False)

    def __post_init__(self) -> None:
        self._near = self.low + 9

    def __call__(self, section: Section) -> None:
        rng = self.a.rng
        for start, length, chord, following in section.spans():
            quarters = round(length)
            root = bass_pitch(chord, self.low, self.high, self._near)
            target = bass_pitch(following, self.low, self.high, root)
            line = [root]
            for quarter in range(1, quarters - 1):
                line.append(self._towards(target, line[-1], chord, strong=quarter == 2))
            if quarters > 1:
                above = 2 if (target + 2) % 12 in self.a.scale else 1
                line.append(target + rng.choice((-1, 1, -1, above)))
            for quarter, pitch in enumerate(line):
                velocity = self.velocity * (1.04 if quarter % 2 else 1.0)
                self.a.note(self.channel, start + quarter, 0.92, pitch, velocity)
                if rng.random() < 0.08:
                    self.a.note(self.channel, start + quarter + 0.5, 0.3, pitch, 0.7 * self.velocity)
            self._near = target

    def _towards(self, target: int, pitch: int, chord: Chord, strong: bool) -> int:
        rng = self.a.rng
        direction = 1 if target > pitch or (target == pitch and rng.random() < 0.6) else -1
        if rng.random() < 0.45:
            following = nearest(chord.tones, pitch + 4 * direction)
        else:
            following = Keyboard(around(chord, self.a.scale)).step(pitch, direction)
        if strong:
            following = nearest(chord.tones, following)
        if following == pitch:
            following = nearest(chord.tones, pitch + 3 * direction)
        return into(following, self.low, self.high)


@dataclass
class BassAndChords:
    """Bass on the strong beats, chords on the weak ones: waltz, march and bluegrass."""

    a: Arrangement
    bass: int
    chords: int
    velocity: float
    bass_range: tuple[int, int]
    chord_range: tuple[int, int]
    voices: int = 3
    hold: float = 0.5
    _near: float = field(init=False)
    _voicing: list[int] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._near = self.bass_range[0] + 5

    def __call__(self, section: Section) -> None:
        for bar, start in enumerate(section.starts):
            chord = section.chord_at_step(bar, 0)
            if self.a.meter == "6/8":
                root, fifth = self._root_and_fifth(chord)
                bass = [(0.0, 0.8, root, 1.05), (1.5, 0.8, fifth, 1.0)]
                weak = (1.0, 2.5)
            elif self.a.meter == "3/4":
                root, fifth = self._root_and_fifth(chord)
                alternate = bar % 2 and len(section.bars[bar]) == 1
                bass = [(0.0, 0.9, fifth if alternate else root, 1.06)]
                weak = (1.0, 2.0)
            else:
                bass = []
                self._root_and_fifth(chord)
                for at in (0.0, 2.0):
                    here = section.chord(bar * 4.0 + at)
                    root, fifth = self._root_and_fifth(here, keep=True)
                    bass.append((at, 0.8, fifth if at and here is chord else root, 1.05))
                weak = (1.0, 3.0)
            for at, length, pitch, factor in bass:
                self.a.note(self.bass, start + at, length, pitch, self.velocity * factor)
            for at in weak:
                here = section.chord(bar * self.a.bar + at)
                self._voicing = voice(here, self._voicing, *self.chord_range, self.voices)
                for pitch in self._voicing:
                    self.a.note(self.chords, start + at, self.hold, pitch, 0.82 * self.velocity)

    def _root_and_fifth(self, chord: Chord, keep: bool = False) -> tuple[int, int]:
        low, high = self.bass_range
        root = bass_pitch(chord, low, high, self._near)
        if not keep:
            self._near = (root + low + 6) / 2
        fifth = root + (chord.fifth - root) % 12
        return root, fifth if fifth <= high else fifth - 12


@dataclass
class Picking:
    """Travis picking: the thumb alternates bass notes (B, b), the fingers play the chord above (1, 2, 3)."""

    a: Arrangement
    channel: int
    velocity: float
    _pattern: str = field(default="", init=False)
    _chord: Chord | None = field(default=None, init=False)
    _voicing: list[int] = field(default_factory=list, init=False)
    _root: int = field(default=0, init=False)

    PATTERNS = (
        ("B.2.b.1.B.2.b.1.", "B.23b.12B.23b.12", "B.1.2.3.b.3.2.1.", "B3.2b1.3B3.2b1.2", "B.123.21b.123.21"),
        ("B.1.2.3.2.1.", "B.12b.32B.21", "B.2.1.b.2.1."),
    )

    def __call__(self, section: Section) -> None:
        if not self._pattern:
            self._pattern = self.a.rng.choice(self.PATTERNS[self.a.bar == 3.0])
        for bar, start in enumerate(section.starts):
            for step, stroke, _ in strokes(self._pattern, bar, self.a.steps):
                chord = section.chord_at_step(bar, step)
                if chord is not self._chord:
                    self._chord = chord
                    self._voicing = voice(chord, self._voicing, 54, 71, 3)
                    self._root = bass_pitch(chord, 40, 52, 45)
                if stroke == "B":
                    pitch, factor, length = self._root, 1.05, 1.0
                elif stroke == "b":
                    pitch, factor, length = self._root + (chord.fifth - self._root) % 12, 0.95, 1.0
                    pitch -= 12 if pitch > 55 else 0
                else:
                    pitch, factor, length = self._voicing[int(stroke) - 1], 0.88, 0.9
                self.a.note(self.channel, start + step / STEPS, length, pitch, self.velocity * factor)


@dataclass
class BanjoRoll:
    """Rolls of three fingers over close chord tones, with a high drone."""

    a: Arrangement
    channel: int
    rate: float
    _chord: Chord | None = field(default=None, init=False)
    _voicing: list[int] = field(default_factory=list, init=False)
    _drone: int = field(default=0, init=False)

    ROLLS = ("13212312", "21321231", "13123123", "31213121", "12312313")

    def __call__(self, section: Section, velocity: float) -> None:
        for bar, start in enumerate(section.starts):
            roll = self.a.rng.choice(self.ROLLS)
            for number in range(int(self.a.bar / self.rate)):
                at = number * self.rate
                chord = section.chord(bar * self.a.bar + at)
                if chord is not self._chord:
                    self._chord = chord
                    self._voicing = voice(chord, self._voicing, 55, 74, 3)
                    self._drone = nearest((chord.root, chord.fifth), 74)
                low, middle, high = self._voicing
                finger = roll[number % 8]
                pitch = {"3": low, "2": middle, "1": self._drone if number % 4 == 3 else high}[finger]
                self.a.note(self.channel, start + at, 0.45, pitch, velocity * self.a.accent(at))


@dataclass
class Ostinato(_Voiced):
    """A figure that is repeated over the chords: digits number their tones from the bottom, a step each."""

    pattern: str = field(kw_only=True)

    def __call__(self, section: Section, octave_below: bool = False) -> None:
        a = self.a
        for bar, start in enumerate(section.starts):
            for step, digit, _ in strokes(self.pattern, bar, a.steps):
                voicing = self._voice(section.chord_at_step(bar, step))
                pitch = voicing[int(digit)]
                followed = step + 1 == a.steps or self.pattern[(step + 1) % len(self.pattern)] != "."
                length = 0.7 * (1 if followed else 2) / STEPS
                at = step / STEPS
                a.note(self.channel, start + at, length, pitch, self.velocity * a.accent(at))
                if octave_below:
                    a.note(self.channel, start + at, length, pitch - 12, 0.9 * self.velocity)


@dataclass
class Countermelody:
    """A slow inner line of chord tones."""

    a: Arrangement
    channel: int
    velocity: float
    low: int
    high: int
    _pitch: int = field(init=False)

    def __post_init__(self) -> None:
        self._pitch = (self.low + self.high) // 2

    def __call__(self, section: Section) -> None:
        rng = self.a.rng
        for at, length, chord, _ in section.spans():
            split = length > 2.0 and rng.random() >= 0.4
            self._play(at, length / 2 if split else length, chord.tones[1:3], rng.choice((-1, 1, 2, -2)))
            if split:
                self._play(at + length / 2, length / 2, chord.tones, rng.choice((-3, 3, 4, -4)))

    def _play(self, at: float, length: float, tones: Sequence[int], move: int) -> None:
        self._pitch = into(nearest(tones, self._pitch + move), self.low, self.high)
        self.a.note(self.channel, at, 0.98 * length, self._pitch, self.velocity)


def lead(
    a: Arrangement,
    start: float,
    melody: Melody,
    channel: int,
    velocity: float,
    hold: float,
    *,
    transpose: int = 0,
    harmony: int = 0,
) -> None:
    """Play a melody, loudest in its middle.

    Parameters
    ----------
    a : Arrangement
    start : float
        Quarter notes from the beginning of the piece.
    melody : Melody
    channel : int
    velocity : float
    hold : float
        Share of its time that a note sounds.
    transpose : int
        Semitones.
    harmony : int
        Steps of the scale to a second voice; 0 for none.
    """
    keyboard = Keyboard(a.scale)
    end = melody[-1].at + 1.0 if melody else 1.0
    for at, length, pitch, accent in melody:
        arch = 1.0 + 0.1 * math.sin(math.pi * min(1.0, at / end))
        a.note(channel, start + at, hold * length, pitch + transpose, velocity * accent * arch)
        if harmony and length >= 0.5:
            second = keyboard.step(pitch, harmony) + transpose
            a.note(channel, start + at, hold * length, second, 0.72 * velocity * arch)


def swell(
    a: Arrangement, at: float, length: float, channels: Sequence[int], first: float, last: float
) -> None:
    """Move the volume of channels from a factor to another, in steps of an eighth."""
    steps = max(2, int(2.0 * length))
    for step in range(steps + 1):
        done = step / steps
        for channel in channels:
            a.controls.append((at + 0.999 * length * done, channel, first + (last - first) * done))


def pump(a: Arrangement, section: Section, channels: Sequence[int], depth: float) -> None:
    """Duck channels on every quarter note, as a compressor does that listens to the kick."""
    for quarter in range(int(section.length)):
        for place, factor in ((0.0, 0.0), (0.125, 0.12), (0.25, 0.3), (0.375, 0.5), (0.5, 1.0)):
            for channel in channels:
                a.controls.append((section.start + quarter + place, channel, min(1.0, depth + factor)))
