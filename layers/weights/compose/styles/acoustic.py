"""Waltz, folk, bluegrass, lullaby, flamenco."""

import random
from collections.abc import Sequence

from weights.compose import drums
from weights.compose.arrangement import Arrangement, Score
from weights.compose.chance import lines, pick, tempo
from weights.compose.form import BASS, CHORD, LEAD, write
from weights.compose.melody import Melody, melody
from weights.compose.parts import (
    Arpeggio,
    BanjoRoll,
    Bass,
    BassAndChords,
    Comp,
    Countermelody,
    Pad,
    Picking,
    lead,
)
from weights.compose.section import Section
from weights.compose.theory import Bar


def waltz(rng: random.Random, seconds: float) -> Score:
    """Bass and two chords in every bar; accordion or strings."""
    mode = "major" if rng.random() < 0.6 else "minor"
    a = Arrangement(rng, "waltz", seconds, tempo(rng, 120, 178), "3/4", mode, jitter=0.008)
    progressions = {
        "major": """
            I | I | V7 | V7 | V7 | V7 | I | I
            I | vi | ii | V7 | I | IV | V7 | I
            I | I7 | IV | iv | I | V7 | I | I
            I | V7 | I | V7 | IV | I | V7 | I
        """,
        "minor": """
            i | i | V7 | V7 | V7 | V7 | i | i
            i | iv | V7 | i | bVI | iv | V7 | i
            i | V7 | i | iv | iv | i | V7 | i
            i | bVII | bVI | V7 | iv | i | V7 | i
        """,
    }[mode]
    band = pick(rng, "accordion accordion strings mixed")
    strings = band == "strings"
    solos = "violin strings clarinet flute" if strings else "accordion accordion2 bandoneon"
    solo = a.instrument(pick(rng, solos), 1)
    bass = a.instrument(pick(rng, "contrabass abass" if strings else "abass tuba contrabass"), 0)
    chords = {
        "accordion": pick(rng, "accordion nylon steel"),
        "strings": pick(rng, "strings pizz"),
        "mixed": pick(rng, "strings piano harp"),
    }
    accompaniment = BassAndChords(a, bass, a.instrument(chords[band], -4), 80, (31, 48), (55, 72), hold=0.55)
    counter = a.instrument(pick(rng, "violin clarinet strings cello oboe mandolin horn"), -4)
    countermelody = Countermelody(a, counter, 68, 57, 74)
    bells = a.instrument("glock", -7) if rng.random() < 0.25 else None
    in_thirds = rng.random() < 0.5

    def play(s: Section) -> None:
        accompaniment(s)
        if s.melody:
            full = s.label == "B" or s.repeat % 2
            lead(a, s.start, s.melody, solo, 88, 0.93, harmony=-2 if in_thirds and full else 0)
            if bells is not None:
                lead(a, s.start, s.melody, bells, 62, 0.5, transpose=12)
            if full:
                countermelody(s)

    def theme(letter: str, bars: Sequence[Bar]) -> Melody:
        kind = pick(rng, "mid fast") if letter != "B" else "fast"
        return melody(a, bars, kind, 64, 86, 0.3, chromatic=0.08)

    write(
        a,
        play,
        form=pick(rng, "AABA AABB ABAC"),
        phrase=8,
        progressions=lines(progressions),
        melody=theme,
        ending=[(bass, BASS), (accompaniment.chords, CHORD), (solo, LEAD)],
        variation=0.25,
    )
    return Score(
        a,
        tags="waltz, dance, european",
        moods="romantic, cheerful, playful, melancholic, happy, dreamy",
        energy="moderately energetic",
    )


