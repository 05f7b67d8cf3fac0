"""How fast is EnCodec on the engine? Side by side with transformers, turn by turn in one process.

    .venv-models/bin/python -m tests.benchmarks.bench_encodec FOLDER [--precision int8] [--seconds 30]
        [--threads 2] [--rounds 5] [--json FILE]

FOLDER holds a MusicGen checkpoint; random weights of the published size take the same time as trained ones.
Measure on a machine that does nothing else.
"""

import argparse
import json
import os
import platform
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
from music.engine.packing import Tensors, write
from music.musicgen.encodec import Encodec
from weights import Checkpoint
from weights.export import export

BAR = 1.7  # times the speed of transformers
LATE = 50  # frames that a generator hands over at a time: a second

_LONG = """
import sys
from pathlib import Path
import numpy as np
from music.engine.packing import Tensors
from music.musicgen.encodec import Encodec
from tests.support import memory
codec = Encodec(Tensors(Path(sys.argv[1])))
codes = np.random.default_rng(0).integers(0, codec.codebook_size, (codec.codebooks, int(sys.argv[2])))
decoder, samples = codec.decoder(1), 0
for start in range(0, codes.shape[1], 50):
    samples += decoder.push(codes[None, :, start : start + 50]).shape[2]
samples += decoder.finish().shape[2]
print(samples, memory.peak())
"""


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _stream(codec: Encodec, codes: np.ndarray) -> tuple[float, float]:
    """Seconds for all but the last push, and for what is left when the last codes are there."""
    decoder = codec.decoder(1)
    pieces = np.split(codes[None], range(LATE, codes.shape[1], LATE), axis=2)
    early = _seconds(lambda: [decoder.push(piece) for piece in pieces[:-1]])
    return early, _seconds(lambda: (decoder.push(pieces[-1]), decoder.finish()))


def measure(folder: Path, precision: str, seconds: float, threads: int, rounds: int) -> dict[str, Any]:
    """Measure decoding and encoding, ours and transformers' in turn.

    Parameters
    ----------
    folder : Path
        A MusicGen checkpoint.
    precision : str
        Of the bundle, see `weights.export.encodec`.
    seconds : float
        Of audio.
    threads : int
        Of both.
    rounds : int
        Of which the medians are compared.

    Returns
    -------
    dict
        Every number, with the machine and the versions; JSON-ready.
    """
    os.environ["ENGINE_THREADS"] = str(threads)  # read when the engine is first used
    import torch

    from music.torch.encodec import Encodec as TorchEncodec

    torch.set_num_threads(threads)
    reference = TorchEncodec(folder)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "codec.safetensors"
        write(path, *export("encodec", Checkpoint(folder), precision))
        codec = Encodec(Tensors(path))
        if ops.threads() != threads:
            raise RuntimeError(f"the engine already runs on {ops.threads()} threads")
        draw, frames = np.random.default_rng(0), round(seconds * codec.sample_rate / codec.hop)
        codes = draw.integers(0, codec.codebook_size, (codec.codebooks, frames))
        audio = (0.2 * draw.standard_normal((1, frames * codec.hop))).astype(np.float32)
        # Once to warm up, and to see that both do the same.
        ours, theirs = codec.decode(codes), reference.decode(codes)
        same = codec.encode(audio) == reference.encode(audio)
        names = "decode", "decode_reference", "encode", "encode_reference", "stream", "last_push"
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            times["decode"].append(_seconds(lambda: codec.decode(codes)))
            times["decode_reference"].append(_seconds(lambda: reference.decode(codes)))
            early, late = _stream(codec, codes)
            times["stream"].append(early + late)
            times["last_push"].append(late)
            times["encode"].append(_seconds(lambda: codec.encode(audio)))
            times["encode_reference"].append(_seconds(lambda: reference.encode(audio)))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        script = [sys.executable, "-c", _LONG, str(path), str(300 * codec.sample_rate // codec.hop)]
        long = subprocess.run(
            script, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
    median = {name: statistics.median(values) for name, values in times.items()}

    def compared(job: str) -> dict[str, float]:
        ours, theirs = median[job], median[f"{job}_reference"]
        return {"seconds": ours, "transformers": theirs, "ratio": theirs / ours}

    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "versions": f"python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}, "
        f"transformers {version('transformers')}; engine {ops.variant()}",
        "precision": precision,
        "threads": threads,
        "seconds": frames * codec.hop / codec.sample_rate,
        "decode": compared("decode"),
        "encode": compared("encode"),
        "stream": {"seconds": median["stream"], "after_last_codes": median["last_push"]},
        "times": times,
        "largest_difference": float(np.abs(ours - theirs).max()),
        "same_codes": float(same.mean()),
        "resident_300s_mb": int(long[1]) / 1e6,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit status whether the bar holds."""
    parser = argparse.ArgumentParser(description="Measure EnCodec against transformers.")
    parser.add_argument("folder", type=Path, help="a MusicGen checkpoint")
    parser.add_argument("--precision", default="int8", help="of the bundle")
    parser.add_argument("--seconds", type=float, default=30.0, help="of audio")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every number here too")
    options = parser.parse_args(arguments)
    result = measure(options.folder, options.precision, options.seconds, options.threads, options.rounds)
    print(f"machine   {result['machine']}, {options.threads} threads used")
    print(f"versions  {result['versions']}")
    print(
        f"\n{result['seconds']:g} s of audio, {options.precision} bundle, medians of {options.rounds} rounds"
    )
    for job in ("decode", "encode"):
        found = result[job]
        ours, theirs = f"{found['seconds']:.3f} s", f"{found['transformers']:.3f} s"
        print(f"  {job} {ours}, transformers {theirs}: {found['ratio']:.2f} times as fast")
    late = result["stream"]["after_last_codes"]
    print(f"  decode as a stream {result['stream']['seconds']:.3f} s, {late:.3f} s after the last codes")
    print(f"  largest difference of a sample {result['largest_difference']:.1e}")
    print(f"  same codes {result['same_codes']:.2%}")
    print(f"  300 s as a stream: {result['resident_300s_mb']:.0f} MB resident, weights included")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    holds = result["decode"]["ratio"] >= BAR
    print(f"\ndecode at least {BAR} times as fast as transformers: {'holds' if holds else 'missed'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
