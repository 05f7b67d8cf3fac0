"""The demo's own track: a short piece in D minor at 100 BPM, composed and synthesised right here.

    python -m client.sample [PATH]      writes client/sample.mp3 again (a few seconds)

Twelve bars and a last chord: an introduction of two bars (arpeggio and pad), a theme of four (electric piano,
bass, drums, lead), a lift of four to the relative major, two bars of close, and the tonic left to ring. It is
tonal, metrical and sectional on purpose, so that tempo, key and structure are there to be found.

Everything is additive or frequency-modulation synthesis, and filtered noise from one seeded generator: the
same samples on every run. The recording is part of this repository and under its licence (MIT).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from scipy import signal

PATH = Path(__file__).with_name("sample.mp3")
TITLE = "Twelve Bars for a Test"
TEMPO = 100.0
RATE = 44100
BARS, BEATS_PER_BAR = 12, 4
BEAT = 60.0 / TEMPO
DURATION = BARS * BEATS_PER_BAR * BEAT + 3.2  # seconds; the last chord rings for 3.2
BIT_RATE = 112_000

_NAMES = {
    "C": 0,
    "C#": 1,
    "D": 2,
    "Eb": 3,
    "E": 4,
    "F": 5,
    "F#": 6,
    "G": 7,
    "Ab": 8,
    "A": 9,
    "Bb": 10,
    "B": 11,
}

# One chord a bar: its bass note, then the voicing that pad and electric piano share, low to high.
_DM9 = ("D2", "F3 A3 C4 E4")
_BB = ("Bb1", "F3 A3 Bb3 D4")
_GM7 = ("G1", "F3 G3 Bb3 D4")
_A7SUS = ("A1", "E3 G3 A3 D4")
_A7 = ("A1", "E3 G3 A3 C#4")
_A7_CS = ("C#2", "E3 G3 A3 E4")
_F = ("F2", "F3 A3 C4 F4")
_C_E = ("E2", "E3 G3 C4 E4")
_DM = ("D2", "D3 A3 D4 F4")
CHORDS = [_DM, _BB, _DM9, _BB, _GM7, _A7, _F, _C_E, _DM, _A7_CS, _GM7, _A7SUS]
INTRODUCTION, THEME, LIFT, CLOSE = range(2), range(2, 6), range(6, 10), range(10, 12)

# The lead, bar by bar: (note, length in beats); a dash is a rest.
MELODY: dict[int, list[tuple[str, float]]] = {
    1: [("-", 3), ("A4", 0.5), ("C5", 0.5)],
    2: [("A4", 1.5), ("D5", 0.5), ("F5", 1), ("E5", 0.5), ("D5", 0.5)],
    3: [("Bb4", 1.5), ("D5", 0.5), ("F5", 1), ("E5", 0.5), ("D5", 0.5)],
    4: [("Bb4", 1), ("D5", 0.5), ("G5", 1.5), ("F5", 0.5), ("D5", 0.5)],
    5: [("E5", 1.5), ("D5", 0.5), ("C#5", 1), ("E5", 0.5), ("G5", 0.5)],
    6: [("A5", 1.5), ("G5", 0.5), ("F5", 1), ("C5", 1)],
    7: [("G5", 1.5), ("F5", 0.5), ("E5", 1), ("C5", 0.5), ("E5", 0.5)],
    8: [("F5", 1.5), ("E5", 0.5), ("D5", 1), ("A5", 1)],
    9: [("Bb5", 1), ("A5", 0.5), ("G5", 1), ("E5", 0.5), ("C#5", 1)],
    10: [("D5", 2), ("Bb4", 1), ("G4", 1)],
    11: [("A4", 3), ("C#5", 1)],
    12: [("D5", 4)],
}


def frequency(note: str, octaves: int = 0) -> float:
    """Frequency in Hz of a note such as ``"Bb3"``, equal temperament, A4 = 440 Hz."""
    midi = 12 * (int(note[-1]) + 1 + octaves) + _NAMES[note[:-1]]
    return float(440.0 * 2.0 ** ((midi - 69) / 12))


@dataclass
class Mix:
    """A stereo bus with one send: ``dry`` is heard as it is, ``wet`` goes through the room. Both (2, n)."""

    dry: np.ndarray = field(default_factory=lambda: np.zeros((2, round(DURATION * RATE))))
    wet: np.ndarray = field(default_factory=lambda: np.zeros((2, round(DURATION * RATE))))

    def add(self, sound: np.ndarray, beat: float, gain: float, pan: float = 0.0, room: float = 0.2) -> None:
        """Place a mono (n,) or stereo (2, n) sound at a beat; ``pan`` -1 (left) to 1 (right), equal power."""
        start = round(beat * BEAT * RATE)
        angle = (pan + 1) * np.pi / 4
        stereo = (
            sound if sound.ndim == 2 else np.stack([np.cos(angle) * sound, np.sin(angle) * sound]) * 2**0.5
        )
        n = min(stereo.shape[1], self.dry.shape[1] - start)
        self.dry[:, start : start + n] += gain * stereo[:, :n]
        self.wet[:, start : start + n] += gain * room * stereo[:, :n]


def _time(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * RATE)) / RATE


def _envelope(seconds: float, attack: float, release: float, decay: float = np.inf) -> np.ndarray:
    """Raised-cosine attack and release around an exponential decay; no step at either end."""
    t = _time(seconds)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip(t / attack, 0, 1))
    fall = 0.5 - 0.5 * np.cos(np.pi * np.clip((seconds - t) / release, 0, 1))
    return rise * fall * np.exp(-t / decay)


def _saw(hertz: float, t: np.ndarray, brightness: float, phase: float = 0.0) -> np.ndarray:
    """Band-limited sawtooth as a sum of sines, rolled off smoothly around ``brightness`` Hz."""
    count = int(min(5 * brightness, 0.45 * RATE) / hertz)
    step = np.exp(1j * (2 * np.pi * hertz * t + phase))
    partial, out = np.ones_like(step), np.zeros_like(t)
    for k in range(1, count + 1):
        partial *= step
        out += partial.imag / (1 + (k * hertz / brightness) ** 2) / k
    return out


def pad(notes: str, seconds: float, brightness: float) -> np.ndarray:
    """Slow detuned strings, (2, n): each note three times, spread over the stereo field."""
    t = _time(seconds)
    out = np.zeros((2, t.size))
    for i, note in enumerate(notes.split()):
        for cents, left in ((-7, 0.85), (0, 0.5), (6, 0.15)):
            voice = _saw(frequency(note) * 2 ** (cents / 1200), t, brightness, phase=1.7 * i + cents)
            out += np.stack([left * voice, (1 - left) * voice])
    out = signal.sosfilt(
        signal.butter(1, 350, "highpass", fs=RATE, output="sos"), out, axis=1
    )  # room for the bass
    return out * _envelope(seconds, 0.35, 0.6)


def electric_piano(note: str, seconds: float, velocity: float) -> np.ndarray:
    """Two-operator FM with a bright, short-lived tine: harder is brighter."""
    t, hertz = _time(seconds + 0.25), frequency(note)
    body = np.sin(2 * np.pi * hertz * t + 1.5 * velocity * np.exp(-t / 0.35) * np.sin(2 * np.pi * hertz * t))
    tine = np.sin(2 * np.pi * hertz * t + 0.8 * np.exp(-t / 0.06) * np.sin(2 * np.pi * 14 * hertz * t))
    return (0.8 * body + 0.2 * tine) * velocity * _envelope(seconds + 0.25, 0.004, 0.25, 0.9)


def bass(note: str, seconds: float, octaves: int = 0) -> np.ndarray:
    """A plucked sawtooth over a sine: the pluck closes, the sine carries."""
    t, hertz = _time(seconds), frequency(note, octaves)
    pluck = _saw(hertz, t, 900) * np.exp(-t / 0.11) + 0.5 * _saw(hertz, t, 260)
    return (0.5 * pluck + 0.8 * np.sin(2 * np.pi * hertz * t)) * _envelope(seconds, 0.004, 0.05, 1.2)


def lead(note: str, seconds: float) -> np.ndarray:
    """A reed-like tone with odd harmonics and a vibrato that arrives late."""
    t, hertz = _time(seconds + 0.12), frequency(note)
    vibrato = 0.006 * hertz * np.clip((t - 0.25) / 0.4, 0, 1) * np.sin(2 * np.pi * 5.3 * t)
    phase = 2 * np.pi * np.cumsum(hertz + vibrato) / RATE
    tone = sum(w * np.sin(k * phase) for k, w in ((1, 1.0), (2, 0.22), (3, 0.33), (5, 0.12), (7, 0.04)))
    return tone * _envelope(seconds + 0.12, 0.025, 0.14, 2.5)


def pluck(note: str, velocity: float) -> np.ndarray:
    """A bell-like string: inharmonic partials, the high ones dying first."""
    t, hertz = _time(0.9), frequency(note, 1)
    out = np.zeros_like(t)
    for k in range(1, 9):
        partial = k * hertz * (1 + 0.0004 * k * k) ** 0.5
        out += (
            velocity ** (1 + 0.3 * k)
            / k**1.2
            * np.exp(-t * (3.2 + 1.9 * k))
            * np.sin(2 * np.pi * partial * t)
        )
    return out * _envelope(0.9, 0.002, 0.1)


def kick() -> np.ndarray:
    """A sine falling from 160 Hz to 48 Hz, with a click."""
    t = _time(0.38)
    phase = 2 * np.pi * np.cumsum(48 + 112 * np.exp(-t / 0.028)) / RATE
    return np.sin(phase) * _envelope(0.38, 0.0015, 0.05, 0.16) + 0.25 * np.sin(14 * phase) * np.exp(
        -t / 0.006
    )


def snare(noise: np.random.Generator, velocity: float = 1.0) -> np.ndarray:
    """Two drum-head modes under band-passed noise."""
    t = _time(0.3)
    hiss = _band(noise.standard_normal(t.size), 1400, 9500)
    head = np.sin(2 * np.pi * 186 * t) * np.exp(-t / 0.07) + 0.6 * np.sin(2 * np.pi * 331 * t) * np.exp(
        -t / 0.04
    )
    return velocity * (0.9 * hiss * np.exp(-t / 0.085) + 0.7 * head) * _envelope(0.3, 0.001, 0.05)


def hat(noise: np.random.Generator, opened: bool) -> np.ndarray:
    """High-passed noise, short when closed."""
    seconds = 0.34 if opened else 0.11
    t = _time(seconds)
    return _band(noise.standard_normal(t.size), 6500, 15000) * _envelope(seconds, 0.001, 0.03, seconds / 4)


def cymbal(noise: np.random.Generator) -> np.ndarray:
    """A crash that opens a section, (2, n): the two sides are different noise."""
    seconds = 2.6
    sides = np.stack([_band(noise.standard_normal(round(seconds * RATE)), 3000, 14000) for _ in range(2)])
    return sides * _envelope(seconds, 0.002, 0.5, 0.55)


def tom(hertz: float) -> np.ndarray:
    """A falling sine for the fills."""
    t = _time(0.45)
    return np.sin(2 * np.pi * np.cumsum(hertz * (1 + 0.6 * np.exp(-t / 0.03))) / RATE) * _envelope(
        0.45, 0.002, 0.1, 0.17
    )


def _band(x: np.ndarray, low: float, high: float) -> np.ndarray:
    sos = signal.butter(2, [low, high], "bandpass", fs=RATE, output="sos")
    return np.asarray(signal.sosfilt(sos, x))


def _room(wet: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Reverberation (2, n): convolution with decaying noise, its highs decaying faster than its lows."""
    t = _time(2.2)
    impulse = np.zeros((2, t.size))
    for low, high, decay in ((180, 700, 0.55), (700, 2800, 0.42), (2800, 9000, 0.22)):
        for side in range(2):
            impulse[side] += _band(noise.standard_normal(t.size), low, high) * np.exp(-t / decay)
    impulse *= np.clip(t / 0.018, 0, 1)  # no early wall: the dry sound comes first
    impulse /= np.sqrt(np.sum(impulse**2, axis=1, keepdims=True))
    return np.asarray(signal.fftconvolve(wet, impulse, axes=1))[:, : wet.shape[1]]


