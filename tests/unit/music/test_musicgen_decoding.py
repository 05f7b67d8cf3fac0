"""The decode loop, on a language model whose logits are a checksum of all that it was given."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from music.musicgen import delay
from music.musicgen.decoding import Decoding, Window, blank, plan
from music.musicgen.networks import Condition
from music.musicgen.sampling import Sampling, draw, guide, stream
from music.resume import Take
from tests.support.networks import FakeLanguage, text

SAMPLING = Sampling(top_k=20)


def decode(
    language: FakeLanguage,
    takes: Sequence[Take],
    *,
    windows: list[Window] | None = None,
    sampling: Sampling = SAMPLING,
    until: int | None = None,
) -> Decoding:
    frames = takes[0].codes.shape[1]
    windows = windows or plan(frames, 0, longest=max(frames, 2), stride=1)
    decoding = Decoding(language, windows, lambda window: text(1), sampling, takes)
    while decoding.step < decoding.steps and decoding.step != until:
        decoding.advance()
    return decoding


# -- the delay pattern ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("codebooks", [4, 8])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 30])
def test_the_pattern_is_the_one_that_the_models_were_trained_with(codebooks: int, frames: int) -> None:
    """Position 0 is open; then each codebook runs its delay late; mono 0 1 2 3, stereo 0 0 1 1 2 2 3 3."""
    codes = np.arange(codebooks * frames).reshape(codebooks, frames)
    late = [0, 1, 2, 3] if codebooks == 4 else [0, 0, 1, 1, 2, 2, 3, 3]
    expected = np.full((frames + 4, codebooks), 999)
    for codebook, frame in itertools.product(range(codebooks), range(frames)):
        expected[1 + late[codebook] + frame, codebook] = codes[codebook, frame]
    assert delay.positions(frames, codebooks) == len(expected)
    assert np.array_equal(delay.spread(codes, 0, len(expected), frames, 999), expected)
    again = np.full_like(codes, delay.UNKNOWN)
    for position in range(1, len(expected)):
        delay.place(again, position, frames, expected[position])
    assert np.array_equal(again, codes)


def test_other_numbers_of_codebooks_are_refused() -> None:
    with pytest.raises(ValueError, match="6 codebooks"):
        delay.delays(6)


def test_positions_that_are_not_known_yet_are_refused() -> None:
    codes = np.full((4, 5), delay.UNKNOWN)
    codes[:, :2] = 1
    delay.spread(codes, 0, 3, 5, 9)
    with pytest.raises(ValueError, match="not known"):
        delay.spread(codes, 0, 4, 5, 9)


# -- sampling ------------------------------------------------------------------------------------------------


LOGITS = np.log(np.array([[0.4, 0.3, 0.2, 0.1]], np.float32))


def shares(sampling: Sampling, logits: np.ndarray = LOGITS) -> np.ndarray:
    rng, many = stream(1), 4000
    tokens = draw(np.repeat(logits, many, axis=0), sampling, rng)
    return np.bincount(tokens, minlength=logits.shape[1]) / many


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(top_k=0), [0.4, 0.3, 0.2, 0.1]),
        (Sampling(top_k=4), [0.4, 0.3, 0.2, 0.1]),
        (Sampling(top_k=2), [4 / 7, 3 / 7, 0, 0]),
        (Sampling(top_k=1), [1, 0, 0, 0]),
        (Sampling(top_k=0, top_p=1.0), [0.4, 0.3, 0.2, 0.1]),
        (Sampling(top_k=0, top_p=0.71), [4 / 9, 3 / 9, 2 / 9, 0]),
        (Sampling(top_k=0, top_p=0.69), [4 / 7, 3 / 7, 0, 0]),
        (Sampling(top_k=0, top_p=0.01), [1, 0, 0, 0]),
        (Sampling(top_k=2, top_p=0.5), [1, 0, 0, 0]),  # of what top-k left, the first has 4/7
        (Sampling(top_k=0, temperature=0.5), [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        (Sampling(temperature=0.0), [1, 0, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_should(sampling: Sampling, expected: list[float]) -> None:
    found = shares(sampling)
    assert np.abs(found - expected).max() < 0.03
    assert not found[np.array(expected) == 0].any()


def test_tokens_as_likely_as_the_last_of_top_k_stay() -> None:
    assert np.abs(shares(Sampling(top_k=2), np.zeros((1, 4), np.float32)) - 0.25).max() < 0.03


def test_the_default_is_that_of_the_contract() -> None:
    assert (Sampling().top_k, Sampling().temperature, Sampling().guidance_scale) == (250, 1.0, 3.0)


def test_the_largest_random_number_draws_a_token_that_can_be_drawn() -> None:
    class Edge(np.random.Generator):
        def random(self, size: int) -> np.ndarray:  # type: ignore[override]
            return np.full(size, np.nextafter(1.0, 0.0))

    logits = np.random.default_rng(0).standard_normal((200, 2048)).astype(np.float32)
    tokens = draw(logits, Sampling(top_k=5), Edge(np.random.PCG64(1)))
    order = np.argsort(-logits, axis=1)[:, :5]
    assert (tokens[:, None] == order).any(axis=1).all()


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_p=0.9), Sampling(temperature=2.0)])
def test_a_draw_takes_one_number_for_each_codebook(sampling: Sampling) -> None:
    """So a stream after n steps is known without a record of it."""
    rng = stream(2**63 + 5)
    logits = np.random.default_rng(1).standard_normal((4, 300)).astype(np.float32)
    for _ in range(10):
        draw(logits, sampling, rng)
    assert np.array_equal(rng.random(8), stream(2**63 + 5, 40).random(8))
    assert np.array_equal(stream(7).random(5), np.random.default_rng(7).random(5))


def test_guidance_leads_away_from_the_null_condition() -> None:
    conditional, null = np.array([1.0, 2.0], np.float32), np.array([0.5, 3.0], np.float32)
    assert np.allclose(guide(conditional, null, 3.0), [2.0, 0.0])
    assert guide(conditional, null, 3.0).dtype == np.float32


# -- windows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 1499, 1500, 1501, 2399, 2400, 2401, 4000, 15000])
@pytest.mark.parametrize("known", [0, 600])
def test_windows_cover_every_frame_once_and_overlap_by_twelve_seconds(frames: int, known: int) -> None:
    if known >= frames:
        return
    windows = plan(frames, known, longest=1500, stride=900)
    made = [range(window.start + window.known, window.end) for window in windows]
    assert [frame for part in made for frame in part] == list(range(known, frames))
    assert all(window.length <= 1500 for window in windows)
    assert [window.start for window in windows] == [900 * number for number in range(len(windows))]
    assert all(window.known == 600 for window in windows[1:])


def test_no_window_has_more_positions_than_the_model() -> None:
    """5 minutes are never one sequence of 15003 positions, nor is any window over 2048."""
    for window in plan(15000, 600, longest=1500, stride=900):
        assert delay.positions(window.length, 4) <= 1504


@pytest.mark.parametrize(("frames", "known"), [(10, 10), (10, 11), (2000, 1500), (0, 0)])
def test_a_prompt_that_leaves_nothing_to_make_is_refused(frames: int, known: int) -> None:
    with pytest.raises(ValueError, match="known"):
        plan(frames, known, longest=1500, stride=900)


# -- the loop ------------------------------------------------------------------------------------------------


def test_as_many_frames_as_were_asked_for_come_out() -> None:
    """1500 frames take 1503 steps; a loop that stops at 1500 leaves 1497."""
    language, take = FakeLanguage(), blank(1, 4, 1500)
    decoding = decode(language, [take])
    assert (decoding.steps, len(language.calls)) == (1503, 1503)
    assert decoding.complete == 1500
    assert take.codes.min() >= 0
    assert take.codes.max() < language.vocabulary


def test_what_the_model_is_given() -> None:
    """Greedy, checked against a loop that writes out the sequence of positions."""
    language, take = FakeLanguage(), blank(1, 4, 6)
    decode(language, [take], sampling=Sampling(temperature=0.0, guidance_scale=2.0))
    sequence = np.full((10, 4), language.vocabulary)
    for position in range(1, 10):
        state = FakeLanguage().start([text(1), Condition(None)], 9)
        one, two = state.advance(np.repeat(sequence[None, :position], 2, axis=0))
        tokens = (two + 2 * (one - two)).argmax(axis=1)
        for codebook in range(4):
            if 0 <= position - 1 - codebook < 6:
                sequence[position, codebook] = tokens[codebook]
                assert take.codes[codebook, position - 1 - codebook] == tokens[codebook]


def test_every_candidate_is_the_single_run_with_its_seed() -> None:
    """None is folded into another's time, and none depends on how many there are."""
    takes = [blank(seed, 4, 12) for seed in (5, 6, 7)]
    language = FakeLanguage()
    decode(language, takes)
    assert {rows for rows, _ in language.calls} == {6}
    for take in takes:
        assert take.codes.shape == (4, 12)
        alone = blank(take.seed, 4, 12)
        decode(FakeLanguage(), [alone])
        assert np.array_equal(alone.codes, take.codes)
    assert not np.array_equal(takes[0].codes, takes[1].codes)


