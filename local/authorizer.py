"""Lambda authorizers as API Gateway runs them: who calls, answers kept for a while, policies."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from local.invoke import InvocationError, Invoker
from local.logs import Log
from local.template import ACCOUNT, REGION, Authorizer, Deployment


class Refused(Exception):
    """The caller may not go on: type of gateway response, default status, and the message."""

    def __init__(self, kind: str, status: int, message: str) -> None:
        super().__init__(message)
        self.kind, self.status = kind, status


class Authorizers:
    """The authorizers of a deployment, with what they answered.

    Parameters
    ----------
    deployment : Deployment
        Names the authorizers and their functions.
    invoker : Invoker
        Runs the functions.
    log : Log
        Gets a line when one fails.
    clock : callable
        Seconds; tests pass their own.
    """

    def __init__(
        self, deployment: Deployment, invoker: Invoker, log: Log, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._deployment, self._invoker, self._log, self._clock = deployment, invoker, log, clock
        self._answers: dict[tuple[str, ...], tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def ask(self, name: str, event: dict[str, Any]) -> dict[str, str]:
        """Ask whether a request may go on.

        Parameters
        ----------
        name : str
            The authorizer.
        event : dict
            The proxy event that the function behind it would get.

        Returns
        -------
        dict
            `requestContext.authorizer` of that event.

        Raises
        ------
        Refused
        """
        authorizer = self._deployment.authorizers[name]
        identity = _identity(authorizer, event)
        method, path = event["httpMethod"], event["path"]
        arn = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:local/{self._deployment.stage}/{method}{path}"
        answer = self._answer(authorizer, identity, arn, event)
        try:
            effect = evaluate(answer["policyDocument"], arn)
            context = {"principalId": str(answer["principalId"])}
            for key, value in (answer.get("context") or {}).items():
                if not isinstance(value, str | int | float | bool):
                    raise TypeError(f"{key} of its context is neither text, number nor truth value")
                context[key] = str(value)
        except (KeyError, TypeError, AttributeError) as error:
            self._log.line("gateway", f"malformed answer of the authorizer {name}: {error}", "ERROR")
            raise Refused("AUTHORIZER_CONFIGURATION_ERROR", 500, "Internal server error") from error
        if effect == "Allow":
            return context
        message = "User is not authorized to access this resource"
        raise Refused(
            "ACCESS_DENIED", 403, f"{message} with an explicit deny" if effect == "Deny" else message
        )

    def _answer(
        self, authorizer: Authorizer, identity: tuple[str, ...], arn: str, event: dict[str, Any]
    ) -> Any:
        key = (authorizer.name, *identity)
        now = self._clock()
        with self._lock:
            until, answer = self._answers.get(key, (0.0, None))
        if answer is not None and now < until:
            return answer
        about: dict[str, Any] = {"type": authorizer.kind, "methodArn": arn}
        if authorizer.kind == "TOKEN":
            about["authorizationToken"] = identity[0]
        else:
            about |= {name: value for name, value in event.items() if name not in {"body", "isBase64Encoded"}}
        try:
            answer = self._invoker.invoke(authorizer.function, about)
        except InvocationError as error:
            if str(error) == "Unauthorized":  # API Gateway's own convention
                raise Refused("UNAUTHORIZED", 401, "Unauthorized") from error
            self._log.line("gateway", f"authorizer {authorizer.name} failed: {error.kind}: {error}", "ERROR")
            raise Refused("AUTHORIZER_FAILURE", 500, "Internal server error") from error
        if authorizer.seconds > 0:
            with self._lock:
                self._answers = {k: kept for k, kept in self._answers.items() if kept[0] > now}
                self._answers[key] = (now + authorizer.seconds, answer)
        return answer


def _identity(authorizer: Authorizer, event: dict[str, Any]) -> tuple[str, ...]:
    """The values that tell this caller from others."""
    headers = {name.lower(): value for name, value in event["headers"].items()}
    values = tuple(
        headers.get(name.lower()) if place == "header" else event["requestContext"].get(name)
        for place, name in authorizer.sources
    )
    if not all(values) or (authorizer.pattern and not re.match(authorizer.pattern, values[0] or "")):
        raise Refused("UNAUTHORIZED", 401, "Unauthorized")
    return tuple(str(value) for value in values)


def evaluate(policy: dict[str, Any], arn: str) -> str | None:
    """Say what a policy document says of invoking a method: ``"Allow"``, ``"Deny"``, or None for nothing.

    Raises
    ------
    KeyError, TypeError, AttributeError
        It is malformed.
    """
    effects = set()
    for statement in policy["Statement"]:
        actions, resources = statement["Action"], statement["Resource"]
        actions = [actions] if isinstance(actions, str) else actions
        resources = [resources] if isinstance(resources, str) else resources
        if any(_like(action.lower(), "execute-api:invoke") for action in actions) and any(
            _like(resource, arn) for resource in resources
        ):
            effects.add(statement["Effect"])
    return "Deny" if "Deny" in effects else "Allow" if "Allow" in effects else None


def _like(pattern: str, text: str) -> bool:
    """Compare as policies do: `*` is anything, `?` one character."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, text, re.DOTALL) is not None
