"""What hostile clients and servers say: valid messages, and each thing that can be wrong with one.

Everything comes from a seeded ``Random``, so that a round can be repeated.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from durproxy.wire import backend
from durproxy.wire.framing import encode_message
from durproxy.wire.frontend import NO_PARAMETER_TYPES, SYNC, Bind, Close, Describe, Parse, Query
from durproxy.wire.startup import (
    PROTOCOL_3_0,
    PROTOCOL_3_2,
    CancelRequest,
    StartupMessage,
    encode_cancel,
    encode_gssenc_request,
    encode_ssl_request,
    encode_startup,
)
from tests.relay.peers import login_replies, ready

LENGTHS = (0, 1, 3, 4, 5, 7, 8, 0xFFFF, 0x3FFFFFFF, 0x40000003, 0x7FFFFFFF, 0xFFFFFFFF)
STATEMENTS = (
    b"SELECT 1",
    b"",
    b"SELECT df.start('a' ~> 'b')",
    b"SELECT df.await_instance('deadbeef', 1)",
    b"SELECT df.start(" + b"(" * 500 + b"'a'" + b")" * 500 + b")",
    b"DO $$ BEGIN PERFORM df.start('a' ~> 'b'); END $$",
    b"SELECT df.start('\xff\xfe' ~> 'b')",
    b"SELECT '" + b"x" * 70_000 + b"', df.version()",
)


ADMINISTRATOR = "ann"  # may use the console


class Hostile(Random):
    """One that means harm."""

    def bytes_of(self, most: int) -> bytes:
        return self.randbytes(self.randint(0, most))

    def cut(self, data: bytes) -> bytes:
        return data[: self.randint(0, len(data))]

    def flipped(self, data: bytes) -> bytes:
        """With a few other bytes in it."""
        changed = bytearray(data)
        for _ in range(self.randint(1, 4)):
            if changed:
                changed[self.randrange(len(changed))] = self.choice((0, 1, 0x7F, 0xFF, 0x80))
        return bytes(changed)

    def pieces(self, data: bytes) -> list[bytes]:
        """The data as it may arrive."""
        if self.random() < 0.5 or len(data) > 10_000:
            return [data]
        cuts = sorted(self.randint(0, len(data)) for _ in range(self.randint(1, 4)))
        return [
            data[start:end]
            for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
            if start < end
        ]

    # -- of clients

    def startup(self) -> bytes:
        """The first bytes of a connection."""
        names = {
            "user": self.choice(("evil", "", "e" * 9000, "é\udcff", ADMINISTRATOR)),
            "database": self.choice(("d", "durproxy", "\udcff")),
        }
        if self.random() < 0.3:
            names[self.choice(("replication", "_pq_.x", "client_encoding", "options"))] = "x"
        version = self.choice((PROTOCOL_3_0, PROTOCOL_3_2, 3 << 16 | 9999, 2 << 16, 4 << 16, 0))
        valid = encode_startup(StartupMessage(version, names))
        makers: list[Callable[[], bytes]] = [
            lambda: encode_startup(StartupMessage(PROTOCOL_3_0, {"user": "evil"})),
            lambda: valid,
            lambda: self.flipped(valid),
            lambda: self.cut(valid),
            lambda: struct.pack(">II", self.choice(LENGTHS), PROTOCOL_3_0) + b"user\0evil\0\0",
            lambda: encode_cancel(CancelRequest(4711, self.bytes_of(300))),
            lambda: (encode_ssl_request() + encode_gssenc_request()) * self.randint(1, 5) + valid,
            lambda: b"\x16\x03\x01" + self.bytes_of(50),
            lambda: self.bytes_of(100),
        ]
        return self.choice(makers)()

    def client_message(self) -> bytes:
        """Of a session, or an answer to a question of the login."""
        text = self.choice(STATEMENTS)
        name = self.choice((b"", b"s", b"s" * 1000))
        values = (self.bytes_of(9),)
        makers: list[Callable[[], bytes]] = [
            lambda: Query(text).encode(),
            lambda: Parse(name, text, NO_PARAMETER_TYPES).encode(),
            lambda: Bind(b"", name, (), values, ()).encode(),
            lambda: Describe(ord("S"), name).encode(),
            lambda: Close(ord("P"), name).encode(),
            lambda: encode_message(SYNC, b""),
            lambda: encode_message(ord("p"), self.choice((b"", b"secret\0", b"n,,n=,r=x" * 999))),
            lambda: encode_message(self.choice(b"EHFXcdfQPBDC"), self.bytes_of(40)),
            lambda: struct.pack(">BI", self.choice(b"QPBDECSdcfX"), self.choice(LENGTHS)),
            lambda: self.flipped(Parse(name, text, NO_PARAMETER_TYPES).encode()),
            lambda: self.bytes_of(30),
        ]
        return self.choice(makers)()

    # -- of servers

    def report(self) -> bytes:
        """An error or notice, most of them with something amiss."""
        kind = self.choice(b"EN")
        fields = self.choice(
            (
                b"\0",
                b"",
                b"Mwithout a code\0\0",
                b"C42601\0Mno end\0",
                b"C42601",
                b"SERROR\0C\0M\0\0",
                b"C42601\0P-1\0\0",
                b"C42601\0P99999999999999999999\0\0",
                b"C42601\0Pabc\0\0",
                b"C00000\0Mdurproxy\0D" + b'{"n":1}' * 20 + b"\0\0",
                b"M" + b"x" * 100_000 + b"\0\0",
                self.bytes_of(50),
            )
        )
        return encode_message(kind, fields)

    def authentication(self) -> bytes:
        """A question, or an answer, of the login."""
        code = self.choice((0, 3, 5, 7, 8, 9, 10, 11, 12, 99, 0xFFFFFFFF))
        rest = self.choice(
            (b"", b"salt", b"SCRAM-SHA-256\0\0", b"SCRAM-SHA-256", b"\0", b"X" * 70_000,
             b"r=" + b"x" * 50_000 + b",s=,i=99999999999")
        )  # fmt: skip
        return encode_message(ord("R"), struct.pack(">I", code) + rest)

    def server_message(self) -> bytes:
        """Of a login or of a session."""
        makers: list[Callable[[], bytes]] = [
            self.report,
            self.report,
            self.authentication,
            lambda: encode_message(ord("S"), self.choice((b"a\0b\0", b"a", b"", b"\0\0"))),
            lambda: encode_message(ord("K"), self.bytes_of(300)),
            lambda: encode_message(ord("v"), self.bytes_of(12)),
            lambda: ready(self.choice((b"I", b"T", b"E", b"", b"?", b"II"))),
            lambda: encode_message(self.choice(b"123tTnDCIsVGHWdcA"), self.bytes_of(40)),
            lambda: encode_message(ord("D"), b"\0" * 200_000),
            lambda: struct.pack(">BI", self.choice(b"ZENSDR"), self.choice(LENGTHS)),
            lambda: self.bytes_of(30),
        ]
        return self.choice(makers)()

    def server_login(self) -> bytes:
        """Up to where it goes wrong, or whole."""
        good = login_replies()
        asked = backend.encode_authentication(3)
        return self.choice((good, good, good, self.cut(good), self.flipped(good), asked, b""))
