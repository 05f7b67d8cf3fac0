"""Does `mosaic` make new, clean, faithful music? Measured on real tracks, and on what is hardly music.

    python -m tests.benchmarks.bench_mosaic [--quick] [--tracks N] [--json FILE] [--packages NAME ...]

Every track of the corpus, or N of its packages in turn, is generated from once, at temperature 1.0, through
the generator, mastering and embedding that the service uses. The bars stand beside the results; the exit
status says whether all hold.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import scipy

from music import features, loading
from music.analysis import analyse
from music.audio.decode import decode, resample
from music.audio.loudness import integrated_loudness, true_peak
from music.audio.master import master
from music.features import Features
from music.interfaces import Candidate, Parameters, Request
from music.loading import Profile
from music.mosaic.generator import Mosaic
from tests.benchmarks import corpus
from tests.benchmarks.verbatim import verbatim

RATE = 32000
LONGEST_TRACK = 900.0  # seconds: what the service accepts
QUICK_TRACKS = 3  # per package


def _silent(done: float) -> None:
    pass


def _one(source: np.ndarray, measured: Features, **wanted: Any) -> Candidate:
    parameters = Parameters(**({"seed": 1, "duration": 30.0, "temperature": 1.0} | wanted))
    return next(Mosaic().candidates(Request(source, measured, parameters), _silent))


def _mastered(candidate: Candidate, measured: Features, duration: float) -> tuple[np.ndarray, float, float]:
    """Mastered audio, its loudness in LUFS and its true peak in dBTP, both measured again."""
    audio = master(candidate.audio, RATE, duration=duration, target_loudness=measured.loudness).audio
    return audio, integrated_loudness(audio, RATE), true_peak(audio)


def worst_join(candidate: Candidate, source: np.ndarray) -> float:
    """Greatest step between neighbouring samples at any join, over the source's own 99.9th percentile."""
    usual = max(float(np.percentile(np.abs(np.diff(source, axis=1)), 99.9)), 1e-9)
    worst = 0.0
    for join in candidate.details["joins"]:
        middle, half = join["time"] * RATE, join["length"] * RATE / 2
        around = candidate.audio[:, max(int(middle - half) - 2, 0) : int(middle + half) + 3]
        worst = max(worst, float(np.abs(np.diff(around, axis=1)).max(initial=0.0)))
    return worst / usual


def replayed(candidate: Candidate) -> float:
    """Share of the output whose place in the source (in tenths of a second) the output has played before."""
    seen: set[int] = set()
    again = total = 0
    for run in candidate.details["runs"]:
        for tenth in range(round(run["source_start"] * 10), round(run["source_end"] * 10)):
            again, total = again + (tenth in seen), total + 1
            seen.add(tenth)
    return again / max(total, 1)


def measure_track(track: corpus.Track, profile: Profile, seconds: float) -> dict[str, Any]:
    """Generate from one track; every number the bars need, and the two vectors."""
    heard = analyse(track.path, profile.embedder)
    source = decode(track.path, rate=RATE, channels=2)
    cpu = time.process_time()
    candidate = _one(source, heard.features, duration=seconds)
    cpu = time.process_time() - cpu
    audio, loudness, peak = _mastered(candidate, heard.features, seconds)
    mono = resample(audio.mean(axis=0, keepdims=True), RATE, profile.embedder.sample_rate)[0]
    longest, share = verbatim(candidate.audio, source, RATE)
    target = heard.features.loudness
    return {
        "name": track.name,
        "package": track.package,
        "source_seconds": round(source.shape[1] / RATE, 1),
        "duration_error_ms": abs(audio.shape[1] / RATE - seconds) * 1000.0,
        "true_peak": peak,
        "loudness_error": abs(loudness - target) if target is not None and -40.0 <= target <= -14.0 else None,
        "worst_join": worst_join(candidate, source),
        "joins": len(candidate.details["joins"]),
        "longest_path": candidate.details["longest_verbatim"],
        "share_path": candidate.details["long_verbatim_share"],
        "longest_audio": longest,
        "share_audio": share,
        "replayed": replayed(candidate),
        "cpu_seconds": cpu,
        "vectors": (heard.vector, profile.embedder.embed(mono)),
    }


def measure_corpus(tracks: Iterable[corpus.Track], profile: Profile, seconds: float) -> list[dict[str, Any]]:
    """Measure every track; then whether each output is most like its own source among all."""
    rows = []
    for track in tracks:
        rows.append(measure_track(track, profile, seconds))
        print(f"  {len(rows):4} {track.name}", file=sys.stderr, flush=True)
    sources = np.stack([row["vectors"][0] for row in rows])
    for index, row in enumerate(rows):
        scores = np.einsum("ij,j->i", sources, row.pop("vectors")[1])
        row["own_similarity"] = float(scores[index])
        row["own_rank"] = int((scores > scores[index]).sum()) + 1
    return rows


