"""Ambient, lo-fi, synthwave, techno, house, drum and bass, chiptune."""

import random
from collections.abc import Sequence

from weights.compose import drums
from weights.compose.arrangement import Arrangement, Score
from weights.compose.chance import lines, pick, tempo
from weights.compose.form import BASS, CHORD, LEAD, write
from weights.compose.melody import Melody, melody
from weights.compose.parts import Arpeggio, Bass, Comp, Pad, lead, pump, swell
from weights.compose.rhythm import STEPS
from weights.compose.section import Section
from weights.compose.styles.harmony import POP_MAJOR, POP_MINOR
from weights.compose.theory import Bar, Keyboard


def ambient(rng: random.Random, seconds: float) -> Score:
    """Pads that swell, a slow bell above, perhaps a figure of broken chords."""
    scale = pick(rng, "major lydian dorian minor major minor")
    mode = "minor" if scale in ("minor", "dorian") else "major"
    beats = tempo(rng, 60, 78)
    a = Arrangement(rng, "ambient", seconds, beats, pick(rng, "4/4 4/4 3/4"), mode, scale=scale, jitter=0.015)
    if mode == "major":
        progressions = lines(f"""
            Imaj9 | IVmaj7 | Imaj9 | vi9
            Iadd9 | iii7 | IVmaj9 | IVmaj9
            {"Imaj7 | II/1 | Imaj9 | II" if scale == "lydian" else "Imaj7 | ii9 | IVmaj7 | Vsus4"}
            IVmaj9 | Iadd9 | vi9 | Vsus4
        """)
    else:
        progressions = lines(f"""
            i9 | bVImaj7 | i9 | bVIIsus2
            {"i9 | IV | i9 | v7" if scale == "dorian" else "i9 | iv9 | bVImaj7 | v7"}
            iadd9 | bIIImaj7 | bVII | bVImaj7
        """)
    pads = "warmpad halo sweep spacevoice bowed slowstrings choir soundtrack synstr2 oohs fantasia"
    first, second = rng.sample(pads.split(), 2)
    low_pad = Pad(a, a.instrument(first, 0), 66, 50, 74)
    high_pad = Pad(a, a.instrument(second, -3), 58, 60, 84, 3)
    bass = Bass(
        a,
        a.instrument(pick(rng, "fretless sbass1 contrabass warmpad"), -3),
        64,
        30,
        48,
        _whole_bar(a),
        hold=0.98,
    )
    bells = (
        "vibes piano mellowpiano epiano harp celesta star echo atmos panflute shaku sitar sitar kalimba clean"
    )
    bell = a.instrument(pick(rng, bells), -1)
    harp = None
    if rng.random() < 0.5:
        harp = a.instrument(pick(rng, "atmos harp vibes kalimba fantasia nylon"), -6)
    order = rng.choice(["up", "up and down", "wide", "skipping"])
    figure = Arpeggio(a, harp, 52, 55, 84, order=order, hold=2.0) if harp is not None else None

    def play(s: Section) -> None:
        low_pad(s)
        if not s.intro:
            high_pad(s)
        bass(s)
        if figure and s.label != "B":
            figure(s)
        if s.melody:
            lead(a, s.start, s.melody, bell, 68, 1.6)
        swell(a, s.start, s.length / 2, [low_pad.channel, high_pad.channel], 0.65, 1.0)
        swell(a, s.start + s.length / 2, s.length / 2, [low_pad.channel, high_pad.channel], 1.0, 0.65)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, "slow", 64, 88, 0.4, pentatonic=True, rests=0.15)

    ending = [(low_pad.channel, CHORD), (bass.channel, BASS), (bell, LEAD)]
    write(
        a,
        play,
        form="AABA",
        phrase=4,
        progressions=progressions,
        melody=theme,
        intro=1,
        ending=ending,
        ends=0.3,
    )
    return Score(
        a,
        tags="ambient, pads, atmospheric, slow",
        moods="calm, dreamy, peaceful, mysterious, melancholic",
        energy="quiet and relaxing",
    )


def _whole_bar(a: Arrangement) -> str:
    return "R" + "-" * (a.steps - 1)


