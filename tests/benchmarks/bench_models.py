"""What the CPU engine promises, measured beside transformers in one run.

    .venv-models/bin/python -m tests.benchmarks.bench_models [--quick] [--folder DIR] [--json FILE]

Random checkpoints of the published size take the same time as trained ones; DIR, if it is given, holds some
already (``musicgen`` and ``clap``). `--quick` takes fewer steps (about 10 minutes); the full run takes the
1500 steps of 30 s of music with both. Measure on a machine that does nothing else. `make bench-models` draws
the figure, too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from music.engine import ops
from music.engine.bundle import open_bundle
from music.musicgen.networks import Condition
from music.musicgen.sampling import Sampling, draw, guide, stream
from music.musicgen.transformer import MusicGen
from tests.benchmarks.machine import processor
from weights import pack, synthetic

STEPS = 1500  # 30 s
TOKENS = 20  # of a prompt
SAMPLING = Sampling()  # the defaults of the contract: temperature 1, top-k 250, guidance 3
POSITIONS = (50, 400, 750, 1100, 1450)
BARS: dict[str, tuple[float, float, str]] = {
    "int8 against transformers float32, mean of the steps": (7.0, 12.0, "x"),
    "float32 against transformers float32, 100 greedy steps": (3.0, 4.0, "x"),
    "int8 relative RMS error of logits (random weights)": (0.03, 0.015, "<="),
    "4 candidates against 4 single runs": (1.8, 2.5, "x"),
    "EnCodec, 30 s decoded, against transformers": (1.7, 1.7, "x"),
    "whole clip over its tokens alone": (1.05, 1.05, "<="),
    "CLAP, per window, against transformers": (1.15, 1.7, "x"),
    "resident memory of a 30 s clip, GB": (1.3, 0.9, "<="),
    "generate: start to first token, warm page cache, s": (5.0, 2.5, "<="),
    "embed: start to vector of 30 s, warm page cache, s": (5.0, 2.5, "<="),
}
"""At least (or at most), and what is aimed at."""


def condition() -> list[Condition]:
    """One row with a text, one without."""
    text = np.random.default_rng(0).standard_normal((TOKENS, 768)).astype(np.float32)
    return [Condition(text), Condition(None)]


def seconds(work: Callable[[], object]) -> float:
    """Time a call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def sampled(language: Any, steps: int) -> np.ndarray:
    """Seconds of each step of our decode loop, guidance and sampling included [steps]."""
    state = language.start(condition(), steps + 1)
    rng, took = stream(0), np.empty(steps)
    codes = np.full((2, 1, language.codebooks), language.vocabulary)
    for step in range(steps):
        begun = time.perf_counter()
        logits = state.advance(codes)
        tokens = draw(guide(logits[0], logits[1], SAMPLING.guidance_scale), SAMPLING, rng)
        codes = np.broadcast_to(tokens, (2, 1, language.codebooks))
        took[step] = time.perf_counter() - begun
    return took


