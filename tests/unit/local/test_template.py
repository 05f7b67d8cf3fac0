"""What the deployment promises, held against the code that relies on it.

tests/unit/test_guard.py says what must not be in it.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, ClassVar

import pytest

from backend import api, records, settings, storage
from local import template
from local.template import ROOT, Deployment, Function, Resolver, load
from music import profiles

TEMPLATE: dict[str, Any] = template.read()
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
HTTP = {"upload", "api", "wait", "search", "encode"}


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return load("http://127.0.0.1:4566")


@pytest.fixture(scope="module")
def with_endpoint() -> Deployment:
    return load("http://127.0.0.1:4566", parameters={"GenerateHost": "sagemaker"})


@pytest.fixture(scope="module")
def functions(deployment: Deployment, with_endpoint: Deployment) -> dict[str, Function]:
    """All functions, wherever generations run."""
    return with_endpoint.functions | deployment.functions


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: item.get("Properties", {}) for name, item in RESOURCES.items() if item["Type"] == kind}


def statements(role: str) -> list[dict[str, Any]]:
    policies = RESOURCES[role]["Properties"]["Policies"]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def forget_functions() -> dict[str, ModuleType]:
    """Take the functions' modules out of those that are imported, and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] == "functions"]
    return {name: sys.modules.pop(name) for name in names}


class TestRoutes:
    """Template, resolvers and OpenAPI agree."""

    @pytest.fixture
    def fresh(self) -> Iterator[None]:
        """Let the functions be imported anew, in the template's environment, and forgotten afterwards."""
        imported = forget_functions()
        yield
        forget_functions()
        sys.modules.update(imported)

    @pytest.fixture
    def resolved(
        self, fresh: None, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> set[tuple[str, str, str]]:
        """Routes of the functions themselves, as (function, method, path)."""
        found = set()
        for function in deployment.functions.values():
            if function.label not in HTTP:
                continue
            environment = {**function.environment, "AWS_DEFAULT_REGION": "us-east-1"}
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            module = importlib.import_module(function.image.handler.rpartition(".")[0])
            for route in module.app._static_routes + module.app._dynamic_routes:
                for method in [route.method] if isinstance(route.method, str) else route.method:
                    found.add((function.label, method, re.sub(r"<(\w+)>", r"{\1}", route.path)))
        return found

    def declared(self, deployment: Deployment) -> set[tuple[str, str, str]]:
        return {(deployment.functions[r.function].label, r.method, r.path) for r in deployment.routes}

    def test_are_those_of_the_functions(
        self, deployment: Deployment, resolved: set[tuple[str, str, str]]
    ) -> None:
        declared = {(label, path) for label, _, path in self.declared(deployment)}
        assert declared <= {(label, path) for label, _, path in resolved}
        assert {path for _, path in declared} == {path for _, _, path in resolved}

    def test_that_wait_have_a_function_of_their_own(self, deployment: Deployment) -> None:
        document = json.loads((ROOT / "layers/backend/openapi.json").read_text())
        waiting = {
            path
            for path, item in document["paths"].items()
            for operation in item.values()
            if "wait" in [parameter["name"] for parameter in operation.get("parameters", [])]
        }
        assert waiting
        assert {path for label, _, path in self.declared(deployment) if label == "wait"} == waiting

    def test_are_those_of_the_contract(self, resolved: set[tuple[str, str, str]]) -> None:
        document = json.loads((ROOT / "layers/backend/openapi.json").read_text())
        contract = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
        assert {(method, path) for _, method, path in resolved} == contract

    def test_leave_the_method_to_the_function_but_for_the_preflight(self, deployment: Deployment) -> None:
        own = {
            (route.method, route.path)
            for route in deployment.routes
            if route.method not in {"ANY", "OPTIONS"}
        }
        # What another function than that of the path's other methods answers; that one names them in `Allow`.
        assert own == {("PATCH", "/api/generation/{generation_id}"), ("POST", "/api/audio")}

    def test_every_path_answers_a_browsers_preflight(self, deployment: Deployment) -> None:
        routes = self.declared(deployment)
        answered = {path for _, method, path in routes if method == "OPTIONS"}
        assert {path for _, _, path in routes} == answered
        for label, method, path in routes:
            if method == "ANY":
                assert (label, "OPTIONS", path) in routes

    def test_are_declared_once(self, deployment: Deployment) -> None:
        routes = [(route.method, route.path) for route in deployment.routes]
        assert len(routes) == len(set(routes))


class TestEnvironment:
    """What functions are given is what they read."""

    def test_names_are_those_of_the_settings(self, functions: dict[str, Function]) -> None:
        read: set[str] = set()

        class Recording(dict[str, str]):
            def get(self, key: str, default: Any = None) -> Any:
                read.add(key)
                return super().get(key, default)

        for function in functions.values():
            environment = Recording(function.environment)
            given: Mapping[str, str] = environment
            settings.Settings.from_environment(given)
            powertools = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "LOG_LEVEL"}
            own = {"ENDPOINT_NAME"} if function.label == "dispatch" else set()
            assert environment.keys() - powertools - own == read - {"IMAGE_PROFILE"}  # the image's own
            assert own <= environment.keys()
            assert powertools <= environment.keys()

    def test_names_resources_that_exist(self, deployment: Deployment) -> None:
        environment = deployment.functions["ApiFunction"].environment
        tables = {environment["TABLE_NAME"], environment["KEYS_TABLE_NAME"]}
        assert tables == {table.name for table in deployment.tables}
        assert environment["BUCKET_NAME"] in [bucket.name for bucket in deployment.buckets]
        index = deployment.vector_indexes[0]
        assert (environment["VECTOR_BUCKET_NAME"], environment["VECTOR_INDEX_NAME"]) == (
            index.bucket,
            index.name,
        )
        assert deployment.vector_buckets == [index.bucket]
        urls = {name: queue.url for name, queue in deployment.queues.items()}
        assert environment["EMBED_QUEUE_URL"] == urls["EmbedQueue"]
        assert environment["GENERATE_QUEUE_URL"] == urls["GenerateQueue"]
        assert environment["EMBED_DEAD_LETTERS_URL"] == urls["EmbedDeadLetters"]
        assert environment["GENERATE_DEAD_LETTERS_URL"] == urls["GenerateDeadLetters"]

    def test_the_endpoint_gets_that_of_the_functions(self, with_endpoint: Deployment) -> None:
        (endpoint,) = with_endpoint.endpoints
        own = {"AWS_DEFAULT_REGION": "us-east-1", "ENDPOINT_STREAMS": str(endpoint.streams)}
        assert endpoint.environment == with_endpoint.functions["ApiFunction"].environment | own

    def test_default_profile_is_declared(self) -> None:
        default = profiles.DECLARED[TEMPLATE["Parameters"]["Profile"]["Default"]]
        assert default.name == "builtin"

    def test_index_is_as_wide_as_the_vectors(self, deployment: Deployment) -> None:
        from music.mir512.embedder import Mir512

        (index,) = deployment.vector_indexes
        assert index.definition["dimension"] == Mir512.dimension

    def test_another_index_would_have_another_name(self, deployment: Deployment) -> None:
        (index,) = deployment.vector_indexes
        assert re.fullmatch(rf"audio-v\d+-{index.definition['dimension']}", index.name)


