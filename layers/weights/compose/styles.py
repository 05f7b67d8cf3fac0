"""The styles."""

from weights.compose import drums, parts
from weights.compose.arrangement import Arr
from weights.compose.drums import BELL, CLAP, COW, CR, DV, HH, K, OH, PH, RIDE, RIM, S, SHK, TAMB
from weights.compose.form import pump, run, swell
from weights.compose.melody import melody
from weights.compose.parts import bass_note, chord_at, spans
from weights.compose.theory import Ladder, local_scale, near_tone, satb, voice

POP_MAJ = ["I | V | vi | IV", "vi | IV | I | V", "I | vi | IV | V", "I | IV | vi | V", "IV | V | iii | vi",
           "I | iii | IV | V", "I | V/1 | vi | IV", "IV | I | V | vi", "Iadd9 | IVadd9 | vi7 | Vsus4 V", "I | ii7 | IV | V"]
POP_MIN = ["i | bVI | bIII | bVII", "i | bVII | bVI | bVII", "i | iv | bVI | V", "bVI | bVII | i | i",
           "i | v | bVI | bVII", "i | bIII | bVII | iv", "i | bVII | iv | bVI", "i | bVI | iv | V"]
CL_MAJ = ["I | V7/1 | I/1 | IV | I | ii/1 | I V7 | I", "I | IV | V7 | I | vi | ii/1 | V7 | I",
          "I | ii/1 | V7 | I | IV | I/1 | ii V7 | I", "I | V/1 | vi | iii | IV | I | ii7 V7 | I",
          "I | I7 | IV | iv | I/2 | V7 | I | I", "I | vi | ii | V7 | I/1 | IV | I V7 | I", "I V/1 | vi iii | IV I | V | I V/1 | vi iii | IV V7 | I"]
CL_MIN = ["i | V7/1 | i | iv | i/1 | iio | i V7 | i", "i | bVI | iv | V7 | i | bIII | iv V7 | i",
          "i | V7 | i | V | iv | i/1 | iio V7 | i", "i | v/1 | bVI | bIII | iv | i | iv V7 | i",
          "i | iv | bVII | bIII | bVI | iio | V7 | i", "i V/1 | i iv | i V | i | bIII bVII | bVI iv | V7 | i"]



def U(rng, lo, hi):
    return round(rng.uniform(lo, hi), 1)


def s_ambient(rng, sec):
    scale = rng.choice(["major", "lydian", "dorian", "minor", "major", "minor"])
    mode = "minor" if scale in ("minor", "dorian") else "major"
    a = Arr(rng, "ambient", sec, U(rng, 60, 78), rng.choice(["4/4", "4/4", "3/4"]), mode, scale, jitter=.015)
    pr = {"major": ["Imaj9 | IVmaj7 | Imaj9 | vi9", "Iadd9 | iii7 | IVmaj9 | IVmaj9", "Imaj7 | II/1 | Imaj9 | II" if scale == "lydian" else "Imaj7 | ii9 | IVmaj7 | Vsus4",
                    "IVmaj9 | Iadd9 | vi9 | Vsus4"],
          "minor": ["i9 | bVImaj7 | i9 | bVIIsus2", "i9 | IV | i9 | v7" if scale == "dorian" else "i9 | iv9 | bVImaj7 | v7",
                    "iadd9 | bIIImaj7 | bVII | bVImaj7"]}[mode]
    pads = rng.sample(["warmpad", "halo", "sweep", "spacevoice", "bowed", "slowstrings", "choir", "soundtrack", "synstr2", "oohs", "fantasia"], 2)
    p1, p2 = a.inst(pads[0], 0), a.inst(pads[1], -3)
    bass = a.inst(rng.choice(["fretless", "sbass1", "contrabass", "warmpad"]), -3)
    bell = a.inst(rng.choice(["vibes", "piano", "mellowpiano", "epiano", "harp", "celesta", "star", "echo", "atmos", "panflute", "shaku", "sitar", "sitar", "kalimba", "clean"]), -1)
    arp = rng.random() < .5
    ac = a.inst(rng.choice(["atmos", "harp", "vibes", "kalimba", "fantasia", "nylon"]), -6) if arp else None
    st1, st2, s3 = {}, {}, {}
    order = rng.choice(["up", "updown", "wide", "skip"])

    def play(kind, t, bars, mel, rep):
        parts.pad(a, t, bars, p1, 66, 50, 74, 4, st1)
        if kind != "i":
            parts.pad(a, t, bars, p2, 58, 60, 84, 3, st2)
        parts.bass(a, t, bars, bass, None, 64, 30, 48, s3, .98, "R" + "-" * (a.steps - 1))
        if arp and kind != "B":
            parts.arp(a, t, bars, ac, .5, order, 52, 55, 84, 4, st2.setdefault("a", {}), 2.0)
        if mel:
            parts.lead(a, t, mel, bell, 68, 1.6)
        swell(a, t, len(bars) * a.bb / 2, [p1, p2], .65, 1)
        swell(a, t + len(bars) * a.bb / 2, len(bars) * a.bb / 2, [p1, p2], .65, 1, True)
    run(a, pr, "AABA", 4, play, lambda l, b: melody(a, b, "slow", 64, 88, .4, penta=True, rest=.15), 1,
        [(p1, "c"), (bass, "b"), (bell, "l")], .3)
    return a, ["ambient", "pads", "atmospheric", "slow"], ["calm", "dreamy", "peaceful", "mysterious", "melancholic"], "quiet and relaxing"


def s_lofi(rng, sec):
    mode = rng.choice(["major", "minor"])
    a = Arr(rng, "lo-fi", sec, U(rng, 68, 90), "4/4", mode, "dorian" if mode == "minor" and rng.random() < .4 else None,
            swing=rng.uniform(.54, .62), swing_unit=.25, jitter=.010)
    pr = ["ii9 | V13 | Imaj9 | vi7", "Imaj9 | vi9 | ii9 | V13", "IVmaj7 | iii7 | ii9 | Imaj9", "Imaj7 | iii7 | IVmaj9 | iv6", "IVmaj9 | V6 | iii7 | vi9"] \
        if mode == "major" else ["i9 | iv9 | bVImaj7 | V7b9", "i9 | bVImaj9 | bIIImaj7 | bVII6", "iv9 | bVII9 | bIIImaj9 | i9", "i9 | bVII6 | bVImaj7 | v7"]
    keys = a.inst(rng.choice(["epiano", "ep0", "epiano2", "mellowpiano", "jazzgtr", "piano", "nylon"]), 0)
    bass = a.inst(rng.choice(["fbass", "abass", "fretless"]), 0)
    lead = a.inst(rng.choice(["vibes", "mutetpt", "flute", "jazzgtr", "tenorsax", "piano", "clean", "kalimba", "epiano", "altosax"]), -1)
    pad = a.inst(rng.choice(["warmpad", "synstr2", "oohs", "slowstrings"]), -8) if rng.random() < .4 else None
    a.drums(rng.choice([0, 8, 25, 32, 10, 24]), -3, "drum machine")
    g = rng.choice([
        {K: "X.....x...x.....", S: "....X.......X...", HH: "x.o.x.o.x.o.x.oo"},
        {K: "X..x......x.....", S: "....X.......X..g", HH: "x.x.x.x.x.x.x.x."},
        {K: "X......x..X.....", RIM: "....X.......X...", HH: "xoxoxoxoxoxoxoxo"},
        {K: "X.x.......x..x..", S: "....X..g.g..X...", HH: "..x...x...x...x.", SHK: "o.o.o.o.o.o.o.o."}])
    cp = rng.choice(["X-------x-----x-", "X-----x-..x---x-", "x---..x-----x---", "X---------------", "..x-----..x-----"])
    bp = rng.choice(["R-----..R-..5-..", "R---....R-8-a---", "R-------5---a---", "R--R--..R--..-a-"])
    st, sb, sp = {}, {}, {}

    def play(kind, t, bars, mel, rep):
        parts.comp(a, t, bars, keys, None, 66, 50, 74, 4, st, rootless=True, short=.95, fixed=cp, strum=.012)
        if pad is not None:
            parts.pad(a, t, bars, pad, 50, 55, 78, 3, sp)
        if kind != "i" or rng.random() < .5:
            parts.bass(a, t, bars, bass, None, 84, 28, 46, sb, .95, bp)
        drums.drums(a, t, len(bars), g, 84, .35, False, {HH, K} if kind == "i" else None, "snare")
        if mel and not (kind == "B" and rep % 2):
            parts.lead(a, t, mel, lead, 76, 1.0)
    run(a, pr, "AABA", 4, play, lambda l, b: melody(a, b, rng.choice(["sync", "mid", "slow"]), 60, 82, .25, penta=rng.random() < .6, rest=.1), 2,
        [(keys, "c"), (bass, "b")], .35)
    return a, ["lo-fi", "hip hop", "chill", "mellow"], ["calm", "dreamy", "melancholic", "peaceful", "romantic"], "quiet and relaxing"


