"""Settings: who wins, and that a wrong one names its option."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from durproxy.config import Settings, load_settings, parse_address, received_settings
from durproxy.conninfo import without_secrets
from durproxy.errors import ConfigurationError

UPSTREAM = "host=db.example dbname=shop"


@pytest.fixture(autouse=True)
def clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DURPROXY_{name.upper()}", raising=False)


def complaint(options: dict[str, object], config: Path | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(options, config)
    return caught.value.message


def test_command_line_wins_over_environment_over_file_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "durproxy.toml").write_text(
        f'upstream = "{UPSTREAM}"\nproxies = 2\nengines = 2\nlease = 2\n'
    )
    monkeypatch.setenv("DURPROXY_PROXIES", "3")
    monkeypatch.setenv("DURPROXY_ENGINES", "3")
    settings = load_settings({"proxies": 4, "engines": None})
    assert (settings.proxies, settings.engines, settings.lease) == (4, 3, 2)
    assert settings.listen == "127.0.0.1:6432"


def test_file_is_chosen_by_option(tmp_path: Path) -> None:
    config = tmp_path / "other.toml"
    config.write_text(f'upstream = "{UPSTREAM}"\ndrain-timeout = 1.5')
    assert load_settings({}, config).drain_timeout == 1.5


def test_a_child_receives_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings({"upstream": UPSTREAM, "listen_socket": "/run/x", "engines": 0})
    sent = settings.model_dump(mode="json")
    monkeypatch.setenv("DURPROXY_ENGINES", "7")  # the supervisor has decided
    assert received_settings(sent).model_dump() == settings.model_dump()


def test_missing_upstream_is_named() -> None:
    assert complaint({}) == "option --upstream is missing"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("listen", "6432"),
        ("listen", "localhost:port"),
        ("listen", "::1:6432"),
        ("listen", "localhost:65536"),
        ("web", "on"),
        ("proxies", 0),
        ("engines", -1),
        ("engines", "many"),
        ("log_format", "xml"),
        ("drain_timeout", -1),
    ],
)
def test_wrong_value_names_option_and_value(option: str, value: object) -> None:
    message = complaint({"upstream": UPSTREAM, option: value})
    assert f'invalid value "{value}" for option --{option.replace("_", "-")}' in message


@pytest.mark.parametrize(
    "upstream",
    [
        *("", "postgres//app:hunter2@db/shop", "host=db password=hunter2 'x", "nonsense"),
        *("host=db port=x password=hunter2", "host=db connect_timeout=x", "host=a,b port=1,x"),
    ],
)
def test_wrong_upstream_is_named_without_its_password(upstream: str) -> None:
    message = complaint({"upstream": upstream})
    assert "for option --upstream" in message
    assert "hunter2" not in message


def test_unknown_setting_in_file_is_named(tmp_path: Path) -> None:
    config = tmp_path / "durproxy.toml"
    config.write_text(f'upstream = "{UPSTREAM}"\nengine = 2')
    assert complaint({}) == 'unknown setting "engine" in the configuration file'


@pytest.mark.parametrize(
    ("name", "hint"),
    [("DURPROXY_ENGINE", 'Perhaps you mean "DURPROXY_ENGINES".'), ("DURPROXY_XYZ", None)],
)
def test_unknown_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, hint: str | None
) -> None:
    monkeypatch.setenv(name, "2")
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"upstream": UPSTREAM})
    assert caught.value.message == f'unknown setting "{name}" in the environment'
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("proxies", "two", "must be a whole number"),
        ("proxies", 1.5, "must be a whole number"),
        ("proxies", 65, "must be at most 64"),
        ("engines", -1, "must be at least 0"),
        ("lease", 0, "must be greater than 0"),
        ("lease", "long", "must be a number"),
        ("lease", "inf", "must be a finite number"),
        ("notify", "perhaps", "must be true or false"),
        ("log_format", "xml", "must be json or console"),
        ("listen", "here", "must be HOST:PORT"),
        ("retention_instances", -1, "must be at least 0"),
        ("retention_days", "nan", "must be a finite number"),
        ("runtime_dir", 7, "must be a path"),
    ],
)
def test_what_a_value_must_be_is_said(option: str, value: object, reason: str) -> None:
    assert complaint({"upstream": UPSTREAM, option: value}) == (
        f'invalid value "{value}" for option --{option.replace("_", "-")}: {reason}'
    )


@pytest.mark.parametrize("written", ["ann, ben", '["ann", "ben"]', ["ann", "ben"]])
def test_roles_are_a_list_however_they_are_written(written: object) -> None:
    assert load_settings({"upstream": UPSTREAM, "admin_users": written}).admin_users == (
        "ann",
        "ben",
    )


def test_a_list_that_cannot_be_is_named() -> None:
    told = complaint({"upstream": UPSTREAM, "admin_users": '["ann'})
    assert told.endswith("for option --admin-users: must be names with commas between them")


def test_hosts_are_a_list_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURPROXY_HTTP_ALLOWED_HOSTS", "a.example, *.b.example")
    settings = load_settings({"upstream": UPSTREAM})
    assert settings.http_allowed_hosts == ("a.example", "*.b.example")
    received = received_settings(settings.model_dump(mode="json"))
    assert received.http_allowed_hosts == settings.http_allowed_hosts


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert str(missing) in complaint({"upstream": UPSTREAM}, missing)
    broken = tmp_path / "broken.toml"
    broken.write_text("upstream = ")
    assert "is not valid TOML" in complaint({}, broken)


def test_password_is_not_in_the_repr() -> None:
    assert "hunter2" not in repr(load_settings({"upstream": "host=db password=hunter2"}))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:6432", ("127.0.0.1", 6432)),
        ("[::1]:0", ("::1", 0)),
        (":5432", ("", 5432)),
        ("db.example:1", ("db.example", 1)),
    ],
)
def test_address(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


def test_every_setting_is_documented_with_its_default() -> None:
    text = (Path(__file__).parent.parent / "docs" / "settings.md").read_text()
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
    documented = {name.strip(" `"): default.strip(" `") for name, default in rows}
    assert documented == {
        name: _shown(name, field.default) for name, field in Settings.model_fields.items()
    }


def test_the_tables_of_the_documentation_are_right(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "settings.md").read_text()
    config = tmp_path / "all.toml"
    config.write_text("\n".join(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)))
    settings = load_settings({"upstream": UPSTREAM}, config)
    assert [rule.action for rule in settings.http_rules] == ["deny", "allow", "allow"]
    assert list(settings.secrets) == ["stripe", "hook", "vault"]
    assert settings.quotas["shop"].over(settings.quotas["*"]).queued == 500
    received = received_settings(json.loads(settings.model_dump_json()))
    assert received.model_dump() == settings.model_dump()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('[secrets.a]\nvalue = "hunter2hunter2"', 'invalid setting "secrets.a.value": there is no'),
        (
            '[secrets.a]\nenv = "A"\nhosts = ["b"]',
            'invalid setting "secrets.a.roles": it is missing',
        ),
        (
            '[secrets.a]\nroles = ["x"]\nhosts = ["b"]',
            'it needs one of "env", "file" and "command"',
        ),
        ('[secrets."a b"]\nenv = "A"', 'invalid setting "secrets.a b.'),
        (
            "[quotas.shop]\ninstances = -1",
            'invalid setting "quotas.shop.instances": must be at least 0',
        ),
        ("[[http_rules]]\naction = 'ask'", "must be allow or deny"),
        ("[http_hosts.'a.b']\nkey = 'x'", '"key" needs "cert"'),
        ("http_proxy = 'socks5://u:hunter2@p:1'", "--http-proxy: must be http://HOST:PORT"),
        ("secrets = 7", 'invalid setting "secrets"'),
    ],
)
def test_what_is_wrong_in_a_table_is_named_without_its_value(
    tmp_path: Path, table: str, message: str
) -> None:
    (tmp_path / "durproxy.toml").write_text(table)
    told = complaint({"upstream": UPSTREAM})
    assert message in told
    assert "hunter2" not in told


def test_a_table_in_the_environment_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURPROXY_QUOTAS", '{"shop": {"nodes": 5}}')
    assert load_settings({"upstream": UPSTREAM}).quotas["shop"].nodes == 5
    monkeypatch.setenv("DURPROXY_QUOTAS", "shop=5")
    assert complaint({"upstream": UPSTREAM}) == 'invalid setting "quotas": must be JSON'


def _shown(name: str, default: object) -> str:
    if name == "runtime_dir":
        return "the system's temporary folder"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    if default == ():
        return "any" if name == "http_allowed_hosts" else "none"
    return str(default) if isinstance(default, int | str) else "none"


def test_what_is_shown_of_a_dsn_lets_nobody_in() -> None:
    secrets = "password sslpassword scram_client_key scram_server_key"
    if b"oauth_client_secret" in {option.keyword for option in pq.Conninfo.get_defaults()}:
        secrets += " oauth_client_secret"
    given = "".join(f" {name}='not to be seen'" for name in secrets.split())
    shown = conninfo_to_dict(without_secrets(f"host=db user=me sslkey=/my.key{given}"))
    hidden = dict.fromkeys(secrets.split(), "***")
    assert shown == {"host": "db", "user": "me", "sslkey": "/my.key", **hidden}


def test_commands_that_may_hold_a_token_are_not_shown() -> None:
    settings = Settings(upstream="dbname=x", password_command=("vault", "--token=secret"))
    assert "secret" not in repr(settings)