def folk(rng: random.Random, seconds: float) -> Score:
    """Picked or strummed guitar and a solo, in major, minor and two church modes."""
    scale = pick(rng, "major major minor dorian mixolydian")
    mode = "minor" if scale in ("minor", "dorian") else "major"
    meter = pick(rng, "4/4 4/4 3/4 6/8")
    beats = tempo(rng, 72, 110) if meter == "6/8" else tempo(rng, 84, 122)
    a = Arrangement(rng, "folk", seconds, beats, meter, mode, scale=scale, jitter=0.008)
    progressions = {
        "major": """
            I | IV | I | V | I | IV | V | I
            I | V/1 | vi | IV | I | V | IV | I
            I | I | IV | I | vi | IV | V | I
        """,
        "mixolydian": """
            I | bVII | I | bVII | IV | I | bVII | I
            I | I | bVII | IV | I | bVII | IV | I
        """,
        "minor": """
            i | bVII | i | bVII | bIII | bVII | i | i
            i | bVI | bVII | i | iv | i | bVII | i
            i | i | bVII | bVII | bVI | bVII | i | i
        """,
        "dorian": """
            i | IV | i | bVII | i | IV | bVII | i
            i | bVII | IV | i | bIII | bVII | IV | i
        """,
    }[scale]
    guitar = a.instrument(pick(rng, "steel nylon twelve steel harp"), 0)
    solos = "flute recorder fiddle violin panflute ocarina flute mandolin accordion clarinet"
    solo = a.instrument(pick(rng, solos), 0)
    bass = a.instrument(pick(rng, "abass fbass contrabass"), -3) if rng.random() < 0.6 else None
    second = a.instrument(pick(rng, "mandolin ukulele nylon steel"), -4) if rng.random() < 0.5 else None
    counter = a.instrument(pick(rng, "strings cello accordion viola"), -6) if rng.random() < 0.4 else None
    percussion = rng.random() < 0.3
    if percussion:
        a.drums(rng.choice([40, 32, 0]), -6)
    strumming, low_line = {
        "4/4": ("X---x-x-..x-x-x- X-x-x-xox-x-x-xo", "R-------5-----a-"),
        "3/4": ("X---x---x-x- X---x-x-x-x-", "R-------5---"),
        "6/8": ("X---x-X---x- X-x-x-X-x-x-", "R-----5-----"),
    }[meter]
    pattern = pick(rng, strumming)
    strummed = rng.random() < 0.25
    strum = Comp(a, guitar, 72, 45, 69, 5, pattern=pattern, strum=0.014, hold=1.05)
    picked = Picking(a, guitar, 76)
    low = Bass(a, bass, 80, 28, 45, low_line, hold=0.95) if bass is not None else None
    other = Comp(a, second, 58, 55, 76, 3, pattern=pattern, strum=0.012) if second is not None else None
    countermelody = Countermelody(a, counter, 62, 52, 70) if counter is not None else None
    four = a.steps == 16
    groove = {
        "tambourine": "....x.......x..." if four else "....o...o...",
        "shaker": "x.o." * (a.steps // 4),
        "kick": "X.......X......." if four else "X...........",
    }

    def play(s: Section) -> None:
        if strummed:
            strum(s)
        else:
            picked(s)
        if low and not s.intro:
            low(s)
        if other and (s.label == "B" or s.repeat % 2):
            other(s)
        if countermelody and s.label == "B":
            countermelody(s)
        if percussion and not s.intro:
            drums.play(a, s, groove, 72)
        if s.melody:
            lead(a, s.start, s.melody, solo, 86, 0.93)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, pick(rng, "mid fast"), 64, 86, 0.25, pentatonic=rng.random() < 0.35)

    write(
        a,
        play,
        form=pick(rng, "AABA AABB ABAB"),
        phrase=8 if a.bar_seconds < 2.6 else 4,
        progressions=lines(progressions),
        melody=theme,
        ending=[(guitar, CHORD), (solo, LEAD)],
        variation=0.3,
    )
    return Score(
        a,
        tags=f"folk, acoustic, {'strumming' if strummed else 'fingerpicking'}",
        moods="peaceful, calm, happy, melancholic, dreamy, cheerful",
        energy="quiet and relaxing" if a.tempo < 98 else "moderately energetic",
    )


