"""The same SQL bare and through the proxy gives the same bytes back, message by message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fix_serve import Visitor
from tests.parity.raw_client import (
    FLUSH,
    SYNC,
    Message,
    RawClient,
    bind,
    comparable,
    cstring,
    describe,
    execute,
    message,
    parse,
    query,
    read_corpus,
)

CORPUS = read_corpus((Path(__file__).parent / "corpus.sql").read_text())
COPY_DATA = b"1001\tcopied\n1002\tcopied too\n"

Conversation = Callable[[RawClient], list[tuple[str, list[Message]]]]


def simple(client: RawClient) -> list[tuple[str, list[Message]]]:
    said = []
    for title, text in CORPUS:
        client.send(query(text))
        said.append((title, comparable(client.until_ready(COPY_DATA))))
    return said


def extended(client: RawClient) -> list[tuple[str, list[Message]]]:
    """Each block as Parse, Describe, Bind, Describe, Execute, Sync."""
    said = []
    for title, text in CORPUS:
        cycle = parse(text), describe(b"S"), bind(), describe(b"P"), execute(), SYNC
        client.send(*cycle)
        said.append((title, comparable(client.until_ready(COPY_DATA, SYNC))))
    return said


def extended_binary(client: RawClient) -> list[tuple[str, list[Message]]]:
    """The same with named statements and binary results."""
    said = []
    for number, (title, text) in enumerate(CORPUS):
        name = f"s{number}"
        client.send(parse(text, name), SYNC)
        answers = comparable(client.until_ready())
        client.send(bind(name=name, binary=True), describe(b"P"), execute(), SYNC)
        answers += comparable(client.until_ready(COPY_DATA, SYNC))
        client.send(message(b"C", b"S" + cstring(name)), SYNC)
        said.append((title, answers + comparable(client.until_ready())))
    return said


def pipelined(client: RawClient) -> list[tuple[str, list[Message]]]:
    """All selects behind each other, without waiting for any answer; an error in the middle."""
    selects = [text for _, text in CORPUS if text.startswith("SELECT") and ";" not in text]
    cycles = [part for text in selects for part in (parse(text), bind(), execute(), SYNC)]
    client.send(*cycles)
    said = [(text, comparable(client.until_ready())) for text in selects]
    one_sync = [part for text in selects for part in (parse(text), bind(), execute())]
    client.send(*one_sync, SYNC)
    return [*said, ("one Sync", comparable(client.until_ready()))]


def suspended(client: RawClient) -> list[tuple[str, list[Message]]]:
    """A portal that is read in parts, answers fetched by Flush, parameters, a function call."""
    client.send(parse("SELECT generate_series(1, $1::int), $2::text"), FLUSH)
    said = [("parse", [client.receive()])]
    client.send(bind([b"5", None]), execute(2), execute(2), execute(2), SYNC)
    said.append(("parts", comparable(client.until_ready())))
    int4pl, binary = 177, b"\0\1"
    arguments = b"\0\2" + b"".join(b"\0\0\0\4" + value.to_bytes(4, "big") for value in (40, 2))
    call = int4pl.to_bytes(4, "big") + b"\0\1" + binary + arguments + binary
    client.send(message(b"F", call))
    said.append(("function call", comparable(client.until_ready())))
    client.send(query("COPY (SELECT 1) TO STDOUT; SELECT 2"), query("SELECT 3"))
    said.append(("copy", comparable(client.until_ready())))
    return [*said, ("next", comparable(client.until_ready()))]


@pytest.mark.parametrize(
    "conversation",
    [simple, extended, extended_binary, pipelined, suspended],
    ids=lambda conversation: str(conversation.__name__),
)
def test_same_bytes_bare_and_through_the_proxy(
    visitor: Visitor, conversation: Conversation
) -> None:
    visitor.database.psql(f"GRANT by_trust TO {visitor.role.name}", "postgres")
    bare = greeting_and_answers(visitor.database.postgres.port, visitor, conversation)
    proxied = greeting_and_answers(visitor.serve.port, visitor, conversation)
    for (title, expected), (_, actual) in zip(bare, proxied, strict=True):
        assert actual == expected, title


def greeting_and_answers(
    port: int, visitor: Visitor, conversation: Conversation
) -> list[tuple[str, list[Message]]]:
    with RawClient(port, visitor.role.name, visitor.database.name) as client:
        return [("greeting", comparable(client.greeting)), *conversation(client)]
