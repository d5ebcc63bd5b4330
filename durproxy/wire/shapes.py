"""Packets like those before: the same headers at the same places need not be looked for again.

Applications send the same few statements for ever, so most packets consist of messages of the same
types and lengths as an earlier packet did. What was found out about that one by going from header
to header holds for the next as soon as all of its headers are found where they were: one C call
and a comparison instead of a walk. Nothing is guessed: a length counts to the byte, so a packet
that has these headers at these places consists of these messages and of nothing else.

A shape takes some microseconds to be learned, and packets whose shapes vary would pay that each
time: so of those that are not known only one of many is learned. Among shapes of equal length the
last one that was learned holds.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TypeAlias

from durproxy.errors import ProtocolViolation
from durproxy.wire.framing import Buffer, split_messages

_ONE_OF = 64  # packets of unknown shape is learned
_LONGEST = 1024  # bytes of a packet; the most shapes that are known, too
_MOST_MESSAGES = 32  # of a packet
_LENGTH_SIZE = 4  # bytes of a message's length, which counts itself

Header: TypeAlias = tuple[int, int]  # type and length

# What reads all headers at the shape's places, and what stands there: types and lengths, in turn.
Shape: TypeAlias = tuple[Callable[[Buffer], tuple[int, ...]], tuple[int, ...]]


class Shapes:
    """The known shapes of one kind of packet: whole messages, which ``suits`` approves."""

    __slots__ = ("_suits", "_unknown", "by_length")

    def __init__(self, suits: Callable[[list[Header]], bool]) -> None:
        self.by_length: dict[int, Shape] = {}
        self._suits = suits
        self._unknown = 0  # packets, so far

    def unknown(self, packet: memoryview) -> None:
        """This one had no known shape."""
        self._unknown += 1
        if self._unknown % _ONE_OF == 0:
            self.learn(packet)

    def learn(self, packet: memoryview) -> None:
        """Know the next packet of this shape, if it is one of the kind."""
        headers = _headers(packet) if len(packet) <= _LONGEST else []
        if not 0 < len(headers) <= _MOST_MESSAGES or not self._suits(headers):
            return
        layout = "".join(f"BI{length - _LENGTH_SIZE}x" for _, length in headers)
        numbers = tuple(number for header in headers for number in header)
        self.by_length[len(packet)] = Struct(">" + layout).unpack_from, numbers


def _headers(packet: memoryview) -> list[Header]:
    try:
        messages = split_messages(packet)
    except ProtocolViolation:
        return []
    return [(kind, len(body) + _LENGTH_SIZE) for kind, body in messages]
