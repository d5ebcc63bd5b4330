"""Secrets of HTTP steps: where they come from, where they may go, and that nothing tells them."""

from __future__ import annotations

import math
import os
import threading
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from durproxy.config_tables import Secret
from durproxy.engine.egress import EgressPolicy
from durproxy.engine.http_answer import Answer, ExchangeFailure, Limits
from durproxy.engine.http_exchange import Route, exchange
from durproxy.engine.http_request import HttpRequest
from durproxy.engine.http_tls import HttpTls
from durproxy.engine.long_texts import LONG
from durproxy.engine.names import Names
from durproxy.engine.redaction import Redactor, Trace
from durproxy.engine.secrets import Secrets, SecretUnavailable
from durproxy.engine.used_secrets import UsedSecrets
from tests.fix_http import Web
from tests.waiting import wait_until

KEY = "sk_live_51Hg7/x+y"


def request(url: str) -> HttpRequest:
    return HttpRequest("POST", url, {}, None, (), 10)


async def answer(sent: HttpRequest, secrets: UsedSecrets | None = None) -> Answer:
    policy, limits = EgressPolicy(allow_private=True), Limits(10, 100_000)
    route = Route("shop", policy, limits, HttpTls({}), Names(), used=secrets or used())
    return await exchange(sent, route)


async def failure(sent: HttpRequest, secrets: UsedSecrets | None = None) -> ExchangeFailure:
    with pytest.raises(ExchangeFailure) as caught:
        await answer(sent, secrets)
    return caught.value


# --- where secrets may go ---


def used(**changes: Any) -> UsedSecrets:
    given: dict[str, Any] = {"env": "A", "roles": ("*",), "hosts": ("127.0.0.1",)}
    given |= {"plain_http": True}
    given |= {"places": ("header", "query", "body", "path")} | changes
    return UsedSecrets("shop", {"key": Trace("key", KEY)}, Secrets({"key": Secret(**given)}))


def holding(url: str) -> HttpRequest:
    headers = {"Authorization": f"Bearer {KEY}"}
    places = frozenset({("key", "header:authorization"), ("key", "body")})
    return replace(request(url), headers=headers, body=f"key={KEY}".encode(), secrets=places)


async def test_a_secret_goes_to_its_hosts_only(web: Web) -> None:
    assert (await answer(holding(f"{web.url}/echo"))).status == 200
    for secrets in (used(hosts=("api.example",)), used(plain_http=False)):
        told = await failure(holding(f"{web.url}/echo"), secrets)
        assert told.sqlstate == "WF023"
        assert 'secret "key" may not be sent' in told.message
    assert len(web.asked) == 1


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_carries_no_secret_to_another_host(web: Web, status: int) -> None:
    there = f"http://localhost:{web.port}/echo"
    url = f"{web.url}/to?status={status}&url={there}"
    told = await failure(holding(url))
    assert 'secret "key" may not be sent to host "localhost"' in told.message
    # a header stays behind anyway
    sent = replace(holding(url), body=b"")
    assert (await answer(sent)).status == 200
    assert KEY not in str(web.asked[-1])


