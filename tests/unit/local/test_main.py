"""The command line of the local stack."""

from __future__ import annotations

import os
import urllib.request
from types import SimpleNamespace

import pytest

from local import __main__ as command_line


def test_a_proxy_is_never_asked_for_what_runs_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "intranet.example")
    seen: list[bool] = []

    def run(arguments: list[str]) -> int:
        hosts = ("127.0.0.1", "localhost", "intranet.example", "example.org")
        seen.extend(bool(urllib.request.proxy_bypass(host)) for host in hosts)
        return 7

    monkeypatch.setattr(command_line, "import_module", lambda name: SimpleNamespace(main=run))
    assert command_line.main(["serve", "--port", "0"]) == 7
    assert seen == [True, True, True, False]
    assert os.environ["no_proxy"].startswith("intranet.example,")
