"""What the weights of the profile `pocket` can do, on the engine that ships them.

    python -m tests.benchmarks.bench_pocket [PART ...] [--pieces 64] [--clips 32] [--real 20]

Parts may be run one by one; each writes its figures into the report, beside those of the others:

- codec: 10 s from the middle of each piece, coded and decoded. Baseline: another piece in its place.
- language: cross-entropy of the codes of the first 30 s, told what the analysis finds (text), the melody,
  both or nothing. Baseline: the unigram entropy of the same codes.
- clap: two excerpts of 10 s of each piece find each other; the style is named among 22. Baselines: `mir-512`,
  chance.
- int8: the matrices that ship against float32.
- clips: 30 s at the API's defaults in the modes `similar` and `melody`, through analysis, mastering and the
  quality gate. Share of chroma frames that agree with the source's (baseline: with another source's), and of
  tempi found again within 4 % or an octave (baseline: the tempo of another clip).
- asked: 15 s at a tempo that is asked for, the source's and one up to a fifth away from it, four candidates:
  how many requests come to it, and in how many files it is found (to 4 %), how far they are stretched for it.
- choice: whether the candidate that CLAP likes best of four is better by the measures that have no say.
- picture: spectrograms of 12 clips below their sources.

Pieces are the 64 that were held out from training, composed anew and rendered with FluidR3Mono (Debian's
package, fetched once); real tracks are those of `corpus.JUDGE_PACKAGES`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from music import loading, similarity
from music.analysis import Analysis, analyse
from music.audio.decode import MAX_SECONDS, decode, resample
from music.audio.encode import encode
from music.clap.tags import categories, tags_of
from music.features import SAMPLE_RATE as ANALYSIS_RATE
from music.features import measure_likeness
from music.interfaces import GenerationError, Parameters, Request
from music.mir512.embedder import Mir512
from music.musicgen import delay, melody
from music.musicgen.encodec import Encodec
from music.musicgen.networks import Condition
from music.production import generate
from tests.benchmarks import corpus
from tests.benchmarks.machine import machine
from tests.support import truth
from weights import pack
from weights.compose import Piece, compose, render
from weights.compose.shards import SEEDS_PER_RUN
from weights.compose.soundfont import fetch
from weights.train.bands import mel_bank
from weights.train.recipe import HELD_OUT

CHECKPOINTS = Path(pack.__file__).with_name("pocket")
REPORT = Path("docs/benchmarks/pocket.json")
PICTURE = REPORT.with_suffix(".png")
CLIPS = Path("build/pocket/clips")
RATE, SECONDS = 32_000, 30
EXCERPT = 10 * RATE
MODES = ("similar", "melody")
_SETTINGS = ("text and melody", "text", "melody", "nothing")
_TOGETHER = 4  # pieces
_QUIET = 1e-5  # of a magnitude, 1/2 being that of a full-scale sine


# -- What is measured on


@cache
def piece(number: int) -> tuple[Piece, np.ndarray]:
    """A piece that was held out, and its audio [shape=(n,), float32] at 32 kHz."""
    made = compose(SEEDS_PER_RUN + number, 45.0)
    return made, render(made, RATE, 1, fetch())[0]


def real(count: int) -> list[np.ndarray]:
    """Real tracks in mono, spread over the corpus."""
    found = [track for track in corpus.tracks(corpus.JUDGE_PACKAGES) if track.seconds < MAX_SECONDS]
    chosen = [found[index] for index in np.linspace(0, len(found) - 1, count).round().astype(int)]
    return [decode(track.path, rate=RATE, channels=1)[0] for track in chosen]


@cache
def written(number: int) -> Path:
    """The first 30 s of a piece as a file: what a user would upload."""
    folder = CLIPS.parent / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number:02}.wav"
    path.write_bytes(encode(piece(number)[1][None, : SECONDS * RATE], RATE, "wav"))
    return path


@cache
def analysed(number: int) -> Analysis:
    """What the system finds in it."""
    return analyse(written(number), profile().embedder)


# -- The models


@cache
def bundles(precision: str) -> Path:
    """A folder with the bundle at a precision."""
    folder = CLIPS.parent / precision
    pack.build("pocket", str(CHECKPOINTS), precision, folder)
    return folder


@cache
def profile(precision: str = "int8") -> loading.Profile:
    """The profile at a precision."""
    os.environ["MODELS"] = str(bundles(precision))
    for load in (loading.load, loading.load_embedder, loading.load_text):
        load.cache_clear()
    return loading.load("pocket")


def networks(precision: str = "int8") -> tuple[Any, Encodec]:
    """The language model and the codec of its generator."""
    made: Any = profile(precision).generator
    return made._language, made._codec


def said(analysis: Analysis, precision: str = "int8") -> np.ndarray:
    """What its generator tells the language model of a source in words [tokens, width]."""
    made: Any = profile(precision).generator
    request = Request(np.zeros((1, 1), np.float32), analysis.features, Parameters(seed=0), analysis.tags)
    encoded: np.ndarray = made._describe(request)[0]
    return encoded


# -- Measures


def log_mel(audio: np.ndarray) -> np.ndarray:
    """Log10 of 80 mel bands, windows of 1024 [frames, 80]."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, 512, mode="reflect"), 1024)[::256]
    magnitudes = np.abs(np.fft.rfft(frames * np.hanning(1025)[:1024].astype(np.float32), axis=1)) / 512
    found: np.ndarray = np.log10(np.maximum(magnitudes @ mel_bank(1024, 80), _QUIET))
    return found


