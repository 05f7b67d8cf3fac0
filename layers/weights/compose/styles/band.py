"""Pop, rock, funk, reggae, jazz, bossa nova."""

import random
from collections.abc import Sequence

from weights.compose import drums
from weights.compose.arrangement import Arrangement, Score
from weights.compose.chance import lines, pick, tempo
from weights.compose.form import BASS, CHORD, LEAD, write
from weights.compose.melody import Melody, melody
from weights.compose.parts import Arpeggio, Bass, Comp, Pad, PowerChords, WalkingBass, lead
from weights.compose.section import Section
from weights.compose.styles.harmony import POP_MAJOR, POP_MINOR
from weights.compose.theory import Bar


def pop(rng: random.Random, seconds: float) -> Score:
    """Verses and choruses over four chords."""
    mode = "major" if rng.random() < 0.68 else "minor"
    a = Arrangement(rng, "pop", seconds, tempo(rng, 90, 128), "4/4", mode, jitter=0.005)
    keys = a.instrument(pick(rng, "piano brightpiano epiano piano"), 0)
    guitar = a.instrument(pick(rng, "steel clean twelve nylon ukulele palmmute"), -2)
    bass = a.instrument(pick(rng, "fbass pbass pop sbass1"), 0)
    solos = "saw square flute clean violin brightpiano altosax glock calliope bright panflute marimba trumpet"
    solo = a.instrument(pick(rng, solos), 0)
    pad = Pad(
        a, a.instrument(pick(rng, "strings warmpad synstr oohs choir organ polysynth"), -5), 66, 57, 79, 3
    )
    a.drums(rng.choice([0, 1, 8, 16, 24]), 2)
    groove = drums.pick(
        rng,
        """
        kick X.......X.x..... snare ....X.......X... hat x.x.x.x.x.x.x.x.
        kick X.....x.X....... snare ....X.......X... hat x.o.x.o.x.o.x.o.
        kick X..x..x...x..... snare ....X.......X... hat xoxoxoxoxoxoxoxo
        kick X...X...X...X... clap ....X.......X... hat ..x...x...x...x. tambourine ....o.......o...
        kick X.......X....... snare ....X.......X... hat x.x.x.x.x.x.x.x. open ..............x.
        """,
    )
    pattern = pick(
        rng, "X---x---x---x--- X-----x-----x--- X--x--x---x-x--- X-------x------- x-x-x-x-x-x-x-x-"
    )
    comp = Comp(a, keys, 70, 52, 77, pattern=pattern)
    pattern = pick(rng, "X---x-x-..x-x-x- X-x-x-xox-x-x-xo x---X-x-x---X-x- s.s.S.s.s.s.S.s.")
    strummed = Comp(a, guitar, 62, 48, 72, pattern=pattern, strum=0.010, hold=1.0)
    pattern = pick(
        rng, "R-R-R-R-R-R-R-R- R-----R-R-----a- R--R--R-R--R--a- R-------R-----a- R--R..R-5--5..a-"
    )
    low = Bass(a, bass, 90, 28, 45, pattern)
    bells = a.instrument("glock", -8) if rng.random() < 0.25 else None
    verses_sing = rng.random() < 0.8
    broken = Arpeggio(a, keys, 66, 52, 79, order="up and down", hold=1.5) if rng.random() < 0.3 else None

    def play(s: Section) -> None:
        chorus = s.label == "C"
        if broken and not chorus:
            broken(s)
        else:
            comp(s)
        if not s.intro:
            strummed(s)
            low(s)
        if s.label in ("C", "B"):
            pad(s)
        beat = groove
        if chorus and rng.random() < 0.5:
            beat = {
                **{drum: pattern for drum, pattern in groove.items() if drum != "hat"},
                "open": "..x...x...x...x.",
            }
        velocity, only = 92 if chorus else 86, drums.KICK_AND_HAT if s.intro else None
        drums.play(a, s, beat, velocity, fills=0.85, crash=not s.intro, only=only)
        if s.melody and (chorus or verses_sing or s.label == "B"):
            lead(a, s.start, s.melody, solo, 92 if chorus else 84, 0.95)
            if chorus and bells is not None:
                lead(a, s.start, s.melody, bells, 66, 0.9, transpose=12)

    low_note, high_note = a.range(solo)
    low_note, high_note = max(low_note, 60), min(high_note, 84)
    if high_note - low_note < 14:
        high_note = low_note + 16

    def theme(letter: str, bars: Sequence[Bar]) -> Melody:
        kind = pick(rng, "syncopated mid fast") if letter != "B" else "slow"
        return melody(a, bars, kind, low_note, high_note, 0.2, pentatonic=rng.random() < 0.4)

    write(
        a,
        play,
        form=pick(rng, "VCVC CVCB VVCC CBCV"),
        phrase=4 if a.bar_seconds > 2.2 else 8,
        progressions=POP_MAJOR if mode == "major" else POP_MINOR,
        melody=theme,
        ending=[(keys, CHORD), (bass, BASS), (solo, LEAD)],
        ends=0.45,
        dynamics={"V": 0.92, "C": 1.06, "intro": 0.85, "B": 0.95},
    )
    return Score(
        a,
        tags="pop, catchy, melodic",
        moods="happy, uplifting, cheerful, romantic, melancholic, sad, dreamy",
        energy="moderately energetic"
        if a.tempo < 118
        else rng.choice(["moderately energetic", "loud and energetic"]),
    )


