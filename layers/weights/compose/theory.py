"""Scales, chords and voices."""

import bisect
import re

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10), "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10), "lydian": (0, 2, 4, 6, 7, 9, 11), "phrygian": (0, 1, 3, 5, 7, 8, 10),
}
NUM = {"I": 0, "II": 2, "III": 4, "IV": 5, "V": 7, "VI": 9, "VII": 11}
QUAL = {
    "": (0, 4, 7), "m": (0, 3, 7), "7": (0, 4, 7, 10), "m7": (0, 3, 7, 10), "maj7": (0, 4, 7, 11),
    "mmaj7": (0, 4, 7, 11), "9": (0, 4, 7, 10, 14), "m9": (0, 3, 7, 10, 14), "maj9": (0, 4, 7, 11, 14),
    "mmaj9": (0, 3, 7, 11, 14), "6": (0, 4, 7, 9), "m6": (0, 3, 7, 9), "o": (0, 3, 6), "mo": (0, 3, 6),
    "o7": (0, 3, 6, 9), "mo7": (0, 3, 6, 9), "h7": (0, 3, 6, 10), "mh7": (0, 3, 6, 10), "sus4": (0, 5, 7),
    "msus4": (0, 5, 7), "sus2": (0, 2, 7), "msus2": (0, 2, 7), "add9": (0, 4, 7, 14), "madd9": (0, 3, 7, 14),
    "7sus4": (0, 5, 7, 10), "13": (0, 4, 10, 14, 21), "7b9": (0, 4, 7, 10, 13), "5": (0, 7), "m5": (0, 7),
    "69": (0, 4, 7, 9, 14), "m11": (0, 3, 7, 10, 17), "+": (0, 4, 8),
}
_CH = re.compile(r"([b#]?)(VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)([^/]*)(?:/(\d+))?$")


class Chord:
    __slots__ = ("root", "iv", "pcs", "bass", "minor", "name")

    def __init__(self, sym, key):
        m = _CH.match(sym)
        acc, num, q, inv = m.groups()
        r = NUM[num.upper()] + (-1 if acc == "b" else 1 if acc == "#" else 0)
        low = num.islower()
        self.root = (key + r) % 12
        self.iv = QUAL[("m" if low else "") + q]
        self.pcs = tuple((self.root + i) % 12 for i in self.iv)
        self.bass = self.pcs[int(inv)] if inv else self.root
        self.minor = 3 in self.iv
        self.name = sym


def parse(prog, key):
    """'I vi | IV V7' -> list of bars, a bar a list of (chord, share)."""
    out = []
    for bar in prog.split("|"):
        cs = bar.split()
        out.append([(Chord(c, key), 1.0 / len(cs)) for c in cs])
    return out


def local_scale(scale_pcs, chord):
    """Scale (7 pcs, in order) adjusted so it holds the chord's tones."""
    s = list(scale_pcs)
    for p in chord.pcs[:4]:
        if p not in s:
            best = min(range(len(s)), key=lambda k: min((s[k] - p) % 12, (p - s[k]) % 12)
                       + (0.5 if s[k] in chord.pcs else 0))
            s[best] = p
    return s


def voice(chord, prev, lo, hi, n=4, rng=None, rootless=False):
    """Close-position voicing of n notes in lo..hi nearest to the previous one."""
    iv = chord.iv
    if rootless and len(iv) > 3:
        iv = iv[1:]
    pcs = []
    for i in iv:
        p = (chord.root + i) % 12
        if p not in pcs:
            pcs.append(p)
    if len(pcs) > n:
        drop = [p for p in pcs if p == (chord.root + 7) % 12 or (rootless and p == chord.root)]
        for d in drop:
            if len(pcs) > n:
                pcs.remove(d)
        pcs = pcs[:n]
    best, bc = None, 1e9
    mid = (lo + hi) / 2
    sp = sorted(pcs)
    for k in range(len(sp)):
        order = sp[k:] + sp[:k]
        for base in range(lo - lo % 12, hi, 12):
            v = []
            x = base + order[0]
            if x < lo:
                x += 12
            v.append(x)
            i = 1
            while len(v) < n:
                nx = order[i % len(order)]
                while nx <= v[-1]:
                    nx += 12
                v.append(nx)
                i += 1
            if v[-1] > hi:
                continue
            if prev:
                c = sum(min(abs(a - b) for b in prev) for a in v) + abs(sum(v) / n - sum(prev) / len(prev)) * 0.7
                c += 0.25 * abs(sum(v) / n - mid)
            else:
                c = abs(sum(v) / n - mid)
            if c < bc:
                best, bc = v, c
    if best is None:
        best = [lo + (p - lo) % 12 for p in pcs][:n]
    return sorted(best)


def satb(chords, rng):
    """Four voices (bass, tenor, alto, soprano) per chord, few parallels, small steps."""
    res = []
    prev = None
    for ch in chords:
        pcs = []
        for p in ch.pcs:
            if p not in pcs:
                pcs.append(p)
        pcs = pcs[:4]
        third = [p for p in pcs if (p - ch.root) % 12 in (3, 4)]
        bs = [b for b in range(38, 58) if b % 12 == ch.bass]
        best, bc = None, 1e9
        for b in bs:
            for t in range(max(b, 48), 65):
                if t % 12 not in pcs:
                    continue
                for al in range(max(t, 55), min(t + 13, 73)):
                    if al % 12 not in pcs:
                        continue
                    for s in range(max(al, 62), min(al + 13, 82)):
                        sp = s % 12
                        if sp not in pcs:
                            continue
                        have = {b % 12, t % 12, al % 12, sp}
                        c = 6.0 * sum(p not in have for p in pcs[:1] + third + pcs[3:])
                        if al == t or al == s:
                            c += 2
                        if third and [t % 12, al % 12, sp].count(third[0]) > 1:
                            c += 2
                        v = (b, t, al, s)
                        if prev:
                            c += 0.25 * abs(b - prev[0]) + abs(t - prev[1]) + abs(al - prev[2]) + 0.8 * abs(s - prev[3])
                            if s == prev[3]:
                                c += 1.5
                            for i in range(4):
                                for j in range(i):
                                    d0, d1 = (prev[i] - prev[j]) % 12, (v[i] - v[j]) % 12
                                    if d0 == d1 and d1 in (0, 7) and v[i] != prev[i]:
                                        c += 9
                        else:
                            c += abs(s - 71) * 0.5 + abs(b - 46) * 0.3
                        c += rng.random() * 1.2 + max(0, s - 77) * 0.6 + max(0, 66 - s) * 0.6
                        if c < bc:
                            best, bc = v, c
        res.append(best)
        prev = best
    return res




class Ladder:
    """Pitches of a scale over the keyboard, with index arithmetic."""

    def __init__(self, pcs):
        pc = set(pcs)
        self.p = [x for x in range(21, 109) if x % 12 in pc]

    def near(self, pitch):
        i = bisect.bisect_left(self.p, pitch)
        if i >= len(self.p):
            return len(self.p) - 1
        if i > 0 and pitch - self.p[i - 1] < self.p[i] - pitch:
            return i - 1
        return i


def near_tone(pcs, pitch):
    for d in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6):
        if (pitch + d) % 12 in pcs:
            return pitch + d
    return pitch


