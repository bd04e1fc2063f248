"""Whom outbound connections trust, and as whom they present themselves.

A company's proxy or an internal server signs with a CA of its own: `LINNET_CA_BUNDLE` names a file with such certificates,
which are trusted beside the public ones by every client of the process. A source may bring a CA instead, which is then the
only one for it, and a client certificate, which never touches a disk.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

BUNDLE: Final = "LINNET_CA_BUNDLE"
REQUESTS_BUNDLE: Final = "REQUESTS_CA_BUNDLE"


class TrustError(ValueError):
    """Certificates that cannot be used; the message says whose, and never shows a key."""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """PEM texts. Empty is: the public CAs and the bundle; no certificate of our own."""

    ca: str = ""
    certificate: str = ""
    key: str = ""

    def __repr__(self) -> str:
        return f"Tls(ca={bool(self.ca)}, certificate={bool(self.certificate)})"


def bundle(environ: Mapping[str, str] = os.environ) -> str:
    """The extra certificates as PEM, empty without a bundle; TrustError where the file that is named is none."""
    name = environ.get(BUNDLE, "")
    if not name:
        return ""
    try:
        text = Path(name).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as e:
        raise TrustError(f"{BUNDLE} is {name}: {e}; name a file with certificates in PEM, or unset it") from e
    _check(text, f"{BUNDLE} is {name}")
    return text


def context(tls: Tls, extra: str = "") -> ssl.SSLContext:
    """TLS 1.2 or newer, names checked. TrustError where a certificate or key cannot be read, or do not belong together."""
    if tls.ca:
        _check(tls.ca, "the CA of the source")
        made = ssl.create_default_context(cadata=tls.ca)
    else:
        made = ssl.create_default_context()
        if extra:
            made.load_verify_locations(cadata=extra)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate or tls.key:
        _identify(made, tls)
    return made


def _identify(made: ssl.SSLContext, tls: Tls) -> None:
    if not (tls.certificate and tls.key):
        raise TrustError("a client certificate needs both the certificate and its key")
    try:
        with in_memory(f"{tls.certificate.rstrip()}\n{tls.key.rstrip()}\n") as path:
            made.load_cert_chain(path, password="")  # an encrypted key must fail and not ask a terminal
    except (ssl.SSLError, ValueError) as e:
        raise TrustError(
            f"client certificate and key cannot be used together ({type(e).__name__}): give both in PEM, unencrypted"
        ) from None


def _check(text: str, whose: str) -> None:
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise TrustError(f"{whose}: no certificate in PEM (-----BEGIN CERTIFICATE-----) in it")
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError) as e:
        raise TrustError(f"{whose}: a certificate cannot be read: {e}") from None


@contextmanager
def in_memory(text: str) -> Iterator[str]:
    """A path to the text, which OpenSSL insists on; memory only, where the system has such files."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("linnet-tls", os.MFD_CLOEXEC)
        with os.fdopen(number, "w") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{number}"
    else:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            yield file.name


_kept: list[int] = []  # the combined bundle's descriptor: it lives as long as the process


def tell_requests(environ: os._Environ[str] = os.environ) -> None:
    """Make libraries that stand on requests (apprise, prometheus-api-client) trust the bundle beside the public CAs.

    They know one file that replaces the public ones, so they get both in one, in memory. Whoever set that variable
    himself is left alone.
    """
    extra = bundle(environ)
    if not extra or environ.get(REQUESTS_BUNDLE) or not hasattr(os, "memfd_create"):
        return
    import certifi

    number = os.memfd_create("linnet-ca", os.MFD_CLOEXEC)
    _kept.append(number)
    os.write(number, Path(certifi.where()).read_bytes() + b"\n" + extra.encode("ascii"))
    environ[REQUESTS_BUNDLE] = f"/proc/self/fd/{number}"
