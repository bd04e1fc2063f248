"""Which addresses templates may speak to: never this pod, this node or a cloud's metadata, however they are written."""

from __future__ import annotations

import socket

import pytest
from aiohttp.abc import ResolveResult

from daemon.control.guard import AddressRefused, Guard, GuardedHttp, _Resolver


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fe80::1]",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "224.0.0.1",
        "metadata.google.internal",
        "METADATA.google.internal.",
    ],
)
def test_addresses_of_nodes_and_clouds_are_refused(host: str) -> None:
    """With the reason, in whatever form the address comes."""
    assert Guard().problem(host)


@pytest.mark.parametrize("host", ["10.0.0.7", "192.168.1.1", "example.com", "8.8.8.8", "fd12::1", "2606:4700::1111", "smoke.shop.svc"])
def test_other_addresses_are_not(host: str) -> None:
    """Services inside and outside of the cluster are what web checks are for."""
    assert Guard().problem(host) is None


def test_an_operator_may_allow_a_network() -> None:
    """That one, and no other."""
    guard = Guard(["127.0.0.0/8"])
    assert guard.problem("127.0.0.1") is None
    assert guard.problem("::ffff:127.0.0.1") is None
    assert guard.problem("169.254.169.254")
    with pytest.raises(ValueError, match="does not appear"):
        Guard(["nonsense"])


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1]:1/", "http://169.254.169.254/latest/meta-data/"])
async def test_nothing_is_sent_to_a_refused_address(url: str) -> None:
    """An OSError like any other failure of the transport, so that a measurement is an error."""
    http = GuardedHttp(Guard())
    try:
        with pytest.raises(AddressRefused, match="may not be asked"):
            await http.request("GET", url, headers={}, data=None, deadline=1.0)
    finally:
        await http.close()


@pytest.mark.parametrize("url", ["http://localhost:1/", "http://LocalHost:1/"])
async def test_a_name_that_leads_to_a_refused_address_is_refused(url: str) -> None:
    """What counts is the address that is connected to, after the name was resolved."""
    http = GuardedHttp(Guard())
    try:
        with pytest.raises(OSError, match="Linnet's own pod"):
            await http.request("GET", url, headers={}, data=None, deadline=5.0)
    finally:
        await http.close()


async def test_one_bad_address_of_several_refuses_the_name() -> None:
    """A name that leads to a good and a bad address at once is no way around."""

    class Both:
        async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
            one = ResolveResult(hostname=host, host="10.0.0.1", port=port, family=family, proto=0, flags=0)
            return [one, {**one, "host": "169.254.169.254"}]

    resolver = _Resolver(Guard())
    await resolver.close()
    resolver._inner = Both()  # type: ignore[assignment]
    with pytest.raises(AddressRefused, match="metadata"):
        await resolver.resolve("both.example")


@pytest.mark.parametrize("url", ["http://2130706433:1/", "http://127.1:1/", "http://0x7f000001:1/", "http:///nowhere", "nonsense"])
async def test_an_address_in_disguise_is_refused(url: str) -> None:
    """A number that some clients take for an address leads nowhere."""
    http = GuardedHttp(Guard())
    try:
        with pytest.raises(OSError):
            await http.request("GET", url, headers={}, data=None, deadline=5.0)
    finally:
        await http.close()