class TestFunctions:
    """Images, limits, logs."""

    FUNCTIONS = of_type("AWS::Serverless::Function")

    def test_there_is_a_dockerfile_for_each(self, functions: dict[str, Function]) -> None:
        folders = {path.parent.name for path in (ROOT / "functions").glob("*/Dockerfile")}
        # Two functions run what is in one of the folders; what is in `endpoint` is no function.
        assert {function.label for function in functions.values()} == folders - {"endpoint"} | {"wait"}
        for name, function in functions.items():
            assert name == f"{function.label.capitalize()}Function"
            metadata = RESOURCES[name]["Metadata"]
            folder = "api" if function.label == "wait" else function.label
            assert metadata["Dockerfile"] == f"functions/{folder}/Dockerfile"
            assert (metadata["DockerContext"], metadata["DockerTag"]) == (".", function.label)
            given = {"BASE_IMAGE": "BaseImage"}
            if function.label in (
                "api",
                "wait",
                "embed",
                "search",
                "generate",
            ):  # hold something of it
                given["PROFILE"] = "Profile"
            assert metadata["DockerBuildArgs"] == {name: {"Ref": value} for name, value in given.items()}
            dockerfile = (ROOT / metadata["Dockerfile"]).read_text()
            for name, value in given.items():
                assert f"ARG {name}={TEMPLATE['Parameters'][value]['Default']}\n" in dockerfile
            assert ("\nENV IMAGE_PROFILE=${PROFILE}\n" in dockerfile) == ("PROFILE" in given)

    def test_memory_fits_a_new_account(self, functions: dict[str, Function]) -> None:
        assert all(function.memory <= 3008 for function in functions.values())

    def test_requests_end_before_the_gateway_gives_up(self, functions: dict[str, Function]) -> None:
        for function in functions.values():
            assert function.timeout <= (29 if function.label in HTTP else 900)

    def test_logs_are_kept_for_a_while_and_not_for_ever(self) -> None:
        groups = of_type("AWS::Logs::LogGroup")
        assert all(group["RetentionInDays"] == {"Ref": "LogRetentionDays"} for group in groups.values())
        used = [item["LoggingConfig"]["LogGroup"]["Ref"] for item in self.FUNCTIONS.values()]
        assert sorted([*used, "AccessLogs", "EndpointLogs"]) == sorted(groups)

    def test_the_endpoint_finds_the_group_that_it_would_make(self) -> None:
        assert RESOURCES["Endpoint"]["DependsOn"] == "EndpointLogs"
        name = RESOURCES["Endpoint"]["Properties"]["EndpointName"]["Fn::Sub"]
        group = RESOURCES["EndpointLogs"]["Properties"]["LogGroupName"]["Fn::Sub"]
        assert group == f"/aws/sagemaker/Endpoints/{name}"

    def test_are_traced(self) -> None:
        assert TEMPLATE["Globals"]["Function"]["Tracing"] == "Active"
        assert RESOURCES["Api"]["Properties"]["TracingEnabled"] is True


