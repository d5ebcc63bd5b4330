"""Secrets that HTTP steps name as `{secret:name}`: fetched when they are used, kept in memory only.

A secret comes from the environment, a file or a command, and is fetched again when it is older than
its `refresh`, or when a server has answered 401 to it. If that does not succeed the old value is
used until it is twice that old: a store that is away for a moment stops nothing, one that has been
told to forget the secret does. After a failure it is left alone for some seconds. Nothing here says
a value: not in an error, not in a log line.

Whoever may use a secret may have stored it at one of its hosts, and asks for it there by a call
that does not name it. So what a role may use is known to all of its calls, as far as it has been
fetched, and what may be sent to a host is fetched for whatever call goes there.

An attempt to fetch a secret is nobody's: it goes on when the call that began it has ended, and all
who need the secret meanwhile wait for the same one. A call that names a secret waits to the end of
the attempt, another one for a moment from its beginning: then it goes without, and is searched for
what has come until its answer is complete.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from durproxy.config_tables import EVERYONE, Secret
from durproxy.engine.core.states import StepError
from durproxy.engine.hosts import any_matches
from durproxy.engine.redaction import SHORTEST, Trace
from durproxy.engine.threads import Threads
from durproxy.log import get_logger

_log = get_logger(__name__)

_FETCH_LIMIT = 15.0  # seconds
_PATIENCE = 1.0  # seconds from the beginning of an attempt, of a call that does not name the secret
_PAUSE = 5.0  # seconds after an attempt that failed
_MOST_BYTES = 65_536
_FORMER = 7  # values that a secret had before, and that are still kept out of sight
_TOO_NEW = 10.0  # seconds in which a 401 is not answered by fetching it again


class SecretUnavailable(Exception):
    """A step cannot have a secret; `error` says so without telling it."""

    def __init__(self, message: str, sqlstate: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.error = StepError(message, sqlstate, hint=hint)


class _NotFetched(Exception):
    """Why, in words that hold nothing of the value."""


class _Attempt:
    """One that is under way."""

    def __init__(self) -> None:
        self.since = trio.current_time()
        self.ended = trio.Event()


@dataclass(slots=True)
class _Kept:
    """The value is the newest of the traces; the others are what it was before."""

    traces: tuple[Trace, ...]
    since: float

    @property
    def trace(self) -> Trace:
        return self.traces[0]


class Secrets:
    """The configured secrets, as far as an engine has needed them."""

    def __init__(self, configured: Mapping[str, Secret]) -> None:
        self._configured = configured
        self._kept: dict[str, _Kept] = {}
        self._not_before: dict[str, float] = {}
        self._attempts: dict[str, _Attempt] = {}
        self._reading = Threads(1)  # of each file

    async def values_for(self, role: str, names: Iterable[str]) -> dict[str, Trace]:
        """The values of these. Raises SecretUnavailable."""
        return {name: await self._allowed(role, name) for name in dict.fromkeys(names)}

    def names_for(self, role: str, host: str) -> list[str]:
        """Those that the role may use and send there."""
        return [
            name
            for name, secret in self._configured.items()
            if _may_use(role, secret) and any_matches(host, secret.hosts)
        ]

    async def look_for(self, role: str, host: str) -> None:
        """Fetch these, too, as far as they can be: the host may have got them from another engine.

        One that cannot be fetched stops no call that does not name it: of the time that is left to
        the call this takes a half at most.
        """
        now = trio.current_time()
        latest = now + (trio.current_effective_deadline() - now) / 2
        attempts = filter(None, map(self._attempt, self.names_for(role, host)))
        for attempt in list(attempts):
            with trio.move_on_at(min(attempt.since + _PATIENCE, latest)):
                await attempt.ended.wait()

    def known_to(self, role: str) -> Iterator[Trace]:
        """What has been fetched of all that the role may use."""
        for name, kept in self._kept.items():
            if _may_use(role, self._configured[name]):
                yield from kept.traces

    def may_be_sent(self, name: str, scheme: str, host: str) -> bool:
        secret = self._configured[name]
        return (scheme == "https" or secret.plain_http) and any_matches(host, secret.hosts)

    def may_stand(self, name: str, place: str) -> bool:
        """`place`: header:NAME, body, path, query, or url where the URL begins with it."""
        places = self._configured[name].places
        return place in places or (place.startswith("header:") and "header" in places)

    def refused(self, names: Iterable[str]) -> None:
        """A server has not accepted them: they may have changed."""
        for name in names:
            kept = self._kept.get(name)
            if kept is not None and trio.current_time() - kept.since > _TOO_NEW:
                kept.since -= self._configured[name].refresh

    async def _allowed(self, role: str, name: str) -> Trace:
        secret = self._configured.get(name)
        # the same words for both: what there is, is not for everybody to know
        if secret is None or not _may_use(role, secret):
            raise SecretUnavailable(
                f'secret "{name}" does not exist, or role "{role}" may not use it',
                "42501",
                f'The table "secrets.{name}" of the configuration would have it, and its roles.',
            )
        trace = await self._trace(name)
        if trace is None:
            raise SecretUnavailable(
                f'secret "{name}" is not available', "58000", "The engine's log says why."
            )
        return trace

    def _is_due(self, name: str) -> bool:
        kept = self._kept.get(name)
        return kept is None or trio.current_time() - kept.since >= self._configured[name].refresh

    async def _trace(self, name: str) -> Trace | None:
        """The value, fetched when that is due; None when it cannot be had."""
        attempt = self._attempt(name)
        if attempt is not None:
            await attempt.ended.wait()
        kept, refresh = self._kept.get(name), self._configured[name].refresh
        if kept is None or trio.current_time() - kept.since >= 2 * refresh:
            return None
        return kept.trace

    def _attempt(self, name: str) -> _Attempt | None:
        """The one to fetch it that is under way, begun now where that is due."""
        may_begin = trio.current_time() >= self._not_before.get(name, 0.0)
        if name not in self._attempts and may_begin and self._is_due(name):
            self._attempts[name] = _Attempt()
            trio.lowlevel.spawn_system_task(self._renew, name)
        return self._attempts.get(name)

    async def _renew(self, name: str) -> None:
        """One attempt, to its end."""
        try:
            self._keep(name, _checked(await self._fetch(self._configured[name])))
        except Exception as failure:  # noqa: BLE001 — a defect, too, fails: it ends no engine
            reason = str(failure) if isinstance(failure, _NotFetched) else type(failure).__name__
            _log.warning("secret.not_fetched", secret=name, reason=reason)
            self._not_before[name] = trio.current_time() + _PAUSE
        finally:
            self._attempts.pop(name).ended.set()

    def _keep(self, name: str, value: str) -> None:
        kept = self._kept.setdefault(name, _Kept((), 0.0))
        kept.since = trio.current_time()
        if not kept.traces or kept.trace.value != value:
            kept.traces = (Trace(name, value), *kept.traces[:_FORMER])

    async def _fetch(self, secret: Secret) -> str:
        if secret.env is not None:
            value = os.environ.get(secret.env)
            if value is None:
                raise _NotFetched(f'variable "{secret.env}" is not set')
            return value
        try:
            with trio.fail_after(_FETCH_LIMIT):
                if secret.file is not None:
                    return _text(await self._reading.run(secret.file, _read, secret.file))
                assert secret.command is not None
                return _text(await _run(secret.command))
        except trio.TooSlowError:
            raise _NotFetched(f"it has not come in {_FETCH_LIMIT:g} s") from None


def _may_use(role: str, secret: Secret) -> bool:
    return bool({role, EVERYONE} & set(secret.roles))


def _checked(value: str) -> str:
    """The value without the line break at its end that files and commands have."""
    value = value.removesuffix("\n").removesuffix("\r")
    if len(value) < SHORTEST:
        raise _NotFetched(f"it is shorter than {SHORTEST} characters")
    if "\0" in value:
        raise _NotFetched("it has a NUL in it")
    try:
        value.encode()  # the environment may hold bytes that are no text
    except UnicodeEncodeError:
        raise _NotFetched("it is not UTF-8") from None
    return value


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _NotFetched(f'could not read "{path}": {error.strerror}') from None


async def _run(command: tuple[str, ...]) -> bytes:
    """What the command prints; what it complains of may hold anything, and goes nowhere."""
    try:
        done = await trio.run_process(
            command, capture_stdout=True, stderr=subprocess.DEVNULL, check=False
        )
    except OSError as error:
        raise _NotFetched(f'could not run "{command[0]}": {error.strerror}') from None
    if done.returncode != 0:
        raise _NotFetched(f'"{command[0]}" ended with exit code {done.returncode}')
    return done.stdout


def _text(content: bytes) -> str:
    if len(content) > _MOST_BYTES:
        raise _NotFetched(f"it is longer than {_MOST_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _NotFetched("it is not UTF-8") from None
