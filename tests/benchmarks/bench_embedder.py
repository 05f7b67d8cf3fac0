"""Judge `mir-512` on music that it was not fitted on, beside plain MFCC statistics.

    python -m tests.benchmarks.bench_embedder [--json FILE] [--quick]

Two excerpts of 20 s, 14 s apart, are taken around the middle of every track of `corpus.JUDGE_PACKAGES`.

- recall@1: how often an excerpt's nearest neighbour among the other excerpts of all tracks is its own track's
  (mean of both directions); the same for the first against the last 20 s, and for the first 20 s against
  whole tracks.
- baseline: mean, deviation and delta deviation of 20 MFCCs, standardised over the same excerpts; cosine.
- stability: cosine of an excerpt with itself after mp3 at 128 kb/s, resampling to 22,050 Hz, mono fold-down,
  -6 dB, each written to a file and decoded again.
- unrelated: cosines of excerpts of different tracks.

Bars: recall@1 at least 0.20 above the baseline; stability median at least 0.98 and 5th percentile at least
0.95; unrelated median at most 0.3. The exit status is 1 if one is missed, 2 if there is no music.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from music.audio.decode import decode, resample
from music.audio.encode import encode
from music.dsp import spectra
from music.mir512 import embedder
from tests.benchmarks import corpus
from tests.benchmarks.machine import machine

RATE = embedder.SAMPLE_RATE
EXCERPT, APART = 20, 14  # seconds
FILE_RATE = 44100
LONGEST = 900.0  # what the embedder is given of a track at most, in seconds


def excerpts(n: int, rate: int) -> dict[str, slice]:
    """Where the excerpts of a track of `n` samples lie."""
    size, middle, away = EXCERPT * rate, n // 2, APART * rate // 2
    return {
        "before": slice(middle - away - size, middle - away),
        "after": slice(middle + away, middle + away + size),
        "first": slice(0, size),
        "last": slice(n - size, n),
    }


def mfcc_statistics(audio: np.ndarray) -> np.ndarray:
    """The baseline [shape=(60,)], not yet standardised."""
    cepstra = spectra.mfcc(spectra.mel_spectrogram(audio, RATE)).astype(np.float64)
    return np.concatenate([cepstra.mean(axis=1), cepstra.std(axis=1), np.diff(cepstra, axis=1).std(axis=1)])


def variants(stereo: np.ndarray) -> dict[str, np.ndarray]:
    """An excerpt [shape=(channels, n)] at 44.1 kHz, read back at 22.05 kHz from altered files."""
    softer = stereo * np.float32(10 ** (-6 / 20))
    altered = {
        "as it is": encode(stereo, FILE_RATE, "wav"),
        "mp3 128 kb/s": corpus.mp3(stereo, FILE_RATE),
        "22.05 kHz": encode(resample(stereo, FILE_RATE, RATE), RATE, "wav"),
        "mono": encode(stereo.mean(axis=0, keepdims=True), FILE_RATE, "wav"),
        "-6 dB": encode(softer, FILE_RATE, "wav"),
    }
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in altered.items():
            path = Path(folder) / "excerpt"
            path.write_bytes(content)
            found[name] = decode(path, rate=RATE, channels=2)
    return found


def recall(queries: np.ndarray, answers: np.ndarray) -> float:
    """Share of rows of `queries` whose nearest row of `answers`, by cosine, is their own."""
    return float(np.mean(np.argmax(queries @ answers.T, axis=1) == np.arange(len(queries))))


def both_ways(one: np.ndarray, other: np.ndarray) -> float:
    """Mean recall of either as the query."""
    return (recall(one, other) + recall(other, one)) / 2


def standardised(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in standard deviations over both, at unit length."""
    both = np.concatenate([one, other])
    both = (both - both.mean(axis=0)) / both.std(axis=0)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    return both[: len(one)], both[len(one) :]