def lofi(rng: random.Random, seconds: float) -> Score:
    """Swung drum machine, electric piano with ninths, a soft solo."""
    mode = pick(rng, "major minor")
    beats = tempo(rng, 68, 90)
    scale = "dorian" if mode == "minor" and rng.random() < 0.4 else None
    a = Arrangement(
        rng,
        "lo-fi",
        seconds,
        beats,
        "4/4",
        mode,
        scale=scale,
        swing=rng.uniform(0.54, 0.62),
        swing_unit=0.25,
        jitter=0.010,
    )
    progressions = {
        "major": """
            ii9 | V13 | Imaj9 | vi7
            Imaj9 | vi9 | ii9 | V13
            IVmaj7 | iii7 | ii9 | Imaj9
            Imaj7 | iii7 | IVmaj9 | iv6
            IVmaj9 | V6 | iii7 | vi9
        """,
        "minor": """
            i9 | iv9 | bVImaj7 | V7b9
            i9 | bVImaj9 | bIIImaj7 | bVII6
            iv9 | bVII9 | bIIImaj9 | i9
            i9 | bVII6 | bVImaj7 | v7
        """,
    }[mode]
    keys = a.instrument(pick(rng, "epiano ep0 epiano2 mellowpiano jazzgtr piano nylon"), 0)
    bass = a.instrument(pick(rng, "fbass abass fretless"), 0)
    solo = a.instrument(
        pick(rng, "vibes mutetpt flute jazzgtr tenorsax piano clean kalimba epiano altosax"), -1
    )
    pad = None
    if rng.random() < 0.4:
        pad = Pad(a, a.instrument(pick(rng, "warmpad synstr2 oohs slowstrings"), -8), 50, 55, 78, 3)
    a.drums(rng.choice([0, 8, 25, 32, 10, 24]), -3, "drum machine")
    groove = drums.pick(
        rng,
        """
        kick X.....x...x..... snare ....X.......X... hat x.o.x.o.x.o.x.oo
        kick X..x......x..... snare ....X.......X..g hat x.x.x.x.x.x.x.x.
        kick X......x..X..... stick ....X.......X... hat xoxoxoxoxoxoxoxo
        kick X.x.......x..x.. snare ....X..g.g..X... hat ..x...x...x...x. shaker o.o.o.o.o.o.o.o.
        """,
    )
    pattern = pick(
        rng, "X-------x-----x- X-----x-..x---x- x---..x-----x--- X--------------- ..x-----..x-----"
    )
    comp = Comp(a, keys, 66, 50, 74, rootless=True, hold=0.95, pattern=pattern, strum=0.012)
    pattern = pick(rng, "R-----..R-..5-.. R---....R-8-a--- R-------5---a--- R--R--..R--..-a-")
    low = Bass(a, bass, 84, 28, 46, pattern, hold=0.95)

    def play(s: Section) -> None:
        comp(s)
        if pad:
            pad(s)
        if not s.intro or rng.random() < 0.5:
            low(s)
        drums.play(a, s, groove, 84, fills=0.35, fill="snare", only=drums.KICK_AND_HAT if s.intro else None)
        if s.melody and not (s.label == "B" and s.repeat % 2):
            lead(a, s.start, s.melody, solo, 76, 1.0)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        kind = pick(rng, "syncopated mid slow")
        return melody(a, bars, kind, 60, 82, 0.25, pentatonic=rng.random() < 0.6, rests=0.1)

    ending = [(keys, CHORD), (bass, BASS)]
    write(
        a,
        play,
        form="AABA",
        phrase=4,
        progressions=lines(progressions),
        melody=theme,
        ending=ending,
        ends=0.35,
    )
    return Score(
        a,
        tags="lo-fi, hip hop, chill, mellow",
        moods="calm, dreamy, melancholic, peaceful, romantic",
        energy="quiet and relaxing",
    )


