"""The shapes of the HTTP contract: what requests may say and what answers look like.

Request models are strict: an unknown field, a value of another type or out of range is an error that names
the field; nothing is clamped or converted. Answer models are the single source of both the answers and
`openapi.json`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from backend.records import Audio, Generation
from backend.records.table import iso
from backend.settings import MAX_UPLOAD_BYTES
from backend.storage import without_hidden_characters

VERSION = "0.1.0"

MULTIPART_BYTES = 4_500_000
"""Largest file of a multipart upload: base64 makes it 6 MB, the most that an invocation may carry."""

INLINE_BYTES = 4_700_000
"""Largest object answered inline, by the same arithmetic; larger ones are answered with a redirect."""

MAX_WAIT_SECONDS = 25
"""Longest long poll: API Gateway gives up after 29 s."""

CONTENT_TYPES = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg", "ogg": "audio/ogg"}
"""Content type of each output format."""

MAX_SEED = 2**53 - 1
"""Largest seed: JSON numbers above it lose digits in a browser."""

MAX_SOURCE_SECONDS = 900.0
"""Longest source track, which `music.audio.decode` knows as MAX_SECONDS."""

SHORTEST_SECTION = 1.0
"""Seconds."""

_ID = "01JZ8Q4W3N6V7X9Y2A5B8C1D4E"
_OTHER = "01JZ8QB1T5G2H4J6K8M0N3P5Q7"
_TIME = "2026-01-02T03:04:05.678Z"

DUPLICATE_OF: Any = Field(
    default=None,
    description="Your oldest track with exactly the same content when this one came in; missing when there "
    "was none, and once that one is deleted.",
)


def _file_name(name: str) -> str:
    if not (visible := without_hidden_characters(name)):
        raise ValueError("the name has no character that can be seen")
    return visible


FileName = Annotated[str, AfterValidator(_file_name)]
"""A file's name, as its owner gives it: what nobody sees of it is left out."""


def _words(text: str) -> str:
    if not without_hidden_characters(text).strip():
        raise ValueError("the text has no character that can be seen")
    return text


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class Answer(BaseModel):
    """Base of every JSON answer."""

    model_config = ConfigDict(defer_build=True)

    def json_body(self) -> str:
        """Serialise, leaving out what is not known yet."""
        return self.model_dump_json(exclude_unset=True)


class DirectUploadRequest(_Request):
    """Asks for a presigned upload straight to the bucket."""

    filename: FileName = Field(
        min_length=1,
        max_length=1024,
        description="Name of the file; data only. Characters that nobody sees are left out.",
    )
    bytes: int = Field(
        ge=1,
        description="Exact size of the file.",
        json_schema_extra={"maximum": MAX_UPLOAD_BYTES},  # the handler checks it: 413, not 422
    )
    content_type: str = Field(
        default="application/octet-stream", max_length=255, description="Its type; guessed when generic."
    )
    sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the file. Where you have a track with this content, it is answered with 200, "
        "and nothing has to be sent.",
    )


class Section(_Request):
    """A part of a track."""

    start: float = Field(ge=0, le=MAX_SOURCE_SECONDS, allow_inf_nan=False, description="Seconds.")
    end: float = Field(
        ge=0,
        le=MAX_SOURCE_SECONDS,
        allow_inf_nan=False,
        description="Seconds; a second past `start` or more.",
    )

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start

    @model_validator(mode="after")
    def _long_enough(self) -> Section:
        if self.seconds < SHORTEST_SECTION:
            raise PydanticCustomError("section", "end must lie at least 1 s past start")
        return self


Key = Literal[
    "C major", "C# major", "D major", "D# major", "E major", "F major",
    "F# major", "G major", "G# major", "A major", "A# major", "B major",
    "C minor", "C# minor", "D minor", "D# minor", "E minor", "F minor",
    "F# minor", "G minor", "G# minor", "A minor", "A# minor", "B minor",
]  # fmt: skip