def test_without_guidance_there_are_no_null_rows() -> None:
    language, take = FakeLanguage(), blank(1, 4, 3)
    decode(language, [take], sampling=Sampling(guidance_scale=1.0))
    assert {rows for rows, _ in language.calls} == {1}


def test_the_null_condition_is_no_text_and_not_an_empty_one() -> None:
    language = FakeLanguage()
    decode(language, [blank(1, 4, 3), blank(2, 4, 3)])
    ((one, null, two, other),) = language.conditions
    assert one.text is not None
    assert two.text is not None
    assert null.text is other.text is null.chroma is other.chroma is None


def test_every_step_can_be_followed() -> None:
    take = blank(1, 4, 8)
    decoding = Decoding(FakeLanguage(), plan(8, 0, 8, 4), lambda window: text(1), SAMPLING, [take])
    seen = []
    while decoding.step < decoding.steps:
        decoding.advance()
        seen.append(decoding.complete)
        assert (take.codes[:, : decoding.complete] >= 0).all()
    assert seen == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_the_prompt_comes_first_and_unchanged() -> None:
    prompt = np.random.default_rng(0).integers(0, 32, (4, 5))
    language, take = FakeLanguage(), blank(1, 4, 12, prompt)
    decoding = decode(language, [take], windows=plan(12, 5, longest=12, stride=6))
    assert np.array_equal(take.codes[:, :5], prompt)
    assert language.calls[0] == (2, 6)  # the open position and the prompt, in one pass
    assert (decoding.steps, decoding.complete) == (10, 12)
    other = blank(1, 4, 12, (prompt + 1) % 32)
    decode(FakeLanguage(), [other], windows=plan(12, 5, longest=12, stride=6))
    assert not np.array_equal(other.codes[:, 5:], take.codes[:, 5:])


