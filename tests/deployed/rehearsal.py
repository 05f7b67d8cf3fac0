"""The deployment as `make deploy` does it, onto MiniStack instead of AWS: `sam build`, `sam deploy`.

What is deployed is the built template. What the emulator lacks is in `LACKING`, with what stands in for it.
Everything else is the emulator's: the transform, the images' way through the registry, roles and their
evaluation, API Gateway with our authorizer, events, queues, schedules, and the functions' containers.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from local.sam import BUILT, CONFIG, SAM, bridge_address, free_port, spread_methods
from local.template import ACCOUNT, REGION, ROOT
from tests.deployed.ministack import Certificate, MiniStack
from tests.deployed.vectors import VectorsFront, served
from tests.support.images import docker
from tests.support.waiting import eventually

SAM_STACK = "aws-sam-cli-managed-default"
STACK = REPOSITORY = "music-rehearsal"
LACKING = {
    "AWS::S3Vectors::VectorBucket and Index": "left out; moto answers, MiniStack says who may (vectors.py)",
    "SageMaker": "generations run in Lambda; `make test-endpoint` has an endpoint, on the local stack",
    "parameter values in the SAM transform": "made the parameters' defaults, which it does see",
    "MaximumConcurrency as a reference to a parameter": "the number itself",
    "the method ANY of an API's Body": "an event for each method",
    "BinaryMediaTypes written with ~1": "written with /",
    "x-amazon-apigateway-gateway-responses of an API's Body": "each put by a call, after the deployment",
    "somebody to mail alarms to, data to protect": "an address of example.com, no deletion protection",
    "docker login to an ECR host": "the repository is at the emulator's address, named in advance",
    "limits of a request's size, at API Gateway and Lambda": "none; the test of the 413 is skipped",
    "a function's read-only root, memory limit and X-Ray": "none; `make test-sam` has the first two",
}
"""What MiniStack 1.5 does not do, and what the rehearsal does instead."""

RETAINED = {"Bucket", "Table", "KeysTable", "VectorBucket", "VectorIndex", "ApiAccount", "ApiAccountRole"}
"""What the template wants to outlive its stack: users' data, and what belongs to the whole account."""


def production_parameters() -> dict[str, str]:
    """Return the parameters that `make deploy CONFIG_ENV=prod` gives, and whom alarms are mailed to."""
    config = tomllib.loads(CONFIG.read_text())
    overrides = config["prod"]["deploy"]["parameters"]["parameter_overrides"]
    return dict(pair.split("=", 1) for pair in overrides.split()) | {"AlarmEmail": "rehearsal@example.com"}


