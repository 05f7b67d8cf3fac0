"""EnCodec (Défossez et al. 2022, arXiv:2210.13438): audio to codes and back, without torch.

The 32 kHz codec that MusicGen writes codes for: not causal, weight normed, one channel. An encoder turns 640
samples into a frame of 128 numbers, for which four codes stand, each the nearest entry of its codebook to
what the codes before it left over; a decoder mirrors the encoder.

Both are a chain of streaming layers. A layer keeps what the next outputs need of its input and computes a
block at a time, so that memory does not grow with the length of the audio; and as a row of `ops.linear` does
not depend on the rows beside it, the audio does not depend on how the codes were cut, not in a bit.

Signals are [sequences][time][channels]: a convolution is a linear layer over overlapping windows of them. The
sequences are the channels of stereo, which MusicGen codes apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from music.engine import ops
from music.engine.packing import Tensors, Weight, WeightsError

_BLOCK = 1 << 18
"""How many numbers a layer computes at a time: 1 MiB stays in a cache near the core."""
_FRAMES = 192
"""How many frames the LSTM takes at a time: the matrices of its input are read once for all of them."""
TOGETHER = 16
"""How many samples the last convolution computes at once: one alone would use one of a vector's 16 lanes."""


class LayerShape(NamedTuple):
    """A layer: its kind, its name in the checkpoint, the channels that it reads, the extent of its kernel."""

    kind: str
    name: str
    channels: int = 0
    kernel: int = 1
    stride: int = 1


def encoder_layers(codec: dict[str, Any]) -> list[LayerShape]:
    """List the encoder's layers; the numbers in their names count the ELUs between them, too."""
    size, at = codec["filters"], 1
    shapes = [LayerShape("conv", "encoder.layers.0", 1, codec["kernel"])]
    for ratio in reversed(codec["ratios"]):
        shapes.append(LayerShape("residual", f"encoder.layers.{at}", size, codec["residual_kernel"]))
        shapes.append(LayerShape("conv", f"encoder.layers.{at + 2}", size, 2 * ratio, ratio))
        size, at = 2 * size, at + 3
    shapes.append(LayerShape("lstm", f"encoder.layers.{at}", size))
    shapes.append(LayerShape("conv", f"encoder.layers.{at + 2}", size, codec["last_kernel"]))
    return shapes