_SHARPS = {"Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#", "Bb": "A#"}


def _in_sharps(key: Any) -> Any:
    if not isinstance(key, str):
        return key
    tonic, _, mode = key.partition(" ")
    return f"{_SHARPS.get(tonic, tonic)} {mode}"


class GenerateRequest(_Request):
    """How the new music is to be made."""

    duration: float = Field(default=30, ge=1, le=300, allow_inf_nan=False, description="Seconds.")
    temperature: float = Field(
        default=1.0, ge=0.05, le=2.0, allow_inf_nan=False, description="How far choices stray."
    )
    top_k: int = Field(default=250, ge=0, le=2048, description="Choose among the k likeliest; 0 = all.")
    top_p: float = Field(
        default=0.0, ge=0, le=1, allow_inf_nan=False, description="Choose within this mass; 0 = off."
    )
    guidance_scale: float = Field(
        default=3.0, ge=1, le=10, allow_inf_nan=False, description="Weight of the condition."
    )
    seed: int | None = Field(
        default=None, ge=0, le=MAX_SEED, description="Null: the server draws one and records it."
    )
    prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Needs a profile that understands text. Over 256 tokens of its text encoder the job "
        "fails with `prompt_too_long`.",
    )
    negative_prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="What to keep away from; needs what `prompt` needs, and a `guidance_scale` over 1. "
        "As long as that at most.",
    )
    mode: Literal["similar", "continue", "melody", "extend", "repaint"] = Field(
        default="similar",
        description="What is taken from the source, or becomes of it: `extend` gives the source and "
        "`duration` s of what follows, joined on a bar line, 600 s at most together; `repaint` gives the "
        "source with `region` made anew. A profile may not know all.",
    )
    before: bool = Field(
        default=False,
        description="With `extend`: what is new leads to the source, instead of following it. "
        "`ending` may not stand beside it.",
    )
    region: Section | None = Field(
        default=None,
        description="With `repaint`: what is made anew, from the first beat in it to the last. Outside, the "
        "file is the source sample for sample, at its rate and no less than its depth. `duration`, "
        "`section`, `ending` and `sample_rate` may not stand beside it. Of a source with over 2 channels the "
        "job fails with `too_many_channels`; its rate is bounded as that of `sample_rate` `source` is.",
    )
    candidates: int = Field(default=1, ge=1, le=8, description="Make so many and keep the most similar.")
    format: Literal["wav", "flac", "mp3", "ogg"] = Field(default="wav", description="Output format.")
    section: Section | None = Field(
        default=None,
        description="Use only this part of the source, as if nothing else were there. `tempo`, `key` and "
        "`loop` depend on what is heard in it, so its job tells what is out of reach. Its tempo and bars are "
        "the source's, unless it surely has another tempo.",
    )
    ending: Literal["natural", "fade", "cut"] | None = Field(
        default=None,
        description="With a last sound on a bar line that dies away, faded out, or cut off. Null: natural "
        "where the profile can, else faded out. The record's `details.ending` says what became of it: a "
        "natural end needs beats, and a bar line in the last third of the piece.",
    )
    loop: bool = Field(
        default=False,
        description="Make `bars` whole bars whose end meets their beginning. `duration` and `ending` may "
        "not stand beside it, nor may mp3, which pads. wav and flac are exact to a sample; ogg is Opus at "
        "48 kHz, and is not. The record's `duration` is what it came to. Needs a track with bars.",
    )
    bars: int | None = Field(default=None, ge=1, le=64, description="How long a loop is.")
    sample_rate: Literal[32000, 44100, 48000, "source"] = Field(
        default=32000,
        description="Hz, of the work and of the file; a profile may know 32000 only. ogg is always 48000. "
        "`source` is the source's own, in wav and flac: 8,000 to 192,000 Hz and up to 43,200,000 samples in "
        "a channel (900 s at 48 kHz), or the job fails with `source_rate`.",
    )
    bit_depth: Literal[16, 24] = Field(default=16, description="Of wav and flac.")
    tempo: float | None = Field(
        default=None,
        ge=30,
        le=300,
        allow_inf_nan=False,
        description="Beats per minute of the result. A profile that copies its source plays it at 0.8 to 1.25"
        " times its tempo; of the others' candidates one is chosen and stretched by 12 % at most. The job "
        "fails with `tempo_out_of_reach` where none has it; a copying profile's of 10 s or more alone.",
    )
    key: Annotated[Key | None, BeforeValidator(_in_sharps)] = Field(
        default=None,
        description="Key of the result; flats are taken, too. A profile that copies its source transposes it "
        "by up to 6 semitones and cannot change its mode; of the others' candidates one is chosen. The job "
        "fails with `key_out_of_reach` as it does of `tempo`.",
    )


