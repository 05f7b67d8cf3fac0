"""Fit the weights of tempo, beats and key on composed music, and write them beside the analysis.

    python -m tests.benchmarks.fit_analysis [--out FILE] [--check]

Only pieces of `SEEDS` are looked at; `bench_truth` judges on others. Every piece counts as a whole and as an
excerpt, so that the weights know short clips, too. For the tempo it also counts as a whole played faster or
slower, whose tempo is as much faster or slower: so that music and the same music stretched are not heard an
octave apart. Noise, hum, drones and drops of rain have no tempo, and metronomes have nothing else. All three
are multinomial logits with a quadratic penalty: over tempos in each meter and none, over the places of a
beat, over the 24 keys. Three quarters of a tempo's likelihood are of the tempo itself, one quarter of it up
to an octave.

Rendered pieces are kept in the cache (see `tests.support.truth`), for they take longest.
"""

import os

# Before numpy is imported: sums in BLAS depend on the number of threads.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import io  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from dataclasses import dataclass  # noqa: E402

import numpy as np  # noqa: E402
import scipy.optimize  # noqa: E402

from music.dsp import harmony, rhythm, spectra  # noqa: E402
from music.dsp.channels import levelled  # noqa: E402
from music.dsp.fitted import WEIGHTS  # noqa: E402
from music.features import SAMPLE_RATE  # noqa: E402
from tests.benchmarks import fitted  # noqa: E402
from tests.support import truth  # noqa: E402
from weights.compose import Piece  # noqa: E402
from weights.compose.soundfont import fetch  # noqa: E402

SEEDS = ((1000, 299), (2000, 300))  # first seed and number of pieces
SECONDS = 30.0
EXCERPTS = (2.0, 3.0, 4.0, 6.0, 10.0, 15.0)  # seconds
FRAME_RATE = SAMPLE_RATE / rhythm.HOP
NOTE_RATE = SAMPLE_RATE / spectra.HOP
PACE = 1.5  # the most that a piece is played faster or slower
TEMPO_PENALTY, BEAT_PENALTY, KEY_PENALTY = 3.0, 3.0, 2.0
RIGHT = 0.03  # octaves from the true tempo that are the true tempo
METRONOMES = tuple(np.geomspace(40.0, 180.0, 30))  # BPM, of clicks and of beeps
ALIKE = 4  # excerpts of each thing that has no tempo


@dataclass(frozen=True, eq=False)
class Heard:
    """What is measured of a sound; its tempo, 0 for none; and the piece that it is, if any."""

    curves: np.ndarray
    salience: np.ndarray
    tempo: float
    piece: Piece | None = None


def hear(audio: np.ndarray, tempo: float, piece: Piece | None = None) -> Heard:
    """Measure a sound [shape=(n,)] at `SAMPLE_RATE`."""
    sound, _ = levelled(audio)
    salience = harmony.pitch_salience(sound, SAMPLE_RATE)
    return Heard(rhythm.onset_curves(rhythm.mel_bands(sound, SAMPLE_RATE), salience), salience, tempo, piece)


