"""Training `pocket`: the networks are those of transformers, and every stage runs, stops and goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly
from transformers import ClapModel, MusicgenMelodyForConditionalGeneration

from music.clap import mel as clap_mel
from music.musicgen import delay, melody
from weights.train import checkpoint, chroma, codec_stage, mels, published, vocabularies
from weights.train.__main__ import main
from weights.train.clap import Clap
from weights.train.codec import Codec, Mirror
from weights.train.codes import ALIGNED, encode
from weights.train.figures import Figures
from weights.train.heard import Measures
from weights.train.language import NO_LABEL, Language, spread
from weights.train.optimizers import Muon, clip, orthogonal
from weights.train.pieces import read
from weights.train.quantiser import Quantiser, entropies
from weights.train.recipe import BOOKS, HOP, SAMPLE_RATE, TOY
from weights.train.schedule import Budget
from weights.train.spectra import Balancer, log_mel_distance, si_sdr
from weights.train.stages import STAGES, Training
from weights.train.store import Store

CPU = torch.device("cpu")
LINE = {
    "tempo": 120.0,
    "key": "C",
    "mode": "major",
    "style": "jazz",
    "instruments": ["piano"],
    "mood": ["calm"],
    "energy": "quiet and relaxing",
    "tags": ["swing"],
}


def shard(folder: Path, number: int, count: int = 8, seconds: float = 12.0) -> None:
    """Tones of other pitches, in the format of the renderer."""
    rng = np.random.default_rng(number)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    rows = [np.sin(2 * np.pi * rng.uniform(100, 1000) * time) * rng.uniform(0.1, 0.5) for _ in range(count)]
    lines = [json.dumps(LINE | {"tempo": float(80 + 16 * number + row)}) for row in range(count)]
    (folder / f"shard-{number:05}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    np.save(folder / f"shard-{number:05}.npy", np.rint(np.array(rows) * 32767).astype(np.int16))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of random toy networks."""
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("toy")
    piece = read(json.dumps(LINE))
    audio = Codec(TOY.codec, CPU).tensors() | Quantiser(TOY.codec, CPU).tensors()
    tensors = {f"audio_encoder.{name}": value for name, value in audio.items()}
    tensors |= Language(TOY.language, TOY.codec.entries, CPU).parameters
    t5 = vocabularies.t5(TOY.language.text_vocabulary - 28, [piece])
    checkpoint.write(out / "musicgen", tensors, published.musicgen_files(TOY), t5)
    roberta = vocabularies.roberta(TOY.clap.text_vocabulary, [piece])
    checkpoint.write(out / "clap", Clap(TOY.clap, CPU).tensors(), published.clap_files(TOY), roberta)
    return out


@pytest.fixture(scope="module")
def reference(written: Path) -> MusicgenMelodyForConditionalGeneration:
    return MusicgenMelodyForConditionalGeneration.from_pretrained(
        written / "musicgen", dtype=torch.float32
    ).eval()


@pytest.fixture(scope="module")
def codec(written: Path) -> tuple[Codec, Quantiser]:
    known = {
        name.removeprefix("audio_encoder."): value
        for name, value in checkpoint.read(written / "musicgen").items()
        if name.startswith("audio_encoder.")
    }
    ours, quantiser = Codec(TOY.codec, CPU), Quantiser(TOY.codec, CPU)
    ours.load(known)
    quantiser.load(known)
    return ours, quantiser


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


# -- The networks are those of transformers


@torch.no_grad()
def test_the_codec_is_that_of_transformers(
    codec: tuple[Codec, Quantiser], reference: MusicgenMelodyForConditionalGeneration
) -> None:
    ours, quantiser = codec
    theirs = reference.audio_encoder
    audio = torch.randn(2, 50 * HOP) * 0.1
    latents = ours.encode(audio)
    assert apart(latents, theirs.encoder(audio[:, None])) < 1e-6
    _, codes, _ = quantiser(latents)
    bandwidth = reference.config.audio_encoder.target_bandwidths[0]
    assert torch.equal(codes, theirs.encode(audio[:, None], bandwidth=bandwidth).audio_codes[0])
    made = theirs.decode(codes[None], [None]).audio_values[:, 0]
    assert apart(ours.decode(quantiser.latents(codes)), made) < 1e-5