def test_the_next_window_goes_on_from_the_end_of_the_one_before() -> None:
    language, take = FakeLanguage(), blank(1, 4, 20)
    windows = plan(20, 0, longest=10, stride=6)
    decode(language, [take], windows=windows)
    assert [new for _, new in language.calls if new > 1] == [5] * (len(windows) - 1)
    assert (take.codes >= 0).all()
    # The second window alone, given the same codes and the same place in the random stream.
    alone = blank(1, 4, 10, take.codes[:, 6:10])
    decoding = Decoding(language, plan(10, 4, 10, 6), lambda window: text(1), SAMPLING, [alone])
    decoding._streams = [stream(1, 4 * windows[0].steps(4))]
    while decoding.step < decoding.steps:
        decoding.advance()
    assert np.array_equal(alone.codes, take.codes[:, 6:16])


@pytest.mark.parametrize("codebooks", [4, 8])
@pytest.mark.parametrize("known", [0, 3])
def test_a_loop_interrupted_anywhere_ends_with_the_same_codes(codebooks: int, known: int) -> None:
    prompt = np.random.default_rng(0).integers(0, 32, (codebooks, known))
    windows = plan(24, known, longest=10, stride=6)

    def begin() -> list[Take]:
        return [blank(seed, codebooks, 24, prompt) for seed in (3, 4)]

    whole = begin()
    steps = decode(FakeLanguage(codebooks), whole, windows=windows).steps
    for stop in range(steps):
        takes = begin()
        decode(FakeLanguage(codebooks), takes, windows=windows, until=stop)
        kept = [Take(take.seed, take.codes.copy(), take.step) for take in takes]
        language = FakeLanguage(codebooks)
        decode(language, kept, windows=windows)
        assert all(np.array_equal(a.codes, b.codes) for a, b in zip(kept, whole, strict=True)), stop
        assert len(language.calls) == steps - stop  # nothing is made twice


def test_a_candidate_whose_logits_are_not_finite_stops_and_the_others_go_on() -> None:
    language = FakeLanguage()
    language.broken = (2, 4)  # the second candidate, from its fourth position on
    takes = [blank(seed, 4, 12) for seed in (5, 6, 7)]
    decode(language, takes)
    assert [take.failed for take in takes] == [None, 3, None]
    assert takes[1].step == 3
    for take in (takes[0], takes[2]):
        alone = blank(take.seed, 4, 12)
        decode(FakeLanguage(), [alone])
        assert np.array_equal(alone.codes, take.codes)


def test_when_all_have_failed_it_is_seen() -> None:
    language, take = FakeLanguage(), blank(1, 4, 5)
    language.broken = (1, 1)  # the null condition's row counts as well
    decoding = Decoding(language, plan(5, 0, 5, 2), lambda window: text(1), SAMPLING, [take])
    assert not decoding.failed
    decoding.advance()
    assert (decoding.failed, take.failed) == (True, 0)


def test_takes_at_different_steps_are_not_decoded_together() -> None:
    ahead = Take(1, np.zeros((4, 5), np.int16), step=3)
    with pytest.raises(ValueError, match="same steps"):
        Decoding(FakeLanguage(), plan(5, 0, 5, 2), lambda window: text(1), SAMPLING, [ahead, blank(2, 4, 5)])
