"""What CloudFormation gets: the template after SAM's transform, as cfn-lint sees it.

cfn-lint takes every condition both ways. What the transform makes of parameters it sees only in the variants.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cfnlint.api
import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

from client import deploy
from local.template import TEMPLATE

VARIANTS = {
    "dev, open": deploy.read(deploy.CONFIG, "default", "builtin").parameters | {"AuthMode": "none"},
    "prod": deploy.read(deploy.CONFIG, "prod", "small").parameters | {"AlarmEmail": "somebody@example.com"},
}
VARIANTS["every function reserved"] = VARIANTS["prod"] | {
    name: "5" for name in yaml_parse(TEMPLATE.read_text())["Parameters"] if name.endswith("Reserved")
}
VARIANTS["environments kept ready"] = VARIANTS["prod"] | {"SearchProvisioned": "2", "EmbedProvisioned": "1"}
VARIANTS["generations on an endpoint"] = VARIANTS["prod"] | {
    "GenerateHost": "sagemaker",
    "EndpointImage": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/music-prod-endpoint@sha256:{'0' * 64}",
}


class NoManagedPolicies:
    """SAM asks AWS for its managed policies, by name; this template names them by ARN."""

    def load(self) -> dict[str, str]:
        return {}


def transformed(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Transform the template as `sam build` leaves it: each function with its image."""
    document = yaml_parse(TEMPLATE.read_text())
    for name, value in parameters.items():
        parameter = document["Parameters"][name]
        parameter["Default"] = int(value) if parameter["Type"] == "Number" else value
    for resource in document["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            tag = resource["Metadata"]["DockerTag"]
            resource["Properties"]["ImageUri"] = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/music:{tag}"
    result: dict[str, Any] = transform(document, dict(parameters), NoManagedPolicies())
    return result


def lint(document: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the errors and warnings that cfn-lint has, as `rule: message`."""
    file = folder / "transformed.json"
    file.write_text(json.dumps(document))
    return [f"{found.rule.id}: {found.message}" for found in cfnlint.api.lint_file(file)]


@pytest.fixture(autouse=True)
def _region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.mark.parametrize("variant", VARIANTS)
def test_cfn_lint_finds_nothing(variant: str, tmp_path: Path) -> None:
    document = transformed(VARIANTS[variant])
    assert "Transform" not in document
    assert lint(document, tmp_path) == []


def test_api_and_queue_call_what_is_kept_ready() -> None:
    """Neither an integration nor a permission names the function itself."""
    resources = transformed(VARIANTS["environments kept ready"])["Resources"]
    for name in ("Search", "Embed"):
        alias = f"{name}FunctionAliaslive"
        assert resources[alias]["Properties"]["ProvisionedConcurrencyConfig"] == {
            "Fn::If": [
                f"Provisions{name}",
                {"ProvisionedConcurrentExecutions": {"Ref": f"{name}Provisioned"}},
                {"Ref": "AWS::NoValue"},
            ]
        }
        callers = [
            resource["Properties"]["FunctionName"]
            for key, resource in resources.items()
            if key.startswith(f"{name}Function")
            and resource["Type"] in {"AWS::Lambda::Permission", "AWS::Lambda::EventSourceMapping"}
        ]
        assert callers == [{"Ref": alias}] * (1 if name == "Embed" else 4)
    called = re.findall(r"functions/\$\{(Search\w+?)\}/invocations", json.dumps(resources["Api"]))
    assert called == ["SearchFunctionAliaslive"] * 4


def references(node: Any) -> set[str]:
    """Return what a part of a template refers to."""
    if isinstance(node, list):
        return {name for item in node for name in references(item)}
    if not isinstance(node, dict):
        return set()
    return {node["Ref"]} if "Ref" in node else references(list(node.values()))


def test_each_change_of_a_function_behind_an_alias_publishes_a_version() -> None:
    """SAM sees changes of the template, and CloudFormation those of the description: of each parameter.

    A version that nothing has changed for is refused.
    """
    document = transformed(VARIANTS["environments kept ready"])
    resources, parameters = document["Resources"], set(document["Parameters"])
    for name in ("SearchFunction", "EmbedFunction"):
        (version,) = [key for key in resources if key.startswith(f"{name}Version")]
        described = references(resources[version]["Properties"]["Description"])
        given = references(
            {
                key: value
                for key, value in resources[name]["Properties"].items()
                if key != "ReservedConcurrentExecutions"  # of the function, whatever its versions
            }
        )
        assert described == given & parameters
        assert len(described) > 10


def test_cfn_lint_takes_conditions_both_ways(tmp_path: Path) -> None:
    document = transformed(VARIANTS["prod"])
    names = ["ApiAccount", "ApiAccountRole", "Api"]
    resources = {name: document["Resources"][name] for name in names}
    resources["Api"] = {"Type": "AWS::SNS::Topic", "DependsOn": "ApiAccount"}
    few = {name: document[name] for name in ("AWSTemplateFormatVersion", "Parameters", "Conditions")}
    found = lint({**few, "Resources": resources}, tmp_path)
    assert [line for line in found if not line.startswith("W")] == [
        "E3005: 'ApiAccount' will not exist when condition 'OwnsApiGatewayAccount' is False"
    ]