class ChooseRequest(_Request):
    """Which candidate is to be the result."""

    chosen: int = Field(ge=0, le=99, description="The index of a candidate that is kept.")


class RenameRequest(_Request):
    """What a source track is to be called."""

    filename: Annotated[FileName, AfterValidator(_words)] = Field(
        min_length=1,
        max_length=1024,
        description="Its new name, with something to be seen in it. What nobody sees is left out.",
    )


class CopyRequest(_Request):
    """Which music is to become a source track."""

    generation_id: str = Field(min_length=1, max_length=64, description="A succeeded generation.")
    candidate: int | None = Field(
        default=None, ge=0, le=99, description="One of its candidates; by default the one that is chosen."
    )


class SearchRequest(_Request):
    """Looks for audio that fits a description."""

    text: Annotated[str, AfterValidator(_words)] = Field(
        min_length=1,
        max_length=1000,
        description="What it should sound like; over 510 tokens of the text encoder it is `text_too_long`.",
    )
    k: int = Field(default=10, ge=1, le=100, description="How many results.")


class Problem(Answer):
    """RFC 9457 problem details."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable, machine-readable name of the problem.")
    field: str | None = Field(default=None, description="The offending field of a 422.")


class Error(Answer):
    """Why a job failed."""

    code: str
    detail: str


class Uploaded(Answer):
    """An accepted upload."""

    audio_id: str = Field(examples=[_ID])
    status: Literal["uploaded"]
    filename: str
    bytes: int
    content_type: str
    duplicate_of: str | None = DUPLICATE_OF
    links: dict[str, str]


class DirectUpload(Answer):
    """A presigned POST: send `fields`, then the file as the last field `file`, to `url`."""

    url: str
    fields: dict[str, str]
    expires_at: str


class Location(Answer):
    """Where a file can be got: a presigned GET of the bucket, without any header."""

    url: str
    expires_at: str = Field(examples=[_TIME])


class AwaitingUpload(Answer):
    """A record that waits for its file."""

    audio_id: str = Field(examples=[_ID])
    status: Literal["awaiting_upload"]
    filename: str
    bytes: int
    content_type: str
    upload: DirectUpload
    links: dict[str, str]


AudioStatus = Literal["awaiting_upload", "uploaded", "embedding", "ready", "failed"]
GenerationStatus = Literal["waiting", "queued", "running", "succeeded", "failed", "cancelled"]


class Features(Answer):
    """What was measured on a track."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    duration: float = Field(description="Seconds.", examples=[183.2])
    tempo: float = Field(description="Beats per minute; 0 where no pulse can be felt.", examples=[117.5])
    key: str | None = Field(description="Tonic, C to B in sharps; null where none stands out.")
    mode: str | None = Field(description="major or minor; null with `key`.")
    loudness: float | None = Field(default=None, description="LUFS; null for silence.")
    spectral_centroid: float = Field(default=0, description="Hz: how bright it is.")
    onset_rate: float = Field(default=0, description="Beginnings of sounds per second.")
    beats: list[float] = Field(default=[], description="Seconds.")
    tempo_confidence: float | None = Field(
        default=None, ge=0, le=1, description="How likely it is that the tempo is right up to an octave."
    )
    key_confidence: float | None = Field(default=None, ge=0, le=1, description="How likely the key is.")
    fold: Literal["mean", "side"] = Field(
        default="mean",
        description="What a model of one channel was given: `side` where channels cancel in their mean.",
    )
    meter: Literal["4/4", "3/4", "6/8"] | None = Field(
        default=None, description="Null where no bars were found, and of tracks embedded before bars were."
    )
    bars: list[float] | None = Field(
        default=None, description="When bars begin, in seconds: some of `beats`. Null with `meter`."
    )
    bars_confidence: float | None = Field(
        default=None, ge=0, le=1, description="How likely it is that meter and bars are right."
    )


