"""df.http and df.http_multipart: the nodes, what they refuse, and who may call them."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.fix_postgres import Role
from tests.store.asking import refusal, value
from tests.store.conftest import Connect

URL = "https://api.example/x"


def node(query: str, node_type: str = "HTTP") -> str:
    escaped = query.replace("\\", "\\\\").replace('"', '\\"')
    return f'{{"node_type":"{node_type}","query":"{escaped}"}}'


@pytest.mark.parametrize(
    ("call", "config"),
    [
        (
            f"df.http('{URL}')",
            f'{{"url":"{URL}","method":"POST","body":null,"headers":null,"timeout_seconds":30}}',
        ),
        (
            f"df.http('{URL}', 'get', NULL, '{{\"B\": \"1\", \"A\": [1]}}'::jsonb - 'A', 5)",
            f'{{"url":"{URL}","method":"GET","body":null,"headers":{{"B":"1"}},"timeout_seconds":5}}',
        ),
        (
            f"df.http('{URL}', body => '{{\"a\": \"$x\"}}')",
            (
                f'{{"url":"{URL}","method":"POST","body":"{{\\"a\\": \\"$x\\"}}","headers":null'
                ',"timeout_seconds":30}'
            ),
        ),
    ],
)
def test_the_node(owner: psycopg.Connection, call: str, config: str) -> None:
    assert value(owner, f"SELECT {call}") == node(config)


def test_the_multipart_node(owner: psycopg.Connection) -> None:
    call = f"""df.http_multipart('{URL}', parts => '[{{"name": "a", "data_b64": "aGk="}},
        {{"filename": "f", "name": "b", "data_b64": "$x.data?"}}]')"""
    assert value(owner, f"SELECT {call}") == node(
        f'{{"url":"{URL}","method":"POST","parts":[{{"name":"a","data_b64":"aGk="}},'
        '{"name":"b","data_b64":"$x.data?","filename":"f"}],"headers":null,"timeout_seconds":30}',
        "HTTP_MULTIPART",
    )


REFUSED: list[tuple[str, list[Any], str]] = [
    ("df.http(NULL)", [], "URL cannot be empty"),
    ("df.http('')", [], "URL cannot be empty"),
    ("df.http('ftp://a.example')", [], "unsupported URL scheme"),
    ("df.http('api.example/x')", [], "unsupported URL scheme"),
    ("df.http('javascript:alert(1)')", [], "unsupported URL scheme"),
    ("df.http('https:/x')", [], "invalid URL"),
    ("df.http('https:///x')", [], "invalid URL"),
    ("df.http('https://a.example/a b')", [], "invalid URL"),
    ("df.http(%s)", ["https://a.example/\r\nHost: b"], "invalid URL"),
    (f"df.http('{URL}', 'TRACE')", [], "unsupported HTTP method"),
    (f"df.http('{URL}', NULL)", [], "unsupported HTTP method"),
    (f"df.http('{URL}', timeout_seconds => 0)", [], "Timeout must be positive"),
    (f"df.http('{URL}', timeout_seconds => -5)", [], "Timeout must be positive, got -5"),
    (f"df.http('{URL}', timeout_seconds => NULL)", [], "Timeout must be positive"),
    (f"df.http('{URL}', headers => '[]')", [], "headers must be a JSON object"),
    (f"df.http('{URL}', headers => %s)", ['{"a b": "c"}'], "invalid header name"),
    (f"df.http('{URL}', headers => %s)", ['{"a\\nb": "c"}'], "invalid header name"),
    (f"df.http('{URL}', headers => %s)", ['{"A": "c\\r\\nB: d"}'], "invalid value of header"),
    (f"df.http('{URL}', headers => %s)", ['{"A": ["c"]}'], "invalid value of header"),
    (f"df.http('{URL}', headers => %s)", ['{"hOst": "c"}'], "cannot be set"),
    (f"df.http('{URL}', headers => %s)", ['{"Transfer-Encoding": "c"}'], "cannot be set"),
    (f"df.http_multipart('{URL}')", [], "parts must be"),
    (f"df.http_multipart('{URL}', parts => '[]')", [], "parts must be"),
    (f"df.http_multipart('{URL}', 'GET', '[{{}}]')", [], "unsupported HTTP method"),
    (f"df.http_multipart('{URL}', parts => '[1]')", [], "part 1 must be"),
    (f"df.http_multipart('{URL}', parts => '[{{}}]')", [], "needs a name"),
    *(
        (f"df.http_multipart('{URL}', parts => %s)", [f'[{{"name": "a", {rest}}}]'], why)
        for rest, why in (
            ('"data_b64": "x-$y"', "whole-value reference"),
            ('"data_b64": "$y$z"', "whole-value reference"),
            ('"data_b64": "$y.*"', "whole-value reference"),
            ('"data_b64": "{a}{b}"', "whole-value reference"),
            ('"data_b64": "!"', "not base64"),
            ('"data_b64": "aGk"', "not base64"),
            ('"data_b64": ""}, {"name": "b"', "part 2 needs"),
            ('"data_b64": "", "path": "/etc/passwd"', "takes only"),
            ('"data_b64": "", "filename": 1', "must be text"),
        )
    ),
    (
        f"df.http_multipart('{URL}', parts => %s, headers => %s)",
        ['[{"name": "a", "data_b64": ""}]', '{"Content-Type": "x"}'],
        "cannot be set",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "values", "why"), REFUSED)
