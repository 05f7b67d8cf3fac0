"""Read `template.yaml` the way CloudFormation would, with local names for what it creates.

The template is the single source of wiring: routes, triggers, queues, environment and gateway responses come
from here and from nowhere else. A resource, an event or a property that this module does not know might
change what the deployment does, so it is an error; what is deliberately not emulated is in `NOT_EMULATED`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from local.image import DockerfileError, Image

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"

STACK_NAME = "music-local"
REGION = "us-east-1"
ACCOUNT = "123456789012"

NOT_EMULATED: dict[str, str] = {
    "AWS::IAM::Role": "permissions are not checked",
    "AWS::S3::BucketPolicy": "permissions are not checked",
    "AWS::SQS::QueuePolicy": "permissions are not checked",
    "AWS::Logs::LogGroup": "logs go to this terminal",
    "AWS::ApiGateway::Account": "logs go to this terminal",
    "AWS::CloudWatch::Alarm": "nobody watches",
    "AWS::CloudWatch::Dashboard": "nobody watches",
    "AWS::SNS::Topic": "nobody watches",
    "AWS::ApplicationAutoScaling::ScalableTarget": "an endpoint has one instance here while there is work",
    "AWS::ApplicationAutoScaling::ScalingPolicy": "an endpoint has one instance here while there is work",
}
"""Resource types without a local counterpart, and why their absence changes no answer."""

HERE = {"EndpointImage": "of-the-working-tree"}
"""Parameters that name something on AWS, and what stands for it here: a process with the code at hand."""

# Properties that are read below, and properties that change nothing a user of the local stack could see.
_READ: dict[str, set[str]] = {
    "AWS::Serverless::Api": {"StageName", "GatewayResponses", "BinaryMediaTypes", "Auth"},
    "AWS::Serverless::Function": {
        "PackageType",
        "MemorySize",
        "Timeout",
        "Environment",
        "Events",
    },
    "AWS::S3::Bucket": {"BucketName", "NotificationConfiguration", "CorsConfiguration"},
    "AWS::DynamoDB::Table": {
        "TableName",
        "BillingMode",
        "AttributeDefinitions",
        "KeySchema",
        "GlobalSecondaryIndexes",
        "TimeToLiveSpecification",
    },
    "AWS::SQS::Queue": {"QueueName", "VisibilityTimeout", "MessageRetentionPeriod", "RedrivePolicy"},
    "AWS::S3Vectors::VectorBucket": {"VectorBucketName"},
    "AWS::S3Vectors::Index": {"VectorBucketName", "IndexName", "DataType", "Dimension", "DistanceMetric"},
    "AWS::SageMaker::Endpoint": {"EndpointName", "EndpointConfigName"},
    "AWS::SageMaker::EndpointConfig": {"ProductionVariants", "AsyncInferenceConfig"},
    "AWS::SageMaker::Model": {"PrimaryContainer"},
}
_WITHOUT_EFFECT: dict[str, set[str]] = {
    "AWS::Serverless::Api": {
        "Name",
        "Description",
        "OpenApiVersion",
        "EndpointConfiguration",
        "TracingEnabled",
        "MethodSettings",
        "AccessLogSetting",
    },
    "AWS::Serverless::Function": {
        "Description",
        "Architectures",
        "Tracing",
        "Role",
        "LoggingConfig",
        "EphemeralStorage",
        "RecursiveLoop",
        "ReservedConcurrentExecutions",
        "AutoPublishAlias",
        "AutoPublishAliasAllProperties",
        "VersionDescription",
        "ProvisionedConcurrencyConfig",
    },
    "AWS::S3::Bucket": {
        "OwnershipControls",
        "PublicAccessBlockConfiguration",
        "BucketEncryption",
        "LifecycleConfiguration",
    },
    "AWS::DynamoDB::Table": {
        "DeletionProtectionEnabled",
        "PointInTimeRecoverySpecification",
        "SSESpecification",
    },
    "AWS::SQS::Queue": {"SqsManagedSseEnabled"},
    "AWS::S3Vectors::VectorBucket": {"EncryptionConfiguration"},
    "AWS::S3Vectors::Index": set(),
    "AWS::SageMaker::Endpoint": set(),
    "AWS::SageMaker::EndpointConfig": set(),
    "AWS::SageMaker::Model": {"ExecutionRoleArn"},
}
_EVENT_PROPERTIES: dict[str, set[str]] = {
    "Api": {"RestApiId", "Method", "Path", "Auth"},
    "SQS": {"Queue", "BatchSize", "FunctionResponseTypes", "ScalingConfig"},
    "Schedule": {"Schedule", "Description"},
}


class TemplateError(Exception):
    """The template says something that cannot be emulated, or that makes no sense."""


@dataclass(frozen=True)
class Route:
    """A method and a path, such as ``GET /api/audio/{audio_id}``, and the function that answers it.

    `method` may be ``"ANY"``, for all that have no route of their own on this path. `authorizer` names the
    one that is asked before, if any.
    """

    method: str
    path: str
    function: str
    authorizer: str | None = None


@dataclass(frozen=True)
class Authorizer:
    """A function that says who may call.

    Attributes
    ----------
    kind : str
        ``"TOKEN"`` (the function gets one header) or ``"REQUEST"`` (it gets the whole request).
    sources : tuple of (str, str)
        What tells callers apart, as ``("header", name)`` or ``("context", name)``; who lacks one is refused.
    pattern : str or None
        What a token has to look like.
    seconds : float
        How long an answer holds for the same caller.
    """

    name: str
    function: str
    kind: str
    sources: tuple[tuple[str, str], ...]
    pattern: str | None
    seconds: float


@dataclass(frozen=True)
class QueueTrigger:
    """A queue whose messages a function is invoked with."""

    function: str
    queue: str
    batch_size: int
    partial: bool


@dataclass(frozen=True)
class ScheduleTrigger:
    """A function that is invoked every `seconds`."""

    name: str
    function: str
    seconds: float


@dataclass(frozen=True)
class Function:
    """A Lambda function: its image, and what it is given.

    `label` is its short name for people: its image's tag, or else the folder of its Dockerfile.
    """

    name: str
    label: str
    image: Image
    timeout: float
    memory: int
    environment: dict[str, str]


@dataclass(frozen=True)
class Queue:
    """An SQS queue. `dead_letters` is the name of the queue it gives up to."""

    name: str
    url: str
    arn: str
    attributes: dict[str, str]
    dead_letters: str | None


@dataclass(frozen=True)
class Bucket:
    """An S3 bucket with its notifications and CORS rules, as the S3 API takes them."""

    name: str
    notifications: list[dict[str, Any]]
    cors: list[dict[str, Any]]


@dataclass(frozen=True)
class Table:
    """A DynamoDB table: `definition` is what `CreateTable` takes."""

    name: str
    definition: dict[str, Any]
    ttl: dict[str, Any] | None


@dataclass(frozen=True)
class VectorIndex:
    """An index of S3 Vectors; `definition` is what `CreateIndex` takes."""

    bucket: str
    name: str
    definition: dict[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """An asynchronous endpoint of SageMaker.

    Attributes
    ----------
    name : str
        What requests call it.
    image : Image
        What its container holds.
    environment : dict
        What its container is given.
    streams : int
        Requests that its one instance gets at the same time.
    done, failed : str
        ``s3://`` addresses below which the receipts of requests lie.
    """

    name: str
    image: Image
    environment: dict[str, str]
    streams: int
    done: str
    failed: str


@dataclass
class Deployment:
    """Everything of the template that has a local counterpart."""

    stage: str = "local"
    allowed_origins: tuple[str, ...] = ()
    """Of the parameter `AllowedOrigins`: pages that may call the API besides its own; ``*`` is all."""
    gateway_responses: dict[str, dict[str, Any]] = field(default_factory=dict)
    binary: bool = False
    functions: dict[str, Function] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    authorizers: dict[str, Authorizer] = field(default_factory=dict)
    default_authorizer: str | None = None
    preflight_authorizer: bool = True
    queue_triggers: list[QueueTrigger] = field(default_factory=list)
    schedules: list[ScheduleTrigger] = field(default_factory=list)
    queues: dict[str, Queue] = field(default_factory=dict)
    buckets: list[Bucket] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    vector_buckets: list[str] = field(default_factory=list)
    vector_indexes: list[VectorIndex] = field(default_factory=list)
    endpoints: list[Endpoint] = field(default_factory=list)
    not_emulated: dict[str, str] = field(default_factory=dict)


def load(
    endpoint_url: str,
    *,
    path: Path = TEMPLATE,
    parameters: Mapping[str, str] | None = None,
) -> Deployment:
    """Read a template and resolve it for the local stack.

    Parameters
    ----------
    endpoint_url : str
        Where the local AWS answers; queue URLs start with it.
    path : Path
        The template.
    parameters : mapping, optional
        Values in place of the parameters' defaults, and of `HERE`, as text.

    Raises
    ------
    TemplateError
        Naming the resource and the property that is not known here.
    """
    document = read(path)
    declared = document.get("Parameters", {})
    here = {name: value for name, value in HERE.items() if name in declared}
    resolver = Resolver(document, endpoint_url, {**here, **(parameters or {})}, path.parent)
    deployment = Deployment()
    if "AllowedOrigins" in declared:
        deployment.allowed_origins = tuple(resolver.resolve({"Ref": "AllowedOrigins"}))
    resolver.check_rules()
    for name in resolver.resources:
        kind = resolver.resources[name]["Type"]
        if kind in NOT_EMULATED:
            deployment.not_emulated[kind] = NOT_EMULATED[kind]
            continue
        if kind not in _LOADERS:
            raise TemplateError(f"{name}: the local stack does not know resources of type {kind}")
        _LOADERS[kind](deployment, name, resolver)
    deployment.routes = [
        replace(route, authorizer=_authorizer_of(route, deployment)) for route in deployment.routes
    ]
    return deployment


def read(path: Path = TEMPLATE) -> dict[str, Any]:
    """Read a template's YAML; ``!Ref X`` becomes ``{"Ref": "X"}``, ``!Sub X`` ``{"Fn::Sub": "X"}``."""
    return yaml.load(path.read_text(), _Loader)  # noqa: S506 (a SafeLoader, with CloudFormation's tags)


