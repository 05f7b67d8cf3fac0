"""What a deployment tells its functions: the variables of the template's `Globals`, read and checked.

The environment also says what does not depend on the parts of a deployment, and others read that: the AWS SDK
its region, credentials and, locally, `AWS_ENDPOINT_URL`; Powertools its names and the log's level; `music`
the folder of the models and what the machine has. An image that holds something of a profile names it in
`IMAGE_PROFILE`; nothing starts in it under another profile.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

MAX_UPLOAD_BYTES = 200 * 1024 * 1024
"""Largest source track, in bytes."""

DEFAULT_TENANT = "default"
"""Owner of everything while authorization is off."""


class SettingsError(Exception):
    """The environment lacks a variable or holds a value that cannot be meant."""


class ProfileMismatch(SettingsError):
    """The image holds what belongs to another profile than the deployment's."""


@dataclass(frozen=True)
class Settings:
    """What a function knows about its deployment.

    Attributes
    ----------
    table_name, keys_table_name, bucket_name : str
        The table of records, that of API keys, and the one bucket.
    vector_bucket_name, vector_index_name : str
        The S3 Vectors bucket and its one index.
    embed_queue_url, generate_queue_url : str
        The queues in front of the two workers.
    embed_dead_letters_url, generate_dead_letters_url : str
        What they gave up.
    event_bus_name : str
        EventBridge bus that completion and failure events go to.
    profile : str
        Name of the engine profile (see `music.profiles`).
    generate_host : str
        Where generations run: ``"lambda"``, or ``"sagemaker"``, an endpoint.
    allowed_origins : tuple of str
        Origins that browsers may call the API from.
    retention_days : int
        Days after which record, object and vector expire together.
    candidate_days : int
        Days for which the candidates of a generation that were not chosen are kept.
    auth_mode : str
        ``"keys"``: every request needs an API key; ``"none"``: everybody is the default tenant.
    max_unfinished, max_worker_seconds_per_day, max_stored_bytes, max_running : int
        What each key's tenant may have: unfinished jobs of each kind, seconds of the workers' time in a day
        (0 for any number), bytes in the bucket, jobs of each kind with the workers at the same time.

    Examples
    --------
    >>> Settings.from_environment({}).table_name
    Traceback (most recent call last):
    backend.settings.SettingsError: environment variable TABLE_NAME is not set
    """

    table_name: str
    keys_table_name: str
    bucket_name: str
    vector_bucket_name: str
    vector_index_name: str
    embed_queue_url: str
    generate_queue_url: str
    embed_dead_letters_url: str
    generate_dead_letters_url: str
    event_bus_name: str
    profile: str
    generate_host: str
    allowed_origins: tuple[str, ...]
    retention_days: int
    candidate_days: int
    auth_mode: str
    max_unfinished: int
    max_worker_seconds_per_day: int
    max_stored_bytes: int
    max_running: int

    @property
    def retention_seconds(self) -> int:
        """Return the retention in seconds."""
        return self.retention_days * 86400

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read and check the variables.

        Raises
        ------
        SettingsError
            Naming the first variable that is missing or invalid.
        ProfileMismatch
            The image is for another profile.
        """

        def text(name: str) -> str:
            value = environ.get(name, "").strip()
            if not value:
                raise SettingsError(f"environment variable {name} is not set")
            return value

        def count(name: str, least: int = 1) -> int:
            value = text(name)
            if not value.isdecimal() or int(value) < least:
                raise SettingsError(
                    f"environment variable {name} must be a whole number, at least {least}, not {value!r}"
                )
            return int(value)

        profile = text("PROFILE")
        if (built := environ.get("IMAGE_PROFILE", profile)) != profile:
            raise ProfileMismatch(
                f"this image is built for the profile {built}, and the stack's Profile is {profile}: "
                f"`make deploy PROFILE={profile}` builds and deploys both"
            )
        mode = text("AUTH_MODE")
        if mode not in {"keys", "none"}:
            raise SettingsError(f"environment variable AUTH_MODE must be keys or none, not {mode!r}")
        host = text("GENERATE_HOST")
        if host not in {"lambda", "sagemaker"}:
            raise SettingsError(
                f"environment variable GENERATE_HOST must be lambda or sagemaker, not {host!r}"
            )
        origins = tuple(origin.strip() for origin in text("ALLOWED_ORIGINS").split(",") if origin.strip())
        return cls(
            table_name=text("TABLE_NAME"),
            keys_table_name=text("KEYS_TABLE_NAME"),
            bucket_name=text("BUCKET_NAME"),
            vector_bucket_name=text("VECTOR_BUCKET_NAME"),
            vector_index_name=text("VECTOR_INDEX_NAME"),
            embed_queue_url=text("EMBED_QUEUE_URL"),
            generate_queue_url=text("GENERATE_QUEUE_URL"),
            embed_dead_letters_url=text("EMBED_DEAD_LETTERS_URL"),
            generate_dead_letters_url=text("GENERATE_DEAD_LETTERS_URL"),
            event_bus_name=text("EVENT_BUS_NAME"),
            profile=profile,
            generate_host=host,
            allowed_origins=origins,
            retention_days=count("RETENTION_DAYS"),
            candidate_days=count("CANDIDATE_DAYS"),
            auth_mode=mode,
            max_unfinished=count("MAX_UNFINISHED"),
            max_worker_seconds_per_day=count("MAX_WORKER_SECONDS_PER_DAY", least=0),
            max_stored_bytes=count("MAX_STORED_BYTES"),
            max_running=count("MAX_RUNNING"),
        )


CONFIG = Config(
    # "standard" retries throttling, timeouts and 5xx with exponential backoff and full jitter, and gives up.
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=3,
    read_timeout=20,
)
"""Every AWS client has these bounded retries and timeouts."""

S3_CONFIG = CONFIG.merge(Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))
"""Those of S3 are the same. Only SigV4 and virtual addressing together make presigned URLs regional, which
browsers need: others are redirected. The SDK itself uses path addressing where the endpoint is an IP."""

EVENTS_CONFIG = CONFIG.merge(
    Config(retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=3, read_timeout=3)
)
"""Those of EventBridge give up within some seconds: the sweeper sends what was not sent."""


def client(service: str) -> Any:
    """Make an AWS client with bounded retries and timeouts.

    Parameters
    ----------
    service : str
        Service name as boto3 knows it, such as ``"s3"``.
    """
    config = {"s3": S3_CONFIG, "events": EVENTS_CONFIG}.get(service, CONFIG)
    return boto3.client(service, config=config)  # type: ignore[call-overload]


def table(name: str) -> Any:
    """Make the DynamoDB table resource that `backend.records.Records` works on."""
    return boto3.resource("dynamodb", config=CONFIG).Table(name)
