"""The errors that durproxy itself raises, and what each means for a retry.

    DurproxyError                 carries sqlstate, message, detail, hint
    ├── ConfigurationError        22023  a setting is wrong: stops the start, exit code 2
    ├── UpstreamUnreachable       08001  no server there: exit code 3 at start, retried later
    ├── ProtocolViolation         08P01  the peer broke the wire protocol: its connection closes
    ├── LanguageError             22023  a durable function that cannot run: refused at df.start
    └── LostHold                  WF0xx  the database refused a worker's write: look again
        ├── NotHeld               WF001  another worker, a cancel or the end took the instance
        ├── ScopeEnded            WF002  a race, loop round or wait around the step is over
        ├── FinishedBefore        WF003  the node already has its outcome
        └── InstancePaused        WF005  the step began after a pause

Messages follow Postgres's style: the primary line is lower-case without a full stop and
quotes the offending value; detail and hint are sentences.

The class ``WF`` is ours: the SQL standard leaves classes that begin with I to X or 5 to 9 to
implementations.
"""

from __future__ import annotations

from typing import ClassVar


class DurproxyError(Exception):
    """Base of every error of ours; ``str()`` is the primary message."""

    sqlstate: ClassVar[str] = "XX000"
    safe_to_retry: ClassVar[bool] = False

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint


class ConfigurationError(DurproxyError):
    """A setting is missing or wrong; the message names the option."""

    sqlstate = "22023"


class UpstreamUnreachable(DurproxyError):
    """No connection to the upstream Postgres could be made."""

    sqlstate = "08001"
    safe_to_retry = True


class ProtocolViolation(DurproxyError):
    """The peer sent bytes that the frontend/backend protocol does not allow."""

    sqlstate = "08P01"


class LanguageError(DurproxyError):
    """A durable function that cannot run as written; refused before anything happens.

    ``node`` is the preorder number of the offending node (root 1) when one is known.
    """

    sqlstate = "22023"

    def __init__(
        self,
        message: str,
        *,
        node: int | None = None,
        sqlstate: str | None = None,
        detail: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.node = node
        self.code = sqlstate or self.sqlstate


class LostHold(DurproxyError):
    """The database refused a worker's write; nothing of it was kept."""

    safe_to_retry = True


class NotHeld(LostHold):
    """The worker's claim on the instance is over: forget the instance."""

    sqlstate = "WF001"


class ScopeEnded(LostHold):
    """A scope around the write has been decided meanwhile: reload the instance."""

    sqlstate = "WF002"


class FinishedBefore(LostHold):
    """The node has an outcome already: reload the instance and adopt it."""

    sqlstate = "WF003"


class InstancePaused(LostHold):
    """The step began after its instance was paused: it waits for the next claim."""

    sqlstate = "WF005"
