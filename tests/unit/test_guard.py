"""What must not slip into a deployment: wide permissions, open or unencrypted storage, unpinned dependencies.

An exception stands here with its reason. One that nothing needs any more is an error, too, and so is a type
of resource that nobody has thought about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cfnlint.api
import pytest

from local.template import ROOT, TEMPLATE, read
from tests import audit

RESOURCES: dict[str, dict[str, Any]] = read()["Resources"]

FUNCTIONS = {name for name, item in RESOURCES.items() if item["Type"] == "AWS::Serverless::Function"}
WIDE = {
    **{
        (f"{name.removesuffix('Function')}Role", "Resource", "*"): "X-Ray knows no resources"
        for name in FUNCTIONS
    },
    ("UploadRole", "Resource", "BUCKET/generated/*"): "reads whatever result is to become a track",
    ("UploadRole", "Resource", "BUCKET/candidates/*"): "reads whatever candidate is to become a track",
    ("EncodeRole", "Resource", "BUCKET/generated/*"): "gives out whatever result is asked for",
    (
        "EncodeRole",
        "Resource",
        "BUCKET/candidates/*",
    ): "gives out whatever candidate is asked for",
    (
        "ApiRole",
        "Resource",
        "BUCKET/candidates/*",
    ): "deletes what was made of a track, reads its origins",
    ("WaitRole", "Resource", "BUCKET/candidates/*"): "gives out and deletes whatever candidate is the result",
    ("GenerateRole", "Resource", "BUCKET/candidates/*"): "writes the candidates that its message asks for",
    ("SweeperRole", "Resource", "BUCKET/candidates/*"): "removes whatever has expired",
    ("UploadRole", "Resource", "BUCKET/uploads/*"): "one object for each track, under keys made as they come",
    ("ApiRole", "Resource", "BUCKET/uploads/*"): "gives back and deletes whatever track is asked for",
    ("ApiRole", "Resource", "BUCKET/generated/*"): "deletes what was made of a track that is deleted",
    (
        "ApiRole",
        "Resource",
        "BUCKET/derived/*",
    ): "gives out and deletes what a player needs of whatever track",
    ("WaitRole", "Resource", "BUCKET/generated/*"): "gives out and deletes whatever result is asked for",
    ("EmbedRole", "Resource", "BUCKET/uploads/*"): "reads whatever track its message names",
    (
        "EmbedRole",
        "Resource",
        "BUCKET/derived/*",
    ): "writes what a player needs of whatever track its message names",
    ("GenerateRole", "Resource", "BUCKET/uploads/*"): "reads whatever track its message names",
    ("GenerateRole", "Resource", "BUCKET/generated/*"): "writes whatever result its message asks for",
    ("SweeperRole", "Resource", "BUCKET/uploads/*"): "removes whatever has expired",
    ("SweeperRole", "Resource", "BUCKET/generated/*"): "removes whatever has expired",
    ("SweeperRole", "Resource", "BUCKET/derived/*"): "removes whatever has expired",
    ("EndpointRole", "Resource", "*"): "neither metrics nor the login to a registry know resources",
    ("EndpointRole", "Resource", "BUCKET/uploads/*"): "reads whatever track its message names",
    ("EndpointRole", "Resource", "BUCKET/generated/*"): "writes whatever result its message asks for",
    ("EndpointRole", "Resource", "BUCKET/candidates/*"): "writes the candidates that its message asks for",
    ("EndpointRole", "Resource", "BUCKET/receipts/*"): "SageMaker writes there under names of its own",
    ("BucketPolicy", "Principal", "*"): "a denial, for everybody",
    ("BucketPolicy", "Action", "s3:*"): "a denial, of everything",
    ("BucketPolicy", "Resource", "${Bucket.Arn}/*"): "a denial, of every object",
}
"""Every `*` in the template's policies, as (resource, element, text), and why it may be there."""

MANAGED = {
    "service-role/AmazonAPIGatewayPushToCloudWatchLogs": "API Gateway's own, so that it may log",
}
"""AWS's policies in use."""

ENCRYPTED = {
    "AWS::S3::Bucket": "BucketEncryption",
    "AWS::DynamoDB::Table": "SSESpecification",
    "AWS::S3Vectors::VectorBucket": "EncryptionConfiguration",
    "AWS::SQS::Queue": "SqsManagedSseEnabled",
}
"""Types that keep data, and the property that encrypts it."""

