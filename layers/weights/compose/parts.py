"""What the instruments play."""

import math

from weights.compose.theory import Ladder, local_scale, near_tone, voice

# every layer gets (a, sec, t0, bars) with sec = dict(kind, inten, first) and writes its notes
def spans(a, t0, bars):
    """(start beat, length, chord, next chord) over the bars, equal neighbours kept apart."""
    seq = []
    for i, bar in enumerate(bars):
        pos = t0 + i * a.bb
        for c, sh in bar:
            seq.append([pos, sh * a.bb, c])
            pos += sh * a.bb
    for k, s in enumerate(seq):
        yield s[0], s[1], s[2], seq[k + 1][2] if k + 1 < len(seq) else seq[0][2]


def chord_at(a, bars, step):
    """Chord at a sixteenth step counted from the start of bars."""
    b = int(step // a.steps) % len(bars)
    x = (step % a.steps) / a.steps
    acc = 0.0
    for c, sh in bars[b]:
        acc += sh
        if x < acc - 1e-9:
            return c
    return bars[b][-1][0]


def pad(a, t0, bars, c, vel=62, lo=52, hi=76, n=4, st=None, rootless=False, merge=True):
    st = st if st is not None else {}
    hold = None
    for b, d, ch, _ in spans(a, t0, bars):
        v = voice(ch, st.get("p"), lo, hi, n, a.rng, rootless)
        st["p"] = v
        if hold and merge and hold[2] == v and hold[0] + hold[1] == b:
            hold[1] += d
        else:
            if hold:
                for p in hold[2]:
                    a.add(c, hold[0], hold[1] * .985, p, vel)
            hold = [b, d, v]
    if hold:
        for p in hold[2]:
            a.add(c, hold[0], hold[1] * .985, p, vel)


def comp(a, t0, bars, c, pats, vel=72, lo=50, hi=76, n=4, st=None, rootless=False, short=.9, strum=0.0, fixed=None):
    """Chord hits by a step pattern: X accent, x hit, o soft, - hold, . rest, s/S staccato."""
    st = st if st is not None else {}
    pat = fixed or a.rng.choice(pats)
    for i in range(len(bars)):
        steps = a.steps
        p = pat
        k = 0
        off = (i * steps) % len(p) if len(p) > steps else 0
        while k < steps:
            s = p[(off + k) % len(p)]
            if s in "-.":
                k += 1
                continue
            ln = 1
            while k + ln < steps and p[(off + k + ln) % len(p)] == "-":
                ln += 1
            ch = chord_at(a, bars, i * steps + k)
            if st.get("c") is not ch:
                st["v"] = voice(ch, st.get("v"), lo, hi, n, a.rng, rootless)
                st["c"] = ch
            v = {"X": 1.12, "x": 1.0, "o": .75, "s": .9, "S": 1.1}[s] * vel
            d = ln * .25 * (short if s not in "sS" else .5)
            b = t0 + i * a.bb + k * .25
            notes = st["v"]
            if strum:
                down = (k // 2) % 2 == 0
                for m, q in enumerate(notes if down else notes[::-1]):
                    a.add(c, b + m * strum / a.spb, max(.1, d - m * strum / a.spb), q, v * (1 - .03 * m))
            else:
                for q in notes:
                    a.add(c, b, d, q, v)
            k += ln


def arp(a, t0, bars, c, rate=.5, order="up", vel=66, lo=48, hi=79, n=4, st=None, hold=1.0, acc=True, rootless=False):
    st = st if st is not None else {}
    for b, d, ch, _ in spans(a, t0, bars):
        v = voice(ch, st.get("p"), lo, hi, n, a.rng, rootless)
        st["p"] = v
        if order == "up":
            seq = v
        elif order == "down":
            seq = v[::-1]
        elif order == "updown":
            seq = v + v[-2:0:-1]
        elif order == "alberti":
            seq = [v[0], v[-1], v[len(v) // 2], v[-1]]
        elif order == "wide":
            seq = [v[0], v[1], v[2], v[-1], v[0] + 12, v[-1], v[2], v[1]] if len(v) > 2 else v
        elif order == "skip":
            seq = [v[0], v[2 % len(v)], v[1], v[-1]]
        elif order == "oct":
            seq = [x for p in v for x in (p, p + 12)]
        else:
            if "rnd" not in st:
                st["rnd"] = [a.rng.randrange(n) for _ in range(8)]
            seq = st["rnd"]
            seq = [v[k % len(v)] for k in seq]
        m = int(round(d / rate))
        for k in range(m):
            x = b + k * rate
            w = a.accent(x - t0) if acc else 1.0
            ln = min(rate * hold, d - k * rate)
            a.add(c, x, ln * .97, seq[k % len(seq)], vel * w)


def bass_note(ch, lo, hi, prev=None, pc=None):
    pc = ch.bass if pc is None else pc
    c = [p for p in range(lo, hi + 1) if p % 12 == pc]
    if not c:
        return lo + (pc - lo) % 12
    return min(c, key=lambda p: abs(p - (prev if prev is not None else lo + 5)) + (0.4 * max(0, p - lo - 12)))


def bass(a, t0, bars, c, pats, vel=88, lo=28, hi=48, st=None, short=.92, fixed=None, ghost=True):
    """Step pattern: R root, 5 fifth, 8 octave, 3 third, 7 seventh, a approach, g ghost, - hold, . rest."""
    st = st if st is not None else {}
    pat = fixed or a.rng.choice(pats)
    N = len(bars) * a.steps
    for i in range(len(bars)):
        k = 0
        off = (i * a.steps) % len(pat)
        while k < a.steps:
            s = pat[(off + k) % len(pat)]
            if s in "-.":
                k += 1
                continue
            ln = 1
            while k + ln < a.steps and pat[(off + k + ln) % len(pat)] == "-":
                ln += 1
            step = i * a.steps + k
            ch = chord_at(a, bars, step)
            r = bass_note(ch, lo, hi, st.get("r"))
            st["r"] = (r + lo + 6) / 2
            v = vel * a.accent(k * .25)
            fifth = (ch.pcs[-1] if len(ch.pcs) == 2 else ch.pcs[2]) if len(ch.pcs) > 1 else ch.root
            if s == "R":
                p = r
            elif s == "5":
                p = r + (fifth - r) % 12
                if p > hi + 3:
                    p -= 12
            elif s == "8":
                p = r + 12
            elif s == "3":
                p = r + (ch.pcs[1] - r) % 12
            elif s == "7":
                p = r + (10 if a.scale[6] % 12 == (a.key + 10) % 12 or ch.minor else 9)
            elif s == "a":
                nx = chord_at(a, bars, (step + ln) % N)
                q = bass_note(nx, lo, hi, r)
                p = q + a.rng.choice((-1, -2, 2)) if q != r else r + (fifth - r) % 12
                if (p % 12) not in a.scale:
                    p = q - 1
            else:
                p, v = r, v * .55
            d = ln * .25 * short
            if s == "g":
                d = .12
            a.add(c, t0 + i * a.bb + k * .25, d, p, v)
            k += ln


def walk(a, t0, bars, c, vel=86, lo=29, hi=52, st=None):
    st = st if st is not None else {}
    cur = st.get("p", lo + 9)
    for b, d, ch, nx in spans(a, t0, bars):
        n = int(round(d))
        root = bass_note(ch, lo, hi, cur)
        tgt = bass_note(nx, lo, hi, root)
        line = [root]
        sc = Ladder(local_scale(a.scale, ch))
        for k in range(1, n):
            if k == n - 1:
                ap = tgt + a.rng.choice((-1, 1, -1, 2 if (tgt + 2) % 12 in a.scale else 1))
                line.append(ap)
            else:
                p = line[-1]
                i = sc.near(p)
                dirn = 1 if tgt > p or (tgt == p and a.rng.random() < .6) else -1
                if a.rng.random() < .45:
                    q = near_tone(ch.pcs, p + dirn * 4)
                else:
                    q = sc.p[max(0, i + dirn)]
                if k == 2:
                    q = near_tone(ch.pcs, q)
                if q == p:
                    q = near_tone(ch.pcs, p + dirn * 3)
                if q > hi:
                    q -= 12
                if q < lo:
                    q += 12
                line.append(q)
        for k, p in enumerate(line):
            a.add(c, b + k, .92, p, vel * (1.04 if k % 2 else 1))
            if a.rng.random() < .08:
                a.add(c, b + k + .5, .3, p, vel * .7)
        cur = tgt
    st["p"] = cur


def lead(a, t0, mel, c, vel=88, legato=.95, oct=0, harm=0):
    n = len(mel)
    end = mel[-1][0] + 1 if mel else 1
    lad = Ladder(a.scale)
    for b, d, p, acc in mel:
        arch = 1 + .10 * math.sin(math.pi * min(1, b / end))
        a.add(c, t0 + b, d * legato, p + oct, vel * acc * arch)
        if harm and d >= .5:
            q = lad.p[max(0, lad.near(p) + harm)]
            a.add(c, t0 + b, d * legato, q + oct, vel * .72 * arch)


def counter(a, t0, bars, c, vel=66, lo=55, hi=74, st=None, rate=None):
    """Slow inner line of chord tones and passing notes."""
    st = st if st is not None else {}
    cur = st.get("p", (lo + hi) // 2)
    for b, d, ch, _ in spans(a, t0, bars):
        parts = [d] if d <= 2 or a.rng.random() < .4 else [d / 2, d / 2]
        x = b
        for k, ln in enumerate(parts):
            if k == 0:
                q = near_tone(ch.pcs[1:3] or ch.pcs, cur + a.rng.choice((-1, 1, 2, -2)))
            else:
                q = near_tone(ch.pcs, cur + a.rng.choice((-3, 3, 4, -4)))
            if q > hi:
                q -= 12
            if q < lo:
                q += 12
            a.add(c, x, ln * .98, q, vel)
            cur = q
            x += ln
    st["p"] = cur


def oompah(a, t0, bars, cb, cc, vel=76, lo=33, hi=50, clo=55, chi=74, n=3, st=None, short=.5):
    st = st if st is not None else {}
    three = a.bb == 3 and a.meter != "6/8"
    for i in range(len(bars)):
        ch0 = chord_at(a, bars, i * a.steps)
        r = bass_note(ch0, lo, hi, st.get("r"))
        st["r"] = (r + lo + 6) / 2
        if three or a.meter == "6/8":
            five = r + (ch0.pcs[2 % len(ch0.pcs)] - r) % 12
            bn = r if i % 2 == 0 or len(bars[i]) > 1 else (five if five <= hi else five - 12)
            if a.meter == "6/8":
                a.add(cb, t0 + i * a.bb, .8, r, vel * 1.05)
                a.add(cb, t0 + i * a.bb + 1.5, .8, five if five <= hi else five - 12, vel)
                beats = (1.0, 2.5)
            else:
                a.add(cb, t0 + i * a.bb, .9, bn, vel * 1.06)
                beats = (1, 2)
        else:
            for k in (0, 2):
                ch = chord_at(a, bars, i * a.steps + k * 4)
                r = bass_note(ch, lo, hi, st.get("r"))
                five = r + (ch.pcs[2 % len(ch.pcs)] - r) % 12
                five = five if five <= hi else five - 12
                a.add(cb, t0 + i * a.bb + k, .8, r if k == 0 or ch is not ch0 else five, vel * 1.05)
            beats = (1, 3)
        for k in beats:
            ch = chord_at(a, bars, i * a.steps + int(k * 4))
            v = voice(ch, st.get("v"), clo, chi, n, a.rng)
            st["v"] = v
            for p in v:
                a.add(cc, t0 + i * a.bb + k, short, p, vel * .82)


def pick(a, t0, bars, c, vel=74, st=None, pat=None, lo=40, hi=71):
    """Travis picking: thumb alternates bass notes, fingers the chord above."""
    st = st if st is not None else {}
    if pat is None:
        pat = st.get("pat") or a.rng.choice(
            ["B.2.b.1.B.2.b.1.", "B.23b.12B.23b.12", "B.1.2.3.b.3.2.1.", "B3.2b1.3B3.2b1.2", "B.123.21b.123.21"]
            if a.bb == 4 else ["B.1.2.3.2.1.", "B.12b.32B.21", "B.2.1.b.2.1."])
        st["pat"] = pat
    for i in range(len(bars)):
        for k in range(a.steps):
            s = pat[k % len(pat)]
            if s == ".":
                continue
            ch = chord_at(a, bars, i * a.steps + k)
            if st.get("c") is not ch:
                st["v"] = voice(ch, st.get("v"), 54, hi, 3, a.rng)
                st["r"] = bass_note(ch, lo, 52, 45)
                st["c"] = ch
            if s == "B":
                p, v, d = st["r"], vel * 1.05, 1.0
            elif s == "b":
                f = st["r"] + (ch.pcs[2 % len(ch.pcs)] - st["r"]) % 12
                p, v, d = (f if f <= 55 else f - 12), vel * .95, 1.0
            else:
                p, v, d = st["v"][int(s) - 1], vel * .88, .9
            a.add(c, t0 + i * a.bb + k * .25, d, p, v)


ROLLS = ["13212312", "21321231", "13123123", "31213121", "12312313"]


def roll(a, t0, bars, c, vel=80, st=None, rate=.5):
    """Banjo rolls over close chord tones with a high drone."""
    st = st if st is not None else {}
    for i in range(len(bars)):
        pat = a.rng.choice(ROLLS)
        for k in range(int(a.bb / rate)):
            ch = chord_at(a, bars, i * a.steps + int(k * rate * 4))
            if st.get("c") is not ch:
                st["v"] = voice(ch, st.get("v"), 55, 74, 3, a.rng)
                st["c"] = ch
                st["d"] = near_tone(ch.pcs[:1] + ch.pcs[2:3], 74)
            s = pat[k % 8]
            p = st["v"][0] if s == "3" else st["v"][1] if s == "2" else (st["d"] if k % 4 == 3 else st["v"][2])
            x = t0 + i * a.bb + k * rate
            a.add(c, x, .45, p, vel * a.accent(x - t0))


def ost(a, t0, bars, c, pat, vel=80, lo=48, hi=67, st=None, short=.7, oct2=False):
    """String ostinato: digits index chord tones; steps of a sixteenth."""
    st = st if st is not None else {}
    for i in range(len(bars)):
        for k in range(a.steps):
            s = pat[k % len(pat)]
            if s == ".":
                continue
            ch = chord_at(a, bars, i * a.steps + k)
            if st.get("c") is not ch:
                st["v"] = voice(ch, st.get("v"), lo, hi, 4, a.rng)
                st["c"] = ch
            v = st["v"]
            j = int(s)
            p = v[j] if j < len(v) else v[j - len(v)] + 12
            x = k * .25
            ln = 1
            while k + ln < a.steps and pat[(k + ln) % len(pat)] == "." and ln < 2:
                ln += 1
            a.add(c, t0 + i * a.bb + x, .25 * ln * short, p, vel * a.accent(x))
            if oct2:
                a.add(c, t0 + i * a.bb + x, .25 * ln * short, p - 12, vel * .9)