def rock(rng: random.Random, seconds: float) -> Score:
    """Power chords, riffs, a solo guitar."""
    mode = "minor" if rng.random() < 0.6 else "major"
    beats = tempo(rng, 104, 172)
    scale = "mixolydian" if mode == "major" and rng.random() < 0.4 else None
    a = Arrangement(rng, "rock", seconds, beats, "4/4", mode, scale=scale, jitter=0.005)
    progressions = {
        "minor": """
            i5 | bVI5 | bVII5 | i5
            i5 | bIII5 | bVII5 | IV5
            i5 bVII5 | bVI5 bVII5 | i5 bVII5 | bVI5 bVII5
            i5 | i5 | bVI5 | bVII5
            i5 bIII5 | IV5 bIII5 | i5 | bVI5 bVII5
            bVI5 | bVII5 | i5 | v5
        """,
        "major": """
            I5 | IV5 | V5 | IV5
            I5 | bVII5 | IV5 | I5
            I5 | V5 | vi5 | IV5
            I5 IV5 | I5 V5 | I5 IV5 | V5 I5
            I5 | vi5 | IV5 | V5
        """,
    }[mode]
    sound, other = ("dist", "overdrive") if rng.random() < 0.7 else ("overdrive", "dist")
    guitar = a.instrument(sound, 0)
    bass = a.instrument(pick(rng, "pbass fbass"), 0)
    solo = a.instrument(pick(rng, f"{other} {other} {other} clean rockorgan"), 2)
    organ = None
    if rng.random() < 0.4:
        organ = Pad(a, a.instrument(pick(rng, "rockorgan brightpiano organ"), -5), 70, 55, 76, 3)
    clean = None
    if rng.random() < 0.4:
        clean = Arpeggio(a, a.instrument("clean", -3), 78, 52, 76, order="up and down", hold=1.5)
    a.drums(rng.choice([16, 17, 0, 8, 1]), -2)
    groove = drums.pick(
        rng,
        """
        kick X.....x.X....... snare ....X.......X... hat x.x.x.x.x.x.x.x.
        kick X.x.....X.x..... snare ....X.......X... hat x.x.x.x.x.x.x.x.
        kick X.....xx..x..... snare ....X.......X... hat x.x.x.x.x.x.x.x.
        kick X...X...X...X... snare ....X.......X... hat x.x.x.x.x.x.x.x.
        kick X.X.X.X.X.X.X.X. snare ....X.......X... hat x...x...x...x...
        """,
    )
    riffs = """
        s.s.s.s.s.s.s.s. X--xs.s.X---s.s. X-----x-..x-x---
        X---s.s.X---s.s. S.ssS.ssS.ssS.ss X---------------
    """
    riff = pick(rng, riffs)
    wide = pick(rng, "X---X---X---X--- X-------X------- X-----X---x-X--- x-x-x-x-x-x-x-x-")
    pattern = pick(rng, "R.R.R.R.R.R.R.R. R-R-R-R-R-R-R-a- R---R-R-R---R-a-")
    low = Bass(a, bass, 96, 28, 43, pattern, hold=0.9)
    power = PowerChords(a, guitar, 92)

    def play(s: Section) -> None:
        big = s.label in ("C", "S")
        if s.label == "B" and clean:
            clean(s)
        else:
            power(s, wide if big else riff)
        low(s)
        if organ and big:
            organ(s)
        beat = groove
        if big:
            beat = {
                "kick": groove["kick"],
                "snare": groove["snare"],
                rng.choice(("ride", "open")): "x...x...x...x...",
            }
        drums.play(a, s, beat, 104, fills=0.9, crash=True)
        if s.melody and (s.label != "V" or s.repeat % 2):
            lead(a, s.start, s.melody, solo, 98, 0.97, harmony=-2 if big and rng.random() < 0.3 else 0)

    def theme(letter: str, bars: Sequence[Bar]) -> Melody:
        kind = "fast" if letter == "S" else pick(rng, "syncopated mid fast")
        return melody(a, bars, kind, 60, 82, 0.25, pentatonic=rng.random() < 0.7)

    write(
        a,
        play,
        form=pick(rng, "VCVS VVCC CVSB VCSB"),
        phrase=8 if a.bar_seconds < 1.9 else 4,
        progressions=lines(progressions),
        melody=theme,
        intro=4 if a.bar_seconds < 1.8 else 2,
        ending=[(guitar, BASS), (bass, BASS), (solo, LEAD)],
        ends=0.4,
    )
    return Score(
        a,
        tags="rock, electric guitar, guitar riff, driving",
        moods="epic, tense, dark, uplifting, dramatic, happy",
        energy="loud and energetic",
    )