ENCRYPTED_ANYWAY = {
    "AWS::Logs::LogGroup": "CloudWatch Logs encrypts every group with a key of its own",
    "AWS::S3Vectors::Index": "as its bucket is",
    "AWS::SNS::Topic": "CloudWatch may not publish to one under alias/aws/sns; alarms say nothing of users",
    "AWS::SageMaker::Endpoint": "its queue holds ids alone, and its instances' own disks are encrypted",
}
"""Types that keep data without such a property, and why."""

KEEP_NOTHING = {
    "AWS::ApiGateway::Account",
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::IAM::Role",
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::SageMaker::EndpointConfig",
    "AWS::SageMaker::Model",
    "AWS::Serverless::Api",
    "AWS::Serverless::Function",
}


def texts(node: Any) -> Iterator[str]:
    """Every text in a value; of CloudFormation's functions, their argument."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, list):
        for item in node:
            yield from texts(item)
    elif isinstance(node, dict):
        for item in node.values():
            yield from texts(item)


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every policy statement of the template, with the resource it stands in."""

    def within(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            if "Effect" in node:
                yield node
            for item in node.values():
                yield from within(item)
        elif isinstance(node, list):
            for item in node:
                yield from within(item)

    for name, resource in RESOURCES.items():
        for statement in within(resource["Properties"]):
            yield name, statement


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: item["Properties"] for name, item in RESOURCES.items() if item["Type"] == kind}


def test_every_star_has_its_reason() -> None:
    bucket = RESOURCES["Bucket"]["Properties"]["BucketName"]["Fn::Sub"]
    found = set()
    for name, statement in statements():
        assert statement.keys() <= {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}, name
        for element in ("Principal", "Action", "Resource"):
            for text in texts(statement.get(element, [])):
                if "*" in text:
                    short = text.replace("arn:${AWS::Partition}:s3:::" + bucket, "BUCKET")
                    found.add((name, element, short))
    assert found == WIDE.keys()