def apart(made: np.ndarray, given: np.ndarray) -> float:
    """Mean distance of two log mels."""
    return float(np.abs(log_mel(made) - log_mel(given)).mean())


def si_sdr(made: np.ndarray, given: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019)."""
    made, given = made - made.mean(), given - given.mean()
    target = (made @ given) / max(given @ given, 1e-9) * given
    return float(10 * np.log10(max(target @ target, 1e-9) / max(float(np.sum((made - target) ** 2)), 1e-9)))


def bits(codes: np.ndarray, entries: int) -> float:
    """Entropy of codes."""
    share = np.bincount(codes.ravel(), minlength=entries) / codes.size
    return float(-(share[share > 0] * np.log2(share[share > 0])).sum())


def agreement(made: np.ndarray, given: np.ndarray) -> float:
    """Share of frames whose strongest pitch class is the same."""
    ours, theirs = (melody.chroma(audio).argmax(axis=1) for audio in (made, given))
    shared = min(len(ours), len(theirs))
    return float((ours[:shared] == theirs[:shared]).mean())


def mean(values: Sequence[float]) -> float:
    """Rounded mean."""
    return round(float(np.mean(values)), 4)


def error(values: Sequence[float]) -> float:
    """Rounded standard error of the mean."""
    return round(float(np.std(values, ddof=1) / np.sqrt(len(values))), 4)


# -- Parts


def codec(options: argparse.Namespace) -> dict[str, Any]:
    """See the module."""
    network = networks()[1]

    def judge(tracks: Sequence[np.ndarray]) -> dict[str, Any]:
        middles = [track[(len(track) - EXCERPT) // 2 :][:EXCERPT] for track in tracks]
        codes = [network.encode(audio[None]) for audio in middles]
        made = [network.decode(code).reshape(-1)[:EXCERPT] for code in codes]
        every = np.stack(codes)
        return {
            "tracks": len(tracks),
            "log_mel": mean([apart(*pair) for pair in zip(made, middles, strict=True)]),
            "log_mel_of_another": mean(
                [apart(*pair) for pair in zip(np.roll(middles, 1, axis=0), middles, strict=True)]
            ),
            "si_sdr_db": round(
                float(np.median([si_sdr(*pair) for pair in zip(made, middles, strict=True)])), 2
            ),
            "bits": [round(bits(every[:, book], 1024), 2) for book in range(every.shape[1])],
        }

    found = {"held out": judge([piece(number)[1] for number in range(options.pieces)])}
    return found | ({"real": judge(real(options.real))} if options.real else {})


def language(options: argparse.Namespace) -> dict[str, Any]:
    """See the module."""
    model, network = networks()
    sums = np.zeros((len(_SETTINGS), model.codebooks))
    every = []
    frames = SECONDS * RATE // network.hop
    last = delay.positions(frames, model.codebooks)
    for first in range(0, options.pieces, _TOGETHER):
        conditions, codes = [], []
        for number in range(first, min(first + _TOGETHER, options.pieces)):
            analysis, audio = analysed(number), piece(number)[1][: SECONDS * RATE]
            text, heard = said(analysis), melody.chroma(audio)
            conditions += [
                Condition(text, heard), Condition(text), Condition(None, heard), Condition(None)
            ]  # fmt: skip
            codes.append(network.encode(audio[None]))
        every += codes
        spread = delay.spread(np.stack(codes), 0, last, frames, model.vocabulary)
        spread = np.repeat(spread, len(_SETTINGS), axis=0)
        state = model.start(conditions, last)
        for position in range(last - 1):
            logits = state.advance(spread[:, position : position + 1]).astype(np.float64)
            logits -= logits.max(axis=-1, keepdims=True)
            wanted = spread[:, position + 1]
            known = wanted < model.vocabulary
            rows, books = np.nonzero(known)
            loss = np.log(np.exp(logits).sum(axis=-1))
            loss[rows, books] -= logits[rows, books, wanted[rows, books]]
            sums += (loss * known).reshape(-1, len(_SETTINGS), model.codebooks).sum(axis=0)
        print(f"  {first + len(codes)} pieces", flush=True)
    nats = dict(zip(_SETTINGS, sums / (len(every) * frames), strict=True))
    stacked = np.stack(every)
    entropies = [bits(stacked[:, book], model.vocabulary) for book in range(model.codebooks)]
    unigram = np.log(2) * np.array(entropies)
    told = nats["text and melody"]
    return {
        "pieces": len(every),
        "nats": {name: [round(float(value), 4) for value in values] for name, values in nats.items()},
        "unigram": [round(float(value), 4) for value in unigram],
        "below_unigram": mean(unigram - told),
        "off_the_first_book": round(float(nats["nothing"][0] - told[0]), 4),
    }


def clap(options: argparse.Namespace) -> dict[str, Any]:
    """See the module."""
    embedder, baseline = profile().embedder, Mir512()

    def recall(tracks: Sequence[np.ndarray], embed: Callable[[np.ndarray], np.ndarray], rate: int) -> float:
        ends = [
            np.stack([embed(resample(np.ascontiguousarray(track[where]), RATE, rate)) for track in tracks])
            for where in (slice(0, EXCERPT), slice(-EXCERPT, None))
        ]
        near = ends[0] @ ends[1].T
        own = np.arange(len(tracks))
        return mean([*(near.argmax(axis=1) == own), *(near.argmax(axis=0) == own)])

    def both(tracks: Sequence[np.ndarray]) -> dict[str, float]:
        return {
            "tracks": len(tracks),
            "recall": recall(tracks, embedder.embed, embedder.sample_rate),
            "recall_of_mir_512": recall(tracks, baseline.embed, baseline.sample_rate),
            "chance": round(1 / len(tracks), 4),
        }

    pieces = [piece(number) for number in range(options.pieces)]
    found = both([audio for _, audio in pieces])
    vectors = [embedder.embed(resample(audio, RATE, embedder.sample_rate)) for _, audio in pieces]
    right = [
        next(iter(embedder.tags(vector)["genre"])) == known.style
        for vector, (known, _) in zip(vectors, pieces, strict=True)
    ]
    known_by = {kind["name"]: kind["tags"] for kind in categories(tags_of(CHECKPOINTS / "clap"))}
    found |= {"style": mean(right), "style_by_chance": round(1 / len(known_by["genre"]), 4)}
    return {"held out": found} | ({"real": both(real(options.real))} if options.real else {})


def int8(options: argparse.Namespace) -> dict[str, Any]:
    """See the module."""
    analyses = [analysed(number) for number in range(4)]
    errors, vectors, distances = [], {}, {}
    logits: dict[str, list[np.ndarray]] = {}
    codes = [networks()[1].encode(piece(number)[1][None, :EXCERPT]) for number in range(4)]
    for precision in ("float32", "int8"):
        model, network = networks(precision)
        conditions = [
            Condition(said(analysis, precision), melody.chroma(piece(number)[1][: SECONDS * RATE]))
            for number, analysis in enumerate(analyses)
        ]
        frames = codes[0].shape[1]
        spread = delay.spread(np.stack(codes), 0, frames, frames, model.vocabulary)
        state = model.start(conditions, frames)
        logits[precision] = [
            state.advance(spread[:, at : at + 1]).astype(np.float64) for at in range(frames - 1)
        ]
        embedder = profile(precision).embedder
        vectors[precision] = [
            embedder.embed(resample(piece(number)[1], RATE, embedder.sample_rate)) for number in range(4)
        ]
        distances[precision] = [network.decode(code).reshape(-1) for code in codes]
    for exact, coarse in zip(logits["float32"][4:], logits["int8"][4:], strict=True):
        centred = exact - exact.mean(axis=-1, keepdims=True)
        errors.append(np.sqrt(((coarse - exact) ** 2).mean() / (centred**2).mean()))
    return {
        "pieces": 4,
        "positions": len(errors),
        "logit_error": mean(errors),
        "clap_cosine": mean([a @ b for a, b in zip(vectors["float32"], vectors["int8"], strict=True)]),
        "log_mel_between": mean(
            [apart(a, b) for a, b in zip(distances["float32"], distances["int8"], strict=True)]
        ),
    }


def made(number: int, mode: str) -> tuple[np.ndarray, dict[str, Any]]:
    """A clip of 30 s from a piece at the API's defaults, and its report; kept in `CLIPS`, made once."""
    folder = CLIPS / profile().generator.identity.revision
    folder.mkdir(parents=True, exist_ok=True)
    audio, report = (folder / f"{mode}-{number:02}{ending}" for ending in (".wav", ".json"))
    if not report.exists():
        analysis = analysed(number)
        result = generate(
            written(number), profile(), Parameters(seed=1000 + number, mode=mode), analysis.vector,
            analysis.features, lambda done: None, tags=analysis.tags,
        )  # fmt: skip
        audio.write_bytes(result.audio)
        report.write_text(json.dumps(result.report))
        print(f"  {mode} {number}: {result.report['timings']}", flush=True)
    return decode(audio, rate=RATE, channels=1)[0], json.loads(report.read_text("utf-8"))


