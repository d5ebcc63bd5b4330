"""TLS to the upstream, with the meanings that libpq gives the conninfo's parameters.

| sslmode       | encrypted           | the server is checked to be …                     |
|---------------|---------------------|---------------------------------------------------|
| disable       | no                  |                                                   |
| allow, prefer | if the server can   | nobody in particular                              |
| require       | or not at all       | nobody; of the root certificate's, if there is one|
| verify-ca     | or not at all       | of the root certificate's                         |
| verify-full   | or not at all       | of the root certificate's, and the host we asked  |

``sslcert`` and ``sslkey`` are the proxy's own. A server that takes such a certificate for a login
asks the client nothing, so nobody is let in by it without the setting ``allow_trust`` (``trust``).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from durproxy.errors import ConfigurationError
from durproxy.proxy import sockets
from durproxy.proxy.tls import ALPN, TlsSocket, handshake, wrap
from durproxy.wire.startup import encode_ssl_request

_DEFAULT_ROOT = Path("~/.postgresql/root.crt")
_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_YES, _NO = b"S", b"N"


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """How the connections to the upstream are encrypted."""

    context: ssl.SSLContext | None = None  # None: never
    needed: bool = False
    direct: bool = False  # without asking in the protocol first
    names_host: bool = True  # in the handshake, before anything is encrypted (SNI)

    async def secure(self, sock: socket.socket, host: str) -> socket.socket:
        """The socket, or its TLS side; OSError when it cannot be as it has to be."""
        if self.context is None or sock.family == socket.AF_UNIX:
            return sock
        if not self.direct:
            await sockets.send_all(sock, encode_ssl_request())
            if await sockets.receive_byte(sock) != _YES:
                if self.needed:
                    raise OSError("the server does not support TLS, which sslmode requires")
                return sock
        named = self.names_host or self.context.check_hostname
        secured = wrap(self.context, sock, server_side=False, name=host if named else None)
        try:
            await handshake(secured)
        except BaseException:
            secured.close()
            raise
        if self.direct and secured.selected_alpn_protocol() != ALPN:
            secured.close()
            raise OSError("the server does not know Postgres's protocol over direct TLS (ALPN)")
        return secured


def load_upstream_tls(given: Mapping[str, str]) -> UpstreamTls:
    """What the conninfo's parameters say; ConfigurationError when they cannot be followed."""
    mode = given.get("sslmode") or "prefer"
    direct = given.get("sslnegotiation") == "direct"
    root = given.get("sslrootcert") or ""
    if mode == "disable":
        return UpstreamTls()
    needed = mode not in ("allow", "prefer")
    if direct and not needed:
        raise ConfigurationError(
            f'weak sslmode "{mode}" in option --upstream cannot be used with sslnegotiation=direct'
        )
    if root == "system" and mode != "verify-full":
        raise ConfigurationError(
            f'weak sslmode "{mode}" in option --upstream cannot be used with sslrootcert=system'
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = TlsSocket
    context.set_alpn_protocols([ALPN])
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = _VERSIONS[given.get("ssl_min_protocol_version") or "TLSv1.2"]
    if given.get("ssl_max_protocol_version"):
        context.maximum_version = _VERSIONS[given["ssl_max_protocol_version"]]
    if needed:
        _verify(context, mode, root, given.get("sslcrl"))
    if given.get("sslcert"):
        _show(context, given["sslcert"], given.get("sslkey"), given.get("sslpassword"))
    return UpstreamTls(context, needed, direct, given.get("sslsni") != "0")


def _verify(context: ssl.SSLContext, mode: str, root: str, revoked: str | None) -> None:
    path = Path(root) if root else _DEFAULT_ROOT.expanduser()
    if root == "system":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    elif path.exists():
        _load(context, "sslrootcert", path)
    elif mode == "require":
        return
    else:
        raise ConfigurationError(
            f'root certificate file "{path}" of option --upstream does not exist',
            hint='Name the file with sslrootcert, use the system\'s trusted roots with "system",'
            " or change sslmode to disable server certificate verification.",
        )
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = mode == "verify-full"
    if revoked:
        _load(context, "sslcrl", Path(revoked))
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def _load(context: ssl.SSLContext, parameter: str, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise _unusable(parameter, path, error) from None


def _show(context: ssl.SSLContext, cert: str, key: str | None, password: str | None) -> None:
    try:
        context.load_cert_chain(cert, key or None, password=password or "")
    except OSError as error:
        raise _unusable("sslcert", Path(cert), error) from None


def _unusable(parameter: str, path: Path, error: OSError) -> ConfigurationError:
    why = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return ConfigurationError(
        f'could not use "{path}" of {parameter} in option --upstream:'
        f" {(why or str(error)).lower().replace('_', ' ')}"
    )