@torch.no_grad()
def test_losses_of_rows_with_other_texts_are_those_of_transformers_one_by_one(
    written: Path, reference: MusicgenMelodyForConditionalGeneration
) -> None:
    language = Language(TOY.language, TOY.codec.entries, CPU)
    language.load(checkpoint.read(written / "musicgen"))
    codes = torch.randint(0, TOY.codec.entries, (3, BOOKS, 40))
    inputs, labels = spread(codes, TOY.codec.entries)
    notes = torch.randint(0, 12, (3, chroma.PREFIX))
    lengths, said = torch.tensor([5, 9, 0]), torch.tensor([True, False, True])
    ids = torch.randint(3, 500, (3, 12))
    found = language.losses(notes, ids, lengths, said, inputs, labels)
    each = []
    for row in range(3):
        hot = torch.nn.functional.one_hot(notes[row : row + 1], 12).float()
        text = torch.zeros(1, ids.shape[1], TOY.language.width)
        if lengths[row]:
            states = reference.text_encoder(input_ids=ids[row : row + 1, : lengths[row]]).last_hidden_state
            text[:, : lengths[row]] = reference.enc_to_dec_proj(states) * said[row]
        prefix = [reference.audio_enc_to_dec_proj(hot), text]
        logits = reference.decoder(
            input_ids=inputs[row].T.reshape(BOOKS, -1), encoder_hidden_states=torch.cat(prefix, 1)
        ).logits[:, -inputs.shape[1] :]
        each.append(
            [
                torch.nn.functional.cross_entropy(logits[book], labels[row, :, book], ignore_index=NO_LABEL)
                for book in range(BOOKS)
            ]
        )
    torch.testing.assert_close(found, torch.tensor(each).mean(0), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_clap_is_that_of_transformers(written: Path) -> None:
    ours = Clap(TOY.clap, CPU)
    ours.load(checkpoint.read(written / "clap"))
    theirs = ClapModel.from_pretrained(written / "clap", dtype=torch.float32).eval()
    heard = torch.randn(2, mels.FRAMES, mels.BINS) * 20 - 30
    sound = theirs.audio_projection(theirs.audio_model(input_features=heard[:, None]).pooler_output)
    assert apart(ours.sound(heard), sound) < 1e-5
    ids = torch.tensor([[0, 5, 9, 77, 2, 1, 1], [0, 5, 9, 77, 100, 200, 2]])
    said = theirs.text_model(input_ids=ids, attention_mask=(ids != 1).long()).pooler_output
    assert apart(ours.text(ids), theirs.text_projection(said)) < 1e-5


def test_the_delay_pattern_is_the_generators() -> None:
    codes = torch.randint(0, 64, (2, BOOKS, 20))
    inputs, labels = spread(codes, 64)
    wanted = delay.spread(codes.numpy(), 0, 24, 20, 64)
    np.testing.assert_array_equal(inputs.numpy(), wanted[:, :-1])
    there = labels.numpy() != NO_LABEL
    np.testing.assert_array_equal(labels.numpy()[there], wanted[:, 1:][there])
    assert there.sum() == 2 * BOOKS * 20


def test_melodies_are_the_generators() -> None:
    audio = torch.randn(2, 6 * SAMPLE_RATE) * 0.1
    found = chroma.Chroma(CPU)(audio)
    wanted = [melody.chroma(row.numpy()).argmax(1) for row in audio]
    np.testing.assert_array_equal(found.numpy(), np.stack(wanted))


def test_mels_are_those_that_clap_hears() -> None:
    time = np.arange(mels.WINDOW) / SAMPLE_RATE
    audio = 0.1 * np.sin(2 * np.pi * np.outer([110.0, 440.0, 3000.0], time)).sum(axis=0)
    wanted = clap_mel.log_mel(resample_poly(audio, 3, 2).astype(np.float32))
    found = mels.Mels(CPU)(torch.tensor(audio, dtype=torch.float32)[None])[0].numpy()
    loud = wanted > wanted.max() - 60
    assert np.abs(found - wanted)[5:-5][loud[5:-5]].max() < 0.1


# -- Parts


def test_the_gradient_of_a_mirrored_signal_is_right() -> None:
    x = torch.randn(2, 3, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: Mirror.apply(value, 3, 2), x)
    assert torch.equal(Mirror.apply(x, 3, 2), torch.nn.functional.pad(x, (3, 2), mode="reflect"))


@torch.no_grad()
def test_latents_are_normalised_without_a_change_of_what_is_decoded() -> None:
    codec = Codec(TOY.codec, CPU)
    for name in ("encoder.layers.15.conv.bias", "decoder.layers.0.conv.bias"):
        codec.parameters[name].copy_(torch.randn_like(codec.parameters[name]))
    audio = torch.randn(2, 20 * HOP) * 0.1
    before = codec.encode(audio)
    made = codec.decode(before)
    codec.normalise(before)
    after = codec.encode(audio)
    assert abs(float(after.mean())) < 1e-4
    assert float(after.std()) == pytest.approx(1.0, abs=0.01)
    # At the ends padding is mirrored before the shift, so only there nothing changes either.
    torch.testing.assert_close(codec.decode(after), made, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_codebooks_come_to_stand_for_what_they_see() -> None:
    torch.manual_seed(0)
    centres = torch.randn(64, TOY.codec.latent) * 3
    quantiser = Quantiser(TOY.codec, CPU)

    def draw() -> torch.Tensor:
        picked = centres[torch.randint(64, (8 * 100,))] + 0.1 * torch.randn(800, TOY.codec.latent)
        return picked.view(8, 100, -1).permute(0, 2, 1)

    quantiser.begin(draw())
    for _ in range(50):
        quantiser(draw(), learn=True)
    latents = draw()
    coded, codes, _ = quantiser(latents)
    assert (coded - latents).square().mean() < 0.02 * latents.var()
    assert entropies(codes, 64)[0] > 5.0
    torch.testing.assert_close(quantiser.latents(codes), coded)


def test_an_even_use_of_a_codebook_has_all_its_bits() -> None:
    codes = torch.arange(64).repeat(BOOKS, 2)[None]
    assert entropies(codes, 64) == pytest.approx([6.0] * BOOKS)


def test_orthogonal_matrices_have_singular_values_near_one() -> None:
    for shape in ((3, 20, 50), (3, 50, 20)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape), 5))
        assert 0.5 < values.min() < values.max() < 1.3


