"""How HTTP steps get to a server: authorities, client certificates, names, a forward proxy.

Real servers, with certificates of the moment.
"""

from __future__ import annotations

import socket
import ssl
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import trustme

from durproxy.config_tables import HttpHost, HttpRule
from durproxy.engine.egress import EgressPolicy
from durproxy.engine.http_answer import Answer, ExchangeFailure, Limits
from durproxy.engine.http_exchange import Route, exchange
from durproxy.engine.http_proxy import ForwardProxy
from durproxy.engine.http_request import HttpRequest
from durproxy.engine.http_tls import HttpTls
from durproxy.engine.names import Names
from durproxy.errors import ConfigurationError
from tests.fix_http import Web, serving_web

AT_HOME = EgressPolicy(allow_private=True)


@dataclass(frozen=True)
class Files:
    """What an administrator would have."""

    ca: Path
    cert: Path
    key: Path


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    found = Files(folder / "ca.pem", folder / "client.pem", folder / "client.key")
    authority.cert_pem.write_to_path(str(found.ca))
    client = authority.issue_cert("shop@example.org")
    client.cert_chain_pems[0].write_to_path(str(found.cert))
    client.private_key_pem.write_to_path(str(found.key))
    return found


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Web]:
    """A server over https that takes a client's certificate if there is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", "api.example").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    with serving_web(context) as web:
        yield web


def request(url: str, method: str = "POST", **changes: Any) -> HttpRequest:
    return replace(HttpRequest(method, url, {}, None, (), 10), **changes)


async def answer(sent: HttpRequest, tls: HttpTls, **changes: Any) -> Answer:
    route = replace(Route("shop", AT_HOME, Limits(10, 100_000), tls, Names()), **changes)
    return await exchange(sent, route)


async def failure(sent: HttpRequest, tls: HttpTls, **changes: Any) -> ExchangeFailure:
    with pytest.raises(ExchangeFailure) as caught:
        await answer(sent, tls, **changes)
    return caught.value


class Resolver(Names):
    """A name server's answers: the next list of addresses for each question."""

    def __init__(self, *answers: list[str]) -> None:
        super().__init__()
        self.answers = list(answers)

    async def addresses(self, role: str, host: str, port: int) -> list[str]:
        return self.answers.pop(0)


# --- TLS ---


async def test_only_authorities_that_are_configured_are_trusted(secure: Web, files: Files) -> None:
    url = f"{secure.url}/echo"
    assert "certificate verify failed" in (await failure(request(url), HttpTls({}))).message
    assert (await answer(request(url), HttpTls({}, files.ca))).status == 200
    assert (await answer(request(url), HttpTls({"127.0.0.1": HttpHost(ca=files.ca)}))).status == 200
    elsewhere = HttpTls({"*.example": HttpHost(ca=files.ca)})
    assert (await failure(request(url), elsewhere)).sqlstate == "WF022"


async def test_the_certificate_must_be_the_names(secure: Web, files: Files) -> None:
    names = Resolver(["127.0.0.1"], ["127.0.0.1"])
    tls = HttpTls({}, files.ca)
    right, other = (f"https://{name}.example:{secure.port}/echo" for name in ("api", "other"))
    assert (await answer(request(right), tls, names=names)).status == 200
    told = await failure(request(other), tls, names=names)
    assert "not valid for 'other.example'" in told.message


