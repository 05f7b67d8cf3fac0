"""What the README and the pages in docs/ name is there."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from backend.records import MIN_CHARGE_SECONDS
from client.stack import ROOT
from local.template import read
from tests.benchmarks import endpoint_costs
from tests.support.pages import PAGES, blocks
from tests.support.table import create_table

COMMANDS = """\
    curl -X POST "$API/api/upload" -F "file=@your_music.mp3"
    curl "$API/api/embedding/{audio_id}"
    curl -X POST "$API/api/generate/{audio_id}" -H "Content-Type: application/json" -d '{"duration": 30, "temperature": 0.8}'
    curl "$API/api/download/{generation_id}" --output generated_music.wav
"""  # noqa: E501 (as users paste them)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    assert links
    for link in links:
        if "://" in link:
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        assert not fragment or fragment in anchors(target), link


def test_the_costs_of_an_endpoint_are_the_computed_ones() -> None:
    page = (ROOT / "docs/deploying.md").read_text("utf-8")
    assert endpoint_costs.table() in page
    on_lambda, managed = endpoint_costs.lambda_minute, endpoint_costs.managed()
    said = " ".join(page.split())
    assert f"${on_lambda(3008):.4f} at 3,008 MB and ${on_lambda(1769):.4f} at 1,769" in said
    assert f"makes {managed['minutes_an_hour']:.0f} minutes of music" in said
    assert f"discounted by more than {100 * managed['discount_that_equals_lambda']:.0f} %" in said
    written = json.loads((ROOT / "docs/benchmarks/endpoint_costs.json").read_text())
    assert written == endpoint_costs.report()


@pages
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = page.read_text("utf-8")
    named: set[str] = set()
    for words in re.findall(r"^ +(?:[A-Z_]+=\S+ )*make ((?:[a-z-]+ ?)+)", text, re.MULTILINE):
        named.update(words.split())
    named.update(re.findall(r"`make ([a-z-]+)", text))
    assert named <= targets


@pages
def test_every_path_in_code_type_exists(page: Path) -> None:
    top = r"(?:functions|layers|local|client|events|tests|docs)"
    for path in re.findall(rf"`({top}/[\w./-]+)`", page.read_text("utf-8")):
        # The one is written by the first fetch, the other is for whoever adds a model to name.
        assert (ROOT / path).exists() or path.endswith("sources.lock.json") or "/NAME/" in path, path


def test_the_readme_has_the_four_commands_as_users_know_them() -> None:
    assert COMMANDS in (ROOT / "README.md").read_text("utf-8")


def test_the_copy_of_a_restored_table_brings_back_what_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    (program,) = re.findall(r"python - RESTORED TABLE <<'END'\n(.*?)\n +END\n", text, re.DOTALL)
    monkeypatch.setattr(sys, "argv", ["-", "restored", "records"])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        dynamodb = boto3.resource("dynamodb")
        table = create_table(dynamodb)
        definition = {
            "KeySchema": table.key_schema,
            "AttributeDefinitions": [
                one for one in table.attribute_definitions if one["AttributeName"] in "pksk"
            ],
            "BillingMode": "PAY_PER_REQUEST",
        }
        restored = dynamodb.create_table(TableName="restored", **definition)
        lost = [
            {"pk": "tenant#a", "sk": f"audio#{i}", "blob": "x" * 100_000} for i in range(30)
        ]  # three pages
        for item in lost:
            restored.put_item(Item=item)
        table.put_item(Item={"pk": "tenant#a", "sk": "audio#since"})
        table.put_item(Item={**lost[0], "blob": "overwritten"})
        exec(textwrap.dedent(program), {})
        pages = table.meta.client.get_paginator("scan").paginate(TableName=table.name)
        found = {item["sk"]: item for page in pages for item in page["Items"]}
    assert [found[item["sk"]] for item in lost] == lost
    assert "audio#since" in found


def test_what_a_tenant_costs_at_most_follows_from_the_defaults() -> None:
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    default = {name: parameter.get("Default") for name, parameter in read()["Parameters"].items()}
    section = text.partition("### What that costs at most")[2].partition("\n## ")[0]
    rows = {
        cells[1].strip(): cells for cells in (line.split("|") for line in section.splitlines()) if cells[1:]
    }

    def numbers(cell: str) -> list[float]:
        return [float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*(?:\.\d+)?", cell)]

    sentence = " ".join(section.split())
    pattern = (
        r"writes (\d+) units and reads (\d+), writes (\d+) objects and reads (\d+), and takes (\d+) requests"
    )
    writes, reads, written, got, messages = map(int, re.findall(pattern, sentence)[0])
    seconds, memory = default["MaxWorkerSecondsPerDay"], default["GenerateMemory"]
    assert memory >= default["EmbedMemory"], "the dearer worker"
    jobs = seconds / MIN_CHARGE_SECONDS
    assert numbers(rows["Workers"][2]) == [seconds, memory, seconds * memory / 1024]
    assert numbers(rows["Records"][2]) == [jobs, jobs * writes, jobs * reads]
    assert numbers(rows["Objects"][2]) == [jobs * written, jobs * got]
    assert numbers(rows["Bytes"][2]) == [default["MaxStoredBytes"] / 2**30]
    assert numbers(rows["Messages"][2]) == [jobs * messages]
    dollars = {
        "Workers": seconds * memory / 1024 * 0.0000166667,
        "Records": jobs * (writes * 0.625 + reads * 0.125) / 1e6,
        "Objects": jobs * (written * 0.005 + got * 0.0004) / 1e3,
        "Bytes": default["MaxStoredBytes"] / 1e9 * 0.023 / 30,
        "Messages": jobs * messages * 0.40 / 1e6,
    }
    assert {name: rows[name][4].strip() for name in dollars} == {
        name: f"{value:.2f}" for name, value in dollars.items()
    }
    assert f"**{sum(dollars.values()):.2f}**" in section


def test_what_an_environment_kept_ready_costs_follows_from_the_defaults() -> None:
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    parameters = read()["Parameters"]
    for function, memory in (("Search", "HttpMemory"), ("Embed", "EmbedMemory")):
        megabytes = parameters[memory]["Default"]
        dollars = 86400 * megabytes / 1024 * 0.0000041667
        assert f"| `{function}Function` | {megabytes:,} MB | {dollars:.2f} |" in text


@pages
def test_every_block_of_commands_says_who_runs_it(page: Path) -> None:
    assert [f"{page.name}:{block.line}" for block in blocks(page) if not block.mark] == []


def test_blocks_of_commands_are_told_from_others(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text.\n\n<!-- run -->\n\n    make serve   # a server\n\n    A=b curl x \\\n        -d y\n\n"
        "More.\n\n    audio: a -> b\n\n<!-- needs an account -->\n\n    make deploy\n\n"
        "Text.\n\n    music tracks\n"
    )
    assert [(block.line, block.mark, block.commands) for block in blocks(page)] == [
        (5, "run", ["make serve   # a server", "A=b curl x      -d y"]),
        (16, "needs an account", ["make deploy"]),
        (20, "", ["music tracks"]),
    ]