def without_tempo(seconds: float, seed: int) -> Iterator[np.ndarray]:
    """Sounds that have no tempo."""
    rng = np.random.default_rng(seed)
    n = round(seconds * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    white = rng.standard_normal(n)
    spectrum = np.fft.rfft(white)
    hertz = np.maximum(np.fft.rfftfreq(n, 1.0 / SAMPLE_RATE), 10.0)
    for slope in (0.0, 0.5, 1.0):  # white, pink, brown
        yield np.fft.irfft(spectrum * hertz**-slope, n) * 100.0**slope * 0.1
    mains = sum(np.sin(2 * np.pi * 50.0 * k * t + k) / k for k in range(1, 9))
    yield 0.1 * mains + np.fft.irfft(spectrum / hertz, n)
    chord = rng.choice([110.0, 146.8, 196.0]) * 2.0 ** (np.array([0.0, 4.0, 7.0, 12.0]) / 12.0)
    yield 0.1 * sum(
        np.sin(2 * np.pi * f * t) * (1.0 + np.sin(t / rng.uniform(1.0, 2.0) + i)) for i, f in enumerate(chord)
    )
    drops = np.zeros(n + 4000)
    for start in rng.integers(0, n, round(seconds * rng.uniform(2.0, 8.0))):
        drops[start : start + 4000] += rng.standard_normal(4000) * np.exp(-np.arange(4000) / 600.0)
    yield 0.1 * drops[:n]


def metronome(tempo: float, seconds: float, beeps: bool) -> np.ndarray:
    """Clicks in silence, or beeps."""
    rng = np.random.default_rng(round(tempo))
    click = rng.standard_normal(1000) * np.exp(-np.arange(1000) / rng.uniform(50.0, 300.0))
    if beeps:
        click = np.sin(np.arange(1000) * rng.uniform(0.05, 0.6)) * np.exp(-np.arange(1000) / 150.0)
    audio = np.zeros(round(seconds * SAMPLE_RATE) + len(click))
    for start in np.arange(rng.uniform(0.0, 60.0 / tempo), seconds, 60.0 / tempo):
        audio[round(start * SAMPLE_RATE) :][: len(click)] += 0.3 * click
    return audio[: -len(click)]


def logit(
    clues: np.ndarray, right: np.ndarray, penalty: float, offset: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, float]:
    """Fit a multinomial logit.

    Parameters
    ----------
    clues : np.ndarray [shape=(cases, choices, d)]
    right : np.ndarray [shape=(sets, cases, choices)]
        For each case sets of choices that are right, 1 or 0; their mean log likelihood is maximised.
    penalty : float
        Of the squared weights of the standardised clues.
    offset : callable
        Takes the number of choices; which of them [shape=(choices,)] share one constant.

    Returns
    -------
    weights : np.ndarray [shape=(d,)]
        Of the clues as they are.
    constant : float
    """
    weights, constant = mixed_logit(clues, right[..., None], penalty, offset)
    return weights[0], constant


def mixed_logit(
    clues: np.ndarray, right: np.ndarray, penalty: float, offset: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, float]:
    """Fit a multinomial logit in which every choice is of one of several kinds, each with weights of its own.

    Parameters
    ----------
    clues, penalty, offset
        As for `logit`.
    right : np.ndarray [shape=(sets, cases, choices, kinds)]
        As for `logit`; where the kind is not known, all of them are right.

    Returns
    -------
    weights : np.ndarray [shape=(kinds, d)]
    constant : float
    """
    cases, choices, size = clues.shape
    kinds = right.shape[3]
    scale = clues.std(axis=(0, 1)) + 1e-6
    scaled, shared = (clues / scale).reshape(-1, size), offset(np.arange(choices))[:, None]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        weights = w[:-1].reshape(kinds, size).astype(clues.dtype)
        score = (scaled @ weights.T).reshape(cases, choices, kinds) + w[-1] * shared
        share = np.exp(score - score.max(axis=(1, 2), keepdims=True))
        share /= share.sum(axis=(1, 2), keepdims=True)
        total, gradient = float(penalty * (w @ w)), -share
        for chosen in right:
            inside = (share * chosen).sum(axis=(1, 2)) + 1e-12
            total -= float(np.log(inside).sum()) / len(right)
            gradient += share * chosen / (inside[:, None, None] * len(right))
        slope = gradient.reshape(-1, kinds).astype(clues.dtype).T @ scaled
        return total, 2.0 * penalty * w - np.append(slope.ravel(), (gradient * shared).sum())

    found = scipy.optimize.minimize(
        loss, np.zeros(kinds * size + 1), jac=True, method="L-BFGS-B", options={"maxiter": 300}
    ).x
    return found[:-1].reshape(kinds, size) / scale, float(found[-1])


def fit_tempo(heard: list[Heard], rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The weights of `rhythm.periodicity` in each meter, and the score of no tempo."""
    bpm = rhythm.tempos()
    clues, right = [], []
    for sound in heard:
        meters = [sound.piece is None or sound.piece.meter == meter for meter in rhythm.METERS]
        part = excerpt(sound.curves, FRAME_RATE, EXCERPTS, rng)
        pace = PACE ** rng.uniform(-1.0, 1.0)
        heard_at = ((sound.curves, 1.0), (part, 1.0), (paced(sound.curves, pace), pace))
        for curves, faster in heard_at:
            clues.append(np.pad(rhythm.periodicity(curves, FRAME_RATE), ((0, 1), (0, 0))).astype(np.float32))
            exact, octave = np.zeros(len(bpm) + 1), np.zeros(len(bpm) + 1)
            if not sound.tempo:
                exact[-1] = octave[-1] = 1.0
            else:
                for factor in (0.5, 1.0, 2.0):
                    near = np.abs(np.log2(bpm / (sound.tempo * faster) / factor)) < RIGHT
                    octave[:-1][near] = 1.0
                    exact[:-1][near] = factor == 1.0
            right.append(np.multiply.outer((exact, exact, exact, octave), meters).astype(np.float32))
    weights, none = mixed_logit(
        np.array(clues), np.swapaxes(np.array(right), 0, 1), TEMPO_PENALTY, lambda at: at == len(bpm)
    )
    return weights, none + float(np.log(len(rhythm.METERS)))  # no tempo is a choice in every meter


def fit_beats(heard: list[Heard]) -> tuple[np.ndarray, np.ndarray]:
    """The weights of `rhythm.beat_shape`, and what speaks for each place of the beat in itself."""
    clues, right = [], []
    for sound in heard:
        if sound.piece is None:
            continue
        period = 60.0 / sound.piece.tempo
        chain = rhythm.evenly_spaced(sound.curves[0], FRAME_RATE, sound.piece.tempo)
        if len(chain) < 4:
            continue
        found, true = chain / FRAME_RATE, sound.piece.beats
        true = true[(true > found[0]) & (true < found[-1])]
        late = [((beat - found[np.abs(found - beat).argmin()]) / period) % 1.0 for beat in true]
        place = round(
            float(np.angle(np.exp(2j * np.pi * np.array(late)).mean())) / (2 * np.pi) * rhythm.PLACES
        )
        shape = rhythm.beat_shape(sound.curves, FRAME_RATE, chain)
        turned = [np.roll(shape, -turn, axis=1).ravel() for turn in range(rhythm.PLACES)]
        clues.append(np.concatenate([turned, np.eye(rhythm.PLACES)], axis=1))
        right.append(np.arange(rhythm.PLACES) == place % rhythm.PLACES)
    weights, _ = logit(np.array(clues), np.array([right], dtype=float), BEAT_PENALTY, np.zeros_like)
    beat, usual = np.split(weights, [rhythm.CURVES * rhythm.PLACES])
    return beat.reshape(rhythm.CURVES, rhythm.PLACES), usual


def fit_key(heard: list[Heard], rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The weights of `harmony.key_clues`, and what speaks for minor."""
    clues, right = [], []
    for sound in heard:
        if sound.piece is None:
            continue
        key = harmony.PITCH_CLASSES.index(sound.piece.key) + 12 * (sound.piece.mode == "minor")
        for salience in (sound.salience, excerpt(sound.salience, NOTE_RATE, EXCERPTS[-2:], rng)):
            found = harmony.key_clues(salience, NOTE_RATE) - 1.0
            turned = [np.roll(found, -tonic, axis=1).ravel() for tonic in range(12)]
            none = np.zeros_like(turned[0])
            clues.append(
                [
                    np.concatenate(pair)
                    for pair in [(row, none) for row in turned] + [(none, row) for row in turned]
                ]
            )
            right.append(np.arange(24) == key)
    weights, minor = logit(np.array(clues), np.array([right], dtype=float), KEY_PENALTY, lambda at: at >= 12)
    return weights.reshape(2, harmony.CLUES, 12), minor


def excerpt(
    frames: np.ndarray, rate: float, lengths: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray:
    """A stretch of some frames [shape=(..., frames)], of one of the lengths in seconds."""
    size = min(round(rng.choice(lengths) * rate), frames.shape[1])
    first = int(rng.integers(frames.shape[1] - size + 1))
    return frames[:, first : first + size]


def paced(curves: np.ndarray, pace: float) -> np.ndarray:
    """Onset curves [shape=(CURVES, frames)] of the same music, played `pace` times as fast."""
    places = np.arange(round(curves.shape[1] / pace)) * pace
    frames = np.arange(curves.shape[1])
    return np.array([np.interp(places, frames, curve) for curve in curves], dtype=np.float32)


def main() -> int:
    """Listen, fit and write, or compare."""
    asked = fitted.arguments("Fit the weights of tempo, beats and key.", WEIGHTS)
    soundfont = fetch()
    heard = [
        hear(truth.kept(piece, SAMPLE_RATE, soundfont), piece.tempo, piece)
        for first, count in SEEDS
        for piece in truth.pieces(count, SECONDS, first)
    ]
    heard += [
        hear(metronome(tempo, SECONDS, beeps), tempo) for beeps in (False, True) for tempo in METRONOMES
    ]
    heard += [hear(sound, 0.0) for seed in range(ALIKE) for sound in without_tempo(SECONDS, seed)]
    tempo, no_tempo = fit_tempo(heard, np.random.default_rng(0))
    beat, beat_place = fit_beats(heard)
    key, minor = fit_key(heard, np.random.default_rng(0))
    weights = {"tempo": tempo, "no_tempo": no_tempo, "beat": beat, "beat_place": beat_place}
    weights |= {"key": key, "minor": minor}
    fresh = io.BytesIO()
    np.savez(fresh, **{name: np.asarray(value, np.float32) for name, value in weights.items()})  # type: ignore[arg-type]
    print(f"heard {len(heard)} sounds")
    return fitted.keep(fresh.getvalue(), asked)


if __name__ == "__main__":
    sys.exit(main())