def test_a_star_in_a_statement_stands_for_what_its_reason_says() -> None:
    for name, statement in statements():
        if statement.get("Resource") == "*":
            actions = tuple(statement["Action"])
            assert actions in {
                ("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
                ("cloudwatch:PutMetricData",),
                ("ecr:GetAuthorizationToken",),
            }, name
            assert ("Condition" in statement) == (actions == ("cloudwatch:PutMetricData",))
        if "*" in texts(statement.get("Principal", [])):
            assert statement["Effect"] == "Deny"


def test_every_action_is_spelt_out_in_a_statement_of_its_own() -> None:
    for name, resource in RESOURCES.items():
        properties = resource["Properties"]
        assert "PermissionsBoundary" not in properties
        if resource["Type"] == "AWS::Serverless::Function":
            assert "Policies" not in properties, name  # SAM's policy templates are wider than they look
            assert properties["Role"] == {"Fn::GetAtt": [name.replace("Function", "Role"), "Arn"]}
    managed = {
        text.partition(":policy/")[2]
        for role in of_type("AWS::IAM::Role").values()
        for text in texts(role.get("ManagedPolicyArns", []))
    }
    assert managed == MANAGED.keys()


def test_roles_are_taken_by_the_service_they_are_for() -> None:
    for name, role in of_type("AWS::IAM::Role").items():
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        service = {"ApiAccountRole": "apigateway", "EndpointRole": "sagemaker"}.get(name, "lambda")
        assert trust["Principal"] == {"Service": f"{service}.amazonaws.com"}
        assert trust["Action"] == "sts:AssumeRole"


def test_everything_kept_is_encrypted() -> None:
    kinds = {resource["Type"] for resource in RESOURCES.values()}
    assert kinds == ENCRYPTED.keys() | ENCRYPTED_ANYWAY.keys() | KEEP_NOTHING
    for resource in RESOURCES.values():
        if resource["Type"] in ENCRYPTED:
            setting = resource["Properties"][ENCRYPTED[resource["Type"]]]
            on = {"AES256", "True"} & {str(value) for value in [setting, *leaves(setting)]}
            assert on, resource


def leaves(node: Any) -> Iterator[Any]:
    if isinstance(node, dict | list):
        for item in node.values() if isinstance(node, dict) else node:
            yield from leaves(item)
    else:
        yield node


def test_every_bucket_is_private_and_takes_only_tls() -> None:
    buckets = of_type("AWS::S3::Bucket")
    policies = {policy["Bucket"]["Ref"]: policy for policy in of_type("AWS::S3::BucketPolicy").values()}
    assert buckets.keys() == policies.keys()
    for name, bucket in buckets.items():
        assert list(bucket["PublicAccessBlockConfiguration"].values()) == [True] * 4
        assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        (statement,) = policies[name]["PolicyDocument"]["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Principal"] == "*"
        assert statement["Action"] == "s3:*"
        assert statement["Resource"] == [
            {"Fn::GetAtt": [name, "Arn"]},
            {"Fn::Sub": f"${{{name}.Arn}}/*"},
        ]
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_every_worker_is_capped_and_every_route_throttled() -> None:
    for name, function in of_type("AWS::Serverless::Function").items():
        for event in function.get("Events", {}).values():
            if event["Type"] == "SQS":
                assert "MaximumConcurrency" in event["Properties"]["ScalingConfig"], name
            elif event["Type"] == "Api":
                assert event["Properties"]["RestApiId"] == {"Ref": "Api"}, name
            else:
                assert event["Type"] == "Schedule", name
    (everywhere,) = RESOURCES["Api"]["Properties"]["MethodSettings"]
    assert (everywhere["ResourcePath"], everywhere["HttpMethod"]) == ("/*", "*")
    assert {"ThrottlingRateLimit", "ThrottlingBurstLimit"} <= everywhere.keys()


def test_every_queue_ends_in_dead_letters_that_somebody_hears_of() -> None:
    queues, alarms = of_type("AWS::SQS::Queue"), of_type("AWS::CloudWatch::Alarm")
    dead = {
        queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
        for queue in queues.values()
        if "RedrivePolicy" in queue
    }
    assert dead | {name for name, queue in queues.items() if "RedrivePolicy" in queue} == queues.keys()
    for name, queue in queues.items():
        watched = {
            alarm["MetricName"]
            for alarm in alarms.values()
            if alarm["Dimensions"][0]["Value"] == {"Fn::GetAtt": [name, "QueueName"]}
        }
        if name in dead:
            assert "ApproximateNumberOfMessagesVisible" in watched, name
            sources = [q for q in queues.values() if name in texts(q.get("RedrivePolicy", {}))]
            assert all(q["MessageRetentionPeriod"] < queue["MessageRetentionPeriod"] for q in sources)
        else:
            assert "ApproximateAgeOfOldestMessage" in watched, name
    for name, alarm in alarms.items():
        waking = name == "EndpointWakingAlarm"  # somebody else's: it starts an instance
        assert alarm["AlarmActions"] == [{"Ref": "EndpointWaking" if waking else "Alarms"}]


def test_cfn_lint_finds_the_mistake_that_is_made_in_a_copy_and_no_other(tmp_path: Path) -> None:
    spoilt = tmp_path / "template.yaml"
    spoilt.write_text(TEMPLATE.read_text().replace("SSEAlgorithm: AES256", "SSEAlgorithm: ROT13"))
    (found,) = cfnlint.api.lint_file(spoilt, {"include_checks": ["I"]})
    assert "ROT13" in found.message


@pytest.mark.parametrize("lock", audit.LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_dependency_is_one_version_with_its_hashes(lock: Path) -> None:
    lines = lock.read_text().replace("\\\n", " ").splitlines()
    wanted = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert wanted
    pinned = r"[A-Za-z0-9._-]+(\[[a-z0-9, -]+\])?==[A-Za-z0-9.+!]+( ;.*?)?\s+--hash=sha256:[0-9a-f]{64}"
    for line in wanted:
        assert re.match(pinned, line), line


@pytest.mark.parametrize(
    "dockerfile", sorted(ROOT.glob("functions/*/Dockerfile")), ids=lambda p: p.parent.name
)
def test_images_install_what_is_locked_and_nothing_else(dockerfile: Path) -> None:
    text = dockerfile.read_text().replace("\\\n", " ")
    for install in re.findall(r"pip install[^&;\n]*", text):
        assert "--require-hashes --no-deps --only-binary :all:" in install
    # Lambda brings a user of its own, unprivileged, and ignores or refuses another; its root is read-only.
    # tests/sam/test_images.py runs every image that way. The endpoint's image says its own.
    users = ["993"] if dockerfile.parent.name == "endpoint" else []
    assert re.findall(r"^USER (.*)", text, re.MULTILINE) == users
    assert not re.search(r"^ADD|curl|wget|apt-get|dnf ", text, re.MULTILINE)
