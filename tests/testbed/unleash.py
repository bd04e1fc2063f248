"""A real Unleash on a real PostgreSQL, for one test session, in the network namespace of the thread that starts it.

It is started unmodified and talked to over HTTP alone. One server serves a whole session: a test takes a flag name of its own, which is
one request, instead of a server of its own, which is eight seconds.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from tests.testbed import build
from tests.testbed.controlplane import ControlPlaneError, Process
from tests.testbed.postgres import USER, Postgres, unavailable

ADDRESS = "127.0.0.1"
PORT = 42420
PROJECT = "default"
PARTS = {"node", "unleash"}
# An admin token can be made by the environment alone in Unleash 8.
ADMIN = "*:*.testbed-admin"
BACKEND = {name: f"default:{name}.testbed-backend" for name in ("development", "production")}
FRONTEND = "default:development.testbed-frontend"
PASSWORD = "Linnet-testbed-1!"


def missing() -> str | None:
    """Why a real Unleash cannot run here and the way out, or None."""
    lacking = build.missing(PARTS)
    if lacking:
        return f"not built: {', '.join(lacking)}: run `python -m tests.testbed.build` (a minute once)"
    return unavailable()


class Answer(NamedTuple):
    """Status and decoded body (text where it is no JSON)."""

    status: int
    body: Any


class Unleash:
    """A running server; `admin` is how a person works with it."""

    def __init__(self, port: int = PORT, *, host: str = "0.0.0.0") -> None:
        self.url = f"http://{ADDRESS}:{port}"
        self.directory = Path(tempfile.mkdtemp(prefix="linnet-unleash-"))
        self.directory.chmod(0o755)
        self.database = Postgres(self.directory)
        self._port, self._host = port, host
        self._process: Process | None = None

    def start(self) -> Unleash:
        """Database and server; returns when the server answers."""
        self.database.start()
        if not self.database.query(f"SELECT 1 FROM pg_database WHERE datname = '{USER}'", "postgres"):
            self.database.query(f"CREATE DATABASE {USER}", "postgres")
        self.start_server()
        return self

    def start_server(self, timeout: float = 90.0) -> None:
        log = self.directory / "unleash.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [str(build.node()), str(build.unleash_server())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=build.unleash_server().parents[3],
                env={**os.environ, **self._environment()},
                start_new_session=True,
            )
        self._process = Process(name="unleash", popen=popen, log=log)
        self._await_ready(timeout)

    def stop_server(self) -> None:
        """As a crash: the data stay."""
        if self._process is not None:
            self._process.popen.kill()
            self._process.popen.wait(10)

    def stop(self) -> None:
        self.stop_server()
        self.database.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def request(self, method: str, path: str, body: Any = None, *, token: str = ADMIN, timeout: float = 15.0) -> Answer:
        """One request; every status is an answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": token, "Content-Type": "application/json"}
        asked = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(asked, timeout=timeout) as answer:
                return Answer(answer.status, _decoded(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _decoded(error.read()))

    def admin(self, method: str, path: str, body: Any = None, *, token: str = ADMIN) -> Any:
        """A request of a person that must succeed; `path` is below /api/admin."""
        answer = self.request(method, f"/api/admin{path}", body, token=token)
        if answer.status >= 400:
            raise ControlPlaneError(f"{method} {path}: {answer.status} {answer.body}")
        return answer.body

    def versions(self) -> dict[str, str]:
        """What the running parts say of themselves over the wire."""
        info = self.admin("GET", "/ui-config")["versionInfo"]["current"]
        return {"unleash": str(info["oss"]), "postgresql": self.database.query("SHOW server_version").split()[0]}

    # -- what people do ----------------------------------------------------------------------------------------------------------

    def flag(self, name: str = "", *, on: tuple[str, ...] = ()) -> str:
        """A new flag that is off everywhere; in the environments `on` it is switched on with one strategy at 0 %."""
        key = name or f"flag-{secrets.token_hex(4)}"
        self.admin("POST", f"/projects/{PROJECT}/features", {"name": key, "type": "release"})
        for environment in on:
            self.strategy(key, environment, rollout="0")
            self.switch(key, environment, on=True)
        return key

    def strategy(self, flag: str, environment: str, *, rollout: str = "100", **more: Any) -> str:
        """A person's own gradual rollout; gives its id."""
        parameters = {"rollout": rollout, "stickiness": "default", "groupId": flag}
        body = {"name": "flexibleRollout", "title": "", "parameters": parameters, "constraints": [], "segments": [], **more}
        found: str = self.admin("POST", f"{self._place(flag, environment)}/strategies", body)["id"]
        return found

    def strategies(self, flag: str, environment: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.admin("GET", f"{self._place(flag, environment)}/strategies")
        return found

    def patch(self, flag: str, environment: str, strategy: str, *operations: dict[str, Any], token: str = ADMIN) -> None:
        self.admin("PATCH", f"{self._place(flag, environment)}/strategies/{strategy}", list(operations), token=token)

    def switch(self, flag: str, environment: str, *, on: bool, token: str = ADMIN) -> None:
        self.admin("POST", f"{self._place(flag, environment)}/{'on' if on else 'off'}", token=token)

    def enabled(self, flag: str, environment: str) -> bool:
        return bool(self.admin("GET", self._place(flag, environment))["enabled"])

    def feature(self, flag: str) -> dict[str, Any]:
        """The whole flag, all environments."""
        found: dict[str, Any] = self.admin("GET", f"/projects/{PROJECT}/features/{flag}")
        return found

    def person(self, name: str, role: int = 2) -> str:
        """A user with this root role (2 is Editor, 3 Viewer) and a token of theirs."""
        login = f"{name}-{secrets.token_hex(3)}"
        self.admin("POST", "/user-admin", {"username": login, "rootRole": role, "sendEmail": False, "password": PASSWORD})
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        wanted = {"description": "testbed", "expiresAt": "2099-01-01T00:00:00.000Z"}
        self._signed_in(opener, "/auth/simple/login", {"username": login, "password": PASSWORD})
        token: str = self._signed_in(opener, "/api/admin/user/tokens", wanted)["secret"]
        return token

    def _signed_in(self, opener: urllib.request.OpenerDirector, path: str, body: dict[str, str]) -> Any:
        asked = urllib.request.Request(self.url + path, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
        with opener.open(asked, timeout=15) as answer:
            return json.loads(answer.read())

    def _place(self, flag: str, environment: str) -> str:
        return f"/projects/{PROJECT}/features/{flag}/environments/{environment}"

    def _environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": f"postgres://{USER}@127.0.0.1:{self.database.port}/{USER}",
            "DATABASE_SSL": "false",
            "HTTP_HOST": self._host,
            "HTTP_PORT": str(self._port),
            "UNLEASH_URL": self.url,
            "INIT_ADMIN_API_TOKENS": ADMIN,
            "INIT_BACKEND_API_TOKENS": ",".join(BACKEND.values()),
            "INIT_FRONTEND_API_TOKENS": FRONTEND,
            "CHECK_VERSION": "false",
            "SEND_TELEMETRY": "false",
            "LOG_LEVEL": "warn",
            "UNLEASH_ALLOW_PRIVATE_URL_IN_INTEGRATION": "true",  # its webhooks reach nothing on the loopback otherwise
            "SIMPLE_LOGIN_LIMIT_PER_MINUTE": "1000",  # each test signs its people in
            "CREATE_USER_RATE_LIMIT_PER_MINUTE": "1000",
            "TZ": "UTC",
            "NODE_ENV": "production",
        }

    def _await_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        process = self._process
        while True:
            try:
                if self.request("GET", "/health", timeout=2).status == 200:
                    return
                problem = "not healthy"
            except OSError as error:
                problem = str(error)
            if process is None or process.popen.poll() is not None or time.monotonic() > deadline:
                raise ControlPlaneError(f"Unleash is not ready: {problem}\n{process.tail() if process else ''}")
            time.sleep(0.1)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode(errors="replace")