def _echo(mono: np.ndarray, beats: float, feedback: float, repeats: int = 4) -> np.ndarray:
    """Ping-pong delay (2, n) of a mono part: left, right, left, ..."""
    step = round(beats * BEAT * RATE)
    out = np.zeros((2, mono.size))
    for k in range(1, repeats + 1):
        out[k % 2, k * step :] += feedback**k * mono[: mono.size - k * step]
    return out


def _harmony(mix: Mix) -> None:
    sustained = Mix()
    for bar, (_, voicing) in enumerate(CHORDS):
        bright = 1500 if bar in LIFT else 700 + 150 * min(bar, 3)
        sustained.add(pad(voicing, 4 * BEAT + 0.5, bright), 4 * bar, 0.03, room=0.35)
    sustained.add(pad("D3 A3 D4 F4 A4", 4.4, 800) * np.exp(-_time(4.4) / 2.2), 4 * BARS, 0.03, room=0.4)
    # The kick pushes the pad down for a moment: the pulse breathes.
    for beat in _kicks():
        start = round(beat * BEAT * RATE)
        dip = 1 - 0.45 * np.exp(-_time(0.4) / 0.12)
        sustained.dry[:, start : start + dip.size] *= dip
    mix.dry += sustained.dry
    mix.wet += sustained.wet
    for bar in (*THEME, *LIFT, *CLOSE):
        stabs = [(0, 1.3, 0.85), (1.5, 0.9, 0.6), (2.75, 1.0, 0.7)] if bar not in CLOSE else [(0, 3.6, 0.7)]
        for at, beats, velocity in stabs:
            for i, note in enumerate(CHORDS[bar][1].split()):
                sound = electric_piano(note, beats * BEAT, velocity)
                mix.add(sound, 4 * bar + at + 0.012 * i, 0.07, pan=-0.35 + 0.16 * i, room=0.22)
    for i, note in enumerate(["D3", "A3", "D4", "F4", "A4", "E5"]):
        mix.add(electric_piano(note, 3.0, 0.75), 4 * BARS + 0.05 * i, 0.07, pan=-0.4 + 0.16 * i, room=0.5)


