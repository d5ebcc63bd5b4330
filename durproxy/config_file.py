"""The configuration file, ``durproxy.toml``, as values by name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from durproxy.errors import ConfigurationError

DEFAULT_FILE = Path("durproxy.toml")


def read_file(config: Path | None) -> dict[str, Any]:
    """What the file says; the default one may be missing."""
    path = config or DEFAULT_FILE
    try:
        text = path.read_text()
    except FileNotFoundError:
        if config is None:
            return {}
        raise ConfigurationError(f'file "{config}" of option --config does not exist') from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f'could not read "{path}" of option --config: {error}') from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f'"{path}" is not valid TOML: {error}') from None
    return {name.replace("-", "_"): value for name, value in values.items()}
