"""What a reload changes: nothing before all of it was found good.

| setting                                    | takes effect                                       |
|--------------------------------------------|----------------------------------------------------|
| what proxies are told of logins and limits | for new connections, at once                       |
| the upstream                               | so, too; engines and the web port start anew       |
| where we listen, how many processes, logs  | at the next start                                  |
| everything else                            | engines and the web port start anew, one at a time |

The next start may be one that takes over (``handover``).
"""

from __future__ import annotations

from dataclasses import dataclass

from durproxy.config import Settings

_AT_ONCE = frozenset(
    (
        "admin_users",
        "allow_trust",
        "auth_file",
        "auth_timeout",
        "max_connections",
        "max_role_connections",
        "max_startup_packet",
        "tls",
        "tls_cert",
        "tls_client_ca",
        "tls_key",
        "tls_min_version",
    )
)
_AT_START = frozenset(
    (
        "engines",
        "listen",
        "listen_socket",
        "log_format",
        "log_level",
        "proxies",
        "runtime_dir",
        "web",
    )
)

START_NEEDED = "A serve that is started with --takeover follows them without a gap."


@dataclass(frozen=True, slots=True)
class Change:
    """From the settings of this run to others."""

    settings: Settings  # to be followed from now on
    later: tuple[str, ...]  # names of those that wait for the next start
    restarts: bool  # whether the engines have to begin anew


def is_followed(name: str) -> bool:
    """Whether a reload changes this setting."""
    return name not in _AT_START


def change(old: Settings, new: Settings) -> Change:
    """What becomes of the new settings while ``serve`` runs."""
    names = [name for name in Settings.model_fields if getattr(old, name) != getattr(new, name)]
    # the folder of this run is one of our own in the one that was given
    later = tuple(name for name in names if name in _AT_START and name != "runtime_dir")
    kept = {name: getattr(old, name) for name in _AT_START}
    restarts = any(name not in _AT_ONCE | _AT_START for name in names)
    return Change(new.model_copy(update=kept), later, restarts)
