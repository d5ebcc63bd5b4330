"""Every setting, its default, and where it may come from: command line, environment, file.

The command line wins over ``DURPROXY_*``, that over ``durproxy.toml``, that over the default.
A wrong value anywhere is a ConfigurationError that names the option, and so is a variable or a line
of the file that is no setting: a name with a slip in it would otherwise do nothing, silently.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from durproxy.config_file import read_file
from durproxy.config_tables import (
    HostPattern,
    HttpHost,
    HttpRule,
    Quota,
    Secret,
    SecretName,
    checked_proxy,
    parsed_table,
)
from durproxy.conninfo import checked_conninfo, checked_step_options, names_user
from durproxy.errors import ConfigurationError

_PREFIX = "DURPROXY_"
_FOR_TESTS = ("DURPROXY_TEST_", "DURPROXY_TRIGGER", "DURPROXY_RECORD_CASES")


def parse_address(text: str) -> tuple[str, int]:
    """HOST:PORT, [IPV6]:PORT, or :PORT for every address of this machine."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address needs brackets: [::1]:6432")
    return host, int(port)


def _checked_address(text: str) -> str:
    parse_address(text)
    return text


def _checked_address_or_off(text: str) -> str:
    return text if text == "off" else _checked_address(text)


def _words(value: object) -> object:
    """In the environment and in options: as a shell splits them, or a JSON list."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        return _listed(value)
    try:
        return tuple(shlex.split(value))
    except ValueError:
        raise ValueError("has a quote that does not end") from None


def _names(value: object) -> object:
    """In the environment and in options: names with commas between them, or a JSON list."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        return _listed(value)
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _listed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError("must be names with commas between them") from None


