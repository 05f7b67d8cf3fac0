"""What the CPU engine promises: beside the machine's own limit, and beside transformers in one run.

    .venv-models/bin/python -m tests.benchmarks.bench_models [--quick] [--engine] [--folder DIR]
        [--bundles DIR] [--json FILE]

Random checkpoints of the published size take the same time as trained ones; DIR, if it is given, holds some
already (``musicgen`` and ``clap``). `--quick` takes fewer steps (about 10 minutes), and judges only what a
short run can; the full run takes the 1500 steps of 30 s of music with both. `--engine` takes steps of the
engine alone and needs no torch (3 minutes). `--bundles` names a folder of bundles in int8: those of the other
sizes take 100 steps each (``make models PROFILE=medium SOURCE=random`` makes one). Measure on a machine that
does nothing else. `make bench-models` draws the figure, too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from music.engine import library, ops
from music.engine.bundle import open_bundle, weights_file
from music.engine.packing import Tensors, write
from music.musicgen.networks import Condition
from music.musicgen.sampling import Sampling, draw, guide, stream
from music.musicgen.transformer import MusicGen
from tests.benchmarks import floor
from tests.benchmarks.machine import models_file, processor
from tests.benchmarks.starts import STEPS, TOKENS
from tests.support import memory
from weights import Checkpoint, pack, synthetic
from weights.export import export

SAMPLING = Sampling()  # the defaults of the contract: temperature 1, top-k 250, guidance 3
POSITIONS = (50, 400, 750, 1100, 1450)
SIZES = ("medium", "large")
SIZE_STEPS = 100
BARS: dict[str, tuple[float, float, str]] = {
    "share of the floor, 2 rows, worst position": (0.9, 0.9, "x"),
    "share of the floor, 8 rows, worst position": (0.8, 0.8, "x"),
    "AVX2 over AVX-512, 2 rows, worst position": (1.1, 1.1, "<="),
    "crowded: our threads against the best number": (1.3, 1.3, "<="),
    "int8 against transformers float32, mean of the steps": (7.0, 12.0, "x"),
    "float32 against transformers float32, 100 greedy steps": (3.0, 4.0, "x"),
    "int8 relative RMS error of logits (random weights)": (0.03, 0.015, "<="),
    "4 candidates against 4 single runs": (2.5, 2.5, "x"),
    "EnCodec, 30 s decoded, against transformers": (1.7, 1.7, "x"),
    "whole clip over its tokens alone": (1.05, 1.05, "<="),
    "CLAP, per window, against transformers": (1.7, 1.7, "x"),
    "resident memory of a 30 s clip, GB": (1.3, 0.9, "<="),
    "generate: start to first token, warm page cache, s": (5.0, 2.5, "<="),
    "embed: start to vector of 30 s, warm page cache, s": (0.9, 0.9, "<="),
}
"""At least (or at most), and what is aimed at. What is not measured is not judged."""

LONG = {
    "int8 against transformers float32, mean of the steps",
    "whole clip over its tokens alone",
    "resident memory of a 30 s clip, GB",
}
"""What a short run cannot judge: start and end weigh too much in it, and its caches are small."""


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


def steps_by_position(language: MusicGen, rows: int, repeats: int) -> list[dict[str, float]]:
    """Take steps with a cache that is filled up to each of `POSITIONS`: the median, and what they need."""
    state = language.start(condition() * (rows // 2), POSITIONS[-1] + 64)
    draws = np.random.default_rng(0)
    codes = draws.integers(0, language.vocabulary, (rows, 1, language.codebooks))
    state.advance(codes)
    for cache in state._self:  # what is in it does not matter, but pages that nobody wrote to cost nothing
        cache.keys[:] = draws.integers(-99, 99, cache.keys.shape[2:], dtype=np.int8)
        cache.values[:] = cache.keys.ravel()[0]
    assert state._step is not None
    found = []
    for position in POSITIONS:
        state._lengths[:] = position
        need = floor.work(state._step[2])
        took = [seconds(lambda: state.advance(codes)) for _ in range(repeats)]
        found.append({"ms": 1000 * statistics.median(took), **need._asdict()})
    return found


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


def child(
    *arguments: str,
    threads: int | None = None,
    variant: str | None = None,
    group: Path | None = None,
    cold: Sequence[Path] = (),
    module: str = "bench_models",
) -> dict[str, Any]:
    """Run a function of a module in a process of its own; seconds are those from its start to `ready`."""
    if cold:
        os.sync()  # what is not yet on the disk stays
    for path in cold:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    environment = os.environ | ({"ENGINE_THREADS": str(threads)} if threads else {})
    environment |= {"ENGINE_VARIANT": variant} if variant else {}
    begun = time.time()
    joined = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group)] if group else []
    done = subprocess.run(
        [*joined, sys.executable, "-m", f"tests.benchmarks.{module}", "--child", *arguments],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "ready" in result:
        result["seconds"] = result.pop("ready") - begun
    return result


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
    resident = memory.peak()
    steps = made["all"][0].details["steps"]
    tokens = float(sampled(generator._language, steps).sum())
    return {"whole": whole, "tokens": tokens, "memory": resident, "steps": steps}


def child_steps(file: str, rows: str, repeats: str) -> dict[str, Any]:
    """Take steps of each number of rows, and what the machine can do between them."""
    language = MusicGen(Tensors(Path(file), copied=True))
    before = floor.measure()
    found = {count: steps_by_position(language, int(count), int(repeats)) for count in rows.split(",")}
    after = floor.measure()
    return {"machine": [max(pair) for pair in zip(before, after, strict=True)], "rows": found}


def child_size(file: str) -> dict[str, Any]:
    """Take `SIZE_STEPS` steps of 2 rows, drawing included, and count what the one in the middle needs."""
    language = MusicGen(Tensors(Path(file), copied=True))
    took, resident = sampled(language, SIZE_STEPS), memory.peak()
    machine = floor.measure(10)
    state = language.start(condition(), SIZE_STEPS + 1)
    state.advance(np.full((2, 1, language.codebooks), language.vocabulary))
    assert state._step is not None
    state._lengths[:] = SIZE_STEPS // 2
    need = floor.work(state._step[2])
    least, ms = 1000 * need.seconds(machine), 1000 * float(np.median(took))
    return {
        "ms": ms, "floor, ms": least, "share": least / ms, "mean ms": 1000 * float(took.mean()),
        "GB": need.bytes / 1e9, "GB/s": machine.bytes / 1e9, "resident, GB": resident / 1e9,
    }  # fmt: skip


def child_mean(file: str) -> dict[str, Any]:
    """Take 40 steps of 2 rows, pauses of the scheduler included."""
    language = MusicGen(Tensors(Path(file), copied=True))
    sampled(language, 2)
    return {"ms": 1000 * float(sampled(language, 40).mean()), "threads": ops.threads()}


@contextmanager
def quota(processors: float) -> Iterator[Path]:
    """Make a control group that is granted parts of processors; it takes root, version 1 or 2."""
    root = Path("/sys/fs/cgroup")
    first = (root / "cpu" / "cgroup.procs").exists()
    folder = (root / "cpu" if first else root) / f"bench-models-{os.getpid()}"
    folder.mkdir()
    try:
        time = round(100_000 * processors)
        if first:
            (folder / "cpu.cfs_period_us").write_text("100000")
            (folder / "cpu.cfs_quota_us").write_text(str(time))
        else:
            (folder / "cpu.max").write_text(f"{time} 100000")
        yield folder
    finally:
        folder.rmdir()


@contextmanager
def neighbour() -> Iterator[None]:
    """Keep one of our processors busy."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    os.sched_setaffinity(busy.pid, {min(os.sched_getaffinity(0))})
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def crowded(file: Path) -> dict[str, Any]:
    """Take steps with the threads that the engine chooses, and with each number, where it is not alone."""
    notes: dict[str, Any] = {}

    def compare(name: str, group: Path | None = None) -> None:
        say(f"crowded: {name}")
        chosen = child("mean", str(file), group=group)
        fixed = {
            threads: child("mean", str(file), threads=threads, group=group)["ms"]
            for threads in range(1, ops.threads() + 1)
        }
        notes[name] = {"threads": chosen["threads"], "ms": chosen["ms"], "ms by threads": fixed}

    for granted in (0.5, 1.0, 1.7):
        try:
            with quota(granted) as group:
                compare(f"quota of {granted}", group)
        except OSError as error:
            say(f"no quotas are measured: {error}")
            break
    with neighbour():
        compare("a busy neighbour on one processor")
    worst = max(note["ms"] / min(note["ms by threads"].values()) for note in notes.values())
    return {"figures": {"crowded: our threads against the best number": worst}, "details": {"crowded": notes}}


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
    # The machine's pace drifts by as much as a bar allows: the median of several clips.
    clips = [child("clip", bundle, "6" if quick else "30") for _ in range(1 if quick else 5)]
    notes["clips"] = clips
    found["whole clip over its tokens alone"] = statistics.median(c["whole"] / c["tokens"] for c in clips)
    found["resident memory of a 30 s clip, GB"] = max(clip["memory"] for clip in clips) / 1e9
    files = list((folder / "int8" / "small").iterdir())
    track = folder / "track.wav"
    noise = np.random.default_rng(0).standard_normal((2, 44100 * 30)).astype(np.float32) / 10
    from music.audio.encode import encode

    track.write_bytes(encode(noise, 44100, "wav", {}))
    for name, arguments in (
        ("generate: start to first token", ("first_token", bundle)),
        ("embed: start to vector of 30 s", ("vector", bundle, str(track))),
    ):
        notes[f"{name}, cold page cache, s"] = child(*arguments, cold=files, module="starts")["seconds"]
        warm = [child(*arguments, module="starts")["seconds"] for _ in range(9)]
        found[f"{name}, warm page cache, s"] = statistics.median(warm)
    return {"figures": found, "details": notes}