def funk(rng: random.Random, seconds: float) -> Score:
    """Sixteenths, slapped bass, brass hits on one chord or two."""
    mode = "minor" if rng.random() < 0.65 else "major"
    beats = tempo(rng, 92, 118)
    a = Arrangement(
        rng,
        "funk",
        seconds,
        beats,
        "4/4",
        mode,
        scale="dorian" if mode == "minor" else "mixolydian",
        swing=rng.uniform(0.5, 0.57),
        swing_unit=0.25,
        jitter=0.004,
    )
    progressions = {
        "minor": """
            i7 | i7 | i7 | IV9
            i9 | IV13 | i9 | IV13
            i7 | i7 | bIIImaj7 | IV7
            i7 | bVII | IV9 | i7
        """,
        "major": """
            I9 | I9 | IV9 | I9
            I9 | bVII6 | IV9 | I9
            I7 | I7 | I7 | IV9
        """,
    }[mode]
    bass = a.instrument(pick(rng, "slap slap fbass pop"), 2)
    keys = a.instrument(pick(rng, "clav clav epiano organ"), -1)
    guitar = a.instrument(pick(rng, "funkgtr clean palmmute"), -3)
    brass = a.instrument(pick(rng, "brass brass2 synbrass"), -1)
    solo = a.instrument(pick(rng, "altosax tenorsax trumpet organ saw clean flute"), 0)
    a.drums(rng.choice([0, 1, 8, 16]), -1)
    groove = drums.pick(
        rng,
        """
        kick X.x....x..x..... snare ....X..g.g..X..g hat xoxoxoxoxoxoxoxo
        kick X..x..x...x..x.. snare ....X.......X.g. hat x.xxx.xxx.xxx.xx
        kick X.X...X...x..... snare ....X..g....X... hat x.x.x.x.x.x.x... open ..............x.
        kick X.......X.x..x.. snare ....X..g.g.gX... hat xxxxxxxxxxxxxxxx
        """,
    )
    patterns = """
        R..R..8.R.7.8.a. R.gR..8..R.g7.8. RR.8..R.g.5.7.8.
        R...R.8.g7.8..a. R..g8.R..R5.7..a R.8.g.R8..R.7.5.
    """
    low = Bass(a, bass, 98, 28, 45, pick(rng, patterns), hold=0.7)
    pattern = pick(
        rng, "..s.s..s..s.s..s s..ss..s.s.ss..s .ss..ss..ss..ss. ..S...s..sS..s.. s.s..s.ss..s.s.."
    )
    comp = Comp(a, keys, 76, 52, 74, 3, rootless=True, pattern=pattern)
    pattern = pick(rng, "ssSsssSsssSsssSs ..S...S...S...S. s.ssS.sss.ssS.ss ....S..s....S..s")
    chops = Comp(a, guitar, 64, 57, 76, 3, rootless=True, pattern=pattern, strum=0.003)
    pattern = pick(
        rng,
        """
        S.........................S..S..
        ......S..S..................X---
        X---....S.......................
        S.SS..........................S.
        """,
    )
    hits = Comp(a, brass, 94, 57, 79, rootless=True, pattern=pattern)

    def play(s: Section) -> None:
        low(s)
        comp(s)
        if not s.intro:
            chops(s)
        drums.play(a, s, groove, 100, fills=0.8, crash=not s.intro)
        if s.label == "B" or s.repeat % 2 or s.melody is None:
            hits(s)
        if s.melody and (s.label == "B" or not s.repeat % 2):
            lead(a, s.start, s.melody, solo, 90, 0.8)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, "funk", 58, 79, 0.2, pentatonic=True)

    write(
        a,
        play,
        form="AABA",
        phrase=4 if a.bar_seconds > 2.2 else 8,
        progressions=lines(progressions),
        melody=theme,
        ending=[(bass, BASS), (keys, CHORD), (brass, CHORD)],
        ends=0.35,
    )
    return Score(
        a,
        tags="funk, groove, slap bass, groovy",
        moods="playful, happy, cheerful, uplifting, tense, mysterious",
        energy=rng.choice(["loud and energetic", "moderately energetic"]),
    )