STAGE: Any = Field(
    default=None,
    description="What its worker is at; null while none works on it.",
    examples=["decoding"],
)
SECONDS_LEFT: Any = Field(
    default=None, ge=0, description="How long its worker still needs; null where nobody can tell."
)


class MadeFrom(Answer):
    """The generation that a source track is a copy of."""

    generation_id: str = Field(examples=[_OTHER])
    candidate: int | None = Field(description="Null of a generation whose candidates were not kept.")


class AudioAnswer(Answer):
    """A source track's record."""

    audio_id: str = Field(examples=[_ID])
    status: AudioStatus
    filename: str
    content_type: str = Field(description="As declared; of a ready one, what the file turned out to be.")
    bytes: int | None
    progress: float = Field(ge=0, le=1)
    stage: str | None = STAGE
    seconds_left: float | None = SECONDS_LEFT
    created_at: str = Field(examples=[_TIME])
    updated_at: str = Field(examples=[_TIME])
    expires_at: str = Field(examples=[_TIME])
    error: Error | None = Field(default=None, description="Why it, or its last try, failed.")
    duplicate_of: str | None = DUPLICATE_OF
    made_from: MadeFrom | None = Field(default=None, description="What it is a copy of; null of an upload.")
    model: str | None = Field(default=None, description="Embedding model; only of a ready one.")
    features: Features | None = None
    tags: list[str] | None = None
    links: dict[str, str]


class Chroma(Answer):
    """How the harmony of a track goes."""

    hop: float = Field(description="Seconds of each row of `values`.", examples=[0.5])
    values: list[Annotated[list[float], Field(min_length=12, max_length=12)]] = Field(
        description="How strong each pitch class is, from C to B, 0 to 1; the strongest of all is 1."
    )


class AudioAnalysis(Answer):
    """What a player needs of a track."""

    audio_id: str = Field(examples=[_ID])
    duration: float = Field(description="Seconds.")
    loudness: float | None = Field(
        default=None,
        description="LUFS of the preview, in which more than two channels are mixed; null for silence, and "
        "of tracks that were embedded before it was measured.",
    )
    peaks: list[float] = Field(
        max_length=2000,
        description="The largest sample, 0 to 1, in each of so many parts of equal length.",
    )
    beats: list[float] = Field(description="Seconds.")
    bars: list[float] = Field(description="Beginnings of bars, in seconds; none where none were found.")
    chroma: Chroma


class AudioList(Answer):
    """A page of source tracks, newest first."""

    items: list[AudioAnswer]
    cursor: str | None = Field(description="Pass it back for the next page; null on the last one.")


