"""The holes of an HTTP step's texts filled in: references, variables, secrets.

Which secrets stand where is kept, for the configuration to be asked: a place is header:NAME, body,
path, query, or url where a URL begins with the secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from durproxy.engine.core.actions import Environment
from durproxy.engine.core.bindings import ReferenceFailure, resolve
from durproxy.engine.core.http_config import Hole, holes
from durproxy.engine.core.references import Reference, Value

MOST_CHARACTERS = 50_000_000

_BOOL = "pg_catalog.bool"
_TEXT = "pg_catalog.text"

Write = Callable[[Hole, Value], str]
# where in the request something stands, by what stands before it in its text
Place = Callable[[str], str]


class Filler:
    """Fills the holes of texts; what stands in for a reference is up to `write`."""

    def __init__(
        self,
        variables: Mapping[str, str],
        environment: Environment,
        secrets: Mapping[str, str],
    ) -> None:
        self._variables = variables
        self._environment = environment
        self.secrets = secrets
        self.used: set[tuple[str, str]] = set()  # secrets and their places
        self._room = MOST_CHARACTERS

    def __call__(self, text: str, write: Write, place: Place, *, is_url: bool = False) -> str:
        done, filled = 0, ""
        for hole in holes(text, is_url=is_url):
            filled += text[done : hole.start]
            filled += self.stand_in(text, hole, write, place(filled))
            done = hole.end
        return filled + text[done:]

    def stand_in(self, text: str, hole: Hole, write: Write, place: str) -> str:
        """What comes in the place of one hole."""
        if hole.literal is not None:
            return hole.literal
        if hole.variable is not None:
            return self._counted(self._variables.get(hole.variable, text[hole.start : hole.end]))
        if hole.secret is not None:
            secret = self.secrets.get(hole.secret)
            if secret is None:  # a place that has none
                return text[hole.start : hole.end]
            self.used.add((hole.secret, place))
            return write(hole, Value(secret, _TEXT))
        assert hole.reference is not None
        return write(hole, self.value(hole.reference))

    def value(self, reference: Reference) -> Value:
        value = resolve(reference, self._environment)
        if isinstance(value, Value):
            self._counted(value.text or "")
            return value
        raise ReferenceFailure(f'"{reference}" stands for rows and cannot be used as text', "42601")

    def _counted(self, text: str) -> str:
        """A short configuration can name a long value many times."""
        self._room -= len(text)
        if self._room < 0:
            raise ReferenceFailure(
                f"the values of an HTTP request have more than {MOST_CHARACTERS} characters",
                "54000",
            )
        return text


def text_of(value: Value) -> str:
    if value.type == _BOOL and value.text is not None:
        return "true" if value.text.startswith("t") else "false"
    return value.text or ""


def always(place: str) -> Place:
    return lambda _: place


def place_in_url(before: str) -> str:
    if not before:
        return "url"
    if "?" in before or "#" in before:
        return "query"
    # what a URL says of a user is sent as that header; and no host can be a secret
    return "path" if "/" in before.partition("://")[2] else "header:authorization"