def _bass_line(mix: Mix) -> None:
    for bar in (*THEME, *LIFT):
        root = CHORDS[bar][0]
        driving = [(0, 0.7, 0), (0.75, 0.25, 0), (1.5, 0.5, 1), (2, 0.7, 0), (2.75, 0.25, 0), (3.5, 0.5, 1)]
        calm = [(0, 1.4, 0), (1.5, 0.9, 0), (2.5, 0.5, 1), (3, 0.9, 0)]
        for at, beats, octave in driving if bar in LIFT else calm:
            mix.add(bass(root, beats * BEAT, octave), 4 * bar + at, 0.14, room=0.02)
    for bar in CLOSE:
        mix.add(bass(CHORDS[bar][0], 3.8 * BEAT), 4 * bar, 0.12, room=0.02)
    mix.add(bass("D2", 3.0), 4 * BARS, 0.12, room=0.05)


def _melody_line(mix: Mix) -> None:
    line = Mix()
    for bar, notes in MELODY.items():
        at = 4.0 * bar
        for note, beats in notes:
            if note != "-":
                line.add(lead(note, beats * BEAT * 0.94), at, 0.12 if bar in LIFT else 0.1, room=0.28)
            at += beats
    line.dry += 0.6 * _echo(line.dry[0], 0.75, 0.42)
    mix.dry += line.dry
    mix.wet += line.wet


