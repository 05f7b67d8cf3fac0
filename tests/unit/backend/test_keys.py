"""API keys: made once, kept as hashes, refused when they are wrong in any way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.keys import Keys, NoSuchKey
from tests.support.stack import Stack


@pytest.fixture
def keys(stack: Stack) -> Keys:
    return Keys(stack.keys, stack.clock)


def test_a_key_speaks_for_a_tenant_of_its_own(keys: Keys) -> None:
    (first, text), (second, other) = keys.create(), keys.create()
    assert first.tenant != second.tenant
    assert (keys.tenant_of(text), keys.tenant_of(other)) == (first.tenant, second.tenant)
    assert text.startswith(f"{first.id}.")


def test_a_tenant_may_have_several_keys(keys: Keys) -> None:
    (old, first), (_, second) = keys.create("studio-7"), keys.create("studio-7")
    keys.revoke(old.id)
    assert keys.tenant_of(first) is None
    assert keys.tenant_of(second) == "studio-7"


def test_the_secret_is_not_in_the_table(keys: Keys, stack: Stack) -> None:
    _, text = keys.create()
    (item,) = stack.keys.scan()["Items"]
    secret = text.partition(".")[2]
    stored = json.dumps(
        item, default=lambda value: bytes(value).hex() if hasattr(value, "value") else str(value)
    )
    assert secret not in stored
    assert secret.encode().hex() not in stored


def test_the_same_secret_would_have_another_hash(
    keys: Keys, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = __import__("secrets").token_bytes
    monkeypatch.setattr("secrets.token_bytes", lambda n: b"s" * n if n == 32 else real(n))
    (_, one), (_, two) = keys.create(), keys.create()
    assert one.partition(".")[2] == two.partition(".")[2]
    first, second = stack.keys.scan()["Items"]
    assert bytes(first["hash"]) != bytes(second["hash"])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "nonsense",
        lambda text: text.partition(".")[0],
        lambda text: text + "A",
        lambda text: text[:-2] + ("AA" if text[-2:] != "AA" else "BB"),
        lambda text: f"{'0' * 26}.{text.partition('.')[2]}",
        lambda text: text.lower(),
        lambda text: f" {text}",
        lambda text: f"{text}\n",
    ],
)
def test_anything_else_is_nobody(keys: Keys, change: Any) -> None:
    _, text = keys.create()
    assert keys.tenant_of(change(text)) is None


def test_the_secret_of_another_key_is_wrong(keys: Keys) -> None:
    (first, one), (_, two) = keys.create(), keys.create()
    assert keys.tenant_of(f"{first.id}.{two.partition('.')[2]}") is None
    assert keys.tenant_of(one) == first.tenant


def test_a_revoked_key_is_nobody_and_stays_in_the_list(keys: Keys, stack: Stack) -> None:
    key, text = keys.create("a")
    keys.create("b")
    revoked = keys.revoke(key.id)
    assert revoked.revoked_at
    stack.clock.now += 100
    assert keys.revoke(key.id) == revoked
    assert keys.tenant_of(text) is None
    assert keys.list("a") == [revoked]
    assert [found.tenant for found in keys.list()] == ["a", "b"]


def test_what_is_not_there_cannot_be_revoked(keys: Keys, stack: Stack) -> None:
    with pytest.raises(NoSuchKey):
        keys.revoke("0" * 26)
    assert keys.list() == []


@pytest.mark.parametrize("tenant", ["", "A", "a/b", "a#b", "-a", "a-", "a" * 64, "..", "a b", "ä"])
def test_a_tenant_must_fit_into_paths(keys: Keys, tenant: str) -> None:
    with pytest.raises(ValueError, match="is no tenant"):
        keys.create(tenant)
    assert keys.list() == []


def test_every_page_is_listed(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [keys.create()[0] for _ in range(3)]
    scan = keys._table.scan
    monkeypatch.setattr(keys._table, "scan", lambda **given: scan(**given, Limit=1))
    assert keys.list() == sorted(made, key=lambda key: key.id)