def synthwave(rng: random.Random, seconds: float) -> Score:
    """Sequenced basses and arpeggios of the eighties."""
    mode = "minor" if rng.random() < 0.75 else "major"
    a = Arrangement(rng, "synthwave", seconds, tempo(rng, 84, 120), "4/4", mode, jitter=0.0)
    progressions = POP_MINOR if mode == "minor" else POP_MAJOR[:6]
    bass = a.instrument(pick(rng, "sbass1 sbass2 sbass3 sbass4 saw"), 3.5)
    pad = Pad(a, a.instrument(pick(rng, "warmpad polysynth synstr sweep synbrass2 halo"), -3), 70, 52, 76)
    sequencer = a.instrument(pick(rng, "square saw polysynth bright calliope"), -5)
    solo = a.instrument(pick(rng, "saw square calliope synbrass basslead synvoice"), -1)
    a.drums(rng.choice([24, 25, 16, 24]), -3, "drum machine")
    groove = drums.pick(
        rng,
        """
        kick X...X...X...X... snare ....X.......X... hat x.x.x.x.x.x.x.x.
        kick X.......X....... snare ....X.......X... hat xoxoxoxoxoxoxoxo
        kick X.....X.X....... snare ....X.......X... clap ....x.......x... hat x.x.x.x.x.x.x.x.
        """,
    )
    pattern = pick(
        rng, "RRRRRRRRRRRRRRRR R.R.R.R.R.R.R.R. RR8RRR8RRR8RRR8R R.8.R.8.R.8.R.8. R.RR8.RRR.RR8.R5"
    )
    low = Bass(a, bass, 92, 28, 41, pattern, hold=0.8)
    order = rng.choice(["up", "up and down", "random", "octaves", "down"])
    figure = Arpeggio(a, sequencer, 70, 60, 88, order=order, rate=rng.choice([0.25, 0.25, 0.5]), hold=0.8)

    def play(s: Section) -> None:
        pad(s)
        low(s)
        if s.label != "A" or s.repeat % 2 or s.melody is None:
            figure(s)
        only = {"kick"} if s.intro else None
        drums.play(a, s, groove, 100, fills=0.6, fill="machine", crash=not s.intro, only=only)
        if s.melody:
            lead(a, s.start, s.melody, solo, 90, 0.98)
        pump(a, s, [pad.channel], 0.55)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        kind = pick(rng, "slow mid syncopated")
        return melody(a, bars, kind, 62, 84, 0.25, pentatonic=rng.random() < 0.5)

    write(
        a,
        play,
        form=pick(rng, "AABA ABAC BAAB"),
        phrase=4 if a.bar_seconds > 2.1 else 8,
        progressions=progressions,
        melody=theme,
        ending=[(pad.channel, CHORD), (bass, BASS), (solo, LEAD)],
        ends=0.35,
    )
    return Score(
        a,
        tags="synthwave, electronic, retro, 80s",
        moods="dreamy, mysterious, uplifting, dark, epic, melancholic",
        energy="moderately energetic",
    )