def s_pop(rng, sec):
    mode = "major" if rng.random() < .68 else "minor"
    a = Arr(rng, "pop", sec, U(rng, 90, 128), "4/4", mode, jitter=.005)
    pr = POP_MAJ if mode == "major" else POP_MIN
    key = a.inst(rng.choice(["piano", "brightpiano", "epiano", "piano"]), 0)
    gtr = a.inst(rng.choice(["steel", "clean", "twelve", "nylon", "ukulele", "palmmute"]), -2)
    bass = a.inst(rng.choice(["fbass", "pbass", "pop", "sbass1"]), 0)
    lead = a.inst(rng.choice(["saw", "square", "flute", "clean", "violin", "brightpiano", "altosax", "glock", "calliope", "bright", "panflute", "marimba", "trumpet"]), 0)
    pad = a.inst(rng.choice(["strings", "warmpad", "synstr", "oohs", "choir", "organ", "polysynth"]), -5)
    a.drums(rng.choice([0, 1, 8, 16, 24]), 2)
    g = rng.choice([
        {K: "X.......X.x.....", S: "....X.......X...", HH: "x.x.x.x.x.x.x.x."},
        {K: "X.....x.X.......", S: "....X.......X...", HH: "x.o.x.o.x.o.x.o."},
        {K: "X..x..x...x.....", S: "....X.......X...", HH: "xoxoxoxoxoxoxoxo"},
        {K: "X...X...X...X...", CLAP: "....X.......X...", HH: "..x...x...x...x.", TAMB: "....o.......o..."},
        {K: "X.......X.......", S: "....X.......X...", HH: "x.x.x.x.x.x.x.x.", OH: "..............x."}])
    kp = rng.choice(["X---x---x---x---", "X-----x-----x---", "X--x--x---x-x---", "X-------x-------", "x-x-x-x-x-x-x-x-"])
    gp = rng.choice(["X---x-x-..x-x-x-", "X-x-x-xox-x-x-xo", "x---X-x-x---X-x-", "s.s.S.s.s.s.S.s."])
    bp = rng.choice(["R-R-R-R-R-R-R-R-", "R-----R-R-----a-", "R--R--R-R--R--a-", "R-------R-----a-", "R--R..R-5--5..a-"])
    st, sg, sb, sp = {}, {}, {}, {}
    glk = a.inst("glock", -8) if rng.random() < .25 else None
    vm = rng.random() < .8
    arpk = rng.random() < .3

    def play(kind, t, bars, mel, rep):
        big = kind in "C"
        if arpk and not big:
            parts.arp(a, t, bars, key, .5, "updown", 66, 52, 79, 4, st, 1.5)
        else:
            parts.comp(a, t, bars, key, None, 70, 52, 77, 4, st, fixed=kp)
        if kind != "i":
            parts.comp(a, t, bars, gtr, None, 62, 48, 72, 4, sg, fixed=gp, strum=.010, short=1.0)
            parts.bass(a, t, bars, bass, None, 90, 28, 45, sb, .92, bp)
        if big or kind == "B":
            parts.pad(a, t, bars, pad, 66, 57, 79, 3, sp)
        gg = dict(g)
        if big and rng.random() < .5:
            gg[OH] = "..x...x...x...x."
            gg.pop(HH, None)
        drums.drums(a, t, len(bars), gg, 92 if big else 86, .85, kind != "i", {K, HH} if kind == "i" else None)
        if mel and (big or vm or kind == "B"):
            parts.lead(a, t, mel, lead, 92 if big else 84, .95)
            if big and glk is not None:
                parts.lead(a, t, mel, glk, 66, .9, 12)
    lo, hi = a.range(lead)
    lo, hi = max(lo, 60), min(hi, 84)
    if hi - lo < 14:
        hi = lo + 16
    run(a, pr, rng.choice(["VCVC", "CVCB", "VVCC", "CBCV"]), 4 if a.bar_s > 2.2 else 8, play,
        lambda l, b: melody(a, b, rng.choice(["sync", "mid", "fast"]) if l != "B" else "slow", lo, hi, .2, penta=rng.random() < .4), 2,
        [(key, "c"), (bass, "b"), (lead, "l")], .45, intens={"V": .92, "C": 1.06, "i": .85, "B": .95})
    return a, ["pop", "catchy", "melodic"], ["happy", "uplifting", "cheerful", "romantic", "melancholic", "sad", "dreamy"], \
        "moderately energetic" if a.tempo < 118 else rng.choice(["moderately energetic", "loud and energetic"])


def s_rock(rng, sec):
    mode = "minor" if rng.random() < .6 else "major"
    a = Arr(rng, "rock", sec, U(rng, 104, 172), "4/4", mode, "mixolydian" if mode == "major" and rng.random() < .4 else None, jitter=.005)
    pr = ["i5 | bVI5 | bVII5 | i5", "i5 | bIII5 | bVII5 | IV5", "i5 bVII5 | bVI5 bVII5 | i5 bVII5 | bVI5 bVII5", "i5 | i5 | bVI5 | bVII5", "i5 bIII5 | IV5 bIII5 | i5 | bVI5 bVII5",
          "bVI5 | bVII5 | i5 | v5"] \
        if mode == "minor" else ["I5 | IV5 | V5 | IV5", "I5 | bVII5 | IV5 | I5", "I5 | V5 | vi5 | IV5", "I5 IV5 | I5 V5 | I5 IV5 | V5 I5", "I5 | vi5 | IV5 | V5"]
    rhythm = "dist" if rng.random() < .7 else "overdrive"
    d1 = a.inst(rhythm, 0)
    bass = a.inst(rng.choice(["pbass", "fbass"]), 0)
    lead = a.inst(rng.choice(["overdrive" if rhythm == "dist" else "dist"] * 3 + ["clean", "rockorgan"]), 2)
    org = a.inst(rng.choice(["rockorgan", "brightpiano", "organ"]), -5) if rng.random() < .4 else None
    cl = a.inst("clean", -3) if rng.random() < .4 else None
    a.drums(rng.choice([16, 17, 0, 8, 1]), -2)
    g = rng.choice([
        {K: "X.....x.X.......", S: "....X.......X...", HH: "x.x.x.x.x.x.x.x."},
        {K: "X.x.....X.x.....", S: "....X.......X...", HH: "x.x.x.x.x.x.x.x."},
        {K: "X.....xx..x.....", S: "....X.......X...", HH: "x.x.x.x.x.x.x.x."},
        {K: "X...X...X...X...", S: "....X.......X...", HH: "x.x.x.x.x.x.x.x."},
        {K: "X.X.X.X.X.X.X.X.", S: "....X.......X...", HH: "x...x...x...x..."}])
    gp = rng.choice(["s.s.s.s.s.s.s.s.", "X--xs.s.X---s.s.", "X-----x-..x-x---", "X---s.s.X---s.s.", "S.ssS.ssS.ssS.ss", "X---------------"])
    gc = rng.choice(["X---X---X---X---", "X-------X-------", "X-----X---x-X---", "x-x-x-x-x-x-x-x-"])
    bp = rng.choice(["R.R.R.R.R.R.R.R.", "R-R-R-R-R-R-R-a-", "R---R-R-R---R-a-"])
    st, sb, so, sc = {}, {}, {}, {}

    def power(t, bars, pat, vel):
        for i in range(len(bars)):
            k = 0
            while k < 16:
                s = pat[k]
                if s in "-.":
                    k += 1
                    continue
                ln = 1
                while k + ln < 16 and pat[k + ln] == "-":
                    ln += 1
                ch = chord_at(a, bars, i * 16 + k)
                r = bass_note(ch, 40, 51, st.get("r", 44))
                b = t + i * 4 + k * .25
                d = ln * .25 * (.55 if s in "sS" else .96)
                v = vel * (1.1 if s in "XS" else .95)
                for p in (r, r + 7, r + 12):
                    a.add(d1, b, d, p, v)
                k += ln

    def play(kind, t, bars, mel, rep):
        big = kind in "CS"
        if kind == "B" and cl is not None:
            parts.arp(a, t, bars, cl, .5, "updown", 78, 52, 76, 4, sc, 1.5)
        else:
            power(t, bars, gc if big else gp, 92)
        parts.bass(a, t, bars, bass, None, 96, 28, 43, sb, .9, bp)
        if org is not None and big:
            parts.pad(a, t, bars, org, 70, 55, 76, 3, so)
        gg = dict(g)
        if big:
            gg.pop(HH)
            gg[rng.choice((RIDE, OH))] = "x...x...x...x..."
        drums.drums(a, t, len(bars), gg, 104, .9, True, None)
        if mel and (kind != "V" or rep % 2):
            parts.lead(a, t, mel, lead, 98, .97, harm=-2 if big and rng.random() < .3 else 0)
    run(a, pr, rng.choice(["VCVS", "VVCC", "CVSB", "VCSB"]), 8 if a.bar_s < 1.9 else 4, play,
        lambda l, b: melody(a, b, "fast" if l == "S" else rng.choice(["sync", "mid", "fast"]), 60, 82, .25, penta=rng.random() < .7), 4 if a.bar_s < 1.8 else 2,
        [(d1, "b"), (bass, "b"), (lead, "l")], .4)
    return a, ["rock", "electric guitar", "guitar riff", "driving"], ["epic", "tense", "dark", "uplifting", "dramatic", "happy"], "loud and energetic"


def s_synthwave(rng, sec):
    mode = "minor" if rng.random() < .75 else "major"
    a = Arr(rng, "synthwave", sec, U(rng, 84, 120), "4/4", mode, jitter=0)
    pr = POP_MIN if mode == "minor" else POP_MAJ[:6]
    bass = a.inst(rng.choice(["sbass1", "sbass2", "sbass3", "sbass4", "saw"]), 3.5)
    pad = a.inst(rng.choice(["warmpad", "polysynth", "synstr", "sweep", "synbrass2", "halo"]), -3)
    arp = a.inst(rng.choice(["square", "saw", "polysynth", "bright", "calliope"]), -5)
    lead = a.inst(rng.choice(["saw", "square", "calliope", "synbrass", "basslead", "synvoice"]), -1)
    a.drums(rng.choice([24, 25, 16, 24]), -3, "drum machine")
    g = rng.choice([{K: "X...X...X...X...", S: "....X.......X...", HH: "x.x.x.x.x.x.x.x."},
                    {K: "X.......X.......", S: "....X.......X...", HH: "xoxoxoxoxoxoxoxo"},
                    {K: "X.....X.X.......", S: "....X.......X...", CLAP: "....x.......x...", HH: "x.x.x.x.x.x.x.x."}])
    bp = rng.choice(["RRRRRRRRRRRRRRRR", "R.R.R.R.R.R.R.R.", "RR8RRR8RRR8RRR8R", "R.8.R.8.R.8.R.8.", "R.RR8.RRR.RR8.R5"])
    order, rate = rng.choice(["up", "updown", "rnd", "oct", "down"]), rng.choice([.25, .25, .5])
    st, sb, sa = {}, {}, {}

    def play(kind, t, bars, mel, rep):
        parts.pad(a, t, bars, pad, 70, 52, 76, 4, st)
        parts.bass(a, t, bars, bass, None, 92, 28, 41, sb, .8, bp)
        if kind != "A" or rep % 2 or mel is None:
            parts.arp(a, t, bars, arp, rate, order, 70, 60, 88, 4, sa, .8)
        drums.drums(a, t, len(bars), g, 100, .6, kind != "i", {K} if kind == "i" else None, "mach")
        if mel:
            parts.lead(a, t, mel, lead, 90, .98)
        pump(a, t, len(bars), [pad], .55)
    run(a, pr, rng.choice(["AABA", "ABAC", "BAAB"]), 4 if a.bar_s > 2.1 else 8, play,
        lambda l, b: melody(a, b, rng.choice(["slow", "mid", "sync"]), 62, 84, .25, penta=rng.random() < .5), 2,
        [(pad, "c"), (bass, "b"), (lead, "l")], .35)
    return a, ["synthwave", "electronic", "retro", "80s"], ["dreamy", "mysterious", "uplifting", "dark", "epic", "melancholic"], "moderately energetic"