class Embedding(Answer):
    """A source track's embedding and what was measured on it."""

    audio_id: str = Field(examples=[_ID])
    status: Literal["ready"]
    model: str = Field(examples=["mir-512"])
    revision: str
    pipeline: str
    precision: str
    dimension: int = Field(examples=[512])
    embedding: list[float] = Field(description="Unit vector; only vectors of equal identity compare.")
    windows: int = Field(default=1, description="Windows of sound that it is the mean of.")
    features: Features
    tags: list[str] = Field(examples=[["fast", "minor", "percussive"]])
    tag_scores: dict[str, dict[str, float]] = Field(
        default={},
        description="For each category its likeliest tags, best first, with their shares; needs a profile "
        "with a text-audio model.",
        examples=[{"genre": {"jazz": 0.61, "blues": 0.17}, "mood": {"calm": 0.43, "dreamy": 0.2}}],
    )
    duplicate_of: str | None = DUPLICATE_OF
    links: dict[str, str]


class PendingEmbedding(Answer):
    """An embedding that is still to come."""

    audio_id: str = Field(examples=[_ID])
    status: Literal["awaiting_upload", "uploaded", "embedding"]
    progress: float = Field(ge=0, le=1)
    links: dict[str, str]


class SimilarResult(Answer):
    """A neighbour."""

    audio_id: str = Field(examples=[_OTHER])
    score: float = Field(description="Cosine similarity, -1 to 1.")
    filename: str
    tags: list[str] | None = None
    links: dict[str, str]


class Similar(Answer):
    """Neighbours, best first."""

    results: list[SimilarResult]


class MapPoint(Answer):
    """A source track's place on the map."""

    audio_id: str = Field(examples=[_ID])
    x: float
    y: float
    filename: str
    tags: list[str]
    links: dict[str, str]


class Map(Answer):
    """A page of the map, newest tracks first."""

    items: list[MapPoint]
    cursor: str | None = Field(
        description="Pass it back for the next page, which has the same axes; null on the last one."
    )
    explained: list[float] = Field(
        min_length=2,
        max_length=2,
        description="Share of the variance of the embeddings along each axis.",
        examples=[[0.31, 0.17]],
    )


class Parameters(Answer):
    """The fields of the request as they were used."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    duration: float = Field(default=30, description="Seconds.")
    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0
    guidance_scale: float = 3.0
    seed: int
    prompt: str | None = None
    negative_prompt: str | None = None
    mode: str = "similar"
    candidates: int = 1
    format: str = "wav"
    section: Section | None = None
    ending: str | None = None
    loop: bool = False
    bars: int | None = None
    sample_rate: int | str = 32000
    bit_depth: int = 16
    before: bool = False
    region: Section | None = None
    tempo: float | None = None
    key: str | None = None


class Similarity(Answer):
    """How alike result and source are, each from 0 to 1."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    embedding: float = Field(description="Cosine of the embeddings, which chose the winner.")
    chroma: float | None = Field(default=None, description="Of mean chroma, the best of 12 rotations.")
    tempo: float | None = Field(default=None, description="Of tempo, modulo octaves.")
    form: float | None = Field(
        default=None,
        description="How well some phrase of eight beats returns in the result, in its harmony and rhythm: a "
        "measure of the result alone.",
    )


class Candidate(Answer):
    """One try at the music."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    index: int = Field(default=0, description="Its number, from 0, in the order in which they were made.")
    seed: int
    similarity: Similarity | None = Field(default=None, description="Missing when it came to nothing.")
    faults: list[str] | None = Field(default=None, description="What can be heard to be wrong with it.")
    chosen: bool = Field(default=False, description="Whether it is the result.")
    links: dict[str, str] | None = Field(
        default=None, description="`download`, and of a single record `play`; only while it is kept."
    )


class Loudness(Answer):
    """How loud the result is."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    integrated: float | None = Field(default=None, description="LUFS; null for silence.")
    true_peak: float | None = Field(default=None, description="dBTP; null for silence.")
    target: float | None = Field(default=None, description="LUFS of the source.")
    limited: bool | None = Field(default=None, description="Whether peaks had to be limited.")
    on_target: bool | None = Field(default=None, description="Whether the target was reached.")


