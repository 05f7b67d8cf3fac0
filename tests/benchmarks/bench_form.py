"""Form: does what is made begin, go on and end where bars do? Each promise beside what was found.

    python -m tests.benchmarks.bench_form [--pieces 22] [--tracks 22] [--jobs 1] [--json FILE]

Composed pieces of known bars, of seeds that nothing was fitted on, are rendered with FluidR3Mono; real tracks
are those of the corpus, of several packages in turn, and pieces and tracks take turns. From each one piece of
30 s is made through the generator and the mastering that the service uses. Onsets are looked for in the
finished sound, not in what the generator says. What was found is written after each source.

A bar line is where a bar begins, or where the last one that was found ends. A phrase is looked for where the
source's beats lie in the result; what `similarity.form` says depends on the beats that are heard there, too.

How temperature works and where the seams of a region lie was chosen on the first three of these pieces. How
ends, keys, the seam of `extend` and joins are found was mended by what was missed on the first 33 sources.
Two of the last 11 served as well (21018 chiptune, bossattack). How tempos and the seams of loops are found
was mended by what was missed on all 44. The generator takes an end by the measure of onsets of this
benchmark, and brings tempo and key by the same measures: others would judge harder.
"""

import argparse
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise, zip_longest
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from music import reach
from music.audio.decode import decode, resample
from music.audio.loudness import integrated_loudness
from music.audio.master import CUT_SECONDS, FADE_OUT_SECONDS, master
from music.dsp import rhythm
from music.dsp.harmony import chroma_from_salience
from music.dsp.sound import Sound
from music.features import SAMPLE_RATE, Features, measure, measure_form, measure_likeness
from music.interfaces import Candidate, Parameters, Request, Section
from music.mosaic import generator
from music.mosaic.generator import Mosaic
from music.mosaic.outlook import Outlook
from music.mosaic.transitions import Transitions
from music.mosaic.units import Units, cut
from music.mosaic.walk import walk
from tests.benchmarks import corpus
from tests.benchmarks.machine import machine
from tests.support import truth
from weights.compose import Piece, render
from weights.compose.soundfont import fetch

RATE = Mosaic.sample_rate
FIRST_SEED = 21000
SOURCE_SECONDS = 60.0
NEAR_LINE = 0.07  # seconds
BARS = 8
TEMPERATURES = (0.2, 0.6, 1.0, 1.5, 2.0)
VARIED = 20  # sources that are made music from at each temperature,
SEEDS = 6  # so often


@dataclass(eq=False)
class Source:
    """Music to make music from, and what is known of it."""

    name: str
    audio: np.ndarray
    features: Features
    piece: Piece | None = None


@dataclass
class Promise:
    """What is promised, and the figures that were found; `least` of their mean, or `most` of each."""

    name: str
    unit: str
    least: float | None = None
    most: float | None = None
    found: dict[str, float] = field(default_factory=dict)

    def kept(self, figure: float) -> bool:
        """Does one figure keep it?"""
        return figure >= self.least if self.least is not None else figure <= (self.most or 0.0)

    def row(self) -> dict[str, Any]:
        """What is told of it."""
        figures = np.array(list(self.found.values()))
        if not len(figures):
            return {"promise": self.name, "found": None, "holds": False}
        worst = (
            max(self.found, key=self.found.__getitem__)
            if self.most
            else min(self.found, key=self.found.__getitem__)
        )
        holds = (
            figures.mean() >= self.least if self.least is not None else figures.max() <= (self.most or 0.0)
        )
        return {
            "promise": self.name,
            "bar": f">= {self.least:g}, mean"
            if self.least is not None
            else f"<= {self.most:g} {self.unit}, each",
            "mean": round(float(figures.mean()), 4),
            "median": round(float(np.median(figures)), 4),
            "worst": round(float(self.found[worst]), 4),
            "worst_of": worst,
            "count": len(figures),
            "missed": [name for name, figure in self.found.items() if not self.kept(figure)],
            "holds": bool(holds),
        }


