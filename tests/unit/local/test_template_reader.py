"""Reading templates: values, and refusals of what is not known."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.image import Image
from local.template import Authorizer, Endpoint, Resolver, TemplateError, load, read

DEPLOYMENT = Path(__file__).with_name("deployment") / "template.yaml"
ENDPOINT = "http://127.0.0.1:4566"


def resolver(**sections: Any) -> Resolver:
    resources = {
        "Queue": {"Type": "AWS::SQS::Queue"},
        "Named": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "b"}},
    }
    parameters = {
        "Name": {"Type": "String", "Default": "x"},
        "Many": {"Type": "CommaDelimitedList", "Default": "a,b"},
    }
    conditions = {
        "IsX": {"Fn::Equals": [{"Ref": "Name"}, "x"]},
        "IsNotX": {"Fn::Not": [{"Condition": "IsX"}]},
    }
    document = {"Resources": resources, "Parameters": parameters, "Conditions": conditions, **sections}
    return Resolver(document, ENDPOINT, {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("!Ref Name", "x"),
        ("!Ref Many", ["a", "b"]),
        ("!Ref AWS::Region", "us-east-1"),
        ("!Ref Queue", f"{ENDPOINT}/123456789012/music-local-Queue"),
        ("!Ref Named", "b"),
        ("!GetAtt Queue.Arn", "arn:aws:sqs:us-east-1:123456789012:music-local-Queue"),
        ("!GetAtt [Named, Arn]", "arn:aws:s3:::b"),
        ("!Sub '${Name}-${Queue.QueueName}-${!Literal}'", "x-music-local-Queue-${Literal}"),
        ("!Sub ['${Own}/${Name}', {Own: !Ref Named}]", "b/x"),
        ("!Join [',', !Ref Many]", "a,b"),
        ("!Select [1, !Split ['-', 'p-q']]", "q"),
        ("!If [IsX, yes it is, no]", "yes it is"),
        ("!If [IsNotX, 1, 2]", 2),
        ("{a: !If [IsX, !Ref AWS::NoValue, 1], b: [!Ref AWS::NoValue, 2]}", {"b": [2]}),
    ],
)
def test_intrinsic_functions(tmp_path: Path, text: str, value: Any) -> None:
    path = tmp_path / "value.yaml"
    path.write_text(f"value: {text}")
    assert resolver().resolve(read(path)["value"]) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!Ref Nothing", "Nothing: no such parameter or resource"),
        ("!GetAtt Queue.Colour", "Queue.Colour"),
        ("!FindInMap [a, b, c]", "Fn::FindInMap"),
        ("!If [Unknown, 1, 2]", "Unknown: no such condition"),
    ],
)
def test_what_has_no_value_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "value.yaml"
    path.write_text(f"value: {text}")
    with pytest.raises(TemplateError, match=message):
        resolver().resolve(read(path)["value"])


def test_a_whole_deployment() -> None:
    deployment = load(ENDPOINT, path=DEPLOYMENT)
    assert deployment.stage == "test"
    assert deployment.functions["WorkFunction"].environment["MOOD"] == "busy"
    assert deployment.functions["WebFunction"].environment["MOOD"] == "kind"
    assert deployment.functions["WebFunction"].label == "web"
    app = DEPLOYMENT.parent / "functions/web/app.py"
    assert deployment.functions["WebFunction"].image.modules() == {"app": app}
    assert {(route.method, route.path) for route in deployment.routes} == {
        ("POST", "/echo/{name}"),
        ("GET", "/echo/{name}"),
        ("GET", "/echo/literal"),
        ("ANY", "/any"),
        ("OPTIONS", "/any"),
    }
    assert deployment.queues["Queue"].dead_letters == "DeadLetters"
    assert deployment.queues["Queue"].attributes == {"VisibilityTimeout": "1", "maxReceiveCount": "2"}
    assert deployment.buckets[0].notifications[0]["Filter"]["Key"]["FilterRules"][0]["Value"] == "uploads/"
    assert deployment.buckets[0].cors[0]["AllowedOrigins"] == [
        "https://page.example",
        "https://other.example",
    ]


def test_parameters_replace_defaults() -> None:
    deployment = load(ENDPOINT, path=DEPLOYMENT, parameters={"Greeting": "oi"})
    assert deployment.functions["WebFunction"].environment["GREETING"] == "oi"
    assert deployment.functions["WebFunction"].environment["MOOD"] == "rude"


@pytest.mark.parametrize(
    ("declared", "given", "message"),
    [
        ({}, {"Other": "1"}, "Other: the template has no such parameter"),
        ({"P": {"Type": "String"}}, {}, "P needs a value"),
        ({"P": {"Type": "String", "AllowedValues": ["a"]}}, {"P": "b"}, "must be one of"),
        ({"P": {"Type": "String", "AllowedPattern": "[a-z]+"}}, {"P": "B"}, "must look like"),
        ({"P": {"Type": "Number", "MinValue": 2}}, {"P": "1"}, "must be a number"),
        ({"P": {"Type": "Number"}}, {"P": "one"}, "must be a number"),
    ],
)
def test_parameters_are_checked(declared: Any, given: dict[str, str], message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        Resolver({"Resources": {}, "Parameters": declared}, ENDPOINT, given)


def test_resources_under_a_false_condition_are_not_there() -> None:
    resources = {"Q": {"Type": "AWS::SQS::Queue", "Condition": "Never"}}
    document = {"Resources": resources, "Conditions": {"Never": {"Fn::Equals": ["a", "b"]}}}
    assert Resolver(document, ENDPOINT, {}).resources == {}


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder with the functions of the test deployment, for another template."""
    shutil.copytree(DEPLOYMENT.parent / "functions", tmp_path / "functions")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["Extra"], {"Type": "AWS::Kinesis::Stream"}, "Extra: .* AWS::Kinesis::Stream"),
        (["Queue", "Properties", "FifoQueue"], True, "Queue: .* FifoQueue"),
        (["Queue", "Properties", "DelaySeconds"], 5, "Queue: .* DelaySeconds"),
        (["Table", "Properties", "StreamSpecification"], {}, "Table: .* StreamSpecification"),
        (
            ["Bucket", "Properties", "NotificationConfiguration", "LambdaConfigurations"],
            [],
            "LambdaConfigurations",
        ),
        (["WebFunction", "Properties", "VpcConfig"], {}, "WebFunction: .* VpcConfig"),
        (["WebFunction", "Properties", "ImageConfig"], {"Command": ["a.b"]}, "WebFunction: .* ImageConfig"),
        (["WebFunction", "Metadata", "Dockerfile"], "functions/none/Dockerfile", "WebFunction: .*none"),
        (["WebFunction", "Properties", "PackageType"], "Zip", "only images"),
        (["WebFunction", "Properties", "Events", "Echo", "Type"], "Kinesis", "Echo: .* type Kinesis"),
        (
            ["WebFunction", "Properties", "Events", "Echo", "Properties", "Auth"],
            {"Scopes": []},
            "Echo: Auth: .* Scopes",
        ),
        (["WebFunction", "Properties", "Events", "Echo", "Properties", "Path"], "/{all+}", "greedy"),
        (
            ["WorkFunction", "Properties", "Events", "Queue", "Properties", "FilterCriteria"],
            {},
            "FilterCriteria",
        ),
        (["WorkFunction", "Properties", "Events", "Queue", "Properties", "Queue"], "arn:x", "ARN arn:x"),
        (["Api", "Properties", "Auth"], {"UsagePlan": {}}, "Api: Auth: .* UsagePlan"),
        (["Api", "Properties", "Cors"], "'*'", "Api: .* Cors"),
        (["Api", "Properties", "BinaryMediaTypes"], ["audio~1*"], "binary media type"),
        (["Api", "Properties", "GatewayResponses", "DEFAULT_4XX", "Other"], 1, "DEFAULT_4XX: .* Other"),
        (["VectorIndex", "Properties", "DistanceMetric"], "euclidean", "cosine"),
    ],
)
def test_what_is_not_known_is_an_error_that_names_it(
    beside: Path, path: list[str], value: Any, message: str
) -> None:
    document = read(DEPLOYMENT)
    place = document["Resources"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    changed = beside / "template.yaml"
    changed.write_text(yaml.safe_dump(document))
    with pytest.raises(TemplateError, match=message):
        load(ENDPOINT, path=changed)


def test_schedules(beside: Path) -> None:
    document = read(DEPLOYMENT)
    events = document["Resources"]["WorkFunction"]["Properties"]["Events"]
    events["Often"] = {"Type": "Schedule", "Properties": {"Schedule": "rate(5 minutes)"}}
    path = beside / "template.yaml"
    path.write_text(yaml.safe_dump(document))
    assert load(ENDPOINT, path=path).schedules[0].seconds == 300
    events["Often"]["Properties"]["Schedule"] = "cron(0 0 * * ? *)"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(TemplateError, match=r"Often: .* cron"):
        load(ENDPOINT, path=path)


AUTHORIZED = """
Resources:
  Api:
    Type: AWS::Serverless::Api
    Properties:
      StageName: test
      Auth:
        DefaultAuthorizer: mine
        AddDefaultAuthorizerToCorsPreflight: false
        Authorizers:
          mine:
            FunctionArn: !GetAtt Function.Arn
            FunctionPayloadType: REQUEST
            Identity: {Headers: [X-Key], Context: [stage], ReauthorizeEvery: 30}
  Function:
    Type: AWS::Serverless::Function
    Metadata: {Dockerfile: functions/web/Dockerfile, DockerContext: .}
    Properties:
      PackageType: Image
      Timeout: 2
      MemorySize: 128
      Environment: {Variables: {A: b}}
      Events:
        Closed: {Type: Api, Properties: {RestApiId: !Ref Api, Method: GET, Path: /closed}}
        Preflight: {Type: Api, Properties: {RestApiId: !Ref Api, Method: OPTIONS, Path: /closed}}
        Open:
          Type: Api
          Properties: {RestApiId: !Ref Api, Method: GET, Path: /open, Auth: {Authorizer: NONE}}
"""


def test_routes_know_their_authorizer(beside: Path) -> None:
    path = beside / "template.yaml"
    path.write_text(AUTHORIZED)
    deployment = load(ENDPOINT, path=path)
    assert {(route.method, route.path): route.authorizer for route in deployment.routes} == {
        ("GET", "/closed"): "mine",
        ("OPTIONS", "/closed"): None,
        ("GET", "/open"): None,
    }
    sources = (("header", "X-Key"), ("context", "stage"))
    assert deployment.authorizers == {"mine": Authorizer("mine", "Function", "REQUEST", sources, None, 30.0)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("DefaultAuthorizer: mine", "DefaultAuthorizer: yours", "there is no authorizer yours"),
        ("Authorizer: NONE", "Authorizer: mine", "no authorizer of a single route"),
        ("Context: [stage]", "QueryStrings: [a]", "does not know QueryStrings"),
        ("DefaultAuthorizer: mine", "ApiKeyRequired: true", "does not know ApiKeyRequired"),
    ],
)
def test_unknown_authorizers(beside: Path, old: str, new: str, message: str) -> None:
    path = beside / "template.yaml"
    path.write_text(AUTHORIZED.replace(old, new))
    with pytest.raises(TemplateError, match=message):
        load(ENDPOINT, path=path)


