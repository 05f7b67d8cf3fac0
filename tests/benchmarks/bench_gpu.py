"""The torch runtime beside transformers' `generate`, in one run on one GPU.

    python -m tests.benchmarks.bench_gpu [--model small] [--large musicgen-large] [--steps 1500] [--out FILE]

Checkpoints are random, of the published size and layout, so nothing is heard here; what is measured does not
depend on the values. Each part prints its figures when it has them, and the report is written after each, so
that a run that is cut short leaves what it found. On a processor the same script runs with ``--model tiny
--large tiny --steps 50``, to test itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers

from music import interfaces, loading
from music.analysis import analyse
from music.audio.encode import encode
from music.musicgen import delay
from music.musicgen.networks import Condition
from music.musicgen.sampling import Sampling
from music.production import generate
from music.torch import checkpoint, language
from music.torch.device import Device
from music.torch.language import Network, Slots
from tests.benchmarks.machine import machine
from tests.support import published
from weights import configs, synthetic
from weights.layouts import layout

REPORT = Path("docs/benchmarks/gpu.json")
PROMPT = "a calm piano over soft strings, 92 bpm, in a minor"
FRAME_RATE = 50
GREEDY = 100  # steps that are compared token by token
BARS = {
    "float32: greedy tokens that differ from transformers, of 100 steps": (0, "<="),
    "bfloat16: relative RMS error of logits": (0.015, "<="),
    "float32: largest difference of a row's logits with 7 others beside it": (1e-4, "<="),
    "one stream against transformers' float32 `generate`": (7.0, ">="),
    "32 streams together against one": (12.0, ">="),
    "the large model, times real time": (2.0, ">="),
    "30 s clip from message to file, seconds": (4.0, "<="),
}


class Report:
    """Figures, in a file that is written again with each."""

    def __init__(self, path: Path, device: Device) -> None:
        self._path = path
        card = torch.cuda.get_device_name() if device.name == "cuda" else "no GPU"
        self._content: dict[str, Any] = {
            "card": card,
            "machine": machine() | {"torch": torch.__version__, "transformers": transformers.__version__},
            "command": "python -m tests.benchmarks.bench_gpu",
            "bars": [],
            "details": {},
        }

    def note(self, name: str, value: Any) -> None:
        """Keep a figure that has no bar."""
        print(f"{name:75} {value}", flush=True)
        self._content["details"][name] = value
        self._write()

    def judge(self, name: str, value: float) -> None:
        """Keep a figure that has one."""
        bar, sense = BARS[name]
        holds = value <= bar if sense == "<=" else value >= bar
        print(f"{name:75} {value:10.4g} {sense} {bar:g} {'' if holds else 'MISSED'}", flush=True)
        self._content["bars"].append(
            {"what": name, "found": float(f"{value:.4g}"), "bar": bar, "sense": sense, "holds": holds}
        )
        self._write()

    @property
    def missed(self) -> bool:
        """Whether a bar does not hold."""
        return any(not bar["holds"] for bar in self._content["bars"])

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._content, indent=1) + "\n")


def seconds(run: Callable[[], object], repeats: int = 1) -> float:
    """Return the median time of a call, until the device is done."""
    times = []
    for _ in range(repeats):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def filled(network: Network, streams: int, frames: int, text: np.ndarray, sampling: Sampling) -> Slots:
    """Slots with streams at their beginning."""
    slots = Slots(network, streams, frames, 304)
    fill(slots, network, streams, frames, text, sampling)
    return slots


def fill(
    slots: Slots, network: Network, streams: int, frames: int, text: np.ndarray, sampling: Sampling
) -> None:
    """Let streams join."""
    books = network.shape.codebooks
    for seed in range(streams):
        codes = np.full((books, frames), delay.UNKNOWN, np.int16)
        numbers = np.random.default_rng(seed).random((delay.positions(frames, books) - 1, books))
        slots.join(codes, 1, (Condition(text), Condition(None)), sampling, numbers)


def run(network: Network, streams: int, steps: int, text: np.ndarray) -> float:
    """Return the steps a second of streams side by side; graphs are recorded before."""
    slots = filled(network, streams, steps, text, Sampling())
    slots.step(steps)  # records what has to be recorded
    while slots.used:
        slots.leave(0)
    fill(slots, network, streams, steps, text, Sampling())
    return steps / seconds(lambda: slots.step(steps))


def greedy(network: Network, steps: int, text: np.ndarray) -> np.ndarray:
    """Return the greedy codes of one stream."""
    slots = filled(network, 1, steps, text, Sampling(temperature=0.0))
    slots.step(delay.positions(steps, network.shape.codebooks) - 1)
    return slots.codes()[0][0]


def reference_codes(model: Any, ids: Sequence[int], steps: int) -> tuple[np.ndarray, float]:
    """Return what transformers' `generate` hands to the codec, greedy, and the seconds that it took."""
    seen: list[np.ndarray] = []
    decode = model.audio_encoder.decode

    def spy(codes: torch.Tensor, *more: Any, **options: Any) -> Any:
        seen.append(codes.reshape(-1, codes.shape[-1]).cpu().numpy())
        return decode(codes, *more, **options)

    model.audio_encoder.decode = spy
    given = torch.tensor([list(ids)], device=model.device)

    def call() -> None:
        model.generate(
            input_ids=given, attention_mask=torch.ones_like(given), do_sample=False, guidance_scale=3.0,
            max_new_tokens=steps + 3,
        )  # fmt: skip

    call()
    took = seconds(call)
    model.audio_encoder.decode = decode
    return seen[-1], took


