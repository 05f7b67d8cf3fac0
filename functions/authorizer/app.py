"""Tells API Gateway whose key came with a request: asked once a minute for each key, before any function.

The answer covers the whole stage, since API Gateway gives the same answer to the next request of the same
key, whichever route that is for. So a revoked key ends a minute later.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from backend.keys import Keys
from backend.observability import logger, metrics, tracer
from backend.settings import DEFAULT_TENANT, Settings, table

settings = Settings.from_environment()
keys = Keys(table(settings.keys_table_name))


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
@tracer.capture_lambda_handler(capture_response=False)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an authorizer's event (TOKEN; with authorization off, REQUEST) with a policy."""
    tenant = DEFAULT_TENANT if settings.auth_mode == "none" else tenant_of(event)
    if not tenant:
        logger.warning("key refused")
    metrics.add_metric(name="KeysRefused", unit=MetricUnit.Count, value=0 if tenant else 1)
    return policy(event["methodArn"], tenant)


def tenant_of(event: dict[str, Any]) -> str | None:
    """Return the tenant of `Bearer id.secret`, or None."""
    scheme, _, key = event.get("authorizationToken", "").partition(" ")
    return keys.tenant_of(key.strip()) if scheme.lower() == "bearer" else None


def policy(method_arn: str, tenant: str | None) -> dict[str, Any]:
    """Allow a tenant the stage that was asked for, or nobody.

    Examples
    --------
    >>> answer = policy("arn:aws:execute-api:eu-west-1:123456789012:a1/dev/GET/api/audio", "t")
    >>> answer["policyDocument"]["Statement"][0]["Resource"]
    'arn:aws:execute-api:eu-west-1:123456789012:a1/dev/*'
    """
    api, stage = method_arn.split("/")[:2]
    statement = {
        "Action": "execute-api:Invoke",
        "Effect": "Allow" if tenant else "Deny",
        "Resource": f"{api}/{stage}/*",
    }
    return {
        "principalId": tenant or "nobody",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {"tenant": tenant} if tenant else {},
    }