ENDPOINT_RESOURCES = """
Parameters:
  Host: {Type: String, Default: sagemaker}
Conditions:
  On: !Equals [!Ref Host, sagemaker]
Resources:
  Endpoint:
    Type: AWS::SageMaker::Endpoint
    Condition: On
    Properties:
      EndpointName: mine
      EndpointConfigName: !GetAtt Config.EndpointConfigName
  Config:
    Type: AWS::SageMaker::EndpointConfig
    Condition: On
    Properties:
      ProductionVariants:
        - VariantName: all
          ModelName: !GetAtt Model.ModelName
          InitialInstanceCount: 1
      AsyncInferenceConfig:
        ClientConfig: {MaxConcurrentInvocationsPerInstance: 4}
        OutputConfig:
          S3OutputPath: !Sub 's3://${Bucket}/done/'
          S3FailurePath: !If [On, !Sub 's3://${Bucket}/failed/', !Ref AWS::NoValue]
          NotificationConfig: !If [On, {ErrorTopic: !Ref Errors}, !Ref AWS::NoValue]
  Model:
    Type: AWS::SageMaker::Model
    Condition: On
    Metadata: {Dockerfile: functions/web/Dockerfile}
    Properties:
      ExecutionRoleArn: arn:x
      PrimaryContainer: {Image: an-image, Environment: {A: 1, BUCKET: !Ref Bucket}}
  Errors: {Type: AWS::SNS::Topic, Condition: On}
  Bucket:
    Type: AWS::S3::Bucket
    Properties:
      BucketName: b
      NotificationConfiguration: !If [On, !Ref AWS::NoValue, {LambdaConfigurations: []}]
"""