def wanted(pieces: int, tracks: int) -> list[Piece | corpus.Track]:
    """What music is made from, pieces and tracks in turn."""
    composed = truth.pieces(pieces, SOURCE_SECONDS, FIRST_SEED)
    real = corpus.in_turn(track for track in corpus.tracks() if track.seconds <= 900.0)[:tracks]
    return [one for both in zip_longest(composed, real) for one in both if one is not None]


def loaded(one: Piece | corpus.Track) -> Source:
    """Render a piece, or decode a track."""
    if isinstance(one, Piece):
        audio = render(one, RATE, 2, fetch())
        return Source(f"{one.seed} {one.style}", audio, heard(audio), one)
    audio = decode(one.path, rate=RATE, channels=2)
    return Source(one.name, audio, heard(audio))


def heard(audio: np.ndarray) -> Features:
    """What the service measures of a track."""
    return measure(resample(audio, RATE, SAMPLE_RATE), integrated_loudness(audio, RATE))


@contextmanager
def cut_once() -> Iterator[None]:
    """Cut a source into units once, however often music is made of it."""
    known: dict[tuple[float, ...], Units] = {}

    def cut_or_known(
        audio: np.ndarray, rate: int, beats: Sequence[float], bars: Sequence[float], _: Any
    ) -> Units:
        key = tuple(beats)
        if key not in known:
            known.clear()
            known[key] = cut(audio, rate, beats, bars, lambda done: None)
        return known[key]

    with patch.object(generator, "cut", cut_or_known):
        yield


def make(source: Source, **asked: Any) -> tuple[Candidate, np.ndarray]:
    """One candidate, and it mastered."""
    parameters = Parameters(**{"seed": 1, "duration": 30.0, **asked})
    candidate = next(
        Mosaic().candidates(Request(source.audio, source.features, parameters), lambda done: None)
    )
    ends = candidate.ends or parameters.ending == "cut"
    if candidate.fault:
        return candidate, candidate.audio
    mastered = master(
        candidate.audio, RATE, duration=parameters.duration, target_loudness=source.features.loudness,
        fade_out=CUT_SECONDS if ends else FADE_OUT_SECONDS,
    )  # fmt: skip
    return candidate, mastered.audio


def bar_lines(features: Features) -> list[float]:
    """When bars, and halves of those that last over 3.6 s, begin or end; beats, where there are no bars."""
    if features.bars is None:
        return _and_end(features.beats)
    bars = _and_end(features.bars)
    long = len(bars) > 1 and np.median(np.diff(bars)) > 3.6
    halves = [(one + other) / 2.0 for one, other in pairwise(bars)] if long else []
    return sorted([*bars, *halves])


def _and_end(begins: list[float]) -> list[float]:
    """When bars or beats begin, and the last of them ends."""
    return [*begins, begins[-1] + float(np.median(np.diff(begins)))] if len(begins) > 1 else begins


def lines(made: Candidate, bars: list[float] | np.ndarray) -> np.ndarray:
    """When the bars of a source begin in what was made of it [shape=(lines,)], in seconds."""
    times = np.asarray(bars)
    found = []
    for run in made.details["runs"]:
        inside = times[(times > run["source_start"] - 0.06) & (times < run["source_end"] + 0.06)]
        found.append(run["start"] + (inside - run["source_start"]) * run["stretch"])
    return np.sort(np.concatenate(found)) if found else np.zeros(0)


def jumps_on_lines(made: Candidate, bars: list[float]) -> float | None:
    """Share of jumps that leave the source where a bar ends and come to where one begins."""
    runs = made.details["runs"]
    if len(runs) < 2:
        return None
    near = [
        all(
            np.abs(np.asarray(bars) - time).min() < NEAR_LINE
            for time in (old["source_end"], new["source_start"])
        )
        for old, new in pairwise(runs)
    ]
    return float(np.mean(near))


