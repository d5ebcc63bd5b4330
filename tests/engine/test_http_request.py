"""References and variables in HTTP steps: a value stays what it is where it stands."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durproxy.engine import http_filling
from durproxy.engine.core.bindings import ReferenceFailure
from durproxy.engine.core.http_config import find_http_references, find_secrets
from durproxy.engine.core.record import parse_record
from durproxy.engine.core.states import StepResult
from durproxy.engine.http_request import HttpRequest, fill_request, size_of

HOSTILE = st.one_of(
    st.sampled_from(
        ['"', "\\", '","admin":true,"x":"', "$name", "{var}", "a&b=c", "../", "@evil/"]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
)


def row(text: str | None, kind: str = "text") -> StepResult:
    """One row with one column v of a type of pg_catalog."""
    quoted = "" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'
    assert parse_record(f"({quoted})") == [text]
    return StepResult("{}", (("v", f"pg_catalog.{kind}"),), (f"({quoted})",))


def filled(
    config: dict[str, Any],
    variables: dict[str, str] | None = None,
    secrets: dict[str, str] | None = None,
    /,
    **names: StepResult,
) -> HttpRequest:
    given = {"url": "https://a.example/", "method": "POST", "timeout_seconds": 30}
    return fill_request(given | config, variables or {}, names, secrets or {})


def body(template: str, content_type: str | None = None, /, **names: StepResult) -> str:
    headers = None if content_type is None else {"Content-Type": content_type}
    sent = filled({"body": template, "headers": headers}, **names).body
    assert sent is not None
    return sent.decode()


def failure(config: dict[str, Any], /, **names: StepResult) -> str:
    with pytest.raises(ReferenceFailure) as caught:
        filled(config, **names)
    return caught.value.message


# --- URLs ---


@given(HOSTILE)
def test_a_value_in_a_url_stays_one_piece_of_it(text: str) -> None:
    url = filled({"url": "https://a.example/u/$x/z?q=$x.v&r=1#f"}, x=row(text)).url
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "a.example", "f")
    assert unquote(parts.path) == f"/u/{text}/z"
    assert parts.path.count("/") == 3
    assert parse_qs(parts.query, keep_blank_values=True) == {"q": [text], "r": ["1"]}


def test_a_url_may_begin_with_a_value_or_a_variable() -> None:
    assert filled({"url": "$x/$x"}, x=row("https://b.example/y")).url == (
        "https://b.example/y/https%3A%2F%2Fb.example%2Fy"
    )
    assert filled({"url": "{base}/y"}, {"base": "https://b.example"}).url == "https://b.example/y"


def test_the_first_question_mark_of_a_url_begins_its_query() -> None:
    names = {"x": row("1"), "none": row(None)}
    sent = filled({"url": "https://a.example/$x?a=$none?&b=$x?"}, **names)
    assert sent.url == "https://a.example/1?a=&b=1"
    assert "is NULL" in failure({"url": "https://a.example/$none?a=1"}, **names)


# --- headers ---


def test_values_in_headers() -> None:
    headers = {"Authorization": "Bearer $x", "X-Many": "{a}-{unknown}-$$x", "X-Number": 5}
    sent = filled({"headers": headers}, {"a": "b"}, x=row("s3cret é")).headers
    assert sent == {"Authorization": "Bearer s3cret é", "X-Many": "b-{unknown}-$x", "X-Number": "5"}


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b", "a\x7fb"])
def test_a_value_never_ends_a_header(text: str) -> None:
    assert "line break" in failure({"headers": {"X": "$x"}}, x=row(text))


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "a b", "a\nb", ""])
def test_headers_that_are_not_the_users(name: str) -> None:
    assert "cannot be set" in failure({"headers": {name: "x"}})


# --- bodies ---


@given(HOSTILE, HOSTILE)
def test_a_value_never_changes_the_shape_of_a_json_body(one: str, two: str) -> None:
    template = '{"a": "<$x>", "b": [$x, "\\"$y"], "$x": {"c": "$y$x\\\\"}}'
    read = json.loads(body(template, x=row(one), y=row(two)))
    assert read["a"] == f"<{one}>"
    assert read["b"] == [one, f'"{two}']
    assert read[one] == {"c": f"{two}{one}\\"} if one not in ("a", "b") else True


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int4", "5", 5),
        ("numeric", "1.50", 1.5),
        ('"numeric"', "1.50", 1.5),  # as the server writes it where the name is a keyword
        ('"json"', "[1]", [1]),
        ("numeric", "NaN", "NaN"),
        ("float8", "1e+300", 1e300),
        ("float8", "Infinity", "Infinity"),
        ("bool", "t", True),
        ("bool", "f", False),
        ("jsonb", '{"k": [1, null]}', {"k": [1, None]}),
        ("text", "5", "5"),
        ("timestamptz", "2026-01-01 00:00:00+00", "2026-01-01 00:00:00+00"),
    ],
)
def test_a_bare_value_in_json_is_json_of_its_type(kind: str, text: str, value: object) -> None:
    assert json.loads(body('{"v": $x}', x=row(text, kind))) == {"v": value}


def test_an_absent_value_is_null_in_json_and_nothing_in_text() -> None:
    assert body('{"v": $x?, "w": "-$x?-"}', x=row(None)) == '{"v": null, "w": "--"}'
    assert "is NULL" in failure({"body": "$x"}, x=row(None))


def test_variables_are_spliced_but_escaped_in_json_strings() -> None:
    sent = filled({"body": '{"a": "{q}", "b": {list}}'}, {"q": 'say "hi"', "list": "[1, 2]"})
    assert json.loads(sent.body or b"") == {"a": 'say "hi"', "b": [1, 2]}


def test_a_variable_with_an_open_quote_does_not_confuse_what_is_a_string() -> None:
    sent = filled({"body": '{"a": {open}$x"}'}, {"open": '"'}, x=row('","b":"'))
    assert json.loads(sent.body or b"") == {"a": '","b":"'}


def test_a_body_that_is_one_reference_is_the_value_itself() -> None:
    text = '{"already": "json"}'
    assert body("$x", x=row(text)) == text
    assert body("$x", "application/json", x=row(text, "jsonb")) == text


def test_text_and_form_bodies() -> None:
    assert body("Hello $x, {y}", "text/plain", x=row('"a"\n')) == 'Hello "a"\n, {y}'
    sent = body("a=$x&b=2", "application/x-www-form-urlencoded", x=row("1&b=3 é"))
    assert parse_qs(sent) == {"a": ["1&b=3 é"], "b": ["2"]}


def test_the_kind_of_a_body_is_told_unless_the_step_does() -> None:
    assert filled({"body": '{"a":1}'}).headers == {"Content-Type": "application/json"}
    assert filled({"body": "a"}).headers == {"Content-Type": "text/plain; charset=utf-8"}
    given = {"content-type": "application/x-mine"}
    assert filled({"body": "{}", "headers": given}).headers == given


def test_two_dollars_are_one() -> None:
    config = {"body": '{"query": "query($$id: ID!) { a(id: $$id) }", "id": "$x"}'}
    assert [str(r) for r in find_http_references(config)] == ["$x"]
    assert json.loads(filled(config, x=row("7")).body or b"") == {
        "query": "query($id: ID!) { a(id: $id) }",
        "id": "7",
    }


def test_rows_are_no_text() -> None:
    assert "stands for rows" in failure({"body": "$x.*"}, x=row("a"))


# --- parts ---


def test_parts() -> None:
    parts = [
        {"name": "file", "data_b64": "$x", "filename": "$y-1.txt", "content_type": "text/plain"},
        {"name": "raw", "data_b64": "aGk=\n"},
        {"name": "bytes", "data_b64": "$z.v"},
    ]
    sent = filled(
        {"parts": parts},
        x=row(base64.encodebytes(b"\0\xff" * 60).decode()),
        y=row("note"),
        z=row("\\x00ff", "bytea"),
    ).parts
    assert [part.data for part in sent] == [b"\0\xff" * 60, b"hi", b"\0\xff"]
    assert (sent[0].filename, sent[0].content_type) == ("note-1.txt", "text/plain")


def test_what_is_not_base64_fails_the_step() -> None:
    config = {"parts": [{"name": "a", "data_b64": "$x"}]}
    assert failure(config, x=row("not base64!")) == "data_b64 of part 1 is not base64"


def test_a_value_never_ends_a_parts_header() -> None:
    config = {"parts": [{"name": "a", "data_b64": "", "content_type": "$x"}]}
    assert "line break" in failure(config, x=row("text/plain\r\nX: 1"))


# --- secrets ---


def test_a_secret_is_written_as_its_place_wants_it() -> None:
    config = {
        "url": "https://a.example/{secret:key}?k={secret:key}",
        "headers": {"Authorization": "Bearer {secret:key}"},
        "body": '{"key": "{secret:key}", "raw": {secret:key}}',
    }
    sent = filled(config, {}, {"key": 'a"b/c&d'})
    assert sent.url == "https://a.example/a%22b%2Fc%26d?k=a%22b%2Fc%26d"
    assert sent.headers["Authorization"] == 'Bearer a"b/c&d'
    assert json.loads(sent.body or b"") == {"key": 'a"b/c&d', "raw": 'a"b/c&d'}
    assert 'a"b' not in repr(sent)


def test_a_url_can_be_a_secret_as_a_whole() -> None:
    url = "https://hooks.example/T0/B1?x=y"
    assert filled({"url": "{secret:hook}"}, {}, {"hook": url}).url == url


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"headers": {"X-Key": "{secret:key}"}}, "header:x-key"),
        ({"body": "k={secret:key}"}, "body"),
        ({"body": '{"k": "{secret:key}"}'}, "body"),
        ({"url": "https://a.example/{secret:key}/x?q=1"}, "path"),
        ({"url": "https://a.example/x?q={secret:key}"}, "query"),
        ({"url": "https://a.example/x{tail}{secret:key}"}, "query"),
        ({"url": "https://a.example/#{secret:key}"}, "query"),
        ({"url": "https://me:{secret:key}@a.example/"}, "header:authorization"),
        ({"url": "{secret:key}"}, "url"),
        ({"url": "$base.v{secret:key}"}, "path"),
    ],
)
def test_where_a_secret_stands_is_known(config: dict[str, Any], place: str) -> None:
    values = {"tail": "?q="}, {"key": "https://b.example/"}
    sent = filled(config, *values, base=row("https://a.example/"))
    assert sent.secrets == {("key", place)}


def test_the_name_of_a_secret_in_data_is_text() -> None:
    """What a row, a variable or an answer holds cannot fetch a secret."""
    named = "{secret:key}"
    config = {
        "url": "https://a.example/?a=$x&b={v}",
        "headers": {"X-A": "$x", "X-B": "{v}"},
        "body": '{"a": "$x", "b": "{v}"}',
    }
    sent = filled(config, {"v": named}, {"key": "hunter2hunter2"}, x=row(named))
    assert "hunter2" not in f"{sent.url}{sent.headers}{sent.body!r}"
    assert find_secrets(config) == ()


def test_a_secret_with_a_line_break_cannot_be_a_header() -> None:
    with pytest.raises(ReferenceFailure) as caught:
        filled({"headers": {"A": "{secret:key}"}}, {}, {"key": "hunter2\r\nX-B: c"})
    assert "hunter2" not in caught.value.message


def test_parts_have_no_secrets() -> None:
    config = {"headers": {"A": "{secret:key}"}, "parts": [{"name": "{secret:key}", "data_b64": ""}]}
    assert find_secrets(config) == ("key",)
    assert filled(config, {}, {"key": "hunter2hunter2"}).parts[0].name == "{secret:key}"


def test_the_size_of_a_request_is_known_before_it_is_filled() -> None:
    """Each time that something long is named counts, wherever it stands."""
    long, value = "x" * 10_000, row("x" * 10_000)
    for config in (
        {"url": "https://a.example/{v}/{v}"},
        {"url": "https://a.example/", "headers": {"A": "{v}", "B": "$r.v"}},
        {"url": "https://a.example/", "body": "[$r.v, {secret:s}]"},
        {"url": "https://a.example/", "parts": [{"name": "{v}", "data_b64": "$r.v"}]},
    ):
        assert 20_000 <= size_of(config, {"v": long}, {"r": value}, {"s": long}) < 30_000


def test_a_short_configuration_makes_no_huge_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_filling, "MOST_CHARACTERS", 5000)
    long = row("x" * 100)
    assert len(filled({"body": "$x.v" * 50}, x=long).body or b"") == 5000
    for config in ({"body": "$x.v" * 51}, {"headers": {"A": "$x.v" * 30}, "body": "$x.v" * 30}):
        told = failure(config, x=long)
        assert told == "the values of an HTTP request have more than 5000 characters"
