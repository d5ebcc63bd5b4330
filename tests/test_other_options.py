"""Every setting is an option of ``serve``, whether its help lists it or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from durproxy.config import load_settings
from durproxy.errors import ConfigurationError
from durproxy.other_options import parse_others


def test_settings_by_their_options() -> None:
    options = parse_others(
        ["--max-held", "7", "--tls-cert=/a=b.pem", "--notify", "off", "--admin-users", "a,b"]
    )
    settings = load_settings(options | {"upstream": "host=x"}, Path("/dev/null"))
    assert settings.max_held == 7
    assert settings.tls_cert == Path("/a=b.pem")
    assert settings.notify is False
    assert settings.admin_users == ("a", "b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-hold", "7"], 'unknown option "--max-hold"'),
        (["stray"], 'unknown option "stray"'),
        (["--max-held"], "option --max-held needs a value"),
    ],
)
def test_what_is_no_setting_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_others(arguments)


def test_a_wrong_value_is_named() -> None:
    with pytest.raises(ConfigurationError, match='"none" for option --max-held'):
        load_settings(parse_others(["--max-held=none"]) | {"upstream": "host=x"}, Path("/dev/null"))
