"""Solo piano, string orchestra, baroque, marching band, film score."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from weights.compose import drums
from weights.compose.arrangement import Arrangement, Score
from weights.compose.chance import lines, pick, tempo
from weights.compose.form import BASS, BOTH_HANDS, CHORD, LEAD, write
from weights.compose.melody import Melody, melody
from weights.compose.parts import (
    Arpeggio,
    Bass,
    BassAndChords,
    Comp,
    Countermelody,
    Ostinato,
    Pad,
    bass_pitch,
    lead,
    swell,
)
from weights.compose.rhythm import STEPS, strokes
from weights.compose.section import Section
from weights.compose.theory import Bar, Keyboard, around, into, nearest
from weights.compose.voicing import four_voices, voice


def solo_piano(rng: random.Random, seconds: float) -> Score:
    """One player, in a texture of the eighteenth or nineteenth century."""
    mode = "major" if rng.random() < 0.55 else "minor"
    meter = pick(rng, "4/4 4/4 3/4 6/8")
    textures = {
        "4/4": "Alberti arpeggio nocturne chords romantic march",
        "3/4": "arpeggio waltz nocturne chords",
        "6/8": "arpeggio nocturne Alberti",
    }
    texture = pick(rng, textures[meter])
    slow = texture in ("nocturne", "chords", "romantic")
    beats = tempo(rng, 60, 84) if slow else tempo(rng, 88, 144)
    if meter == "6/8":
        beats = tempo(rng, 60, 84)
    a = Arrangement(rng, "classical", seconds, beats, meter, mode, jitter=0.010 if slow else 0.005)
    progressions = {
        "major": """
            I | V7/1 | I/1 | IV | I | ii/1 | I V7 | I
            I | IV | V7 | I | vi | ii/1 | V7 | I
            I | ii/1 | V7 | I | IV | I/1 | ii V7 | I
            I | V/1 | vi | iii | IV | I | ii7 V7 | I
            I | I7 | IV | iv | I/2 | V7 | I | I
            I | vi | ii | V7 | I/1 | IV | I V7 | I
            I V/1 | vi iii | IV I | V | I V/1 | vi iii | IV V7 | I
        """,
        "minor": """
            i | V7/1 | i | iv | i/1 | iio | i V7 | i
            i | bVI | iv | V7 | i | bIII | iv V7 | i
            i | V7 | i | V | iv | i/1 | iio V7 | i
            i | v/1 | bVI | bIII | iv | i | iv V7 | i
            i | iv | bVII | bIII | bVI | iio | V7 | i
            i V/1 | i iv | i V | i | bIII bVII | bVI iv | V7 | i
        """,
    }[mode]
    piano = a.instrument(pick(rng, "piano piano mellowpiano brightpiano"), 0)
    left_hand = _left_hand(a, piano, texture)
    kinds = {
        "Alberti": pick(rng, "fast run mid"),
        "arpeggio": pick(rng, "slow mid"),
        "nocturne": pick(rng, "slow mid"),
        "march": "fast",
        "waltz": "fast",
    }
    kind = kinds.get(texture, "mid")
    octave_up = 12 if rng.random() < 0.25 else 0

    def play(s: Section) -> None:
        for part in left_hand:
            part(s)
        if s.melody is None:
            return
        loud, again = s.label == "B", s.repeat % 2 == 1
        lead(a, s.start, s.melody, piano, 86 if loud else 80, 1.0, transpose=octave_up * again)
        if loud and texture in ("romantic", "chords", "march"):
            lead(a, s.start, s.melody, piano, 66, 1.0, transpose=-octave_up)
        elif again or texture == "romantic":
            for at, length, pitch, _ in s.melody:
                if length >= 1.0:
                    a.note(piano, s.start + at, length, nearest(s.chord(at).tones, pitch - 5), 60)

    def theme(letter: str, bars: Sequence[Bar]) -> Melody:
        rhythm = rng.choice([kind, "mid"]) if letter == "B" else kind
        return melody(a, bars, rhythm, 66, 88, 0.28, chromatic=0.05)

    write(
        a,
        play,
        form=pick(rng, "AABA ABAC AABB"),
        phrase=8 if a.bar_seconds < 2.6 else 4,
        progressions=lines(progressions),
        melody=theme,
        intro=0 if texture == "Alberti" else 1,
        ending=[(piano, BOTH_HANDS)],
        variation=0.3,
        dynamics={"B": 1.12, "A": 0.96},
    )
    calm = texture in ("nocturne", "arpeggio", "chords", "romantic") and a.tempo < 90
    return Score(
        a,
        tags="classical, solo piano, piano",
        moods="calm, romantic, melancholic, peaceful, sad"
        if calm
        else "cheerful, playful, dramatic, romantic, happy, tense",
        energy="quiet and relaxing" if calm else "moderately energetic",
    )


@dataclass
class _RollingArpeggio:
    """The left hand rolls up from a bass note and back."""

    a: Arrangement
    channel: int
    _root: int = 42
    _voicing: list[int] = field(default_factory=list)

    def __call__(self, section: Section) -> None:
        compound = self.a.meter == "6/8"
        rate = 0.25 if not compound and self.a.tempo < 100 else 0.5
        for start, length, chord, _ in section.spans():
            self._root = root = bass_pitch(chord, 36, 52, self._root)
            self._voicing = v = voice(chord, self._voicing, root + 7, root + 24, 3)
            figure = [root, v[0], v[1], v[2], v[1], v[0]] if compound else [root, *v, v[1]]
            for number in range(round(length / rate)):
                passed = number * rate
                pitch = figure[number % len(figure)]
                rest = length - passed
                velocity = 56 * self.a.accent(start + passed - section.start)
                lasting = rest if pitch == root else min(rest, 1.5)
                self.a.note(self.channel, start + passed, lasting, pitch, velocity)


@dataclass
class _Nocturne:
    """The left hand spans two octaves in eighths, as in Field's and Chopin's nocturnes."""

    a: Arrangement
    channel: int
    _root: int = 40

    def __call__(self, section: Section) -> None:
        for start, length, chord, _ in section.spans():
            self._root = root = bass_pitch(chord, 34, 46, self._root)
            third, fifth = (root + (tone - root) % 12 for tone in (chord.tones[1], chord.fifth))
            figure = [root, fifth, root + 12, third + 12, fifth + 12, third + 12]
            for number in range(round(2 * length)):
                at = number / 2
                velocity = 54 * (0.92 if number else 1.1)
                self.a.note(self.channel, start + at, max(0.4, length - at), figure[number % 6], velocity)


def _left_hand(a: Arrangement, piano: int, texture: str) -> list[Callable[[Section], None]]:
    if texture == "Alberti":
        return [Arpeggio(a, piano, 60, 46, 64, 3, order="Alberti")]
    if texture == "arpeggio":
        return [_RollingArpeggio(a, piano)]
    if texture == "nocturne":
        return [_Nocturne(a, piano)]
    if texture == "waltz":
        return [BassAndChords(a, piano, piano, 66, (36, 50), (54, 70), hold=0.6)]
    if texture == "march":
        return [BassAndChords(a, piano, piano, 70, (36, 50), (54, 70), hold=0.4)]
    if texture == "chords":
        return [
            Comp(a, piano, 58, 50, 67, 3, pattern="x---" * (a.steps // 4), hold=1.0),
            Bass(a, piano, 62, 34, 48, "R" + "-" * (a.steps - 1), hold=1.0),
        ]
    return [
        Bass(a, piano, 66, 31, 45, "R-------5-------", hold=1.0),
        Comp(a, piano, 54, 50, 66, 3, pattern=".-o-o-o-.-o-o-o-", hold=1.0),
    ]


def string_orchestra(rng: random.Random, seconds: float) -> Score:
    """Four voices, for orchestra or quartet, perhaps with a solo."""
    mode = pick(rng, "major minor")
    beats = tempo(rng, 60, 92)
    a = Arrangement(rng, "classical", seconds, beats, pick(rng, "4/4 4/4 3/4"), mode, jitter=0.012)
    progressions = {
        "major": """
            I V/1 | vi iii | IV I/1 | ii7 V | I V/1 | vi ii7/1 | I/2 V7 | I
            I IV | I/1 V/1 | I vi | ii/1 V | vi iii | IV I | ii7/1 V7 | I
            I I/1 | IV ii | V V7 | vi | IV I/1 | ii7 V | I/2 V7 | I
            I iii | vi IV | ii V/1 | I V | I7/3 IV | iv I | ii7 V7 | I
        """,
        "minor": """
            i V/1 | i iv | i/1 iio/1 | V | bVI bIII | iv i | iio/1 V7 | i
            i iv | bVII bIII | bVI iv | V | i V/1 | bVI iv | i/2 V7 | i
            i v/1 | bVI bIII/1 | iv i/1 | iio V | i bVI | iv bVII/1 | V7 V7 | i
            i i/1 | iv bVII | bIII bVI | iio/1 V | i V7/1 | i iv | V7 | i
        """,
    }[mode]
    double_bass = None
    if rng.random() < 0.35:
        voices = [
            a.instrument("cello", 0),
            a.instrument("viola", -1),
            a.instrument("violin", -2),
            a.instrument("slowviolin", 1),
        ]
    else:
        upper = a.instrument(pick(rng, "strings slowstrings orchpad"), 0)
        lower = a.instrument(pick(rng, "strings slowstrings"), 0)
        double_bass = a.instrument("contrabass", -4) if rng.random() < 0.5 else None
        voices = [lower, lower, upper, upper]
    solo = None
    if rng.random() < 0.55:
        solo = a.instrument(pick(rng, "violin cello oboe oboe flute clarinet englhorn"), 1)
    plucked = None
    if rng.random() < 0.25:
        plucked = Arpeggio(a, a.instrument("pizz", -3), 66, 50, 74, order="up and down", hold=0.5)

    def play(s: Section) -> None:
        spans = list(s.spans())
        settings = four_voices([chord for _, _, chord, _ in spans], rng)
        for number, channel in enumerate(voices):
            line = [
                (at, length, setting[number])
                for (at, length, _, _), setting in zip(spans, settings, strict=True)
            ]
            _voice_line(a, channel, line, number, double_bass)
        if solo is not None and s.melody:
            lead(a, s.start, s.melody, solo, 84, 0.98)
        if plucked:
            plucked(s)
        swell(a, s.start, 0.6 * s.length, sorted(set(voices)), 0.62, 1.0)
        swell(a, s.start + 0.6 * s.length, 0.4 * s.length, sorted(set(voices)), 1.0, 0.62)

    low, high = (48, 67) if solo is not None and a.names[solo] == "cello" else (64, 84)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, pick(rng, "slow mid"), low, high, 0.25)

    write(
        a,
        play,
        form="ABAC",
        phrase=8 if a.bar_seconds < 2.9 else 4,
        progressions=lines(progressions),
        melody=theme,
        intro=0,
        ending=[(voices[0], BASS), (voices[3], CHORD)],
    )
    return Score(
        a,
        tags="classical, orchestral, strings, slow",
        moods="calm, peaceful, romantic, sad, melancholic, dramatic",
        energy="quiet and relaxing" if a.tempo < 78 else "moderately energetic",
    )


def _voice_line(
    a: Arrangement, channel: int, line: list[tuple[float, float, int]], voice: int, double_bass: int | None
) -> None:
    """One of four voices, 0 for the bass: ties, passing notes in thirds, neighbours of the soprano."""
    rng = a.rng
    keyboard = Keyboard(a.scale)
    soprano = voice == 3
    tied: list[tuple[float, float, int]] = []
    for at, length, pitch in line:
        if tied and tied[-1][2] == pitch and not soprano and rng.random() < 0.6:
            start, before, _ = tied.pop()
            at, length = start, before + length
        tied.append((at, length, pitch))
    for (at, length, pitch), following in zip(
        tied, [*(pitch for _, _, pitch in tied[1:]), tied[-1][2]], strict=True
    ):
        if length >= 1.0 and abs(following - pitch) in (3, 4) and rng.random() < 0.45:
            a.note(channel, at, length / 2, pitch, 72)
            a.note(channel, at + length / 2, 0.99 * length / 2, keyboard.step((pitch + following) / 2), 68)
        elif soprano and length >= 2.0 and rng.random() < 0.35:
            a.note(channel, at, 0.5 * length, pitch, 74)
            a.note(channel, at + 0.5 * length, 0.25 * length, keyboard.step(pitch, rng.choice((1, -1))), 70)
            a.note(channel, at + 0.75 * length, 0.25 * length, pitch, 70)
        else:
            a.note(channel, at, 0.99 * length, pitch, 74 if voice in (0, 3) else 68)
        if voice == 0 and double_bass is not None:
            a.note(double_bass, at, 0.98 * length, pitch - 12 if pitch >= 40 else pitch, 66)


def baroque(rng: random.Random, seconds: float) -> Score:
    """Two voices in counterpoint, for harpsichord, organ or an ensemble."""
    mode = pick(rng, "major minor")
    meter = pick(rng, "4/4 4/4 3/4")
    a = Arrangement(rng, "baroque", seconds, tempo(rng, 76, 116), meter, mode, jitter=0.004)
    progressions = {
        "major": """
            I V/1 | I IV | V7 I | ii V | I vi | ii V | IV V7 | I
            I | IV | viio | iii | vi | ii | V7 | I
            I | V/1 | vi | iii | IV | I/1 | ii V7 | I
            I V | vi iii | IV I | IV V | I V/1 | vi ii | I/2 V7 | I
        """,
        "minor": """
            i | iv | bVII | bIII | bVI | iio | V7 | i
            i V/1 | i iv | V7 i | iio V | i bVI | iv V | i V7 | i
            i | v/1 | bVI | V | i | iv | V7 | i
            i V | i bVII | bIII bVII | i V | i V | bIII bVII | i V | i
        """,
    }[mode]
    which = pick(rng, "harpsi harpsi harpsi2 organ organ ensemble ensemble")
    if which == "ensemble":
        keys = a.instrument("harpsi", -3)
        upper = a.instrument(pick(rng, "violin oboe recorder flute"), 0)
        lower = a.instrument(pick(rng, "cello bassoon"), 0)
    else:
        name = pick(rng, "church church2") if which == "organ" else which
        keys = upper = lower = a.instrument(name, 0)
    bass = _LowerVoice(a, lower, pick(rng, "eighths quarters imitation"))
    kind = pick(rng, "run run fast")
    continuo = Comp(a, keys, 58, 55, 71, 3, pattern="x---" * (a.steps // 4), strum=0.015)
    manual = Pad(a, keys, 58, 55, 67, 2)

    def play(s: Section) -> None:
        assert s.melody is not None  # there is no introduction
        lead(a, s.start, s.melody, upper, 80, 0.92)
        bass(s)
        if which == "organ":
            manual(s)
        elif which == "ensemble" or s.label == "B":
            continuo(s)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, kind, 65, 86, 0.2, chromatic=0.03)

    write(
        a,
        play,
        form=pick(rng, "AABB ABAC ABCA"),
        phrase=8 if a.bar_seconds < 2.5 else 4,
        progressions=lines(progressions),
        melody=theme,
        intro=0,
        ending=[(lower, BASS), (keys, CHORD), (upper, LEAD)],
        variation=0.3,
    )
    return Score(
        a,
        tags="baroque, classical, counterpoint",
        moods="playful, cheerful, dramatic, tense, melancholic, uplifting",
        energy="moderately energetic",
    )


@dataclass
class _LowerVoice:
    """The bass of two-part counterpoint: it runs in eighths or quarters, or imitates the upper voice."""

    a: Arrangement
    channel: int
    manner: str
    _pitch: int = 48

    LOW, HIGH = 38, 57

    def __call__(self, section: Section) -> None:
        if self.manner == "imitation" and len(section.bars) >= 4:
            self._imitate(section)
        else:
            self._run(section, 0.5 if self.manner == "eighths" else 1.0)

    def _imitate(self, section: Section) -> None:
        a = self.a
        for bar, start in enumerate(section.starts):
            before = (bar - 1) * a.bar
            subject = [
                note for note in section.melody or () if bar % 2 and before <= note.at < before + a.bar
            ]
            for at, length, pitch, _ in subject:
                chord = section.chord(at + a.bar)
                pitch -= 24 if pitch - 24 >= self.LOW else 12
                on_beat = abs(at - round(at)) < 1e-6
                tones = chord.tones if on_beat else around(chord, a.scale)
                self._pitch = nearest(tones, pitch) if on_beat else Keyboard(tones).step(pitch)
                a.note(self.channel, section.start + at + a.bar, 0.92 * length, self._pitch, 72)
            if not subject:
                for quarter in range(int(a.bar)):
                    chord = section.chord(bar * a.bar + quarter)
                    tone = chord.bass if quarter in (0, 2) else chord.tones[(1 + quarter) % len(chord.tones)]
                    self._pitch = bass_pitch(chord, self.LOW, self.HIGH, self._pitch, tone)
                    a.note(self.channel, start + quarter, 0.9, self._pitch, 72)

    def _run(self, section: Section, rate: float) -> None:
        rng = self.a.rng
        for start, length, chord, following in section.spans():
            keyboard = Keyboard(around(chord, self.a.scale))
            root = bass_pitch(chord, self.LOW, self.HIGH, self._pitch)
            target = bass_pitch(following, self.LOW, self.HIGH, root)
            count = round(length / rate)
            pitch = root
            for number in range(count):
                if number == count - 1 and number and target != pitch:
                    pitch = keyboard.step(target, 1 if pitch > target else -1)
                elif number and number % 2 == 0:
                    pitch = nearest(chord.tones, pitch + rng.choice((-4, 4, 3)))
                elif number:
                    pitch = keyboard.step(pitch, rng.choice((1, -1)))
                pitch = into(pitch, 36, 60)
                at = start + number * rate
                self.a.note(self.channel, at, 0.9 * rate, pitch, 74 * self.a.accent(at - section.start))
            self._pitch = root


def marching_band(rng: random.Random, seconds: float) -> Score:
    """Brass and winds in two, snare drum rolls, a fanfare to begin with."""
    mode = "major" if rng.random() < 0.85 else "minor"
    meter = "6/8" if rng.random() < 0.2 else "4/4"
    a = Arrangement(rng, "marching band", seconds, tempo(rng, 104, 126), meter, mode, jitter=0.007)
    progressions = {
        "major": """
            I | I | V7 | V7 | V7 | V7 | I | I
            I | IV | I V7 | I | vi | ii | V7 | I
            I V/1 | I | IV I | V | I V/1 | I7 | IV V7 | I
            I | I | IV | I | II7 | V | I V7 | I
        """,
        "minor": """
            i | i | V7 | V7 | iv | i | V7 | i
            i | bVI | bVII | i | iv | i | V7 | i
        """,
    }[mode]
    trumpets = a.instrument(pick(rng, "trumpet brass brass2"), 0)
    trombones = a.instrument("trombone", -3)
    tubas = a.instrument("tuba", 0)
    horns = a.instrument(pick(rng, "horn brass2 clarinet"), -3)
    winds = a.instrument(pick(rng, "piccolo flute clarinet glock"), -2)
    a.drums(rng.choice([0, 48, 0]), 1)
    if meter == "4/4":
        groove = drums.pick(
            rng,
            """
            kick X.......X....... snare x...x.xxx...xxxx crash X...............
            kick X...x...X...x... snare X..xX..xX.xxX.xx
            kick X.......X....... snare o...X.ooo...Xooo
            """,
        )
        pattern = pick(rng, "X-..X-xxX---.... X---X-x-X---....")
    else:
        groove = {"kick": "X.....X.....", "snare": "o.x.x.o.x.xx"}
        pattern = "X---x-X-----"
    accompaniment = BassAndChords(a, tubas, horns, 88, (29, 48), (53, 70), hold=0.4)
    countermelody = Countermelody(a, trombones, 80, 46, 64)
    fanfare = [
        Comp(a, trombones, 92, 50, 67, 3, pattern=pattern),
        Comp(a, trumpets, 92, 60, 77, 3, pattern=pattern),
    ]

    def play(s: Section) -> None:
        accompaniment(s)
        drums.play(a, s, groove, 92, fills=0.7, fill="snare", crash=True)
        if s.melody is None:
            for brass in fanfare:
                brass(s)
            return
        trio = s.label == "B"
        if not trio or s.repeat % 2:
            lead(a, s.start, s.melody, trumpets, 96, 0.85)
        if trio or s.repeat % 2:
            lead(a, s.start, s.melody, winds, 84, 0.85, transpose=12)
        if trio:
            lead(a, s.start, s.melody, trombones, 76, 0.85, transpose=-12)
        else:
            countermelody(s)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, "march" if meter == "4/4" else "fast", 60, 79, 0.3)

    write(
        a,
        play,
        form=pick(rng, "AABB AABA ABAC"),
        phrase=8,
        progressions=lines(progressions),
        melody=theme,
        ending=[(tubas, BASS), (trombones, CHORD), (trumpets, LEAD), (horns, CHORD)],
        variation=0.15,
    )
    return Score(
        a,
        tags="marching band, brass, march, parade",
        moods="uplifting, happy, cheerful, epic, dramatic",
        energy="loud and energetic",
    )


def film_score(rng: random.Random, seconds: float) -> Score:
    """A string ostinato that grows, section by section, to brass, timpani and choir."""
    mode = "minor" if rng.random() < 0.75 else "major"
    meter = pick(rng, "4/4 4/4 4/4 3/4 6/8")
    beats = tempo(rng, 70, 100) if meter == "6/8" else tempo(rng, 84, 148)
    a = Arrangement(rng, "film score", seconds, beats, meter, mode, jitter=0.005)
    progressions = {
        "minor": """
            i | i | bVI | bVI | iv | iv | V | V
            i | bVI | bIII | bVII | i | bVI | iv | V
            i | bIII | bVII | iv | bVI | bIII | iv | V
            i | v | bVI | iv | i | v | bVI | bVII
        """,
        "major": """
            I | V/1 | vi | IV | I | V | IV | IV
            I | bVI | IV | I | I | bVI | bVII | I
            I | iii | IV | iv | I | iii | IV | V
        """,
    }[mode]
    strings = a.instrument(pick(rng, "strings pizz strings strings"), 0)
    cellos = a.instrument(pick(rng, "cello contrabass strings"), -2)
    horns = a.instrument("horn", 0)
    violins = a.instrument(pick(rng, "strings violin orchpad"), 0)
    timpani = a.instrument("timpani", 1)
    choir = a.instrument(pick(rng, "choir oohs spacevoice"), -3) if rng.random() < 0.55 else None
    brass = a.instrument(pick(rng, "brass trombone"), -4)
    taiko = a.instrument("taiko", 2) if rng.random() < 0.5 else None
    cymbals = rng.random() < 0.6
    if cymbals:
        a.drums(48, -3, "cymbals")
    if a.steps == 16:
        patterns = """
            0.1.2.1.0.1.2.1. 0012001200120012 0.00.00.0.00.00. 0.2.1.2.3.2.1.2. 0.000.000.000.00
            0123012301230123 0.1.0.2.0.1.0.3.
        """
        figure = pick(rng, patterns)
        rolls = pick(rng, "R............... R.......R.5.R... R.....R.R....... R...........R.RR")
        taiko_pattern = pick(rng, "X.......x.x.x... X.....x.....x.x. X..x..x.X..x..x.")
    else:
        figure = pick(rng, "0.1.2.0.1.2. 001200120012 0.2.1.3.2.1. 001122332211")
        rolls = pick(rng, "R........... R.....R..... R.......5.R.")
        taiko_pattern = pick(rng, "X.....x..... X...x.x...x.")
    ostinato = Ostinato(a, strings, 82, 50, 69, pattern=figure)
    low = Bass(a, cellos, 80, 30, 46, "R" + "-" * (a.steps - 1), hold=0.97)
    horn_pad = Pad(a, horns, 80, 48, 67, 3)
    brass_pad = Pad(a, brass, 78, 44, 62, 3)
    choir_pad = Pad(a, choir, 82, 57, 77) if choir is not None else None
    strokes_of_timpani = Bass(a, timpani, 96, 38, 50, rolls, hold=0.9)

    def play(s: Section) -> None:
        ostinato(s, octave_below=s.label == "C")
        low(s)
        if s.label in ("B", "C"):
            horn_pad(s)
            strokes_of_timpani(s)
            if taiko is not None:
                for bar, start in enumerate(s.starts):
                    for step, stroke, _ in strokes(taiko_pattern, bar, a.steps):
                        a.note(taiko, start + step / STEPS, 0.8, 40, 104 * drums.VELOCITIES[stroke])
            if cymbals:
                a.hit(s.start, "crash", 84)
                a.hit(s.start, "bass drum", 90)
        if s.label == "C":
            brass_pad(s)
            if choir_pad:
                choir_pad(s)
        if s.label in ("A", "B"):
            # A roll into the next section.
            pitch = bass_pitch(s.bars[-1][-1][0], 38, 50, 44)
            count = 2 * int(a.bar)
            for number in range(count):
                at = s.start + s.length + (number - count) / 4
                a.note(timpani, at, 0.25, pitch, 50 + 7 * number)
        if s.melody and s.label == "A":
            lead(a, s.start, s.melody, horns if s.repeat % 2 else violins, 82, 0.98)
        elif s.melody and s.label == "B":
            lead(a, s.start, s.melody, violins, 90, 0.98)
        elif s.melody:
            lead(a, s.start, s.melody, violins, 98, 0.98, transpose=12)
            lead(a, s.start, s.melody, horns, 90, 0.98, transpose=-12)
        swell(a, s.start, s.length, [strings, violins], 0.85 if s.label == "C" else 0.7, 1.0)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, pick(rng, "slow slow mid"), 62, 79, 0.35)

    write(
        a,
        play,
        form=pick(rng, "ABCB ACBC BCAC"),
        phrase=8 if a.bar_seconds < 2.0 else 4,
        progressions=lines(progressions),
        melody=theme,
        ending=[(cellos, BASS), (horns, CHORD), (violins, CHORD), (timpani, BASS), (brass, CHORD)],
        ends=0.4,
        variation=0.12,
        dynamics={"intro": 0.7, "A": 0.85, "B": 1.0, "C": 1.15},
    )
    return Score(
        a,
        tags="film score, cinematic, orchestral, soundtrack",
        moods="epic, dramatic, tense, mysterious, dark, uplifting",
        energy="loud and energetic"
        if a.tempo > 104
        else rng.choice(["moderately energetic", "loud and energetic"]),
    )
