"""A released version as it is kept: its migrations' checksums, its wheel, and work in flight.

The dump is of the home schema and of the users' tables, made while the engine was stopped in the
midst of its work. Names of roles and of the database stand in it as placeholders.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fix_postgres import Database, Role

RELEASES = Path(__file__).parent / "releases"
_DATABASE, _OWNER, _USER = "durproxy_database", "durproxy_owner", "durproxy_user"
# of newer servers and clients, which older ones do not know
_NOT_PORTABLE = re.compile(r"^(SET transaction_timeout|\\(un)?restrict\b).*\n", re.MULTILINE)


@dataclass(frozen=True)
class Release:
    """The folder of one release."""

    folder: Path

    @property
    def version(self) -> str:
        return self.folder.name

    @property
    def wheel(self) -> Path:
        [wheel] = self.folder.glob("*.whl")
        return wheel

    @property
    def migrations(self) -> dict[str, str]:
        """SHA-256 of each migration by its name."""
        return dict(self._facts["migrations"])

    @property
    def flights(self) -> list[dict[str, Any]]:
        """What is in flight, and how it ends."""
        return list(self._facts["flights"])

    def restore(self, database: Database) -> Role:
        """Bring the database into the state that the release left; who started what is in it."""
        user = database.add_role()
        dump = gzip.decompress((self.folder / "home.sql.gz").read_bytes()).decode()
        names = {_DATABASE: database.name, _OWNER: database.owner.name, _USER: user.name}
        database.psql(_renamed(dump, names))
        # the database itself, in which engines go on, and not a copy of it
        database.psql(
            "DO $$ BEGIN IF to_regclass('df._identity') IS NOT NULL"
            " THEN EXECUTE 'DELETE FROM df._identity'; END IF; END $$"
        )
        return user

    def keep(self, dump: str, database: Database, user: Role, facts: Mapping[str, Any]) -> None:
        """Write the dump, with placeholders for names, and the facts."""
        names = {database.name: _DATABASE, database.owner.name: _OWNER, user.name: _USER}
        portable = _NOT_PORTABLE.sub("", _renamed(dump, names))
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "home.sql.gz").write_bytes(gzip.compress(portable.encode(), mtime=0))
        (self.folder / "release.json").write_text(json.dumps(facts, indent=1) + "\n")

    @property
    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / "release.json").read_text())
        return facts


def releases() -> list[Release]:
    """All that are kept, oldest first."""
    folders = [folder for folder in RELEASES.iterdir() if folder.is_dir()]
    return [
        Release(folder)
        for folder in sorted(folders, key=lambda f: [int(n) for n in f.name.split(".")])
    ]


def _renamed(text: str, names: Mapping[str, str]) -> str:
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    return pattern.sub(lambda match: names[match[1]], text)