def techno(rng: random.Random, seconds: float) -> Score:
    """Four on the floor, a sequence of sixteenths, stabs; breaks without the kick."""
    beats = tempo(rng, 122, 142)
    scale = pick(rng, "minor phrygian dorian")
    a = Arrangement(rng, "techno", seconds, beats, "4/4", "minor", scale=scale, jitter=0.0)
    progressions = lines("""
        i | i | i | i
        i | i | bVI | bVII
        i | i | iv | i
        i | bVII | i | bVI
        i | i | bIII | iv
    """)
    bass = a.instrument(pick(rng, "sbass2 sbass3 sbass4 sbass1"), 4)
    stab = a.instrument(pick(rng, "saw polysynth synbrass2 synstr square organ"), 1)
    sequencer = a.instrument(pick(rng, "square saw bright calliope basslead"), 0)
    pad = Pad(a, a.instrument(pick(rng, "sweep halo spacevoice warmpad"), -3), 66, 52, 74)
    a.drums(rng.choice([24, 25, 24, 16]), -4, "drum machine")
    hats = drums.pick(
        rng,
        """
        open ..x...x...x...x.
        open ..x...x...x...x. hat xoxoxoxoxoxoxoxo
        hat ..X...X...X...X. shaker oooooooooooooooo
        """,
    )
    groove = {"kick": "X...X...X...X...", "clap": "....X.......X...", **hats}
    if rng.random() < 0.4:
        pattern = pick(rng, "...x..x....x..x. ..x..x....x..x.. x..x..x...x.....")
        groove[rng.choice(("stick", "tom 4", "cowbell"))] = pattern
    pattern = pick(
        rng, "..R...R...R...R. .RRR.RRR.RRR.RRR R..R..R.R..R..R. RRRRRRRRRRRRRR8R ..RR..RR..RR..R8"
    )
    low = Bass(a, bass, 98, 28, 41, pattern, hold=0.75)
    patterns = (
        "...S..S......... S..S..S.....S... ..S...S...S...S. S.....S....S.... X--.............X--.......s....."
    )
    stabs = Comp(a, stab, 82, 55, 76, 3, pattern=pick(rng, patterns), hold=0.6)
    sequence = [rng.choice((0, 0, 0, 2, 3, 4, 7)) for _ in range(rng.choice((8, 16, 12)))]
    gates = [rng.random() < 0.75 for _ in range(16)]

    def sequenced(s: Section) -> None:
        keyboard = Keyboard(a.scale)
        for step in range(len(s.bars) * a.steps):
            if gates[step % len(gates)]:
                root = 60 + s.chord(step / STEPS).root
                pitch = keyboard.step(root, sequence[step % len(sequence)])
                a.note(
                    sequencer, s.start + step / STEPS, 0.18, pitch, 76 * (1.1 if step % STEPS == 0 else 0.9)
                )

    def play(s: Section) -> None:
        quiet = s.label == "D"
        if not quiet or rng.random() < 0.3:
            begins = s.label in ("A", "intro") and s.repeat == 0
            only = {"kick", "hat", "shaker"} if begins else None
            drums.play(a, s, groove, 108, fills=0.5, fill="machine", crash=True, only=only)
        else:
            claps = "....X.......X..." if rng.random() < 0.5 else "................"
            ticking = {"hat": groove.get("hat", "x.x.x.x.x.x.x.x."), "clap": claps}
            drums.play(a, s, ticking, 100, fills=1.0, fill="machine")
        low(s)
        if s.label != "A" or s.repeat:
            stabs(s)
        if s.label != "B":
            sequenced(s)
        if s.label not in ("A", "B"):
            pad(s)
            pump(a, s, [pad.channel, stab], 0.25)

    write(
        a,
        play,
        form=pick(rng, "ABCB BCDC CBCD"),
        phrase=8 if a.bar_seconds < 1.85 else 4,
        progressions=progressions,
        ending=[(bass, BASS), (stab, CHORD)],
        ends=0.25,
    )
    return Score(
        a,
        tags="techno, electronic, dance, four on the floor",
        moods="dark, tense, mysterious, dramatic",
        energy="loud and energetic",
    )