class GenerationAnswer(Answer):
    """A generation's record; the fields from `engine` on only of a succeeded one."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    generation_id: str = Field(examples=[_OTHER])
    audio_id: str = Field(examples=[_ID])
    status: GenerationStatus
    progress: float = Field(ge=0, le=1)
    stage: str | None = STAGE
    seconds_left: float | None = SECONDS_LEFT
    profile: str
    created_at: str = Field(examples=[_TIME])
    updated_at: str = Field(examples=[_TIME])
    expires_at: str = Field(examples=[_TIME])
    parameters: Parameters = Field(description="As used, the seed always included.")
    error: Error | None = Field(default=None, description="Why it, or its last try, failed.")
    copied_to: list[str] = Field(
        default=[],
        description="The oldest source tracks that are copies of it, those deleted since included.",
    )
    links: dict[str, str]
    engine: str | None = Field(default=None, examples=["mosaic"])
    model: str | None = None
    revision: str | None = None
    precision: str | None = None
    seed: int | None = Field(default=None, description="Seed of the candidate that was kept.")
    similarity: Similarity | None = None
    candidates: list[Candidate] | None = Field(default=None, description="All that were tried.")
    chosen: int | None = Field(
        default=None, description="The candidate that is the result: the most similar, or the one you chose."
    )
    candidates_expire_at: str | None = Field(
        default=None,
        description="When the candidates that are not the result go, and nothing can be chosen any more.",
        examples=[_TIME],
    )
    timings: dict[str, float] | None = Field(default=None, description="Seconds per stage.")
    loudness: Loudness | None = None
    duration: float | None = Field(default=None, description="Seconds.")
    sample_rate: int | None = Field(default=None, description="Hz.")
    channels: int | None = None
    digital_source_type: str | None = Field(
        default=None,
        description="How a machine made it, in the words of IPTC; the file says it, too.",
        examples=["http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"],
    )
    license: str | None = Field(default=None, description="Licence of the weights; null without weights.")


class Origin(Answer):
    """A part of a generation, and where it is in the source."""

    start: float = Field(description="Seconds of the generation.")
    end: float
    source_start: float = Field(description="Seconds of the source.")


class Origins(Answer):
    """Which part of a generation comes from where."""

    generation_id: str = Field(examples=[_OTHER])
    candidate: int
    segments: list[Origin]


class GenerationList(Answer):
    """A page of generations, newest first."""

    items: list[GenerationAnswer]
    cursor: str | None = Field(description="Pass it back for the next page; null on the last one.")


class MatrixError(Answer):
    """What a matrix loses."""

    matrix: str = Field(examples=["musicgen.23.feed.out"])
    error: float = Field(description="Relative root mean square error of what comes out of it.")


class Accuracy(Answer):
    """What the precision of the weights costs, measured on a fixed prompt when they were built."""

    precision: str = Field(examples=["int8"])
    logit_error: float = Field(description="Relative root mean square error of the logits against float32.")
    worst: list[MatrixError] = Field(description="The matrices with the largest errors, worst first.")


class Health(Answer):
    """The service answers and reaches its table."""

    status: Literal["ok"]
    version: str
    profile: str
    accuracy: Accuracy | None = Field(
        default=None,
        description="Of the generator's weights; missing where these are float32 or none.",
    )


class EmbedderOfProfile(Answer):
    """What makes the embeddings."""

    model: str = Field(examples=["mir-512"])
    revision: str
    dimension: int = Field(examples=[512])
    license: str | None = Field(description="Licence of its weights; null without weights.")


class GeneratorOfProfile(Answer):
    """What makes the music."""

    model: str = Field(examples=["mosaic"])
    revision: str
    precision: str
    license: str | None = Field(description="Licence of its weights; null without weights.")


class RequestProperty(Answer):
    """What a property of an object in a request may be."""

    type: Literal["number"]
    minimum: float
    maximum: float
    description: str


class RequestField(Answer):
    """What a field of `GenerateRequest` may be, in the words of JSON Schema."""

    type: Literal["number", "integer", "string", "boolean", "object"]
    nullable: bool = Field(description="Whether null is taken, too.")
    default: float | int | str | bool | None
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = Field(default=None, description="Of a text, in characters.")
    enum: list[str | int] | None = None
    properties: dict[str, RequestProperty] | None = Field(
        default=None, description="Of an object; all needed."
    )
    description: str


class MeasuredSpeed(Answer):
    """How fast this deployment generates, by the jobs that it has finished."""

    music_seconds_per_second: float | None = Field(
        description="Seconds of music, of all candidates together, made in one; null before the first job."
    )
    measured_jobs: int


class ProfileLimits(Answer):
    """How much may be asked for."""

    generate_seconds: float = Field(description="Duration times candidates of one request.")
    upload_seconds: float = Field(description="Longest source track.")
    upload_bytes: int = Field(description="Largest source track.")
    multipart_bytes: int = Field(description="Largest file of an upload as multipart form data.")
    unfinished: int | None = Field(
        description="Unfinished generations at once, and as many tracks to be embedded; null without a limit."
    )
    worker_seconds_per_day: int | None = Field(
        description="Seconds of the workers' time a day (UTC); null without a limit."
    )
    worker_seconds_left: float | None = Field(description="Those of today; null without a limit.")
    stored_bytes: int | None = Field(description="Bytes in the bucket; null without a limit.")


class ProfileCosts(Answer):
    """What a job is expected to take of the workers' time; `worker_seconds_per_day` is charged so much."""

    embed: float = Field(description="Seconds for each embedding.")
    embed_second: float = Field(description="More for each second of the track.")
    generate: float = Field(description="Seconds for each generation.")
    source_second: float = Field(description="More for each second of the source.")
    output_second: float = Field(description="More for each second of music of each candidate.")