def reggae(rng: random.Random, seconds: float) -> Score:
    """Chords off the beat, the kick on two and four."""
    mode = pick(rng, "major minor")
    beats = tempo(rng, 66, 90)
    swing = rng.choice([0.5, 0.56, 0.6])
    a = Arrangement(rng, "reggae", seconds, beats, "4/4", mode, swing=swing, swing_unit=0.25, jitter=0.007)
    progressions = {
        "major": """
            I | IV | I | V
            I | V | vi | IV
            I | ii | IV | I
            I | IV | V | IV
            I | vi | ii | V
        """,
        "minor": """
            i | bVII | i | bVII
            i | iv | i | v
            i | bVI | bVII | i
            i | iv | bVII | bIII
        """,
    }[mode]
    guitar = a.instrument(pick(rng, "clean funkgtr palmmute"), -1)
    organ = a.instrument(pick(rng, "organ percorgan rockorgan piano"), -4)
    bass = a.instrument(pick(rng, "fbass fretless pbass"), 3)
    solos = "trumpet trombone altosax steeldrums steeldrums steeldrums brass flute organ clean accordion"
    solo = a.instrument(pick(rng, solos), 0)
    a.drums(rng.choice([0, 8, 1]), 0)
    groove = drums.pick(
        rng,
        """
        kick ....X.......X... stick ....x.......x... hat x.o.x.o.x.o.x.o.
        kick X...X...X...X... stick ....x.......x... hat xoxoxoxoxoxoxoxo
        kick ....X.......X... snare ....x.......x..g hat x.xox.xox.xox.xo
        """,
    )
    pattern = pick(rng, "..S...S...S...S. ..S...Ss..S...Ss ..S...S...S...S.")
    skank = Comp(a, guitar, 84, 57, 76, 3, pattern=pattern, strum=0.006)
    pattern = pick(rng, ".s.s.s.s.s.s.s.s ..s...s...s...s. .sXs.sXs.sXs.sXs")
    bubble = Comp(a, organ, 66, 55, 74, 3, pattern=pattern)
    patterns = "R--R--3-5---.... ..R-R-3-5-..3-R- R-....R-3-5-..a- R--.5-R-..R-5-3-"
    pattern = pick(rng, f"{patterns} R-R-..5-8-..5-..R---..3-5-..a-..")
    low = Bass(a, bass, 98, 28, 45, pattern, hold=0.9)
    low_note, high_note = (50, 69) if a.names[solo] == "trombone" else (60, 80)

    def play(s: Section) -> None:
        skank(s)
        bubble(s)
        if not s.intro:
            low(s)
        drums.play(a, s, groove, 92, fills=0.8, only={"hat", "stick"} if s.intro else None)
        if s.melody and (s.label == "B" or not s.repeat % 2):
            lead(a, s.start, s.melody, solo, 84, 0.9, harmony=-2 if s.label == "B" else 0)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        kind = pick(rng, "mid syncopated fast")
        return melody(a, bars, kind, low_note, high_note, 0.2, pentatonic=rng.random() < 0.5, rests=0.12)

    write(
        a,
        play,
        form="AABA",
        phrase=4,
        progressions=lines(progressions),
        melody=theme,
        intro=1,
        ending=[(guitar, CHORD), (bass, BASS)],
        ends=0.35,
    )
    return Score(
        a,
        tags="reggae, offbeat, laid-back, caribbean",
        moods="happy, calm, cheerful, peaceful, melancholic, playful",
        energy="moderately energetic",
    )