def house(rng: random.Random, seconds: float) -> Score:
    """Four on the floor with open hats off the beat, piano or organ stabs, claps."""
    mode = "minor" if rng.random() < 0.6 else "major"
    beats = tempo(rng, 118, 128)
    a = Arrangement(
        rng,
        "house",
        seconds,
        beats,
        "4/4",
        mode,
        scale="dorian" if mode == "minor" else None,
        swing=rng.uniform(0.5, 0.56),
        swing_unit=0.25,
        jitter=0.002,
    )
    progressions = {
        "minor": """
            i9 | i9 | iv9 | iv9
            i7 | bIIImaj7 | bVImaj7 | v7
            i9 | IV9 | i9 | IV9
            bVImaj7 | v7 | i9 | i9
        """,
        "major": """
            Imaj7 | vi7 | ii9 | V7sus4
            IVmaj7 | iii7 | vi7 | V
            vi7 | IVmaj7 | I | V
            ii9 | V13 | Imaj9 | vi7
        """,
    }[mode]
    keys = a.instrument(pick(rng, "brightpiano percorgan organ epiano piano polysynth"), 2)
    bass = a.instrument(pick(rng, "sbass1 fbass sbass4 sbass2 slap"), 4)
    pad = Pad(a, a.instrument(pick(rng, "strings synstr warmpad oohs"), -1), 64, 60, 82, 3)
    solo = a.instrument(pick(rng, "altosax vibes flute saw trumpet percorgan marimba square"), 2)
    a.drums(rng.choice([24, 25, 0]), -4, "drum machine")
    groove = {
        "kick": "X...X...X...X...",
        "clap": "....X.......X...",
        "open": "..x...x...x...x.",
        "hat": pick(rng, "xoxoxoxoxoxoxoxo x..ox..ox..ox..o ................"),
        "shaker": pick(rng, "oooooooooooooooo ................"),
    }
    if rng.random() < 0.4:
        groove["conga"] = "...x..x....x.x.."
    pattern = pick(
        rng, "S..S..S...S..S.. ..X-..X-..X-..X- S..S...S..S.S... X--x--x-..x--x-- ...X-.S....X-.S."
    )
    comp = Comp(a, keys, 82, 55, 79, rootless=True, pattern=pattern)
    pattern = pick(rng, "..R...R...R...R. R..R..R...8.R.a. R.....R.R.8...a. ..R8..R8..R8..R8")
    low = Bass(a, bass, 94, 28, 43, pattern, hold=0.85)

    def play(s: Section) -> None:
        comp(s)
        if not s.intro:
            low(s)
        if s.label in ("B", "C"):
            pad(s)
            pump(a, s, [pad.channel], 0.3)
        only = drums.KICK_AND_HAT if s.intro else None
        drums.play(a, s, groove, 104, fills=0.5, fill="machine", crash=not s.intro, only=only)
        if s.melody and (s.label != "A" or s.repeat % 2):
            lead(a, s.start, s.melody, solo, 84, 0.9)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, "syncopated", 60, 80, 0.2, pentatonic=True, rests=0.1)

    write(
        a,
        play,
        form=pick(rng, "ABAC BACB"),
        phrase=8,
        progressions=lines(progressions),
        melody=theme,
        ending=[(keys, CHORD), (bass, BASS)],
        ends=0.25,
    )
    return Score(
        a,
        tags="house, electronic, dance, groovy, four on the floor",
        moods="uplifting, happy, dreamy, tense, cheerful, dark",
        energy=rng.choice(["loud and energetic", "loud and energetic", "moderately energetic"]),
    )


def drum_and_bass(rng: random.Random, seconds: float) -> Score:
    """Broken beats at 164 to 180, long basses, pads."""
    beats = tempo(rng, 164, 180)
    scale = pick(rng, "minor dorian")
    a = Arrangement(rng, "drum and bass", seconds, beats, "4/4", "minor", scale=scale, jitter=0.001)
    progressions = lines("""
        i9 | i9 | bVImaj7 | bVII
        i | i | iv | iv
        bVImaj7 | bVI | i9 | i9
        i9 | v7 | bVImaj7 | iv9
        i | bIII | bVII | iv
    """)
    bass = a.instrument(pick(rng, "sbass2 sbass3 sbass4 sbass1"), 5)
    pad = Pad(a, a.instrument(pick(rng, "warmpad slowstrings sweep spacevoice halo choir"), -3), 66, 52, 76)
    keys = a.instrument(pick(rng, "epiano piano vibes atmos saw bright"), -3)
    solo = a.instrument(pick(rng, "saw square flute mellowpiano synvoice calliope"), -2)
    a.drums(rng.choice([0, 16, 24, 1]), -1, rng.choice(["drum machine", "drum kit"]))
    groove = drums.pick(
        rng,
        """
        kick X.........X..... snare ....X.......X... hat x.x.x.x.x.x.x.x.
        kick X.x.......X.....X.........xX.... snare ....X..g.g..X..g....X..g.g..X.g. hat x.x.x.x.x.x.x.x.
        kick X.......x.X..... snare ....X..g....X... hat xoxoxoxoxoxoxoxo
        kick X.x.......X.....X.x.......X..... snare ....X..g.g..X.......X..g.g....X. ride x.x.x.x.x.x.x.x.
        """,
    )
    pattern = pick(
        rng, "R--------------- R-----R-....R-8- R--.R-..R-....a- R-------..R---5- R-R-..R-..R-8---"
    )
    low = Bass(a, bass, 100, 26, 40, pattern, hold=0.95)
    order = rng.choice(["up", "random", "up and down", "wide"])
    figure = Arpeggio(a, keys, 68, 60, 84, order=order, hold=1.5)

    def play(s: Section) -> None:
        pad(s)
        if not s.intro:
            low(s)
        only = {"hat", "ride", "snare"} if s.intro else None
        drums.play(a, s, groove, 108, fills=0.6, fill="snare", crash=not s.intro, only=only)
        if s.label != "A":
            figure(s)
        if s.melody and s.label != "B":
            lead(a, s.start, s.melody, solo, 82, 1.0)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, pick(rng, "slow mid syncopated"), 62, 84, 0.3, pentatonic=True)

    ending = [(pad.channel, CHORD), (bass, BASS)]
    write(
        a,
        play,
        form="ABAC",
        phrase=8,
        progressions=progressions,
        melody=theme,
        intro=4,
        ending=ending,
        ends=0.25,
    )
    return Score(
        a,
        tags="drum and bass, electronic, breakbeat, fast",
        moods="tense, dark, dreamy, mysterious, dramatic",
        energy="loud and energetic",
    )