def by_rows(file: Path, quick: bool) -> dict[str, Any]:
    """Take steps by position, rows, threads and instruction set: the better of two rounds, each in turn.

    Parameters
    ----------
    file : Path
        The weights of MusicGen in int8.
    quick : bool
        Fewer repeats.
    """
    most, fastest, repeats = ops.threads(), ops.variant(), "8" if quick else "25"
    configurations = [(variant, threads) for variant in library.supported() for threads in range(1, most + 1)]
    rounds = []
    for number in (1, 2):
        say(f"steps by position, rows, threads and instruction set, round {number} of 2")
        rounds.append(
            {
                (variant, threads): child(
                    "steps", str(file), "2,4,6,8,12,16" if (variant, threads) == (fastest, most) else "2,8",
                    repeats, threads=threads, variant=variant,
                )
                for variant, threads in configurations
            }
        )  # fmt: skip
    tables = {key: floors(*(found[key] for found in rounds)) for key in configurations}
    curve = {rows: entry["ms"] for rows, entry in tables[fastest, most]["rows"].items()}
    figures = {
        f"share of the floor, {rows} rows, worst position": min(tables[fastest, most]["rows"][rows]["share"])
        for rows in ("2", "8")
    }
    figures["4 candidates against 4 single runs"] = 4 * sum(curve["2"]) / sum(curve["8"])
    if {"avx2", "avx512"} <= set(library.supported()):
        narrow, wide = (tables[variant, most]["rows"]["2"]["ms"] for variant in ("avx2", "avx512"))
        figures["AVX2 over AVX-512, 2 rows, worst position"] = max(
            ours / theirs for ours, theirs in zip(narrow, wide, strict=True)
        )
    notes: dict[str, Any] = {
        "ms by position": {"positions": POSITIONS, "rows": curve},
        "ms by threads, 2 rows": {
            threads: tables[fastest, threads]["rows"]["2"]["ms"] for threads in range(1, most + 1)
        },
        "floors": {f"{variant}, {threads} threads": table for (variant, threads), table in tables.items()},
    }
    return {"figures": figures, "details": notes}