class Profile(Answer):
    """What the deployment can do."""

    profile: str = Field(examples=["builtin"])
    embedder: EmbedderOfProfile
    generator: GeneratorOfProfile
    text_search: bool = Field(description="Whether tracks can be found by a description.")
    modes: list[str] = Field(examples=[["similar"]])
    fields: dict[str, RequestField] = Field(
        description="The fields of `GenerateRequest` that it takes, by name; others are refused."
    )
    costs: ProfileCosts
    speed: MeasuredSpeed
    limits: ProfileLimits


Prefix = Annotated[str, "Path before /api, such as the stage of the deployment"]


def audio_links(prefix: Prefix, audio_id: str) -> dict[str, str]:
    """Return the links of a source track."""
    return {
        "self": f"{prefix}/api/audio/{audio_id}",
        "content": f"{prefix}/api/audio/{audio_id}/content",
        "embedding": f"{prefix}/api/embedding/{audio_id}",
        "similar": f"{prefix}/api/similar/{audio_id}",
        "generate": f"{prefix}/api/generate/{audio_id}",
    }


def derived_links(prefix: Prefix, audio_id: str) -> dict[str, str]:
    """Return the links of what a player needs of a source track, which older ones lack."""
    return {
        "preview": f"{prefix}/api/audio/{audio_id}/preview",
        "analysis": f"{prefix}/api/audio/{audio_id}/analysis",
    }


def generation_links(prefix: Prefix, generation: Generation) -> dict[str, str]:
    """Return the links of a generation."""
    return {
        "self": f"{prefix}/api/generation/{generation.id}",
        "download": f"{prefix}/api/download/{generation.id}",
        "audio": f"{prefix}/api/audio/{generation.audio_id}",
    }


def duplicate(audio: Audio) -> dict[str, str]:
    """Return the member that names an older audio with the same content; it is missing when there is none."""
    return {"duplicate_of": audio.duplicate_of} if audio.duplicate_of else {}


