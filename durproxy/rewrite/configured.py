"""What a call's arguments make of a node: leaves, and the configuration of nodes around others.

Texts are those that the server's constructors write. What only the running statement knows, and
what the server raises at once, is OPAQUE, or a configuration that is missing (None).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from pglast import ast

from durproxy.engine.core.validate import OPAQUE
from durproxy.rewrite.constants import UNKNOWN, Constant, Unknown, constant
from durproxy.rewrite.durations import interval, is_interval, iso_duration, seconds
from durproxy.rewrite.parse import Tree

Node = dict[str, Any]
Given = dict[str, Tree]

_WHOLE: Final = re.compile(r"\s*[-+]?[0-9]+\s*", re.ASCII)


def opaque() -> Node:
    return {"node_type": OPAQUE}


def leaf(node_type: str, query: str) -> Node:
    return {"node_type": node_type, "query": query}


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def argument(given: Given, parameter: str) -> Constant | Unknown:
    return constant(given[parameter]) if parameter in given else None


def retry_config(given: Given) -> str | None:
    """Return the configuration of a RETRY of which at most attempts and waits are set."""
    if given.keys() & {"factor", "jitter", "retry_on"}:
        return None
    attempts = _integer(given, "max_attempts", "3")
    backoff = _seconds(given, "backoff", "1.0")
    most = _seconds(given, "max_backoff", "300.0")
    if attempts is None or backoff is None or most is None:
        return None
    return (
        f'{{"max_attempts":{attempts},"backoff":{backoff},"factor":2.0,"max_backoff":{most},'
        '"jitter":true,"retry_on":null}'
    )


def timeout_config(given: Given) -> str | None:
    after = _seconds(given, "after", None)
    return None if after is None else f'{{"seconds":{after}}}'


def map_config(given: Given) -> str | None:
    most = _integer(given, "max_concurrency", "10")
    tolerate = _integer(given, "tolerate", "0")
    if most is None or tolerate is None:
        return None
    return f'{{"max_concurrency":{most},"tolerate":{tolerate}}}'


def _sleep(given: Given) -> Node | None:
    """A number of seconds, or an interval; a literal without a type may be either."""
    if len(given) != 1 or not given.keys() <= {"seconds", "duration"}:
        return opaque()
    ((parameter, expression),) = given.items()
    value = interval(expression)
    if isinstance(value, Unknown) or value is None:
        return None if value is None else opaque()
    if parameter == "seconds" and not is_interval(expression) and _WHOLE.fullmatch(value):
        return opaque() if int(value) < 0 else leaf("SLEEP", str(int(value)))
    query = iso_duration(value)
    return opaque() if query is None else leaf("SLEEP", query)


def _break(given: Given) -> Node:
    value = argument(given, "value")
    if isinstance(value, Unknown):
        return {"node_type": "BREAK"}
    return leaf("BREAK", as_json({"break_value": value}))


def _signal(given: Given) -> Node:
    name = argument(given, "name")
    timeout = argument(given, "timeout_seconds")
    if isinstance(name, Unknown) or isinstance(timeout, Unknown):
        return opaque()
    if not name or not (timeout is None or timeout.isdigit()):
        return opaque()  # the server raises at once
    after = None if timeout is None else int(timeout)
    return leaf("SIGNAL", as_json({"signal_name": name, "timeout_seconds": after}))


def _schedule(given: Given) -> Node | None:
    value = argument(given, "cron_expr")
    if isinstance(value, Unknown) or value is None:
        return None if value is None else opaque()
    return leaf("WAIT_SCHEDULE", as_json({"cron_expr": value}))


def _condition(given: Given) -> Node:
    query = argument(given, "query")
    every = _seconds(given, "check_every", "10.0")
    if not isinstance(query, str) or every is None:
        return opaque()
    return leaf("WAIT_CONDITION", f'{{"query":{as_json(query)},"check_every":{every}}}')


def _http(given: Given) -> Node:
    return _request("HTTP", given, "body", argument(given, "body"))


def _multipart(given: Given) -> Node:
    return _request("HTTP_MULTIPART", given, "parts", _json_argument(given, "parts"))


def _request(node_type: str, given: Given, content_key: str, content: Any) -> Node:
    """An HTTP node; what is wrong with its arguments the server says at once."""
    config = {
        "url": argument(given, "url"),
        "method": argument(given, "method") if "method" in given else "POST",
        content_key: content,
        "headers": _json_argument(given, "headers"),
        "timeout_seconds": argument(given, "timeout_seconds"),
    }
    timeout = config["timeout_seconds"] if "timeout_seconds" in given else "30"
    if any(isinstance(value, Unknown) for value in config.values()):
        return opaque()
    if not (config["method"] and timeout and timeout.isdigit()):
        return opaque()
    method = config["method"].upper()
    return leaf(node_type, as_json(config | {"method": method, "timeout_seconds": int(timeout)}))


def _seconds(given: Given, parameter: str, default: str | None) -> str | None:
    """The seconds of an interval, as the server writes them; None where only it knows."""
    if parameter not in given:
        return default
    value = interval(given[parameter])
    return seconds(value) if isinstance(value, str) else None


def _integer(given: Given, parameter: str, default: str) -> str | None:
    value = argument(given, parameter) if parameter in given else default
    return str(int(value)) if isinstance(value, str) and _WHOLE.fullmatch(value) else None


def _json_argument(given: Given, parameter: str) -> Any:
    """The value of a jsonb argument; Unknown where it is no constant, or no JSON."""
    expression = given.get(parameter)
    while isinstance(expression, ast.TypeCast):
        expression = expression.arg
    value = None if expression is None else constant(expression)
    try:
        if value is None or isinstance(value, Unknown):
            return value
        return _in_order(json.loads(value))
    except (ValueError, RecursionError):
        return UNKNOWN


def _in_order(value: Any) -> Any:
    """JSON with the keys in jsonb's order."""
    if isinstance(value, list):
        return [_in_order(element) for element in value]
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return {key: _in_order(value[key]) for key in keys}
    return value


#: Functions that make a leaf other than a SQL step, by the arguments that were given.
LEAVES: Final[dict[str, Callable[[Given], Node | None]]] = {
    "sleep": _sleep,
    "break": _break,
    "wait_for_schedule": _schedule,
    "wait_for_signal": _signal,
    "wait_for_condition": _condition,
    "http": _http,
    "http_multipart": _multipart,
}