async def test_a_long_body_is_searched_beside_the_engines_work(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it follows a redirect."""
    searching: set[int] = set()
    found_in = Redactor.found_in

    def noted(self: Redactor, content: bytes) -> list[str]:
        if len(content) > LONG:
            searching.add(threading.get_ident())
        return found_in(self, content)

    monkeypatch.setattr(Redactor, "found_in", noted)
    there = f"http://localhost:{web.port}/echo"
    sent = replace(holding(f"{web.url}/to?status=307&url={there}"), body=b"x" * LONG + KEY.encode())
    told = await failure(sent)
    assert 'secret "key" may not be sent to host "localhost"' in told.message
    assert searching
    assert threading.get_ident() not in searching


async def test_a_server_cannot_have_a_secret_carried_on_in_a_url(web: Web) -> None:
    there = f"http://localhost:{web.port}/echo?k={KEY.replace('+', '%2B')}"
    told = await failure(request(f"{web.url}/to?url={there}".replace("%", "%25")))
    assert 'secret "key" may not be sent' in told.message


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_what_a_server_repeats_is_taken_out(web: Web, status: int) -> None:
    got = await answer(holding(f"{web.url}/mirror/{status}"))
    assert KEY not in f"{got.body}{got.headers}"
    assert "key={secret:key}" in got.body
    assert got.headers["x-authorization"] == "Bearer {secret:key}"


async def test_an_answer_that_cannot_be_searched_is_no_result(web: Web) -> None:
    packed = zlib.compress(KEY.encode()).hex()
    told = await failure(holding(f"{web.url}/as?encoding=deflate&hex={packed}"))
    assert told.sqlstate == "WF022"
    assert 'content encoding "deflate"' in told.message


async def test_errors_do_not_tell_a_secret() -> None:
    for url in (f"https://{KEY}.example\\", f"https://[{KEY}/", f"https://a.{KEY}/", f"x{KEY}://a"):
        told = await failure(request(url), used(hosts=("*",)))
        assert KEY.lower() not in f"{told.message}{told.hint}{told!r}".lower()


async def test_errors_do_not_tell_a_piece_of_a_secret(web: Web) -> None:
    """A URL that is taken apart in the middle of one."""
    there = f"http://127.0.0.1:{KEY}/".replace("+", "%2B")
    for url in (f"https://a:{KEY}/", f"{web.url}/to?url={there}"):
        told = await failure(request(url))
        assert KEY[:8] not in told.message
        assert "valid URL" in told.message


async def test_a_secret_is_no_host() -> None:
    """Name servers would be told it; and names lose their case."""
    trace = Trace("key", "Hunter2Hunter2")
    secrets = UsedSecrets("shop", {"key": trace}, used(hosts=("*",))._secrets)
    told = await failure(request("https://Hunter2Hunter2.evil.example/"), secrets)
    assert told.message == "a secret cannot be the name of a host"


@pytest.mark.parametrize(
    ("places", "place", "told"),
    [
        (("header",), "header:x-key", ""),
        (("header:x-key",), "header:x-key", ""),
        (("header:x-key",), "header:x-amz-meta-note", 'header "x-amz-meta-note"'),
        (("header",), "body", "the body"),
        (("header", "path", "body"), "query", "the query"),
        (("query",), "path", "the path"),
        (("path", "query"), "url", "the place of a URL"),
        (("body",), "header:authorization", 'header "authorization"'),
    ],
)
async def test_a_secret_stands_in_its_places_only(
    web: Web, places: tuple[str, ...], place: str, told: str
) -> None:
    sent = replace(request(f"{web.url}/echo"), secrets=frozenset({("key", place)}))
    if not told:
        assert (await answer(sent, used(places=places))).status == 200
        return
    refused = await failure(sent, used(places=places))
    assert (refused.sqlstate, refused.message) == (
        "WF023",
        f'secret "key" may not stand in {told}',
    )
    assert not web.asked


async def test_a_server_cannot_have_a_secret_put_into_another_place(web: Web) -> None:
    there = f"{web.url}/echo?k={quote(KEY, safe='')}".replace("%", "%25")
    sent = replace(request(f"{web.url}/to?url={there}"), headers={"X-Key": KEY})
    refused = await failure(sent, used(places=("header",)))
    assert refused.message == 'secret "key" may not stand in the query'


# --- what another call has stored ---


def unnamed(secrets: Secrets, role: str = "shop") -> UsedSecrets:
    return UsedSecrets(role, {}, secrets)


def stored(web: Web, text: str = KEY, **query: str) -> HttpRequest:
    given = "".join(f"&{name}={value}" for name, value in query.items())
    return request(f"{web.url}/as?hex={text.encode().hex()}{given}")


async def test_what_was_stored_by_a_secret_is_fetched_back_without_it(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a call that names no secret, of an engine that has not used it yet."""
    monkeypatch.setenv("SHOP_KEY", KEY)
    found = secrets(key={"env": "SHOP_KEY", "hosts": ("127.0.0.1",)})
    assert (await answer(stored(web), unnamed(found, "lab"))).body == KEY  # not its secret
    assert (await answer(stored(web), unnamed(found))).body == "{secret:key}"
    elsewhere = replace(stored(web), url=stored(web).url.replace("127.0.0.1", "localhost"))
    assert (await answer(elsewhere, unnamed(found))).body == "{secret:key}"  # known by now


async def test_what_a_secret_was_before_is_taken_out_too(
    web: Web, tmp_path: Path, mock_clock: MockClock
) -> None:
    mock_clock.rate = 1
    file = tmp_path / "key"
    file.write_text("first-value")
    found = secrets(key={"file": file, "hosts": ("127.0.0.1",), "refresh": 60.0})
    assert await fetched(found) == "first-value"
    file.write_text("second-value")
    mock_clock.jump(61)
    got = await answer(stored(web, "first-value second-value"), unnamed(found))
    assert got.body == "{secret:key} {secret:key}"


async def test_a_secret_that_cannot_be_had_stops_no_call_that_does_not_name_it(web: Web) -> None:
    found = secrets(key={"env": "DURPROXY_TEST_NO_SUCH"})
    assert (await answer(stored(web), unnamed(found))).status == 200


async def test_a_secret_that_hangs_holds_a_call_that_does_not_name_it_for_a_moment(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Also one in less time than fetching may take, whose end does not begin it anew."""
    log = tmp_path / "log"
    found = secrets(key={"command": ("sh", "-c", f"echo x >> {log}; exec sleep 600")})
    begun = trio.current_time()
    with trio.move_on_after(0.5) as call:
        await found.look_for("shop", "a.example")
    assert not call.cancelled_caught
    for _ in range(50):
        await found.look_for("shop", "a.example")
    assert trio.current_time() - begun <= 1.0
    autojump_clock.autojump_threshold = math.inf  # the end of a process takes time of its own
    began = partial(wait_until, lambda: log.exists() and log.read_text(), "the command")
    await trio.to_thread.run_sync(began)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetched, found)  # who names it waits for the same attempt
        await trio.testing.wait_all_tasks_blocked()
        autojump_clock.jump(15)
    assert log.read_text() == "x\n"


async def test_a_secret_that_comes_late_is_taken_out_of_what_is_not_complete_yet(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    """The call that had it fetched has ended long ago."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = secrets(key={"file": pipe})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.look_for, "shop", "a.example")
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1)
    assert unnamed(found).redactor().text(KEY) == KEY
    await trio.to_thread.run_sync(pipe.write_text, KEY)
    await found.values_for("shop", ["key"])
    assert unnamed(found).redactor().text(KEY) == "{secret:key}"


async def test_what_cannot_be_searched_is_no_result_for_who_may_use_secrets(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed otherwise, or asked for piece by piece."""
    monkeypatch.setenv("SHOP_KEY", KEY)
    found = secrets(key={"env": "SHOP_KEY", "hosts": ("127.0.0.1",)})
    for query, told in (({"encoding": "br"}, '"br"'), ({"status": "206"}, "a part of what host")):
        assert (await answer(stored(web, **query), unnamed(found, "lab"))).body
        refused = await failure(stored(web, **query), unnamed(found))
        assert (refused.sqlstate, told in refused.message) == ("WF022", True)


# --- where secrets come from ---


def secrets(**sources: dict[str, Any]) -> Secrets:
    rights = {"roles": ("shop",), "hosts": ("*",)}
    return Secrets({name: Secret(**rights | source) for name, source in sources.items()})


async def fetched(found: Secrets, name: str = "key", role: str = "shop") -> str:
    """The value, or the SQLSTATE and the message."""
    try:
        return (await found.values_for(role, [name]))[name].value
    except SecretUnavailable as failed:
        return f"{failed.error.sqlstate} {failed.error.message}"


async def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", KEY)
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert await fetched(secrets(key={"env": "SHOP_KEY"})) == KEY
    assert await fetched(secrets(key={"file": file})) == KEY
    assert await fetched(secrets(key={"command": ("cat", str(file))})) == KEY


@pytest.mark.parametrize(
    "source",
    [
        {"env": "DURPROXY_TEST_NO_SUCH"},
        {"file": "/no/such/file"},
        {"command": ("/no/such/command",)},
        {"command": ("sh", "-c", f"echo {KEY}; echo {KEY} >&2; exit 3")},
        {"command": ("echo", "short")},
        {"command": ("printf", r"\377\376\375\374\377\376\375\374")},
    ],
)
async def test_a_source_that_fails_tells_nothing(
    source: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    assert await fetched(secrets(key=source)) == '58000 secret "key" is not available'
    told = "".join(capfd.readouterr())
    assert "secret.not_fetched" in told
    assert KEY not in told.replace(f"echo {KEY}", "")


async def test_who_may_not_use_a_secret_does_not_learn_that_it_exists() -> None:
    found = secrets(key={"env": "HOME"})
    denied, unknown = await fetched(found, role="lab"), await fetched(found, "nope", role="lab")
    assert denied.startswith("42501 ")
    assert denied.replace("key", "nope") == unknown


async def test_a_secret_is_fetched_again_when_it_is_old_or_refused(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    file = tmp_path / "key"
    file.write_text("first-value")
    found = secrets(key={"file": file, "refresh": 60.0})
    assert await fetched(found) == "first-value"
    file.write_text("second-value")
    assert await fetched(found) == "first-value"
    found.refused(["key"])  # a moment old: fetching it again would say the same
    assert await fetched(found) == "first-value"
    mock_clock.jump(11)
    found.refused(["key"])
    assert await fetched(found) == "second-value"
    file.write_text("third-value")
    mock_clock.jump(61)
    assert await fetched(found) == "third-value"


async def test_a_source_that_fails_is_left_alone_for_a_moment(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    log = tmp_path / "log"
    script = f"echo x >> {log}; test -e {tmp_path}/there && echo value-of-it"
    found = secrets(key={"command": ("sh", "-c", script)})
    for _ in range(3):
        assert (await fetched(found)).startswith("58000")
    assert log.read_text() == "x\n"
    (tmp_path / "there").touch()
    mock_clock.jump(6)
    assert await fetched(found) == "value-of-it"


async def test_the_old_value_serves_for_a_while_and_not_for_ever(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    file = tmp_path / "key"
    file.write_text("first-value")
    found = secrets(key={"file": file, "refresh": 60.0})
    assert await fetched(found) == "first-value"
    file.unlink()
    mock_clock.jump(90)
    assert await fetched(found) == "first-value"
    mock_clock.jump(31)
    assert (await fetched(found)).startswith("58000")