def bluegrass(rng: random.Random, seconds: float) -> Score:
    """Banjo rolls, fiddle, mandolin chops, no drums."""
    beats = tempo(rng, 104, 160)
    scale = pick(rng, "major major mixolydian")
    a = Arrangement(rng, "bluegrass", seconds, beats, "4/4", "major", scale=scale, jitter=0.006)
    progressions = lines("""
        I | I | IV | I | I | I | V | I
        I | IV | I | V | I | IV | V | I
        I | I | vi | vi | IV | I | V | I
        I | bVII | I | V | I | bVII | V | I
        I | I | IV | IV | I | V | V | I
    """)
    banjo = a.instrument("banjo", 0)
    fiddle = a.instrument(pick(rng, "fiddle violin"), 0)
    guitar = a.instrument("steel", -2)
    bass = a.instrument("abass", 0)
    mandolin = a.instrument("mandolin", -1) if rng.random() < 0.6 else None
    accompaniment = BassAndChords(a, bass, guitar, 84, (31, 48), (52, 70), 4, hold=0.4)
    chop = Comp(a, mandolin, 66, 60, 78, 3, pattern="....S.......S...") if mandolin is not None else None
    roll = BanjoRoll(a, banjo, rate=0.25 if a.tempo < 126 else 0.5)

    def play(s: Section) -> None:
        accompaniment(s)
        if chop:
            chop(s)
        forward = s.melody is None or (s.repeat % 2 == 1) == (s.label == "A")
        roll(s, 84 if forward else 70)
        if s.melody:
            if s.label == "B" and mandolin is not None and s.repeat % 2:
                lead(a, s.start, s.melody, mandolin, 90, 0.9)
            else:
                lead(a, s.start, s.melody, fiddle, 90, 0.95, harmony=-2 if s.label == "B" else 0)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, pick(rng, "reel reel fast"), 64, 86, 0.2, pentatonic=rng.random() < 0.5)

    write(
        a,
        play,
        form=pick(rng, "AABB AABA"),
        phrase=8,
        progressions=progressions,
        melody=theme,
        ending=[(bass, BASS), (guitar, CHORD), (fiddle, LEAD), (banjo, CHORD)],
        variation=0.3,
    )
    return Score(
        a,
        tags="bluegrass, country, acoustic, banjo, lively",
        moods="happy, cheerful, playful, uplifting",
        energy=rng.choice(["moderately energetic", "loud and energetic"]),
    )


def lullaby(rng: random.Random, seconds: float) -> Score:
    """A music box over soft broken chords."""
    mode = "major" if rng.random() < 0.8 else "minor"
    meter = pick(rng, "3/4 6/8 4/4")
    beats = tempo(rng, 60, 76) if meter == "6/8" else tempo(rng, 66, 96)
    a = Arrangement(rng, "lullaby", seconds, beats, meter, mode, jitter=0.010)
    progressions = {
        "major": """
            I | I | V7 | I | I | IV | V7 | I
            I | vi | IV | V | I | vi | ii V7 | I
            I | IV | I | V | IV | I | V7 | I
            I | iii | IV | I | vi | ii | V | I
        """,
        "minor": """
            i | iv | i | V | i | bVI | iv V | i
            i | bVI | bIII | bVII | i | iv | V | i
        """,
    }[mode]
    box = a.instrument(pick(rng, "musicbox musicbox celesta glock kalimba"), 0)
    accompaniment = a.instrument(pick(rng, "musicbox harp celesta nylon mellowpiano vibes"), -3)
    pad = None
    if rng.random() < 0.5:
        pad = Pad(a, a.instrument(pick(rng, "slowstrings warmpad oohs choir halo"), -9), 50, 55, 74, 3)
    wind = a.instrument(pick(rng, "flute clarinet panflute"), -5) if rng.random() < 0.3 else None
    order = rng.choice(["up", "up and down", "skipping", "Alberti"])
    lowest = 60 if a.names[accompaniment] == "musicbox" else 55
    voices = 4 if meter == "4/4" else 3
    figure = Arpeggio(a, accompaniment, 58, lowest, lowest + 22, voices, order=order, hold=1.8)

    def play(s: Section) -> None:
        figure(s)
        if pad:
            pad(s)
        if s.melody:
            solo = wind if wind is not None and s.label == "B" else box
            lead(a, s.start, s.melody, solo, 76, 1.3)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, pick(rng, "mid slow"), 72, 93, 0.28)

    write(
        a,
        play,
        form=pick(rng, "AABA ABAB"),
        phrase=4 if a.bar_seconds > 2.6 else 8,
        progressions=lines(progressions),
        melody=theme,
        ending=[(accompaniment, CHORD), (box, LEAD)],
    )
    return Score(
        a,
        tags="lullaby, gentle, soft",
        moods="calm, peaceful, dreamy, sad, melancholic",
        energy="quiet and relaxing",
    )