def last_onset(audio: np.ndarray) -> float:
    """When the last sound begins, in seconds."""
    curve = rhythm.superflux(rhythm.mel_bands(resample(audio, RATE, SAMPLE_RATE), SAMPLE_RATE))
    onsets = rhythm.pick_onsets(curve, SAMPLE_RATE / rhythm.HOP)
    return float(onsets[-1]) * rhythm.HOP / SAMPLE_RATE if len(onsets) else 0.0


def returning(made: Candidate, audio: np.ndarray, beats: list[float]) -> float:
    """How well some phrase of eight beats returns, where the source's beats lie in what was made of it."""
    sound = Sound(resample(audio, RATE, SAMPLE_RATE), SAMPLE_RATE)
    onsets = rhythm.superflux(rhythm.mel_bands(sound.samples, SAMPLE_RATE))
    times = lines(made, beats)
    times = times[np.diff(times, prepend=-np.inf) > 0.5 * float(np.median(np.diff(beats)))]
    return measure_form(chroma_from_salience(sound.salience), onsets, times)


def fall(audio: np.ndarray) -> float:
    """How far the last tenth of a second lies below the loudest of the last six seconds, in dB."""
    size = RATE // 10
    power = (audio[:, -60 * size :].reshape(len(audio), -1, size) ** 2).mean(axis=(0, 2)) + 1e-14
    return float(10.0 * np.log10(power.max() / power[-1]))


def seam(source: Source) -> dict[str, float] | None:
    """What is found where a loop of eight bars meets itself; None where it is refused."""
    parameters = Parameters(seed=1, loop=True, bars=BARS)
    made = next(Mosaic().candidates(Request(source.audio, source.features, parameters), lambda done: None))
    if made.fault:
        return None
    loop = made.audio
    bars = np.array(source.features.bars)
    usual = float(np.percentile(np.abs(np.diff(source.audio, axis=1)), 99.9))
    tiled = np.tile(loop, (1, 2))
    flux = rhythm.superflux(rhythm.mel_bands(resample(tiled, RATE, SAMPLE_RATE), SAMPLE_RATE))
    size = SAMPLE_RATE / rhythm.HOP

    def strength(time: float) -> float:
        middle = round(time * size)
        return float(flux[max(middle - 4, 0) : middle + 6].max(initial=0.0))

    length = loop.shape[1] / RATE
    period = float(np.median(np.diff(source.features.beats)))
    beats = [strength(time) for time in np.arange(period, length - period, period)]
    bar = loop.shape[1] // BARS
    levels = [integrated_loudness(loop[:, k * bar : (k + 1) * bar], RATE) for k in range(BARS)]
    return {
        "step": float(np.abs(loop[:, 0] - loop[:, -1]).max()) / usual,
        "flux": strength(length) / max(float(np.percentile(beats, 95)), 1e-9),
        "loudness": abs(levels[0] - levels[-1]),
        "bars": abs(length / float(np.median(np.diff(bars))) - BARS) / BARS,
    }


def retuned(source: Source) -> dict[str, float]:
    """How far the tempo is from what is asked for, as a share of it; and whether the key is what is.

    A tempo or a key that is refused is not among what is found.
    """
    features, found = source.features, {}
    draw = np.random.default_rng(zlib.crc32(source.name.encode()))
    if features.tempo:
        asked = features.tempo * draw.uniform(reach.SLOWEST, reach.FASTEST)
        candidate, audio = make(source, tempo=float(np.clip(asked, 30.0, 300.0)))
        if candidate.fault is None:
            found["tempo"] = abs(heard(audio).tempo / asked - 1.0)
    if features.key:
        key = f"{draw.choice(reach.TONICS)} {features.mode}"
        candidate, audio = make(source, key=key)
        if candidate.fault is None:
            now = heard(audio)
            found["key"] = float(f"{now.key} {now.mode}" == key)
    return found