def drawn_on_device(model: str, device: str, dtype: torch.dtype) -> Network:
    """Make a network of random weights without a file: what is measured does not depend on them."""
    with tempfile.TemporaryDirectory() as folder:
        files = configs.files(model)
        for name, content in files.items():
            Path(folder, name).write_text(json.dumps(content))
        generator = torch.Generator(device).manual_seed(0)

        def read(_: Path, prefixes: Sequence[str]) -> dict[str, torch.Tensor]:
            return {
                name: (
                    torch.randn(tensor.shape, generator=generator, device=device) * tensor.deviation
                    + tensor.mean
                ).to(dtype)
                for name, tensor in layout(files["config.json"]).items()
                if name.startswith(tuple(prefixes))
            }

        with mock.patch.object(language, "read", read):
            return Network(Path(folder), device, dtype)


def clip(folder: Path, profile: str) -> tuple[float, float]:
    """Return the seconds from a message to the file of 30 s of music, and of its steps alone.

    As in the worker: the source is decoded, the piece made, decoded, judged, mastered and encoded. The
    profile is loaded and has made one piece before.
    """
    os.environ |= {"RUNTIME": "torch", "CHECKPOINTS": str(folder.parent)}
    loaded = loading.load(profile)
    source = folder / "source.wav"
    at = np.arange(30 * 32000) / 32000
    tone = 0.3 * np.sin(2 * np.pi * 220 * at) * np.exp(-4 * (at % 0.5))
    source.write_bytes(encode(np.stack([tone]).astype(np.float32), 32000, "wav", {}))
    analysis = analyse(source, loaded.embedder)
    speeds = []

    def make() -> None:
        parameters = interfaces.Parameters(seed=3, duration=30.0, prompt=PROMPT)
        made = generate(source, loaded, parameters, analysis.vector, analysis.features, lambda done: None)
        details = made.report["details"]
        speeds.append(details["steps"] / details["steps_per_second"])

    make()
    return seconds(make, 3), statistics.median(speeds[1:])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="small", help="a profile")
    parser.add_argument("--large", default="musicgen-large", help="a model of `weights.configs`")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=REPORT)
    parser.add_argument("--folder", type=Path, default=Path("build/bench-gpu"))
    options = parser.parse_args()
    device = Device()
    report = Report(options.out, device)
    began = time.perf_counter()
    folder = options.folder / options.model
    if not (folder / "clap" / "config.json").exists():
        synthetic.write(options.model, folder)
    report.note("seconds to write the checkpoint", round(time.perf_counter() - began, 1))
    where = folder / "musicgen"
    ids = checkpoint.tokenizer(where).encode(PROMPT).ids
    few = min(GREEDY, options.steps)
    with torch.inference_mode():
        theirs = published.load(where, device.name)
        text = published.T5(theirs).encode(ids)
        codes, took = reference_codes(theirs, ids, few)
        float32 = Network(where, device.name, torch.float32)
        found = greedy(float32, few, text)
        report.judge(next(iter(BARS)), int((found != codes).any(axis=0).sum()))
        slow = (few + 3) / took
        report.note("steps a second: transformers `generate`, float32", round(slow, 1))
        theirs = theirs.to(torch.bfloat16)
        _, took = reference_codes(theirs, ids, few)
        report.note("steps a second: transformers `generate`, bfloat16", round((few + 3) / took, 1))
        del theirs
        half = Network(where, device.name, torch.bfloat16)
        logits = []
        for network in (float32, half):  # both are given the codes of the one
            slots = Slots(network, 1, few, 304)
            position = few // 2
            given = np.where(np.arange(few) < position - 1, found, delay.UNKNOWN).astype(np.int16)
            numbers = np.zeros((1, network.shape.codebooks))
            slots.join(given, position, (Condition(text), Condition(None)), Sampling(), numbers)
            logits.append(slots.logits().float().cpu().numpy())
        error = float(np.sqrt(np.mean((logits[1] - logits[0]) ** 2) / np.mean(logits[0] ** 2)))
        report.judge("bfloat16: relative RMS error of logits", error)
        alone = filled(float32, 1, few, text, Sampling(temperature=0.0))
        shared = filled(float32, 8, few, text, Sampling(temperature=0.0))
        for slots in (alone, shared):
            slots.step(few // 2)
        apart = (shared.logits()[:2] - alone.logits()).abs().max()
        report.judge("float32: largest difference of a row's logits with 7 others beside it", float(apart))
        del alone, shared, float32, slots
        network = half if device.name == "cuda" else Network(where, device.name, torch.float32)
        speeds: dict[int, float] = {}
        for streams in (1, 4, 8, 32):
            speeds[streams] = run(network, streams, options.steps, text)
            together = streams * speeds[streams] / FRAME_RATE
            report.note(
                f"steps a second: ours, {streams} streams, {device.precision}", round(speeds[streams], 1)
            )
            report.note(f"times real time, {streams} streams together", round(together, 1))
        report.judge("one stream against transformers' float32 `generate`", speeds[1] / slow)
        report.judge("32 streams together against one", 32 * speeds[32] / speeds[1])
        del network, half
        report.note(
            "MB of the device at most",
            torch.cuda.max_memory_allocated() // 10**6 if device.name == "cuda" else 0,
        )
        big = drawn_on_device(options.large, device.name, device.dtype)
        report.judge(
            "the large model, times real time",
            run(big, 1, min(500, options.steps), text[:, : big.text_width]) / FRAME_RATE,
        )
        del big
    whole, steps = clip(folder, options.model)
    report.note("seconds of the clip's steps alone", round(steps, 2))
    report.judge("30 s clip from message to file, seconds", whole)
    report.note("seconds in all", round(time.perf_counter() - began))
    return int(report.missed)


if __name__ == "__main__":
    sys.exit(main())
