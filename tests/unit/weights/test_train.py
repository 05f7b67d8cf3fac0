"""What the training of `pocket` says of pieces, and how it keeps time; its networks are in `tests/models`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from weights.train import pieces, published, texts, vocabularies
from weights.train.bands import mel_bank
from weights.train.curves import draw
from weights.train.pieces import Piece
from weights.train.published import clap_files, musicgen_files, tags
from weights.train.recipe import POCKET
from weights.train.schedule import Budget, cosine, warm

TRUTH = {
    "seed": 7,
    "tempo": 143.6,
    "key": "F#",
    "mode": "minor",
    "meter": "4/4",
    "style": "jazz",
    "instruments": ["piano", "double bass", "drum kit"],
    "mood": ["melancholic", "romantic"],
    "energy": "quiet and relaxing",
    "tags": ["jazz", "swing", "piano", "instrumental"],
}


@pytest.fixture
def piece() -> Piece:
    return pieces.read(json.dumps(TRUTH))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_tag_that_another_field_holds_is_kept_once(piece: Piece) -> None:
    assert piece.tags == ("swing", "instrumental")


def test_a_piece_in_no_known_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'lydian'"):
        pieces.read(json.dumps(TRUTH | {"mode": "lydian"}))


def test_a_piece_of_which_something_is_not_said_is_refused() -> None:
    with pytest.raises(KeyError, match="tempo"):
        pieces.read(json.dumps({name: value for name, value in TRUTH.items() if name != "tempo"}))


@pytest.mark.parametrize(("tempo", "pace"), [(84.9, "slow"), (85.0, "mid-tempo"), (128.1, "fast")])
def test_a_tempo_has_the_word_that_the_analysis_gives_it(tempo: float, pace: str) -> None:
    assert pieces.read(json.dumps(TRUTH | {"tempo": tempo})).pace == pace


def test_every_word_of_a_description_is_true(piece: Piece) -> None:
    rng = np.random.default_rng(0)
    piece.heard = ("busy",)
    for _ in range(300):
        for part in texts.description(piece, rng).split(". "):
            if part.startswith("keywords: "):
                words = set(part.removeprefix("keywords: ").split(", "))
                assert words <= {*piece.attributes(), "minor", "busy"}
            elif part.startswith("bpm: "):
                assert float(part.removeprefix("bpm: ")) == pytest.approx(piece.tempo, rel=0.06)
            elif part:
                assert part == "key: F# minor"


def test_a_caption_needs_only_what_its_piece_has(piece: Piece) -> None:
    rng = np.random.default_rng(1)
    drawn = [texts.caption(piece, rng) for _ in range(300)]
    assert all(needed <= piece.attributes() for _, needed in drawn if needed is not None)
    assert all(word in text for text, needed in drawn for word in needed or ())
    assert any(needed is None for _, needed in drawn)


def test_texts_leave_out_what_they_draw(piece: Piece) -> None:
    rng = np.random.default_rng(2)
    drawn = {texts.condition(piece, rng) for _ in range(100)}
    assert len(drawn) > 80
    assert 0.2 < np.mean(["bpm" in text or "BPM" in text for text in drawn]) < 0.9


def test_each_word_that_is_said_is_one_token(piece: Piece) -> None:
    tokenizer = vocabularies.t5(POCKET.language.text_vocabulary - 28, [piece])
    encoded = tokenizer.encode("keywords: melancholic, double bass. bpm: 144. key: F# minor").tokens
    assert encoded == (
        [
            "▁keywords",
            ":",
            "▁melancholic",
            ",",
            "▁double",
            "▁bass",
            ".",
            "▁bpm",
            ":",
            "▁144",
            ".",
            "▁key",
            ":",
            "▁F#",
            "▁minor",
            "</s>",
        ]
    )


def test_every_tag_of_clap_is_spelled_by_both_tokenizers(piece: Piece) -> None:
    t5 = vocabularies.t5(POCKET.language.text_vocabulary - 28, [piece])
    roberta = vocabularies.roberta(POCKET.clap.text_vocabulary, [piece])
    assert t5.get_vocab_size() == POCKET.language.text_vocabulary - 28
    assert roberta.get_vocab_size() == POCKET.clap.text_vocabulary
    for tag in (tag for category in tags().values() for tag in category):
        assert "<unk>" not in t5.encode(tag).tokens
        assert roberta.decode(roberta.encode(tag).ids) == tag


def test_clap_names_what_it_has_heard_of_alone(piece: Piece) -> None:
    known = published.known_tags([piece])
    assert known["genre"] == {"phrase": "{} music", "shown": 1, "tags": ["jazz"]}
    assert known["instrument"]["tags"] == ["double bass", "drum kit", "piano"]
    assert set(known) == {"prompt", "genre", "mood", "instrument", "energy"}


def test_the_configs_say_what_the_recipe_does() -> None:
    musicgen, clap = musicgen_files(POCKET)["config.json"], clap_files(POCKET)["config.json"]
    assert musicgen["model_type"] == "musicgen_melody"
    assert musicgen["audio_encoder"]["target_bandwidths"] == [2.0]  # 4 books of 10 bits, 50 times a second
    assert musicgen["decoder"]["hidden_size"] == POCKET.language.width
    assert musicgen["decoder"]["pad_token_id"] == POCKET.codec.entries
    assert clap["audio_config"]["hidden_size"] == 8 * POCKET.clap.width


def test_every_mel_band_is_a_mean_of_bins() -> None:
    bank = mel_bank(256, 24)
    assert bank.shape == (129, 24)
    assert bank.sum(axis=0) == pytest.approx(np.ones(24), abs=1e-6)
    assert (np.diff(bank.argmax(axis=0)) >= 0).all()


def test_curves_are_drawn_of_the_stages_that_ran(tmp_path: Path) -> None:
    curve = [{"step": 4, "mel": 0.3, "held_out": 0.4}, {"step": 8, "mel": 0.2}]
    for name, curves in (
        ("one", {"codec": curve}),
        ("two", {"codec": curve, "clap": [{"step": 4, "text": 2.0}]}),
    ):
        draw({"curves": curves}, tmp_path / f"{name}.png")
    heads = [(tmp_path / f"{name}.png").read_bytes()[:24] for name in ("one", "two")]
    assert all(head.startswith(b"\x89PNG") for head in heads)
    assert heads[0][16:20] < heads[1][16:20]  # wider by a panel


def test_a_budget_tells_what_share_of_its_time_is_over() -> None:
    clock = Clock()
    budget = Budget(60.0, clock)
    clock.now += 45.0
    assert budget.spent() == 0.75
    assert budget.elapsed() == 45.0


def test_a_stage_without_time_is_refused() -> None:
    with pytest.raises(ValueError, match="needs time"):
        Budget(0.0)


def test_rates_rise_by_steps_and_fall_by_time() -> None:
    assert [warm(step, 4) for step in (0, 1, 3, 9)] == [0.25, 0.5, 1.0, 1.0]
    falling = [cosine(spent, hold=0.15, floor=0.01) for spent in np.linspace(0, 1, 21)]
    assert falling[:4] == [1.0] * 4
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(0.01)