def extension(source: Source) -> dict[str, float]:
    """How far the seam of an extension is from a bar line, and how rough it and those of a region are."""
    audio, features = source.audio, source.features
    asked = Parameters(seed=1, duration=10.0, mode="extend")
    made = next(Mosaic().candidates(Request(audio, features, asked), lambda done: None))
    seam, step = made.details["seam"], made.details["usual_step"]
    lines = np.array(bar_lines(features))
    middle = features.duration / 2.0
    asked = replace(asked, mode="repaint", region=Section(middle - 5.0, middle + 5.0))
    painted = next(Mosaic().candidates(Request(audio, features, asked), lambda done: None))
    first, last = round((middle - 5.0) * RATE), round((middle + 5.0) * RATE)
    outside = np.abs(painted.audio - audio)
    outside[:, first:last] = 0.0
    edges = [painted.details["region_start"], painted.details["region_end"]]
    return {
        "seam": float(np.abs(lines - seam).min()),
        "rough": max(join["step"] for join in (*made.details["joins"], *painted.details["joins"])) / step,
        "outside": float(outside.max()),
        "edges": max(float(np.abs(np.array(features.beats) - edge).min()) for edge in edges),
    }


def apart(source: Source) -> dict[float, float]:
    """By temperature, the share of beats at which two seeds play other recordings; mean of all pairs."""
    features = source.features
    units = generator.cut(source.audio, RATE, features.beats, features.bars or (), lambda done: None)
    transitions = Transitions(units)
    found = {}
    for temperature in TEMPERATURES:
        outlook = Outlook(transitions, temperature)
        played = []
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            parameters = Parameters(seed=seed, temperature=temperature)
            path = next(walk(transitions, outlook, parameters, np.zeros(12), rng, lambda done: None))
            played.append(np.concatenate([units.label[run.first : run.last] for run in path.runs]))
        pairs = [(a[: len(b)], b[: len(a)]) for a, b in combinations(played, 2)]
        found[temperature] = float(np.mean([np.mean(a != b) for a, b in pairs]))
    return found


@dataclass
class Found:
    """What was found of one source: a line to print, and figures by the name of their promise."""

    name: str
    bars: bool
    line: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    natural: bool = False
    refused: list[str] = field(default_factory=list)
    apart: dict[float, float] | None = None


def measured(one: Piece | corpus.Track, vary: bool) -> Found:
    """Make music of one source, and measure it."""
    source = loaded(one)
    with cut_once():
        return of_source(source, vary)


def of_source(source: Source, vary: bool) -> Found:
    """Measure what is made of a source; with `vary` at each temperature."""
    features = source.features
    found = Found(source.name, features.bars is not None)
    figures = found.figures
    candidate, audio = make(source)
    if source.piece and features.bars:
        figures["downbeats"] = float(truth.bars_right(np.array(features.bars), features.meter, source.piece))
    if features.bars and (on_lines := jumps_on_lines(candidate, bar_lines(features))) is not None:
        figures["jumps"] = on_lines
    figures["duration"] = abs(audio.shape[1] - 30.0 * RATE)
    ending = candidate.details.get("ending", "silent")
    if features.beats and ending != "silent":
        found.natural = ending != "fade"
        off = float(np.abs(lines(candidate, bar_lines(features)) - last_onset(audio)).min(initial=np.inf))
        good = found.natural and off <= NEAR_LINE and fall(audio) >= 40.0
        figures["ending"] = float(good)
        found.line = (
            f"{source.name[:40]:40} {features.meter or '-':4} {ending:8} off {off:6.3f} s"
            f"  fall {fall(audio):5.1f} dB  {'ok' if good else 'MISSED'}"
        )
    if features.bars:
        seen = seam(source)
        figures.update(seen or {})
        found.refused += [] if seen else ["loop"]
    if features.beats:
        figures["form"] = float(returning(candidate, audio, features.beats) >= 0.8)
        likeness = measure_likeness(resample(audio, RATE, SAMPLE_RATE))
        figures["heard_form"] = float(likeness[2] >= 0.8)
        figures.update(extension(source))
    asked_for = retuned(source)
    figures.update(asked_for)
    known = {"tempo": features.tempo, "key": features.key}
    found.refused += [name for name, value in known.items() if value and name not in asked_for]
    if vary and features.beats:
        found.apart = apart(source)
    return found