def test_turning_a_matrix_keeps_its_length() -> None:
    matrix = torch.randn(8, 4, 3).requires_grad_()
    length, before = matrix.detach().norm(), matrix.detach().clone()
    matrix.grad = torch.randn_like(matrix)
    Muon([matrix], turning=True).step(torch.tensor(0.1))
    torch.testing.assert_close(matrix.detach().norm(), length)
    assert float((matrix.detach() - before).norm() / length) == pytest.approx(0.1, rel=0.1)


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    weight = torch.ones(3).requires_grad_()
    weight.grad = torch.tensor([1.0, float("nan"), 2.0])
    clip([weight], 1.0)
    assert torch.equal(weight.grad, torch.zeros(3))


def test_each_loss_moves_the_output_with_its_share() -> None:
    output = torch.randn(4, 100, requires_grad=True)
    losses = {"small": (1e-4 * output[:, :50]).square().sum(), "large": (1e3 * output[:, 50:]).square().sum()}
    gradient = Balancer({"small": 3.0, "large": 1.0}, CPU)(losses, output)
    ratio = gradient[:, :50].norm(dim=1).mean() / gradient[:, 50:].norm(dim=1).mean()
    assert float(ratio) == pytest.approx(3.0, rel=0.01)


def test_distances_are_none_for_the_same_sound_and_grow_with_noise() -> None:
    sound = torch.sin(torch.arange(SAMPLE_RATE) * 0.1)[None] * 0.3
    noise = torch.randn_like(sound) * 0.03
    assert log_mel_distance(sound, sound) == 0.0
    assert 0.0 < log_mel_distance(sound + 0.1 * noise, sound) < log_mel_distance(sound + noise, sound)
    assert float(si_sdr(2 * (sound + noise), sound)) == pytest.approx(17.0, abs=0.5)


def test_a_click_track_is_heard_as_so_many_onsets() -> None:
    audio = torch.zeros(1, 10 * SAMPLE_RATE)
    burst = torch.randn(1600) * torch.linspace(0.5, 0, 1600)
    for beat in range(40):
        audio[0, beat * 8000 : beat * 8000 + 1600] = burst
    _, _, onsets = Measures(CPU)(audio)
    assert float(onsets) == pytest.approx(4.0, abs=0.3)


# -- The store


def test_what_is_held_out_does_not_depend_on_which_shard_is_ready_first(tmp_path: Path) -> None:
    shard(tmp_path, 1)
    store = Store(tmp_path, CPU, 100, 12)
    with pytest.raises(RuntimeError, match="has 0 pieces; 16 are needed"):
        store.open(16, 0.0)
    shard(tmp_path, 0)
    store.open(16, 5.0)
    store.close()
    assert [piece.tempo for piece in store.pieces[:12]] == [80.0 + n for n in range(8)] + [
        96.0 + n for n in range(4)
    ]


def test_a_shard_that_is_cut_short_is_passed_over(tmp_path: Path) -> None:
    for number in range(3):
        shard(tmp_path, number)
    path = tmp_path / "shard-00001.npy"
    path.write_bytes(path.read_bytes()[:1000])
    told: list[str] = []
    store = Store(tmp_path, CPU, 100, 4, told.append)
    store.open(16, 5.0)
    store.close()
    assert store.count == 16
    assert len(told) == 1
    assert told[0].startswith("shard-00001.npy is passed over")