def greedy(
    language: Any, steps: int, given: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Tokens [steps, codebooks], logits [steps, 2, codebooks, vocabulary], seconds a step; `given` leads."""
    state = language.start(condition(), steps)
    codes = np.full((2, 1, language.codebooks), language.vocabulary)
    tokens, logits, took = [], [], 0.0
    for step in range(steps):
        begun = time.perf_counter()
        found = state.advance(codes)
        took += time.perf_counter() - begun
        logits.append(found)
        tokens.append(guide(found[0], found[1], SAMPLING.guidance_scale).argmax(-1))
        codes = np.broadcast_to(tokens[-1] if given is None else given[step], (2, 1, language.codebooks))
    return np.stack(tokens), np.stack(logits), took / steps


def step_milliseconds(language: MusicGen, rows: int, position: int, repeats: int) -> float:
    """Median of a step with a cache that is filled up to a position."""
    state = language.start(condition() * (rows // 2), POSITIONS[-1] + 64)
    draws = np.random.default_rng(0)
    codes = draws.integers(0, language.vocabulary, (rows, 1, language.codebooks))
    state.advance(codes)
    for cache in state._self:  # what is in it does not matter, but pages that nobody wrote to cost nothing
        cache.keys[:] = draws.integers(-99, 99, cache.keys.shape[2:], dtype=np.int8)
        cache.values[:] = cache.keys.ravel()[0]
    state._lengths[:] = position
    took = []
    for _ in range(repeats):
        took.append(seconds(lambda: state.advance(codes)))
    return 1000 * statistics.median(took)


def transformers_steps(folder: Path, steps: int) -> float:
    """Seconds a step of `generate` as its documentation has it: sampling, guidance 3, the cache."""
    import torch

    from tests.support import published

    model = published.load(folder / "musicgen")
    ids = torch.arange(TOKENS)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    model.generate(**inputs, do_sample=True, guidance_scale=3, max_new_tokens=10)
    with torch.inference_mode():
        whole = seconds(
            lambda: model.generate(**inputs, do_sample=True, guidance_scale=3, max_new_tokens=steps)
        )
        codec = model.audio_encoder
        frames = torch.zeros(1, 1, codec.config.num_quantizers, steps - 3, dtype=torch.int64)
        decoding = seconds(lambda: codec.decode(frames, [None]))
    return (whole - decoding) / steps


def child(*arguments: str, threads: int | None = None, cold: Sequence[Path] = ()) -> dict[str, Any]:
    """Run a function of this file in a process of its own; seconds are those from its start to `ready`."""
    if cold:
        os.sync()  # what is not yet on the disk stays
    for path in cold:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    environment = os.environ | ({"ENGINE_THREADS": str(threads)} if threads else {})
    begun = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.bench_models", "--child", *arguments],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "ready" in result:
        result["seconds"] = result.pop("ready") - begun
    return result


def child_first_token(folder: str) -> dict[str, Any]:
    """What generate does up to its first token: load, encode the prompt, one step."""
    from music import loading

    os.environ["MODELS"] = folder
    generator: Any = loading.load("small").generator
    text = generator._text.encode(list(range(1, TOKENS + 1)))
    state = generator._language.start([Condition(text), Condition(None)], STEPS)
    state.advance(np.full((2, 1, 4), 2048))
    return {"ready": time.time()}


def child_vector(folder: str, track: str) -> dict[str, Any]:
    """What embed does: load, decode, measure, embed, tag."""
    from music import loading
    from music.analysis import analyse

    os.environ["MODELS"] = folder
    analyse(track, loading.load_embedder("small"))
    return {"ready": time.time()}


def child_clip(folder: str, length: str) -> dict[str, Any]:
    """A clip as generate makes it, EnCodec in between; then its tokens alone."""
    from music import interfaces, loading
    from music.analysis import analyse

    os.environ["MODELS"] = folder
    profile = loading.load("small")
    generator: Any = profile.generator
    source = np.random.default_rng(0).standard_normal((1, 32000 * 5)).astype(np.float32) / 10
    with tempfile.TemporaryDirectory() as scratch:
        from music.audio.encode import encode

        path = Path(scratch) / "source.wav"
        path.write_bytes(encode(source, 32000, "wav", {}))
        features = analyse(path, profile.embedder).features
    request = interfaces.Request(source, features, interfaces.Parameters(seed=0, duration=float(length)))
    made: dict[str, Any] = {}
    whole = seconds(lambda: made.update(all=list(generator.candidates(request, lambda done: None))))
    memory = peak()
    steps = made["all"][0].details["steps"]
    tokens = float(sampled(generator._language, steps).sum())
    return {"whole": whole, "tokens": tokens, "memory": memory, "steps": steps}


def peak() -> int:
    """Most bytes that were resident; `getrusage` counts what the parent had before this began, too."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def child_steps(folder: str, rows: str, repeats: str) -> dict[str, Any]:
    """Milliseconds of a step at each of `POSITIONS`."""
    language = MusicGen(open_bundle(Path(folder) / "small").tensors("musicgen"))
    return {
        "steps": [step_milliseconds(language, int(rows), position, int(repeats)) for position in POSITIONS]
    }


def processes(folder: Path, quick: bool) -> dict[str, Any]:
    """Measure whole processes. Before anything else: what this one has mapped stays in the page cache.

    Parameters
    ----------
    folder : Path
        With the bundle ``int8/small``.
    quick : bool
        A clip of 6 s instead of 30 s.
    """
    say("starts and whole clips")
    found: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    bundle = str(folder / "int8")
    clip = child("clip", bundle, "6" if quick else "30")
    notes["clip"] = clip
    found["whole clip over its tokens alone"] = clip["whole"] / clip["tokens"]
    found["resident memory of a 30 s clip, GB"] = clip["memory"] / 1e9
    files = list((folder / "int8" / "small").iterdir())
    track = folder / "track.wav"
    noise = np.random.default_rng(0).standard_normal((2, 44100 * 30)).astype(np.float32) / 10
    from music.audio.encode import encode

    track.write_bytes(encode(noise, 44100, "wav", {}))
    for name, arguments in (
        ("generate: start to first token", ("first_token", bundle)),
        ("embed: start to vector of 30 s", ("vector", bundle, str(track))),
    ):
        notes[f"{name}, cold page cache, s"] = child(*arguments, cold=files)["seconds"]
        warm = [child(*arguments)["seconds"] for _ in range(3)]
        found[f"{name}, warm page cache, s"] = statistics.median(warm)
    return {"figures": found, "details": notes}


def by_rows(folder: Path, quick: bool) -> dict[str, Any]:
    """Measure steps by position, rows and threads: the better of two rounds, each process in turn.

    Parameters
    ----------
    folder : Path
        With the bundle ``int8/small``.
    quick : bool
        Fewer repeats.
    """
    say("steps by position, rows and threads")
    most, bundle, repeats = ops.threads(), str(folder / "int8"), "8" if quick else "25"
    wanted = [(rows, most) for rows in (2, 4, 6, 8, 12, 16)] + [(2, threads) for threads in range(1, most)]
    rounds = [
        {
            (rows, threads): child("steps", bundle, str(rows), repeats, threads=threads)["steps"]
            for rows, threads in wanted
        }
        for _ in range(2)
    ]
    best = {
        key: [min(pair) for pair in zip(*(found[key] for found in rounds), strict=True)] for key in wanted
    }
    curve = {rows: values for (rows, threads), values in best.items() if threads == most}
    notes = {
        "ms by position": {"positions": POSITIONS, "rows": curve},
        "ms by threads, 2 rows": {threads: best[2, threads] for threads in range(1, most + 1)},
    }
    return {
        "figures": {"4 candidates against 4 single runs": 4 * sum(curve[2]) / sum(curve[8])},
        "details": notes,
    }


def measure(folder: Path, quick: bool) -> dict[str, Any]:
    """Measure everything.

    Parameters
    ----------
    folder : Path
        With the folders ``musicgen`` and ``clap``; bundles are made in it.
    quick : bool
        Fewer steps and repeats.
    """
    from tests.support import published

    paths = {
        precision: pack.build("small", source=str(folder), precision=precision, target=folder / precision)
        for precision in ("float32", "int8")
    }
    found: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    for part in (processes(folder, quick), by_rows(folder, quick)):
        found |= part["figures"]
        notes |= part["details"]
    opened = {precision: open_bundle(path) for precision, path in paths.items()}
    int8 = MusicGen(opened["int8"].tensors("musicgen"))
    steps = 120 if quick else STEPS

    say(f"{steps} steps of int8, then of transformers")
    ours = sampled(int8, steps)
    theirs = transformers_steps(folder, steps)
    notes["int8 ms a step"] = 1000 * float(ours.mean())
    notes["transformers ms a step"] = 1000 * theirs
    notes["int8 ms a step by 100 steps"] = [
        round(1000 * float(part.mean()), 2)
        for part in np.split(ours, steps // 100 if steps % 100 == 0 else 1)
    ]
    found["int8 against transformers float32, mean of the steps"] = theirs / float(ours.mean())

    say("100 greedy steps of float32, of transformers, of int8")
    tokens, logits, fast = greedy(MusicGen(opened["float32"].tensors("musicgen")), 100)
    model = published.MusicGen(published.load(folder / "musicgen"))
    expected, right, slow = greedy(model, 100)
    del model
    notes["float32 ms a step"], notes["transformers float32 ms a greedy step"] = 1000 * fast, 1000 * slow
    notes["float32 greedy tokens that differ"] = int((tokens != expected).sum())
    notes["float32 largest error of logits"] = float(np.abs(logits - right).max())
    found["float32 against transformers float32, 100 greedy steps"] = slow / fast
    _, rough, _ = greedy(int8, 100, expected)
    found["int8 relative RMS error of logits (random weights)"] = float(
        np.sqrt(np.mean((rough - right) ** 2) / np.mean(right**2))
    )

    say("EnCodec and CLAP")
    from tests.benchmarks import bench_clap, bench_encodec

    most = ops.threads()
    codec = bench_encodec.measure(folder / "musicgen", "int8", 30.0, most, 2 if quick else 5)
    clap = bench_clap.measure(folder / "clap", "int8", most, 3 if quick else 10)
    notes["encodec"], notes["clap"] = codec, clap
    found["EnCodec, 30 s decoded, against transformers"] = codec["decode"]["ratio"]
    found["CLAP, per window, against transformers"] = clap["ratio"]
    return {"figures": found, "details": notes}


def say(what: str) -> None:
    """Tell what is being measured."""
    print(f"… {what}", file=sys.stderr, flush=True)


def table(result: dict[str, Any]) -> str:
    """The figures beside what was promised."""
    lines = [f"{'':58} {'found':>8} {'at least':>9} {'aim':>7}"]
    for name, (bar, aim, sense) in BARS.items():
        value = result["figures"][name]
        held = value >= bar if sense == "x" else value <= bar
        lines.append(f"{name:58} {value:8.3g} {bar:9} {aim:7} {'' if held else 'MISSED'}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/models.json"))
    parser.add_argument("--child", nargs="+")
    given = parser.parse_args(arguments)
    if given.child:
        name, *rest = given.child
        print(json.dumps(globals()[f"child_{name}"](*rest)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if given.folder:
            for part in ("musicgen", "clap"):
                (folder / part).symlink_to((given.folder / part).resolve())
        else:
            say("random checkpoints")
            synthetic.write("small", folder)
        result = measure(folder, given.quick)
        shutil.rmtree(folder / "int8")
    result["machine"] = {
        "processor": processor(), "threads": ops.threads(), "instruction_set": ops.variant(),
        "system": platform.platform(), "python": platform.python_version(), "quick": given.quick,
        "command": "make bench-models",
        **{name: version(name) for name in ("numpy", "torch", "transformers")},
    }  # fmt: skip
    given.json.write_text(json.dumps(rounded(result), indent=1) + "\n")
    print(table(result))
    print(", ".join(f"{name} {value}" for name, value in result["machine"].items()))


def rounded(value: Any) -> Any:
    """Four digits are more than a benchmark knows."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {str(key): rounded(entry) for key, entry in value.items()}
    return [rounded(entry) for entry in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    main()