def test_an_endpoint(beside: Path) -> None:
    path = beside / "template.yaml"
    path.write_text(ENDPOINT_RESOURCES)
    deployment = load(ENDPOINT, path=path)
    assert deployment.endpoints == [
        Endpoint(
            name="mine",
            image=Image.read(beside / "functions/web/Dockerfile", beside),
            environment={"A": "1", "BUCKET": "b"},
            streams=4,
            done="s3://b/done/",
            failed="s3://b/failed/",
        )
    ]
    assert deployment.buckets[0].notifications == []  # a property without a value is not there


def test_what_is_under_a_condition_is_read_only_where_that_holds(beside: Path) -> None:
    path = beside / "template.yaml"
    path.write_text(ENDPOINT_RESOURCES)
    with pytest.raises(TemplateError, match="LambdaConfigurations"):
        load(ENDPOINT, path=path, parameters={"Host": "lambda"})
    path.write_text(ENDPOINT_RESOURCES.replace("{LambdaConfigurations: []}", "!Ref AWS::NoValue"))
    assert load(ENDPOINT, path=path, parameters={"Host": "lambda"}).endpoints == []
    elsewhere = "    Type: AWS::SageMaker::Model\n    Condition: Off\n"
    changed = ENDPOINT_RESOURCES.replace("    Type: AWS::SageMaker::Model\n    Condition: On\n", elsewhere)
    path.write_text(changed.replace("Resources:", "  Off: !Not [Condition: On]\nResources:", 1))
    with pytest.raises(TemplateError, match="Model: no such parameter or resource"):
        load(ENDPOINT, path=path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "EndpointName: mine",
            "DeploymentConfig: {}\n      EndpointName: mine",
            "Endpoint: .* DeploymentConfig",
        ),
        ("InitialInstanceCount: 1", "ServerlessConfig: {}", "ProductionVariants: .* ServerlessConfig"),
        ("ClientConfig: {", "ClientConfig: {Other: 1, ", "Config: ClientConfig: .* Other"),
        ("S3OutputPath:", "KmsKeyId: k\n          S3OutputPath:", "Config: OutputConfig: .* KmsKeyId"),
        ("{ErrorTopic:", "{SuccessTopic: a, ErrorTopic:", "NotificationConfig: .* SuccessTopic"),
        ("ExecutionRoleArn:", "VpcConfig: {}\n      ExecutionRoleArn:", "Model: .* VpcConfig"),
        ("{Image: an-image,", "{Image: an-image, ModelDataUrl: s3://x,", "PrimaryContainer: .* ModelDataUrl"),
        ("    Metadata: {Dockerfile: functions/web/Dockerfile}\n", "", "images with a Dockerfile"),
        ("functions/web/Dockerfile", "functions/none/Dockerfile", "Model: .*none"),
        ("!GetAtt Config.EndpointConfigName", "elsewhere", "no AWS::SageMaker::EndpointConfig .* elsewhere"),
        ("!GetAtt Model.ModelName", "other", "no AWS::SageMaker::Model .* other"),
        ("AsyncInferenceConfig:", "DataCaptureConfig:", "Config: .* DataCaptureConfig"),
    ],
)
def test_what_is_not_known_of_an_endpoint_is_an_error(beside: Path, old: str, new: str, message: str) -> None:
    path = beside / "template.yaml"
    assert ENDPOINT_RESOURCES.count(old) == 1
    path.write_text(ENDPOINT_RESOURCES.replace(old, new))
    with pytest.raises(TemplateError, match=message):
        load(ENDPOINT, path=path)
