"""Notes as they are written, and their times."""

import math

import numpy as np

from weights.compose.instruments import I
from weights.compose.piece import BEATS_PER_BAR, KEYS, NOTE_DTYPE, Piece
from weights.compose.theory import SCALES

MAX_POLY = 22

class Arr:
    def __init__(self, rng, style, seconds, tempo, meter, mode, scale=None, swing=0.5, swing_unit=0.5,
                 jitter=0.006, key=None):
        self.rng = rng
        self.style = style
        self.seconds = seconds
        self.tempo = tempo
        self.meter = meter
        self.mode = mode
        self.key = rng.randrange(12) if key is None else key
        self.scale = [(self.key + s) % 12 for s in SCALES[scale or mode]]
        self.bb = {"4/4": 4.0, "3/4": 3.0, "6/8": 3.0}[meter]
        self.spb = 60.0 / tempo / (1.5 if meter == "6/8" else 1.0)
        self.pulse = 1.5 if meter == "6/8" else 1.0
        self.steps = int(self.bb * 4)
        self.bar_s = self.bb * self.spb
        self.swing = swing
        self.su = swing_unit           # 0.5: swung eighths, 0.25: swung sixteenths
        self.jitter = jitter
        self.ev = []
        self.prog = {}
        self.vol = {}
        self.words = []
        self.inten = 1.0               # the section's strength
        self.lag = {}
        self.controls = []
        self.kit = None
        self._next = 0
        self.keyshift = 0              # the named key, from the tonic of the arrangement
        self.skip = 0.0                # quarter notes cut from the beginning
        self.chname = {}

    def inst(self, name, level=0.0):
        """A channel for the named instrument; level in dB relative to the others."""
        b, p, w, db, lo, hi = I[name]
        c = self._next
        self._next += 1
        if self._next == 9:
            self._next = 10
        if c > 15:
            raise RuntimeError("out of channels")
        self.chname[c] = (name, level)
        self.prog[c] = (b, p)
        self.vol[c] = level + max(-9.0, min(9.0, -21.0 - db)) * 0.85
        return c

    def drums(self, kit, level=0.0, word="drum kit"):
        self.kit = kit
        self.prog[9] = (128, kit)
        self.vol[9] = level
        self.drumword = word

    def range(self, c):
        return I[self.chname[c][0]][4:6]

    def add(self, c, beat, dur, pitch, vel):
        self.ev.append((beat, dur, c, int(pitch), vel * self.inten))

    def hit(self, beat, pitch, vel):
        self.ev.append((beat, 0.25, 9, pitch, vel * self.inten))

    def accent(self, pos):
        """Metric weight of a position within the bar."""
        p = pos % self.bb
        if p < 1e-6:
            return 1.08
        if self.meter == "4/4" and abs(p - 2) < 1e-6:
            return 1.03
        if abs(p / self.pulse - round(p / self.pulse)) < 1e-6:
            return 1.0
        return 0.93

    def warp(self, b):
        if self.swing == 0.5:
            return b
        u = self.su * 2
        k = math.floor(b / u + 1e-9)
        f = b / u - k
        s = self.swing
        f = f * 2 * s if f < 0.5 else s + (f - 0.5) * 2 * (1 - s)
        return (k + f) * u

    def finish(self, seed, tags, mood, energy, start_beat=0.0):
        rng = self.rng
        out = []
        for beat, dur, c, pitch, vel in self.ev:
            if beat < start_beat - 1e-6:
                if c == 9 or beat + dur < start_beat + .4:
                    continue
                dur -= start_beat - beat
                beat = start_beat
            t = (self.warp(beat) - start_beat) * self.spb
            e = (self.warp(beat + dur) - start_beat) * self.spb
            t += (rng.gauss(0, self.jitter) if self.jitter else 0.0)
            t = max(0.0, t)
            if t >= self.seconds - 0.02:
                continue
            v = vel + rng.gauss(0, 3.0 if self.jitter else 1.0)
            if pitch < 12 or pitch > 115:
                continue
            out.append([t, max(0.04, e - t), c, pitch, int(max(8, min(127, v)))])
        out.sort(key=lambda n: (n[0], n[2], n[3]))
        # no overlap of one pitch on one channel
        last = {}
        keep = []
        for n in out:
            k = (n[2], n[3])
            p = last.get(k)
            if p is not None and n[0] < p[0] + p[1]:
                if n[0] - p[0] < 0.03:
                    p[1] = max(p[1], n[0] + n[1] - p[0])
                    continue
                p[1] = n[0] - p[0] - 0.004
            last[k] = n
            keep.append(n)
        # polyphony: cut the longest sounding note that is not the lowest
        act = []
        for n in keep:
            act = [m for m in act if m[0] + m[1] > n[0]]
            while len(act) >= MAX_POLY:
                low = min(act, key=lambda m: m[3])
                m = min((m for m in act if m is not low), key=lambda m: m[0])
                m[1] = max(0.04, n[0] - m[0])
                act.remove(m)
            act.append(n)
        notes = np.array([tuple(n) for n in keep], NOTE_DTYPE)
        used = {n[2] for n in keep}
        prog = {c: p for c, p in self.prog.items() if c in used}
        top = max(self.vol[c] for c in prog)
        vols = {c: round(float(10 ** ((self.vol[c] - top) / 20)), 4) for c in prog}
        words = []
        for c in sorted(prog):
            w = self.drumword if c == 9 else I[self.chname[c][0]][2]
            if w not in words:
                words.append(w)
        ctl = [(round(max(0.0, b - start_beat) * self.spb, 4), c, v) for b, c, v in self.controls
               if c in prog and b > start_beat - 1 and (b - start_beat) * self.spb < self.seconds]
        first = math.ceil(start_beat / self.pulse - 1e-9)
        return Piece(
            seed=seed,
            seconds=self.seconds,
            notes=notes,
            programs=prog,
            volumes=vols,
            controls=tuple(ctl),
            tempo=float(self.tempo),
            first_beat=max(0.0, (first * self.pulse - start_beat) * self.spb),
            first_beat_in_bar=first % BEATS_PER_BAR[self.meter],
            meter=self.meter,
            key=KEYS[(self.key + self.keyshift) % 12],
            mode=self.mode,
            style=self.style,
            instruments=tuple(words),
            mood=tuple(mood),
            energy=energy,
            tags=tuple(tags),
        )