def s_techno(rng, sec):
    a = Arr(rng, "techno", sec, U(rng, 122, 142), "4/4", "minor", rng.choice(["minor", "phrygian", "dorian"]), jitter=0)
    pr = ["i | i | i | i", "i | i | bVI | bVII", "i | i | iv | i", "i | bVII | i | bVI", "i | i | bIII | iv"]
    bass = a.inst(rng.choice(["sbass2", "sbass3", "sbass4", "sbass1"]), 4)
    stab = a.inst(rng.choice(["saw", "polysynth", "synbrass2", "synstr", "square", "organ"]), 1)
    arp = a.inst(rng.choice(["square", "saw", "bright", "calliope", "basslead"]), 0)
    pad = a.inst(rng.choice(["sweep", "halo", "spacevoice", "warmpad"]), -3)
    a.drums(rng.choice([24, 25, 24, 16]), -4, "drum machine")
    hats = rng.choice([{OH: "..x...x...x...x."}, {OH: "..x...x...x...x.", HH: "xoxoxoxoxoxoxoxo"}, {HH: "..X...X...X...X.", SHK: "oooooooooooooooo"}])
    g = {K: "X...X...X...X...", CLAP: "....X.......X...", **hats}
    if rng.random() < .4:
        g[rng.choice((RIM, 45, COW))] = rng.choice(["...x..x....x..x.", "..x..x....x..x..", "x..x..x...x....."])
    bp = rng.choice(["..R...R...R...R.", ".RRR.RRR.RRR.RRR", "R..R..R.R..R..R.", "RRRRRRRRRRRRRR8R", "..RR..RR..RR..R8"])
    sp = rng.choice(["...S..S.........", "S..S..S.....S...", "..S...S...S...S.", "S.....S....S....", "X--.............X--.......s....."])
    seq = [rng.choice((0, 0, 0, 2, 3, 4, 7)) for _ in range(rng.choice((8, 16, 12)))]
    gate = [rng.random() < .75 for _ in range(16)]
    sb, ss, sp_ = {}, {}, {}
    lvl = {"A": 0, "B": 1, "C": 2, "D": 3}

    def play(kind, t, bars, mel, rep):
        n = lvl.get(kind, 2)
        brk = kind == "D"
        if not brk or rng.random() < .3:
            drums.drums(a, t, len(bars), g, 108, .5, True, {K, HH, SHK} if kind in "iA" and rep == 0 else None, "mach")
        else:
            drums.drums(a, t, len(bars), {HH: g.get(HH, "x.x.x.x.x.x.x.x."), CLAP: "....X.......X..." if rng.random() < .5 else "................"}, 100, 1, False, None, "mach")
        parts.bass(a, t, bars, bass, None, 98, 28, 41, sb, .75, bp)
        if n >= 1 or rep:
            parts.comp(a, t, bars, stab, None, 82, 55, 76, 3, ss, fixed=sp, short=.6)
        if n != 1:
            m = Ladder(a.scale)
            for k in range(len(bars) * 16):
                if gate[k % 16]:
                    ch = chord_at(a, bars, k)
                    base = m.near(60 + (ch.root - 60) % 12)
                    a.add(arp, t + k * .25, .18, m.p[base + seq[k % len(seq)]], 76 * (1.1 if k % 4 == 0 else .9))
        if brk or n == 2:
            parts.pad(a, t, bars, pad, 66, 52, 74, 4, sp_)
            pump(a, t, len(bars), [pad, stab], .25)
    run(a, pr, rng.choice(["ABCB", "BCDC", "CBCD"]), 8 if a.bar_s < 1.85 else 4, play, None, 2, [(bass, "b"), (stab, "c")], .25)
    return a, ["techno", "electronic", "dance", "four on the floor"], ["dark", "tense", "mysterious", "dramatic"], "loud and energetic"


def s_house(rng, sec):
    mode = "minor" if rng.random() < .6 else "major"
    a = Arr(rng, "house", sec, U(rng, 118, 128), "4/4", mode, "dorian" if mode == "minor" else None, swing=rng.uniform(.5, .56), swing_unit=.25, jitter=.002)
    pr = ["i9 | i9 | iv9 | iv9", "i7 | bIIImaj7 | bVImaj7 | v7", "i9 | IV9 | i9 | IV9", "bVImaj7 | v7 | i9 | i9"] if mode == "minor" else \
        ["Imaj7 | vi7 | ii9 | V7sus4", "IVmaj7 | iii7 | vi7 | V", "vi7 | IVmaj7 | I | V", "ii9 | V13 | Imaj9 | vi7"]
    key = a.inst(rng.choice(["brightpiano", "percorgan", "organ", "epiano", "piano", "polysynth"]), 2)
    bass = a.inst(rng.choice(["sbass1", "fbass", "sbass4", "sbass2", "slap"]), 4)
    pad = a.inst(rng.choice(["strings", "synstr", "warmpad", "oohs"]), -1)
    lead = a.inst(rng.choice(["altosax", "vibes", "flute", "saw", "trumpet", "percorgan", "marimba", "square"]), 2)
    a.drums(rng.choice([24, 25, 0]), -4, "drum machine")
    g = {K: "X...X...X...X...", CLAP: "....X.......X...", OH: "..x...x...x...x.", HH: rng.choice(["xoxoxoxoxoxoxoxo", "x..ox..ox..ox..o", "................"]),
         SHK: rng.choice(["oooooooooooooooo", "................"])}
    if rng.random() < .4:
        g[63] = "...x..x....x.x.."
    kp = rng.choice(["S..S..S...S..S..", "..X-..X-..X-..X-", "S..S...S..S.S...", "X--x--x-..x--x--", "...X-.S....X-.S."])
    bp = rng.choice(["..R...R...R...R.", "R..R..R...8.R.a.", "R.....R.R.8...a.", "..R8..R8..R8..R8"])
    st, sb, sp = {}, {}, {}

    def play(kind, t, bars, mel, rep):
        parts.comp(a, t, bars, key, None, 82, 55, 79, 4, st, fixed=kp, rootless=True)
        if kind != "i":
            parts.bass(a, t, bars, bass, None, 94, 28, 43, sb, .85, bp)
        if kind in "BC":
            parts.pad(a, t, bars, pad, 64, 60, 82, 3, sp)
            pump(a, t, len(bars), [pad], .3)
        drums.drums(a, t, len(bars), g, 104, .5, kind != "i", {K, HH} if kind == "i" else None, "mach")
        if mel and (kind != "A" or rep % 2):
            parts.lead(a, t, mel, lead, 84, .9)
    run(a, pr, rng.choice(["ABAC", "BACB"]), 8, play, lambda l, b: melody(a, b, "sync", 60, 80, .2, penta=True, rest=.1), 2,
        [(key, "c"), (bass, "b")], .25)
    return a, ["house", "electronic", "dance", "groovy", "four on the floor"], ["uplifting", "happy", "dreamy", "tense", "cheerful", "dark"], rng.choice(["loud and energetic", "loud and energetic", "moderately energetic"])


def s_dnb(rng, sec):
    a = Arr(rng, "drum and bass", sec, U(rng, 164, 180), "4/4", "minor", rng.choice(["minor", "dorian"]), jitter=.001)
    pr = ["i9 | i9 | bVImaj7 | bVII", "i | i | iv | iv", "bVImaj7 | bVI | i9 | i9", "i9 | v7 | bVImaj7 | iv9", "i | bIII | bVII | iv"]
    bass = a.inst(rng.choice(["sbass2", "sbass3", "sbass4", "sbass1"]), 5)
    pad = a.inst(rng.choice(["warmpad", "slowstrings", "sweep", "spacevoice", "halo", "choir"]), -3)
    key = a.inst(rng.choice(["epiano", "piano", "vibes", "atmos", "saw", "bright"]), -3)
    lead = a.inst(rng.choice(["saw", "square", "flute", "mellowpiano", "synvoice", "calliope"]), -2)
    a.drums(rng.choice([0, 16, 24, 1]), -1, rng.choice(["drum machine", "drum kit"]))
    g = rng.choice([{K: "X.........X.....", S: "....X.......X...", HH: "x.x.x.x.x.x.x.x."},
                    {K: "X.x.......X.....X.........xX....", S: "....X..g.g..X..g....X..g.g..X.g.", HH: "x.x.x.x.x.x.x.x."},
                    {K: "X.......x.X.....", S: "....X..g....X...", HH: "xoxoxoxoxoxoxoxo"},
                    {K: "X.x.......X.....X.x.......X.....", S: "....X..g.g..X.......X..g.g....X.", RIDE: "x.x.x.x.x.x.x.x."}])
    bp = rng.choice(["R---------------", "R-----R-....R-8-", "R--.R-..R-....a-", "R-------..R---5-", "R-R-..R-..R-8---"])
    st, sb, sk = {}, {}, {}
    order = rng.choice(["up", "rnd", "updown", "wide"])

    def play(kind, t, bars, mel, rep):
        parts.pad(a, t, bars, pad, 66, 52, 76, 4, st)
        if kind != "i":
            parts.bass(a, t, bars, bass, None, 100, 26, 40, sb, .95, bp)
        drums.drums(a, t, len(bars), g, 108, .6, kind != "i", {HH, RIDE, S} if kind == "i" else None, "snare")
        if kind in "BC" or kind == "i":
            parts.arp(a, t, bars, key, .5, order, 68, 60, 84, 4, sk, 1.5)
        if mel and kind in "AC":
            parts.lead(a, t, mel, lead, 82, 1.0)
    run(a, pr, "ABAC", 8, play, lambda l, b: melody(a, b, rng.choice(["slow", "mid", "sync"]), 62, 84, .3, penta=True), 4, [(pad, "c"), (bass, "b")], .25)
    return a, ["drum and bass", "electronic", "breakbeat", "fast"], ["tense", "dark", "dreamy", "mysterious", "dramatic"], "loud and energetic"