def tempo(audio: np.ndarray) -> float:
    """Beats per minute that the analysis finds."""
    return measure_likeness(resample(audio, RATE, ANALYSIS_RATE))[1]


def clips(options: argparse.Namespace) -> dict[str, Any]:
    """See the module."""
    numbers = range(options.clips)
    sources = [piece(number)[1][: SECONDS * RATE] for number in numbers]
    asked = [analysed(number).features.tempo for number in numbers]
    found: dict[str, Any] = {"clips": len(sources), "at": {"duration": SECONDS, **_defaults()}}
    for mode in MODES:
        results = [made(number, mode) for number in numbers]
        tempi = [tempo(audio) for audio, _ in results]
        paced = [index for index in numbers if asked[index] > 0]

        def again(shift: int, tempi: Sequence[float] = tempi, paced: Sequence[int] = paced) -> list[bool]:
            pairs = zip(paced, [*paced[shift:], *paced[:shift]], strict=True)
            return [truth.same_tempo(tempi[a], asked[b], octaves=True) for a, b in pairs]

        agreed = [agreement(a, s) for (a, _), s in zip(results, sources, strict=True)]
        found[mode] = {
            "chroma_agreement": mean(agreed),
            "chroma_agreement_error": error(agreed),
            "chroma_agreement_with_another": mean(
                [agreement(a, s) for (a, _), s in zip(results, [*sources[1:], sources[0]], strict=True)]
            ),
            "tempo_found": mean(again(0)),
            "tempo_found_error": error(again(0)),
            "tempo_of_another": mean(again(1)),
            "similarity": {
                name: mean([report["similarity"][name] for _, report in results])
                for name in ("embedding", "chroma", "tempo")
            },
            "embedding_of_another": mean(
                [
                    similarity.embedding(
                        analysed(number).vector, analysed((number + 1) % len(sources)).vector
                    )
                    for number in numbers
                ]
            ),
            "candidates_with_faults": mean(
                [bool(tried.get("faults")) for _, report in results for tried in report["candidates"]]
            ),
        }
    return found


