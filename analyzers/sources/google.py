"""Google Cloud Monitoring: PromQL over any of a project's metrics, signed in as a service account. For templates.

Its Prometheus API answers as Prometheus does. A measurement is two requests: a short-lived token, for which the account's key signs a
claim (RFC 7523), and the query; the key itself is never sent.
"""

from __future__ import annotations

import math
from typing import Final
from urllib.parse import urlencode

import msgspec

from analyzers.sources.instant import read_instant
from analyzers.sources.protocol import Failure, FailureKind, HttpClient, HttpReply, ValueOutcome
from analyzers.sources.replies import ask, not_metrics, refused, within

URL: Final = "https://monitoring.googleapis.com"
LOCATION: Final = "global"
SCOPE: Final = "https://www.googleapis.com/auth/monitoring.read"
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME: Final = 3600


class GoogleOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which project, and the key of a service account as Google issues it (JSON)."""

    project: str
    key: str
    url: str = URL

    def __repr__(self) -> str:
        """Without the key: options end up in logs and tracebacks."""
        return f"GoogleOptions(project={self.project!r}, url={self.url!r})"


class Key(msgspec.Struct, frozen=True):
    """What of a service account's key is needed to sign in."""

    client_email: str
    private_key: str
    token_uri: str
    private_key_id: str = ""

    def __repr__(self) -> str:
        return f"Key(client_email={self.client_email!r})"


class _Token(msgspec.Struct):
    access_token: str


class _Told(msgspec.Struct):
    error_description: str = ""
    error: str = ""


class GoogleSource:
    """Asks one project."""

    def __init__(self, options: GoogleOptions, http: HttpClient) -> None:
        self._options, self._http = options, http

    async def value(self, query: str, *, at: float, deadline: float) -> ValueOutcome:
        return await within(deadline, self._options.url, self._value(query, at, deadline))

    async def _value(self, query: str, at: float, deadline: float) -> ValueOutcome:
        token = await self._token(at, deadline)
        if isinstance(token, Failure):
            return token
        url = f"{self._options.url.rstrip('/')}/v1/projects/{self._options.project}/location/{LOCATION}/prometheus/api/v1/query"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Accept": "application/json"}
        body = msgspec.json.encode({"query": query, "time": f"{at:.3f}", "timeout": f"{max(1.0, deadline):g}s"})
        reply = await ask(self._http, "POST", url, headers=headers, data=body, deadline=deadline)
        return reply if isinstance(reply, Failure) else read_instant(reply, query)

    async def _token(self, at: float, deadline: float) -> str | Failure:
        try:
            key = msgspec.json.decode(self._options.key, type=Key)
            claim = claim_of(key, at)
        except (msgspec.MsgspecError, ValueError) as error:
            message = f"the key is no service account's key in JSON as Google issues it: {type(error).__name__}"
            return Failure(kind=FailureKind.UNAUTHORIZED, retryable=False, message=message)
        form = urlencode({"grant_type": GRANT, "assertion": claim}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        reply = await ask(self._http, "POST", key.token_uri, headers=headers, data=form, deadline=deadline)
        return reply if isinstance(reply, Failure) else read_token(reply)


def build(options: GoogleOptions, http: HttpClient) -> GoogleSource:
    return GoogleSource(options, http)


def claim_of(key: Key, at: float) -> str:
    """The signed claim that a token is asked for with; ValueError for a key that cannot sign."""
    import jwt  # on demand: it brings cryptography with it

    now = math.floor(at)
    claims = {"iss": key.client_email, "aud": key.token_uri, "scope": SCOPE, "iat": now, "exp": now + LIFETIME}
    try:
        return jwt.encode(claims, key.private_key, algorithm="RS256", headers={"kid": key.private_key_id} if key.private_key_id else None)
    except (jwt.PyJWTError, TypeError) as error:
        raise ValueError(str(error)) from error


def read_token(reply: HttpReply) -> str | Failure:
    """Pure: the token; a key that Google does not know is answered with 400."""
    if reply.status != 200:
        try:
            told = msgspec.json.decode(reply.body, type=_Told)
        except msgspec.MsgspecError:
            return refused(reply, asked="sign-in")
        said = ": ".join(filter(None, (told.error, told.error_description)))
        return refused(reply, said=said, asked="sign-in", means=401 if reply.status == 400 else 0)
    try:
        return msgspec.json.decode(reply.body, type=_Token).access_token
    except msgspec.MsgspecError:
        return not_metrics(reply)