def decoder_layers(codec: dict[str, Any]) -> list[LayerShape]:
    """List the decoder's layers."""
    size, at = codec["filters"] * 2 ** len(codec["ratios"]), 3
    shapes = [LayerShape("conv", "decoder.layers.0", codec["hidden"], codec["kernel"])]
    shapes.append(LayerShape("lstm", "decoder.layers.1", size))
    for ratio in codec["ratios"]:
        shapes.append(LayerShape("transposed", f"decoder.layers.{at}", size, 2 * ratio, ratio))
        shapes.append(LayerShape("residual", f"decoder.layers.{at + 1}", size // 2, codec["residual_kernel"]))
        size, at = size // 2, at + 3
    shapes.append(LayerShape("last", f"decoder.layers.{at}", size, codec["last_kernel"]))
    return shapes


def codebook_names(codec: dict[str, Any]) -> list[str]:
    return [f"quantizer.layers.{index}.codebook" for index in range(codec["codebooks"])]


# ---- Streaming layers --------------------------------------------------------------------------------------


class _Signal:
    """The stretch of a signal that its reader still needs: [sequences][time][channels], oldest first."""

    def __init__(self, sequences: int, channels: int) -> None:
        self._samples = np.empty((sequences, 0, channels), np.float32)
        self._start = self._stop = 0
        self.total = 0
        """How many samples there were so far, the forgotten ones too."""

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def samples(self) -> np.ndarray:
        return self._samples[:, self._start : self._stop]

    def extend(self, count: int) -> np.ndarray:
        """Make room for new samples, which the caller must fill in."""
        if self._stop + count > self._samples.shape[1]:
            kept, old = len(self), self.samples
            if 2 * (kept + count) > self._samples.shape[1]:
                shape = (len(old), 2 * (kept + count), old.shape[2])
                self._samples = np.empty(shape, np.float32)
            self._samples[:, :kept] = old
            self._start, self._stop = 0, kept
        self._stop += count
        self.total += count
        return self._samples[:, self._stop - count : self._stop]

    def drop(self, count: int) -> None:
        """Forget the oldest samples."""
        self._start += count

    def cut(self, count: int) -> None:
        """Take the newest samples back."""
        self._stop -= count
        self.total -= count

    def pad(self, before: np.ndarray | None = None, after: np.ndarray | None = None) -> None:
        """Put samples that are no part of the signal around it."""
        total, middle = self.total, self.samples.copy()
        parts = [part for part in (before, middle, after) if part is not None]
        self.drop(len(self))
        np.concatenate(parts, axis=1, out=self.extend(sum(part.shape[1] for part in parts)))
        self.total = total


class _Layer:
    """A layer of a chain: it reads `input` and writes into the input of the next one."""

    input: _Signal

    def step(self, sink: _Signal, last: bool) -> bool:
        """Compute a block of outputs.

        Parameters
        ----------
        sink : _Signal
            The signal that they are appended to.
        last : bool
            Whether `input` has come to its end.

        Returns
        -------
        bool
            Whether there is more to compute.
        """
        raise NotImplementedError


class _Convolution(_Layer):
    """A convolution with one output for each `stride` inputs: the ends are padded by reflection.

    Parameters
    ----------
    input : _Signal
    weight : Weight [shape=(together * outputs, (kernel + (together - 1) * stride) * channels)]
    bias : np.ndarray [shape=(together * outputs,)]
    kernel, stride : int
    activation : str, optional
    together : int
        How many neighbouring outputs one product gives.
    """

    def __init__(
        self,
        input: _Signal,
        weight: Weight,
        bias: np.ndarray,
        kernel: int,
        stride: int = 1,
        activation: str | None = None,
        together: int = 1,
    ) -> None:
        self.input = input
        self._weight, self._bias, self._activation = weight, bias, activation
        self._stride, self._together = stride, together
        self._left, self._right = (kernel - stride + 1) // 2, (kernel - stride) // 2
        self._at = 0  # of the next window in what is kept of the input
        self._begun = self._ended = False

    def step(self, sink: _Signal, last: bool) -> bool:
        signal = self.input
        if not signal.total or (len(signal) <= self._left and not last):
            return False
        if not self._begun or (last and not self._ended):
            self._pad(last)
        channels, hop = signal.samples.shape[2], self._together * self._stride
        span = self._weight.inputs // channels
        ready = max((len(signal) - self._at - span) // hop + 1, 0)
        count = min(ready, max(_BLOCK // self._weight.outputs, 1))
        if count:
            out = sink.extend(count * self._together)
            for samples, results in zip(signal.samples, out, strict=True):
                linear = _windows(samples[self._at :], count, span, hop), self._weight
                ops.linear(
                    *linear, bias=self._bias, activation=self._activation, out=results.reshape(count, -1)
                )
            self._at += count * hop
            # What the padding of the end may mirror stays.
            spent = max(min(self._at, len(signal) - self._right - self._stride), 0)
            signal.drop(spent)
            self._at -= spent
        if last and count == ready:
            sink.cut(-self._outputs % self._together)
        return count < ready

    def _pad(self, last: bool) -> None:
        """Reflect the signal at its begin, and at its end if that is here."""
        signal, right = self.input, self._right
        zeros = 0
        if last:
            # An incomplete last window is completed; a signal shorter than its padding is followed by zeros.
            right += -signal.total % self._stride
            zeros = max(max(self._left, right) + 1 - signal.total, 0)
        longer = _followed(signal.samples, zeros)
        before = longer[:, 1 : self._left + 1][:, ::-1] if not self._begun else None
        self._begun = True
        if not last:
            signal.pad(before)
            return
        end = longer.shape[1] - 1
        after = np.concatenate([longer[:, end + 1 - zeros :], longer[:, end - right : end][:, ::-1]], axis=1)
        self._outputs = -(-signal.total // self._stride)
        unused = -self._outputs % self._together * self._stride
        signal.pad(before, _followed(after[:, :right], unused))
        self._ended = True


class _Transposed(_Layer):
    """A transposed convolution of kernel 2 * stride, trimmed to `stride` outputs for each input.

    Parameters
    ----------
    input : _Signal
    weight : Weight [shape=(stride * outputs, 2 * channels)]
    bias : np.ndarray [shape=(stride * outputs,)]
    stride : int
    """

    def __init__(self, input: _Signal, weight: Weight, bias: np.ndarray, stride: int) -> None:
        self.input = input
        self._weight, self._bias, self._stride = weight, bias, stride
        self._trim = (stride + 1) // 2  # of the first outputs
        self._ended = False
        input.pad(np.zeros_like(input.extend(1)))
        input.cut(1)

    def step(self, sink: _Signal, last: bool) -> bool:
        signal = self.input
        if not signal.total:
            return False
        if last and not self._ended:
            signal.pad(after=np.zeros_like(signal.samples[:, :1]))
            self._ended = True
        ready = len(signal) - 1
        count = min(ready, max(_BLOCK // self._weight.outputs, 1))
        if count:
            out = sink.extend(count * self._stride)
            for samples, results in zip(signal.samples, out, strict=True):
                windows = _windows(samples, count, 2, 1)
                ops.linear(windows, self._weight, bias=self._bias, out=results.reshape(count, -1))
            signal.drop(count)
            if self._trim:
                out[:, : -self._trim] = out[:, self._trim :].copy()
                sink.cut(self._trim)
                self._trim = 0
        if last and count == ready:
            sink.cut(self._stride // 2)
        return count < ready


class _Residual(_Layer):
    """``elu(x + narrow(elu(wide(elu(x)))))`` with two convolutions; all that follows wants the outer elu.

    Parameters
    ----------
    input : _Signal
    wide, narrow : (Weight, np.ndarray)
        The weights and biases of the convolution over `kernel` samples, and of that over one.
    kernel : int
    """

    def __init__(
        self, input: _Signal, wide: tuple[Weight, np.ndarray], narrow: tuple[Weight, np.ndarray], kernel: int
    ) -> None:
        self.input = input
        sequences, _, channels = input.samples.shape
        self._wide = _Convolution(_Signal(sequences, channels), *wide, kernel, activation="elu")
        self._hidden = _Signal(sequences, wide[0].outputs)
        self._weight, self._bias = narrow

    def step(self, sink: _Signal, last: bool) -> bool:
        signal, active = self.input, self._wide.input
        fresh = signal.total - active.total
        if fresh:
            news = signal.samples[:, len(signal) - fresh :]
            for samples, results in zip(news, active.extend(fresh), strict=True):
                ops.unary(samples, "elu", out=results)
        more = self._wide.step(self._hidden, last)
        count = len(self._hidden)
        if not count:
            return more
        out = sink.extend(count)
        for hidden, samples, results in zip(self._hidden.samples, signal.samples, out, strict=True):
            ops.linear(
                hidden,
                self._weight,
                bias=self._bias,
                residual=samples[:count],
                activation="elu",
                activate_sum=True,
                out=results,
            )
        self._hidden.drop(count)
        signal.drop(count)
        return more


class _Lstm(_Layer):
    """``elu(x + lstm(x))``.

    Parameters
    ----------
    input : _Signal
    layers : sequence of (Weight, Weight, np.ndarray)
        The weights of the input, those of the state, and biases, as `ops.lstm` wants them.
    """

    def __init__(self, input: _Signal, layers: Sequence[tuple[Weight, Weight, np.ndarray]]) -> None:
        self.input = input
        self._layers = layers
        sequences, _, units = input.samples.shape
        self._states = np.zeros((len(layers), 2, sequences, units), np.float32)

    def step(self, sink: _Signal, last: bool) -> bool:
        signal = self.input
        count = min(len(signal), _FRAMES)
        if not count:
            return False
        # Steps first: all sequences take a step at once, and the recurrent matrices are read once for them.
        x = np.ascontiguousarray(signal.samples[:, :count].swapaxes(0, 1))  # (steps, sequences, units)
        y = x
        for (weight, recurrent, bias), (hidden, cell) in zip(self._layers, self._states, strict=True):
            gates = ops.linear(y.reshape(-1, y.shape[2]), weight, bias=bias)  # (steps * sequences, 4 * units)
            y = ops.lstm(
                gates.reshape(*y.shape[:2], -1), recurrent, hidden, cell
            )  # (steps, sequences, units)
        sink.extend(count)[:] = ops.unary(x + y, "elu").swapaxes(0, 1)
        signal.drop(count)
        return len(signal) > 0


def _windows(samples: np.ndarray, count: int, span: int, hop: int) -> np.ndarray:
    """View overlapping stretches of a signal [time][channels] as rows."""
    channels = samples.shape[1]
    return as_strided(samples, (count, span * channels), (4 * hop * channels, 4))


def _followed(samples: np.ndarray, zeros: int) -> np.ndarray:
    """Put zeros behind a signal."""
    return np.pad(samples, ((0, 0), (0, zeros), (0, 0)))


def _flow(layers: Sequence[_Layer], end: _Signal, last: bool) -> None:
    """Compute what can be computed, block by block, each carried through to the end before the next one."""
    if not layers:
        return
    first, *rest = layers
    sink = rest[0].input if rest else end
    more = True
    while more:
        more = first.step(sink, last)
        _flow(rest, end, last and not more)


# ---- Codec -------------------------------------------------------------------------------------------------


class Encodec:
    """The codec: weights, shared by as many encoders and decoders as run.

    Parameters
    ----------
    tensors : Tensors
        Those of a bundle's ``encodec``.

    Attributes
    ----------
    sample_rate : int
        The sample rate in Hz, 32000.
    hop : int
        The number of samples of a frame, 640.
    codebooks : int
        The number of codes of a frame and channel, 4.
    codebook_size : int
        The number of entries of a codebook, 2048: a code is less than that.

    Raises
    ------
    WeightsError
        If the file is another network's, or lacks a tensor.
    """

    def __init__(self, tensors: Tensors) -> None:
        codec = tensors.metadata
        try:
            self.sample_rate: int = codec["sample_rate"]
            self.codebooks: int = codec["codebooks"]
            self.codebook_size: int = codec["codebook_size"]
            self.hop: int = prod(codec["ratios"])
            self._hidden: int = codec["hidden"]
            self._encoder, self._decoder = encoder_layers(codec), decoder_layers(codec)
            names = codebook_names(codec)
            self._lstm_layers = range(codec["lstm_layers"])
        except KeyError as error:
            raise WeightsError(f"{tensors.path.name} is not EnCodec: its metadata lack {error}") from None
        self._tensors = tensors
        self._books = [tensors.array(f"{name}.embed") for name in names]
        self._nearest = [(tensors.weight(f"{name}.weight"), tensors.array(f"{name}.bias")) for name in names]
        for shapes in (self._encoder, self._decoder):
            self._build(shapes, 1)  # a tensor that is missing is missed now

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """Find the codes of audio.

        Parameters
        ----------
        audio : np.ndarray [shape=(channels, n)]
            The audio at 32 kHz: one channel, or two that are coded apart.

        Returns
        -------
        np.ndarray [shape=(channels * codebooks, ceil(n / 640)), dtype=int64]
            The codes. Those of stereo come in turn, as MusicGen has them: first of left, first of right,
            second of left...

        Raises
        ------
        ValueError
            If the audio has another number of channels, or holds values that are not finite.
        """
        if audio.ndim != 2 or len(audio) not in (1, 2):
            raise ValueError(f"audio must be [1 or 2 channels, samples], not {audio.shape}")
        if not np.isfinite(audio).all():
            raise ValueError("audio holds values that are not finite")
        channels, samples = audio.shape
        layers = self._build(self._encoder, channels)
        end = _Signal(channels, self._hidden)
        codes = np.empty((self.codebooks, channels, -(-samples // self.hop)), np.int64)
        at = 0
        for start in range(0, samples, self.sample_rate):
            piece = audio[:, start : start + self.sample_rate]
            layers[0].input.extend(piece.shape[1])[:] = piece[:, :, None]
            _flow(layers, end, start + piece.shape[1] == samples)
            for channel, frames in enumerate(end.samples):
                codes[:, channel, at : at + len(end)] = self._quantise(frames)
            at += len(end)
            end.drop(len(end))
        return codes.reshape(self.codebooks * channels, codes.shape[2])

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turn codes into audio.

        Parameters
        ----------
        codes : np.ndarray [shape=(channels * codebooks, frames), integers]
            The codes of one channel, or of two as `encode` gives them.

        Returns
        -------
        np.ndarray [shape=(channels, frames * 640), dtype=float32]

        Raises
        ------
        ValueError
            If the codes have another shape or are out of range.
        FloatingPointError
            If the audio is not finite: the weights are bad.
        """
        decoder = self.decoder(2 if len(codes) == 2 * self.codebooks else 1)
        decoder.check(codes[None])
        audio = np.empty((decoder.channels, codes.shape[-1] * self.hop), np.float32)
        at = 0
        for start in range(0, codes.shape[-1], _FRAMES):
            (piece,) = decoder.push(codes[None, :, start : start + _FRAMES])
            audio[:, at : at + piece.shape[1]] = piece
            at += piece.shape[1]
        (audio[:, at:],) = decoder.finish()
        if not np.isfinite(audio).all():
            raise FloatingPointError("the decoded audio is not finite")
        return audio

    def decoder(self, channels: int = 1, candidates: int = 1) -> Decoder:
        """Start to decode codes that come by and by.

        Parameters
        ----------
        channels : int
            How many channels there are, 1 or 2.
        candidates : int
            How many pieces are decoded side by side, each as if it were alone.
        """
        return Decoder(self, channels, candidates)

    def _quantise(self, frames: np.ndarray) -> np.ndarray:
        """Code frames [time, hidden] as [codebooks, time]."""
        left = frames.copy()
        codes = np.empty((self.codebooks, len(frames)), np.int64)
        for row, book, (weight, bias) in zip(codes, self._books, self._nearest, strict=True):
            closeness = ops.linear(left, weight, bias=bias)  # (time, entries)
            if not np.isfinite(closeness).all():
                raise FloatingPointError("the encoder's output is not finite")
            np.argmax(closeness, axis=1, out=row)
            left -= book[row]
        return codes

    def _build(self, shapes: Sequence[LayerShape], sequences: int) -> list[_Layer]:
        """Build the layers of a chain, each with an empty input."""
        layers: list[_Layer] = []
        for kind, name, channels, kernel, stride in shapes:
            signal = _Signal(sequences, channels)
            if kind == "conv":
                layers.append(_Convolution(signal, *self._linear(name), kernel, stride))
            elif kind == "last":
                layers.append(_Convolution(signal, *self._linear(name), kernel, together=TOGETHER))
            elif kind == "transposed":
                layers.append(_Transposed(signal, *self._linear(name), stride))
            elif kind == "residual":
                wide, narrow = self._linear(f"{name}.block.1"), self._linear(f"{name}.block.3")
                layers.append(_Residual(signal, wide, narrow, kernel))
            else:
                parts = [f"{name}.{index}" for index in self._lstm_layers]
                weight, array = self._tensors.weight, self._tensors.array
                matrices = [
                    (weight(f"{p}.input"), weight(f"{p}.recurrent"), array(f"{p}.bias")) for p in parts
                ]
                layers.append(_Lstm(signal, matrices))
        return layers

    def _linear(self, name: str) -> tuple[Weight, np.ndarray]:
        return self._tensors.weight(f"{name}.weight"), self._tensors.array(f"{name}.bias")


class Decoder:
    """Turns codes into audio as they come; what it returns, put together, is what `Encodec.decode` returns.

    Parameters
    ----------
    codec : Encodec
    channels, candidates : int
        See `Encodec.decoder`.

    Examples
    --------
    >>> decoder = codec.decoder()
    >>> parts = [decoder.push(codes[None, :, :50]), decoder.push(codes[None, :, 50:]), decoder.finish()]
    >>> np.array_equal(np.concatenate(parts, axis=2)[0], codec.decode(codes))
    True
    """

    def __init__(self, codec: Encodec, channels: int = 1, candidates: int = 1) -> None:
        if channels not in (1, 2) or candidates < 1:
            raise ValueError(f"audio has 1 or 2 channels, not {channels}, of at least one candidate")
        self.channels, self.candidates = channels, candidates
        self._codec = codec
        self._layers = codec._build(codec._decoder, candidates * channels)
        self._audio = _Signal(candidates * channels, 1)
        self._finished = False

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Decode the next frames.

        Parameters
        ----------
        codes : np.ndarray [shape=(candidates, channels * codebooks, frames), integers]
            The codes of any number of frames.

        Returns
        -------
        np.ndarray [shape=(candidates, channels, n), dtype=float32]
            The samples that they and the frames before them settle: the last few wait for what follows.
            They are not finite where the weights are bad.

        Raises
        ------
        ValueError
            If the codes have another shape or are out of range; nothing was decoded then.
        """
        codec = self._codec
        if self._finished:
            raise ValueError("this decoder has finished")
        self.check(codes)
        for start in range(0, codes.shape[2], _FRAMES):
            piece = codes[:, :, start : start + _FRAMES]
            frames = piece.shape[2]
            # (codebooks, candidates * channels, frames): each channel of each candidate is a sequence.
            apart = piece.reshape(self.candidates, codec.codebooks, self.channels, frames).swapaxes(0, 1)
            rows = apart.reshape(codec.codebooks, self.candidates * self.channels, frames)
            self._layers[0].input.extend(frames)[:] = sum(
                book[row] for book, row in zip(codec._books, rows, strict=True)
            )
            _flow(self._layers, self._audio, False)
        return self._taken()

    def check(self, codes: np.ndarray) -> None:
        """Raise ValueError if `push` would refuse the codes."""
        codec = self._codec
        expected = self.candidates, self.channels * codec.codebooks
        if codes.ndim != 3 or codes.shape[:2] != expected:
            raise ValueError(
                f"codes must be {[*expected, 'frames']} for {self.candidates} candidates of {self.channels} "
                f"channels, not {codes.shape}"
            )
        if codes.dtype.kind not in "iu":
            raise ValueError(f"codes must be integers, not {codes.dtype}")
        if codes.size and not 0 <= codes.min() <= codes.max() < codec.codebook_size:
            raise ValueError(f"codes must be 0 to {codec.codebook_size - 1}")

    def finish(self) -> np.ndarray:
        """Return what is left of the audio [candidates, channels, n]; the decoder is at its end then."""
        if not self._finished:
            self._finished = True
            _flow(self._layers, self._audio, True)
        return self._taken()

    def _taken(self) -> np.ndarray:
        audio = self._audio.samples[:, :, 0].copy()
        self._audio.drop(len(self._audio))
        return audio.reshape(self.candidates, self.channels, audio.shape[1])
