"""Requests signed as Amazon's services ask for it (Signature Version 4), by the library that is made for that.

A client around another: it signs what goes out, address, body and time, and leaves the rest to the other. Each request is signed
anew, so that one which was recorded is of no use a quarter of an hour later.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Final

import msgspec

from analyzers.sources.protocol import HttpClient, HttpReply

PROMETHEUS: Final = "aps"


class SigV4(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs, and for which service in which region. `session_token` goes with credentials that expire."""

    region: str
    access_key: str
    secret_key: str
    session_token: str = ""
    service: str = PROMETHEUS

    def __repr__(self) -> str:
        """Without the secrets: options end up in logs and tracebacks."""
        return f"SigV4(region={self.region!r}, service={self.service!r})"


class SignedHttp:
    """An `HttpClient` whose requests are signed."""

    def __init__(self, http: HttpClient, login: SigV4) -> None:
        self._http, self._login = http, login

    @cached_property
    def _sign(self) -> Any:
        from requests_aws4auth import AWS4Auth  # on demand: it brings requests with it

        login = self._login
        return AWS4Auth(login.access_key, login.secret_key, login.region, login.service, session_token=login.session_token or None)

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None, deadline: float) -> HttpReply:
        signed = self._sign(SimpleNamespace(method=method, url=url, headers=dict(headers), body=data or b""))
        return await self._http.request(method, url, headers=signed.headers, data=data, deadline=deadline)