def summarise(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str, str, bool]]:
    """``(what, measured, bar, holds)`` of some tracks."""

    def every(name: str) -> np.ndarray:
        return np.array([row[name] for row in rows if row[name] is not None], dtype=np.float64)

    found = float((every("own_rank") == 1).mean())
    loud = every("loudness_error")
    lines = [
        ("duration error, worst", f"{every('duration_error_ms').max():.2f} ms", "<= 20 ms", 20.0),
        ("true peak, highest", f"{every('true_peak').max():.2f} dBTP", "<= -1 dBTP", -1.0),
        ("join step / source's 99.9th percentile, worst", f"{every('worst_join').max():.2f}", "<= 1", 1.0),
        ("longest verbatim run by path", f"{every('longest_path').max():.2f} s", "<= 8 s", 8.0),
        ("longest verbatim run by audio", f"{every('longest_audio').max():.2f} s", "<= 8 s", 8.0),
        ("in runs over 4 s by path, most", f"{every('share_path').max():.3f}", "<= 0.4", 0.4),
        ("in runs over 4 s by audio, most", f"{every('share_audio').max():.3f}", "<= 0.4", 0.4),
    ]
    summary = [(what, got, bar, float(got.split()[0]) <= limit) for what, got, bar, limit in lines]
    if len(loud):
        text = f"{loud.max():.2f} LU ({len(loud)} sources)"
        summary.append(("loudness error, worst", text, "<= 1 LU", bool(loud.max() <= 1.0)))
    enough = f"{found:.3f} of {len(rows)}"
    summary.append(("finds its own source first", enough, ">= 0.95", found >= 0.95))
    played_again = f"{np.median(every('replayed')):.2f} / {every('replayed').max():.2f}"
    summary.append(("source replayed within the output, median / most", played_again, "", True))
    spent = every("cpu_seconds")
    per = spent / (every("source_seconds") + 60.0) * 240.0
    text = f"{np.median(spent):.2f} s; {np.median(per):.2f} s per 3 min of source"
    summary.append(("CPU time of the generator, median", text, "", True))
    return summary


