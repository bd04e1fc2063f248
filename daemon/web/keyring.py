"""The webhook's certificates, made by ourselves: who talks to it is the API server alone, and that trusts what its configuration names.

A certificate is its own trust anchor, so that no authority and no key of one has to be kept. The next one is made, and trusted, a whole
term before it serves; the one before stays trusted until it ends. So at every moment each replica may be a turn ahead of, or behind,
what the API server was told last, and every handshake still succeeds: a rotation has no gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE: Final = timedelta(days=365)
TERM: Final = timedelta(days=90)  # a certificate waits one term, serves one, and has half its life left then
SKEW: Final = timedelta(days=1)  # a clock may be that wrong, here or at the API server
CURRENT: Final = "current.pem"
NEXT: Final = "next.pem"
TRUSTED: Final = "trusted.pem"


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its key, as PEM in one text. The repr leaves them out."""

    pem: str

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.pem.encode())

    def __repr__(self) -> str:
        return f"Pair(serial={self.certificate.serial_number:x})"


class Ring(msgspec.Struct, frozen=True):
    """What serves, what will serve next, and every certificate that a replica may be serving (as PEM)."""

    current: Pair
    next: Pair
    trusted: str

    def data(self) -> dict[str, bytes]:
        """As the data of a Secret."""
        return {CURRENT: self.current.pem.encode(), NEXT: self.next.pem.encode(), TRUSTED: self.trusted.encode()}


def read(data: Mapping[str, bytes] | None) -> Ring | None:
    """The ring of a Secret; None where it holds none, or one that cannot be read."""
    try:
        texts = [(data or {})[key].decode("ascii") for key in (CURRENT, NEXT, TRUSTED)]
        ring = Ring(Pair(texts[0]), Pair(texts[1]), texts[2])
        for pair in (ring.current, ring.next):
            serialization.load_pem_private_key(pair.pem.encode(), None)
        known = set(x509.load_pem_x509_certificates(ring.trusted.encode()))
        return ring if {ring.current.certificate, ring.next.certificate} <= known else None
    except (KeyError, ValueError, TypeError):
        return None


def turned(ring: Ring | None, names: Sequence[str], now: datetime) -> Ring:
    """The ring that should be there now; the same object where nothing is due."""
    if ring is None:
        return _fresh(names, now)
    if _names(ring.current) != set(names) or _names(ring.next) != set(names):
        return _fresh(names, now, _still_valid(ring.trusted, now))
    if not _valid(ring.next, now):
        return _fresh(names, now)
    if now < due(ring):
        return ring
    following = _make(names, now)
    # Of those before the current one none serves any more: a replica that is two terms behind is none.
    before = [ring.current.certificate] if _valid(ring.current, now) else []
    return Ring(ring.next, following, _bundle([ring.next.certificate, following.certificate, *before]))


def due(ring: Ring) -> datetime:
    """When the next one takes over: a term after it was made, or where nobody was there to do so, before what serves ends."""
    made = ring.next.certificate.not_valid_before_utc + SKEW
    return min(made + TERM, ring.current.certificate.not_valid_after_utc - 2 * SKEW)


def _fresh(names: Sequence[str], now: datetime, kept: Sequence[x509.Certificate] = ()) -> Ring:
    current, following = _make(names, now), _make(names, now)
    return Ring(current, following, _bundle([current.certificate, following.certificate, *kept]))


def _make(names: Sequence[str], now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "linnet webhook")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair((certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form)).decode())


def _bundle(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def _names(pair: Pair) -> set[str]:
    found = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(found.value.get_values_for_type(x509.DNSName))


def _valid(pair: Pair, now: datetime) -> bool:
    return pair.certificate.not_valid_after_utc - SKEW > now


def _still_valid(trusted: str, now: datetime) -> list[x509.Certificate]:
    return [one for one in x509.load_pem_x509_certificates(trusted.encode()) if one.not_valid_after_utc > now]