def _defaults() -> dict[str, Any]:
    asked = Parameters(seed=0)
    return {name: getattr(asked, name) for name in ("temperature", "top_k", "guidance_scale")}


def asked(options: argparse.Namespace) -> dict[str, Any]:
    """See the module."""
    draws = np.random.default_rng(0)
    found: dict[str, Any] = {"candidates": 4, "duration": 15.0}
    ratios = {
        "as the source": np.ones(options.clips),
        "another": np.exp(draws.uniform(-0.2, 0.2, options.clips)),
    }
    for name, ratio in ratios.items():
        reached: list[bool] = []
        kept: list[bool] = []
        speeds: list[float] = []
        for number in range(options.clips):
            analysis = analysed(number)
            if not analysis.features.tempo:
                continue
            wanted = round(analysis.features.tempo * float(ratio[number]), 2)
            try:
                result = generate(
                    written(number), profile(),
                    Parameters(seed=3000 + number, duration=15.0, candidates=4, tempo=wanted),
                    analysis.vector, analysis.features, lambda done: None, tags=analysis.tags,
                )  # fmt: skip
            except GenerationError as error:
                print(f"  {name} {number}: {error.detail}", flush=True)
                reached.append(False)
                continue
            reached.append(True)
            speeds.append(result.report["details"]["speed"])
            (CLIPS / "asked").write_bytes(result.audio)
            heard = tempo(decode(CLIPS / "asked", rate=RATE, channels=1)[0])
            kept.append(truth.same_tempo(heard, wanted))
            print(f"  {name} {number}: {wanted} BPM, heard {heard}, speed {speeds[-1]}", flush=True)
        found[name] = {
            "requests": len(reached),
            "reached": mean(reached),
            "tempo_in_the_file": mean(kept),
            "stretched_by": mean([abs(speed - 1.0) for speed in speeds]),
        }
    return found