class _Loader(yaml.SafeLoader):
    pass


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix in {"Ref", "Condition"}:
        return {suffix: value}
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _intrinsic)

_NO_VALUE = object()


class Resolver:
    """Replaces CloudFormation's intrinsic functions by values.

    Parameters
    ----------
    document : dict
        A template, as `read` returns it.
    endpoint_url : str
        Where the local AWS answers.
    parameters : mapping
        Values in place of the parameters' defaults.
    folder : Path
        What the template's paths start from.
    """

    def __init__(
        self,
        document: dict[str, Any],
        endpoint_url: str,
        parameters: Mapping[str, str],
        folder: Path = ROOT,
    ) -> None:
        self.folder = folder
        self._endpoint_url = endpoint_url
        self._conditions: dict[str, Any] = document.get("Conditions", {})
        self._globals: dict[str, Any] = document.get("Globals", {})
        self._rules: dict[str, Any] = document.get("Rules", {})
        self._values = _parameters(document.get("Parameters", {}), parameters) | {
            "AWS::StackName": STACK_NAME,
            "AWS::Region": REGION,
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::NoValue": _NO_VALUE,
        }
        self.resources: dict[str, dict[str, Any]] = {
            name: resource
            for name, resource in document["Resources"].items()
            if "Condition" not in resource or self._condition(resource["Condition"])
        }

    def check_rules(self) -> None:
        """Check the template's rules about its parameters.

        Raises
        ------
        TemplateError
            Saying what the broken rule says.
        """
        for rule in self._rules.values():
            if self.resolve(rule.get("RuleCondition", True)):
                for assertion in rule["Assertions"]:
                    if not self.resolve(assertion["Assert"]):
                        raise TemplateError(assertion["AssertDescription"])

    def properties(self, name: str) -> dict[str, Any]:
        """Return a resource's properties, resolved, `Globals` included, after checking that all are known."""
        resource = self.resources[name]
        kind = resource["Type"]
        properties = resource.get("Properties", {})
        section = (
            self._globals.get(kind.removeprefix("AWS::Serverless::"), {}) if "Serverless" in kind else {}
        )
        merged = {**section, **properties}
        for key in section.keys() & properties.keys():
            merged[key] = _merge(section[key], properties[key])
        for key in merged.keys() - _READ[kind] - _WITHOUT_EFFECT[kind]:
            raise TemplateError(f"{name}: the local stack does not know the property {key} of {kind}")
        known = {key: self.resolve(value) for key, value in merged.items() if key in _READ[kind]}
        return {key: value for key, value in known.items() if value is not _NO_VALUE}

    def resolve(self, node: Any) -> Any:
        """Resolve one value, however deep."""
        if isinstance(node, list):
            values = [self.resolve(item) for item in node]
            return [value for value in values if value is not _NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((key, argument),) = node.items()
            if key == "Ref":
                return self._ref(argument)
            if key == "Condition" and isinstance(argument, str):
                return self._condition(argument)
            if key.startswith("Fn::"):
                return self._function(key.removeprefix("Fn::"), argument)
        pairs = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in pairs.items() if value is not _NO_VALUE}

    def arn(self, name: str) -> str:
        """ARN of a resource."""
        return self._attribute(name, "Arn")

    def physical_name(self, name: str) -> str:
        """Name of a resource: its own when the template gives it one."""
        resource = self.resources[name]
        for key in ("BucketName", "QueueName", "TableName", "VectorBucketName", "IndexName", "EndpointName"):
            if key in resource.get("Properties", {}):
                return str(self.resolve(resource["Properties"][key]))
        return f"{STACK_NAME}-{name}"

    def queue_url(self, name: str) -> str:
        """URL of a queue."""
        return f"{self._endpoint_url}/{ACCOUNT}/{self.physical_name(name)}"

    def by_arn(self, arn: str, kind: str) -> str:
        """Logical name of the resource of this type with this ARN."""
        for name, resource in self.resources.items():
            if resource["Type"] == kind and self.arn(name) == arn:
                return name
        raise TemplateError(f"no {kind} in the template has the ARN {arn}")

    def by_name(self, physical: str, kind: str) -> str:
        """Logical name of the resource of this type that has this name."""
        for name, resource in self.resources.items():
            if resource["Type"] == kind and self.physical_name(name) == physical:
                return name
        raise TemplateError(f"no {kind} in the template has the name {physical}")

    def _ref(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        kind = self._kind(name)
        if kind == "AWS::SQS::Queue":
            return self.queue_url(name)
        if kind in {
            "AWS::S3::Bucket",
            "AWS::DynamoDB::Table",
            "AWS::Serverless::Function",
            "AWS::Serverless::Api",
        }:
            return self.physical_name(name)
        if kind == "AWS::SNS::Topic":
            return self.arn(name)
        raise TemplateError(f"!Ref {name}: a {kind} has no local value")

    def _attribute(self, name: str, attribute: str) -> str:
        kind = self._kind(name)
        if (kind, attribute) in {
            ("AWS::SQS::Queue", "QueueName"),
            ("AWS::SageMaker::Endpoint", "EndpointName"),
            ("AWS::SageMaker::EndpointConfig", "EndpointConfigName"),
            ("AWS::SageMaker::Model", "ModelName"),
        }:
            return self.physical_name(name)
        services = {
            "AWS::SQS::Queue": f"sqs:{REGION}:{ACCOUNT}:",
            "AWS::S3::Bucket": "s3:::",
            "AWS::DynamoDB::Table": f"dynamodb:{REGION}:{ACCOUNT}:table/",
            "AWS::Serverless::Function": f"lambda:{REGION}:{ACCOUNT}:function:",
            "AWS::SNS::Topic": f"sns:{REGION}:{ACCOUNT}:",
        }
        if attribute != "Arn" or kind not in services:
            raise TemplateError(f"!GetAtt {name}.{attribute}: a {kind} has no such local value")
        return f"arn:aws:{services[kind]}{self.physical_name(name)}"

    def _kind(self, name: str) -> str:
        if name not in self.resources:
            raise TemplateError(f"{name}: no such parameter or resource")
        return str(self.resources[name]["Type"])

    def _condition(self, name: str) -> bool:
        if name not in self._conditions:
            raise TemplateError(f"{name}: no such condition")
        return bool(self.resolve(self._conditions[name]))

    def _function(self, name: str, argument: Any) -> Any:
        if name == "If":
            condition, yes, no = argument
            return self.resolve(yes if self._condition(condition) else no)
        if name == "GetAtt":
            return self._attribute(*argument)
        if name == "Sub":
            return self._substitute(argument)
        if name not in _PURE:
            raise TemplateError(f"the local stack does not know the function Fn::{name}")
        return _PURE[name](self.resolve(argument))

    def _substitute(self, argument: Any) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else argument

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in own:
                return str(self.resolve(own[name]))
            return str(self._attribute(*name.split(".", 1)) if "." in name else self._ref(name))

        return re.sub(r"\$\{([^}]+)\}", value, text)


_PURE: dict[str, Callable[[Any], Any]] = {
    "Join": lambda a: a[0].join(str(item) for item in a[1]),
    "Split": lambda a: a[1].split(a[0]),
    "Select": lambda a: a[1][int(a[0])],
    "Equals": lambda a: str(a[0]) == str(a[1]),
    "Not": lambda a: not a[0],
    "And": all,
    "Or": any,
}


def _parameters(declared: dict[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    for name in given.keys() - declared.keys():
        raise TemplateError(f"{name}: the template has no such parameter")
    values: dict[str, Any] = {}
    for name, parameter in declared.items():
        if name not in given and "Default" not in parameter:
            raise TemplateError(f"parameter {name} needs a value")
        value = str(given.get(name, parameter.get("Default")))
        pattern = parameter.get("AllowedPattern")
        if pattern and not re.fullmatch(pattern, value):
            raise TemplateError(f"parameter {name} must look like {pattern}, not {value!r}")
        if value not in [str(allowed) for allowed in parameter.get("AllowedValues", [value])]:
            raise TemplateError(
                f"parameter {name} must be one of {parameter['AllowedValues']}, not {value!r}"
            )
        if parameter["Type"] == "Number":
            low, high = parameter.get("MinValue", float("-inf")), parameter.get("MaxValue", float("inf"))
            if not re.fullmatch(r"-?\d+(\.\d+)?", value) or not low <= float(value) <= high:
                raise TemplateError(f"parameter {name} must be a number from {low} to {high}, not {value!r}")
        values[name] = value.split(",") if parameter["Type"] == "CommaDelimitedList" else value
    return values


def _merge(base: Any, over: Any) -> Any:
    """Merge as SAM merges `Globals`: maps deeply, lists one after the other, anything else replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: _merge(base[key], value) if key in base else value for key, value in over.items()}
    if isinstance(base, list) and isinstance(over, list):
        return base + over
    return over


def _known(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    for key in given.keys() - known:
        raise TemplateError(f"{where}: the local stack does not know {key}")


def _load_api(deployment: Deployment, name: str, resolver: Resolver) -> None:
    properties = resolver.properties(name)
    if properties.get("BinaryMediaTypes", []) not in ([], ["*~1*"]):
        raise TemplateError(f"{name}: the local stack knows only *~1* as a binary media type")
    deployment.stage = properties["StageName"]
    deployment.binary = bool(properties.get("BinaryMediaTypes"))
    for kind, response in properties.get("GatewayResponses", {}).items():
        _known(
            f"{name}: gateway response {kind}",
            response,
            {"StatusCode", "ResponseParameters", "ResponseTemplates"},
        )
        _known(f"{name}: gateway response {kind}", response.get("ResponseParameters", {}), {"Headers"})
        _known(
            f"{name}: gateway response {kind}", response.get("ResponseTemplates", {}), {"application/json"}
        )
        for header, value in response.get("ResponseParameters", {}).get("Headers", {}).items():
            if not re.fullmatch(r"'.*'", value):
                raise TemplateError(
                    f"{name}: gateway response {kind}: {header} is not a static value in quotes"
                )
        deployment.gateway_responses[kind] = response
    auth = properties.get("Auth", {})
    _known(f"{name}: Auth", auth, {"DefaultAuthorizer", "AddDefaultAuthorizerToCorsPreflight", "Authorizers"})
    deployment.preflight_authorizer = auth.get("AddDefaultAuthorizerToCorsPreflight", True)
    for key, authorizer in auth.get("Authorizers", {}).items():
        deployment.authorizers[key] = _authorizer(f"{name}: authorizer {key}", key, authorizer, resolver)
    deployment.default_authorizer = auth.get("DefaultAuthorizer")
    if deployment.default_authorizer not in {None, *deployment.authorizers}:
        raise TemplateError(f"{name}: there is no authorizer {deployment.default_authorizer}")


def _authorizer_of(route: Route, deployment: Deployment) -> str | None:
    if route.authorizer == "NONE" or (route.method == "OPTIONS" and not deployment.preflight_authorizer):
        return None
    return deployment.default_authorizer


def _authorizer(where: str, name: str, properties: dict[str, Any], resolver: Resolver) -> Authorizer:
    _known(where, properties, {"FunctionArn", "FunctionPayloadType", "Identity"})
    identity, kind = properties["Identity"], properties["FunctionPayloadType"]
    known = {"Header", "ValidationExpression"} if kind == "TOKEN" else {"Headers", "Context"}
    _known(f"{where}: Identity", identity, {"ReauthorizeEvery", *known})
    sources = [("header", header) for header in identity.get("Headers", [])]
    sources += [("context", value) for value in identity.get("Context", [])]
    return Authorizer(
        name=name,
        function=resolver.by_arn(properties["FunctionArn"], "AWS::Serverless::Function"),
        kind=kind,
        sources=(("header", identity["Header"]),) if kind == "TOKEN" else tuple(sources),
        pattern=identity.get("ValidationExpression"),
        seconds=float(identity["ReauthorizeEvery"]),
    )


def _load_function(deployment: Deployment, name: str, resolver: Resolver) -> None:
    properties = resolver.properties(name)
    metadata = resolver.resolve(resolver.resources[name].get("Metadata", {}))
    if properties.get("PackageType") != "Image" or "Dockerfile" not in metadata:
        raise TemplateError(f"{name}: the local stack knows only images with a Dockerfile")
    context = resolver.folder / metadata.get("DockerContext", ".")
    try:
        image = Image.read(context / metadata["Dockerfile"], context)
    except DockerfileError as error:
        raise TemplateError(f"{name}: {error}") from error
    deployment.functions[name] = Function(
        name=name,
        label=metadata.get("DockerTag", Path(metadata["Dockerfile"]).parent.name),
        image=image,
        timeout=float(properties["Timeout"]),
        memory=int(properties["MemorySize"]),
        environment={key: str(value) for key, value in properties["Environment"]["Variables"].items()},
    )
    for event_name, event in properties.get("Events", {}).items():
        kind, where = event["Type"], f"{name}: event {event_name}"
        if kind not in _EVENT_PROPERTIES:
            raise TemplateError(f"{where}: the local stack does not know events of type {kind}")
        _known(where, event["Properties"], _EVENT_PROPERTIES[kind])
        if kind == "Api":
            auth = event["Properties"].get("Auth", {})
            _known(f"{where}: Auth", auth, {"Authorizer"})
            own = auth.get("Authorizer")
            if own not in (None, "NONE"):
                raise TemplateError(f"{where}: the local stack knows no authorizer of a single route")
            method, path = event["Properties"]["Method"].upper(), event["Properties"]["Path"]
            route = Route(method, path, name, own)
            if "+}" in route.path:
                raise TemplateError(f"{where}: the local stack knows no greedy paths")
            deployment.routes.append(route)
        elif kind == "SQS":
            deployment.queue_triggers.append(_queue_trigger(where, name, event["Properties"], resolver))
        else:
            seconds = _rate(where, event["Properties"]["Schedule"])
            deployment.schedules.append(ScheduleTrigger(event_name, name, seconds))


def _queue_trigger(where: str, function: str, properties: dict[str, Any], resolver: Resolver) -> QueueTrigger:
    types = properties.get("FunctionResponseTypes", [])
    if types not in ([], ["ReportBatchItemFailures"]):
        raise TemplateError(f"{where}: the local stack does not know the response types {types}")
    return QueueTrigger(
        function=function,
        queue=resolver.by_arn(properties["Queue"], "AWS::SQS::Queue"),
        batch_size=int(properties.get("BatchSize", 10)),
        partial=bool(types),
    )


def _rate(where: str, schedule: str) -> float:
    match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule)
    if not match:
        raise TemplateError(f"{where}: the local stack does not know the schedule {schedule}")
    return float(match[1]) * {"minute": 60, "hour": 3600, "day": 86400}[match[2]]


def _load_bucket(deployment: Deployment, name: str, resolver: Resolver) -> None:
    properties = resolver.properties(name)
    configuration = properties.get("NotificationConfiguration", {})
    _known(f"{name}: NotificationConfiguration", configuration, {"QueueConfigurations"})
    notifications = []
    for item in configuration.get("QueueConfigurations", []):
        _known(f"{name}: QueueConfigurations", item, {"Event", "Queue", "Filter"})
        rules = item.get("Filter", {}).get("S3Key", {}).get("Rules", [])
        notification: dict[str, Any] = {"QueueArn": item["Queue"], "Events": [item["Event"]]}
        if rules:
            notification["Filter"] = {"Key": {"FilterRules": rules}}
        notifications.append(notification)
    cors = properties.get("CorsConfiguration", {}).get("CorsRules", [])
    for rule in cors:
        _known(
            f"{name}: CorsRules",
            rule,
            {"AllowedMethods", "AllowedOrigins", "AllowedHeaders", "ExposedHeaders", "MaxAge"},
        )
    deployment.buckets.append(Bucket(resolver.physical_name(name), notifications, cors))


def _load_table(deployment: Deployment, name: str, resolver: Resolver) -> None:
    properties = resolver.properties(name)
    ttl = properties.pop("TimeToLiveSpecification", None)
    definition = {**properties, "TableName": resolver.physical_name(name)}
    deployment.tables.append(Table(resolver.physical_name(name), definition, ttl))


def _load_queue(deployment: Deployment, name: str, resolver: Resolver) -> None:
    properties = resolver.properties(name)
    attributes: dict[str, str] = {
        key: str(properties[key])
        for key in ("VisibilityTimeout", "MessageRetentionPeriod")
        if key in properties
    }
    redrive = properties.get("RedrivePolicy")
    if redrive:
        _known(f"{name}: RedrivePolicy", redrive, {"deadLetterTargetArn", "maxReceiveCount"})
        attributes["maxReceiveCount"] = str(redrive["maxReceiveCount"])
    deployment.queues[name] = Queue(
        name=resolver.physical_name(name),
        url=resolver.queue_url(name),
        arn=resolver.arn(name),
        attributes=attributes,
        dead_letters=resolver.by_arn(redrive["deadLetterTargetArn"], "AWS::SQS::Queue") if redrive else None,
    )


def _load_vector_bucket(deployment: Deployment, name: str, resolver: Resolver) -> None:
    deployment.vector_buckets.append(resolver.properties(name)["VectorBucketName"])


def _load_vector_index(deployment: Deployment, name: str, resolver: Resolver) -> None:
    properties = resolver.properties(name)
    definition = {
        "dataType": properties["DataType"],
        "dimension": int(properties["Dimension"]),
        "distanceMetric": properties["DistanceMetric"],
    }
    if properties["DistanceMetric"] != "cosine":
        raise TemplateError(f"{name}: the local stack knows only the cosine distance")
    deployment.vector_indexes.append(
        VectorIndex(properties["VectorBucketName"], properties["IndexName"], definition)
    )


def _load_endpoint(deployment: Deployment, name: str, resolver: Resolver) -> None:
    properties = resolver.properties(name)
    config_name = resolver.by_name(properties["EndpointConfigName"], "AWS::SageMaker::EndpointConfig")
    config = resolver.properties(config_name)
    if len(config["ProductionVariants"]) != 1:
        raise TemplateError(f"{config_name}: the local stack knows endpoints of one variant")
    (variant,) = config["ProductionVariants"]
    sizes = {"InstanceType", "InitialInstanceCount", "InitialVariantWeight"}
    sizes |= {"InferenceAmiVersion", "ContainerStartupHealthCheckTimeoutInSeconds"}
    _known(f"{config_name}: ProductionVariants", variant, {"VariantName", "ModelName", *sizes})
    if "AsyncInferenceConfig" not in config:
        raise TemplateError(f"{config_name}: the local stack knows asynchronous endpoints alone")
    asynchronous = config["AsyncInferenceConfig"]
    _known(f"{config_name}: AsyncInferenceConfig", asynchronous, {"ClientConfig", "OutputConfig"})
    client, output = asynchronous["ClientConfig"], asynchronous["OutputConfig"]
    _known(f"{config_name}: ClientConfig", client, {"MaxConcurrentInvocationsPerInstance"})
    _known(f"{config_name}: OutputConfig", output, {"S3OutputPath", "S3FailurePath", "NotificationConfig"})
    _known(f"{config_name}: NotificationConfig", output.get("NotificationConfig", {}), {"ErrorTopic"})
    model_name = resolver.by_name(variant["ModelName"], "AWS::SageMaker::Model")
    container = resolver.properties(model_name)["PrimaryContainer"]
    _known(f"{model_name}: PrimaryContainer", container, {"Image", "Environment"})
    metadata = resolver.resolve(resolver.resources[model_name].get("Metadata", {}))
    if "Dockerfile" not in metadata:
        raise TemplateError(f"{model_name}: the local stack knows only images with a Dockerfile")
    context = resolver.folder / metadata.get("DockerContext", ".")
    try:
        image = Image.read(context / metadata["Dockerfile"], context)
    except DockerfileError as error:
        raise TemplateError(f"{model_name}: {error}") from error
    deployment.endpoints.append(
        Endpoint(
            name=properties["EndpointName"],
            image=image,
            environment={key: str(value) for key, value in container["Environment"].items()},
            streams=int(client["MaxConcurrentInvocationsPerInstance"]),
            done=output["S3OutputPath"],
            failed=output["S3FailurePath"],
        )
    )


def _load_with_its_endpoint(deployment: Deployment, name: str, resolver: Resolver) -> None:
    resolver.properties(name)  # all known; `_load_endpoint` reads them


_LOADERS: dict[str, Callable[[Deployment, str, Resolver], None]] = {
    "AWS::Serverless::Api": _load_api,
    "AWS::Serverless::Function": _load_function,
    "AWS::S3::Bucket": _load_bucket,
    "AWS::DynamoDB::Table": _load_table,
    "AWS::SQS::Queue": _load_queue,
    "AWS::S3Vectors::VectorBucket": _load_vector_bucket,
    "AWS::S3Vectors::Index": _load_vector_index,
    "AWS::SageMaker::Endpoint": _load_endpoint,
    "AWS::SageMaker::EndpointConfig": _load_with_its_endpoint,
    "AWS::SageMaker::Model": _load_with_its_endpoint,
}
