"""Melodies."""

from weights.compose.theory import Ladder, local_scale, near_tone

# one-bar rhythms (quarter notes; negative = rest)
R44 = {
    "slow": [[2, 2], [3, 1], [4], [1, 1, 2], [2, 1, 1], [-1, 1, 2], [1.5, .5, 2], [-2, 1, 1]],
    "mid": [[1, 1, 1, 1], [1, .5, .5, 2], [1.5, .5, 1, 1], [.5, .5, 1, 2], [1, 1, .5, .5, 1], [-.5, .5, 1, 1, 1],
            [1.5, .5, 1.5, .5], [.5, .5, .5, .5, 1, 1], [-1, 1, 1, 1], [1, .5, .5, 1, -1]],
    "fast": [[.5] * 8, [1, .5, .5, .5, .5, 1], [.5, .5, 1, .5, .5, 1], [.5] * 6 + [1], [.5, .25, .25, .5, .5, 1, 1],
             [1, .5, .5, 1, .5, .5], [.5, .5, .5, .5, 1, -.5, .5], [.75, .25, .5, .5, 1, .5, .5]],
    "sync": [[.75, .75, .5, 1, 1], [.5, 1, .5, 1, 1], [.75, .75, 1, .5, 1], [-.5, .5, .5, 1, .5, 1], [.75, .75, .75, .75, 1],
             [1, .75, .75, .5, 1], [.5, .5, 1, .5, .5, -1], [.5, .5, .75, .75, 1.5], [1.5, 1, 1.5]],
    "swing": [[1, .5, .5, 1, .5, .5], [-.5, .5, .5, .5, .5, .5, 1], [.5, .5, .5, .5, 1, -1], [1.5, .5, 1, -1],
              [-1, .5, .5, .5, .5, .5, .5], [.5] * 8, [-.5, .5, 1, .5, .5, .5, .5], [.5, 1, .5, 1, -1], [-1.5, .5, .5, .5, 1]],
    "run": [[.25] * 4 + [.5] * 4 + [1], [.5, .25, .25] * 3 + [1], [.25] * 8 + [.5, .5, 1], [.5, .25, .25, .5, .5, .25, .25, .25, .25, 1],
            [.25] * 12 + [.5, .5], [.5] * 4 + [.25] * 8],
    "funk": [[.25, .25, .5, -.5, .25, .25, .5, .5, -1], [-.5, .25, .25, .5, .75, .25, .5, 1], [.5, .25, .5, .25, .5, -1, .5, .5],
             [.75, .25, -.5, .5, .5, .5, 1], [-.25, .25, .5, .5, .5, -1, .25, .25, .5]],
    "march": [[1, .75, .25, 1, 1], [.75, .25, .75, .25, 1, 1], [1, .5, .5, 1, 1], [1, 1, .5, .5, .5, .5], [1.5, .5, 1, 1],
              [.5, .5, .5, .5, 1, 1], [1, 1, 2]],
    "reel": [[.5] * 8, [1, .5, .5, .5, .5, .5, .5], [.5, .5, 1, .5, .5, 1], [.5, .25, .25, .5, .5, .5, .25, .25, .5, .5],
             [.5, .5, .5, .5, .5, .5, 1], [1, .5, .5, 1, .5, .5]],
}
R34 = {
    "slow": [[3], [2, 1], [1, 2], [1.5, .5, 1], [-1, 1, 1], [1, 1, 1]],
    "mid": [[1, 1, 1], [2, 1], [1, .5, .5, 1], [1.5, .5, 1], [1, 1, .5, .5], [.5, .5, 1, 1], [2, .5, .5]],
    "fast": [[.5] * 6, [1, .5, .5, .5, .5], [1.5, .5, .5, .5], [.5, .5, .5, .5, 1], [1, 1, .5, .5], [.75, .25, 1, 1]],
    "run": [[.5, .25, .25, .5, .5, .5, .5], [.25] * 4 + [.5] * 4, [.5] * 6, [.25] * 8 + [.5, .5], [1, .25, .25, .25, .25, .5, .5]],
}
R68 = {
    "slow": [[3], [1.5, 1.5], [1, .5, 1.5], [1.5, 1, .5]],
    "mid": [[1, .5, 1, .5], [1.5, 1, .5], [1, .5, 1.5], [.5, .5, .5, 1.5], [1.5, .5, .5, .5]],
    "fast": [[.5] * 6, [1, .5, .5, .5, .5], [.5, .5, .5, 1, .5], [.5, .5, .5, 1.5], [.75, .25, .5, .5, .5, .5]],
    "run": [[.5] * 6, [.25] * 4 + [.5] * 4, [.5, .25, .25, .5, .5, .5, .5]],
}
FALL = {"sync": "mid", "swing": "fast", "funk": "fast", "march": "mid", "reel": "fast"}


