"""The system as its users meet it: over HTTP, from a file to new music.

The same file judges the local stack, the functions in real containers (`make test-sam`) and a deployed stack
(`API_URL=https://… API_TOKEN=… pytest tests/integration`), with any profile (`PROFILE=pocket`). It knows the
contract and nothing of the code, and asks the deployment for its profile where profiles differ.

Marks say what is worth asking twice: `profile` what the models answer, `transport` what gateways, containers,
permissions and emulators of AWS may spoil. What has no mark is decided by code that is the same everywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.support import sound
from tests.support.client import Api, form, post_form, send
from tests.support.waiting import PATIENCE_SECONDS

OPENAPI = Path(__file__).parents[2] / "layers/backend/openapi.json"
NOBODY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
CONTENT_TYPES = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg", "ogg": "audio/ogg"}


# `sam local start-api` routes and decodes, but leaves out the rest of API Gateway: its own error answers, its
# size limit, a request id for each request.
needs_gateway = pytest.mark.skipif(
    os.environ.get("API_GATEWAY") == "sam-local", reason="SAM CLI does not emulate this part of API Gateway"
)


def untrained(profile: str) -> bool:
    """Return whether the weights of a profile are random: what they say of music means nothing."""
    return profile.startswith("tiny")


def takes_melodies(profile: str) -> bool:
    """Whether a profile has the mode `melody`."""
    return "melody" in profile or profile == "pocket"


# RIE itself cuts off what is larger than Lambda takes.
needs_size_limit = pytest.mark.skipif(
    os.environ.get("API_GATEWAY") in {"sam-local", "ministack"}, reason="no emulator limits a request's size"
)


def shell(command: str, folder: Path, api: Api, *, with_key: bool = False) -> str:
    """Run one shell command as a user pastes it, with `API` and `KEY` set, and return what it prints.

    `with_key` has curl itself send the key, as a user's `.curlrc` does, to commands that carry none.
    """
    if with_key and api.token:
        (folder / ".curlrc").write_text(f'header = "Authorization: Bearer {api.token}"\n')
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "API": api.url, "KEY": api.token or "", "CURL_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


# -- the four commands in users' shell histories -----------------------------------------------------------


@pytest.mark.transport
@pytest.mark.profile
def test_the_four_commands_work_one_right_after_the_other(api: Api, tmp_path: Path, track: bytes) -> None:
    def run(command: str) -> str:
        return shell(command, tmp_path, api, with_key=True)

    (tmp_path / "your_music.mp3").write_bytes(track)
    uploaded = json.loads(run('curl -X POST "$API/api/upload" -F "file=@your_music.mp3"'))
    assert (uploaded["status"], uploaded["bytes"]) == ("uploaded", len(track))
    audio_id = uploaded["audio_id"]
    embedding = json.loads(run(f'curl "$API/api/embedding/{audio_id}"'))
    # On a cold start the first answer may still be 202, as the contract allows.
    assert embedding["status"] in {"ready", "uploaded", "embedding"}
    submitted = json.loads(
        run(
            f'curl -X POST "$API/api/generate/{audio_id}" -H "Content-Type: application/json" '
            """-d '{"duration": 30, "temperature": 0.8}'""",
        )
    )
    generation_id = submitted["generation_id"]
    assert submitted["status"] in {"waiting", "queued"}
    command = f'curl "$API/api/download/{generation_id}" --output generated_music.wav'
    run(command)
    content = (tmp_path / "generated_music.wav").read_bytes()
    if content[:1] == b"{":  # not within 20 s: what it says is to try again
        assert json.loads(content)["code"] == "not_finished"
        api.succeeded(submitted)
        run(command)
        content = (tmp_path / "generated_music.wav").read_bytes()
    music = sound.decode(content)
    assert abs(music.seconds - 30) <= 0.02
    assert (music.rate, music.codec) == (32000, "pcm_s16le")
    assert np.abs(music.audio).max() > 0.05


@pytest.mark.transport
@pytest.mark.profile
def test_candidates_are_heard_chosen_and_worked_on(api: Api, track: bytes) -> None:
    uploaded = api.upload("source.mp3", track, "audio/mpeg")
    api.ready(uploaded)
    made = api.succeeded(api.generate(uploaded["audio_id"], duration=3, seed=5, candidates=2, format="ogg"))
    best = made["chosen"]
    (other,) = [one["index"] for one in made["candidates"] if one["similarity"] and not one["chosen"]][:1]
    path = made["links"]["download"]
    first = api.get(path).body
    for candidate in (best, other):
        assert sound.decode(send("GET", made["candidates"][candidate]["links"]["play"]).body).codec == "flac"
    for name, codec in (("wav", "pcm_s16le"), ("mp3", "mp3float"), ("flac", "flac")):
        answer = api.get(f"{path}/{other}", format=name)
        assert answer.headers["Content-Type"] == CONTENT_TYPES[name]
        heard = sound.decode(answer.body)
        assert heard.codec == codec
        assert heard.seconds == pytest.approx(3.0, abs=0.06)
    api.get(f"{path}/99").problem(404, "not_found")
    chosen = api.request("PATCH", made["links"]["self"], json_body={"chosen": other}).ok(200)
    assert chosen["chosen"] == other
    assert chosen["loudness"]["integrated"] is not None
    assert chosen["details"].keys() == made["details"].keys()
    second = api.get(path)
    assert second.body == api.get(f"{path}/{other}").body != first
    assert second.headers["Content-Type"] == "audio/ogg"
    copied = api.post("/api/audio", {"generation_id": made["generation_id"]}).ok(201)
    api.ready(copied)
    record = api.get(copied["links"]["self"]).ok(200)
    assert record["made_from"] == {"generation_id": made["generation_id"], "candidate": other}
    assert api.get(made["links"]["self"]).ok(200)["copied_to"] == [copied["audio_id"]]
    assert api.delete(made["links"]["self"]).status == 204
    api.get(f"{path}/{best}").problem(404, "not_found")
    assert send("GET", made["candidates"][best]["links"]["play"]).status in {403, 404}
    assert api.get(copied["links"]["self"]).ok(200)["status"] == "ready"


@pytest.mark.transport
def test_a_track_has_a_preview_and_what_a_player_shows(api: Api) -> None:
    audio = sound.encode(sound.drone(2.0, 8000), 8000, "aiff", "pcm_s16be")
    uploaded = api.upload("drone.aiff", audio, "audio/aiff")
    api.ready(uploaded)
    record = api.get(uploaded["links"]["self"]).ok(200)
    preview = api.get(record["links"]["preview"])
    assert preview.headers["Content-Type"] == "audio/mpeg"
    assert sound.decode(preview.body).seconds == pytest.approx(2.0, abs=0.06)
    assert send("GET", record["links"]["play_preview"]).body == preview.body
    shown = api.get(record["links"]["analysis"]).ok(200)
    assert len(shown["peaks"]) == 200
    assert len(shown["chroma"]["values"]) == 4
    renamed = api.request("PATCH", record["links"]["self"], json_body={"filename": "a new name"}).ok(200)
    assert renamed["filename"] == "a new name"
    assert api.get(record["links"]["self"]).ok(200)["filename"] == "a new name"


@pytest.mark.transport
def test_a_deployment_says_what_it_can_do(api: Api) -> None:
    profile = api.get("/api/profile").ok(200)
    assert profile["profile"] == api.get("/api/health").ok(200)["profile"]
    assert profile["embedder"]["dimension"] == 512
    assert profile["fields"]["mode"]["enum"] == profile["modes"]


@pytest.mark.transport
def test_generate_may_be_asked_before_the_embedding_is_ready(api: Api, track: bytes) -> None:
    announced = api.announce("later.mp3", len(track), "audio/mpeg")
    assert announced["status"] == "awaiting_upload"
    submitted = api.generate(announced["audio_id"], duration=3, seed=1)
    assert submitted["status"] == "waiting"
    assert api.get(announced["links"]["embedding"], wait=0).ok(202)["status"] == "awaiting_upload"
    early = api.get(submitted["links"]["download"], wait=0)
    early.problem(409, "not_finished")
    assert int(early.headers["Retry-After"]) >= 1
    assert post_form(announced["upload"], track).status in {200, 201, 204}
    assert api.succeeded(submitted)["audio_id"] == announced["audio_id"]


# -- uploads -------------------------------------------------------------------------------------------------


@pytest.mark.transport
def test_a_file_comes_back_as_it_went_in(api: Api, song: str, track: bytes) -> None:
    record = api.get(f"/api/audio/{song}").ok(200)
    assert record["filename"] == "Harbour Lights – söng+1.mp3"
    assert (record["content_type"], record["bytes"]) == ("audio/mpeg", len(track))
    answer = api.get(record["links"]["content"])
    assert answer.status == 200
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(track).digest()
    assert answer.headers["Content-Type"] == "audio/mpeg"
    assert "filename*=UTF-8''Harbour%20Lights" in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    "filename", ["../../etc/passwd", "a\u202ecba.wav", 'quo"te.wav', "  ", "x" * 900 + ".wav", "日本語 ♫.wav"]
)
def test_a_file_name_is_only_data(api: Api, filename: str) -> None:
    content = sound.wav(sound.noise(1.0), 22050)
    record = api.get(api.announce(filename, len(content), "audio/wav")["links"]["self"]).ok(200)
    assert record["filename"] == filename.replace("\u202e", "")  # which turns the direction of writing


@pytest.mark.transport
def test_a_large_file_goes_straight_to_the_bucket(api: Api) -> None:
    content = sound.wav(np.tile(sound.noise(30.0, 44100), (2, 2)), 44100)
    assert len(content) > 10_000_000
    announced = api.announce("large song.wav", len(content), "audio/wav")
    assert post_form(announced["upload"], content).status in {200, 201, 204}
    record = api.ready(announced)
    assert record["bytes"] == len(content)
    back = api.get(record["links"]["content"])
    assert back.status == 302
    assert send("GET", back.headers["Location"]).body == content


@pytest.mark.transport
@needs_size_limit
def test_the_commands_of_a_413_work_as_pasted(api: Api, tmp_path: Path) -> None:
    content = sound.wav(np.tile(sound.noise(15.0, 44100), (2, 2)), 44100)
    (tmp_path / "your_music.mp3").write_bytes(content)
    # Between the function's limit and the gateway's, whose answer has no room for commands.
    body, headers = form([], "your_music.mp3", content[:4_600_000], "audio/mpeg")
    refused = api.request("POST", "/api/upload", data=body, headers=headers).problem(413, "too_large")
    first, second = refused["curls"]
    (tmp_path / "your_music.mp3").write_bytes(content[:4_600_000])
    shell(first, tmp_path, api)
    announced = json.loads((tmp_path / "upload.json").read_text())
    shell(second, tmp_path, api)
    assert api.finished(announced["links"]["self"])["status"] == "ready"


@pytest.mark.transport
def test_a_presigned_upload_takes_one_key_one_size_one_type(api: Api, track: bytes) -> None:
    announced = api.announce("strict.mp3", len(track), "audio/mpeg")
    upload = announced["upload"]
    other_key = upload["fields"]["key"].replace(announced["audio_id"], NOBODY)
    assert post_form(upload, track, key=other_key).status == 403
    assert post_form(upload, track, Content_Type="text/html").status == 403
    assert post_form(upload, track + b"x").status == 400
    assert post_form(upload, track[:-1]).status == 400
    signature = upload["fields"]["x-amz-signature"]
    forged = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    assert (
        post_form({**upload, "fields": {**upload["fields"], "x-amz-signature": forged}}, track).status == 403
    )
    assert api.get(announced["links"]["self"]).ok(200)["status"] == "awaiting_upload"
    assert post_form(upload, track).status in {200, 201, 204}
    assert api.ready(announced)["status"] == "ready"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"filename": "a.wav"}, "bytes"),
        ({"filename": "a.wav", "bytes": 0}, "bytes"),
        ({"filename": "a.wav", "bytes": "10"}, "bytes"),
        ({"filename": "", "bytes": 10}, "filename"),
        ({"filename": "a.wav", "bytes": 10, "key": "x"}, "key"),
    ],
)
def test_a_bad_announcement_names_its_field(api: Api, body: dict[str, object], field: str) -> None:
    problem = api.post("/api/upload", body).problem(422, "invalid_parameter")
    assert problem["field"] == field


@pytest.mark.transport
def test_bad_uploads_are_refused(api: Api) -> None:
    api.post("/api/upload", {"filename": "a.wav", "bytes": 10**9}).problem(413, "too_large")
    body, headers = form([], "empty.wav", b"", "audio/wav")
    empty = api.request("POST", "/api/upload", data=body, headers=headers)
    assert empty.problem(422, "invalid_parameter")["field"] == "file"
    broken = api.request("POST", "/api/upload", data=b"{", headers={"Content-Type": "application/json"})
    broken.problem(400, "invalid_body")


@pytest.mark.transport
def test_what_is_not_audio_fails_with_a_reason(api: Api) -> None:
    content = b"PK\x03\x04" + bytes(range(256)) * 40
    uploaded = api.announce("song.mp3", len(content), "audio/mpeg")
    submitted = api.generate(uploaded["audio_id"])
    assert post_form(uploaded["upload"], content).status in {200, 201, 204}
    record = api.finished(uploaded["links"]["self"])
    assert (record["status"], record["error"]["code"]) == ("failed", "not_audio")
    problem = api.get(uploaded["links"]["embedding"]).problem(409, "embedding_failed")
    assert problem["reason"] == "not_audio"
    waiting = api.finished(submitted["links"]["self"])
    assert (waiting["status"], waiting["error"]["code"]) == ("failed", "not_audio")
    download = api.get(submitted["links"]["download"])
    download.problem(409, "not_audio")
    assert download.headers["Retry-After"] is None
    api.post(f"/api/generate/{uploaded['audio_id']}", {}).problem(409, "embedding_failed")


@pytest.mark.transport
@pytest.mark.parametrize(
    ("container", "codec", "rate", "channels"),
    [
        ("wav", "pcm_u8", 8000, 1),
        ("wav", "pcm_s24le", 96000, 2),
        ("wav", "pcm_f64le", 44100, 6),
        ("flac", "flac", 48000, 2),
        ("ogg", "libopus", 48000, 1),
        ("mp4", "aac", 44100, 2),
        ("aiff", "pcm_s16be", 22050, 1),
    ],
)
def test_common_formats_are_understood(
    api: Api, container: str, codec: str, rate: int, channels: int
) -> None:
    audio = np.tile(sound.drone(3.0, rate), (channels, 1))
    content = sound.encode(audio, rate, container, codec)
    record = api.ready(api.upload_directly(f"tone.{container}", content, "application/octet-stream"))
    assert abs(record["features"]["duration"] - 3.0) < 0.1
    assert (record["features"]["key"], record["features"]["mode"]) == ("A", "major")


# -- embeddings ----------------------------------------------------------------------------------------------


@pytest.mark.transport
@pytest.mark.profile
def test_the_embedding_knows_the_sample_track(api: Api, song: str) -> None:
    answer = api.get(f"/api/embedding/{song}").ok(200)
    assert (answer["audio_id"], answer["status"]) == (song, "ready")
    assert answer["dimension"] == len(answer["embedding"]) == 512
    assert math.isclose(sum(value**2 for value in answer["embedding"]), 1.0, abs_tol=1e-5)
    features = answer["features"]
    assert abs(features["duration"] - 32) < 0.6
    assert abs(features["tempo"] - 100) < 1.5
    assert (features["key"], features["mode"]) == ("D", "minor")
    assert -24 < features["loudness"] < -8
    assert "minor" in answer["tags"]
    for part in ("model", "revision", "pipeline", "precision"):
        assert answer[part]


@pytest.mark.profile
def test_the_same_file_has_the_same_embedding(api: Api, song: str, track: bytes) -> None:
    again = api.upload("again.mp3", track, "audio/mpeg")
    api.ready(again)
    first, second = (api.get(f"/api/embedding/{i}").ok(200)["embedding"] for i in (song, again["audio_id"]))
    assert first == second
    results = api.get(f"/api/similar/{song}", k=100).ok(200)["results"]
    assert next(r for r in results if r["audio_id"] == again["audio_id"])["score"] > 0.9999


@pytest.mark.transport
@pytest.mark.profile
def test_similar_tracks_come_best_first_without_the_track_itself(
    api: Api, song: str, track: bytes, profile: str
) -> None:
    quieter = sound.decode(track)
    softer = api.upload("softer.wav", sound.wav(quieter.audio[:, : 20 * quieter.rate] * 0.5, quieter.rate))
    hiss = api.upload("hiss.wav", sound.wav(sound.noise(8.0), 22050))
    api.ready(softer)
    api.ready(hiss)
    results = api.get(f"/api/similar/{song}", k=100).ok(200)["results"]
    scores = {result["audio_id"]: result["score"] for result in results}
    assert song not in scores
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    if not untrained(profile):
        assert scores[softer["audio_id"]] > 0.8 > scores[hiss["audio_id"]] + 0.2
    assert len(api.get(f"/api/similar/{song}", k=1).ok(200)["results"]) == 1
    for k in (0, 101, "many"):
        assert api.get(f"/api/similar/{song}", k=k).problem(422, "invalid_parameter")["field"] == "k"


@pytest.mark.transport
def test_a_track_can_be_embedded_again(api: Api, track: bytes) -> None:
    uploaded = api.upload("twice.mp3", track, "audio/mpeg")
    api.ready(uploaded)
    before = api.get(uploaded["links"]["embedding"]).ok(200)["embedding"]
    again = api.post(f"/api/audio/{uploaded['audio_id']}/embed")
    if api.token:  # tenants have limits
        again.problem(429, "embedded_just_now")
    else:
        again.ok(202)
    api.ready(uploaded)
    assert api.get(uploaded["links"]["embedding"]).ok(200)["embedding"] == before


@pytest.mark.transport
@pytest.mark.profile
def test_search_by_text(api: Api, song: str, profile: str) -> None:
    answer = api.post("/api/search", {"text": "calm solo piano", "k": 100})
    if profile == "builtin":
        assert "small" in answer.problem(409, "unsupported_by_profile")["detail"]
    else:
        assert song in [result["audio_id"] for result in answer.ok(200)["results"]]
    assert api.post("/api/search", {"k": 5}).problem(422, "invalid_parameter")["field"] == "text"


# -- generations ---------------------------------------------------------------------------------------------


@pytest.mark.transport
@pytest.mark.parametrize("extension", list(CONTENT_TYPES))
def test_every_format_is_what_it_says(api: Api, song: str, extension: str) -> None:
    record, answer = api.make(song, duration=7.5, seed=11, format=extension)
    assert answer.headers["Content-Type"] == CONTENT_TYPES[extension]
    assert f".{extension}" in answer.headers["Content-Disposition"]
    assert "Harbour%20Lights" in answer.headers["Content-Disposition"]
    music = sound.decode(answer.body)
    assert abs(music.seconds - 7.5) <= 0.02
    assert music.audio.shape[0] in {1, 2}
    assert music.rate == (48000 if extension == "ogg" else 32000)
    assert np.abs(music.audio).max() > 0.05
    if extension != "wav":
        assert any(record["engine"] in value for value in music.tags.values()), music.tags
    assert record["parameters"]["format"] == extension


@pytest.mark.profile
def test_the_record_says_how_it_was_made(api: Api, song: str, profile: str) -> None:
    record, answer = api.make(song, duration=5, temperature=0.7, seed=3, candidates=3)
    assert record["engine"] == ("mosaic" if profile == "builtin" else f"musicgen-{profile}")
    assert record["seed"] in [candidate["seed"] for candidate in record["candidates"]]
    for part in ("model", "revision", "precision", "timings", "loudness"):
        assert record[part], part
    used = record["parameters"]
    assert (used["duration"], used["temperature"], used["candidates"], used["seed"]) == (5, 0.7, 3, 3)
    assert used["mode"] == "similar"
    assert len({candidate["seed"] for candidate in record["candidates"]}) == 3
    scores = [candidate["similarity"]["embedding"] for candidate in record["candidates"]]
    assert record["similarity"]["embedding"] == max(scores)
    assert set(record["similarity"]) == {"embedding", "chroma", "tempo", "form"}
    assert all(0 <= value <= 1 for value in record["similarity"].values())
    # What the track is played on is foreign to the weights of pocket.
    assert record["similarity"]["embedding"] > (0.2 if profile == "pocket" else 0.5)
    assert record["progress"] == 1
    assert record["loudness"]["true_peak"] <= -1.0
    source = api.get(f"/api/audio/{song}").ok(200)["features"]["loudness"]
    assert abs(record["loudness"]["integrated"] - source) <= 1.0 or record["loudness"]["limited"]
    winner, again = api.make(song, duration=5, temperature=0.7, seed=record["seed"], candidates=1)
    assert again.body == answer.body
    assert winner["seed"] == record["seed"]


@pytest.mark.profile
def test_the_same_seed_makes_the_same_bytes_and_another_seed_other_music(api: Api, song: str) -> None:
    first, again, other = (api.make(song, duration=4, seed=seed)[1].body for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_without_a_seed_the_server_draws_one_and_says_which(api: Api, song: str) -> None:
    one, content = api.make(song, duration=2)
    two, _ = api.make(song, duration=2)
    assert one["parameters"]["seed"] != two["parameters"]["seed"]
    _, again = api.make(song, duration=2, seed=one["parameters"]["seed"])
    assert again.body == content.body


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"duration": 0.5}, "duration"),
        ({"duration": 301}, "duration"),
        ({"duration": "30"}, "duration"),
        ({"duration": None}, "duration"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2049}, "top_k"),
        ({"top_p": 1.5}, "top_p"),
        ({"guidance_scale": 0.5}, "guidance_scale"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"candidates": 9}, "candidates"),
        ({"candidates": 0}, "candidates"),
        ({"mode": "louder"}, "mode"),
        ({"format": "midi"}, "format"),
        ({"tempo": 20}, "tempo"),
        ({"speed": 2}, "speed"),
    ],
)
def test_a_bad_parameter_is_named_and_never_clamped(
    api: Api, song: str, parameters: dict[str, object], field: str
) -> None:
    answer = api.post(f"/api/generate/{song}", parameters)
    assert answer.problem(422, "invalid_parameter")["field"] == field


@pytest.mark.profile
def test_what_the_profile_cannot_do_is_said(api: Api, song: str, profile: str) -> None:
    for parameters in ({"mode": "melody"}, {"mode": "continue"}, {"prompt": "with violins"}):
        if profile != "builtin" and (parameters != {"mode": "melody"} or takes_melodies(profile)):
            continue
        document = api.post(f"/api/generate/{song}", parameters).problem(409, "unsupported_by_profile")
        assert "melody" in document["detail"]


@pytest.mark.transport
@pytest.mark.profile
def test_the_modes_and_prompts_of_the_neural_profiles(api: Api, song: str, profile: str) -> None:
    if profile == "builtin":
        pytest.skip("the built-in profile has other modes, and no prompts")
    modes = ["similar", "continue", *(["melody"] if takes_melodies(profile) else [])]
    made = {}
    for mode in modes:
        for prompt in ("calm solo piano", "heavy metal"):
            record, answer = api.make(song, duration=2, seed=5, mode=mode, prompt=prompt)
            assert (record["parameters"]["mode"], record["parameters"]["prompt"]) == (mode, prompt)
            assert abs(sound.decode(answer.body).seconds - 2) <= 0.02
            assert record["details"]["machine"]
            assert isinstance(record["faults"], list)  # never delivered unmarked
            made[mode, prompt] = answer.body
    assert len(set(made.values())) == len(made)
    long = api.generate(song, duration=1, prompt="zq " * 330)
    record = api.finished(long["links"]["self"])
    assert (record["status"], record["error"]["code"]) == ("failed", "prompt_too_long")


@pytest.mark.profile
def test_a_request_over_the_profiles_limit_names_those_that_can(api: Api, song: str) -> None:
    if api.get("/api/profile").ok(200)["limits"]["generate_seconds"] >= 300 * 8:
        pytest.skip("this profile takes whatever the contract allows, on this host")
    answer = api.post(f"/api/generate/{song}", {"duration": 300, "candidates": 8})
    document = answer.problem(409, "unsupported_by_profile")
    assert document["field"] == "candidates"
    assert "builtin" in document["profiles"]


@pytest.mark.transport
def test_an_idempotency_key_makes_one_generation(api: Api, song: str) -> None:
    key = hashlib.sha256(os.urandom(8)).hexdigest()
    path, body = f"/api/generate/{song}", {"duration": 2, "seed": 9}
    first = api.post(path, body, Idempotency_Key=key)
    again = api.post(path, body, Idempotency_Key=key)
    assert first.ok(202)["generation_id"] == again.ok(202)["generation_id"]
    assert first.headers["Location"] == again.headers["Location"]
    api.post(path, {"duration": 3}, Idempotency_Key=key).problem(422, "idempotency_mismatch")


@pytest.mark.transport
def test_the_same_upload_twice_is_taken_and_recognised(api: Api) -> None:
    content = sound.wav(sound.noise(3.0, seed=int.from_bytes(os.urandom(4))), 22050)
    first = api.upload("first.wav", content, "audio/wav")
    again = api.upload("again.wav", content, "audio/wav")
    directly = api.upload_directly("directly.wav", content, "audio/wav")
    assert "duplicate_of" not in first
    assert again["duplicate_of"] == first["audio_id"]
    for uploaded in (again, directly):
        assert api.ready(uploaded)["duplicate_of"] == first["audio_id"]
        embedding = api.get(uploaded["links"]["embedding"]).ok(200)
        assert embedding["duplicate_of"] == first["audio_id"]
    assert "duplicate_of" not in api.ready(first)


def test_waiting_is_bounded(api: Api, song: str) -> None:
    submitted = api.generate(song, duration=2, seed=1)
    for wait in (-1, 25.5, "soon"):
        for path in (f"/api/embedding/{song}", submitted["links"]["self"], submitted["links"]["download"]):
            assert api.get(path, wait=wait).problem(422, "invalid_parameter")["field"] == "wait"
    announced = api.announce("never.mp3", 1000, "audio/mpeg")
    pending = api.get(announced["links"]["embedding"], wait=1)
    assert pending.ok(202)["status"] == "awaiting_upload"
    assert int(pending.headers["Retry-After"]) >= 1
    assert api.get(submitted["links"]["self"], wait=25).ok(200)["status"] in {
        "queued",
        "running",
        "succeeded",
    }


@pytest.mark.transport
def test_a_long_poll_answers_as_soon_as_the_music_is_there(api: Api, song: str) -> None:
    submitted = api.generate(song, duration=2, seed=2)
    answer = api.get(submitted["links"]["download"], wait=25)
    while answer.status == 409:
        answer.problem(409, "not_finished")
        answer = api.get(submitted["links"]["download"], wait=25)
    assert answer.status == 200


@pytest.mark.transport
def test_a_generation_can_be_cancelled_and_removed(api: Api, track: bytes) -> None:
    announced = api.announce("cancel.mp3", len(track), "audio/mpeg")
    submitted = api.generate(announced["audio_id"], duration=2)
    cancelled = api.delete(submitted["links"]["self"]).ok(202)
    assert cancelled["status"] == "cancelled"
    api.get(submitted["links"]["download"]).problem(409, "cancelled")
    assert api.delete(submitted["links"]["self"]).status == 204
    api.get(submitted["links"]["self"]).problem(404, "not_found")
    api.get(submitted["links"]["download"]).problem(404, "not_found")


# -- lists, deletion -----------------------------------------------------------------------------------------


@pytest.mark.transport
def test_lists_come_in_pages_newest_first(api: Api, song: str) -> None:
    made = [api.announce(f"page {i}.wav", 100, "audio/wav")["audio_id"] for i in range(3)]
    seen: list[str] = []
    cursor = None
    while True:
        page = api.get("/api/audio", limit=2, **({"cursor": cursor} if cursor else {})).ok(200)
        seen += [item["audio_id"] for item in page["items"]]
        assert len(page["items"]) <= 2
        cursor = page["cursor"]
        if not cursor:
            break
    assert len(seen) == len(set(seen))
    assert [audio_id for audio_id in seen if audio_id in made] == made[::-1]
    assert song in seen
    api.get("/api/audio", cursor="nonsense").problem(422, "invalid_parameter")
    submitted = api.generate(song, duration=1, seed=1)
    listed = api.get("/api/generation", audio_id=song, limit=100).ok(200)["items"]
    assert submitted["generation_id"] in [item["generation_id"] for item in listed]
    assert {item["audio_id"] for item in listed} == {song}
    newest = api.get("/api/generation", limit=1).ok(200)["items"][0]
    assert newest["generation_id"] == submitted["generation_id"]


@pytest.mark.transport
def test_a_deleted_track_is_gone_with_all_that_was_made_of_it(api: Api, song: str, track: bytes) -> None:
    uploaded = api.upload("short-lived.mp3", track, "audio/mpeg")
    api.ready(uploaded)
    record, _ = api.make(uploaded["audio_id"], duration=1, seed=1)
    assert api.delete(uploaded["links"]["self"]).status == 204
    for link in uploaded["links"].values():
        method = "POST" if link.endswith(uploaded["audio_id"]) and "/generate/" in link else "GET"
        api.request(method, link, json_body={} if method == "POST" else None).problem(404, "not_found")
    api.get(record["links"]["self"]).problem(404, "not_found")
    api.get(record["links"]["download"]).problem(404, "not_found")
    api.delete(uploaded["links"]["self"]).problem(404, "not_found")
    neighbours = api.get(f"/api/similar/{song}", k=100).ok(200)["results"]
    assert uploaded["audio_id"] not in [neighbour["audio_id"] for neighbour in neighbours]
    listed = api.get("/api/audio", limit=100).ok(200)["items"]
    assert uploaded["audio_id"] not in [item["audio_id"] for item in listed]


@pytest.mark.parametrize(
    "path",
    [
        f"/api/audio/{NOBODY}",
        f"/api/audio/{NOBODY}/content",
        f"/api/embedding/{NOBODY}",
        f"/api/similar/{NOBODY}",
        f"/api/generation/{NOBODY}",
        f"/api/download/{NOBODY}",
        "/api/audio/not-an-id",
    ],
)
def test_what_is_not_there_is_not_found(api: Api, path: str) -> None:
    api.get(path).problem(404, "not_found")


# -- the service ---------------------------------------------------------------------------------------------


@pytest.mark.transport
def test_the_service_describes_itself(api: Api) -> None:
    health = api.get("/api/health").ok(200)
    assert health["status"] == "ok"
    assert health["profile"]
    document = api.get("/api/openapi.json").ok(200)
    committed = json.loads(OPENAPI.read_text())
    for paths in (document["paths"], committed["paths"]):
        for operations in paths.values():
            for operation in operations.values():
                operation.pop("security", None)  # is said of a deployment that wants a key
    assert document["paths"] == committed["paths"]
    page = api.get("/")
    assert page.status == 200
    assert page.headers.get_content_type() == "text/html"


@pytest.mark.transport
def test_browsers_are_let_in(api: Api, song: str) -> None:
    headers = {
        "Origin": "https://example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    preflight = api.request("OPTIONS", f"/api/generate/{song}", headers=headers)
    assert preflight.status in {200, 204}
    assert preflight.headers["Access-Control-Allow-Origin"] in {"*", "https://example.org"}
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    for path in (f"/api/audio/{song}", f"/api/audio/{NOBODY}"):
        answer = api.request("GET", path, headers={"Origin": "https://example.org"})
        assert answer.headers["Access-Control-Allow-Origin"] in {"*", "https://example.org"}


@pytest.mark.transport
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/audio", "GET, HEAD, POST, OPTIONS"),
        ("PUT", f"/api/audio/{NOBODY}", "DELETE, GET, HEAD, PATCH, OPTIONS"),
        ("GET", "/api/upload", "POST, OPTIONS"),
        ("DELETE", "/api/search", "POST, OPTIONS"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(api: Api, method: str, path: str, allowed: str) -> None:
    answer = api.request(method, path)
    answer.problem(405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.transport
def test_a_player_seeks_in_a_track(api: Api, song: str, track: bytes) -> None:
    path = f"/api/audio/{song}/content"
    part = api.request("GET", path, headers={"Range": "bytes=1000-1999"})
    assert (part.status, part.body) == (206, track[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(track)}"
    etag = part.headers["ETag"]
    assert api.request("GET", path, headers={"If-None-Match": etag}).status == 304
    rest = api.request("GET", path, headers={"Range": "bytes=1000-", "If-Range": etag})
    assert (rest.status, rest.body) == (206, track[1000:])
    head = api.request("HEAD", path)
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", etag)
    # The same straight from the bucket, without a key.
    link = api.get(f"/api/audio/{song}").ok(200)["links"]["play"]
    part = send("GET", link, headers={"Range": "bytes=-100"})
    assert (part.status, part.body) == (206, track[-100:])
    assert part.headers["Content-Disposition"].startswith("inline")


def test_a_track_is_retuned_extended_and_repainted(api: Api) -> None:
    profile = api.get("/api/profile").ok(200)
    if "repaint" not in profile["modes"]:
        pytest.skip(f"profile {profile['profile']} makes no region anew")
    mono = sound.song(120.0, 2, "minor", 20.0)
    content = sound.encode(np.stack([mono, 0.7 * mono]), 22050, "wav", "pcm_s16le")
    uploaded = api.upload("song.wav", content, "audio/wav")
    api.ready(uploaded)
    track = uploaded["audio_id"]
    before = sound.decode(content).audio

    _, answer = api.make(track, duration=16, tempo=110, key="F minor", format="flac", seed=2)
    again = api.upload("made.flac", answer.body, "audio/flac")
    api.ready(again)
    heard = api.get(f"/api/embedding/{again['audio_id']}").ok(200)["features"]
    assert heard["tempo"] == pytest.approx(110.0, rel=0.01)
    assert (heard["key"], heard["mode"]) == ("F", "minor")

    record, answer = api.make(track, mode="extend", duration=4, format="flac")
    seam = record["details"]["seam"]
    assert sound.decode(answer.body).seconds == pytest.approx(seam + 4.0, abs=0.001)

    record, answer = api.make(track, mode="repaint", region={"start": 6, "end": 12})
    after = sound.decode(answer.body)
    assert (after.rate, after.audio.shape) == (22050, before.shape)
    changed = np.flatnonzero((after.audio != before).any(axis=0)) / 22050
    assert 6.0 <= changed[0] < changed[-1] <= 12.0


@pytest.mark.transport
@needs_gateway
def test_the_gateways_own_errors_are_problems_too(api: Api) -> None:
    answer = api.request("GET", "/api/nothing-here", headers={"Origin": "https://example.org"})
    answer.problem(404, "not_found")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.transport
@needs_gateway
def test_every_answer_can_be_traced(api: Api, song: str) -> None:
    one, two = (api.get(f"/api/audio/{song}").headers["X-Correlation-Id"] for _ in range(2))
    assert one
    assert two
    assert one != two


@pytest.mark.transport
def test_links_lead_somewhere(api: Api, song: str) -> None:
    prefix = urlsplit(api.url).path
    links = api.get(f"/api/audio/{song}").ok(200)["links"]
    for name in [name for name in links if name.startswith("play")]:
        assert send("GET", links.pop(name)).status == 200  # presigned, for players that send no key
    for link in links.values():
        assert link.startswith(f"{prefix}/api/")
        if "/generate/" not in link:
            assert api.get(link).status == 200
