"""An authority of the test session, and what it has signed, as files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """One with its key; ``bundle`` has both in one file."""

    cert: Path
    key: Path
    bundle: Path


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def write_authority(folder: Path, ca: trustme.CA | None = None) -> Path:
    path = folder / "root.pem"
    (ca or authority()).cert_pem.write_to_path(str(path))
    return path


def write_certificate(folder: Path, *names: str, ca: trustme.CA | None = None) -> Certificate:
    """For a server of these names, or a client."""
    issued = (ca or authority()).issue_cert(*names)
    made = Certificate(*(folder / f"{names[0]}.{end}" for end in ("crt", "key", "pem")))
    issued.cert_chain_pems[0].write_to_path(str(made.cert))
    issued.private_key_pem.write_to_path(str(made.key))
    issued.private_key_and_cert_chain_pem.write_to_path(str(made.bundle))
    for path in (made.key, made.bundle):
        path.chmod(0o600)
    return made