def unrelated(vectors: np.ndarray) -> dict[str, float]:
    """Median and 95th percentile of the cosines between different rows."""
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return {"median": float(np.median(cosines)), "p95": float(np.percentile(cosines, 95))}


def measure(tracks: Sequence[corpus.Track], progress: Callable[[str], None]) -> dict[str, Any]:
    """All measures on some tracks, JSON-ready."""
    mir512 = embedder.Mir512()
    vectors: dict[str, list[np.ndarray]] = {}
    baseline: dict[str, list[np.ndarray]] = {}
    stability: dict[str, list[float]] = {}
    speed = []
    for track in tracks:
        audio = decode(track.path, rate=FILE_RATE, channels=2, max_seconds=3600.0)
        stereo = resample(audio, FILE_RATE, RATE)
        for name, where in excerpts(stereo.shape[1], RATE).items():
            vectors.setdefault(name, []).append(mir512.embed(stereo[:, where]))
            baseline.setdefault(name, []).append(mfcc_statistics(stereo[:, where]))
        middle, most = stereo.shape[1] // 2, int(LONGEST * RATE / 2)
        whole = stereo[:, max(middle - most, 0) : middle + most]
        began = time.process_time()
        vectors.setdefault("whole", []).append(mir512.embed(whole))
        speed.append((time.process_time() - began) / (whole.shape[1] / RATE / 60.0))
        altered = variants(np.ascontiguousarray(audio[:, excerpts(audio.shape[1], FILE_RATE)["before"]]))
        reference = mir512.embed(altered.pop("as it is"))
        for name, heard in altered.items():
            stability.setdefault(name, []).append(float(reference @ mir512.embed(heard)))
        progress(track.name)
    rows = {name: np.array(found, dtype=np.float64) for name, found in vectors.items()}
    plain = {name: np.array(found) for name, found in baseline.items()}
    around = standardised(plain["before"], plain["after"])
    ends = standardised(plain["first"], plain["last"])
    measured = {
        "recall_middle": {
            "mir-512": both_ways(rows["before"], rows["after"]),
            "mfcc": both_ways(*around),
        },
        "recall_first_last": {"mir-512": both_ways(rows["first"], rows["last"]), "mfcc": both_ways(*ends)},
        "recall_first_in_whole": {"mir-512": recall(rows["first"], rows["whole"])},
        "same_track": {
            "mir-512": {"median": float(np.median(np.sum(rows["before"] * rows["after"], axis=1)))},
            "mfcc": {"median": float(np.median(np.sum(around[0] * around[1], axis=1)))},
        },
        "unrelated": {"mir-512": unrelated(rows["before"]), "mfcc": unrelated(around[0])},
        "stability": {
            name: {"median": float(np.median(found)), "p5": float(np.percentile(found, 5))}
            for name, found in stability.items()
        },
        "cpu_seconds_per_minute": float(np.median(speed)),
    }
    firsts = np.argmax(rows["before"] @ rows["after"].T, axis=1)
    measured["missed"] = {
        tracks[index].name: tracks[found].name for index, found in enumerate(firsts) if found != index
    }
    return measured


def bars(measured: dict[str, Any]) -> dict[str, bool]:
    """Which bars hold."""
    gain = measured["recall_middle"]["mir-512"] - measured["recall_middle"]["mfcc"]
    held = {
        "recall@1 at least 0.20 above the baseline": gain >= 0.20,
        "unrelated tracks: median cosine at most 0.3": measured["unrelated"]["mir-512"]["median"] <= 0.3,
    }
    for name, cosine in measured["stability"].items():
        held[f"{name}: cosine median >= 0.98, 5th percentile >= 0.95"] = (
            cosine["median"] >= 0.98 and cosine["p5"] >= 0.95
        )
    return held


