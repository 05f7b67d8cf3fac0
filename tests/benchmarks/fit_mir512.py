"""Fit the constants of `mir-512` on real music, and write them beside the embedder.

    python -m tests.benchmarks.fit_mir512 [--out FILE] [--check]

Only `corpus.FIT_PACKAGES` are looked at; the benchmark judges on other packages. The same corpus, numpy and
scipy give the same file bit for bit: one BLAS thread, and half precision for what comes out of the
eigensolver.

Method: every recording is a class, its segments are the samples. `W` is the mean covariance within recordings
plus what mp3 at 128 kb/s and a fold to mono do to segments of them; `B` is the covariance of the recordings'
means. Both are shrunk towards their diagonals, there being fewer recordings than descriptors. The projection
holds the generalised eigenvectors of ``B v = l W v`` with the largest ratios, scaled so that `W` becomes the
identity.

A fold weighs most, since few recordings are so wide that they lose much by it. In cross-validation over the
recordings more weight, up to 4000, only gained; it is as high as the promise of the benchmark needs.
"""

import os

# Before numpy is imported: sums in BLAS depend on the number of threads.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402

from music.audio.decode import decode  # noqa: E402
from music.audio.encode import encode  # noqa: E402
from music.mir512 import embedder  # noqa: E402
from tests.benchmarks import corpus, fitted  # noqa: E402

SHRINK_WITHIN, SHRINK_BETWEEN, RIDGE = 0.02, 0.5, 0.02
ALTERED = (15.0, 240.0)
"""What the errors of mp3 and of a fold to mono weigh, beside the covariance within recordings."""
EXCERPT = 20  # seconds from the middle that are altered


def altered(stereo: np.ndarray, rate: int) -> list[np.ndarray]:
    """Descriptions [shape=(segments, descriptors)] of an excerpt: as it is, as mp3 at 128 kb/s, in mono."""
    with tempfile.TemporaryDirectory() as folder:
        described = []
        mono = stereo.mean(axis=0, keepdims=True)
        for content in (encode(stereo, rate, "wav"), corpus.mp3(stereo, rate), encode(mono, rate, "wav")):
            path = Path(folder) / "excerpt"
            path.write_bytes(content)
            described.append(embedder.describe(decode(path, rate=embedder.SAMPLE_RATE, channels=2)))
    return described


def fit(tracks: Sequence[corpus.Track]) -> dict[str, np.ndarray]:
    """Constants from recordings, named as in the file."""
    whole, excerpts = [], []
    for track in tracks:
        began = time.process_time()
        whole.append(embedder.describe(decode(track.path, rate=embedder.SAMPLE_RATE, channels=2)))
        stereo = decode(track.path, rate=44100, channels=2)
        middle, half = stereo.shape[1] // 2, EXCERPT * 44100 // 2
        excerpts.append(altered(np.ascontiguousarray(stereo[:, middle - half : middle + half]), 44100))
        print(f"{track.name}: {len(whole[-1])} segments, {time.process_time() - began:.1f} CPU s", flush=True)
    # Every recording counts the same, however long it is.
    mean = np.mean([rows.mean(axis=0) for rows in whole], axis=0)
    variance = np.mean([np.mean((rows - mean) ** 2, axis=0) for rows in whole], axis=0)
    mean, scale = mean.astype(np.float32), np.sqrt(variance + 1e-8).astype(np.float32)
    scores = [embedder.standardise(rows, mean, scale) for rows in whole]
    centres = np.array([rows.mean(axis=0) for rows in scores])
    between = np.cov(centres.T, bias=True)
    within = np.mean([np.cov(rows.T, bias=True) for rows in scores], axis=0)
    for clean, *others in excerpts:
        for weight, other in zip(ALTERED, others, strict=True):
            n = min(len(clean), len(other))
            error = embedder.standardise(other[:n], mean, scale) - embedder.standardise(
                clean[:n], mean, scale
            )
            within += weight / len(excerpts) * (error.T @ error) / n
    count = len(mean)
    ridge = RIDGE * np.trace(within) / count * np.eye(count)
    within = (1 - SHRINK_WITHIN) * within + SHRINK_WITHIN * np.diag(np.diag(within)) + ridge
    between = (1 - SHRINK_BETWEEN) * between + SHRINK_BETWEEN * np.diag(np.diag(between))
    _, vectors = scipy.linalg.eigh(between, within)
    projection = vectors[:, ::-1][:, : embedder.DIMENSION - 1]
    signs = np.sign(projection[np.argmax(np.abs(projection), axis=0), np.arange(projection.shape[1])])
    return {
        "mean": mean,
        "scale": scale,
        "centre": centres.mean(axis=0).astype(np.float32),
        "projection": (projection * signs).astype(np.float16),
        "tracks": np.array([track.name for track in tracks]),
        "packages": np.array([f"{name} {corpus.version(name)}" for name in corpus.FIT_PACKAGES]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit and write, or fit and compare."""
    asked = fitted.arguments("Fit the constants of mir-512.", embedder.CONSTANTS, arguments)
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "fresh.npz"
        np.savez_compressed(fresh, **fit(corpus.tracks(corpus.FIT_PACKAGES)))  # type: ignore[arg-type]
        return fitted.keep(fresh.read_bytes(), asked)


if __name__ == "__main__":
    sys.exit(main())