def pool_for(meter, kind):
    d = {"4/4": R44, "3/4": R34, "6/8": R68}[meter]
    return d.get(kind) or d[FALL[kind]]


def contour(rng, n, leap):
    """Scale-step offsets from the anchor for n notes."""
    c = [0]
    d = rng.choice((1, -1))
    for i in range(1, n):
        if rng.random() < leap:
            s = rng.choice((2, 2, 3, 4)) * d
            d = -d
        elif rng.random() < 0.13:
            s = 0
        else:
            s = d
            if rng.random() < 0.28:
                d = -d
        x = c[-1] + s
        if x > 5:
            x, d = c[-1] - 1, -1
        if x < -4:
            x, d = c[-1] + 1, 1
        c.append(x)
    return c


def vary_rhythm(rng, r):
    r = list(r)
    k = [i for i, x in enumerate(r) if x >= 1]
    m = [i for i in range(len(r) - 1) if 0 < r[i] <= .5 and 0 < r[i + 1] <= .5]
    if k and (rng.random() < .6 or not m):
        i = rng.choice(k)
        r[i:i + 1] = [r[i] / 2, r[i] / 2]
    elif m:
        i = rng.choice(m)
        r[i:i + 2] = [r[i] + r[i + 1]]
    return r


def melody(a, bars, kind="mid", lo=60, hi=84, leap=0.22, penta=False, close=True, rest=0.0, chroma=0.0):
    """List of (beat, dur, pitch, accent) over the bars (each a list of (chord, share))."""
    rng = a.rng
    pool = pool_for(a.meter, kind)
    n = len(bars)
    ra, rb = rng.choice(pool), rng.choice(pool)
    slow = pool_for(a.meter, "slow")
    rc = rng.choice(pool)
    half = rng.choice([["A", "A1", "B", "C"], ["A", "B", "A", "C"], ["A", "Ar", "A2", "C"], ["A", "B", "Ai", "C"],
                       ["A", "A1", "Ai", "C"], ["A", "B", "A1", "Br"], ["A", "A1", "A2", "C"]])
    ca = contour(rng, 16, leap)
    cb = contour(rng, 16, leap)
    cc = contour(rng, 16, leap)
    center = (lo + hi) / 2 + rng.uniform(-2, 2)
    plan = []
    for i in range(n):
        s = half[i % 4]
        if i // 4 % 2 == 1 and i % 4 == 2:
            s = rng.choice([s, "B", "Ai"])
        plan.append(s)
    seqdir = rng.choice((1, -1, -1))
    ar = vary_rhythm(rng, ra)
    out = []
    prev = None
    anchor0 = None
    for i, s in enumerate(plan):
        last = i == n - 1
        mid = i % 4 == 3 and not last
        r = ar if s == "Ar" else vary_rhythm(rng, ra) if s == "A2" and rng.random() < .5 else \
            ra if s[0] == "A" else rb if s[0] == "B" else rc
        con = ca if s[0] == "A" else cb if s[0] == "B" else cc
        if s == "Ai":
            con = [-x for x in con]
        if last or mid:
            # cadence bar: move, then hold
            head = a.bb - (1.5 if a.meter == "6/8" else (2 if a.bb == 4 else 1))
            acc, rr = 0.0, []
            for x in r:
                if acc + abs(x) > head + 1e-6:
                    break
                rr.append(x)
                acc += abs(x)
            if acc < head - 1e-6:
                rr.append(head - acc)
            hold = a.bb - head
            rr.append(hold if rng.random() < .6 else hold * .75 if hold >= 2 else hold)
            r = rr
        bar = bars[i]
        ch = bar[0][0]
        if s in ("A", "Ar", "Ai", "A2") and anchor0 is not None:
            tgt = anchor0
        elif s == "A1" and anchor0 is not None:
            tgt = anchor0 + seqdir * 2
        elif prev is not None:
            tgt = prev + rng.choice((-3, -2, 0, 2, 3))
        else:
            tgt = int(center)
        if tgt < lo:
            tgt += 5
        if tgt > hi - 3:
            tgt -= 5
        anc = near_tone(ch.pcs[:3], int(tgt))
        if anchor0 is None:
            anchor0 = anc
        pos = 0.0
        k = 0
        cur, lad = None, None
        for j, d in enumerate(r):
            if d < 0 or (rest and rng.random() < rest and j > 0):
                pos += abs(d)
                continue
            # chord at this point
            acc = 0.0
            for c, sh in bar:
                acc += sh * a.bb
                if pos < acc - 1e-6:
                    break
            if c is not cur:
                cur = c
                pcs = local_scale(a.scale, c)
                if penta:
                    base = (0, 3, 5, 7, 10) if a.mode == "minor" else (0, 2, 4, 7, 9)
                    pcs = [(a.key + x) % 12 for x in base]
                    pcs = list(set(pcs) | {c.pcs[0]} if len(c.pcs) else pcs)
                lad = Ladder(pcs)
            idx = lad.near(anc) + con[k % 16]
            idx = max(0, min(len(lad.p) - 1, idx))
            p = lad.p[idx]
            strong = abs(pos / a.pulse - round(pos / a.pulse)) < 1e-6 and (d >= 1 or pos == 0 or pos == 2)
            if strong or d >= 1.5:
                p = near_tone(c.pcs[:4], p)
            endnote = (last or mid) and j == len(r) - 1
            if endnote:
                if last and close:
                    tonic = a.key if a.key in c.pcs else c.root
                    p = near_tone((tonic,), prev if prev is not None else p)
                else:
                    p = near_tone((c.pcs[1], c.pcs[2 % len(c.pcs)], c.root), prev if prev is not None else p)
            while p > hi:
                p -= 12
            while p < lo:
                p += 12
            if prev is not None and abs(p - prev) > 9:
                q = p - 12 if p > prev else p + 12
                if lo <= q <= hi and abs(q - prev) < abs(p - prev):
                    p = q
            if k and prev is not None and abs(p - prev) > 7 and not (endnote and last):
                q = near_tone(c.pcs[:3], prev + (4 if p > prev else -4))
                p = q if lo <= q <= hi else p
            out.append((i * a.bb + pos, abs(d), p, 1.0 + (0.06 if strong else 0)))
            prev = p
            k += 1
            pos += abs(d)
    if chroma:
        extra = []
        for x, y in zip(out, out[1:]):
            if x[1] >= 1 and rng.random() < chroma and x[0] + x[1] == y[0]:
                extra.append((y[0] - .5, .5, y[2] - 1, .9))
                extra.append((x[0], x[1] - .5, x[2], x[3]))
            else:
                extra.append(x)
        out = extra + out[-1:]
    return out


def vary_melody(a, mel, amount=0.25):
    """Ornament a repeat: split notes with neighbours, drop or push a few."""
    rng = a.rng
    lad = Ladder(a.scale)
    out = []
    for b, d, p, v in mel:
        r = rng.random()
        if d >= 1 and r < amount:
            q = lad.p[max(0, min(len(lad.p) - 1, lad.near(p) + rng.choice((1, -1))))]
            out += [(b, d / 2, p, v), (b + d / 2, d / 2, q, v * .92)]
        elif d >= 1.5 and r < amount * 1.6:
            q = lad.p[lad.near(p) + 1]
            out += [(b, .25, q, v * .9), (b + .25, d - .25, p, v)]
        elif d <= .5 and r < amount * .3:
            continue
        else:
            out.append((b, d, p, v))
    return out