async def test_a_client_certificate_is_for_its_roles_and_hosts(
    authority: trustme.CA, files: Files
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # a refusal comes during the handshake
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    host = HttpHost(ca=files.ca, cert=files.cert, key=files.key, roles=("shop",))
    tls = HttpTls({"127.0.0.1": host})
    with serving_web(context) as web:
        sent = request(f"{web.url}/echo")
        assert (await answer(sent, tls)).status == 200
        assert (await failure(sent, tls, role="lab")).sqlstate == "WF022"


async def test_renewed_files_are_used_without_a_restart(
    secure: Web, files: Files, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    tls = HttpTls({}, ca)
    assert (await failure(request(f"{secure.url}/echo"), tls)).sqlstate == "WF022"
    renewed = tmp_path / "new.pem"
    renewed.write_bytes(files.ca.read_bytes())
    renewed.rename(ca)
    assert (await answer(request(f"{secure.url}/echo"), tls)).status == 200


def test_files_that_cannot_be_used_are_named(tmp_path: Path, files: Files) -> None:
    with pytest.raises(ConfigurationError, match="--http-ca"):
        HttpTls({}, tmp_path / "missing.pem").check()
    broken = HttpHost(cert=files.cert, roles=("shop",))  # the key is elsewhere
    with pytest.raises(ConfigurationError, match=r'"http_hosts\.a\.example"'):
        HttpTls({"a.example": broken}).check()


async def test_a_redirect_does_not_leave_tls(secure: Web, web: Web, files: Files) -> None:
    sent = request(f"{secure.url}/to?url={web.url}/echo")
    told = await failure(sent, HttpTls({}, files.ca), policy=replace(AT_HOME, plain="always"))
    assert told.sqlstate == "WF023"
    assert "leaves TLS" in told.message
    assert web.asked == []


# --- names that change ---


async def test_a_name_that_resolves_anew_to_another_address(web: Web) -> None:
    """DNS rebinding: the answer that was judged is the one that is used, for each hop."""
    resolver = Resolver(["127.0.0.1"], ["169.254.169.254"])
    url = f"http://rebind.example:{web.port}"
    assert (await answer(request(f"{url}/echo"), HttpTls({}), names=resolver)).status == 200
    assert resolver.answers == [["169.254.169.254"]]
    told = await failure(request(f"{url}/echo"), HttpTls({}), names=resolver)
    assert "169.254.169.254, which is not public" in told.message
    resolver.answers = [["127.0.0.1"], ["169.254.169.254"]]  # the redirect asks again
    told = await failure(request(f"{url}/to?url=/echo"), HttpTls({}), names=resolver)
    assert told.sqlstate == "WF023"


# --- a forward proxy ---


@dataclass
class Relay:
    """A forward proxy that leads every tunnel to one port of this machine."""

    port: int
    asked: list[str] = field(default_factory=list)
    authorization: list[str] = field(default_factory=list)


@contextmanager
def relaying(port: int, status: int = 200) -> Iterator[Relay]:
    listener = socket.create_server(("127.0.0.1", 0))
    found = Relay(listener.getsockname()[1])

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=tunnel, args=(client,), daemon=True).start()

    def tunnel(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        first, *headers = head.decode().split("\r\n")
        found.asked.append(first)
        found.authorization += [
            line for line in headers if line.lower().startswith("proxy-authorization")
        ]
        client.sendall(f"HTTP/1.1 {status} So\r\n\r\n".encode())
        if status == 200:
            with socket.create_connection(("127.0.0.1", port)) as server:
                back = threading.Thread(target=pour, args=(server, client), daemon=True)
                back.start()
                pour(client, server)
                back.join()
        client.close()

    def pour(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield found
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


async def test_the_proxy_is_told_the_address_that_was_judged(secure: Web, files: Files) -> None:
    with relaying(secure.port) as relay:
        url = f"http://me:p%40ss@127.0.0.1:{relay.port}"
        proxy = ForwardProxy.from_url(url, resolves=False)
        ways: dict[str, Any] = {"proxy": proxy}
        ways["names"] = Resolver(["10.1.2.3"], ["169.254.169.254"])
        tls = HttpTls({}, files.ca)
        got = await answer(request("https://api.example/echo"), tls, **ways)
        assert got.status == 200
        assert relay.asked == ["CONNECT 10.1.2.3:443 HTTP/1.1"]
        assert b64decode(relay.authorization[0].split()[-1]) == b"me:p@ss"
        assert secure.asked[0].headers["host"] == "api.example"
        told = await failure(request("https://api.example/echo"), tls, **ways)
        assert told.sqlstate == "WF023"
        assert len(relay.asked) == 1


async def test_a_proxy_that_resolves_is_told_names_and_no_private_address(
    web: Web, secure: Web, files: Files
) -> None:
    policy = EgressPolicy(allowed_hosts=("api.example", "10.1.2.3", "2130706433"))
    with relaying(secure.port) as relay:
        proxy = ForwardProxy.from_url(f"http://127.0.0.1:{relay.port}", resolves=True)
        tls = HttpTls({}, files.ca)
        sent = request("https://api.example/echo")
        assert (await answer(sent, tls, proxy=proxy, policy=policy)).status == 200
        assert relay.asked == ["CONNECT api.example:443 HTTP/1.1"]
        for url in ("https://10.1.2.3/", "https://2130706433/", "http://api.example/"):
            told = await failure(request(url), tls, proxy=proxy, policy=policy)
            assert told.sqlstate == "WF023"
        rule = HttpRule(action="allow", networks=(IPv4Network("10.0.0.0/8"),))
        closed = replace(policy, rules=(rule,))
        told = await failure(sent, tls, proxy=proxy, policy=closed)
        assert "the proxy resolves it" in told.message
        assert len(relay.asked) == 1


async def test_a_proxy_that_refuses_is_a_network_error(web: Web) -> None:
    with relaying(web.port, status=407) as relay:
        proxy = ForwardProxy.from_url(f"http://127.0.0.1:{relay.port}", resolves=False)
        told = await failure(request(f"{web.url}/echo"), HttpTls({}), proxy=proxy)
        assert told.sqlstate == "WF022"
        assert "CONNECT with status 407" in told.message
    assert web.asked == []