def test_a_call_that_cannot_be_made_is_refused_at_once(
    owner: psycopg.Connection, call: str, values: list[Any], why: str
) -> None:
    error = refusal(owner, f"SELECT {call}", values)
    assert error.sqlstate == "22023"
    assert why in str(error.message_primary)


@pytest.mark.parametrize(
    "url", ["$row.url", "{base}/x", "HTTP://a.example", "https://[2606:4700::1]/", "http://a?b"]
)
def test_urls_that_may_be_right(owner: psycopg.Connection, url: str) -> None:
    assert value(owner, "SELECT df.http(%s)", [url])


def test_a_node_written_by_hand_is_checked_too(session: psycopg.Connection) -> None:
    for query, why in (
        ("{}", "URL cannot be empty"),
        (f'{{"url":"{URL}","method":"POST"}}', "Timeout"),
        (f'{{"url":"{URL}","method":"POST","timeout_seconds":"x"}}', "Timeout"),
        (f'{{"url":"{URL}","method":"POST","timeout_seconds":1,"body":1}}', "body"),
        (f'{{"url":"{URL}","method":"post","timeout_seconds":1}}', "method"),
        ("x", "must be valid JSON config"),
    ):
        error = refusal(session, "SELECT df.start(%s)", [node(query)])
        assert why in str(error.message_primary)


def test_http_needs_a_right_of_its_own(
    connect: Connect, owner: psycopg.Connection, user: Role, session: psycopg.Connection
) -> None:
    calls = [
        f"SELECT df.http('{URL}')",
        f'SELECT df.http_multipart(\'{URL}\', parts => \'[{{"name":"a","data_b64":""}}]\')',
    ]
    for call in calls:
        assert refusal(session, call).sqlstate == "42501"
    owner.execute("SELECT df.grant_usage(%s, include_http => true)", [user.name])
    for call in calls:
        assert value(session, call)
    owner.execute("SELECT df.revoke_usage(%s)", [user.name])
    owner.execute("SELECT df.grant_usage(%s)", [user.name])
    for call in calls:
        assert refusal(session, call).sqlstate == "42501"


def test_the_right_can_be_given_on(
    connect: Connect, owner: psycopg.Connection, store: Any, user: Role
) -> None:
    owner.execute("SELECT df.grant_usage(%s, true, with_grant => true)", [user.name])
    other = store.add_role()
    connect(user).execute("SELECT df.grant_usage(%s, true)", [other.name])
    assert value(connect(other), f"SELECT df.http('{URL}')")


def test_explained(owner: psycopg.Connection) -> None:
    shown = value(
        owner,
        f"SELECT df.explain(df.http('{URL}', 'PUT') |=> 'r' ~> df.http_multipart('{URL}', "
        'parts => \'[{"name":"a","data_b64":""}]\'))',
    )
    assert shown.splitlines() == [
        f"HTTP PUT {URL} |=> 'r' (at least once)",
        f"→ HTTP MULTIPART POST {URL} (at least once)",
    ]
