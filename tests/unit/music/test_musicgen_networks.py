"""MusicGen's transformer on the engine: one result per row, however it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from music.engine.packing import Tensors, write
from music.musicgen.networks import Condition
from music.musicgen.t5 import T5
from music.musicgen.transformer import MusicGen, MusicGenState
from weights import Checkpoint, synthetic
from weights.export import export

PAD = 256  # the vocabulary of the tiny checkpoints
WIDTH = 48  # of their text encoder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for profile in ("tiny", "tiny-melody"):
        synthetic.write(profile, folder / profile)
    return folder


@pytest.fixture(scope="module", params=["float32", "int8", "int4"])
def language(request: pytest.FixtureRequest, checkpoints: Path) -> MusicGen:
    path = checkpoints / f"{request.param}.safetensors"
    write(path, *export("musicgen", Checkpoint(checkpoints / "tiny" / "musicgen"), request.param))
    return MusicGen(Tensors(path))


@pytest.fixture(scope="module")
def melody(checkpoints: Path) -> MusicGen:
    path = checkpoints / "melody.safetensors"
    write(path, *export("musicgen", Checkpoint(checkpoints / "tiny-melody" / "musicgen"), "int8"))
    return MusicGen(Tensors(path))


def text(seed: int = 0, tokens: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((tokens, WIDTH)).astype(np.float32)


def codes(rows: int, length: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(0, PAD, (rows, length, 4))
    drawn[:, 0] = PAD
    return drawn


def test_a_prefill_leaves_what_steps_leave(language: MusicGen) -> None:
    """Bit for bit: resuming from codes alone rests on it."""
    conditions, given = [Condition(text()), Condition(None)], codes(2, 150)
    stepwise = language.start(conditions, 150)
    for at in range(149):
        stepwise.advance(given[:, at : at + 1])
    expected = stepwise.advance(given[:, 149:])
    for parts in ([150], [100, 49, 1], [1, 64, 85]):
        state = language.start(conditions, 150)
        ends = np.cumsum(parts)
        for part, end in zip(parts, ends, strict=True):
            found = state.advance(given[:, end - part : end])
        assert np.array_equal(found, expected)
        assert state.length == 150


def assert_each_is_as_alone(
    language: MusicGen, state: MusicGenState, conditions: list[Condition], given: np.ndarray
) -> None:
    """Hold every row of a state that has begun against the same row in a state of its own, bit for bit."""
    state.advance(given[:, :39])
    together = state.advance(given[:, 39:])
    for row, condition in enumerate(conditions):
        alone = language.start([condition], 40)
        alone.advance(given[row : row + 1, :39])
        assert np.array_equal(alone.advance(given[row : row + 1, 39:])[0], together[row])


@pytest.mark.parametrize("rows", [2, 8])
def test_a_row_does_not_depend_on_the_others(language: MusicGen, rows: int) -> None:
    """So candidate i of N is the single run with its seed."""
    given = codes(rows, 40)
    conditions = [Condition(text(row // 2) if row % 2 == 0 else None) for row in range(rows)]
    state = language.start(conditions, 40)
    assert_each_is_as_alone(language, state, conditions, given)


def test_candidates_share_their_texts_cache_and_nothing_else(language: MusicGen) -> None:
    """Rows of one text, given in turn with rows of none, as candidates under guidance are."""
    given, prompt = codes(8, 40), text()
    conditions = [Condition(prompt if row % 2 == 0 else None) for row in range(8)]
    state = language.start(conditions, 40)
    assert {cache.sequences for cache in state._cross} == {2}
    assert_each_is_as_alone(language, state, conditions, given)


def test_the_logits_of_a_step_are_let_be_by_the_next(language: MusicGen) -> None:
    given = codes(1, 3)
    state = language.start([Condition(text())], 3)
    found = [state.advance(given[:, i : i + 1]) for i in range(3)]
    again = language.start([Condition(text())], 3)
    for i in range(3):
        np.testing.assert_array_equal(found[i], again.advance(given[:, i : i + 1]))


def test_no_text_is_not_an_empty_text(language: MusicGen) -> None:
    """The null condition of guidance against one end token."""
    given = codes(2, 1)
    found = language.start([Condition(text(tokens=1)), Condition(None)], 1).advance(given[[0, 0]])
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_the_room_is_what_was_asked_for(language: MusicGen) -> None:
    state = language.start([Condition(None)], 20)
    state.advance(codes(1, 19))
    with pytest.raises(ValueError, match="room for 20"):
        state.advance(codes(1, 2))
    assert state.length == 19
    state.advance(codes(1, 1))
    with pytest.raises(ValueError, match="2048"):
        language.start([Condition(None)], 2049)
    with pytest.raises(ValueError, match="at least one row"):
        language.start([], 5)


@pytest.mark.parametrize("wrong", ["book", "row", "negative", "high", "none"])
def test_codes_are_checked(language: MusicGen, wrong: str) -> None:
    given = {
        "book": codes(1, 2)[:, :, :3], "row": codes(2, 2), "negative": codes(1, 2) - 3000,
        "high": codes(1, 2) + PAD, "none": codes(1, 2)[:, :0],
    }[wrong]  # fmt: skip
    with pytest.raises(ValueError, match="code"):
        language.start([Condition(None)], 20).advance(given)


def test_conditions_are_checked(language: MusicGen, melody: MusicGen) -> None:
    with pytest.raises(ValueError, match="width 48"):
        language.start([Condition(np.zeros((3, WIDTH - 1), np.float32))], 5)
    with pytest.raises(ValueError, match="0 pitch classes"):
        language.start([Condition(text(), np.eye(12, dtype=np.float32))], 5)
    with pytest.raises(ValueError, match="12 pitch classes"):
        melody.start([Condition(text(), np.eye(11, dtype=np.float32))], 5)


def test_melody_and_text_are_heard(melody: MusicGen) -> None:
    """Releases of transformers ignored both."""
    notes = np.eye(12, dtype=np.float32)
    given = codes(1, 1)

    def ask(condition: Condition) -> np.ndarray:
        return melody.start([condition], 1).advance(given)

    base = ask(Condition(text(), notes))
    for other in (
        Condition(text(), notes[::-1]),
        Condition(text(), None),
        Condition(text(1), notes),
        Condition(None, notes),
    ):
        assert np.abs(ask(other) - base).max() > 1e-3
    # A melody that is shorter than the trained length is repeated, a longer one cut.
    long = np.tile(notes, (30, 1))
    assert np.array_equal(ask(Condition(text(), long)), base)
    assert np.array_equal(ask(Condition(text(), long[: melody.prefix])), base)


def test_what_is_not_a_number_comes_out(language: MusicGen) -> None:
    condition = text()
    condition[2, 3] = np.nan
    found = language.start([Condition(condition), Condition(None)], 1).advance(codes(2, 1))
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


def test_prompts_are_checked(checkpoints: Path) -> None:
    path = checkpoints / "t5.safetensors"
    write(path, *export("t5", Checkpoint(checkpoints / "tiny" / "musicgen"), "int8"))
    encoder = T5(Tensors(path))
    assert encoder.encode([1]).shape == (1, WIDTH)
    assert encoder.encode(list(range(200))).shape == (200, WIDTH)
    for wrong in ([], [-1], [10**6]):
        with pytest.raises(ValueError, match="token"):
            encoder.encode(wrong)
