"""Where a server is and who asks: what the options of every source over HTTP have, and the headers that say it."""

from __future__ import annotations

import base64

import msgspec


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Address, free headers, and a bearer token or user and password."""

    url: str
    bearer_token: str = ""
    username: str = ""
    password: str = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        """Without the secrets: options end up in logs and tracebacks."""
        return f"{type(self).__name__}(url={self.url!r})"


def request_headers(login: Login) -> dict[str, str]:
    """Of a request with a form in its body, answered in JSON."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json", **login.headers}
    if login.bearer_token:
        headers["Authorization"] = f"Bearer {login.bearer_token}"
    elif login.username:
        pair = f"{login.username}:{login.password}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    return headers