def jazz(rng: random.Random, seconds: float) -> Score:
    """A combo: walking bass, swung ride cymbal, comping, improvised choruses."""
    mode = "major" if rng.random() < 0.65 else "minor"
    beats = tempo(rng, 100, 180)
    a = Arrangement(rng, "jazz", seconds, beats, "4/4", mode, swing=rng.uniform(0.62, 0.67), jitter=0.008)
    progressions = {
        "major": {
            "A": """
                Imaj7 vi7 | ii7 V7 | iii7 vi7 | ii7 V7 | Imaj7 I7 | IV6 #ivo7 | Imaj7 vi7 | ii7 V7
                ii7 | V7 | Imaj7 | vi7 | ii7 | V7 | Imaj7 | Imaj7
                Imaj7 | Imaj7 | ii7 | V7 | iii7 | VI7 | ii7 V7 | I6
                I7 | IV7 | I7 | I7 | IV7 | IV7 | I7 | ii7 V7
            """,
            "B": """
                III7 | III7 | VI7 | VI7 | II7 | II7 | V7 | V7
                IVmaj7 | iv6 | Imaj7 | Imaj7 | ii7 | II7 | ii7 | V7
                v7 | I7 | IVmaj7 | IVmaj7 | vi7 | II7 | ii7 | V7
            """,
        },
        "minor": {
            "A": """
                i6 | iih7 V7 | i6 | iih7 V7 | i7 | iv7 | iih7 V7b9 | i6
                i7 | iv7 | i7 | V7 | iv7 | bVII7 | bIIImaj7 | iih7 V7
                iv7 | bVII7 | bIIImaj7 | bVImaj7 | iih7 | V7b9 | i6 | i6
            """,
            "B": """
                iv7 | bVII7 | bIIImaj7 | bVImaj7 | iih7 | V7b9 | i6 | i6
                iv7 | iv7 | i7 | i7 | bVI7 | bVI7 | V7 | V7
            """,
        },
    }[mode]
    family = pick(rng, "sax trumpet vibes piano guitar clarinet flute")
    named = {
        "sax": pick(rng, "altosax tenorsax sopsax"),
        "trumpet": pick(rng, "trumpet mutetpt"),
        "guitar": "jazzgtr",
    }
    solo_name = named.get(family, family)
    solo = a.instrument(solo_name, 0)
    comping = pick(rng, "piano piano jazzgtr organ") if family != "guitar" else "piano"
    comp = Comp(a, a.instrument(comping, -1), 66, 52, 74, rootless=True, pattern="", hold=0.8)
    bass = a.instrument("abass", 0)
    walk = WalkingBass(a, bass, 88, 29, 52)
    a.drums(rng.choice([32, 33, 40, 34]), 2)
    groove = drums.pick(
        rng,
        """
        ride X...x.x.x...x.x. pedal ....x.......x... kick o...o...o...o...
        ride X...x.x.X...x.x. pedal ....x.......x... snare ......g........g
        ride x...x.x.x...x... pedal ....x.......x... stick ............o...
        """,
    )
    patterns = """
        x-....x-........ ..x-....x-..x-.. X---......x-.... ......x-......x- x-....x-....x---
        ....x-......x--- ..x---....x-....
    """
    pattern = pick(rng, "......S.....X--- ..S.......S..... X-----S.........")
    section = None
    if rng.random() < 0.25:
        section = Comp(a, a.instrument("brass2", -5), 80, 55, 76, pattern=pattern, hold=0.7)
    ranges = {
        "tenorsax": (50, 72),
        "altosax": (55, 78),
        "trumpet": (57, 80),
        "mutetpt": (57, 80),
        "jazzgtr": (55, 79),
    }
    low_note, high_note = ranges.get(solo_name, (60, 84))

    def play(s: Section) -> None:
        for start, bar in zip(s.starts, s.bars, strict=True):
            comp.pattern = pick(rng, patterns)
            comp(Section(s.label, start, [bar], s.bar))
        walk(s)
        drums.play(a, s, groove, 84, fills=0.5, fill="snare")
        if s.melody:
            chorus = s.melody
            if s.repeat and rng.random() < 0.7:
                # What returns is improvised upon.
                chorus = melody(a, s.bars, "swing", low_note, high_note, 0.25, chromatic=0.2, closed=False)
            lead(a, s.start, chorus, solo, 88, 0.95)
            if section and s.label == "A":
                section(s)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, "swing", low_note, high_note, 0.25, chromatic=0.15)

    write(
        a,
        play,
        form="AABA",
        phrase=8 if a.bar_seconds < 2.2 else 4,
        progressions={letter: lines(text) for letter, text in progressions.items()},
        melody=theme,
        ending=[(comp.channel, CHORD), (bass, BASS), (solo, LEAD)],
        ends=0.4,
        variation=0.25,
        final_chord="I69" if mode == "major" else "i6",
    )
    return Score(
        a,
        tags="jazz, swing, walking bass",
        moods="playful, cheerful, romantic, mysterious, happy, melancholic",
        energy="moderately energetic",
    )