def chiptune(rng: random.Random, seconds: float) -> Score:
    """Square waves, fast arpeggios, the drums of a games console."""
    mode = "major" if rng.random() < 0.6 else "minor"
    a = Arrangement(rng, "chiptune", seconds, tempo(rng, 112, 172), "4/4", mode, jitter=0.0)
    progressions = POP_MINOR
    if mode == "major":
        progressions = [*POP_MAJOR[:7], "I | bVI | bVII | I", "I | IV | bVII | V"]
    solo = a.instrument("square", 1)
    second = a.instrument("square", -5)
    bass = a.instrument(pick(rng, "sine sine saw"), -1)
    a.drums(rng.choice([24, 25, 24]), -3, "drum machine")
    groove = drums.pick(
        rng,
        """
        kick X...X...X...X... snare ....X.......X... hat x.x.x.x.x.x.x.x.
        kick X.....x.X....... snare ....X.......X... hat xxxxxxxxxxxxxxxx
        kick X..x..x.X..x.... snare ....X.......X..x hat x.x.x.x.x.x.x.x.
        """,
    )
    pattern = pick(
        rng, "R.8.R.8.R.8.R.8. R.R.R.R.R.R.R.R. R.5.8.5.R.5.8.5. RR8RRR8RRR8RRR8R R-..R-8-R-..5-a-"
    )
    low = Bass(a, bass, 96, 36, 52, pattern, hold=0.8)
    order = rng.choice(["up", "up and down", "octaves", "down"])
    rate = rng.choice([0.25, 0.25, 0.125 if a.tempo < 140 else 0.25])
    figure = Arpeggio(a, second, 72, 60, 80, 3, order=order, rate=rate, hold=0.85)
    echo = rng.random() < 0.35

    def play(s: Section) -> None:
        low(s)
        figure(s)
        drums.play(a, s, groove, 92, fills=0.7, fill="machine", only=drums.KICK_AND_HAT if s.intro else None)
        if s.melody:
            lead(a, s.start, s.melody, solo, 96, 0.88)
            if echo:
                for at, length, pitch, _ in s.melody:
                    a.note(second, s.start + at + 0.75, min(length, 0.5), pitch, 56)

    def theme(_: str, bars: Sequence[Bar]) -> Melody:
        return melody(a, bars, pick(rng, "fast run syncopated"), 67, 91, 0.3)

    write(
        a,
        play,
        form=pick(rng, "AABA ABAC AABB"),
        phrase=8,
        progressions=progressions,
        melody=theme,
        ending=[(solo, LEAD), (bass, BASS), (second, CHORD)],
        ends=0.4,
        variation=0.2,
    )
    return Score(
        a,
        tags="chiptune, 8-bit, video game, retro",
        moods="playful, happy, cheerful, uplifting, tense, mysterious",
        energy=rng.choice(["moderately energetic", "loud and energetic"]),
    )