def _arpeggio(mix: Mix, noise: np.random.Generator) -> None:
    line = Mix()
    for bar, (_, voicing) in enumerate(CHORDS):
        notes = voicing.split()
        order = (0, 1, 2, 3, 2, 1, 3, 2) if bar % 2 == 0 else (0, 2, 1, 3, 0, 2, 3, 1)
        for step in range(16):
            if bar in CLOSE and step % 2:
                continue
            swing = 0.02 if step % 2 else 0.0
            accent = 0.95 if step % 4 == 0 else 0.7 + 0.12 * noise.random()
            loud = {0: 0.13, 1: 0.14}.get(bar, 0.11)
            note = notes[order[step % 8]]
            line.add(pluck(note, accent), 4 * bar + step / 4 + swing, loud, pan=0.0, room=0.4)
    mix.dry += line.dry * np.array([[0.6], [1.0]]) + 0.9 * _echo(line.dry[0], 0.75, 0.5)
    mix.wet += line.wet


def _kicks() -> list[float]:
    theme = [4 * bar + at for bar in THEME for at in (0.0, 2.0, 2.75)]
    lift = [4 * bar + at for bar in LIFT for at in (0.0, 1.0, 2.0, 3.0)]
    return [*theme, *lift, 4.0 * CLOSE[0], 4.0 * BARS]