def promises() -> dict[str, Promise]:
    """What is promised, by the names of figures."""
    joins = "joins over the source's 99.9th percentile"
    return {
        "downbeats": Promise("downbeats of rendered pieces right, where bars were found", "share", 0.85),
        "jumps": Promise("jumps on bar lines, where bars were found", "share", 0.95),
        "ending": Promise(
            "last onset within 70 ms of a bar line, or a beat, and a fall of 40 dB", "share", 0.95
        ),
        "duration": Promise("duration", "samples off", most=0.5),
        "step": Promise("loop: step at the seam over the source's 99.9th percentile", "", most=1.0),
        "flux": Promise("loop: flux at the seam over the 95th percentile of its beats", "", most=1.0),
        "loudness": Promise("loop: loudness of the last bar against the first", "LU", most=1.0),
        "bars": Promise("loop: length against eight of the source's median bar", "share", most=0.05),
        "tempo": Promise("tempo: measured against asked for, where it is not refused", "share", most=0.01),
        "key": Promise("key: measured as asked for, where it is not refused", "share", 0.95),
        "seam": Promise("extend: seam off a bar line, or a beat", "s", most=NEAR_LINE),
        "edges": Promise("repaint: seams off a beat", "s", most=NEAR_LINE),
        "outside": Promise("repaint: greatest change outside the region", "of full scale", most=1e-9),
        "rough": Promise(f"extend and repaint: {joins}", "", most=1.0),
        "form": Promise("a phrase returns with a correlation of 0.8", "share", 0.95),
        "heard_form": Promise(
            "similarity.form: the same, by the beats that are heard in it", "share", 0.95
        ),
    }  # fmt: skip


def report(found: Sequence[Found], asked: Sequence[str]) -> dict[str, Any]:
    """What is told of some sources."""
    rows = promises()
    for one in found:
        for name, figure in one.figures.items():
            rows[name].found[one.name] = figure
    varied = [one.apart for one in found if one.apart]
    return {
        "command": " ".join(["python -m tests.benchmarks.bench_form", *asked]),
        "machine": machine(),
        "sources": {
            "sources": len(found),
            "with_bars": sum(one.bars for one in found),
            "natural": sum(one.natural for one in found),
        },
        "promises": [promise.row() for promise in rows.values()],
        "refused": {
            name: [one.name for one in found if name in one.refused] for name in ("loop", "tempo", "key")
        },
        "share_in_which_two_seeds_differ_by_temperature": {
            f"{temperature:g}": round(float(np.mean([each[temperature] for each in varied])), 3)
            for temperature in TEMPERATURES
            if varied
        },
        "of_so_many_sources": len(varied),
    }


def main() -> int:
    """Make, measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pieces", type=int, default=22)
    parser.add_argument("--tracks", type=int, default=22)
    parser.add_argument("--jobs", type=int, default=1, help="sources that are measured side by side")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    sources = wanted(asked.pieces, asked.tracks)
    found: list[Found] = []
    told: dict[str, Any] = {}
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        for one in pool.map(measured, sources, [number < VARIED for number in range(len(sources))]):
            found.append(one)
            print(one.line or f"{one.name[:40]:40} no beats", flush=True)
            told = report(found, [f"--pieces {asked.pieces}", f"--tracks {asked.tracks}"])
            if asked.json:
                asked.json.write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))
    return int(not all(row["holds"] for row in told["promises"]))


if __name__ == "__main__":
    sys.exit(main())