def s_piano(rng, sec):
    mode = "major" if rng.random() < .55 else "minor"
    meter = rng.choice(["4/4", "4/4", "3/4", "6/8"])
    tx = rng.choice(["alberti", "arp", "nocturne", "chords", "romantic", "march"] if meter == "4/4" else ["arp", "waltz", "nocturne", "chords"] if meter == "3/4" else ["arp", "nocturne", "alberti"])
    tempo = U(rng, 60, 84) if tx in ("nocturne", "chords", "romantic") else U(rng, 88, 144)
    if meter == "6/8":
        tempo = U(rng, 60, 84)
    a = Arr(rng, "classical", sec, tempo, meter, mode, jitter=.010 if tx in ("nocturne", "romantic", "chords") else .005)
    pr = CL_MAJ if mode == "major" else CL_MIN
    p = a.inst(rng.choice(["piano", "piano", "mellowpiano", "brightpiano"]), 0)
    st, sb = {}, {}
    fast = tx in ("alberti", "march", "waltz") and tempo > 100
    kind_m = {"alberti": rng.choice(["fast", "run", "mid"]), "arp": rng.choice(["slow", "mid"]), "nocturne": rng.choice(["slow", "mid"]), "chords": "mid",
              "romantic": "mid", "march": "fast", "waltz": "fast"}[tx]
    oct_rh = rng.random() < .25

    def play(kind, t, bars, mel, rep):
        n = len(bars)
        if tx == "alberti":
            parts.arp(a, t, bars, p, .5 if tempo < 120 or meter == "6/8" else .5, "alberti", 60, 46, 64, 3, st, 1.0)
        elif tx == "arp":
            for b, d, ch, _ in spans(a, t, bars):
                r = bass_note(ch, 36, 52, sb.get("r", 42))
                sb["r"] = r
                v = voice(ch, st.get("v"), r + 7, r + 24, 3, rng)
                st["v"] = v
                seq = [r] + v + v[-2:0:-1] if meter != "6/8" else [r, v[0], v[1], v[2], v[1], v[0]]
                rate = .5 if meter == "6/8" else .25 if tempo < 100 else .5
                for k in range(int(round(d / rate))):
                    x = b + k * rate
                    a.add(p, x, d - k * rate if seq[k % len(seq)] == r else min(d - k * rate, 1.5), seq[k % len(seq)], 56 * a.accent(x - t))
        elif tx == "nocturne":
            for b, d, ch, _ in spans(a, t, bars):
                r = bass_note(ch, 34, 46, sb.get("r", 40))
                sb["r"] = r
                w = [r, r + (ch.pcs[2] - r) % 12, r + 12, r + 12 + (ch.pcs[1] - r) % 12, r + 12 + (ch.pcs[2] - r) % 12, r + 12 + (ch.pcs[1] - r) % 12]
                rate = .5
                for k in range(int(round(d / rate))):
                    a.add(p, b + k * rate, max(.4, d - k * rate), w[k % 6], 54 * (1.1 if k == 0 else .92))
        elif tx == "waltz":
            parts.oompah(a, t, bars, p, p, 66, 36, 50, 54, 70, 3, st, .6)
        elif tx == "march":
            parts.oompah(a, t, bars, p, p, 70, 36, 50, 54, 70, 3, st, .4)
        elif tx == "chords":
            parts.comp(a, t, bars, p, None, 58, 50, 67, 3, st, fixed="x---" * (a.steps // 4), short=1.0)
            parts.bass(a, t, bars, p, None, 62, 34, 48, sb, 1.0, "R" + "-" * (a.steps - 1))
        else:
            parts.bass(a, t, bars, p, None, 66, 31, 45, sb, 1.0, "R-------5-------")
            parts.comp(a, t, bars, p, None, 54, 50, 66, 3, st, fixed=".-o-o-o-" * 2, short=1.0)
        if mel is None:
            return
        parts.lead(a, t, mel, p, 80 if kind != "B" else 86, 1.0, 12 if oct_rh and rep % 2 else 0)
        if kind == "B" and tx in ("romantic", "chords", "march"):
            parts.lead(a, t, mel, p, 66, 1.0, -12 if oct_rh else 0, 0)
        elif rep % 2 or tx == "romantic":
            for b, d, q, v in mel:
                if d >= 1:
                    ch = chord_at(a, bars, b * 4)
                    a.add(p, t + b, d, near_tone(ch.pcs, q - 5), 60)
    run(a, pr, rng.choice(["AABA", "ABAC", "AABB"]), 8 if a.bar_s < 2.6 else 4, play,
        lambda l, b: melody(a, b, kind_m if l != "B" else rng.choice([kind_m, "mid"]), 66, 88, .28, chroma=.05), 1 if tx != "alberti" else 0, [(p, "w")], .5, .3,
        {"B": 1.12, "A": .96})
    calm = tx in ("nocturne", "arp", "chords", "romantic") and tempo < 90
    return a, ["classical", "solo piano", "piano"], (["calm", "romantic", "melancholic", "peaceful", "sad"] if calm else ["cheerful", "playful", "dramatic", "romantic", "happy", "tense"]), \
        "quiet and relaxing" if calm else "moderately energetic"


def s_strings(rng, sec):
    mode = rng.choice(["major", "minor"])
    a = Arr(rng, "classical", sec, U(rng, 60, 92), rng.choice(["4/4", "4/4", "3/4"]), mode, jitter=.012)
    h = "| {} | {} | {} | {} |"
    M = ["I V/1 | vi iii | IV I/1 | ii7 V | I V/1 | vi ii7/1 | I/2 V7 | I", "I IV | I/1 V/1 | I vi | ii/1 V | vi iii | IV I | ii7/1 V7 | I",
         "I I/1 | IV ii | V V7 | vi | IV I/1 | ii7 V | I/2 V7 | I", "I iii | vi IV | ii V/1 | I V | I7/3 IV | iv I | ii7 V7 | I"]
    m = ["i V/1 | i iv | i/1 iio/1 | V | bVI bIII | iv i | iio/1 V7 | i", "i iv | bVII bIII | bVI iv | V | i V/1 | bVI iv | i/2 V7 | i",
         "i v/1 | bVI bIII/1 | iv i/1 | iio V | i bVI | iv bVII/1 | V7 V7 | i", "i i/1 | iv bVII | bIII bVI | iio/1 V | i V7/1 | i iv | V7 | i"]
    chamber = rng.random() < .35
    if chamber:
        ch = [a.inst("cello", 0), a.inst("viola", -1), a.inst("violin", -2), a.inst("slowviolin", 1)]
    else:
        s1 = a.inst(rng.choice(["strings", "slowstrings", "orchpad"]), 0)
        s2 = a.inst(rng.choice(["strings", "slowstrings"]), 0)
        cb = a.inst("contrabass", -4) if rng.random() < .5 else None
        ch = [s2, s2, s1, s1]
    solo = a.inst(rng.choice(["violin", "cello", "oboe", "oboe", "flute", "clarinet", "englhorn"]), 1) if rng.random() < .55 else None
    pz = a.inst("pizz", -3) if rng.random() < .25 else None
    sz = {}

    def play(kind, t, bars, mel, rep):
        sp = list(spans(a, t, bars))
        vs = satb([s[2] for s in sp], rng)
        for i in range(4):
            x = [[s[0], s[1], v[i]] for s, v in zip(sp, vs)]
            # tie repeats, fill thirds with passing notes
            k = 0
            out = []
            lad = Ladder(a.scale)
            for b, d, p in x:
                if out and out[-1][2] == p and i < 3 and rng.random() < .6:
                    out[-1][1] += d
                else:
                    out.append([b, d, p])
            for j, (b, d, p) in enumerate(out):
                nx = out[j + 1][2] if j + 1 < len(out) else p
                if d >= 1 and abs(nx - p) in (3, 4) and rng.random() < .45:
                    q = lad.p[lad.near((p + nx) / 2)]
                    a.add(ch[i], b, d / 2, p, 72)
                    a.add(ch[i], b + d / 2, d / 2 * .99, q, 68)
                elif i == 3 and d >= 2 and rng.random() < .35:
                    q = lad.p[lad.near(p) + rng.choice((1, -1))]
                    a.add(ch[i], b, d * .5, p, 74)
                    a.add(ch[i], b + d * .5, d * .25, q, 70)
                    a.add(ch[i], b + d * .75, d * .25, p, 70)
                else:
                    a.add(ch[i], b, d * .99, p, 74 if i in (0, 3) else 68)
                if i == 0 and not chamber and cb is not None:
                    a.add(cb, b, d * .98, p - 12 if p - 12 >= 28 else p, 66)
        if solo is not None and mel and kind != "i":
            parts.lead(a, t, mel, solo, 84, .98)
        if pz is not None:
            parts.arp(a, t, bars, pz, .5, "updown", 66, 50, 74, 4, sz, .5)
        L = len(bars) * a.bb
        cs = sorted(set(ch))
        swell(a, t, L * .6, cs, .62, 1.0)
        swell(a, t + L * .6, L * .4, cs, .62, 1.0, True)
    lo, hi = (48, 67) if solo is not None and a.chname[solo][0] == "cello" else (64, 84)
    run(a, M if mode == "major" else m, "ABAC", 8 if a.bar_s < 2.9 else 4, play, lambda l, b: melody(a, b, rng.choice(["slow", "mid"]), lo, hi, .25), 0,
        [(ch[0], "b"), (ch[3], "c")], .5)
    return a, ["classical", "orchestral", "strings", "slow"], ["calm", "peaceful", "romantic", "sad", "melancholic", "dramatic"], "quiet and relaxing" if a.tempo < 78 else "moderately energetic"


def s_waltz(rng, sec):
    mode = "major" if rng.random() < .6 else "minor"
    a = Arr(rng, "waltz", sec, U(rng, 120, 178), "3/4", mode, jitter=.008)
    pr = ["I | I | V7 | V7 | V7 | V7 | I | I", "I | vi | ii | V7 | I | IV | V7 | I", "I | I7 | IV | iv | I | V7 | I | I", "I | V7 | I | V7 | IV | I | V7 | I"] if mode == "major" else \
        ["i | i | V7 | V7 | V7 | V7 | i | i", "i | iv | V7 | i | bVI | iv | V7 | i", "i | V7 | i | iv | iv | i | V7 | i", "i | bVII | bVI | V7 | iv | i | V7 | i"]
    which = rng.choice(["acc", "acc", "str", "mix"])
    lead = a.inst(rng.choice(["accordion", "accordion2", "bandoneon"]) if which != "str" else rng.choice(["violin", "strings", "clarinet", "flute"]), 1)
    cb = a.inst(rng.choice(["abass", "tuba", "contrabass"]) if which != "str" else rng.choice(["contrabass", "abass"]), 0)
    cc = a.inst({"acc": rng.choice(["accordion", "nylon", "steel"]), "str": rng.choice(["strings", "pizz"]), "mix": rng.choice(["strings", "piano", "harp"])}[which], -4)
    cn = a.inst(rng.choice(["violin", "clarinet", "strings", "cello", "oboe", "mandolin", "horn"]), -4)
    gl = a.inst("glock", -7) if rng.random() < .25 else None
    so, sc = {}, {}
    third = rng.random() < .5

    def play(kind, t, bars, mel, rep):
        parts.oompah(a, t, bars, cb, cc, 80, 31, 48, 55, 72, 3, so, .55)
        if mel:
            parts.lead(a, t, mel, lead, 88, .93, harm=-2 if third and (kind == "B" or rep % 2) else 0)
            if gl is not None:
                parts.lead(a, t, mel, gl, 62, .5, 12)
            if kind == "B" or rep % 2:
                parts.counter(a, t, bars, cn, 68, 57, 74, sc)
    run(a, pr, rng.choice(["AABA", "AABB", "ABAC"]), 8, play, lambda l, b: melody(a, b, rng.choice(["mid", "fast"]) if l != "B" else "fast", 64, 86, .3, chroma=.08), 2,
        [(cb, "b"), (cc, "c"), (lead, "l")], .5, .25)
    return a, ["waltz", "dance", "european"], ["romantic", "cheerful", "playful", "melancholic", "happy", "dreamy"], "moderately energetic"


def s_folk(rng, sec):
    sc = rng.choice(["major", "major", "minor", "dorian", "mixolydian"])
    mode = "minor" if sc in ("minor", "dorian") else "major"
    meter = rng.choice(["4/4", "4/4", "3/4", "6/8"])
    a = Arr(rng, "folk", sec, U(rng, 84, 122) if meter != "6/8" else U(rng, 72, 110), meter, mode, sc, jitter=.008)
    pr = ["I | IV | I | V | I | IV | V | I", "I | V/1 | vi | IV | I | V | IV | I", "I | I | IV | I | vi | IV | V | I"] if sc == "major" else \
        ["I | bVII | I | bVII | IV | I | bVII | I", "I | I | bVII | IV | I | bVII | IV | I"] if sc == "mixolydian" else \
        ["i | bVII | i | bVII | bIII | bVII | i | i", "i | bVI | bVII | i | iv | i | bVII | i", "i | i | bVII | bVII | bVI | bVII | i | i"] if sc == "minor" else \
        ["i | IV | i | bVII | i | IV | bVII | i", "i | bVII | IV | i | bIII | bVII | IV | i"]
    g = a.inst(rng.choice(["steel", "nylon", "twelve", "steel", "harp"]), 0)
    lead = a.inst(rng.choice(["flute", "recorder", "fiddle", "violin", "panflute", "ocarina", "flute", "mandolin", "accordion", "clarinet"]), 0)
    bass = a.inst(rng.choice(["abass", "fbass", "contrabass"]), -3) if rng.random() < .6 else None
    g2 = a.inst(rng.choice(["mandolin", "ukulele", "nylon", "steel"]), -4) if rng.random() < .5 else None
    pad = a.inst(rng.choice(["strings", "cello", "accordion", "viola"]), -6) if rng.random() < .4 else None
    perc = rng.random() < .3
    if perc:
        a.drums(rng.choice([40, 32, 0]), -6)
    st, sb, s2, sp = {}, {}, {}, {}
    gp = {16: ["X---x-x-..x-x-x-", "X-x-x-xox-x-x-xo"], 12: ["X---x---x-x-", "X---x-x-x-x-"] if meter == "3/4" else ["X---x-X---x-", "X-x-x-X-x-x-"]}[a.steps]
    gpat = rng.choice(gp)
    strum = rng.random() < .25

    def play(kind, t, bars, mel, rep):
        if strum:
            parts.comp(a, t, bars, g, None, 72, 45, 69, 5, st, fixed=gpat, strum=.014, short=1.05)
        else:
            parts.pick(a, t, bars, g, 76, st)
        if bass is not None and kind != "i":
            parts.bass(a, t, bars, bass, None, 80, 28, 45, sb, .95, {16: "R-------5-----a-", 12: "R-------5---" if meter == "3/4" else "R-----5-----"}[a.steps])
        if g2 is not None and (kind == "B" or rep % 2):
            parts.comp(a, t, bars, g2, None, 58, 55, 76, 3, s2, fixed=gpat, strum=.012)
        if pad is not None and kind == "B":
            parts.counter(a, t, bars, pad, 62, 52, 70, sp)
        if perc and kind != "i":
            drums.drums(a, t, len(bars), {TAMB: "....x.......x..." if a.steps == 16 else "....o...o...", SHK: "x.o." * (a.steps // 4), K: "X......." * 2 if a.steps == 16 else "X..........."}, 72, 0, False)
        if mel:
            parts.lead(a, t, mel, lead, 86, .93)
    run(a, pr, rng.choice(["AABA", "AABB", "ABAB"]), 8 if a.bar_s < 2.6 else 4, play, lambda l, b: melody(a, b, rng.choice(["mid", "fast"]), 64, 86, .25, penta=rng.random() < .35), 2,
        [(g, "c"), (lead, "l")], .5, .3)
    return a, ["folk", "acoustic", "fingerpicking" if not strum else "strumming"], ["peaceful", "calm", "happy", "melancholic", "dreamy", "cheerful"], "quiet and relaxing" if a.tempo < 98 else "moderately energetic"


def s_bluegrass(rng, sec):
    mode = "major"
    a = Arr(rng, "bluegrass", sec, U(rng, 104, 160), "4/4", mode, rng.choice(["major", "major", "mixolydian"]), jitter=.006)
    pr = ["I | I | IV | I | I | I | V | I", "I | IV | I | V | I | IV | V | I", "I | I | vi | vi | IV | I | V | I", "I | bVII | I | V | I | bVII | V | I", "I | I | IV | IV | I | V | V | I"]
    bj = a.inst("banjo", 0)
    fd = a.inst(rng.choice(["fiddle", "violin"]), 0)
    gt = a.inst("steel", -2)
    bs = a.inst("abass", 0)
    md = a.inst("mandolin", -1) if rng.random() < .6 else None
    rate = .25 if a.tempo < 126 else .5
    st, sb, sg, sm = {}, {}, {}, {}

    def play(kind, t, bars, mel, rep):
        who = rep % 2 if kind == "A" else 1 - rep % 2
        parts.oompah(a, t, bars, bs, gt, 84, 31, 48, 52, 70, 4, sg, .4)
        if md is not None:
            parts.comp(a, t, bars, md, None, 66, 60, 78, 3, sm, fixed="....S.......S...")
        parts.roll(a, t, bars, bj, 84 if who or mel is None else 70, st, rate)
        if mel:
            if kind == "B" and md is not None and rep % 2:
                parts.lead(a, t, mel, md, 90, .9)
            else:
                parts.lead(a, t, mel, fd, 90, .95, harm=-2 if kind == "B" else 0)
    run(a, pr, rng.choice(["AABB", "AABA"]), 8, play, lambda l, b: melody(a, b, rng.choice(["reel", "reel", "fast"]), 64, 86, .2, penta=rng.random() < .5), 2,
        [(bs, "b"), (gt, "c"), (fd, "l"), (bj, "c")], .5, .3)
    return a, ["bluegrass", "country", "acoustic", "banjo", "lively"], ["happy", "cheerful", "playful", "uplifting"], rng.choice(["moderately energetic", "loud and energetic"])


def s_jazz(rng, sec):
    mode = "major" if rng.random() < .65 else "minor"
    a = Arr(rng, "jazz", sec, U(rng, 100, 180), "4/4", mode, swing=rng.uniform(.62, .67), jitter=.008)
    if mode == "major":
        pr = {"A": ["Imaj7 vi7 | ii7 V7 | iii7 vi7 | ii7 V7 | Imaj7 I7 | IV6 #ivo7 | Imaj7 vi7 | ii7 V7", "ii7 | V7 | Imaj7 | vi7 | ii7 | V7 | Imaj7 | Imaj7",
                    "Imaj7 | Imaj7 | ii7 | V7 | iii7 | VI7 | ii7 V7 | I6", "I7 | IV7 | I7 | I7 | IV7 | IV7 | I7 | ii7 V7"],
              "B": ["III7 | III7 | VI7 | VI7 | II7 | II7 | V7 | V7", "IVmaj7 | iv6 | Imaj7 | Imaj7 | ii7 | II7 | ii7 | V7", "v7 | I7 | IVmaj7 | IVmaj7 | vi7 | II7 | ii7 | V7"]}
    else:
        pr = {"A": ["i6 | iih7 V7 | i6 | iih7 V7 | i7 | iv7 | iih7 V7b9 | i6", "i7 | iv7 | i7 | V7 | iv7 | bVII7 | bIIImaj7 | iih7 V7", "iv7 | bVII7 | bIIImaj7 | bVImaj7 | iih7 | V7b9 | i6 | i6"],
              "B": ["iv7 | bVII7 | bIIImaj7 | bVImaj7 | iih7 | V7b9 | i6 | i6", "iv7 | iv7 | i7 | i7 | bVI7 | bVI7 | V7 | V7"]}
    combo = rng.choice(["sax", "trumpet", "vibes", "piano", "guitar", "clarinet", "flute"])
    lead = a.inst({"sax": rng.choice(["altosax", "tenorsax", "sopsax"]), "trumpet": rng.choice(["trumpet", "mutetpt"]), "vibes": "vibes", "piano": "piano",
                   "guitar": "jazzgtr", "clarinet": "clarinet", "flute": "flute"}[combo], 0)
    cn = rng.choice(["piano", "piano", "jazzgtr", "organ"]) if combo != "guitar" else "piano"
    comp = a.inst(cn, -1)
    bass = a.inst("abass", 0)
    a.drums(rng.choice([32, 33, 40, 34]), 2)
    g = rng.choice([{RIDE: "X...x.x.x...x.x.", PH: "....x.......x...", K: "o...o...o...o..."}, {RIDE: "X...x.x.X...x.x.", PH: "....x.......x...", S: "......g........g"},
                    {RIDE: "x...x.x.x...x...", PH: "....x.......x...", RIM: "............o..."}])
    cps = ["x-....x-........", "..x-....x-..x-..", "X---......x-....", "......x-......x-", "x-....x-....x---", "....x-......x---", "..x---....x-...."]
    hits = rng.choice(["......S.....X---", "..S.......S.....", "X-----S........."])
    st, ss, s3 = {}, {}, {}
    sect = a.inst("brass2", -5) if rng.random() < .25 else None

    def play(kind, t, bars, mel, rep):
        for i in range(0, len(bars), 1):
            parts.comp(a, t + i * 4, bars[i:i + 1], comp, cps, 66, 52, 74, 4, st, rootless=True, short=.8)
        parts.walk(a, t, bars, bass, 88, 29, 52, ss)
        drums.drums(a, t, len(bars), g, 84, .5, False, None, "snare")
        if mel:
            if rep >= 1 and rng.random() < .7:
                mel = melody(a, bars, "swing", *rg, .25, chroma=.2, close=False)
            parts.lead(a, t, mel, lead, 88, .95)
            if sect is not None and kind == "A":
                parts.comp(a, t, bars, sect, None, 80, 55, 76, 4, s3, fixed=hits, short=.7)
    rg = {"tenorsax": (50, 72), "altosax": (55, 78), "trumpet": (57, 80), "mutetpt": (57, 80), "jazzgtr": (55, 79)}.get(a.chname[lead][0], (60, 84))
    run(a, pr, "AABA", 8 if a.bar_s < 2.2 else 4, play, lambda l, b: melody(a, b, "swing", *rg, .25, chroma=.15), 2, [(comp, "c"), (bass, "b"), (lead, "l")], .4, .25,
        endchord="I69" if mode == "major" else "i6")
    return a, ["jazz", "swing", "walking bass"], ["playful", "cheerful", "romantic", "mysterious", "happy", "melancholic"], "moderately energetic"


def s_bossa(rng, sec):
    mode = rng.choice(["major", "minor"])
    a = Arr(rng, "bossa nova", sec, U(rng, 112, 150), "4/4", mode, jitter=.007)
    pr = {"A": ["Imaj7 | Imaj7 | II7 | II7 | ii7 | V7 | Imaj7 | V7b9", "Imaj9 | vi7 | ii9 | V13 | iii7 | VI7 | ii7 | V7", "Imaj7 | bIIImaj7 | ii7 | bIImaj7 | Imaj7 | iv6 | iii7 | ii7 V7"],
          "B": ["IVmaj7 | iv6 | iii7 | VI7 | ii7 | II7 | ii7 | V7", "iv7 | bVII7 | bIIImaj7 | bVImaj7 | ii7 | V7 | Imaj7 | V7"]} if mode == "major" else \
        {"A": ["i7 | i7 | iv7 | iv7 | iih7 | V7b9 | i7 | V7", "i6 | bVImaj7 | iih7 | V7b9 | i9 | iv9 | bVII13 | bIIImaj7"], "B": ["iv7 | bVII7 | bIIImaj7 | bVImaj7 | iih7 | V7 | i6 | i6"]}
    g = a.inst("nylon", 1)
    bass = a.inst(rng.choice(["abass", "fbass"]), 0)
    lead = a.inst(rng.choice(["flute", "tenorsax", "piano", "vibes", "clarinet", "jazzgtr", "altosax", "mutetpt"]), 0)
    pad = a.inst(rng.choice(["strings", "oohs", "slowstrings"]), -7) if rng.random() < .4 else None
    pno = a.inst(rng.choice(["epiano", "piano"]), -5) if rng.random() < .4 else None
    a.drums(rng.choice([0, 40, 32, 41]), -1)
    dr = {RIM: rng.choice(["x.....x.....x...", "x.....x.....x.......x.....x....."]), HH: "x.o.x.o.x.o.x.o.", K: "x.....x.x.....x.", SHK: rng.choice(["................", "oooooooooooooooo"])}
    bp = rng.choice(["R-----5-5-----R-", "R-----5-5-----R-", "R-----5-5-----a-"])
    pp = rng.choice(["..x-....x-......", "......x---......", "x-....x-........"])
    gp = rng.choice(["X---x---..x---x-..x---x-X---x---", "x-..x-..x-x-..x-", "x---..x-..x-x---", "X-..x---..x-x---"])
    st, sb, sp, sq = {}, {}, {}, {}

    def play(kind, t, bars, mel, rep):
        parts.comp(a, t, bars, g, None, 74, 50, 69, 4, st, fixed=gp, strum=.006, rootless=True, short=.92)
        parts.bass(a, t, bars, bass, None, 84, 28, 45, sb, .92, bp)
        drums.drums(a, t, len(bars), dr, 76, .25, False, {HH, SHK} if kind == "i" else None, "none")
        if pad is not None and kind == "B":
            parts.pad(a, t, bars, pad, 58, 57, 79, 3, sp)
        if pno is not None and kind != "i":
            parts.comp(a, t, bars, pno, None, 58, 55, 76, 3, sq, fixed=pp, rootless=True)
        if mel:
            parts.lead(a, t, mel, lead, 80, .97)
    run(a, pr, "AABA", 8, play, lambda l, b: melody(a, b, rng.choice(["sync", "mid"]), 60, 81, .22, chroma=.08), 2, [(g, "c"), (bass, "b"), (lead, "l")], .4,
        endchord="I69" if mode == "major" else "i9")
    return a, ["bossa nova", "latin", "brazilian", "smooth"], ["romantic", "calm", "dreamy", "peaceful", "melancholic"], rng.choice(["quiet and relaxing", "moderately energetic"])


def s_reggae(rng, sec):
    mode = rng.choice(["major", "minor"])
    a = Arr(rng, "reggae", sec, U(rng, 66, 90), "4/4", mode, swing=rng.choice([.5, .56, .6]), swing_unit=.25, jitter=.007)
    pr = ["I | IV | I | V", "I | V | vi | IV", "I | ii | IV | I", "I | IV | V | IV", "I | vi | ii | V"] if mode == "major" else ["i | bVII | i | bVII", "i | iv | i | v", "i | bVI | bVII | i", "i | iv | bVII | bIII"]
    gt = a.inst(rng.choice(["clean", "funkgtr", "palmmute"]), -1)
    org = a.inst(rng.choice(["organ", "percorgan", "rockorgan", "piano"]), -4)
    bass = a.inst(rng.choice(["fbass", "fretless", "pbass"]), 3)
    lead = a.inst(rng.choice(["trumpet", "trombone", "altosax", "steeldrums", "steeldrums", "steeldrums", "brass", "flute", "organ", "clean", "accordion"]), 0)
    a.drums(rng.choice([0, 8, 1]), 0)
    dr = rng.choice([{K: "....X.......X...", RIM: "....x.......x...", HH: "x.o.x.o.x.o.x.o."}, {K: "X...X...X...X...", RIM: "....x.......x...", HH: "xoxoxoxoxoxoxoxo"},
                     {K: "....X.......X...", S: "....x.......x..g", HH: "x.xox.xox.xox.xo"}])
    gp = rng.choice(["..S...S...S...S.", "..S...Ss..S...Ss", "..S...S...S...S."])
    op = rng.choice([".s.s.s.s.s.s.s.s", "..s...s...s...s.", ".sXs.sXs.sXs.sXs"])
    bp = rng.choice(["R--R--3-5---....", "..R-R-3-5-..3-R-", "R-....R-3-5-..a-", "R--.5-R-..R-5-3-", "R-R-..5-8-..5-..R---..3-5-..a-.."])
    st, so, sb = {}, {}, {}

    def play(kind, t, bars, mel, rep):
        parts.comp(a, t, bars, gt, None, 84, 57, 76, 3, st, fixed=gp, strum=.006)
        parts.comp(a, t, bars, org, None, 66, 55, 74, 3, so, fixed=op)
        if kind != "i":
            parts.bass(a, t, bars, bass, None, 98, 28, 45, sb, .9, bp)
        drums.drums(a, t, len(bars), dr, 92, .8, False, {HH, RIM} if kind == "i" else None)
        if mel and (kind == "B" or not rep % 2):
            parts.lead(a, t, mel, lead, 84, .9, harm=-2 if kind == "B" else 0)
    lo, hi = (50, 69) if a.chname[lead][0] == "trombone" else (60, 80)
    run(a, pr, "AABA", 4, play, lambda l, b: melody(a, b, rng.choice(["mid", "sync", "fast"]), lo, hi, .2, penta=rng.random() < .5, rest=.12), 1, [(gt, "c"), (bass, "b")], .35)
    return a, ["reggae", "offbeat", "laid-back", "caribbean"], ["happy", "calm", "cheerful", "peaceful", "melancholic", "playful"], "moderately energetic"


def s_march(rng, sec):
    mode = "major" if rng.random() < .85 else "minor"
    meter = "6/8" if rng.random() < .2 else "4/4"
    a = Arr(rng, "marching band", sec, U(rng, 104, 126), meter, mode, jitter=.007)
    pr = ["I | I | V7 | V7 | V7 | V7 | I | I", "I | IV | I V7 | I | vi | ii | V7 | I", "I V/1 | I | IV I | V | I V/1 | I7 | IV V7 | I", "I | I | IV | I | II7 | V | I V7 | I"] if mode == "major" else \
        ["i | i | V7 | V7 | iv | i | V7 | i", "i | bVI | bVII | i | iv | i | V7 | i"]
    tpt = a.inst(rng.choice(["trumpet", "brass", "brass2"]), 0)
    trb = a.inst("trombone", -3)
    tub = a.inst("tuba", 0)
    hn = a.inst(rng.choice(["horn", "brass2", "clarinet"]), -3)
    pic = a.inst(rng.choice(["piccolo", "flute", "clarinet", "glock"]), -2)
    a.drums(rng.choice([0, 48, 0]), 1)
    if a.steps == 16:
        dr = rng.choice([{K: "X.......X.......", S: "x...x.xxx...xxxx", CR: "X..............."}, {K: "X...x...X...x...", S: "X..xX..xX.xxX.xx"}, {K: "X.......X.......", S: "o...X.ooo...Xooo"}])
    else:
        dr = {K: "X.....X.....", S: "o.x.x.o.x.xx"}
    fanfare = rng.choice(["X-..X-xxX---....", "X---X-x-X---...."]) if a.steps == 16 else "X---x-X-----"
    so, sc, sh, s4 = {}, {}, {}, {}

    def play(kind, t, bars, mel, rep):
        parts.oompah(a, t, bars, tub, hn, 88, 29, 48, 53, 70, 3, so, .4)
        drums.drums(a, t, len(bars), dr, 92, .7, True, None, "snare")
        if mel:
            soft = kind == "B"
            if not soft or rep % 2:
                parts.lead(a, t, mel, tpt, 96, .85)
            if soft or rep % 2:
                parts.lead(a, t, mel, pic, 84, .85, 12)
            if kind in "AC":
                parts.counter(a, t, bars, trb, 80, 46, 64, sc)
            else:
                parts.lead(a, t, mel, trb, 76, .85, -12)
        else:
            parts.comp(a, t, bars, trb, None, 92, 50, 67, 3, sh, fixed=fanfare)
            parts.comp(a, t, bars, tpt, None, 92, 60, 77, 3, s4, fixed=fanfare)
    run(a, pr, rng.choice(["AABB", "AABA", "ABAC"]), 8, play, lambda l, b: melody(a, b, "march" if meter == "4/4" else "fast", 60, 79, .3), 2,
        [(tub, "b"), (trb, "c"), (tpt, "l"), (hn, "c")], .5, .15)
    return a, ["marching band", "brass", "march", "parade"], ["uplifting", "happy", "cheerful", "epic", "dramatic"], "loud and energetic"


def s_funk(rng, sec):
    mode = "minor" if rng.random() < .65 else "major"
    a = Arr(rng, "funk", sec, U(rng, 92, 118), "4/4", mode, "dorian" if mode == "minor" else "mixolydian", swing=rng.uniform(.5, .57), swing_unit=.25, jitter=.004)
    pr = ["i7 | i7 | i7 | IV9", "i9 | IV13 | i9 | IV13", "i7 | i7 | bIIImaj7 | IV7", "i7 | bVII | IV9 | i7"] if mode == "minor" else ["I9 | I9 | IV9 | I9", "I9 | bVII6 | IV9 | I9", "I7 | I7 | I7 | IV9"]
    bass = a.inst(rng.choice(["slap", "slap", "fbass", "pop"]), 2)
    clav = a.inst(rng.choice(["clav", "clav", "epiano", "organ"]), -1)
    gt = a.inst(rng.choice(["funkgtr", "clean", "palmmute"]), -3)
    br = a.inst(rng.choice(["brass", "brass2", "synbrass"]), -1)
    lead = a.inst(rng.choice(["altosax", "tenorsax", "trumpet", "organ", "saw", "clean", "flute"]), 0)
    a.drums(rng.choice([0, 1, 8, 16]), -1)
    dr = rng.choice([{K: "X.x....x..x.....", S: "....X..g.g..X..g", HH: "xoxoxoxoxoxoxoxo"}, {K: "X..x..x...x..x..", S: "....X.......X.g.", HH: "x.xxx.xxx.xxx.xx"},
                     {K: "X.X...X...x.....", S: "....X..g....X...", HH: "x.x.x.x.x.x.x...", OH: "..............x."}, {K: "X.......X.x..x..", S: "....X..g.g.gX...", HH: "xxxxxxxxxxxxxxxx"}])
    bp = rng.choice(["R..R..8.R.7.8.a.", "R.gR..8..R.g7.8.", "RR.8..R.g.5.7.8.", "R...R.8.g7.8..a.", "R..g8.R..R5.7..a", "R.8.g.R8..R.7.5."])
    kp = rng.choice(["..s.s..s..s.s..s", "s..ss..s.s.ss..s", ".ss..ss..ss..ss.", "..S...s..sS..s..", "s.s..s.ss..s.s.."])
    gp = rng.choice(["ssSsssSsssSsssSs", "..S...S...S...S.", "s.ssS.sss.ssS.ss", "....S..s....S..s"])
    hp = rng.choice(["S..............." + "..........S..S..", "......S..S......" + "............X---", "X---....S......." + "................", "S.SS............" + "..............S."])
    st, sg, sb, sh = {}, {}, {}, {}

    def play(kind, t, bars, mel, rep):
        parts.bass(a, t, bars, bass, None, 98, 28, 45, sb, .7, bp)
        parts.comp(a, t, bars, clav, None, 76, 52, 74, 3, st, fixed=kp, rootless=True)
        if kind != "i":
            parts.comp(a, t, bars, gt, None, 64, 57, 76, 3, sg, fixed=gp, rootless=True, strum=.003)
        drums.drums(a, t, len(bars), dr, 100, .8, kind != "i", None)
        if kind == "B" or rep % 2 or mel is None:
            parts.comp(a, t, bars, br, None, 94, 57, 79, 4, sh, fixed=hp, rootless=True)
        if mel and (kind == "B" or not rep % 2):
            parts.lead(a, t, mel, lead, 90, .8)
    run(a, pr, "AABA", 4 if a.bar_s > 2.2 else 8, play, lambda l, b: melody(a, b, "funk", 58, 79, .2, penta=True), 2, [(bass, "b"), (clav, "c"), (br, "c")], .35)
    return a, ["funk", "groove", "slap bass", "groovy"], ["playful", "happy", "cheerful", "uplifting", "tense", "mysterious"], rng.choice(["loud and energetic", "moderately energetic"])


def s_chip(rng, sec):
    mode = "major" if rng.random() < .6 else "minor"
    a = Arr(rng, "chiptune", sec, U(rng, 112, 172), "4/4", mode, jitter=0)
    pr = POP_MAJ[:7] + ["I | bVI | bVII | I", "I | IV | bVII | V"] if mode == "major" else POP_MIN
    lead = a.inst("square", 1)
    l2 = a.inst("square", -5)
    bass = a.inst(rng.choice(["sine", "sine", "saw"]), -1)
    a.drums(rng.choice([24, 25, 24]), -3, "drum machine")
    dr = rng.choice([{K: "X...X...X...X...", S: "....X.......X...", HH: "x.x.x.x.x.x.x.x."}, {K: "X.....x.X.......", S: "....X.......X...", HH: "xxxxxxxxxxxxxxxx"},
                     {K: "X..x..x.X..x....", S: "....X.......X..x", HH: "x.x.x.x.x.x.x.x."}])
    bp = rng.choice(["R.8.R.8.R.8.R.8.", "R.R.R.R.R.R.R.R.", "R.5.8.5.R.5.8.5.", "RR8RRR8RRR8RRR8R", "R-..R-8-R-..5-a-"])
    order = rng.choice(["up", "updown", "oct", "down"])
    rate = rng.choice([.25, .25, .125 if a.tempo < 140 else .25])
    sb, sa = {}, {}
    echo = rng.random() < .35

    def play(kind, t, bars, mel, rep):
        parts.bass(a, t, bars, bass, None, 96, 36, 52, sb, .8, bp)
        parts.arp(a, t, bars, l2, rate, order, 72, 60, 80, 3, sa, .85)
        drums.drums(a, t, len(bars), dr, 92, .7, False, {K, HH} if kind == "i" else None, "mach")
        if mel:
            parts.lead(a, t, mel, lead, 96, .88)
            if echo:
                for b, d, p, v in mel:
                    a.add(l2, t + b + .75, min(d, .5), p, 56)
    run(a, pr, rng.choice(["AABA", "ABAC", "AABB"]), 8, play, lambda l, b: melody(a, b, rng.choice(["fast", "run", "sync"]), 67, 91, .3), 2, [(lead, "l"), (bass, "b"), (l2, "c")], .4, .2)
    return a, ["chiptune", "8-bit", "video game", "retro"], ["playful", "happy", "cheerful", "uplifting", "tense", "mysterious"], rng.choice(["moderately energetic", "loud and energetic"])


def s_baroque(rng, sec):
    mode = rng.choice(["major", "minor"])
    meter = rng.choice(["4/4", "4/4", "3/4"])
    a = Arr(rng, "baroque", sec, U(rng, 76, 116), meter, mode, jitter=.004)
    pr = ["I V/1 | I IV | V7 I | ii V | I vi | ii V | IV V7 | I", "I | IV | viio | iii | vi | ii | V7 | I", "I | V/1 | vi | iii | IV | I/1 | ii V7 | I",
          "I V | vi iii | IV I | IV V | I V/1 | vi ii | I/2 V7 | I"] if mode == "major" else \
        ["i | iv | bVII | bIII | bVI | iio | V7 | i", "i V/1 | i iv | V7 i | iio V | i bVI | iv V | i V7 | i", "i | v/1 | bVI | V | i | iv | V7 | i", "i V | i bVII | bIII bVII | i V | i V | bIII bVII | i V | i"]
    which = rng.choice(["harpsi", "harpsi", "harpsi2", "organ", "organ", "ens", "ens"])
    if which == "organ":
        k = a.inst(rng.choice(["church", "church2"]), 0)
        up, lowc = k, k
    elif which == "ens":
        k = a.inst("harpsi", -3)
        up, lowc = a.inst(rng.choice(["violin", "oboe", "recorder", "flute"]), 0), a.inst(rng.choice(["cello", "bassoon"]), 0)
    else:
        k = a.inst(which, 0)
        up, lowc = k, k
    st = {}
    lowkind = rng.choice(["eighths", "walk", "imit"])
    rk = rng.choice(["run", "run", "fast"])

    def play(kind, t, bars, mel, rep):
        lad_end = None
        if mel is None:
            mel = melody(a, bars, "run", 67, 86, .2)
        parts.lead(a, t, mel, up, 80, .92)
        if which in ("organ",):
            pass
        # lower voice: chord tones on beats, passing notes between, contrary to the upper line
        cur = st.get("p", 48)
        sp = list(spans(a, t, bars))
        starts = {}
        for b, d, p, v in mel:
            starts[round((b) * 2) / 2] = p
        if lowkind == "imit" and len(bars) >= 4:
            # the theme of bar n answered in bar n+1 an octave (or two) below, fitted to the chord
            for i in range(len(bars)):
                src = [m for m in mel if (i - 1) * a.bb <= m[0] < i * a.bb] if i and i % 2 else None
                if src:
                    c0 = None
                    for b, d, p, v in src:
                        x = b + a.bb
                        ch = chord_at(a, bars, x * 4)
                        lad = Ladder(local_scale(a.scale, ch))
                        q = p - 24 if p - 24 >= 38 else p - 12
                        q = near_tone(ch.pcs, q) if abs(x - round(x)) < 1e-6 else lad.p[lad.near(q)]
                        a.add(lowc, t + x, d * .92, q, 72)
                        cur = q
                else:
                    for kx in range(int(a.bb)):
                        ch = chord_at(a, bars, i * a.steps + kx * 4)
                        q = bass_note(ch, 38, 57, cur, ch.bass if kx in (0, 2) else ch.pcs[(1 + kx) % len(ch.pcs)])
                        a.add(lowc, t + i * a.bb + kx, .9, q, 72)
                        cur = q
        else:
            rate = .5 if lowkind == "eighths" else 1.0
            for b, d, ch, nx in sp:
                lad = Ladder(local_scale(a.scale, ch))
                q = bass_note(ch, 38, 57, cur)
                tgt = bass_note(nx, 38, 57, q)
                m = int(round(d / rate))
                for kx in range(m):
                    if kx == 0:
                        p = q
                    elif kx == m - 1 and tgt != p:
                        p = lad.p[max(0, lad.near(tgt) + (1 if p > tgt else -1))]
                    elif kx % 2 == 0:
                        p = near_tone(ch.pcs, p + rng.choice((-4, 4, 3)))
                    else:
                        p = lad.p[max(0, lad.near(p) + rng.choice((1, -1)))]
                    if p > 60:
                        p -= 12
                    if p < 36:
                        p += 12
                    a.add(lowc, b + kx * rate, rate * .9, p, 74 * a.accent(b - t + kx * rate))
                cur = q
        st["p"] = cur
        if which == "ens" or (which != "organ" and kind == "B"):
            parts.comp(a, t, bars, k, None, 58, 55, 71, 3, st.setdefault("cmp", {}), fixed="x---" * (a.steps // 4), strum=.015)
        elif which == "organ":
            parts.pad(a, t, bars, k, 58, 55, 67, 2, st.setdefault("pad", {}))
    run(a, pr, rng.choice(["AABB", "ABAC", "ABCA"]), 8 if a.bar_s < 2.5 else 4, play, lambda l, b: melody(a, b, rk, 65, 86, .2, chroma=.03), 0,
        [(lowc, "b"), (k, "c"), (up, "l")], .5, .3)
    return a, ["baroque", "classical", "counterpoint"], ["playful", "cheerful", "dramatic", "tense", "melancholic", "uplifting"], "moderately energetic"


def s_lullaby(rng, sec):
    mode = "major" if rng.random() < .8 else "minor"
    meter = rng.choice(["3/4", "6/8", "4/4"])
    a = Arr(rng, "lullaby", sec, U(rng, 60, 76) if meter == "6/8" else U(rng, 66, 96), meter, mode, jitter=.010)
    pr = ["I | I | V7 | I | I | IV | V7 | I", "I | vi | IV | V | I | vi | ii V7 | I", "I | IV | I | V | IV | I | V7 | I", "I | iii | IV | I | vi | ii | V | I"] if mode == "major" else \
        ["i | iv | i | V | i | bVI | iv V | i", "i | bVI | bIII | bVII | i | iv | V | i"]
    mb = a.inst(rng.choice(["musicbox", "musicbox", "celesta", "glock", "kalimba"]), 0)
    ac = a.inst(rng.choice(["musicbox", "harp", "celesta", "nylon", "mellowpiano", "vibes"]), -3)
    pad = a.inst(rng.choice(["slowstrings", "warmpad", "oohs", "choir", "halo"]), -9) if rng.random() < .5 else None
    fl = a.inst(rng.choice(["flute", "clarinet", "panflute"]), -5) if rng.random() < .3 else None
    st, sp = {}, {}
    order = rng.choice(["up", "updown", "skip", "alberti"])
    lo = 55 if a.chname[ac][0] != "musicbox" else 60

    def play(kind, t, bars, mel, rep):
        parts.arp(a, t, bars, ac, .5 if meter != "4/4" or a.tempo < 84 else .5, order, 58, lo, lo + 22, 3 if meter != "4/4" else 4, st, 1.8)
        if pad is not None:
            parts.pad(a, t, bars, pad, 50, 55, 74, 3, sp)
        if mel:
            parts.lead(a, t, mel, fl if fl is not None and kind == "B" else mb, 76, 1.3)
    run(a, pr, rng.choice(["AABA", "ABAB"]), 4 if a.bar_s > 2.6 else 8, play, lambda l, b: melody(a, b, rng.choice(["mid", "slow"]), 72, 93, .28), 2, [(ac, "c"), (mb, "l")], .5)
    return a, ["lullaby", "gentle", "soft"], ["calm", "peaceful", "dreamy", "sad", "melancholic"], "quiet and relaxing"


def s_film(rng, sec):
    mode = "minor" if rng.random() < .75 else "major"
    meter = rng.choice(["4/4", "4/4", "4/4", "3/4", "6/8"])
    a = Arr(rng, "film score", sec, U(rng, 84, 148) if meter != "6/8" else U(rng, 70, 100), meter, mode, jitter=.005)
    pr = ["i | i | bVI | bVI | iv | iv | V | V", "i | bVI | bIII | bVII | i | bVI | iv | V", "i | bIII | bVII | iv | bVI | bIII | iv | V", "i | v | bVI | iv | i | v | bVI | bVII"] if mode == "minor" else \
        ["I | V/1 | vi | IV | I | V | IV | IV", "I | bVI | IV | I | I | bVI | bVII | I", "I | iii | IV | iv | I | iii | IV | V"]
    ost = a.inst(rng.choice(["strings", "pizz", "strings", "strings"]), 0)
    cel = a.inst(rng.choice(["cello", "contrabass", "strings"]), -2)
    hn = a.inst("horn", 0)
    vl = a.inst(rng.choice(["strings", "violin", "orchpad"]), 0)
    tm = a.inst("timpani", 1)
    chv = a.inst(rng.choice(["choir", "oohs", "spacevoice"]), -3) if rng.random() < .55 else None
    br = a.inst(rng.choice(["brass", "trombone"]), -4)
    tk = a.inst("taiko", 2) if rng.random() < .5 else None
    cym = rng.random() < .6
    if cym:
        a.drums(48, -3, "cymbals")
    if a.steps == 16:
        op = rng.choice(["0.1.2.1.0.1.2.1.", "0012001200120012", "0.00.00.0.00.00.", "0.2.1.2.3.2.1.2.", "0.000.000.000.00", "0123012301230123", "0.1.0.2.0.1.0.3."])
        tp = rng.choice(["R...............", "R.......R.5.R...", "R.....R.R.......", "R...........R.RR"])
        kp = rng.choice(["X.......x.x.x...", "X.....x.....x.x.", "X..x..x.X..x..x."])
    else:
        op = rng.choice(["0.1.2.0.1.2.", "001200120012", "0.2.1.3.2.1.", "001122332211"])
        tp = rng.choice(["R...........", "R.....R.....", "R.......5.R."])
        kp = rng.choice(["X.....x.....", "X...x.x...x."])
    so, sb, sp, sh, sc = {}, {}, {}, {}, {}
    order = {"i": .7, "A": .85, "B": 1.0, "C": 1.15}

    def play(kind, t, bars, mel, rep):
        L = len(bars) * a.bb
        parts.ost(a, t, bars, ost, op, 82, 50, 69, so, .7, oct2=kind == "C")
        parts.bass(a, t, bars, cel, None, 80, 30, 46, sb, .97, "R" + "-" * (a.steps - 1))
        if kind in "BC":
            parts.pad(a, t, bars, hn, 80, 48, 67, 3, sh)
            parts.bass(a, t, bars, tm, None, 96, 38, 50, sc, .9, tp)
            if tk is not None:
                for i in range(len(bars)):
                    for k in range(a.steps):
                        s = kp[k]
                        if s != ".":
                            a.add(tk, t + i * a.bb + k * .25, .8, 40, 104 * DV[s])
            if cym:
                a.hit(t, CR, 84)
                a.hit(t, 35, 90)
        if kind == "C":
            parts.pad(a, t, bars, br, 78, 44, 62, 3, sp)
            if chv is not None:
                parts.pad(a, t, bars, chv, 82, 57, 77, 4, so.setdefault("ch", {}))
        # timpani roll into the next section
        if kind in "AB":
            r = bass_note(bars[-1][-1][0], 38, 50, 44)
            for k in range(8 if a.bb == 4 else 6):
                a.add(tm, t + L - 2 + k * .25 if a.bb == 4 else t + L - 1.5 + k * .25, .25, r, 50 + 7 * k)
        if mel:
            if kind == "A":
                parts.lead(a, t, mel, hn if rep % 2 else vl, 82, .98)
            elif kind == "B":
                parts.lead(a, t, mel, vl, 90, .98)
            else:
                parts.lead(a, t, mel, vl, 98, .98, 12)
                parts.lead(a, t, mel, hn, 90, .98, -12)
        swell(a, t, L, [ost, vl], .7 if kind != "C" else .85, 1.0)
    run(a, pr, rng.choice(["ABCB", "ACBC", "BCAC"]), 8 if a.bar_s < 2.0 else 4, play, lambda l, b: melody(a, b, rng.choice(["slow", "slow", "mid"]), 62, 79, .35), 2,
        [(cel, "b"), (hn, "c"), (vl, "c"), (tm, "b"), (br, "c")], .4, .12, order)
    return a, ["film score", "cinematic", "orchestral", "soundtrack"], ["epic", "dramatic", "tense", "mysterious", "dark", "uplifting"], "loud and energetic" if a.tempo > 104 else rng.choice(["moderately energetic", "loud and energetic"])


def s_flamenco(rng, sec):
    meter = rng.choice(["4/4", "3/4", "4/4"])
    a = Arr(rng, "flamenco", sec, U(rng, 96, 144), meter, "minor", "phrygian", jitter=.008)
    a.keyshift = 5                     # E phrygian is heard as the dominant side of A minor
    pr = ["iv | bIII | bII | I", "I | bII | I | bII", "iv | bIII | bII | I", "I | bII | bIII | bII", "bVI | bIII | bII | I", "iv bIII | bII I | iv bIII | bII I"]
    g = a.inst("nylon", 1)
    g2 = a.inst(rng.choice(["nylon", "steel"]), -4)
    bass = a.inst(rng.choice(["abass", "fretless"]), -2) if rng.random() < .5 else None
    vl = a.inst(rng.choice(["violin", "flute", "trumpet", "clarinet"]), -1) if rng.random() < .35 else None
    a.drums(0, -3, "hand claps")
    order = rng.choice(["updown", "up"])
    if a.steps == 16:
        dr = rng.choice([{CLAP: "x..xx..xx..xx..x", K: "X.....x.X......."}, {CLAP: "..x...x...x...xx", K: "X...x...X..xx..."}, {CLAP: "x.xxx.xxx.xxx.xx"}])
        gp = rng.choice(["X-..xxX-..x-xxX-", "X---x-x-Xxx-x-x-", "X-xxX-x-X-xxX-x-", "X-----xxX---xxx-"])
    else:
        dr = rng.choice([{CLAP: "....x...x...", K: "X..........."}, {CLAP: "x...x.x.x.x.", K: "X.......x..."}])
        gp = rng.choice(["X---xxx-x-x-", "X-xxX---X---", "X---x---xxx-"])
    st, sb, sa = {}, {}, {}

    def play(kind, t, bars, mel, rep):
        fal = kind == "B" or mel is None
        if fal:
            parts.comp(a, t, bars, g, None, 88, 45, 70, 5, st, fixed=gp, strum=.016, short=.95)
        else:
            parts.comp(a, t, bars, g2, None, 70, 45, 67, 4, sa, fixed=gp, strum=.014, short=.95)
        if kind == "C":
            parts.arp(a, t, bars, g, .25, order, 78, 55, 80, 4, st, 1.5)
        elif mel:
            parts.lead(a, t, mel, vl if vl is not None and rep % 2 else g, 94, 1.0)
        if bass is not None:
            parts.bass(a, t, bars, bass, None, 84, 28, 45, sb, .92, "R-----R-5-----R-" if a.steps == 16 else "R-----5-R---")
        drums.drums(a, t, len(bars), dr, 78, 0, False)
    run(a, pr, rng.choice(["AABC", "BAAC", "ABAC"]), 8 if a.bar_s < 2.1 else 4, play, lambda l, b: melody(a, b, rng.choice(["run", "fast", "run"]), 60, 83, .15), 2,
        [(g, "c")], .5, .3, endchord="I")
    return a, ["flamenco", "spanish", "guitar", "phrygian"], ["dramatic", "tense", "romantic", "mysterious", "dark"], rng.choice(["moderately energetic", "loud and energetic"])


STYLES = {
    "ambient": (s_ambient, 1.0), "lo-fi": (s_lofi, 1.1), "pop": (s_pop, 1.4), "rock": (s_rock, 1.3), "synthwave": (s_synthwave, .9),
    "techno": (s_techno, .8), "house": (s_house, .8), "drum and bass": (s_dnb, .7), "solo piano": (s_piano, 1.3), "string orchestra": (s_strings, .9),
    "waltz": (s_waltz, .7), "folk": (s_folk, 1.1), "bluegrass": (s_bluegrass, .7), "jazz": (s_jazz, 1.1), "bossa nova": (s_bossa, .8),
    "reggae": (s_reggae, .8), "marching band": (s_march, .7), "funk": (s_funk, .8), "chiptune": (s_chip, .8), "baroque": (s_baroque, .8),
    "lullaby": (s_lullaby, .7), "film score": (s_film, 1.0), "flamenco": (s_flamenco, .6),
}