def bossa_nova(rng: random.Random, seconds: float) -> Score:
    """Nylon guitar in syncopated chords with sevenths and ninths."""
    mode = pick(rng, "major minor")
    a = Arrangement(rng, "bossa nova", seconds, tempo(rng, 112, 150), "4/4", mode, jitter=0.007)
    progressions = {
        "major": {
            "A": """
                Imaj7 | Imaj7 | II7 | II7 | ii7 | V7 | Imaj7 | V7b9
                Imaj9 | vi7 | ii9 | V13 | iii7 | VI7 | ii7 | V7
                Imaj7 | bIIImaj7 | ii7 | bIImaj7 | Imaj7 | iv6 | iii7 | ii7 V7
            """,
            "B": """
                IVmaj7 | iv6 | iii7 | VI7 | ii7 | II7 | ii7 | V7
                iv7 | bVII7 | bIIImaj7 | bVImaj7 | ii7 | V7 | Imaj7 | V7
            """,
        },
        "minor": {
            "A": """
                i7 | i7 | iv7 | iv7 | iih7 | V7b9 | i7 | V7
                i6 | bVImaj7 | iih7 | V7b9 | i9 | iv9 | bVII13 | bIIImaj7
            """,
            "B": """
                iv7 | bVII7 | bIIImaj7 | bVImaj7 | iih7 | V7 | i6 | i6
            """,
        },
    }[mode]
    guitar = a.instrument("nylon", 1)
    bass = a.instrument(pick(rng, "abass fbass"), 0)
    solo = a.instrument(pick(rng, "flute tenorsax piano vibes clarinet jazzgtr altosax mutetpt"), 0)
    pad = None
    if rng.random() < 0.4:
        pad = Pad(a, a.instrument(pick(rng, "strings oohs slowstrings"), -7), 58, 57, 79, 3)
    piano = a.instrument(pick(rng, "epiano piano"), -5) if rng.random() < 0.4 else None
    a.drums(rng.choice([0, 40, 32, 41]), -1)
    groove = {
        "stick": pick(rng, "x.....x.....x... x.....x.....x.......x.....x....."),
        "hat": "x.o.x.o.x.o.x.o.",
        "kick": "x.....x.x.....x.",
        "shaker": pick(rng, "................ oooooooooooooooo"),
    }
    pattern = pick(rng, "R-----5-5-----R- R-----5-5-----R- R-----5-5-----a-")
    low = Bass(a, bass, 84, 28, 45, pattern)
    pattern = pick(rng, "..x-....x-...... ......x---...... x-....x-........")
    comp = Comp(a, piano, 58, 55, 76, 3, rootless=True, pattern=pattern) if piano is not None else None
    pattern = pick(rng, "X---x---..x---x-..x---x-X---x--- x-..x-..x-x-..x- x---..x-..x-x--- X-..x---..x-x---")
    strings = Comp(a, guitar, 74, 50, 69, rootless=True, pattern=pattern, hold=0.92, strum=0.006)

    def play(s: Section) -> None:
        strings(s)
        low(s)
        drums.play(a, s, groove, 76, fills=0.25, fill="break", only={"hat", "shaker"} if s.intro else None)
        if pad and s.label == "B":
            pad(s)
        if comp and not s.intro:
            comp(s)
        if s.melody:
            lead(a, s.start, s.melody, solo, 80, 0.97)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, pick(rng, "syncopated mid"), 60, 81, 0.22, chromatic=0.08)

    write(
        a,
        play,
        form="AABA",
        phrase=8,
        progressions={letter: lines(text) for letter, text in progressions.items()},
        melody=theme,
        ending=[(guitar, CHORD), (bass, BASS), (solo, LEAD)],
        ends=0.4,
        final_chord="I69" if mode == "major" else "i9",
    )
    return Score(
        a,
        tags="bossa nova, latin, brazilian, smooth",
        moods="romantic, calm, dreamy, peaceful, melancholic",
        energy=rng.choice(["quiet and relaxing", "moderately energetic"]),
    )
