"""TLS on the client's leg, on the server's and on both, with real clients and servers."""

from __future__ import annotations

import os
import shutil
import ssl
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import asyncpg
import psycopg
import pytest
import trustme
from psycopg import pq

from durproxy.config import load_settings
from durproxy.errors import ConfigurationError
from durproxy.proxy.client_tls import load_client_tls
from durproxy.proxy.loaded import load
from durproxy.proxy.user_list import parse_user_list
from durproxy.wire.startup import (
    PROTOCOL_3_0,
    StartupMessage,
    encode_ssl_request,
    encode_startup,
)
from tests.fix_postgres import BINDIRS, Database, Postgres, Role
from tests.relay.certificates import Certificate, write_authority, write_certificate
from tests.relay.conftest import Proxy, StartProxy
from tests.relay.peers import RawPeer, sqlstate_of
from tests.waiting import wait_until


@pytest.fixture(scope="session", params=list(BINDIRS))
def tls_postgres(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """A cluster with TLS, for ``localhost``."""
    postgres = Postgres(BINDIRS[request.param])
    data = postgres.cluster.data
    certificate = write_certificate(data, "localhost")
    for path in (certificate.cert, certificate.key):
        shutil.chown(path, data.owner())
    write_authority(data)
    with psycopg.connect(postgres.superuser_dsn, autocommit=True) as admin:
        try:
            admin.execute("ALTER SYSTEM SET ssl = on")
        except psycopg.errors.InvalidParameterValue:
            postgres.stop()
            pytest.skip("this build of Postgres has no TLS")
        for name, value in (
            ("ssl_cert_file", certificate.cert.name),
            ("ssl_key_file", certificate.key.name),
        ):
            admin.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        admin.execute("SELECT pg_reload_conf()")

        def encrypts() -> bool:
            dsn = f"host=localhost port={postgres.port} user=nobody sslmode=require"
            with pytest.raises(psycopg.OperationalError) as caught:
                psycopg.connect(dsn)
            return "does not support SSL" not in str(caught.value)

        wait_until(encrypts, "the server has TLS")
    yield postgres
    postgres.stop()


@pytest.fixture
def tls_database(tls_postgres: Postgres) -> Iterator[Database]:
    database = tls_postgres.fresh_database()
    yield database
    tls_postgres.drop_database(database)


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return write_certificate(tmp_path, "localhost")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_authority(tmp_path)


@pytest.fixture
def proxy(start_proxy: StartProxy, database: Database, certificate: Certificate) -> Proxy:
    """With TLS for clients, before a server without."""
    return start_proxy(database.dsn, tls_cert=certificate.cert, tls_key=certificate.key)


def dsn(proxy: Proxy, database: Database, role: Role | None = None, **options: object) -> str:
    found = role or database.owner
    own = {"sslmode": "verify-full", "user": found.name, "password": found.password, **options}
    named = " ".join(f"{name}={value}" for name, value in own.items())
    return f"host=localhost hostaddr=127.0.0.1 port={proxy.port} dbname={database.name} {named}"


def by_server(database: Database) -> str:
    """A conninfo for the server's leg, without a mode."""
    return f"host=localhost hostaddr=127.0.0.1 port={database.postgres.port} dbname={database.name}"


def connect(text: str) -> psycopg.Connection:
    return psycopg.connect(text, autocommit=True)


def encrypted_by_server(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    assert row is not None
    return bool(row[0])


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("login", ["scram", "by_md5", "by_password"])
def test_a_client_over_tls_before_a_plain_server(
    proxy: Proxy, database: Database, root: Path, version: str, login: str
) -> None:
    role = database.add_role(login=login)
    text = dsn(proxy, database, role, sslrootcert=root, ssl_max_protocol_version=version)
    with connect(text) as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("SELECT current_user").fetchone() == (role.name,)
        assert not encrypted_by_server(connection)


def test_a_certificate_without_its_key_says_which_option_gives_it(certificate: Certificate) -> None:
    settings = load_settings(
        {"upstream": "host=x", "tls_cert": certificate.cert}, Path("/dev/null")
    )
    with pytest.raises(ConfigurationError, match="of option --tls-cert holds no private key") as it:
        load_client_tls(settings)
    assert it.value.hint == "Give the file that holds it with option --tls-key."


@pytest.mark.parametrize(
    ("sslmode", "tls", "loses"),
    [("require", "allow", True), ("require", "require", False), ("disable", "allow", False)],
)
def test_whether_clients_may_lose_tls_is_known_at_the_start(
    certificate: Certificate, sslmode: str, tls: str, loses: bool
) -> None:
    options = {"upstream": f"host=x sslmode={sslmode}", "tls_cert": certificate.bundle, "tls": tls}
    assert load(load_settings(options, Path("/dev/null"))).loses_tls is loses


def test_a_host_that_the_certificate_does_not_name_is_refused_by_the_client(
    proxy: Proxy, database: Database, root: Path
) -> None:
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        connect(dsn(proxy, database, sslrootcert=root, host="example.org"))


def test_plain_clients_are_let_in_beside(proxy: Proxy, database: Database) -> None:
    with connect(dsn(proxy, database, sslmode="disable")) as connection:
        assert not connection.pgconn.ssl_in_use


def test_where_tls_is_required_plain_clients_are_refused(
    start_proxy: StartProxy, database: Database, certificate: Certificate, root: Path
) -> None:
    proxy = start_proxy(database.dsn, tls_cert=certificate.bundle, tls="require")
    with pytest.raises(psycopg.OperationalError, match="the connection is not encrypted") as caught:
        connect(dsn(proxy, database, sslmode="disable"))
    assert "sslmode=require" in str(caught.value)
    with connect(dsn(proxy, database, sslrootcert=root)) as connection:
        assert connection.pgconn.ssl_in_use


@pytest.mark.skipif(pq.version() < 170000, reason="libpq 17 has sslnegotiation")
def test_direct_tls(proxy: Proxy, database: Database, root: Path) -> None:
    with connect(dsn(proxy, database, sslrootcert=root, sslnegotiation="direct")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def tls_client(proxy: Proxy, root: Path, *alpn: str) -> RawPeer:
    context = ssl.create_default_context(cafile=str(root))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return RawPeer(context.wrap_socket(proxy.dial(), server_hostname="localhost"))


def test_direct_tls_without_alpn_is_refused(proxy: Proxy, root: Path) -> None:
    with tls_client(proxy, root) as peer:
        assert sqlstate_of(peer.receive()) == "08P01"


def test_what_was_sent_before_the_handshake_is_refused(proxy: Proxy) -> None:
    startup = encode_startup(StartupMessage(PROTOCOL_3_0, {"user": "u"}))
    with RawPeer(proxy.dial()) as peer:
        peer.send(encode_ssl_request() + startup)
        message = peer.receive()
        assert sqlstate_of(message) == "08P01"
        assert message is not None
        assert b"man-in-the-middle" in message[1]


def test_a_client_that_says_nonsense_instead_of_tls(proxy: Proxy, database: Database) -> None:
    with RawPeer(proxy.dial()) as peer:
        peer.send(encode_ssl_request())
        assert peer.read_exactly(1) == b"S"
        peer.send(b"nonsense, and no TLS record" * 100)
        assert peer.is_closed() or peer.receive_all() is not None
    assert proxy.wait_log("connection.tls_failed")["reason"]
    with connect(dsn(proxy, database, sslmode="require")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_clients_may_need_a_certificate_of_their_own(
    start_proxy: StartProxy,
    database: Database,
    certificate: Certificate,
    root: Path,
    tmp_path: Path,
) -> None:
    proxy = start_proxy(database.dsn, tls_cert=certificate.bundle, tls_client_ca=root)
    own = write_certificate(tmp_path, "client")
    text = dsn(proxy, database, sslrootcert=root, sslcert=own.cert, sslkey=own.key)
    with connect(text) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError):
        connect(dsn(proxy, database, sslrootcert=root, sslcert="none", sslkey="none"))
    assert "certificate" in proxy.wait_log("connection.tls_failed")["reason"]
    stranger = write_certificate(tmp_path, "stranger", ca=trustme.CA())
    text = dsn(proxy, database, sslrootcert=root, sslcert=stranger.cert, sslkey=stranger.key)
    with pytest.raises(psycopg.OperationalError):
        connect(text)


def test_bulk_over_tls_on_both_legs_gives_the_same_bytes_in_constant_memory(
    start_proxy: StartProxy, tls_database: Database, certificate: Certificate, root: Path
) -> None:
    proxy = start_proxy(f"{by_server(tls_database)} sslmode=require", tls_cert=certificate.bundle)
    block = os.urandom(512 * 1024).hex().encode()
    line = b"\n".join(block[at : at + 1023] for at in range(0, len(block), 1023)) + b"\n"
    sent, received = sha256(), sha256()
    text = dsn(proxy, tls_database, sslrootcert=root, channel_binding="disable")
    with connect(text) as connection, connection.cursor() as cursor:
        assert encrypted_by_server(connection)
        cursor.execute("CREATE TABLE t (line text)")
        before = proxy.memory()
        with cursor.copy("COPY t FROM STDIN") as copy:
            for _ in range(30):
                copy.write(line)
                sent.update(line)
        with cursor.copy("COPY t TO STDOUT") as copy:
            for data in copy:
                received.update(data)
        assert sent.digest() == received.digest()
        assert proxy.memory() - before < 8 * 1024 * 1024
        cancelling = threading.Timer(0.2, connection.cancel_safe)
        cancelling.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(30)")
        cancelling.join()


@pytest.mark.parametrize(
    ("mode", "encrypted"), [("disable", False), ("prefer", True), ("require", True), ("", True)]
)
def test_the_servers_leg_is_encrypted_as_the_conninfo_says(
    start_proxy: StartProxy, tls_database: Database, mode: str, encrypted: bool
) -> None:
    proxy = start_proxy(by_server(tls_database) + (f" sslmode={mode}" if mode else ""))
    with proxy.connect(tls_database) as connection:  # by SCRAM, though the server offers binding
        assert encrypted_by_server(connection) is encrypted


def test_the_server_is_verified(
    start_proxy: StartProxy, tls_database: Database, root: Path, tmp_path: Path
) -> None:
    verified = by_server(tls_database) + " sslmode=verify-full sslrootcert="
    with start_proxy(f"{verified}{root}").connect(tls_database) as connection:
        assert encrypted_by_server(connection)
    (tmp_path / "other").mkdir()
    other = write_authority(tmp_path / "other", trustme.CA())
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        start_proxy(f"{verified}{other}").connect(tls_database)
    elsewhere = f"{verified}{root}".replace("host=localhost", "host=example.org")
    with pytest.raises(psycopg.OperationalError, match="mismatch"):
        start_proxy(elsewhere).connect(tls_database)
    by_authority = elsewhere.replace("verify-full", "verify-ca")
    with start_proxy(by_authority).connect(tls_database) as connection:
        assert encrypted_by_server(connection)


def test_a_server_without_tls_is_refused_where_it_is_needed(
    start_proxy: StartProxy, database: Database
) -> None:
    proxy = start_proxy(f"{by_server(database)} sslmode=require")
    with pytest.raises(psycopg.OperationalError, match="does not support TLS"):
        proxy.connect(database)


def write_user_list(folder: Path, *roles: Role) -> Path:
    path = folder / "users"
    path.touch(mode=0o600)
    path.write_text("".join(f"*:*:*:{role.name}:{role.password}\n" for role in roles))
    return path


@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
def test_scram_over_tls_on_both_legs_with_the_user_list(
    start_proxy: StartProxy,
    tls_database: Database,
    certificate: Certificate,
    root: Path,
    tmp_path: Path,
    binding: str,
) -> None:
    users = write_user_list(tmp_path, tls_database.owner)
    upstream = f"{by_server(tls_database)} sslmode=require"
    proxy = start_proxy(upstream, tls_cert=certificate.bundle, auth_file=users)
    text = dsn(proxy, tls_database, sslrootcert=root, channel_binding=binding)
    for _ in range(2):
        with connect(text) as connection:
            assert encrypted_by_server(connection)
            assert connection.execute("SELECT current_user").fetchone() == (tls_database.role,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(text.replace(tls_database.owner.password, "wrong"))


@pytest.mark.parametrize(
    ("binding", "form"),
    [
        ("disable", "*:*:*:{}:{}\n"),
        ("prefer", '"{}" "{}"\n'),
        ("require", '"{}" "{}"\n'),
    ],
)
def test_scram_over_tls_on_both_legs_with_the_servers_secret(
    start_proxy: StartProxy,
    tls_database: Database,
    certificate: Certificate,
    root: Path,
    tmp_path: Path,
    binding: str,
    form: str,
) -> None:
    owner = tls_database.owner
    stored = f"SELECT rolpassword FROM pg_authid WHERE rolname = '{owner.name}'"
    users = write_user_list(tmp_path)
    users.write_text(form.format(owner.name, tls_database.psql(stored, "postgres")))
    upstream = f"{by_server(tls_database)} sslmode=require"
    proxy = start_proxy(upstream, tls_cert=certificate.bundle, auth_file=users)
    text = dsn(proxy, tls_database, sslrootcert=root, channel_binding=binding)
    with connect(text) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (owner.name,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(text.replace(owner.password, "wrong"))
    # the same password, but another salt
    tls_database.psql(f"ALTER ROLE {owner.name} PASSWORD '{owner.password}'", "postgres")
    with pytest.raises(psycopg.OperationalError, match="is not the one that the server has"):
        connect(text)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("*:*:ann", 'line 1 of "users" of option --auth-file is not host:port:database:user'),
        ('"ann" "secret', 'line 1 of "users" of option --auth-file is not "user" "password"'),
        (f'"ann" "md5{"0" * 32}"', "has an MD5 hash, which is of no use for SCRAM"),
        ("*:*:*:ann:SCRAM-SHA-256$4096:abc", "has a SCRAM secret that is not whole"),
    ],
)
def test_a_line_of_the_user_list_that_cannot_be_is_told(line: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        parse_user_list(line, "users")


def test_the_user_list_takes_both_forms_and_the_first_line_that_matches() -> None:
    users = parse_user_list('# us\n"a""b" "c d"\nhost:5432:db:ann:x\\:y\n*:*:*:ann:z\n', "users")
    assert users.password("host", 5432, "db", 'a"b') == "c d"
    assert users.password("host", 5432, "db", "ann") == "x:y"
    assert users.password("host", 5432, "other", "ann") == "z"
    assert users.password("host", 5432, "db", "bob") is None


def test_a_stored_password_that_is_old_is_told(
    start_proxy: StartProxy,
    tls_database: Database,
    certificate: Certificate,
    root: Path,
    tmp_path: Path,
) -> None:
    role = Role(tls_database.role, "old")
    upstream = f"{by_server(tls_database)} sslmode=require"
    users = write_user_list(tmp_path, role)
    proxy = start_proxy(upstream, tls_cert=certificate.bundle, auth_file=users)
    with pytest.raises(psycopg.OperationalError, match="does not accept the password of auth_file"):
        connect(dsn(proxy, tls_database, role, sslrootcert=root))


def test_without_the_user_list_the_error_says_what_to_do(
    start_proxy: StartProxy, tls_database: Database, certificate: Certificate, root: Path
) -> None:
    upstream = f"{by_server(tls_database)} sslmode=require"
    proxy = start_proxy(upstream, tls_cert=certificate.bundle)
    with pytest.raises(psycopg.OperationalError, match="a SCRAM login cannot pass") as caught:
        connect(dsn(proxy, tls_database, sslrootcert=root))
    assert "auth_file" in str(caught.value)
    assert "channel_binding=disable" in str(caught.value)
    with connect(dsn(proxy, tls_database, sslrootcert=root, channel_binding="disable")) as ok:
        assert ok.execute("SELECT 1").fetchone() == (1,)


def test_a_proxy_with_the_servers_own_certificate_passes_channel_binding_on(
    start_proxy: StartProxy, tls_database: Database, root: Path
) -> None:
    data = tls_database.postgres.cluster.data
    proxy = start_proxy(
        f"{by_server(tls_database)} sslmode=require",
        tls_cert=data / "localhost.crt",
        tls_key=data / "localhost.key",
    )
    text = dsn(proxy, tls_database, sslrootcert=root, channel_binding="require")
    with connect(text) as connection:
        assert encrypted_by_server(connection)


def test_asyncpg_over_tls_on_both_legs(
    start_proxy: StartProxy,
    tls_database: Database,
    certificate: Certificate,
    root: Path,
    tmp_path: Path,
) -> None:
    import asyncio

    users = write_user_list(tmp_path, tls_database.owner)
    upstream = f"{by_server(tls_database)} sslmode=require"
    proxy = start_proxy(upstream, tls_cert=certificate.bundle, auth_file=users)

    async def ask() -> int:
        connection = await asyncpg.connect(
            host="localhost",
            port=proxy.port,
            user=tls_database.role,
            password=tls_database.owner.password,
            database=tls_database.name,
            ssl=ssl.create_default_context(cafile=str(root)),
        )
        try:
            return int(await connection.fetchval("SELECT 42"))
        finally:
            await connection.close()

    assert asyncio.run(ask()) == 42


def test_a_drain_says_goodbye_over_tls(
    start_proxy: StartProxy, database: Database, certificate: Certificate, root: Path
) -> None:
    role = database.add_role(login="by_trust")
    proxy = start_proxy(database.dsn, tls_cert=certificate.bundle)
    with tls_client(proxy, root, "postgresql") as peer:
        names = {"user": role.name, "database": database.name}
        peer.send(encode_startup(StartupMessage(PROTOCOL_3_0, names)))
        assert peer.until_ready()[-1] == ("Z", b"I")
        proxy.terminate()
        assert sqlstate_of(peer.receive()) == "57P01"
        assert peer.is_closed()
    assert proxy.wait() == 0
