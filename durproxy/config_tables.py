"""The settings that are tables of ``durproxy.toml``: what HTTP steps may do, secrets, quotas.

In the environment and in options a table is its JSON.
"""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from durproxy.engine.hosts import plain_host

_HOST = re.compile(r"\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|[0-9a-f:.]*:[0-9a-f:.]*")

_PLACE = re.compile(r"header(?::[A-Za-z0-9!#$%&'*+.^_`|~-]+)?|query|body|path|url")


def _host_pattern(text: str) -> str:
    """A name, `*.name` for all names below it, `*` for any, or an address as URLs write it."""
    pattern = plain_host(text)
    if not _HOST.fullmatch(pattern):
        raise ValueError(
            f'"{text}" is not a host: it must be a name in ASCII, "*.name", "*" or an address'
        )
    return pattern


HostPattern = Annotated[str, AfterValidator(_host_pattern)]
Port = Annotated[int, Field(ge=1, le=65535)]
PathPattern = Annotated[str, StringConstraints(pattern=r"^/[\x21-\x7e]*$")]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Name = Annotated[str, StringConstraints(min_length=1)]


def parsed_table(value: object) -> object:
    """A table as the environment or an option writes it."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("must be JSON") from None


def checked_proxy(text: str | None) -> str | None:
    """The URL of a forward proxy."""
    if text is not None:
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be http://HOST:PORT or https://HOST:PORT")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("must have no path")
        _ = parts.port  # raises ValueError
    return text


class _Table(BaseModel):
    # what is wrong is named without its value: someone may have put a password there
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class HttpRule(_Table):
    """What calls of which roles it is about, and whether they may be made; empty: any."""

    action: Literal["allow", "deny"]
    roles: tuple[Name, ...] = ()
    schemes: tuple[Literal["http", "https"], ...] = ()  # of an allow: https, unless it says more
    hosts: tuple[HostPattern, ...] = ()
    ports: tuple[Port, ...] = ()
    methods: tuple[Method, ...] = ()
    paths: tuple[PathPattern, ...] = ()  # `*` is any text
    # an allow's: the only addresses that the host may have; they may be private
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @model_validator(mode="after")
    def _networks_are_allowed(self) -> Self:
        if self.networks and self.action == "deny":
            raise ValueError('only a rule that allows can have "networks"')
        return self


class HttpHost(_Table):
    """TLS to hosts of one pattern."""

    ca: Path | None = None  # instead of the public ones
    cert: Path | None = None  # shown to the server, for the roles that are named
    key: Path | None = None  # where it is not in the same file
    roles: tuple[Name, ...] = ()  # "*": all

    @model_validator(mode="after")
    def _certificate_is_somebodys(self) -> Self:
        if self.key is not None and self.cert is None:
            raise ValueError('"key" needs "cert"')
        if (self.cert is None) != (not self.roles):
            raise ValueError('"cert" and "roles" need each other')
        return self


def _place(text: str) -> str:
    if not _PLACE.fullmatch(text):
        raise ValueError(
            'a place of a secret is "header", "header:NAME", "query", "body", "path" or "url"'
        )
    return text.lower()


SecretPlace = Annotated[str, AfterValidator(_place)]


class Secret(_Table):
    """Where a secret comes from, who may use it, where it may be sent, and where it may stand."""

    env: Name | None = None
    file: Path | None = None
    command: tuple[Name, ...] | None = Field(default=None, min_length=1)
    roles: tuple[Name, ...] = Field(min_length=1)  # "*": all
    hosts: tuple[HostPattern, ...] = Field(min_length=1)
    places: tuple[SecretPlace, ...] = Field(default=("header",), min_length=1)
    plain_http: bool = False  # may be sent without encryption
    refresh: float = Field(default=300.0, gt=0, allow_inf_nan=False)  # seconds

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if [self.env, self.file, self.command].count(None) != 2:
            raise ValueError('it needs one of "env", "file" and "command"')
        return self


SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")]


class Quota(_Table):
    """What one role may use; None: no limit."""

    instances: int | None = Field(default=None, ge=0)  # that have not ended
    queued: int | None = Field(default=None, ge=0)  # that no engine has begun
    starts_per_minute: int | None = Field(default=None, ge=0)
    nodes: int | None = Field(default=None, ge=1)  # of one graph
    result_bytes: int | None = Field(default=None, ge=1)  # of one step
    http_per_minute: int | None = Field(default=None, ge=0)

    def over(self, default: Quota) -> Quota:
        """This quota, and of `default` what this one does not say."""
        return default.model_copy(update=self.model_dump(exclude_none=True))


EVERYONE = "*"  # the quota of roles for what their own does not say


def quota_of(quotas: dict[str, Quota], role: str) -> Quota:
    default = quotas.get(EVERYONE, Quota())
    own = quotas.get(role)
    return default if own is None else own.over(default)
