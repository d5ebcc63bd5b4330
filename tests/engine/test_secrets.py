"""Secrets of HTTP steps: where they come from, where they may go, and that nothing tells them."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from durproxy.config_tables import Secret
from durproxy.engine.egress import EgressPolicy
from durproxy.engine.http_exchange import Answer, ExchangeFailure, Limits, Route, exchange
from durproxy.engine.http_request import HttpRequest
from durproxy.engine.http_tls import HttpTls
from durproxy.engine.names import Names
from durproxy.engine.secrets import Secrets, SecretUnavailable
from durproxy.engine.used_secrets import UsedSecrets
from tests.fix_http import Web

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
    given |= {"plain_http": True} | changes
    return UsedSecrets({"key": KEY}, Secrets({"key": Secret(**given)}))


def holding(url: str) -> HttpRequest:
    headers = {"Authorization": f"Bearer {KEY}"}
    return replace(request(url), headers=headers, body=f"key={KEY}".encode())


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


async def test_a_secret_is_no_host() -> None:
    """Name servers would be told it; and names lose their case."""
    secrets = UsedSecrets({"key": "Hunter2Hunter2"}, used(hosts=("*",))._secrets)
    told = await failure(request("https://Hunter2Hunter2.evil.example/"), secrets)
    assert told.message == "a secret cannot be the name of a host"


# --- where secrets come from ---


def secrets(**sources: dict[str, Any]) -> Secrets:
    return Secrets(
        {name: Secret(**{"roles": ("shop",), "hosts": ("*",)} | s) for name, s in sources.items()}
    )


async def fetched(found: Secrets, name: str = "key", role: str = "shop") -> str:
    """The value, or the SQLSTATE and the message."""
    try:
        return (await found.values_for(role, [name]))[name]
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
