"""`linnet demo` as a user plays it: the outcome follows from the builds and from nothing else.

Each variation is a process of its own on a real Traefik. They share nothing, so two play at a time; each takes a minute or two on
two busy cores.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from daemon.sandbox import nanny
from tests.testbed.build import bin_dir
from tests.testbed.unleash import ADMIN, BACKEND, Unleash, missing
from tests.unit.demo.test_commands import mark_of
from tests.witness.flaglog import FlagLog

pytestmark = [pytest.mark.demo, pytest.mark.timeout(600)]

DEMO = [sys.executable, "-m", "daemon.cli.main", "demo"]
VARIATIONS: dict[str, list[str]] = {
    "default": [],
    "harmless": ["--bad-error-percent", "0"],
    "swapped": ["--order", "bad,good"],
    "flag-off": ["--bad-flag", "off"],
}
TOKENS = {"LINNET_DEMO_UNLEASH_TOKEN": ADMIN, "LINNET_DEMO_UNLEASH_CLIENT_TOKEN": BACKEND["development"]}
Played = tuple[int, dict[str, Any]]


@pytest.fixture(scope="module")
def unleash() -> Iterator[Unleash | None]:
    """A real one on the loopback, for the variation that releases its flags; None where none can run."""
    server = None if missing() else Unleash(port=42421, host="127.0.0.1")
    try:
        yield server.start() if server else None
    finally:
        if server:
            server.stop()


@pytest.fixture(scope="module")
def plays(tmp_path_factory: pytest.TempPathFactory, unleash: Unleash | None) -> Iterator[Callable[[str], Played]]:
    """All variations, begun at the first question, two at a time; the swapped one with flags of Unleash's where there is one."""
    folder = tmp_path_factory.mktemp("demo")
    variations = VARIATIONS | ({"swapped": [*VARIATIONS["swapped"], "--unleash", unleash.url]} if unleash else {})
    with ThreadPoolExecutor(2) as pool:
        begun = {name: pool.submit(play, folder / name, arguments) for name, arguments in variations.items()}
        yield lambda name: begun[name].result()


def play(folder: Path, arguments: list[str]) -> Played:
    """Exit code and object of one performance, which left no file behind."""
    folder.mkdir()
    command = [*DEMO, "--once", "--json", *arguments]
    variables = {**os.environ, "TMPDIR": str(folder), **TOKENS}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env=variables)
    assert done.returncode in (0, 1), f"exit code {done.returncode}: {done.stderr}"
    assert done.stderr == ""
    assert list(folder.iterdir()) == []
    return done.returncode, json.loads(done.stdout)


def outcomes(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(release["kind"], release["outcome"]) for release in found["releases"]]


def counted(rows: list[dict[str, Any]], **wanted: str) -> tuple[int, int]:
    """(requests, failed) of the rows with these values."""
    own = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return sum(row["requests"] for row in own), sum(row["failed"] for row in own)


def test_the_good_release_is_promoted_and_the_bad_one_rolled_back(plays: Callable[[str], Played]) -> None:
    """Exit code 0, at the shipped risks and margins, and the sentences agree with what the load generator counted."""
    code, found = plays("default")
    assert (code, found["ok"]) == (0, True)
    assert outcomes(found) == [("good", "Promoted"), ("bad", "RolledBack")]
    good, bad = found["releases"]
    assert "flag new-checkout 100 %" in good["sentence"]
    assert "Flag express-pay back at 0 after" in bad["sentence"]
    for release in (good, bad):
        told = re.search(r"([\d ]+) of ([\d ]+) canary requests failed", release["sentence"])
        assert told is not None, release["sentence"]
        events, total = (int(number.replace(" ", "")) for number in told.groups())
        requests, failed = counted(release["by_track_and_flag"], track="canary")
        # The daemon judged no request that was not sent; the client also counts those after its last look.
        assert events <= failed
        assert 0 < total <= requests
    assert counted(good["by_track_and_flag"], track="canary")[1] == 0
    assert bad["saved"]["saved"] == bad["saved"]["would_have_failed"] - bad["saved"]["failed"] > 0


def test_no_request_fails_but_for_the_bad_build(plays: Callable[[str], Played]) -> None:
    """Every switch of weight, flag and pods is invisible to the shop's users, who never try again."""
    _, found = plays("default")
    requests = found["requests"]
    assert requests["unexpected_failures"] == 0, requests
    assert requests["answered"] == sum(row["requests"] for row in requests["by_track_and_flag"])
    assert counted(requests["by_track_and_flag"], track="stable")[1] == 0


def test_slack_and_teams_hear_of_both(plays: Callable[[str], Played]) -> None:
    """Each decision reached both services, posted to their real addresses by the real code."""
    _, found = plays("default")
    for service in ("Slack", "Teams"):
        texts = [message["text"] for message in found["messages"] if message["service"] == service]
        assert any("promoted after" in text for text in texts)
        assert any("rolled back after" in text for text in texts)


