"""One HTTP exchange with a real server: answers, redirects, limits, and servers that misbehave."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import trio

from durproxy.engine.egress import EgressPolicy, Reach
from durproxy.engine.http_answer import Answer, ExchangeFailure, Limits, decode_body
from durproxy.engine.http_exchange import Route, exchange
from durproxy.engine.http_request import HttpRequest, Part
from durproxy.engine.http_tls import HttpTls
from durproxy.engine.http_transport import Allowance, VettedBackend
from durproxy.engine.names import Names
from tests.fix_http import Web
from tests.waiting import wait_until_async

AT_HOME = EgressPolicy(allow_private=True)
LIMITS = Limits(timeout=10, response_bytes=100_000)
TLS = HttpTls({})


def request(url: str, method: str = "POST", body: bytes | None = None) -> HttpRequest:
    return HttpRequest(method, url, {}, body, (), 10)


async def answer(sent: HttpRequest, policy: EgressPolicy = AT_HOME) -> Answer:
    return await exchange(sent, Route("shop", policy, LIMITS, TLS, Names()))


async def failure(
    sent: HttpRequest, policy: EgressPolicy = AT_HOME, limits: Limits = LIMITS
) -> ExchangeFailure:
    with pytest.raises(ExchangeFailure) as caught:
        await exchange(sent, Route("shop", policy, limits, TLS, Names()))
    return caught.value


# --- what is sent, and what comes back ---


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
async def test_methods(web: Web, method: str) -> None:
    got = await answer(request(f"{web.url}/echo?a=%20b", method, b"\xc3\xa9"))
    assert (got.status, got.encoding) == (200, "text")
    assert json.loads(got.body) == {"method": method, "path": "/echo?a=%20b", "body": "Ã©"}
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-many"] == "1"


async def test_headers_and_defaults(web: Web) -> None:
    sent = replace(request(f"{web.url}/echo"), headers={"X-Own": "é", "user-agent": "mine"})
    await answer(sent)
    headers = web.asked[0].headers
    assert headers["x-own"].encode("latin-1").decode() == "é"
    assert headers["user-agent"] == "mine"
    assert headers["host"] == f"127.0.0.1:{web.port}"
    assert "cookie" not in headers


async def test_multipart(web: Web) -> None:
    parts = (Part("a", b"\0\xff", None, None), Part("b", b"text", "f.txt", "text/plain"))
    await answer(replace(request(f"{web.url}/echo"), parts=parts))
    asked = web.asked[0]
    assert asked.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="a"\r\nContent-Type: application/octet-stream\r\n\r\n\0\xff\r\n' in asked.body
    assert b'name="b"; filename="f.txt"\r\nContent-Type: text/plain\r\n\r\ntext\r\n' in asked.body


@pytest.mark.parametrize("status", [200, 201, 204, 304, 400, 404, 429, 499, 500, 503])
async def test_any_final_status_is_an_answer(web: Web, status: int) -> None:
    assert (await answer(request(f"{web.url}/status/{status}", "GET"))).status == status


async def test_a_compressed_answer(web: Web) -> None:
    assert (await answer(request(f"{web.url}/gzip/5000"))).body == "a" * 5000


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain", b"a\xc3\xa9", "aé"),
        ("text/html; charset=ISO-8859-1", b"a\xe9", "aé"),
        ('application/json; charset="utf-8"', b'"\xc3\xa9"', '"é"'),
        ("application/problem+json", b"{}", "{}"),
        ("application/xml", b"<a/>", "<a/>"),
        ("image/svg+xml", b"<a/>", "<a/>"),
        ("application/x-www-form-urlencoded", b"a=b", "a=b"),
        (None, b"plain", "plain"),
        ("text/plain", b"", ""),
        (None, b"\xff", None),
        ("text/plain", b"a\xff", None),
        ("text/plain", b"a\x00b", None),
        ("text/plain; charset=utf-16", "a\0".encode("utf-16"), None),
        ("application/json", b'"\\u0000"', '"\\u0000"'),
        ("application/octet-stream", b"text all the same", None),
        ("image/png", b"\x89PNG", None),
        ("text/plain; charset=idna", b"xn--", None),
        ("text/plain; charset=unicode_escape", b"\\ud800", None),
        ("text/plain; charset=zlib", b"x", None),
        ("text/plain; charset=gbnone", b"x", None),
    ],
)
def test_a_body_is_text_or_base64(kind: str | None, body: bytes, text: str | None) -> None:
    got, encoding = decode_body(body, kind)
    if text is None:
        assert (base64.b64decode(got), encoding) == (body, "base64")
    else:
        assert (got, encoding) == (text, "text")


async def test_a_compressed_answer_in_several_members(web: Web) -> None:
    packed = b"".join(map(gzip.compress, (b"a" * 9, b"", b"b"))) + b"\0\0"
    assert (
        await answer(request(f"{web.url}/as?gzip=yes&hex={packed.hex()}"))
    ).body == "a" * 9 + "b"
    caught = await failure(request(f"{web.url}/as?gzip=yes&hex={(packed[:-2] * 9).hex()}"))
    assert "has more than 16 members" in caught.message


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"a" * 99, mtime=0)[:-9]])
async def test_a_broken_compression_is_a_network_error(web: Web, content: bytes) -> None:
    caught = await failure(request(f"{web.url}/as?gzip=yes&hex={content.hex()}"))
    assert caught.sqlstate == "WF022"


@pytest.mark.parametrize("port", ["0", "65536", "99999999999999999999"])
async def test_a_port_that_is_none(web: Web, port: str) -> None:
    for url in (f"http://localhost:{port}/", f"{web.url}/to?url=http://localhost:{port}/"):
        caught = await failure(request(url))
        assert (caught.sqlstate, caught.message) == ("22023", f"invalid URL: invalid port {port}")


# --- redirects ---


async def test_redirects_are_followed_as_browsers_do(web: Web) -> None:
    for status, method in ((301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")):
        url = f"{web.url}/to?status={status}&url=/echo"
        told = json.loads((await answer(request(url, "POST", b"body"))).body)
        assert (told["method"], told["body"]) == (method, "body" if method == "POST" else "")


async def test_five_redirects_and_no_more(web: Web) -> None:
    assert (await answer(request(f"{web.url}/round/5"))).body == "there"
    caught = await failure(request(f"{web.url}/round/6"))
    assert caught.message == "more than 5 HTTP redirects"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("http://169.254.169.254/latest/meta-data/", "not public"),
        ("http://[::ffff:169.254.169.254]/", "not public"),
        ("http://0.0.0.0:1/", "not public"),
        ("ftp://a.example/", "unsupported URL scheme"),
        ("file:///etc/passwd", "unsupported URL scheme"),
    ],
)
async def test_every_redirect_is_judged(web: Web, target: str, why: str) -> None:
    caught = await failure(request(f"{web.url}/to?url={target}"))
    assert caught.sqlstate == "WF023"
    assert why in caught.message


async def test_a_redirect_to_another_host_needs_it_listed(web: Web) -> None:
    policy = EgressPolicy(allow_private=True, allowed_hosts=("127.0.0.1",))
    caught = await failure(request(f"{web.url}/to?url=http://localhost:{web.port}/echo"), policy)
    assert caught.message == 'host "localhost" is not in the allowed hosts'
    assert [asked.path.partition("?")[0] for asked in web.asked] == ["/to"]


async def test_what_is_for_one_origin_does_not_follow_to_another(web: Web) -> None:
    secrets = {
        "Authorization": "Bearer s",
        "X-Api-Key": "s",
        "Idempotency-Key": "k",
        "Accept": "a/b",
    }
    there = f"http://localhost:{web.port}/echo"
    await answer(replace(request(f"{web.url}/to?url={there}"), headers=secrets))
    first, second = (asked.headers for asked in web.asked)
    assert first["x-api-key"] == "s"
    assert second.keys() & {"authorization", "x-api-key", "idempotency-key"} == set()
    assert second["accept"] == "a/b"
    await answer(replace(request(f"{web.url}/to?url=/echo"), headers=secrets))
    assert web.asked[-1].headers["x-api-key"] == "s"


# --- where it may go ---


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "2130706433", "0x7f.1"])
async def test_this_machine_is_out_of_bounds_by_default(web: Web, host: str) -> None:
    caught = await failure(request(f"http://{host}:{web.port}/echo"), EgressPolicy())
    assert caught.sqlstate == "WF023"
    assert web.asked == []


async def test_one_private_address_among_public_ones_is_enough() -> None:
    class Two(Names):
        async def addresses(self, role: str, host: str, port: int) -> list[str]:
            return ["8.8.8.8", "10.0.0.1"]

    with pytest.raises(ExchangeFailure) as caught:
        await exchange(
            request("https://a.example/"), Route("shop", EgressPolicy(), LIMITS, TLS, Two())
        )
    assert caught.value.message == (
        'host "a.example" has the address 10.0.0.1, which is not public'
    )


async def test_no_proxy_of_the_environment_is_used(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://169.254.169.254:1")
    monkeypatch.setenv("ALL_PROXY", "http://169.254.169.254:1")
    assert (await answer(request(f"{web.url}/echo"))).status == 200


async def test_a_connection_by_socket_file_is_never_made() -> None:
    with pytest.raises(NotImplementedError):
        await VettedBackend(
            Reach(), partial(Names().addresses, "shop"), Allowance(0)
        ).connect_unix_socket("/tmp/x")


# --- limits, and servers that misbehave ---


async def test_a_slow_answer_ends_at_the_timeout(web: Web) -> None:
    caught = await failure(replace(request(f"{web.url}/hold"), timeout=0.2))
    assert (caught.sqlstate, caught.message) == ("WF021", "no complete HTTP answer within 0.2 s")
    await _left(web)


async def test_the_configured_timeout_is_the_longest(web: Web) -> None:
    caught = await failure(request(f"{web.url}/hold"), limits=replace(LIMITS, timeout=0.1))
    assert caught.message == "no complete HTTP answer within 0.1 s"


@pytest.mark.parametrize("path", ["/huge", "/gzip/20000000"])
async def test_a_huge_answer_is_not_read_to_its_end(web: Web, path: str) -> None:
    caught = await failure(request(f"{web.url}{path}"))
    assert caught.sqlstate == "54000"
    assert caught.message == "the HTTP answer is larger than 100000 bytes"


@pytest.mark.parametrize("path", ["/cut", "/cut/reset", "/garbage"])
async def test_an_answer_that_breaks_off_is_a_network_error(web: Web, path: str) -> None:
    caught = await failure(request(f"{web.url}{path}"))
    assert caught.sqlstate == "WF022"
    assert caught.message.startswith("HTTP request failed: ")


async def test_nobody_there() -> None:
    for url in ("http://127.0.0.1:1/", "http://no-such-host.invalid/", "https://127.0.0.1:1/"):
        assert (await failure(request(url))).sqlstate == "WF022"


async def test_tls_to_a_server_without_it(web: Web) -> None:
    caught = await failure(request(f"https://127.0.0.1:{web.port}/echo"))
    assert caught.sqlstate == "WF022"


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://a:99999/", "http://a..b/", "x"])
async def test_an_invalid_url(url: str) -> None:
    assert (await failure(request(url))).sqlstate in ("22023", "WF022", "WF023")


async def test_cancelling_closes_the_connection(web: Web) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, request(f"{web.url}/hold"))
        await wait_until_async(
            partial(_is_true, lambda: bool(web.asked)), "the request has arrived"
        )
        nursery.cancel_scope.cancel()
    await _left(web)


async def _left(web: Web) -> None:
    """The server has seen its client leave."""
    await wait_until_async(partial(_is_true, web.gone.is_set), "the server sees the client leave")


async def _is_true(condition: Callable[[], bool]) -> bool:
    return condition()
