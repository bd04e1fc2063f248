"""The webhook's certificates over years: whoever is a turn ahead or behind, every handshake finds what it trusts."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from daemon.control.trust import in_memory
from daemon.web.keyring import CURRENT, LIFE, NEXT, SKEW, TERM, TRUSTED, Pair, Ring, due, read, turned

NAMES = ["linnet-webhook.linnet.svc", "linnet-webhook.linnet.svc.cluster.local"]
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def trusts(ring: Ring, served: Pair, now: datetime) -> bool:
    """Would the API server take `served`, when it was told what `ring` says?"""
    certificate = served.certificate
    known = x509.load_pem_x509_certificates(ring.trusted.encode())
    return certificate in known and certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def test_a_first_ring_is_whole_and_survives_its_secret() -> None:
    """Two certificates for the Service's names, both trusted, valid for a clock that is behind; nothing is due before a term is over."""
    ring = turned(None, NAMES, BEGIN)
    assert read(ring.data()) == ring
    assert trusts(ring, ring.current, BEGIN - SKEW + HOUR)
    assert trusts(ring, ring.next, BEGIN - SKEW + HOUR)
    assert turned(ring, NAMES, BEGIN + TERM - HOUR) is ring
    assert due(ring) == BEGIN + TERM


def test_over_ten_years_no_handshake_fails() -> None:
    """Each turn comes on time or a month late; a replica and the API server's trust may be a turn behind, independently."""
    ring, now = turned(None, NAMES, BEGIN), BEGIN
    for number in range(40):
        now = due(ring) + (timedelta(days=30) if number % 3 == 0 else timedelta())
        before, ring = ring, turned(ring, NAMES, now)
        assert ring.current == before.next
        for told in (before, ring):
            for served in (before.current, ring.current):
                assert trusts(told, served, now), (number, told is ring, served is ring.current)
        assert len(x509.load_pem_x509_certificates(ring.trusted.encode())) <= 3
        assert turned(ring, NAMES, now) is ring


@pytest.mark.parametrize("away", [timedelta(days=200), timedelta(days=300), LIFE - HOUR, LIFE + HOUR, timedelta(days=2000)])
def test_after_a_long_absence_what_serves_is_valid(away: timedelta) -> None:
    """A cluster that was switched off: one look, and what is current can be served and is trusted."""
    now = BEGIN + away
    ring = turned(turned(None, NAMES, BEGIN), NAMES, now)
    assert trusts(ring, ring.current, now)
    assert trusts(ring, ring.next, now)


def test_other_names_are_new_certificates_and_the_old_stay_trusted() -> None:
    """A release under another name: replicas of the one before serve on until they end."""
    old = turned(None, NAMES, BEGIN)
    new = turned(old, ["other.linnet.svc"], BEGIN + HOUR)
    assert new.current != old.current
    assert trusts(new, old.current, BEGIN + HOUR)
    assert turned(new, ["other.linnet.svc"], BEGIN + HOUR) is new


@pytest.mark.parametrize("key", [CURRENT, NEXT, TRUSTED])
@pytest.mark.parametrize("text", [None, b"", b"\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_cannot_be_read_is_no_ring(key: str, text: bytes | None) -> None:
    """An empty Secret, or one that somebody edited: made anew, not served."""
    data = turned(None, NAMES, BEGIN).data()
    assert read({k: v for k, v in data.items() if k != key} if text is None else {**data, key: text}) is None
    assert read(None) is None


def test_a_bundle_of_others_is_no_ring() -> None:
    """Certificates that the API server would not be told to trust must not be served."""
    data = turned(None, NAMES, BEGIN).data()
    other = turned(None, NAMES, BEGIN).data()
    assert read({**data, TRUSTED: other[TRUSTED]}) is None


def test_openssl_serves_it_and_no_repr_shows_a_key() -> None:
    """The text is what a context loads."""
    ring = turned(None, NAMES, datetime.now(UTC))
    with in_memory(ring.current.pem) as path:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(path)
    assert "PRIVATE" not in repr(ring.current)