def flamenco(rng: random.Random, seconds: float) -> Score:
    """Strummed and picked guitar in the phrygian mode, hand claps."""
    meter = pick(rng, "4/4 3/4 4/4")
    a = Arrangement(
        rng, "flamenco", seconds, tempo(rng, 96, 144), meter, "minor", scale="phrygian", jitter=0.008
    )
    a.key = (a.tonic + 5) % 12  # E phrygian is heard as A minor that rests on its dominant
    progressions = lines("""
        iv | bIII | bII | I
        I | bII | I | bII
        iv | bIII | bII | I
        I | bII | bIII | bII
        bVI | bIII | bII | I
        iv bIII | bII I | iv bIII | bII I
    """)
    guitar = a.instrument("nylon", 1)
    second = a.instrument(pick(rng, "nylon steel"), -4)
    bass = a.instrument(pick(rng, "abass fretless"), -2) if rng.random() < 0.5 else None
    solo = a.instrument(pick(rng, "violin flute trumpet clarinet"), -1) if rng.random() < 0.35 else None
    a.drums(0, -3, "hand claps")
    order = rng.choice(["up and down", "up"])
    if meter == "4/4":
        groove = drums.pick(
            rng,
            """
            clap x..xx..xx..xx..x kick X.....x.X.......
            clap ..x...x...x...xx kick X...x...X..xx...
            clap x.xxx.xxx.xxx.xx
            """,
        )
        pattern = pick(rng, "X-..xxX-..x-xxX- X---x-x-Xxx-x-x- X-xxX-x-X-xxX-x- X-----xxX---xxx-")
    else:
        groove = drums.pick(
            rng,
            """
            clap ....x...x... kick X...........
            clap x...x.x.x.x. kick X.......x...
            """,
        )
        pattern = pick(rng, "X---xxx-x-x- X-xxX---X--- X---x---xxx-")
    rasgueado = Comp(a, guitar, 88, 45, 70, 5, pattern=pattern, strum=0.016, hold=0.95)
    behind = Comp(a, second, 70, 45, 67, pattern=pattern, strum=0.014, hold=0.95)
    falseta = Arpeggio(a, guitar, 78, 55, 80, order=order, rate=0.25, hold=1.5)
    low = None
    if bass is not None:
        low = Bass(a, bass, 84, 28, 45, "R-----R-5-----R-" if meter == "4/4" else "R-----5-R---")

    def play(s: Section) -> None:
        if s.label == "B" or s.melody is None:
            rasgueado(s)
        else:
            behind(s)
        if s.label == "C":
            falseta(s)
        elif s.melody:
            lead(a, s.start, s.melody, solo if solo is not None and s.repeat % 2 else guitar, 94, 1.0)
        if low:
            low(s)
        drums.play(a, s, groove, 78)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, pick(rng, "run fast run"), 60, 83, 0.15)

    write(
        a,
        play,
        form=pick(rng, "AABC BAAC ABAC"),
        phrase=8 if a.bar_seconds < 2.1 else 4,
        progressions=progressions,
        melody=theme,
        ending=[(guitar, CHORD)],
        variation=0.3,
        final_chord="I",
    )
    return Score(
        a,
        tags="flamenco, spanish, guitar, phrygian",
        moods="dramatic, tense, romantic, mysterious, dark",
        energy=rng.choice(["moderately energetic", "loud and energetic"]),
    )
