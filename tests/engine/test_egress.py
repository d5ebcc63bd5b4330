"""Where HTTP steps may go."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durproxy.engine.egress import EgressPolicy, EgressRefused
from durproxy.engine.egress_rules import Target

DEFAULT = EgressPolicy()
PRIVATE = EgressPolicy(allow_private=True)

NEVER = [
    "0.0.0.0", "169.254.169.254", "169.254.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "168.63.129.16", "100.100.100.200", "192.0.0.8", "192.88.99.1", "192.0.2.1",
    "198.18.0.1", "198.51.100.7", "203.0.113.9", "::", "fe80::1", "fe80::1%eth0", "ff02::1",
    "fec0::1", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42",
    "2002:7f00:1::", "2002:808:808::", "2001::1", "2001:db8::1",
    "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "::127.0.0.1", "100::1",
]  # fmt: skip
AT_HOME = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "100.64.0.1", "100.127.255.255", "::1", "fc00::1", "fdff::1",
    "::ffff:127.0.0.1", "::ffff:10.1.2.3", "64:ff9b::7f00:1",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8", "1.1.1.1", "172.32.0.1", "172.15.0.1", "100.63.0.1", "100.128.0.1", "11.0.0.1",
    "169.253.0.1", "192.167.0.1", "2606:4700:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]  # fmt: skip


def target(url: str, method: str = "GET") -> Target:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return Target(parts.scheme, parts.hostname or "", port, method, parts.path or "/")


def allows(policy: EgressPolicy, address: str, url: str = "https://host.example/") -> bool:
    try:
        policy.judge("shop", target(url)).check_address("host.example", address)
    except EgressRefused:
        return False
    return True


def refusal(policy: EgressPolicy, scheme: str, host: str) -> str | None:
    try:
        policy.judge("shop", Target(scheme, host, 1, "GET", "/"))
    except EgressRefused as refused:
        return str(refused)
    return None


@pytest.mark.parametrize("address", NEVER)
def test_addresses_that_no_setting_opens(address: str) -> None:
    assert not allows(DEFAULT, address)
    assert not allows(PRIVATE, address)


@pytest.mark.parametrize("address", AT_HOME)
def test_private_addresses_need_the_setting(address: str) -> None:
    assert not allows(DEFAULT, address)
    assert allows(PRIVATE, address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert allows(DEFAULT, address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_judged_as_itself(
    address: ipaddress.IPv4Address,
) -> None:
    for policy in (DEFAULT, PRIVATE):
        expected = allows(policy, str(address))
        assert allows(policy, f"::ffff:{address}") == expected
        assert allows(policy, str(ipaddress.IPv6Address((0x64FF9B << 96) | int(address)))) == (
            expected
        )


@given(st.ip_addresses())
def test_nothing_private_is_allowed_whatever_python_calls_it(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if address.is_private or address.is_multicast or address.is_link_local or address.is_loopback:
        embedded = getattr(address, "ipv4_mapped", None)
        assert not allows(DEFAULT, str(address)) or embedded is not None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "8.8.8.8", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1",
        "017700000001", "1.2.3", "127.0.0.1.", "0X7F.0.0.0x1", "::1", "::ffff:127.0.0.1", "0",
        "host.0x7f", "0x",
    ],
)  # fmt: skip
def test_a_bare_address_in_any_notation_is_refused(host: str) -> None:
    assert "bare IP" in (refusal(DEFAULT, "http", host) or "")
    assert refusal(PRIVATE, "http", host) is None  # its address is judged as any other
    assert refusal(EgressPolicy(allowed_hosts=(host,)), "https", host) is None


@pytest.mark.parametrize(
    "host", ["example.com", "a1", "1a", "4.example", "1.example.", "0xg", "x0x1f"]
)
def test_a_name_is_no_bare_address(host: str) -> None:
    assert refusal(DEFAULT, "https", host) is None


@pytest.mark.parametrize("scheme", ["ftp", "file", "gopher", "", "javascript", "unix"])
def test_other_schemes_are_refused(scheme: str) -> None:
    assert "unsupported URL scheme" in (refusal(PRIVATE, scheme, "example.com") or "")


def test_a_list_of_hosts_is_all_there_is() -> None:
    listed = EgressPolicy(allowed_hosts=("api.example", "*.cdn.example"))
    for host in ("api.example", "API.example", "api.example.", "a.cdn.example", "b.a.cdn.example"):
        assert refusal(listed, "https", host) is None
    for host in ("example", "xapi.example", "api.example.org", "cdn.example", "evilcdn.example"):
        assert "not in the allowed" in (refusal(listed, "https", host) or "")


def test_a_list_opens_no_private_address() -> None:
    assert not allows(EgressPolicy(allowed_hosts=("intranet.example",)), "10.0.0.1")


def test_disabled() -> None:
    with pytest.raises(
        EgressRefused, match=r"df\.http\(\) is disabled.*outbound HTTP requests are"
    ):
        EgressPolicy(enabled=False).check_enabled()