def test_excerpts_for_training_are_never_of_what_is_held_out(tmp_path: Path) -> None:
    shard(tmp_path, 0)
    audio = np.load(tmp_path / "shard-00000.npy")
    audio[:6], audio[6:] = 1, 1000
    np.save(tmp_path / "shard-00000.npy", audio)
    store = Store(tmp_path, CPU, 8, 6)
    store.open(8, 5.0)
    store.close()
    store.refresh()
    assert torch.all(store.draw(200, 50) == 1000 / 32768)
    assert torch.all(store.held(50, 7) == 1 / 32768)


@torch.no_grad()
def test_a_window_of_codes_has_the_melody_of_its_place(
    tmp_path: Path, codec: tuple[Codec, Quantiser]
) -> None:
    shard(tmp_path, 0, count=2, seconds=36.0)
    store = Store(tmp_path, CPU, 2, 1)
    store.open(2, 5.0)
    store.close()
    ours, quantiser = codec
    coded = encode(ours, quantiser, store, 2, Budget(600.0))
    start = 3 * ALIGNED
    codes, notes = coded.windows(torch.tensor([1]), torch.tensor([start]), 1500)
    assert torch.equal(codes[0], coded.codes[1, :, start : start + 1500].long())
    audio = store.cut(torch.tensor([1]), torch.tensor([start * HOP]), 30 * SAMPLE_RATE)
    wanted = chroma.Chroma(CPU)(audio)[0]
    # The two frames at either end see audio here that a window mirrors.
    assert torch.equal(notes[0, 2:-2], wanted[2:-2])
    whole = quantiser(ours.encode(store.cut(torch.tensor([1]), torch.tensor([0]), store.samples)))[1][0]
    assert float((whole == coded.codes[1]).float().mean()) > 0.99


# -- All of it


class Ticks:
    """A clock that goes on by a second whenever it is looked at: so many steps, whatever the machine does."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def training(data: Path, out: Path, pieces: int) -> Training:
    figures = Figures(out / "figures.json")
    store = Store(data, CPU, pieces, TOY.held_out, figures.say)
    store.open(pieces, 60.0)
    return Training(TOY, store, out, figures, clock=Ticks())


def test_stages_write_checkpoints_and_go_on_from_them(tmp_path: Path) -> None:
    for number in range(2):
        shard(tmp_path, number)
    out = tmp_path / "out"
    first = training(tmp_path, out, 16)
    assert first.run(STAGES, 150.0) == []
    assert set(first.figures.values["results"]) == {"codec", "clap", "language"}
    before = checkpoint.read(out / "musicgen")
    again = training(tmp_path, out, 16)
    assert again.run(["language"], 30.0) == []
    after = checkpoint.read(out / "musicgen")
    kept = "audio_encoder.encoder.layers.0.conv.weight_v"
    learned = "decoder.model.decoder.layers.0.fc1.weight"
    assert torch.equal(before[kept], after[kept])
    assert 0.0 < apart(after[learned], before[learned]) < 0.5


def test_a_language_model_without_a_codec_fails_and_says_so(tmp_path: Path) -> None:
    shard(tmp_path, 0)
    failing = training(tmp_path, tmp_path / "out", 8)
    assert failing.run(["language"], 30.0) == ["language"]
    assert "the stage codec comes first" in failing.figures.values["results"]["language"]["error"]


def test_a_codec_that_becomes_much_worse_ends_its_stage(
    tmp_path: Path, codec: tuple[Codec, Quantiser], monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(tmp_path, 0)
    found = training(tmp_path, tmp_path / "out", 8)
    distances = iter([0.3, 0.2, 0.31])
    monkeypatch.setattr(codec_stage, "evaluate", lambda *_: {"log_mel_4": next(distances)})
    kept: list[float] = []
    looked = codec_stage.CodecTraining(*codec, found.store, found.figures)
    looked._save = lambda: kept.append(looked._best)
    budget = Budget(10.0)
    looked._look(budget)
    looked._look(budget)
    with pytest.raises(codec_stage.DivergedError, match=r"0\.310 after 0\.200"):
        looked._look(budget)
    assert kept == [0.3, 0.2]


def test_a_shape_that_a_checkpoint_lacks_is_named(written: Path) -> None:
    known = checkpoint.read(written / "clap")
    known.pop("text_projection.linear1.bias")
    with pytest.raises(ValueError, match=r"no text_projection\.linear1\.bias"):
        Clap(TOY.clap, CPU).load(known)


@pytest.mark.parametrize("stages", ["tune", "codec,tune"])
def test_a_stage_that_does_not_exist_is_refused(
    tmp_path: Path, stages: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path), "--out", str(tmp_path), "--minutes", "1", "--stages", stages])
    assert "no such stage: tune" in capsys.readouterr().err
