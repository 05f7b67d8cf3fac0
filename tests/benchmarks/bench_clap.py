"""CLAP's audio tower beside transformers', per window of ten seconds.

    .venv-models/bin/python -m tests.benchmarks.bench_clap FOLDER [--precision float32] [--json FILE]

FOLDER is a CLAP checkpoint as published, or a random one of that size: it takes the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from music.clap import audio_encoder
from music.clap.embedder import WINDOWS_AT_ONCE
from music.clap.mel import WINDOW, log_mel
from music.engine import ops
from music.engine.packing import Tensors, write
from weights import Checkpoint
from weights.export import export


def measure(folder: Path, precision: str, threads: int, rounds: int) -> dict[str, Any]:
    """Measure windows, ours and transformers' in turn.

    Parameters
    ----------
    folder : Path
        A CLAP checkpoint.
    precision : str
        Of ours, see `weights.export.clap_audio`; transformers' is float32.
    threads : int
        Of both.
    rounds : int
        Of which the medians are compared.

    Returns
    -------
    dict
        Every number, with the machine and the versions; JSON-ready. `ratio` is of the network's seconds per
        window, each runtime at the batch that is best for it.
    """
    os.environ["ENGINE_THREADS"] = str(threads)  # read when the engine is first used
    import torch

    from music.torch.clap import ClapTowers

    torch.set_num_threads(threads)
    reference = ClapTowers(folder)
    draw = np.random.default_rng(0)
    sound = (0.1 * draw.standard_normal((4, WINDOW))).astype(np.float32)
    mels = np.stack([log_mel(window) for window in sound])
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "audio.safetensors"
        write(path, *export("clap_audio", Checkpoint(folder), precision))
        network = audio_encoder.ClapAudio(Tensors(path))
        if ops.threads() != threads:
            raise RuntimeError(f"the engine already runs on {ops.threads()} threads")
        # Once to warm up, and to see that both do the same.
        expected = reference.audio(mels)
        found = np.concatenate([network(mels[:count])[:1] for count in (1, 2)] + [network(mels)[2:]])
        times: dict[str, list[float]] = {}
        for _ in range(rounds):
            for count in (1, 2, 4):
                for name, run in (("ours", network), ("transformers", reference.audio)):
                    times.setdefault(f"{name}, {count} at once", []).append(
                        _seconds(run, mels[:count]) / count
                    )
            times.setdefault("spectrogram", []).append(_seconds(log_mel, sound[0]))
    median = {name: statistics.median(values) for name, values in times.items()}
    best = {
        name: min(median[f"{name}, {count} at once"] for count in (1, 2, 4))
        for name in ("ours", "transformers")
    }
    found, rows = found.astype(np.float64), expected[[0, 0, 2, 3]].astype(np.float64)
    cosine = (found * rows).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(rows, axis=1)
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "versions": f"python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}, "
        f"transformers {version('transformers')}; engine {ops.variant()}",
        "precision": precision,
        "threads": threads,
        "windows_at_once": WINDOWS_AT_ONCE,
        "seconds": best["ours"],
        "transformers": best["transformers"],
        "ratio": best["transformers"] / best["ours"],
        "median_seconds_per_window": median,
        "times": times,
        "cosine_distance": float((1 - cosine).max()),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _seconds(work: Callable[[np.ndarray], object], given: np.ndarray) -> float:
    begun = time.perf_counter()
    work(given)
    return time.perf_counter() - begun


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path, help="where to write every number")
    given = parser.parse_args()
    result = measure(given.folder, given.precision, given.threads, given.rounds)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['machine']}; {result['versions']}; {given.threads} threads, {given.precision}")
    for name, seconds in result["median_seconds_per_window"].items():
        print(f"{name:28s} {1000 * seconds:7.1f} ms per window")
    print(f"ratio {result['ratio']:.2f}, cosine distance {result['cosine_distance']:.1e}")


if __name__ == "__main__":
    main()