def choice(options: argparse.Namespace) -> dict[str, Any]:
    """See the module."""
    first: list[dict[str, float]] = []
    best: list[dict[str, float]] = []
    for number in range(options.clips):
        analysis = analysed(number)
        report = generate(
            written(number), profile(), Parameters(seed=2000 + number, duration=10.0, candidates=4),
            analysis.vector, analysis.features, lambda done: None, tags=analysis.tags,
        ).report  # fmt: skip
        scores = [tried["similarity"] for tried in report["candidates"] if "similarity" in tried]
        first.append(scores[0])
        best.append(max(scores, key=lambda score: score["embedding"]))
        print(f"  {number}: {first[-1]} {best[-1]}", flush=True)
    return {
        "sources": len(first),
        "candidates": 4,
        **{
            name: {score: mean([row[score] for row in rows]) for score in ("embedding", "chroma", "tempo")}
            for name, rows in (("first", first), ("best", best))
        },
    }


def picture(options: argparse.Namespace) -> dict[str, Any]:
    """See the module."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(18, 9), layout="constrained")
    panels = figure.subplots(4, 6)
    for index, mode in enumerate(mode for mode in MODES for _ in range(6)):
        number, row, column = index % 6, 2 * (index // 6), index % 6
        result, _ = made(number, mode)
        known, source = piece(number)
        for axes, audio, title in (
            (panels[row, column], source[: SECONDS * RATE], f"{number}: {known.style}"),
            (panels[row + 1, column], result, mode),
        ):
            decibels = 20 * log_mel(audio)[::2].T
            axes.imshow(
                decibels, origin="lower", aspect="auto", vmin=-90, vmax=-20, cmap="magma",
                extent=(0, len(audio) / RATE, 0, 80), interpolation="nearest",
            )  # fmt: skip
            axes.set_title(title, fontsize=9)
            axes.set_yticks([])
            axes.tick_params(labelsize=7)
    figure.supxlabel("seconds; 80 mel bands to 16 kHz; sources above what was made of them", fontsize=9)
    figure.savefig(PICTURE, dpi=75)
    return {"file": PICTURE.name}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "codec": codec,
    "language": language,
    "clap": clap,
    "int8": int8,
    "clips": clips,
    "asked": asked,
    "choice": choice,
    "picture": picture,
}


def bars(found: dict[str, Any]) -> Iterator[tuple[str, float, float, bool]]:
    """Name, figure, bar and whether it holds, of those parts that ran."""
    rows: list[tuple[str, str, Callable[[Any], float], float, bool]] = [
        ("codec: log-mel distance", "codec", lambda part: part["held out"]["log_mel"], 0.24, True),
        ("codec: bits of a codebook, least", "codec", lambda part: min(part["held out"]["bits"]), 9, False),
        ("codec: SI-SDR, dB", "codec", lambda part: part["held out"]["si_sdr_db"], 3, False),
        ("language model: nats below unigram", "language", lambda part: part["below_unigram"], 0.8, False),
        (
            "language model: nats that text and melody take off the first book",
            "language", lambda part: part["off_the_first_book"], 0.05, False,
        ),
        ("melody: chroma agreement", "clips", lambda part: part["melody"]["chroma_agreement"], 0.45, False),
        ("similar: tempo found", "clips", lambda part: part["similar"]["tempo_found"], 0.5, False),
        ("CLAP: other excerpt first", "clap", lambda part: part["held out"]["recall"], 0.95, False),
        ("CLAP: style named", "clap", lambda part: part["held out"]["style"], 0.6, False),
        ("int8: logit error", "int8", lambda part: part["logit_error"], 0.03, True),
    ]  # fmt: skip
    for name, part, figure, bar, at_most in rows:
        if part in found:
            value = figure(found[part])
            yield name, value, bar, value <= bar if at_most else value >= bar


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; 0 if every bar holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--pieces", type=int, default=HELD_OUT, help="that were held out, at most 64")
    parser.add_argument("--clips", type=int, default=32, help="sources that clips are made from")
    parser.add_argument("--real", type=int, default=20, help="real tracks; 0 for none")
    parser.add_argument("--json", type=Path, default=REPORT)
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if not 4 <= options.pieces <= HELD_OUT or not 6 <= options.clips <= HELD_OUT:
        parser.error(f"--pieces is 4 to {HELD_OUT}, --clips 6 to {HELD_OUT}")
    for name in options.parts or PARTS:
        print(name, flush=True)
        found = PARTS[name](options)
        print(json.dumps(found, indent=1), flush=True)
        report = json.loads(options.json.read_text("utf-8")) if options.json.exists() else {"parts": {}}
        report["command"] = "python -m tests.benchmarks.bench_pocket"
        report["machine"] = machine()
        report["weights"] = {part: pack_of["revision"] for part, pack_of in _components().items()}
        report["parts"][name] = found
        report["bars"] = [
            {"what": what, "found": round(value, 4), "bar": bar, "holds": holds}
            for what, value, bar, holds in bars(report["parts"])
        ]
        options.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    for row in report["bars"]:
        print(f"{'holds ' if row['holds'] else 'MISSED'}  {row['what']}: {row['found']} ({row['bar']})")
    return 0 if all(row["holds"] for row in report["bars"]) else 1


def _components() -> dict[str, Any]:
    manifest = bundles("int8") / "pocket" / "manifest.json"
    found: dict[str, Any] = json.loads(manifest.read_text("utf-8"))["components"]
    return found


if __name__ == "__main__":
    sys.exit(main())
