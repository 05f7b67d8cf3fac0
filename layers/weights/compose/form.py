"""The form of a piece."""

import math

from weights.compose.drums import CR, K
from weights.compose.melody import vary_melody
from weights.compose.parts import bass_note
from weights.compose.theory import Chord, near_tone, parse, voice

def plan_form(a, letters, unit, intro=2, can_end=.5):
    """List of (kind, bars) that fills the time.  letters: 'AABA' etc."""
    rng = a.rng
    need = a.seconds / a.bar_s
    end = rng.random() < can_end * .7 and need > 5
    tail = min(a.bar_s, rng.uniform(1.4, 2.6)) if end else 0.0
    total = int(math.ceil((a.seconds - tail) / a.bar_s)) + 1 if end else int(math.ceil(need)) + 1
    if end:
        a.skip = ((total - 1) * a.bar_s - (a.seconds - tail)) / a.spb
    secs = []
    if intro and rng.random() < .55 and total > unit + intro:
        secs.append(("i", intro))
    k = 0 if rng.random() < .6 else rng.randrange(len(letters))
    n = sum(b for _, b in secs)
    lim = total - (1 if end else 0)
    while n < lim:
        b = min(unit, lim - n)
        secs.append((letters[k % len(letters)], b))
        n += b
        k += 1
    if end:
        secs.append(("E", 1))
    return secs


def fit(bars, n, unit):
    """First n bars of a phrase, or, when cut short, its last bars (so that it ends with the cadence)."""
    if n >= len(bars):
        return (bars * (n // len(bars) + 1))[:n]
    return bars[len(bars) - n:]


def run(a, progs, letters, unit, play, melfn=None, intro=2, ends=(), can_end=.5, vary=.22, intens=None, endchord=None):
    """Plan the form, make one theme per letter and let play() write the sections."""
    rng = a.rng
    secs = plan_form(a, letters, unit, intro, can_end)
    themes, seen = {}, {}
    used = {}
    for l in dict.fromkeys(letters):
        pr = progs[l] if isinstance(progs, dict) else progs
        pick = used.get(id(pr), [])
        cand = [p for p in pr if p not in pick] or list(pr)
        p = rng.choice(cand)
        used.setdefault(id(pr), []).append(p)
        bars = parse(p, a.key)
        bars = (bars * 8)[:unit] if len(bars) < unit else bars[:unit] if len(bars) % unit == 0 else fit(bars, unit, unit)
        themes[l] = (bars, melfn(l, bars) if melfn else None)
    t = 0.0
    base = intens or {}
    for n, (kind, nb) in enumerate(secs):
        if kind == "E":
            a.inten = 1.0
            finish_bar(a, t, ends, endchord)
            break
        key = letters[0] if kind == "i" else kind
        bars, mel = themes[key]
        rep = seen.get(kind, 0)
        seen[kind] = rep + 1
        cut = nb < len(bars)
        if kind == "i":
            bb = bars[:nb]
            m = None
        else:
            bb = fit(bars, nb, unit)
            m = mel
            if m is not None:
                if rep:
                    m = vary_melody(a, m, vary)
                if cut:
                    off = (len(bars) - nb) * a.bb
                    m = [(b - off, d, p, v) for b, d, p, v in m if b >= off - 1e-6]
        a.inten = base.get(kind, .82 if kind == "i" else 1.0) * (1 + .03 * min(rep, 2))
        play(kind, t, bb, m, rep)
        t += nb * a.bb
    a.inten = 1.0


def finish_bar(a, t, ends, endchord=None):
    ch = Chord(endchord or ("I" if a.mode == "major" else "i"), a.key)
    for c, role in ends:
        lo, hi = a.range(c)
        d = a.bb + 1
        if role == "b":
            a.add(c, t, d, bass_note(ch, max(lo, 26), hi, 36), 90)
        elif role == "c":
            for k, p in enumerate(voice(ch, None, max(lo, 48), min(hi, 76), 4)):
                a.add(c, t + k * .04, d, p, 78)
        elif role == "l":
            p = near_tone((a.key,), (max(lo, 60) + min(hi, 84)) // 2)
            a.add(c, t, d, p, 84)
        elif role == "w":
            r = bass_note(ch, 36, 52, 40)
            for k, p in enumerate([r, r + 12] + voice(ch, None, 58, 77, 4)):
                a.add(c, t + k * .05, d, p, 76)
    if 9 in a.prog:
        a.hit(t, K, 96)
        a.hit(t, CR, 84)


def pump(a, t0, nb, chans, depth=.3):
    for k in range(int(nb * a.bb)):
        for f, v in ((0, depth), (.125, depth + .12), (.25, depth + .3), (.375, depth + .5), (.5, 1.0)):
            for c in chans:
                a.controls.append((t0 + k + f, c, min(1.0, v)))


def swell(a, t0, beats, chans, lo=.6, hi=1.0, down=False):
    n = max(2, int(beats * 2))
    for k in range(n + 1):
        x = k / n
        v = lo + (hi - lo) * (1 - x if down else x)
        for c in chans:
            a.controls.append((t0 + beats * x * .999, c, v))