class TestPermissions:
    """One role for each function, and in it what it needs."""

    FUNCTIONS = of_type("AWS::Serverless::Function")

    def test_each_function_has_its_own_role(self) -> None:
        roles = [item["Role"]["Fn::GetAtt"][0] for item in self.FUNCTIONS.values()]
        assert len(set(roles)) == len(roles) == 10

    def test_logs_go_to_the_functions_own_group(self) -> None:
        for name, item in self.FUNCTIONS.items():
            (logs,) = [
                s for s in statements(item["Role"]["Fn::GetAtt"][0]) if "logs:PutLogEvents" in s["Action"]
            ]
            assert logs["Resource"] == {"Fn::GetAtt": [name.replace("Function", "Logs"), "Arn"]}

    @pytest.mark.parametrize(
        ("role", "forbidden"),
        [
            ("AuthorizerRole", {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:Query", "s3:GetObject"}),
            ("UploadRole", {"s3:DeleteObject", "sqs:SendMessage", "dynamodb:Query"}),
            ("EncodeRole", {"dynamodb:PutItem", "dynamodb:Query", "sqs:SendMessage"}),
            ("ApiRole", {"s3:PutObject", "s3vectors:PutVectors"}),
            ("WaitRole", {"s3:PutObject", "dynamodb:PutItem", "s3vectors:PutVectors", "sqs:SendMessage"}),
            ("EmbedRole", {"dynamodb:PutItem", "dynamodb:Query"}),
            (
                "SearchRole",
                {"dynamodb:PutItem", "dynamodb:UpdateItem", "s3:GetObject", "s3vectors:PutVectors"},
            ),
            ("GenerateRole", {"s3vectors:PutVectors"}),
            ("SweeperRole", {"s3:PutObject", "sqs:ReceiveMessage"}),
            ("DispatchRole", {"dynamodb:PutItem", "dynamodb:Query", "s3:GetObject", "sqs:SendMessage"}),
            ("EndpointRole", {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"}),
        ],
    )
    def test_nobody_may_do_anothers_work(self, role: str, forbidden: set[str]) -> None:
        allowed = {action for statement in statements(role) for action in statement["Action"]}
        assert not allowed & forbidden

    @pytest.mark.parametrize(
        ("role", "folders"),
        [
            ("UploadRole", {"uploads"}),
            ("EncodeRole", {"candidates"}),
            ("EmbedRole", {"derived"}),
            ("GenerateRole", {"generated", "candidates"}),
            ("EndpointRole", {"generated", "candidates", "receipts"}),
        ],
    )
    def test_nobody_writes_into_anothers_folder(self, role: str, folders: set[str]) -> None:
        written = set()
        for statement in statements(role):
            if "s3:PutObject" in statement["Action"]:
                resources = statement["Resource"]
                for resource in resources if isinstance(resources, list) else [resources]:
                    written.add(resource["Fn::Sub"].split("/")[-2])
        assert written == folders

    @pytest.mark.parametrize(
        ("role", "queues"),
        [
            ("EmbedRole", ["EmbedQueue", "GenerateQueue", "EmbedDeadLetters", "GenerateDeadLetters"]),
            ("GenerateRole", ["GenerateQueue", "GenerateDeadLetters"]),
            ("EndpointRole", ["GenerateQueue", "GenerateDeadLetters"]),
            ("SweeperRole", ["EmbedQueue", "GenerateQueue"]),
        ],
    )
    def test_workers_send_to_no_other_queue(self, role: str, queues: list[str]) -> None:
        (sends,) = [s for s in statements(role) if "sqs:SendMessage" in s["Action"]]
        resources = sends["Resource"] if isinstance(sends["Resource"], list) else [sends["Resource"]]
        assert resources == [{"Fn::GetAtt": [queue, "Arn"]} for queue in queues]

    def test_the_endpoint_may_what_the_function_in_its_place_may_but_take_messages(self) -> None:
        """And what SageMaker does in its name: the image, the log, metrics, receipts."""

        def granted(role: str) -> set[tuple[str, str]]:
            return {
                (action, json.dumps(resource))
                for statement in statements(role)
                for action in statement["Action"]
                for resource in (
                    statement["Resource"]
                    if isinstance(statement["Resource"], list)
                    else [statement["Resource"]]
                )
                if not action.startswith(("logs:", "xray:", "ecr:", "sns:", "cloudwatch:"))
            }

        function, endpoint = granted("GenerateRole"), granted("EndpointRole")
        assert {action for action, _ in function - endpoint} == {
            *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"),
            "sqs:GetQueueAttributes",
        }
        ((action, resource),) = endpoint - function
        assert action == "s3:PutObject"
        assert resource.endswith('/receipts/*"}')

    def test_dispatch_invokes_the_one_endpoint(self) -> None:
        (invokes,) = [s for s in statements("DispatchRole") if "sagemaker:InvokeEndpointAsync" in s["Action"]]
        assert invokes["Resource"] == {"Ref": "Endpoint"}
        everybody = json.dumps([RESOURCES[name] for name in of_type("AWS::IAM::Role")])
        assert everybody.count("sagemaker:") == 1


class TestHosts:
    """Generations run in a function, or on an endpoint that another function feeds."""

    def test_the_other_host_is_not_there(self, deployment: Deployment, with_endpoint: Deployment) -> None:
        assert deployment.functions.keys() - with_endpoint.functions.keys() == {"GenerateFunction"}
        assert with_endpoint.functions.keys() - deployment.functions.keys() == {"DispatchFunction"}
        assert (len(deployment.endpoints), len(with_endpoint.endpoints)) == (0, 1)
        assert TEMPLATE["Parameters"]["GenerateHost"]["Default"] == "lambda"

    def test_everything_of_the_endpoint_is_under_its_condition(self) -> None:
        on_lambda = {name for name, item in RESOURCES.items() if item.get("Condition") == "OnLambda"}
        alarms = {f"Generate{metric}Alarm" for metric in ("Errors", "Throttles", "Duration")}
        assert on_lambda == {"GenerateFunction", "GenerateRole", "GenerateLogs", *alarms}
        on_sagemaker = {name for name, item in RESOURCES.items() if item.get("Condition") == "OnSageMaker"}
        assert on_sagemaker == {name for name in RESOURCES if name.startswith(("Endpoint", "Dispatch"))}

    def test_an_endpoint_needs_an_image(self) -> None:
        with pytest.raises(template.TemplateError, match="needs an EndpointImage"):
            load("http://127.0.0.1:4566", parameters={"GenerateHost": "sagemaker", "EndpointImage": "none"})
        load("http://127.0.0.1:4566", parameters={"EndpointImage": "none"})

    def test_each_is_told_which_it_is(self, deployment: Deployment, with_endpoint: Deployment) -> None:
        for one, host in ((deployment, "lambda"), (with_endpoint, "sagemaker")):
            assert {function.environment["GENERATE_HOST"] for function in one.functions.values()} == {host}

    def test_dispatch_knows_the_endpoint(self, with_endpoint: Deployment) -> None:
        (endpoint,) = with_endpoint.endpoints
        assert with_endpoint.functions["DispatchFunction"].environment["ENDPOINT_NAME"] == endpoint.name
        modules = endpoint.image.modules()
        assert modules["functions.endpoint.serve"] == ROOT / "functions/endpoint/serve.py"
        assert "backend.jobs" in modules
        assert endpoint.streams == TEMPLATE["Parameters"]["EndpointStreams"]["Default"]

    def test_receipts_are_where_nobody_reports_them_and_go_after_a_day(
        self, with_endpoint: Deployment
    ) -> None:
        (endpoint,), (bucket,) = with_endpoint.endpoints, with_endpoint.buckets
        for address in (endpoint.done, endpoint.failed):
            assert address.startswith(f"s3://{bucket.name}/{storage.RECEIPTS}/")
        rules = RESOURCES["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
        (condition, rule, otherwise) = rules[-1]["Fn::If"]
        assert (condition, otherwise) == ("OnSageMaker", {"Ref": "AWS::NoValue"})
        assert (rule["Prefix"], rule["ExpirationInDays"]) == (f"{storage.RECEIPTS}/", 1)

    def test_it_has_no_instance_without_work_and_one_at_the_first(self) -> None:
        scaling = RESOURCES["EndpointScaling"]["Properties"]
        (variant,) = RESOURCES["EndpointConfig"]["Properties"]["ProductionVariants"]
        assert scaling["MinCapacity"] == 0
        assert scaling["ResourceId"]["Fn::Sub"].endswith(f"/variant/{variant['VariantName']}")
        alarm = RESOURCES["EndpointWakingAlarm"]["Properties"]
        assert alarm["MetricName"] == "HasBacklogWithoutCapacity"
        assert alarm["AlarmActions"] == [{"Ref": "EndpointWaking"}]
        (step,) = RESOURCES["EndpointWaking"]["Properties"]["StepScalingPolicyConfiguration"][
            "StepAdjustments"
        ]
        assert step == {"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}
        tracking = RESOURCES["EndpointTracking"]["Properties"]["TargetTrackingScalingPolicyConfiguration"]
        assert tracking["CustomizedMetricSpecification"]["MetricName"] == "ApproximateBacklogSizePerInstance"
        # As many as an instance works on: what waits besides is for another one.
        streams = RESOURCES["EndpointConfig"]["Properties"]["AsyncInferenceConfig"]["ClientConfig"]
        assert tracking["TargetValue"] == streams["MaxConcurrentInvocationsPerInstance"]

    def test_a_change_of_its_configuration_needs_no_other_name(self) -> None:
        assert "EndpointConfigName" not in RESOURCES["EndpointConfig"]["Properties"]
        assert "ModelName" not in RESOURCES["EndpointModel"]["Properties"]


class TestAuthorization:
    """Who may call."""

    WATCHED: ClassVar = {"Stage": "prod", "AlarmEmail": "somebody@example.com"}
    OPEN: ClassVar = {"/", "/assets/{version}/{name}", "/api/health", "/api/openapi.json"}

    @pytest.mark.parametrize("mode", ["keys", "none"])
    def test_every_route_asks_but_the_open_ones(self, mode: str) -> None:
        deployment = load("http://127.0.0.1:4566", parameters={"AuthMode": mode})
        for route in deployment.routes:
            open_to_all = route.method == "OPTIONS" or route.path in self.OPEN
            assert route.authorizer == (None if open_to_all else mode), route
        assert {f.environment["AUTH_MODE"] for f in deployment.functions.values()} == {mode}

    def test_the_contract_says_which_routes_ask(self) -> None:
        document = json.loads((ROOT / "layers/backend/openapi.json").read_text())
        for path, operations in document["paths"].items():
            for operation in operations.values():
                asks = path not in self.OPEN
                assert operation["security"] == ([{"key": []}] if asks else [])
                assert ({"401", "403"} <= operation["responses"].keys()) == asks
                assert "429" in operation["responses"]  # the gateway throttles whatever the route

    def test_production_needs_keys(self) -> None:
        with pytest.raises(template.TemplateError, match="prod needs AuthMode=keys"):
            load("http://127.0.0.1:4566", parameters={**self.WATCHED, "AuthMode": "none"})
        load("http://127.0.0.1:4566", parameters=self.WATCHED)

    def test_production_needs_somebody_who_hears_of_alarms(self) -> None:
        with pytest.raises(template.TemplateError, match="prod needs an AlarmEmail"):
            load("http://127.0.0.1:4566", parameters={"Stage": "prod"})

    def test_nobody_is_let_in_without_a_key_unless_that_is_asked_for(self, deployment: Deployment) -> None:
        assert deployment.default_authorizer == "keys"

    def test_the_committed_configuration_of_production_is_accepted(self) -> None:
        config = tomllib.loads((ROOT / "samconfig.toml").read_text())
        for name in ("default", "prod"):
            given = config[name]["deploy"]["parameters"]["parameter_overrides"].split()
            parameters = dict(item.split("=", 1) for item in given)
            load("http://127.0.0.1:4566", parameters={"AlarmEmail": "somebody@example.com", **parameters})

    def test_a_revoked_key_ends_within_a_minute(self, deployment: Deployment) -> None:
        assert deployment.authorizers["keys"].seconds <= 60

    def test_keys_are_told_from_anything_else_at_the_gateway(self, deployment: Deployment) -> None:
        pattern = deployment.authorizers["keys"].pattern
        assert pattern
        key = f"{'01M83CEY4JVTCDPZGG4CSZHPYN'}.{'_-aZ' * 10}abc"
        assert re.match(pattern, f"Bearer {key}")
        for wrong in (
            key,
            f"Basic {key}",
            f"Bearer {key}=",
            f"Bearer x{key}",
            f"Bearer {key[:-1]}",
            "Bearer ",
        ):
            assert not re.match(pattern, wrong)

    def test_the_authorizer_reads_keys_and_nothing_else(self) -> None:
        (reads,) = [s for s in statements("AuthorizerRole") if "dynamodb:GetItem" in s["Action"]]
        assert reads["Action"] == ["dynamodb:GetItem"]
        assert reads["Resource"] == {"Fn::GetAtt": ["KeysTable", "Arn"]}

    def test_nobody_else_may_touch_the_keys(self) -> None:
        for name in of_type("AWS::IAM::Role").keys() - {"AuthorizerRole"}:
            assert "KeysTable" not in json.dumps(RESOURCES[name])


class TestQueues:
    """Delivery and its end."""

    QUEUES = of_type("AWS::SQS::Queue")

    def sources(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        for name, queue in self.QUEUES.items():
            if "RedrivePolicy" in queue:
                yield name, queue, self.QUEUES[queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]]

    def test_messages_stay_invisible_long_enough(
        self, deployment: Deployment, with_endpoint: Deployment
    ) -> None:
        for one in (deployment, with_endpoint):
            assert len(one.queue_triggers) == 2
            for trigger in one.queue_triggers:
                timeout = one.functions[trigger.function].timeout
                assert float(one.queues[trigger.queue].attributes["VisibilityTimeout"]) == 6 * timeout

    def test_one_at_a_time_with_partial_responses(self, deployment: Deployment) -> None:
        for trigger in deployment.queue_triggers:
            assert trigger.batch_size == 1
            assert trigger.partial
            event = RESOURCES[trigger.function]["Properties"]["Events"]["Queue"]["Properties"]
            parameter = event["ScalingConfig"]["MaximumConcurrency"]["Ref"]
            assert TEMPLATE["Parameters"][parameter]["MinValue"] >= 2

    def test_dispatch_takes_several_and_gives_back_which_it_must(self, with_endpoint: Deployment) -> None:
        (trigger,) = [one for one in with_endpoint.queue_triggers if one.function == "DispatchFunction"]
        assert (trigger.queue, trigger.batch_size, trigger.partial) == ("GenerateQueue", 10, True)

    def test_lambda_lets_workers_send_to_the_queue_that_calls_them(self, deployment: Deployment) -> None:
        """A job that ends calls the tenant's next one: by default Lambda stops a chain at its 17th call."""
        sending = set()
        for trigger in deployment.queue_triggers:
            function = RESOURCES[trigger.function]["Properties"]
            (role, _) = function["Role"]["Fn::GetAtt"]
            granted = [one["Resource"] for one in statements(role) if "sqs:SendMessage" in one["Action"]]
            if f'["{trigger.queue}", "Arn"]' in json.dumps(granted):
                sending.add(trigger.function)
        assert sending == {"EmbedFunction", "GenerateFunction"}
        functions = of_type("AWS::Serverless::Function")
        allowed = {name for name, one in functions.items() if one.get("RecursiveLoop") == "Allow"}
        assert allowed == sending

    def test_dead_letters_outlive_their_source(self) -> None:
        assert len(list(self.sources())) == 2
        for _, queue, dead in self.sources():
            assert dead["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"]
            assert queue["RedrivePolicy"]["maxReceiveCount"] >= 30

    def test_tombstones_outlive_every_message(self) -> None:
        for _, queue, dead in self.sources():
            assert max(q["MessageRetentionPeriod"] for q in (queue, dead)) <= records.TOMBSTONE_SECONDS

    def test_are_encrypted_so_that_s3_can_send(self) -> None:
        assert all(queue["SqsManagedSseEnabled"] is True for queue in self.QUEUES.values())

    def test_uploads_are_notified(self, deployment: Deployment) -> None:
        (bucket,) = deployment.buckets
        (notification,) = bucket.notifications
        assert notification["QueueArn"] == deployment.queues["EmbedQueue"].arn
        assert notification["Events"] == ["s3:ObjectCreated:*"]
        assert notification["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": "uploads/"}]
        policy = RESOURCES["EmbedQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"][0]
        assert policy["Condition"]["ArnEquals"]["aws:SourceArn"]["Fn::Sub"].endswith(
            RESOURCES["Bucket"]["Properties"]["BucketName"]["Fn::Sub"]
        )


class TestStorage:
    """Bucket and table."""

    def test_table_has_the_indexes_of_the_records(self, deployment: Deployment) -> None:
        table = next(table for table in deployment.tables if table.name.endswith("-Table"))

        def keys(schema: list[dict[str, str]]) -> list[tuple[str, str]]:
            return [(key["AttributeName"], key["KeyType"]) for key in schema]

        indexes = {
            index["IndexName"]: (keys(index["KeySchema"]), index["Projection"]["ProjectionType"])
            for index in table.definition["GlobalSecondaryIndexes"]
        }
        assert keys(table.definition["KeySchema"]) == [("pk", "HASH"), ("sk", "RANGE")]
        assert indexes == {
            "by_audio": ([("audio_pk", "HASH"), ("sk", "RANGE")], "ALL"),
            "due": ([("open", "HASH"), ("due_at", "RANGE")], "KEYS_ONLY"),
        }
        assert table.ttl == {"AttributeName": "ttl", "Enabled": True}
        properties = RESOURCES["Table"]["Properties"]
        assert properties["BillingMode"] == "PAY_PER_REQUEST"
        assert properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
        assert properties["SSESpecification"]["SSEEnabled"] is True

    def test_bucket_cleans_up(self) -> None:
        rules = RESOURCES["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
        assert all(rule["Status"] == "Enabled" for rule in rules[:-1])
        assert rules[-1]["Fn::If"][1]["Status"] == "Enabled"
        assert rules[0]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1
        assert rules[1]["ExpirationInDays"] == {"Ref": "RetentionDays"}

    def test_browsers_may_upload_directly(self, deployment: Deployment) -> None:
        (rule,) = deployment.buckets[0].cors
        assert set(rule["AllowedMethods"]) == {"POST", "GET", "HEAD"}

    def test_what_users_gave_survives_the_stack(self) -> None:
        for name in ("Bucket", "Table", "KeysTable", "VectorBucket", "VectorIndex"):
            assert RESOURCES[name]["DeletionPolicy"].startswith("Retain")
            assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"

    def test_a_first_deployment_that_fails_can_go_back(self) -> None:
        """What has a fixed name goes with it, or the next one fails; what is protected cannot."""
        for name in ("Bucket", "Table", "KeysTable", "VectorBucket", "VectorIndex"):
            given = RESOURCES[name]["Properties"]
            goes = RESOURCES[name]["DeletionPolicy"] == "RetainExceptOnCreate"
            assert goes != ("DeletionProtectionEnabled" in given)
            assert goes == any(key.endswith("Name") for key in given)

    def test_what_survives_can_be_imported_as_the_page_says(self) -> None:
        """A template of these alone may name nothing but itself and what every template has."""
        page = (ROOT / "docs/deploying.md").read_text()
        (left_out,) = re.findall(r"copied from `template.yaml` without (.*?), and a\s", page, re.DOTALL)
        kept = {}
        for name in ("Bucket", "Table", "KeysTable", "VectorBucket", "VectorIndex"):
            kept[name] = {**RESOURCES[name], "Properties": dict(RESOURCES[name]["Properties"])}
            for word in re.findall(r"`(\w+)`", left_out):
                kept[name].pop(word, None)
                kept[name]["Properties"].pop(word, None)
        text = json.dumps(kept)
        assert '"Fn::If"' not in text
        named = re.findall(r'"(?:Ref|DependsOn)": "([^"]+)"|"Fn::GetAtt": \["(\w+)"|\$\{([\w:]+)', text)
        names = {next(filter(None, one)) for one in named}
        assert names <= {"AWS::StackName", "AWS::AccountId", "AWS::Region", *kept}


class TestGateway:
    """What API Gateway does by itself."""

    API = RESOURCES["Api"]["Properties"]

    def test_bodies_may_be_binary(self) -> None:
        assert self.API["BinaryMediaTypes"] == ["*~1*"]
        assert "Cors" not in self.API  # its mock OPTIONS fails with binary bodies

    def test_is_throttled_and_logged(self) -> None:
        (method,) = self.API["MethodSettings"]
        assert {"ThrottlingRateLimit", "ThrottlingBurstLimit"} <= method.keys()
        assert method["DataTraceEnabled"] is False

    def test_logs_nothing_that_a_client_words(self) -> None:
        text = self.API["AccessLogSetting"]["Format"]
        json.loads(re.sub(r"\$context\.[\w.]+", "x", text))
        assert set(re.findall(r"\$context\.([\w.]+)", text)) <= {
            *("requestId", "requestTime", "httpMethod", "resourcePath", "status", "xrayTraceId"),
            *("identity.sourceIp", "responseLength", "responseLatency", "integrationLatency"),
            "error.responseType",
        }

    @pytest.mark.parametrize(
        "kind", ["DEFAULT_4XX", "DEFAULT_5XX", "UNAUTHORIZED", "ACCESS_DENIED", "THROTTLED"]
    )
    def test_has_a_response_for(self, kind: str) -> None:
        assert kind in self.API["GatewayResponses"]

    def test_has_none_that_aws_does_not_let_it_have(self) -> None:
        assert "REQUEST_TOO_LARGE" not in self.API["GatewayResponses"]

    @pytest.mark.parametrize("kind", sorted(RESOURCES["Api"]["Properties"]["GatewayResponses"]))
    def test_errors_are_problem_documents(self, kind: str) -> None:
        response = self.API["GatewayResponses"][kind]
        headers = response["ResponseParameters"]["Headers"]
        assert headers["Content-Type"] == "'application/problem+json'"
        assert headers["Access-Control-Allow-Origin"] == "'*'"
        for name in ("X-Content-Type-Options", "Strict-Transport-Security", "Cache-Control"):
            assert headers[name] == f"'{api.SECURITY_HEADERS[name]}'"
        body = response["ResponseTemplates"]["application/json"].replace(
            "$context.error.messageString", '"why"'
        )
        document = json.loads(body)
        assert {"type", "title", "detail", "code"} <= document.keys()
        # What a client words is quoted, or is not there.
        assert set(re.findall(r"\$[\w.]+", body)) <= {"$context.requestId"}
        assert "status" in document or kind.startswith("DEFAULT_")
        assert int(response.get("StatusCode", document.get("status", 0))) == document.get("status", 0)


class TestAlarms:
    """Somebody hears of what goes wrong."""

    ALARMS = of_type("AWS::CloudWatch::Alarm")

    def watched(self, metric: str) -> list[str]:
        values = [
            alarm["Dimensions"][0]["Value"] for alarm in self.ALARMS.values() if alarm["MetricName"] == metric
        ]
        return sorted(value["Ref"] if "Ref" in value else value["Fn::GetAtt"][0] for value in values)

    def test_on_dead_letters_ages_and_errors(self) -> None:
        queues = of_type("AWS::SQS::Queue")
        dead = sorted(name for name, queue in queues.items() if "RedrivePolicy" not in queue)
        assert self.watched("ApproximateNumberOfMessagesVisible") == dead
        assert self.watched("ApproximateAgeOfOldestMessage") == sorted(queues.keys() - set(dead))
        for metric in ("Errors", "Throttles", "Duration"):
            assert self.watched(metric) == sorted(of_type("AWS::Serverless::Function"))
        assert self.watched("Invocations") == ["SweeperFunction"]

    def test_on_a_sweeper_that_lags(self) -> None:
        alarm = next(alarm for alarm in self.ALARMS.values() if alarm["MetricName"] == "SweeperLag")
        variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
        assert alarm["Namespace"] == variables["POWERTOOLS_METRICS_NAMESPACE"]
        assert alarm["Dimensions"] == [{"Name": "service", "Value": variables["POWERTOOLS_SERVICE_NAME"]}]

    def test_on_an_endpoint_that_lags_loses_and_fails(self) -> None:
        for metric in ("ApproximateAgeOfOldestRequest", "ExpiredRequests", "InvocationFailures"):
            assert self.watched(metric) == ["Endpoint"]
        (age,) = [a for a in self.ALARMS.values() if a["MetricName"] == "ApproximateAgeOfOldestRequest"]
        assert age["Threshold"] < records.HANDED_OVER_SECONDS  # then they expire

    def test_before_a_function_is_out_of_time(self, functions: dict[str, Function]) -> None:
        for alarm in self.ALARMS.values():
            if alarm["MetricName"] == "Duration":
                function = functions[alarm["Dimensions"][0]["Value"]["Ref"]]
                assert alarm["Threshold"] == pytest.approx(0.9 * 1000 * function.timeout)  # milliseconds

    def test_on_jobs_that_fail_where_the_workers_count_them(self) -> None:
        (alarm,) = [alarm for alarm in self.ALARMS.values() if alarm["MetricName"] == "JobsFailed"]
        variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
        assert alarm["Namespace"] == variables["POWERTOOLS_METRICS_NAMESPACE"]
        service = variables["POWERTOOLS_SERVICE_NAME"]
        assert alarm["Dimensions"] == [{"Name": "service", "Value": service}]
        assert '"JobsFailed"' in (ROOT / "layers/backend/jobs.py").read_text()


class TestDashboard:
    """What somebody sees who looks before an alarm."""

    HOSTS: ClassVar = {"lambda": False, "sagemaker": True}

    def body(self, host: str) -> str:
        """The dashboard of a deployment, but for the names of its resources."""
        text, given = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
        for name, value in given.items():
            condition, yes, no = value["Fn::If"]
            assert condition == "OnSageMaker"
            chosen = yes if self.HOSTS[host] else no
            if isinstance(chosen, dict):
                chosen = f"${{{chosen['Ref']}}}" if "Ref" in chosen else chosen["Fn::Sub"]
            text = text.replace(f"${{{name}}}", chosen)
        return str(text)

    def metrics(self, host: str) -> list[list[Any]]:
        """Every row of every widget."""
        widgets = json.loads(self.body(host))["widgets"]
        return [row for widget in widgets for row in widget["properties"]["metrics"]]

    @pytest.fixture(params=["lambda", "sagemaker"])
    def host(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def there(self, host: str) -> dict[str, Any]:
        """The resources of a deployment."""
        parameters = {"GenerateHost": host}
        return Resolver(TEMPLATE, "http://127.0.0.1:4566", {**template.HERE, **parameters}).resources

    def test_names_what_is_there(self, host: str, there: dict[str, Any]) -> None:
        body, metrics = self.body(host), self.metrics(host)
        names = {name.partition(".")[0] for name in re.findall(r"\$\{([^}]+)\}", body)}
        assert names <= there.keys() | TEMPLATE["Parameters"].keys() | {"AWS::Region", "AWS::StackName"}
        code = "".join(path.read_text() for path in (ROOT / "layers/backend").rglob("*.py"))
        own = {row[1] for row in metrics if row[0] == "MusicGeneration"}
        assert own
        assert all(f'"{name}"' in code for name in own)
        alarms = of_type("AWS::CloudWatch::Alarm").values()
        dimensions = {(row[0], row[1], tuple(row[2:-1:2])) for row in metrics if len(row) > 1}
        for alarm in alarms:  # the same names as the alarms have
            names_of = tuple(dimension["Name"] for dimension in alarm["Dimensions"])
            for namespace, metric, given in dimensions:
                if (namespace, metric) == (alarm["Namespace"], alarm["MetricName"]):
                    assert given == names_of

    def test_shows_every_queue_and_every_function(self, host: str, there: dict[str, Any]) -> None:
        body = self.body(host)
        for name, item in there.items():
            if item["Type"] == "AWS::SQS::Queue":
                assert f'"${{{name}.QueueName}}"' in body
            if item["Type"] == "AWS::Serverless::Function":
                for metric in ("Errors", "Duration"):
                    assert f'"{metric}", "FunctionName", "${{{name}}}"' in body
        assert ("${Endpoint.EndpointName}" in body) == self.HOSTS[host]

    def test_counts_what_lambda_bills(self, host: str, there: dict[str, Any]) -> None:
        metrics = self.metrics(host)
        (expression,) = [row[0]["expression"] for row in metrics if len(row) == 1]
        deployment = load("http://127.0.0.1:4566", parameters={"GenerateHost": host})
        for name, function in deployment.functions.items():
            (variable,) = [
                row[-1]["id"] for row in metrics if row[1:4] == ["Duration", "FunctionName", f"${{{name}}}"]
            ]
            filled = re.sub(r"FILL\(\w+,0\)", "0", expression.replace(f"FILL({variable},0)", "2000"))
            filled = re.sub(r"\$\{(\w+)\}", lambda m: str(TEMPLATE["Parameters"][m[1]]["Default"]), filled)
            assert re.fullmatch(r"[0-9.+*/() ]+", filled)
            assert eval(filled) == pytest.approx(2 * function.memory / 1024 * 0.0000166667)


def test_what_answers_requests_can_reserve_concurrency_and_workers_are_capped_otherwise() -> None:
    parameters = TEMPLATE["Parameters"]
    for name, function in of_type("AWS::Serverless::Function").items():
        label = name.removesuffix("Function")
        if label.lower() in HTTP | {"authorizer"}:
            given = {"Ref": f"{label}Reserved"}
            assert function["ReservedConcurrentExecutions"] == {
                "Fn::If": [f"Reserves{label}", given, {"Ref": "AWS::NoValue"}]
            }
            assert TEMPLATE["Conditions"][f"Reserves{label}"] == {"Fn::Not": [{"Fn::Equals": [given, "0"]}]}
            assert (
                parameters[f"{label}Reserved"]["Default"],
                parameters[f"{label}Reserved"]["MinValue"],
            ) == (0, 0)
        else:
            assert "ReservedConcurrentExecutions" not in function


def test_production_keeps_its_tables() -> None:
    for table in of_type("AWS::DynamoDB::Table").values():
        assert table["DeletionProtectionEnabled"] == {"Fn::If": ["IsProduction", True, False]}
    assert TEMPLATE["Conditions"]["IsProduction"] == {"Fn::Equals": [{"Ref": "Stage"}, "prod"]}


def test_sweeps_every_minute(deployment: Deployment) -> None:
    (schedule,) = deployment.schedules
    assert (deployment.functions[schedule.function].label, schedule.seconds) == ("sweeper", 60)