def test_a_bad_build_that_is_not_bad_is_promoted(plays: Callable[[str], Played]) -> None:
    """Nothing looks at the name of a build: without errors both are fine, and the exit code says that this was not expected."""
    code, found = plays("harmless")
    assert (code, found["ok"]) == (1, False)
    assert outcomes(found) == [("good", "Promoted"), ("bad", "Promoted")]


def test_the_order_of_the_releases_does_not_matter(plays: Callable[[str], Played]) -> None:
    """Bad first: rolled back, and the good one after it promoted."""
    code, found = plays("swapped")
    assert code == 0
    assert outcomes(found) == [("bad", "RolledBack"), ("good", "Promoted")]


def test_the_flags_may_be_those_of_a_real_unleash(plays: Callable[[str], Played], unleash: Unleash | None) -> None:
    """Unleash's own log has each flag's rise and the bad one's fall, and both are archived after the play."""
    if unleash is None:
        pytest.skip(str(missing()))
    _, found = plays("swapped")
    for release, falls in zip(found["releases"], (1, 0), strict=True):
        log = FlagLog.read(unleash.url, ADMIN, release["flag"])
        assert log.raises()
        assert len(log.zeroes()) == falls, log.order()
        assert log.entries[-1].kind == "feature-archived"


def test_a_bad_build_behind_a_closed_flag_is_promoted(plays: Callable[[str], Played]) -> None:
    """Nobody met what is bad in it, so there was nothing to find."""
    code, found = plays("flag-off")
    assert code == 1
    assert outcomes(found) == [("good", "Promoted"), ("bad", "Promoted")]
    assert counted(found["releases"][1]["by_track_and_flag"], version="v3", flag="on") == (0, 0)
    assert counted(found["releases"][1]["by_track_and_flag"], version="v3", track="canary")[0] > 0


class Kept:
    """`linnet demo --keep`, and kubectl beside it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.kubeconfig = ""
        self.said: list[str] = []

    def await_line(self, beginning: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if beginning in line:
                return line
        raise AssertionError("the demo ended: " + "".join(self.said[-20:]))

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        command = [str(bin_dir() / "kubectl"), "--kubeconfig", self.kubeconfig, "-n", "shop", *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return done.stdout


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DEMO, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
    )


def ended(process: subprocess.Popen[str], folder: Path, mark: str) -> int:
    """Ctrl-C ends it within seconds, and nothing of it is left."""
    process.send_signal(signal.SIGINT)
    code = process.wait(20)
    limit = time.monotonic() + 10
    while nanny.marked(mark) and time.monotonic() < limit:
        time.sleep(0.1)
    assert nanny.marked(mark) == []
    assert list(folder.iterdir()) == []
    return code


def test_a_kept_demo_is_a_cluster_for_kubectl(tmp_path: Path) -> None:
    """get, describe, annotate, a server-side apply and set image, which Linnet then releases; Ctrl-C leaves no process and no file."""
    if not (bin_dir() / "kubectl").exists():
        pytest.skip("kubectl: `python -m tests.testbed.build` builds it")
    with started(tmp_path, "--keep", "--order", "bad,good") as process:
        try:
            kept = Kept(process)
            kept.kubeconfig = kept.await_line("export KUBECONFIG=").rpartition("=")[2].strip()
            assert "shop" in kept.kubectl("get", "canaries,deployments,httproutes")
            assert "Held by Linnet" in kept.kubectl("describe", "deploy/shop")
            kept.kubectl("annotate", "deploy/shop", "team=payments")
            manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop", "labels": {"tier": "front"}}}
            kept.kubectl("apply", "--server-side", "--field-manager=me", "-f", "-", given=json.dumps(manifest))
            kept.kubectl("set", "image", "deploy/shop", "shop=shop:v4")
            kept.kubectl("wait", "canary/shop", "--for=jsonpath={.status.phase}=Progressing", "--timeout=60s")
            seen = json.loads(kept.kubectl("get", "deploy/shop", "-o", "json"))
            assert seen["metadata"]["annotations"]["team"] == "payments"
            assert seen["metadata"]["labels"]["tier"] == "front"
            assert seen["spec"]["paused"] is True
            assert ended(process, tmp_path, mark_of(process.pid)) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """In mid-play, with load, pods, gateway and daemon running: exit code 130, no process, no file."""
    with started(tmp_path) as process:
        try:
            kept = Kept(process)
            kept.await_line("kubectl set image")
            mark = mark_of(process.pid)
            assert len(nanny.marked(mark)) >= 4  # two pods, Traefik, the daemon
            process.send_signal(number)
            assert ended(process, tmp_path, mark) == 130
        finally:
            process.kill()