class Settings(BaseSettings):
    """What every process of one ``serve`` is told; made by ``load_settings``."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="forbid", allow_inf_nan=False
    )

    # the user's Postgres, as libpq takes it: a URI or name=value pairs; may hold a password
    upstream: Annotated[str, AfterValidator(checked_conninfo)] = Field(repr=False)
    listen: Annotated[str, AfterValidator(_checked_address)] = "127.0.0.1:6432"
    listen_socket: Path | None = None  # a folder: .s.PGSQL.PORT is made in it
    proxies: int = Field(default=1, ge=1, le=64)
    engines: int = Field(default=1, ge=0, le=64)
    web: Annotated[str, AfterValidator(_checked_address_or_off)] = "127.0.0.1:6433"
    allow_trust: bool = False  # let clients in where the upstream asks the proxy for no password
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info"] = "info"  # debug: a line for each instance, too
    runtime_dir: Path = Path(tempfile.gettempdir())  # serve makes its private folder in it
    notify: bool = True  # an idle engine is woken by NOTIFY; off for two-phase commit

    poll_interval: float = Field(default=5.0, gt=0)  # seconds; an idle engine looks by itself
    lease: float = Field(default=10.0, gt=0)  # seconds without a sign of life: dead
    claim_batch: int = Field(default=50, ge=1)
    max_held: int = Field(default=500, ge=1)  # instances in one engine's memory
    flush_each_step: bool = True  # off: steps that are sent together reach the disk together
    max_result_bytes: int = Field(default=20_000_000, ge=1, le=500_000_000)  # of one step's rows
    # an argv with {role}, {host}, {port} and {database}; prints a password
    password_command: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = Field(
        default=(), repr=False
    )
    password_command_ttl: float = Field(default=600.0, ge=0)  # seconds that it is kept
    password_command_timeout: float = Field(default=10.0, gt=0)  # seconds
    # libpq's name=value pairs for connections of steps, with {role} and {database}
    step_options: Annotated[str | None, AfterValidator(checked_step_options)] = Field(
        default=None, repr=False
    )
    step_identity: Literal["connect", "set_role"] = Field(default="connect", validate_default=True)
    set_aside_after: int = Field(default=5, ge=1)  # attempts that an instance spoilt alone
    max_user_connections: int = Field(default=10, ge=1)  # of one engine as one role
    max_new_transaction_starts: int = Field(default=2, ge=1)  # of one proxy, at a time
    new_transaction_start_timeout: float = Field(default=5.0, gt=0)  # seconds

    http_enabled: bool = True
    http_allow_private: bool = False  # also to this machine and its networks
    # names, or *.name; none: any host
    http_allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = ()
    http_plain: Literal["never", "private", "always"] = "private"  # where http: URLs may lead
    http_rules: Annotated[tuple[HttpRule, ...], NoDecode, BeforeValidator(parsed_table)] = ()
    http_hosts: Annotated[dict[HostPattern, HttpHost], NoDecode, BeforeValidator(parsed_table)] = (
        Field(default={})
    )
    http_ca: Path | None = None  # trusted beside the public authorities
    # http://USER:PASSWORD@HOST:PORT; the environment's is never used
    http_proxy: Annotated[str | None, AfterValidator(checked_proxy)] = Field(
        default=None, repr=False
    )
    http_proxy_resolves: bool = False  # the proxy is told names, and judges where they lead
    http_max_response_bytes: int = Field(default=10_000_000, ge=1)
    http_max_timeout: float = Field(default=300.0, gt=0)  # seconds, whatever the step asks for
    http_concurrency: int = Field(default=40, ge=1)  # calls of one engine at a time

    secrets: Annotated[dict[SecretName, Secret], NoDecode, BeforeValidator(parsed_table)] = Field(
        default={}, repr=False
    )
    quotas: Annotated[dict[str, Quota], NoDecode, BeforeValidator(parsed_table)] = Field(default={})

    retention_days: float = Field(default=30.0, ge=0, le=36_500)  # 0: no limit
    retention_instances: int = Field(default=10_000, ge=0, le=2**31 - 1)  # ended ones; 0: no limit
    retention_interval: float = Field(default=3600.0, gt=0)  # seconds; an idle engine looks
    audit_days: float = Field(default=90.0, ge=0, le=36_500)  # of df.audit; 0: no limit

    tls: Literal["allow", "require"] = "allow"  # for clients, once there is a certificate
    tls_cert: Path | None = None
    tls_key: Path | None = None  # where it is not in the same file
    tls_client_ca: Path | None = None  # clients need a certificate that this one has signed
    tls_min_version: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"
    auth_file: Path | None = None  # passwords, for logins that cannot pass through
    # roles that may use the console, if there is one
    admin_users: Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(_names)] = None
    max_connections: int = Field(default=0, ge=0)  # of clients to one proxy; 0: no limit
    max_role_connections: int = Field(default=0, ge=0)  # as one role
    drain_timeout: float = Field(default=30.0, ge=0)  # seconds from SIGTERM
    auth_timeout: float = Field(default=60.0, gt=0)
    max_startup_packet: int = Field(default=10_000, ge=8)  # bytes, as in Postgres
    enable_superuser_instances: bool = False

    @field_validator("step_identity")
    @classmethod
    def _users_log_in_as_themselves(cls, identity: str, info: ValidationInfo) -> str:
        if identity == "connect" and names_user(info.data.get("step_options")):
            raise ValueError("must be set_role where step_options name a user")
        return identity


def option_name(field: str) -> str:
    return "--" + field.replace("_", "-")


def load_settings(options: Mapping[str, object], config: Path | None = None) -> Settings:
    """The settings of this run; ``options`` are those given on the command line."""
    in_file = read_file(config)
    _refuse_unknown_variables()

    class Configured(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, in_file)

    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    try:
        return Configured(**given)
    except ValidationError as error:
        raise _configuration_error(error) from None


def received_settings(values: Mapping[str, Any]) -> Settings:
    """The settings that the supervisor sent to a child."""
    return Settings(**values)


def _refuse_unknown_variables() -> None:
    for name in sorted(os.environ):
        if not name.startswith(_PREFIX) or name.startswith(_FOR_TESTS):
            continue
        field = name.removeprefix(_PREFIX).lower()
        if field not in Settings.model_fields:
            raise _unknown(name, "environment", field, lambda close: _PREFIX + close.upper())


def _unknown(
    name: str, place: str, field: str, shown: Callable[[str], str] = str
) -> ConfigurationError:
    close = get_close_matches(field, Settings.model_fields, 1, cutoff=0.7)
    return ConfigurationError(
        f'unknown setting "{name}" in the {place}',
        hint=f'Perhaps you mean "{shown(close[0])}".' if close else None,
    )


def _configuration_error(error: ValidationError) -> ConfigurationError:
    errors = error.errors()
    # a name with a slip in it is the reason why another is missing
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return _unknown(field, "configuration file", field)
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return ConfigurationError(
            f"option {option_name(field)} is missing",
            hint=f"Give it on the command line, as DURPROXY_{field.upper()},"
            f' or as "{field}" in durproxy.toml.',
        )
    if field in _TABLES:
        place = ".".join(map(str, first["loc"]))
        return ConfigurationError(f'invalid setting "{place}": {_table_reason(first)}')
    value = "" if field in _WITH_PASSWORDS else f' "{first["input"]}"'
    reason = _reason(first["type"], first.get("ctx", {}), first["msg"])
    return ConfigurationError(f"invalid value{value} for option {option_name(field)}: {reason}")


_TABLES = frozenset(("http_rules", "http_hosts", "secrets", "quotas"))
_WITH_PASSWORDS = frozenset(("upstream", "http_proxy", "step_options"))


def _table_reason(error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "there is no such setting"
        case "missing":
            return "it is missing"
    return _reason(error["type"], error.get("ctx", {}), error["msg"])


def _reason(kind: str, limits: Mapping[str, Any], message: str) -> str:
    """What a value must be."""
    match kind:
        case "value_error":
            return message.removeprefix("Value error, ")
        case "greater_than_equal":
            return f"must be at least {limits['ge']:g}"
        case "greater_than":
            return f"must be greater than {limits['gt']:g}"
        case "less_than_equal":
            return f"must be at most {limits['le']:g}"
        case "literal_error":
            return f"must be {limits['expected'].replace(chr(39), '')}"
    return f"must be {_MUST_BE.get(kind.partition('_')[0], 'of another kind')}"


_MUST_BE = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "path": "a path",
    "string": "text",
    "tuple": "a list",
}