def describe_split(tracks: Sequence[corpus.Track]) -> dict[str, Any]:
    """What the constants were fitted on and what is judged here.

    Raises
    ------
    ValueError
        If they share a track or a package, or an artist is named in both.
    """
    with np.load(embedder.CONSTANTS, allow_pickle=False) as stored:
        fitted = [str(name) for name in stored["tracks"]]
        packages = [str(name) for name in stored["packages"]]
    judged = sorted({track.package for track in tracks})
    shared = {name.split("/")[0] for name in fitted} & set(judged)
    if shared:
        raise ValueError(f"fitted and judged on the same packages: {', '.join(sorted(shared))}")
    artists = {track.artist for track in tracks if track.artist}
    try:
        known = {track.artist for track in corpus.tracks(corpus.FIT_PACKAGES) if track.artist}
    except corpus.CorpusError:
        known = set()
    if artists & known:
        raise ValueError(f"artists both fitted and judged on: {', '.join(sorted(artists & known))}")
    return {
        "fitted_on": packages,
        "fitted_tracks": len(fitted),
        "judged_on": [f"{package} {corpus.version(package)}" for package in judged],
        "judged_tracks": len(tracks),
    }


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    found = report["measured"]
    lines = [
        f"mir-512 on {report['split']['judged_tracks']} tracks of {', '.join(report['split']['judged_on'])}",
        f"constants fitted on {report['split']['fitted_tracks']} tracks of "
        + ", ".join(report["split"]["fitted_on"]),
        ", ".join(f"{name} {value}" for name, value in report["machine"].items()),
        report["command"],
        "",
        f"{'':44}{'mir-512':>9}{'MFCC':>9}",
    ]
    for label, key in (
        ("recall@1, 20 s and 20 s from the middle", "recall_middle"),
        ("recall@1, first 20 s and last 20 s", "recall_first_last"),
    ):
        lines.append(f"{label:44}{found[key]['mir-512']:9.3f}{found[key]['mfcc']:9.3f}")
    lines.append(
        f"{'recall@1, first 20 s among whole tracks':44}{found['recall_first_in_whole']['mir-512']:9.3f}"
    )
    for label, key, value in (
        ("cosine of the two middle excerpts, median", "same_track", "median"),
        ("cosine of unrelated tracks, median", "unrelated", "median"),
        ("cosine of unrelated tracks, 95th percentile", "unrelated", "p95"),
    ):
        lines.append(f"{label:44}{found[key]['mir-512'][value]:9.3f}{found[key]['mfcc'][value]:9.3f}")
    lines += ["", f"{'cosine of an excerpt with itself after':44}{'median':>9}{'5th pct':>9}"]
    for name, cosine in found["stability"].items():
        lines.append(f"{'  ' + name:44}{cosine['median']:9.4f}{cosine['p5']:9.4f}")
    lines += ["", f"{'CPU seconds per minute of audio, median':44}{found['cpu_seconds_per_minute']:9.3f}", ""]
    lines += [f"{'holds ' if held else 'MISSED'}  {bar}" for bar, held in report["bars"].items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Judge mir-512 beside plain MFCC statistics.")
    parser.add_argument("--json", type=Path, help="write the report here too")
    parser.add_argument("--quick", action="store_true", help="every fourth track, no bars")
    options = parser.parse_args(arguments)
    try:
        tracks = corpus.tracks(corpus.JUDGE_PACKAGES)
    except corpus.CorpusError as error:
        print(error, file=sys.stderr)
        return 2
    tracks = tracks[::4] if options.quick else tracks
    split = describe_split(tracks)
    measured = measure(tracks, lambda name: print(f"  {name}", file=sys.stderr, flush=True))
    # Few tracks are easy to tell apart, for the baseline too: the bars are about all of them.
    report: dict[str, Any] = {
        "command": "python -m tests.benchmarks.bench_embedder" + (" --quick" if options.quick else ""),
        "machine": machine(),
        "split": split,
        "measured": measured,
        "bars": {} if options.quick else bars(measured),
    }
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(report["bars"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
