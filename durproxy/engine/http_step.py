"""The HTTP activity: one call, then its checkpoint and what it decides, in one commit.

The call itself is at least once: between the answer and the commit a worker can die, and the next
one calls again. It sends the same Idempotency-Key, which depends on nothing but the activation.
No database connection is held while the answer is waited for.

What a failure means, by its SQLSTATE:
    WF020    the answer's status is 5xx
    WF021    no complete answer in time
    WF022    no connection, or it broke; more redirects than we follow
    WF023    the configuration does not let it go there
    WF024    the answer's status is 429, and a df.retry() around the call wants that to be a failure
    42501    the role may not call df.http, or not use a secret
    53400    the role's quota of calls or bytes is used up
    54000    the answer is too large
    58000    a secret of the configuration could not be fetched
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Final

import trio

from durproxy.config import Settings
from durproxy.engine.claim import Claim
from durproxy.engine.connection import UNTRANSLATABLE, ServerError
from durproxy.engine.core.actions import EndsInstance, RunStep
from durproxy.engine.core.bindings import ReferenceFailure
from durproxy.engine.core.graph import NodeType
from durproxy.engine.core.states import Key, StepError, StepResult
from durproxy.engine.egress import EgressRefused
from durproxy.engine.http_answer import Answer, ExchangeFailure
from durproxy.engine.http_exchange import Route, exchange
from durproxy.engine.http_request import HttpRequest, fill_request, size_of
from durproxy.engine.http_routes import HttpRoutes
from durproxy.engine.http_shares import Shares
from durproxy.engine.long_texts import work_on
from durproxy.engine.quotas import Quotas
from durproxy.engine.secrets import SecretUnavailable
from durproxy.engine.statistics import http_answered, http_failed
from durproxy.engine.step_text import StepFailure
from durproxy.engine.store import Store
from durproxy.engine.tracing import Traces
from durproxy.log import get_logger

_log = get_logger(__name__)

IDEMPOTENCY_KEY: Final = "Idempotency-Key"

_FIRST_FAILURE = 500  # the lowest status that is no result
_TOO_MANY = 429
_NOT_ACCEPTED = (401, 403)
_LONGEST_WAIT = 86_400.0  # seconds that a server can ask us to wait
_EXCERPT = 500  # characters of a failed answer's body in the error
_FUNCTIONS = {NodeType.HTTP: "http", NodeType.HTTP_MULTIPART: "http_multipart"}
_ATTEMPT = re.compile(r"~[0-9]+")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NOT_NOW = frozenset(("55P03", "57014"))  # lock not available, statement timeout
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0  # seconds between attempts to write an outcome


class HttpSteps:
    """Runs HTTP steps under the configured policy and limits, so many at a time of each role."""

    def __init__(self, store: Store, settings: Settings, quotas: Quotas, traces: Traces) -> None:
        self._store = store
        self.traces = traces  # of this worker
        self._quotas = quotas
        self._routes = HttpRoutes(settings)
        self._shares = Shares(settings.http_concurrency)

    async def run(self, claim: Claim, action: RunStep) -> StepResult:
        """Make the call and record its outcome.

        Raises StepFailure, LostHold; ServerError when its outcome cannot be written now.
        """
        node = action.key.node
        try:
            await self._check_permitted(claim, action)
            async with self._shares.slot(claim.role_id):
                answer, duration = await self._answered(claim, action)
        except EgressRefused as refusal:
            http_failed("WF023")
            error = StepError(str(refusal), "WF023", hint=refusal.hint, node=node)
            raise StepFailure(error) from None
        except ReferenceFailure as failure:
            raise StepFailure(failure.as_step_error(node)) from None
        except SecretUnavailable as failure:
            raise StepFailure(replace(failure.error, node=node)) from None
        except ExchangeFailure as failure:
            http_failed(failure.sqlstate)
            error = StepError(failure.message, failure.sqlstate, hint=failure.hint, node=node)
            raise StepFailure(error) from None
        http_answered(answer.status)
        _log.info(
            "http.answered", instance=claim.id, node=node, path=action.key.path,
            status=answer.status, duration_ms=duration,
        )  # fmt: skip
        if answer.status >= _FIRST_FAILURE:
            raise StepFailure(_failed_answer(answer, node, "WF020"))
        if answer.status == _TOO_MANY and action.node.counts_429:
            raise StepFailure(_failed_answer(answer, node, "WF024"))
        result = _result_text(answer, duration)
        result = await self._record(claim, action, result)
        is_read = bool(action.node.use) and action.decides != EndsInstance()
        return StepResult(result if is_read else None)

    async def _check_permitted(self, claim: Claim, action: RunStep) -> None:
        """Whether the configuration and the role's rights let the call be made."""
        self._routes.check_enabled()
        function = _FUNCTIONS[action.node.type]
        if not await self._store.may_call(claim, function):
            raise StepFailure(
                StepError(
                    f'role "{claim.role}" does not have EXECUTE privilege on df.{function}()',
                    "42501",
                    hint=f"SELECT df.grant_usage('{claim.role}', include_http => true) gives it.",
                    node=action.key.node,
                )
            )

    async def _check_quota(self, claim: Claim, action: RunStep) -> None:
        wait = await self._quotas.wait_for_call(claim.role or "", claim.role_id)
        if wait > 0:
            raise StepFailure(
                StepError(
                    f'quota "http_per_minute" of role "{claim.role}" is used up',
                    "53400",
                    hint="df.retry() around the call tries again when there is room.",
                    node=action.key.node,
                    retry_after=wait,
                )
            )

    async def _answered(self, claim: Claim, action: RunStep) -> tuple[Answer, int]:
        """The answer, and how many milliseconds it took."""
        await self._check_quota(claim, action)
        route = await self._routes.route_for(claim.role or "", action.node.config)
        request = await _request(claim, action, route)
        await self.traces.tell(claim, action.key, request.headers)
        begun = trio.current_time()
        answer = await exchange(request, route)
        if answer.status in _NOT_ACCEPTED:
            route.used.refused()
        return answer, round((trio.current_time() - begun) * 1000)

    async def _record(self, claim: Claim, action: RunStep, result: str) -> str:
        """Write the result; as it is stored.

        The call has been made: its outcome waits as long as a user keeps the instance locked.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._store.finish_call(claim, action, result)
            except ServerError as error:
                if error.code == UNTRANSLATABLE and not result.isascii():
                    # the database's encoding lacks a character of the answer
                    result = json.dumps(json.loads(result), separators=(",", ":"))
                elif error.code not in _NOT_NOW:
                    raise
                else:
                    await trio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return result


async def _request(claim: Claim, action: RunStep, route: Route) -> HttpRequest:
    parts = action.node.config, claim.substitutions, action.environment, route.used.values
    request = await work_on(size_of(*parts), claim.role or "", fill_request, *parts)
    if IDEMPOTENCY_KEY.lower() not in map(str.lower, request.headers):
        request.headers[IDEMPOTENCY_KEY] = idempotency_key(claim.id, action.key)
    return request


def idempotency_key(instance: str, key: Key) -> str:
    """The same for every attempt of an activation, and for no other."""
    path = _ATTEMPT.sub("", key.path)
    return hashlib.sha256(f"{instance}/{key.node}/{path}".encode()).hexdigest()[:32]


def _result_text(answer: Answer, duration: int) -> str:
    result = {
        "status": answer.status,
        "body": answer.body,
        "encoding": answer.encoding,
        "headers": answer.headers,
        "ok": 200 <= answer.status < 300,
        "duration_ms": duration,
    }
    return json.dumps(result, ensure_ascii=False, separators=(",", ":"))


def _failed_answer(answer: Answer, node: int, sqlstate: str) -> StepError:
    detail = None
    if answer.encoding == "text" and answer.body:
        detail = f"The answer begins: {_UNPRINTABLE.sub(' ', answer.body[:_EXCERPT])}"
    return StepError(
        f"HTTP status {answer.status}",
        sqlstate,
        detail,
        node=node,
        retry_after=_retry_after(answer.headers),
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that the server asks to wait: told as such, or as a time by its own clock."""
    told = {name.lower(): value.strip() for name, value in headers.items()}
    value = told.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(value)
        since = parsedate_to_datetime(told.get("date", ""))
        seconds = (until - since).total_seconds()
    except (TypeError, ValueError):  # no time, no clock, or one of them without a zone
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT)
