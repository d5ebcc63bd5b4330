"""A notice by which a function of the home schema asks the proxy to act: read, and verified.

Anybody can raise a notice that looks like one. What tells the real one is its signature, made
with a secret that only the home schema's owner can read, over everything that matters: which
request, of which backend, until when, in whose name, to do what.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import Final

from durproxy.errors import ProtocolViolation
from durproxy.wire.backend import NoticeResponse
from durproxy.wire.framing import Buffer

LONGEST: Final = 1024 * 1024  # bytes of such a notice; the home schema's own limit is below

_MARK: Final = b"\0CWF020\0"  # how its SQLSTATE stands among the fields
_SIGNED: Final = re.compile(
    r"(\d{1,19}) (\d{1,10}) (\d{1,19}) (\d{1,10}) ([a-z]+) ([\w+/=]+)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Request:
    """Something to be done outside the transaction that asks for it."""

    signed: str
    signature: str
    number: int  # greater than those of all earlier requests
    process_id: int  # of the backend
    deadline: str  # the server's clock in microseconds since 1970
    role: str  # the oid of the role that asks
    verb: str
    payload: str  # the order, for the home schema to read

    def is_signed_with(self, secret: str) -> bool:
        inner = hashlib.sha256((secret + self.signed).encode()).hexdigest()
        outer = hashlib.sha256((secret + inner).encode()).hexdigest()
        return hmac.compare_digest(outer.encode(), self.signature.encode("utf-8", "replace"))


def maybe_request(body: Buffer) -> Request | None:
    """The request in a NoticeResponse, if it has the form of one."""
    copied = bytes(body)
    if _MARK not in copied:
        return None
    try:
        detail = NoticeResponse.parse(copied).get("D")
        fields = json.loads(detail) if detail is not None else None
    except (ProtocolViolation, ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    signed, signature = fields.get("request"), fields.get("signature")
    if not isinstance(signed, str) or not isinstance(signature, str):
        return None
    found = _SIGNED.fullmatch(signed)
    if found is None:
        return None
    number, process_id, deadline, role, verb, payload = found.groups()
    return Request(signed, signature, int(number), int(process_id), deadline, role, verb, payload)