def _drums(mix: Mix, noise: np.random.Generator) -> None:
    for beat in _kicks():
        mix.add(kick(), beat, 0.5, room=0.03)
    for bar in (*THEME, *LIFT):
        for at in (1.0, 3.0):
            mix.add(snare(noise), 4 * bar + at, 0.24, pan=0.05, room=0.3)
        if bar in LIFT:
            mix.add(snare(noise, 0.35), 4 * bar + 2.25, 0.17, pan=0.05, room=0.3)
    for bar in (INTRODUCTION[1], *THEME, *LIFT):
        for step in range(8 if bar not in LIFT else 16):
            at = step / 2 if bar not in LIFT else step / 4 + (0.02 if step % 2 else 0.0)
            opened = bar in LIFT and step % 4 == 2
            strength = (0.11 if at % 1 else 0.075) * (0.8 + 0.4 * noise.random())
            mix.add(hat(noise, opened), 4 * bar + at, strength, pan=0.3, room=0.1)
    for last in (THEME[-1], LIFT[-1]):
        for i, hertz in enumerate((190, 160, 128, 100)):
            mix.add(tom(hertz), 4 * last + 3 + i / 4, 0.24, pan=0.45 - 0.3 * i, room=0.25)
    for first in (THEME[0], LIFT[0], CLOSE[0]):
        mix.add(cymbal(noise), 4 * first, 0.085, room=0.3)


def render() -> np.ndarray:
    """Play the piece.

    Returns
    -------
    np.ndarray [shape=(2, n)]
        Float32 at 44.1 kHz, peak 0.8 (-1.9 dBFS; the mp3 overshoots a little), `DURATION` seconds.
    """
    noise = np.random.default_rng(100)
    mix = Mix()
    _harmony(mix)
    _bass_line(mix)
    _melody_line(mix)
    _arpeggio(mix, noise)
    _drums(mix, noise)
    out = mix.dry + 0.8 * _room(mix.wet, noise)
    out = signal.sosfilt(signal.butter(2, 28, "highpass", fs=RATE, output="sos"), out, axis=1)
    out = np.tanh(1.3 * out / np.abs(out).max())  # a little glue on the loudest peaks
    fade = np.clip((DURATION - _time(DURATION)) / 1.6, 0, 1) ** 1.5
    return (0.8 * out * fade / np.abs(out).max()).astype(np.float32)


def write(path: Path) -> None:
    """Render the piece into an mp3 file (112 kbit/s, joint stereo)."""
    audio = np.ascontiguousarray(render())
    with av.open(str(path), "w", format="mp3", options={"fflags": "+bitexact"}) as container:
        container.metadata.update(
            title=TITLE, genre="Electronic", copyright="MIT licence", TBPM=f"{TEMPO:.0f}"
        )
        stream = container.add_stream("libmp3lame", rate=RATE, layout="stereo", format="fltp")
        stream.bit_rate = BIT_RATE
        frame = av.AudioFrame.from_ndarray(audio, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        resampler = av.AudioResampler(
            "fltp", "stereo", RATE, frame_size=stream.codec_context.frame_size or 1152
        )
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PATH
    write(target)
    print(f"wrote {target} ({target.stat().st_size} bytes, {DURATION:.1f} s)")