def by_size(bundles: Path) -> dict[str, Any]:
    """Take steps of the other sizes that there are bundles of, the better of two rounds."""
    found = {}
    for name in SIZES:
        file = bundles / name / weights_file("musicgen")
        if file.exists():
            say(f"{SIZE_STEPS} steps of {name}, twice")
            rounds = [child("size", str(file)) for _ in range(2)]
            found[name] = min(rounds, key=lambda entry: entry["ms"])
    return {"figures": {}, "details": {"sizes": found}}


def floors(*rounds: dict[str, Any]) -> dict[str, Any]:
    """Hold the best of several rounds of `child_steps` against the machine at its best."""
    machine = floor.Work(
        *(max(values) for values in zip(*(found["machine"] for found in rounds), strict=True))
    )
    table: dict[str, Any] = {}
    for rows, entries in rounds[0]["rows"].items():
        ms = [min(found["rows"][rows][at]["ms"] for found in rounds) for at in range(len(POSITIONS))]
        needs = [floor.Work(entry["bytes"], entry["dots"]) for entry in entries]
        least = [1000 * need.seconds(machine) for need in needs]
        table[rows] = {
            "ms": ms,
            "floor, ms": least,
            "bound by": [
                "bytes" if n.bytes / machine.bytes > n.dots / machine.dots else "dots" for n in needs
            ],
            "share": [bound / took for bound, took in zip(least, ms, strict=True)],
        }
    return {"GB/s": machine.bytes / 1e9, "dots, G/s": machine.dots / 1e9, "rows": table}


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
    weights = paths["int8"] / weights_file("musicgen")
    for part in (processes(folder, quick), by_rows(weights, quick), crowded(weights)):
        found |= part["figures"]
        notes |= part["details"]
    opened = {precision: open_bundle(path) for precision, path in paths.items()}
    int8 = MusicGen(opened["int8"].tensors("musicgen", copied=True))
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
    tokens, logits, fast = greedy(MusicGen(opened["float32"].tensors("musicgen", copied=True)), 100)
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


