"""What clients are offered: our certificate, whether they must use it, whether they need their own.

Loaded as a whole, at the start and at each reload: a certificate that cannot be used is an error
then, and the one before stays.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from scramp.core import CBindData
from scramp.utils import ScramException

from durproxy.config import Settings, option_name
from durproxy.errors import ConfigurationError
from durproxy.proxy.tls import ALPN, TlsSocket

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS as clients get it."""

    context: ssl.SSLContext
    required: bool
    certificate: bytes  # ours, as DER

    @property
    def binding(self) -> bytes | None:
        """What a client's proof can be bound to (tls-server-end-point); None if to nothing."""
        try:
            return bytes(CBindData.from_der(self.certificate))
        except ScramException:  # a signature without a hash of its own: RFC 5929 leaves it open
            return None


def load_client_tls(settings: Settings) -> ClientTls | None:
    """What the settings say, or None without a certificate; ConfigurationError names the option."""
    if settings.tls_cert is None:
        for name in ("tls_key", "tls_client_ca"):
            if getattr(settings, name) is not None:
                raise ConfigurationError(f"option {option_name(name)} needs option --tls-cert")
        if settings.tls == "require":
            raise ConfigurationError('value "require" of option --tls needs option --tls-cert')
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = TlsSocket
    context.minimum_version = _VERSIONS[settings.tls_min_version]
    context.set_alpn_protocols([ALPN])
    key = settings.tls_key or settings.tls_cert
    try:
        context.load_cert_chain(settings.tls_cert, key, password=_no_password)
    except (OSError, ValueError) as error:
        if settings.tls_key is None and _lacks_key(settings.tls_cert):
            raise ConfigurationError(
                f'"{key}" of option --tls-cert holds no private key',
                hint="Give the file that holds it with option --tls-key.",
            ) from None
        raise _unusable("tls_cert" if key == settings.tls_cert else "tls_key", key, error) from None
    if settings.tls_client_ca is not None:
        try:
            context.load_verify_locations(settings.tls_client_ca)
        except OSError as error:
            raise _unusable("tls_client_ca", settings.tls_client_ca, error) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return ClientTls(context, settings.tls == "require", _first_certificate(settings.tls_cert))


def _first_certificate(path: Path) -> bytes:
    text = path.read_text()
    begin, end = text.index(ssl.PEM_HEADER), text.index(ssl.PEM_FOOTER)
    return ssl.PEM_cert_to_DER_cert(text[begin : end + len(ssl.PEM_FOOTER)])


def _lacks_key(path: Path) -> bool:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        return False
    return ssl.PEM_HEADER in text and "PRIVATE KEY-----" not in text


def _no_password() -> str:
    raise ValueError("it is encrypted, and nobody is here to be asked")


def _unusable(field: str, path: Path, error: Exception) -> ConfigurationError:
    why = str(error)
    if isinstance(error, ssl.SSLError):
        why = (error.reason or why).lower().replace("_", " ")
    elif isinstance(error, OSError):
        why = (error.strerror or why).lower()
    return ConfigurationError(f'could not use "{path}" of option {option_name(field)}: {why}')