def odd_sources(quick: bool) -> list[tuple[str, str, str, bool]]:
    """Sources that are hardly music, and every duration."""
    rng = np.random.default_rng(5)
    seconds = np.arange(180 * RATE) / RATE
    chord = np.zeros((2, len(seconds)), dtype=np.float32)
    for note in (110.0, 164.8, 220.0, 277.2, 329.6):
        for channel in range(2):
            slow = 0.5 + 0.5 * np.sin(2 * np.pi * (seconds / rng.uniform(7, 23) + rng.uniform()))
            chord[channel] += (0.08 * slow * np.sin(2 * np.pi * note * seconds)).astype(np.float32)
    noise = (0.1 * rng.standard_normal((2, 60 * RATE))).astype(np.float32)
    beat = np.zeros(900 * RATE, dtype=np.float32)
    for index in range(1800):
        tone = np.exp(-np.arange(RATE // 3) / 2000.0) * np.sin(
            2 * np.pi * 55.0 * 2 ** (rng.integers(24) / 12) * np.arange(RATE // 3) / RATE
        )
        beat[index * RATE // 2 : index * RATE // 2 + RATE // 3] += (0.3 * tone).astype(np.float32)
    sources = {
        "silence, 10 s": np.zeros((1, 10 * RATE), dtype=np.float32),
        "1 s of tone": (0.2 * np.sin(2 * np.pi * 330 * seconds[:RATE])).astype(np.float32)[None],
        "noise, 60 s": noise,
        "beatless ambient, 3 min": chord,
        "15 min of notes": beat[None],
    }
    rows = []
    for name, source in sources.items():
        loudness = integrated_loudness(source, RATE)
        mono = resample(source.mean(axis=0, keepdims=True), RATE, features.SAMPLE_RATE)[0]
        measured = features.measure(mono, loudness)
        cpu, wall = time.process_time(), time.perf_counter()
        candidate = _one(source, measured)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        exact = candidate.audio.shape == (len(source), 30 * RATE) and bool(np.isfinite(candidate.audio).all())
        if candidate.details["silent"]:
            rows.append(
                (name, "silence of the wanted duration", "silence", exact and not candidate.audio.any())
            )
            continue
        worst = worst_join(candidate, source)
        longest = candidate.details["longest_verbatim"]
        text = f"join step {worst:.2f}, longest run {longest:.1f} s, {cpu:.2f} s CPU"
        rows.append(
            (name, text, "step <= 1, run <= 8 s", exact and round(worst, 2) <= 1.0 and longest <= 8.0)
        )
    mono = resample(chord.mean(axis=0, keepdims=True), RATE, features.SAMPLE_RATE)[0]
    measured = features.measure(mono, integrated_loudness(chord, RATE))
    for duration in (
        (1.0, 2.5, 7.0, 59.99) if quick else (1.0, 1.01, 2.5, 3.999, 7.0, 12.3, 59.99, 120.0, 300.0)
    ):
        candidate = _one(chord, measured, duration=duration)
        error = abs(candidate.audio.shape[1] / RATE - duration) * 1000.0
        rows.append((f"duration {duration:g} s", f"{error:.3f} ms off", "<= 20 ms", error <= 20.0))
    return rows


def controls(track: corpus.Track, profile: Profile) -> list[tuple[str, str, str, bool]]:
    """Seeds, candidates and temperature on one track."""
    measured = analyse(track.path, profile.embedder).features
    source = decode(track.path, rate=RATE, channels=2)
    first = _one(source, measured).audio.tobytes()
    rows = [
        ("same seed", "same bytes", "same", first == _one(source, measured).audio.tobytes()),
        ("another seed", "other music", "other", first != _one(source, measured, seed=2).audio.tobytes()),
    ]
    made = list(Mosaic().candidates(Request(source, measured, Parameters(seed=1, candidates=4)), _silent))
    alone = [_one(source, measured, seed=candidate.seed).audio for candidate in made]
    same = all(np.array_equal(candidate.audio, audio) for candidate, audio in zip(made, alone, strict=True))
    rows.append(("candidate i is the run with its seed", f"{len(made)} of {len(made)}", "all", same))
    lengths, apart = [], []
    for temperature in (0.2, 0.6, 1.0, 2.0):
        made = [_one(source, measured, seed=seed, temperature=temperature) for seed in range(6)]
        runs = [run for candidate in made for run in candidate.details["runs"]]
        lengths.append(float(np.mean([run["source_end"] - run["source_start"] for run in runs])))
        places = [played(candidate, 30.0) for candidate in made]
        apart.append(float(np.mean([np.mean(np.abs(a - b) > 0.05) for a, b in combinations(places, 2)])))
    at = "at temperature 0.2, 0.6, 1, 2"
    text = ", ".join(f"{share:.2f}" for share in apart)
    rises = apart[0] < apart[1] and 2.0 * apart[0] <= apart[3]
    rows.append((f"two seeds differ {at} (share)", text, "rises by a factor of 2", rises))
    # Runs need not become shorter: none is shorter than a bar, and where bars are long all may be of one.
    text = ", ".join(f"{length:.2f}" for length in lengths)
    rows.append((f"mean run {at} (s)", text, "", True))
    return rows


def played(candidate: Candidate, seconds: float) -> np.ndarray:
    """Where in the source each tenth of a second comes from [shape=(tenths,)], in seconds."""
    runs = candidate.details["runs"]
    times = np.arange(0.05, seconds, 0.1)
    which = np.maximum(np.searchsorted([run["start"] for run in runs], times, side="right") - 1, 0)
    return np.array(
        [
            runs[run]["source_start"] + (time - runs[run]["start"]) / runs[run]["stretch"]
            for run, time in zip(which, times, strict=True)
        ]
    )


def _print(title: str, rows: Sequence[tuple[str, str, str, bool]]) -> None:
    print(f"\n{title}")
    for what, measured, bar, holds in rows:
        print(f"  {what:52} {measured:44} {bar:22} {'ok' if holds else 'MISSED'}".rstrip())


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:  # noqa: PTH123
            named = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    except OSError:
        named = []
    return named[0] if named else platform.processor() or platform.machine()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit status whether every bar holds."""
    parser = argparse.ArgumentParser(description="Measure the built-in generator on real music.")
    parser.add_argument("--quick", action="store_true", help=f"only {QUICK_TRACKS} tracks of each package")
    parser.add_argument("--tracks", type=int, metavar="N", help="only so many, of all packages in turn")
    parser.add_argument("--json", metavar="FILE", help="write every number here too")
    parser.add_argument("--packages", nargs="+", default=list(corpus.PACKAGES), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=30.0, help="duration to generate")
    options = parser.parse_args(arguments)

    profile = loading.load("builtin")
    tracks = [track for track in corpus.tracks(options.packages) if track.seconds <= LONGEST_TRACK]
    if options.quick:
        tracks = [
            track
            for package in options.packages
            for track in [one for one in tracks if one.package == package][:QUICK_TRACKS]
        ]
    tracks = corpus.in_turn(tracks)[: options.tracks]
    about = {
        "command": " ".join(["python -m tests.benchmarks.bench_mosaic", *(arguments or sys.argv[1:])]),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "versions": f"python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}",
        "models": f"{profile.generator.identity.id}, {profile.embedder.identity.id}",
        "packages": ", ".join(f"{package} {corpus.version(package)}" for package in options.packages),
    }
    for name, text in about.items():
        print(f"{name:9} {text}")

    rows = measure_corpus(tracks, profile, options.seconds)
    tables = {
        package: summarise([row for row in rows if row["package"] == package]) for package in options.packages
    }
    tables["all"] = summarise(rows)
    tables["odd sources and durations"] = odd_sources(options.quick)
    tables[f"controls, on {tracks[0].name}"] = controls(tracks[0], profile)
    for title, table in tables.items():
        count = sum(row["package"] == title for row in rows) or (len(rows) if title == "all" else 0)
        _print(f"{title}: {count} tracks" if count else title, table)
    if options.json:
        document = {"about": about, "tracks": rows, "tables": tables}
        with open(options.json, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(document, file, indent=1, default=float)
    judged = [table for title, table in tables.items() if title not in options.packages]
    missed = [what for table in judged for what, _, _, holds in table if not holds]
    print("\nEvery bar holds." if not missed else f"\nMissed: {', '.join(missed)}.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