def table(result: dict[str, Any], quick: bool) -> str:
    """Found, floor and share; then the figures beside what was promised."""
    lines = [f"ms a step at {', '.join(map(str, POSITIONS))} keys: found | floor | share of it"]
    for name, part in result["details"]["floors"].items():
        lines.append(f"{name}: {part['GB/s']:.1f} GB/s, {part['dots, G/s']:.2f} G dots/s")
        for rows, entry in part["rows"].items():
            ms, least, share = (
                " ".join(f"{value:{form}}" for value in entry[key])
                for key, form in (("ms", "6.2f"), ("floor, ms", "6.2f"), ("share", "4.2f"))
            )
            lines.append(
                f"  {rows:>2} rows {ms} | {least} | {share}  {', '.join(dict.fromkeys(entry['bound by']))}"
            )
    for name, entry in result["details"]["crowded"].items():
        each = ", ".join(f"{threads}: {ms:.1f}" for threads, ms in entry["ms by threads"].items())
        lines.append(f"{name}: {entry['ms']:.1f} ms with {entry['threads']} threads; by threads {each}")
    for name, entry in result["details"].get("sizes", {}).items():
        lines.append(
            f"{name}, 2 rows, {SIZE_STEPS} steps: {entry['ms']:.1f} ms | {entry['floor, ms']:.1f} | "
            f"{entry['share']:.2f}; {entry['GB']:.2f} GB a step, {entry['resident, GB']:.1f} GB resident"
        )
    lines += ["", f"{'':58} {'found':>8} {'at least':>9} {'aim':>7}"]
    for name, (bar, aim, sense) in BARS.items():
        if (value := result["figures"].get(name)) is None:
            continue
        held = value >= bar if sense == "x" else value <= bar
        judged = "" if held else "MISSED"
        if quick and name in LONG:
            judged = "not judged: too short a run"
        lines.append(f"{name:58} {value:8.3g} {bar:9} {aim:7} {judged}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--engine", action="store_true", help="only steps of the engine: needs no torch")
    parser.add_argument("--bundles", type=Path, help="with bundles of the other sizes in int8")
    parser.add_argument(
        "--json", type=Path, help="default: docs/benchmarks/models-PROCESSOR-SET.json; none with --engine"
    )
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
        if given.engine:
            file = folder / weights_file("musicgen")
            write(file, *export("musicgen", Checkpoint(folder / "musicgen"), "int8"))
            result, other = by_rows(file, given.quick), crowded(file)
            for name, values in other.items():
                result[name] |= values
        else:
            result = measure(folder, given.quick)
    if given.bundles:
        for name, values in by_size(given.bundles).items():
            result[name] |= values
    result["machine"] = {
        "processor": processor(), "threads": ops.threads(), "instruction_set": ops.variant(),
        "system": platform.platform(), "python": platform.python_version(), "quick": given.quick,
        "command": "make bench-models"
        if not given.engine
        else "python -m tests.benchmarks.bench_models --engine" + (" --bundles DIR" if given.bundles else ""),
        **{name: version(name) for name in ("numpy", *(() if given.engine else ("torch", "transformers")))},
    }  # fmt: skip
    target = given.json or (None if given.engine else models_file(processor(), ops.variant()))
    if target:
        target.write_text(json.dumps(rounded(result), indent=1) + "\n")
    print(table(result, given.quick))
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
