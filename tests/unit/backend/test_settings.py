"""Settings: every variable is read, and what is missing or wrong is named."""

from __future__ import annotations

import pytest

from backend.settings import Settings, SettingsError
from tests.support.stack import ENVIRONMENT


def test_reads_every_variable() -> None:
    settings = Settings.from_environment(
        ENVIRONMENT | {"ALLOWED_ORIGINS": "https://a.example, https://b.example"}
    )
    assert settings.table_name == "records"
    assert settings.allowed_origins == ("https://a.example", "https://b.example")
    assert settings.retention_seconds == 30 * 86400


@pytest.mark.parametrize(
    "name",
    [
        "TABLE_NAME",
        "KEYS_TABLE_NAME",
        "BUCKET_NAME",
        "VECTOR_BUCKET_NAME",
        "VECTOR_INDEX_NAME",
        "EMBED_QUEUE_URL",
        "GENERATE_QUEUE_URL",
        "EMBED_DEAD_LETTERS_URL",
        "GENERATE_DEAD_LETTERS_URL",
        "EVENT_BUS_NAME",
        "PROFILE",
        "GENERATE_HOST",
        "ALLOWED_ORIGINS",
        "RETENTION_DAYS",
        "AUTH_MODE",
        "MAX_UNFINISHED",
        "MAX_WORKER_SECONDS_PER_DAY",
        "MAX_STORED_BYTES",
    ],
)
def test_names_the_missing_variable(name: str) -> None:
    for environment in (ENVIRONMENT | {name: " "}, {k: v for k, v in ENVIRONMENT.items() if k != name}):
        with pytest.raises(SettingsError, match=f"{name} is not set"):
            Settings.from_environment(environment)


def test_an_image_refuses_the_profile_that_it_is_not_built_for() -> None:
    assert Settings.from_environment(ENVIRONMENT | {"IMAGE_PROFILE": "builtin"}).profile == "builtin"
    with pytest.raises(SettingsError, match=r"for the profile small, .* Profile is builtin"):
        Settings.from_environment(ENVIRONMENT | {"IMAGE_PROFILE": "small"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("RETENTION_DAYS", "0"), ("RETENTION_DAYS", "a week"), ("AUTH_MODE", "off"), ("GENERATE_HOST", "ec2")],
)
def test_names_the_invalid_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment(ENVIRONMENT | {name: value})