def at_work(record: Audio | Generation) -> dict[str, Any]:
    """Return the members that tell what a record's worker is at, which are null where there is none."""
    working = record.status in {"embedding", "running"}
    return {
        "stage": record.stage if working else None,
        "seconds_left": record.seconds_left if working else None,
    }


def audio_answer(prefix: Prefix, audio: Audio) -> AudioAnswer:
    """Show a source track's record."""
    known: dict[str, Any] = duplicate(audio)
    if audio.error:
        known["error"] = audio.error
    if audio.status == "ready":
        known |= {
            "model": (audio.identity or {})["model"],
            "features": audio.features or {},
            "tags": audio.tags or [],
        }
    known |= {
        "audio_id": audio.id,
        "status": audio.status,
        "filename": audio.filename,
        "content_type": audio.content_type,
        "bytes": audio.size,
        "progress": audio.progress,
        **at_work(audio),
        "made_from": audio.made_from,
        "created_at": audio.created_at,
        "updated_at": audio.updated_at,
        "expires_at": iso(audio.expires_at),
        "links": audio_links(prefix, audio.id) | (derived_links(prefix, audio.id) if audio.derived else {}),
    }
    return AudioAnswer.model_validate(known)


def similar_answer(prefix: Prefix, neighbours: Iterable[tuple[Audio, float]]) -> Similar:
    """Show source tracks and their cosine similarities, best first."""
    return Similar(
        results=[
            SimilarResult(
                audio_id=audio.id,
                score=round(score, 6),
                filename=audio.filename,
                tags=audio.tags or [],
                links=audio_links(prefix, audio.id),
            )
            for audio, score in neighbours
        ]
    )


def candidates_answer(prefix: Prefix, generation: Generation, now: float) -> dict[str, Any]:
    """Return the members that tell of a generation's candidates and of which of them is the result."""
    result, chosen = generation.result or {}, generation.chosen
    if chosen is None:
        return {}
    kept, download = generation.kept(now), generation_links(prefix, generation)["download"]
    shown = [
        {
            "index": index,
            **tried,
            "chosen": index == chosen,
            **({"links": {"download": f"{download}/{index}"}} if index in kept else {}),
        }
        for index, tried in enumerate(result["candidates"])
    ]
    known = {"candidates": shown, "chosen": chosen, "bytes": generation.chosen_bytes}
    if generation.candidates_expire_at is not None:
        known["candidates_expire_at"] = iso(generation.candidates_expire_at)
    if chosen != generation.best:
        own = result["candidates"][chosen]
        known |= {"seed": own["seed"], "similarity": own["similarity"]}
        # What is told of the best one alone is not of this one; what an older release kept has no report.
        known |= dict.fromkeys(result.keys() & {"loudness", "details"}) | (generation.chosen_report or {})
        if "faults" in result:
            known["faults"] = own.get("faults", [])
    return known


def generation_answer(prefix: Prefix, generation: Generation, now: float) -> GenerationAnswer:
    """Show a generation's record, with the result's report when it has succeeded.

    Parameters
    ----------
    prefix : str
        Of the links.
    now : float
        Epoch seconds, which decide what is kept.
    """
    known: dict[str, Any] = {"parameters": generation.parameters or {}, **(generation.result or {})}
    known |= candidates_answer(prefix, generation, now)
    links = generation_links(prefix, generation)
    if known.pop("origins", False):
        links["origins"] = f"{links['self']}/origins"
    if generation.error:
        known["error"] = generation.error
    known |= {
        "generation_id": generation.id,
        "audio_id": generation.audio_id,
        "status": generation.status,
        "progress": generation.progress,
        **at_work(generation),
        "copied_to": generation.copied_to or [],
        "profile": generation.profile,
        "created_at": generation.created_at,
        "updated_at": generation.updated_at,
        "expires_at": iso(generation.expires_at),
        "links": links,
    }
    return GenerationAnswer.model_validate(known)