def adapted(template: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return a copy of a built template without what is in `LACKING`."""
    values = {name: p.get("Default") for name, p in template["Parameters"].items()} | dict(parameters)
    copy: dict[str, Any] = json.loads(json.dumps(template))
    for name, value in parameters.items():
        copy["Parameters"][name]["Default"] = value
    index = copy["Resources"].pop("VectorIndex")["Properties"]
    del copy["Resources"]["VectorBucket"]
    path = f"bucket/{index['VectorBucketName']['Fn::Sub']}/index/{index['IndexName']}"
    arn = {"Fn::Sub": f"arn:${{AWS::Partition}}:s3vectors:${{AWS::Region}}:${{AWS::AccountId}}:{path}"}

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("Fn::GetAtt") in (["VectorIndex", "IndexArn"], "VectorIndex.IndexArn"):
                return arn
            value = {name: walk(item) for name, item in value.items()}
            if isinstance(value.get("MaximumConcurrency"), dict):
                value["MaximumConcurrency"] = int(str(values[value["MaximumConcurrency"]["Ref"]]))
            if "DeletionProtectionEnabled" in value:
                value["DeletionProtectionEnabled"] = False
            if "BinaryMediaTypes" in value:
                value["BinaryMediaTypes"] = [kind.replace("~1", "/") for kind in value["BinaryMediaTypes"]]
            return value
        return [walk(item) for item in value] if isinstance(value, list) else value

    result: dict[str, Any] = walk(copy)
    spread_methods(result)
    return result


def without_permission(template: Mapping[str, Any], role: str, action: str) -> dict[str, Any]:
    """Return a copy of a template whose role lacks an action everywhere."""
    copy: dict[str, Any] = json.loads(json.dumps(template))
    statements = copy["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    assert any(action in statement["Action"] for statement in statements), (role, action)
    for statement in statements:
        statement["Action"] = [name for name in statement["Action"] if name != action]
    statements[:] = [statement for statement in statements if statement["Action"]]
    return copy


class Rehearsal:
    """A stack on the emulator.

    Parameters
    ----------
    emulator : MiniStack
    vectors : VectorsFront
        Takes the stack's vector index.
    name : str
        Name of the stack.
    template : mapping
        The built template, or a changed copy.
    parameters : mapping
        Template parameters.

    Attributes
    ----------
    outputs : dict
        The stack's outputs.
    """

    def __init__(
        self,
        emulator: MiniStack,
        vectors: VectorsFront,
        name: str,
        template: Mapping[str, Any],
        parameters: Mapping[str, str],
    ) -> None:
        self.emulator, self.name = emulator, name
        self.vectors, self._parameters = vectors, parameters
        self._template = adapted(template, parameters)
        self._index = str(template["Resources"]["VectorIndex"]["Properties"]["IndexName"])
        self._file = BUILT.with_name(f"template.{name}.yaml")
        self.outputs: dict[str, str] = {}

    @property
    def api_url(self) -> str:
        """Return where the emulator serves what ApiUrl names: under `.localhost`, which is this machine."""
        stage = urlsplit(self.outputs["ApiUrl"]).path
        return f"https://{self._api_id}.execute-api.localhost:{self.emulator.port}{stage}"

    @property
    def _api_id(self) -> str:
        return str(urlsplit(self.outputs["ApiUrl"]).hostname).split(".")[0]

    def deploy(self) -> None:
        """Run `sam deploy`, then put what the emulator leaves out."""
        self._file.write_text(yaml.safe_dump(self._template, sort_keys=False))
        overrides = [f"{name}={value}" for name, value in self._parameters.items()]
        self._sam(
            *("deploy", "--template-file", str(self._file), "--resolve-s3"),
            *("--capabilities", "CAPABILITY_IAM"),
            *("--image-repository", f"{self.emulator.registry}/{REPOSITORY}", "--no-progressbar"),
            *("--no-confirm-changeset", "--parameter-overrides", *overrides),
        )
        stack = self.emulator.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        self.vectors.create_index(self.outputs["VectorBucketName"], self._index)
        self._put_gateway_responses()

    def _put_gateway_responses(self) -> None:
        cloudformation, gateway = (self.emulator.client(name) for name in ("cloudformation", "apigateway"))
        answer = cloudformation.get_template(StackName=self.name, TemplateStage="Processed")
        processed = answer["TemplateBody"]
        if isinstance(processed, str):
            processed = yaml.safe_load(processed)
        body = processed["Resources"]["Api"]["Properties"]["Body"]
        api = self._api_id
        for kind, response in body["x-amazon-apigateway-gateway-responses"].items():
            status = {"statusCode": str(response["statusCode"])} if "statusCode" in response else {}
            gateway.put_gateway_response(
                restApiId=api,
                responseType=kind,
                responseParameters=response.get("responseParameters", {}),
                responseTemplates=response.get("responseTemplates", {}),
                **status,
            )
        deployment = gateway.create_deployment(restApiId=api)["id"]
        change = {"op": "replace", "path": "/deploymentId", "value": deployment}
        gateway.update_stage(restApiId=api, stageName=self._parameters["Stage"], patchOperations=[change])

    def key(self) -> str:
        """Make an API key, as the README says."""
        command = [sys.executable, "-m", "client.command", "keys", "create", "--stack", self.name]
        done = subprocess.run(
            command, cwd=ROOT, env=self.emulator.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def log(self, function: str) -> str:
        """Return what a function (by its folder's name) has logged."""
        logs = self.emulator.client("logs")
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/{self.name}/{function}")
        return "\n".join(event["message"] for page in pages for event in page["events"])

    def wait_for_log(self, function: str, text: str) -> None:
        """Wait until a function has logged a text."""
        eventually(lambda: self.log(function), until=lambda log: text in log, every=1.0)

    def sibling(self, name: str, template: Mapping[str, Any]) -> Rehearsal:
        """Deploy another template beside this stack, with the same images."""
        # The account's setting has an owner already.
        parameters = {**self._parameters, "ManageApiGatewayAccount": "false"}
        other = Rehearsal(self.emulator, self.vectors, name, template, parameters)
        other.deploy()
        return other

    def delete_deployment_tools(self) -> None:
        """Delete what `sam deploy` makes once in an account, and the images' repository."""
        cloudformation = self.emulator.client("cloudformation")
        for resource in cloudformation.describe_stack_resources(StackName=SAM_STACK)["StackResources"]:
            if resource["ResourceType"] == "AWS::S3::Bucket":
                empty_bucket(self.emulator, resource["PhysicalResourceId"])
        cloudformation.delete_stack(StackName=SAM_STACK)
        self.emulator.client("ecr").delete_repository(repositoryName=REPOSITORY, force=True)

    def delete(self) -> list[str]:
        """Run `sam delete`, then remove what it keeps, as docs/operations.md says.

        Returns
        -------
        list of str
            The logical ids of what was kept.
        """
        cloudformation = self.emulator.client("cloudformation")
        resources = cloudformation.describe_stack_resources(StackName=self.name)["StackResources"]
        self._sam("delete", "--no-prompts")
        self._file.unlink()
        declared = self._template["Resources"]
        kept = [
            resource
            for resource in resources
            if declared.get(resource["LogicalResourceId"], {}).get("DeletionPolicy", "Delete") != "Delete"
        ]
        for resource in kept:
            self._remove(resource["ResourceType"], resource["PhysicalResourceId"])
        self.vectors.delete_index(self.outputs["VectorBucketName"], self._index)
        return sorted(resource["LogicalResourceId"] for resource in kept)

    def _remove(self, kind: str, name: str) -> None:
        if kind == "AWS::S3::Bucket":
            empty_bucket(self.emulator, name)
        elif kind == "AWS::DynamoDB::Table":
            self.emulator.client("dynamodb").delete_table(TableName=name)
        elif kind == "AWS::IAM::Role":
            iam = self.emulator.client("iam")
            for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
                iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
            iam.delete_role(RoleName=name)
        else:
            assert kind == "AWS::ApiGateway::Account", kind  # a setting, not a thing

    def _sam(self, command: str, *arguments: str) -> None:
        where = ["--config-env", "rehearsal", "--stack-name", self.name, "--region", REGION]
        done = subprocess.run(
            [SAM, command, *where, *arguments],
            cwd=ROOT,
            env=sam_environment(self.emulator),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-5000:]}"


@contextmanager
def rehearsing(folder: Path) -> Iterator[Rehearsal]:
    """The built template on an emulator of its own, deployed; all of it is gone at the end.

    Parameters
    ----------
    folder : Path
        Takes the certificate and, at the end, what the emulator printed.
    """
    certificate = Certificate(folder)
    vectors_port = free_port()
    variables = {"AWS_ENDPOINT_URL_S3VECTORS": f"https://{bridge_address()}:{vectors_port}"}
    with MiniStack(free_port(), certificate, variables) as emulator:
        vectors = VectorsFront(emulator.client)
        with served(vectors, emulator.host, vectors_port, certificate):
            emulator.client("ecr").create_repository(repositoryName=REPOSITORY)
            template = yaml.safe_load(BUILT.read_text())
            rehearsal = Rehearsal(emulator, vectors, STACK, template, production_parameters())
            try:
                rehearsal.deploy()
                yield rehearsal
            finally:
                (folder / "ministack.log").write_text(emulator.log())
                emulator.close()
                remove_images(emulator)


def remove_images(emulator: MiniStack) -> None:
    """Remove the names under which images were pushed; the images are `sam build`'s."""
    pushed = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{emulator.registry}/*").split()
    if pushed:
        docker("image", "rm", *pushed)


def sam_environment(emulator: MiniStack) -> dict[str, str]:
    """Return the environment that SAM CLI runs with."""
    return {**emulator.environment, "SAM_CLI_TELEMETRY": "0", "DOCKER_CONFIG": str(docker_config(emulator))}


def docker_config(emulator: MiniStack) -> Path:
    """Make a Docker configuration that is logged in to ECR already, since its host name leads to AWS."""
    folder = emulator.folder / "docker"
    folder.mkdir(exist_ok=True)
    login = {"auth": base64.b64encode(b"AWS:rehearsal").decode()}
    config = {"auths": {f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com": login}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def empty_bucket(emulator: MiniStack, name: str) -> None:
    """Delete a bucket with everything in it."""
    s3 = emulator.client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            s3.delete_object(Bucket=name, Key=item["Key"], VersionId=item["VersionId"])
    s3.delete_bucket(Bucket=name)


def left_behind(emulator: MiniStack, *workers: str) -> dict[str, list[str]]:
    """Return what there still is in an account whose stacks were deleted, by kind.

    An invocation of a worker that is under way then logs once more. The emulator makes its log group anew,
    which on AWS no role of ours may do: such a group is removed, and what is left is to be asked for again.

    Parameters
    ----------
    emulator : MiniStack
    *workers : str
        The log groups of functions that work off a queue.
    """
    left = {kind: names for kind, names in inventory(emulator).items() if names}
    for group in left.get("log groups", []):
        if group in workers:
            emulator.client("logs").delete_log_group(logGroupName=group)
    return left


def inventory(emulator: MiniStack) -> dict[str, list[str]]:
    """Return the names of all there is in the account, by kind."""

    def names(service: str, operation: str, member: str, name: str | None, **arguments: Any) -> list[str]:
        answer = getattr(emulator.client(service), operation)(**arguments)
        items = answer.get(member) or []
        return sorted(str(item[name]) if name else str(item) for item in items)

    stacks = emulator.client("cloudformation").describe_stacks()["Stacks"]
    roles = names("iam", "list_roles", "Roles", "RoleName")
    return {
        "stacks": sorted(s["StackName"] for s in stacks if s["StackStatus"] != "DELETE_COMPLETE"),
        "buckets": names("s3", "list_buckets", "Buckets", "Name"),
        "tables": names("dynamodb", "list_tables", "TableNames", None),
        "queues": names("sqs", "list_queues", "QueueUrls", None),
        "functions": names("lambda", "list_functions", "Functions", "FunctionName"),
        "event source mappings": names("lambda", "list_event_source_mappings", "EventSourceMappings", "UUID"),
        "roles": [role for role in roles if not re.match("AWSServiceRole|ministack", role)],
        "APIs": names("apigateway", "get_rest_apis", "items", "id"),
        "log groups": names("logs", "describe_log_groups", "logGroups", "logGroupName"),
        "alarms": names("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
        "dashboards": names("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
        "topics": names("sns", "list_topics", "Topics", "TopicArn"),
        "rules": names("events", "list_rules", "Rules", "Name"),
        "repositories": names("ecr", "describe_repositories", "repositories", "repositoryName"),
    }
