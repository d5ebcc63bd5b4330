"""Rules of HTTP steps: which one decides, what a role without rules may do, and odd paths."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from durproxy.config_tables import HttpRule
from durproxy.engine.egress import EgressPolicy, EgressRefused
from tests.engine.test_egress import target


def rules(*given: dict[str, Any]) -> EgressPolicy:
    return EgressPolicy(rules=tuple(HttpRule(**{"action": "allow"} | rule) for rule in given))


def allowed(policy: EgressPolicy, url: str, method: str = "GET", role: str = "shop") -> bool:
    try:
        policy.judge(role, target(url, method))
    except EgressRefused:
        return False
    return True


def reaches(policy: EgressPolicy, url: str, address: str) -> bool:
    try:
        policy.judge("shop", target(url)).check_address("host", address)
    except EgressRefused:
        return False
    return True


def test_each_part_of_a_rule_narrows_it() -> None:
    policy = rules({
        "roles": ["shop"], "hosts": ["api.example", "*.cdn.example"], "ports": [443, 8443],
        "methods": ["GET"], "paths": ["/v1/*"],
    })  # fmt: skip
    assert allowed(policy, "https://api.example/v1/orders")
    assert allowed(policy, "https://a.cdn.example:8443/v1/")
    for url in (
        "https://api.example/v2/",
        "https://api.example/v1",
        "https://api.example:8080/v1/",
        "https://evil.example/v1/",
        "https://cdn.example/v1/",
        "http://api.example/v1/",  # https, unless the rule says http
    ):
        assert not allowed(policy, url)
    assert not allowed(policy, "https://api.example/v1/", "POST")


def test_the_first_rule_that_is_about_a_call_decides() -> None:
    policy = rules(
        {"action": "deny", "paths": ["/admin*"]},
        {"roles": ["shop"], "hosts": ["api.example"]},
        {"action": "deny", "roles": ["shop"]},
    )
    assert allowed(policy, "https://api.example/orders")
    assert not allowed(policy, "https://api.example/admin/users")
    assert not allowed(policy, "https://other.example/")
    # another role keeps the defaults, less what rules deny
    assert allowed(policy, "https://other.example/", role="lab")
    assert not allowed(policy, "https://other.example/admin", role="lab")
    closed = rules({"roles": ["shop"], "hosts": ["api.example"]}, {"action": "deny"})
    assert not allowed(closed, "https://api.example/", role="lab")


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/../admin", "/v1/%2e%2e/admin", "/v1/%2E%2e/admin", "/v1/..;/admin", "//admin"),
        *("/v1/..%2fadmin", "/v1/..\\admin", "/v1/%5c..%5cadmin", "/v1/%252e%252e/admin"),
        *("/%61dmin", "/ADMIN", "/Admin/", "/v1/.", "/v1/%00", "/v1%3b/x"),
    ],
)
def test_no_spelling_of_a_path_gets_past_a_rule(path: str) -> None:
    policy = rules({"action": "deny", "paths": ["/admin*"]}, {"paths": ["/v1/*"]})
    assert not allowed(policy, f"https://api.example{path}")
    assert allowed(policy, "https://api.example/v1/%C3%A9")


def test_a_rule_may_open_a_private_network_and_nothing_beside_it() -> None:
    policy = rules(
        {"hosts": ["stock.internal", "10.1.0.7"], "networks": ["10.1.0.0/16", "fd12::/16"]}
    )
    url = "https://stock.internal/"
    assert reaches(policy, url, "10.1.2.3")
    assert reaches(policy, url, "::ffff:10.1.2.3")
    assert reaches(policy, url, "fd12::1")
    assert reaches(policy, "https://10.1.0.7/", "10.1.0.7")
    for address in ("10.2.0.1", "8.8.8.8", "127.0.0.1", "169.254.169.254", "fd13::1"):
        assert not reaches(policy, url, address)
    everywhere = rules({"hosts": ["*"], "networks": ["0.0.0.0/0", "::/0"]})
    for address in ("169.254.169.254", "0.0.0.0", "224.0.0.1", "fe80::1%eth0", "fd00:ec2::254"):
        assert not reaches(everywhere, url, address)


def test_an_address_in_a_url_is_bare_also_where_a_rule_allows_any_host() -> None:
    assert not allowed(rules({"hosts": ["*"]}), "https://2130706433/")
    assert allowed(rules({"hosts": ["8.8.8.8"]}), "https://8.8.8.8/")


@pytest.mark.parametrize(
    ("plain", "public", "private"),
    [("never", False, False), ("private", False, True), ("always", True, True)],
)
def test_where_http_without_tls_may_lead(plain: Any, public: bool, private: bool) -> None:
    policy = EgressPolicy(allow_private=True, plain=plain)
    assert reaches(policy, "http://a.example/", "8.8.8.8") == public
    assert reaches(policy, "http://a.example/", "10.0.0.1") == private
    assert reaches(policy, "https://a.example/", "8.8.8.8")
    assert reaches(rules({"schemes": ["http"]}), "http://a.example/", "8.8.8.8")


@pytest.mark.parametrize(
    "rule",
    [
        {"hosts": ["a.*"]}, {"hosts": ["https://a.example"]}, {"hosts": ["ä.example"]},
        {"hosts": [""]}, {"ports": [0]}, {"methods": ["TRACE"]}, {"paths": ["v1"]},
        {"networks": ["10.0.0.1/8"]}, {"networks": ["localhost"]}, {"host": ["a"]},
        {"action": "ask"},
        {"action": "deny", "networks": ["10.0.0.0/8"]}, {"schemes": ["ftp"]}, {"roles": [""]},
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HttpRule(**{"action": "allow"} | rule)
