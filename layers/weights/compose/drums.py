"""Drums."""

K, S, RIM, CLAP, HH, PH, OH, RIDE, BELL, CR, TAMB, COW, SHK = 36, 38, 37, 39, 42, 44, 46, 51, 53, 49, 54, 56, 70
DV = {"X": 1.15, "x": 1.0, "o": .78, "g": .5}
TOMS = (50, 48, 47, 45, 43, 41)


def drums(a, t0, nb, groove, vel=92, fill=0.8, crash=True, parts=None, fillkind="tom"):
    """groove: {note: step pattern}; a fill in the last bar of four/eight."""
    rng = a.rng
    for i in range(nb):
        f = fill and (i == nb - 1 or (i % 4 == 3 and rng.random() < .35)) and rng.random() < fill
        flen = (rng.choice((4, 4, 8)) if a.steps == 16 else rng.choice((3, 6))) if f else 0
        cut = a.steps - flen if f else a.steps
        b0 = t0 + i * a.bb
        for note, pat in groove.items():
            if parts and note not in parts:
                continue
            for k in range(min(cut, a.steps) if note not in (K, HH, RIDE) else (cut if note != K else a.steps)):
                s = pat[(i * a.steps + k) % len(pat)]
                if s in DV:
                    v = vel * DV[s]
                    if note in (HH, OH, RIDE, SHK, PH, TAMB):
                        v *= .72 * (1.0 if k % 4 == 0 else .9)
                    a.hit(b0 + k * .25, note, v)
        if crash and i == 0:
            a.hit(b0, CR, vel * .82)
        if f:
            if fillkind == "none":
                continue
            unit = rng.choice((1, 2, 1)) if a.steps == 16 else 1
            toms = list(TOMS)
            m = 0
            for k in range(cut, a.steps, unit):
                fr = (k - cut) / max(1, flen)
                if fillkind == "snare":
                    note = S
                elif fillkind == "mach":
                    note = rng.choice((S, S, CLAP))
                else:
                    note = S if fr < .3 else toms[min(5, int(fr * 6))]
                if rng.random() < .88:
                    a.hit(b0 + k * .25, note, vel * (.72 + .35 * fr))
                m += 1


