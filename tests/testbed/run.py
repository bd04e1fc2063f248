"""`make test`: every test that can run here, and a loud list of what could not.

Real parts are built on the way where Go is at hand. Two sessions run beside each other, each with a control plane of its own where it
needs one, for a cluster waits half of its life; the fast suites come last, when the long session has the least to do. Nothing is left
out in silence: what is collected is compared with what ran, and each real part that ran is named with the version it gave over the wire.
`LINNET_REQUIRE_ALL=1` (CI) makes anything that did not run a failure, and holds every marker to the least number of tests in
`tests/counts.json`.

    python -m tests.testbed.run                     # everything
    python -m tests.testbed.run tests/unit -k hold  # only this; arguments go to pytest
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.testbed import build, netns, postgres
from tests.testbed.strict import MARKERS, require_all

ROOT = Path(__file__).resolve().parents[2]
COUNTS = ROOT / "tests" / "counts.json"
FAST = "not (" + " or ".join(MARKERS) + ")"
SECOND_TRIES = 15  # more failures than that are no chance
NO_TESTS = 5  # pytest's exit code for an empty selection
WORST = ("passed", "skipped", "failed")
SCENARIOS = "tests/cluster"  # as long as all else on real parts together


@dataclass(kw_only=True, frozen=True)
class Session:
    """One pytest process."""

    name: str
    arguments: list[str]
    isolated: bool = True


@dataclass(kw_only=True)
class Results:
    """What the sessions reported: by test the marks and the worst outcome, and what went wrong beside the tests."""

    collected: dict[str, list[str]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    marks: dict[str, list[str]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    second: list[str] = field(default_factory=list)

    def failed(self) -> list[str]:
        return sorted(identity for identity, found in self.outcomes.items() if found == "failed")

    def amend(self, again: Results) -> None:
        """Takes the outcome of a second try; what needed one is named at the end."""
        for identity, outcome in again.outcomes.items():
            if outcome == "passed":
                self.outcomes[identity] = outcome
                self.second.append(identity)

    def read(self, report: Path, *, collecting: bool) -> None:
        """Adds one session's report; only the collecting session's collection counts as the whole."""
        for line in report.read_text().splitlines() if report.exists() else []:
            record = json.loads(line)
            identity = record["id"]
            if record["event"] == "collected":
                if collecting:
                    self.collected[identity] = record["marks"]
            elif not collecting:
                known = self.outcomes.get(identity, "passed")
                self.outcomes[identity] = max(known, record["outcome"], key=WORST.index)
                self.marks[identity] = record["marks"]
                if record["outcome"] != "passed":
                    self.reasons[identity] = record["reason"].strip()

    def count(self, outcome: str) -> int:
        return sum(1 for found in self.outcomes.values() if found == outcome)

    def never_ran(self) -> list[str]:
        return sorted(set(self.collected) - set(self.outcomes))

    def passed_by_marker(self) -> Counter[str]:
        return Counter(
            mark
            for identity, found in self.outcomes.items()
            if found == "passed"
            for mark in self.collected.get(identity, self.marks[identity])
        )


def violations(results: Results, least: dict[str, int], missing: list[str]) -> list[str]:
    """What `LINNET_REQUIRE_ALL=1` forbids, one sentence each."""
    found = [f"not here: {line}" for line in missing]
    found += [
        f"skipped: {identity}: {results.reasons.get(identity, '')}"
        for identity, outcome in results.outcomes.items()
        if outcome == "skipped"
    ]
    found += [f"collected and never run: {identity}" for identity in results.never_ran()]
    passed = results.passed_by_marker()
    found += [
        f"{passed[marker]} tests marked {marker} passed, tests/counts.json asks for {number}"
        for marker, number in least.items()
        if passed[marker] < number
    ]
    return found


def in_namespaces(command: list[str]) -> list[str]:
    """The command with the rights to make network namespaces: as it is for root, in a user namespace for others."""
    if os.geteuid() == 0 or shutil.which("unshare") is None:
        return command
    inside = 'ip link set lo up && mount -t tmpfs tmpfs /run && exec "$@"'
    return ["unshare", "--map-root-user", "--net", "--mount", "sh", "-c", inside, "sh", *command]


def _pytest(arguments: list[str], report: Path, *, isolated: bool = False, label: str = "", quiet: bool = False) -> int:
    """Its exit code; a label stands before each line of a session that is not alone."""
    command = [sys.executable, "-m", "pytest", *arguments]
    env = {**os.environ, "LINNET_TEST_REPORT": str(report)}
    whole = in_namespaces(command) if isolated else command
    if not label:
        unseen = subprocess.DEVNULL if quiet else None
        return subprocess.run(whole, cwd=ROOT, env=env, check=False, stdin=subprocess.DEVNULL, stdout=unseen).returncode
    # A file and no pipe: what a session leaves running would hold a pipe open.
    shown = report.with_suffix(".log")
    with shown.open("w") as output, subprocess.Popen(whole, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output) as process:
        _follow(process, shown, label)
    return process.returncode


def _follow(process: subprocess.Popen[bytes], shown: Path, label: str) -> None:
    """Prints whole lines as they come, until the process has ended."""
    rest, ended = "", False
    with shown.open(errors="replace") as file:
        while not ended:
            ended = process.poll() is not None
            *lines, rest = (rest + file.read() + "\n" * ended).split("\n")
            for line in lines:
                print(f"{label} | {line}", flush=True)
            time.sleep(0 if ended else 1)


def prepare() -> list[str]:
    """Builds what can be built; gives what is missing and how to get it."""
    missing = []
    if os.environ.get("LINNET_TEST_BUILD", "1") != "0":
        try:
            build.build(lambda line: print(line, flush=True))
        except build.BuildError as error:
            missing.append(f"{error}".splitlines()[0])
    lacking = build.missing()
    if lacking:
        missing.append(f"{', '.join(lacking)}: `python -m tests.testbed.build` builds them (Go 1.26, ten minutes once)")
    database = postgres.unavailable()
    if database:
        missing.append(database)
    reason = netns.unavailable()
    if reason and (os.geteuid() == 0 or shutil.which("unshare") is None or shutil.which("ip") is None):
        missing.append(reason)
    return missing


def title(text: str) -> None:
    print(f"\n=== {text} ===", flush=True)


def sessions(collected: dict[str, list[str]]) -> list[Session]:
    """The sessions on real parts, each marked test in exactly one: the longest first, then those that leave most of the machine to it."""
    found: list[Session] = []
    for position, marker in enumerate(MARKERS):
        expression = marker + "".join(f" and not {other}" for other in MARKERS[:position])
        mine = [one for one, marks in collected.items() if marker in marks and not set(marks) & set(MARKERS[:position])]
        within = {one for one in mine if one.startswith(SCENARIOS)} if marker == "cluster" else set[str]()
        if within:
            found.append(Session(name="scenarios", arguments=["-m", expression, SCENARIOS]))
        if set(mine) - within:
            found.append(Session(name=marker, arguments=["-m", expression, *([f"--ignore={SCENARIOS}"] if within else [])]))
    return sorted(found, key=lambda session: (session.name != "scenarios", -found.index(session)))


def run_all(results: Results, folder: Path) -> None:
    """Collects everything, and runs two at a time the sessions on real parts and the fast suites."""
    whole = folder / "collected.jsonl"
    title("collecting")
    if _pytest(["--collect-only", "-qq", "--no-header"], whole, quiet=True) not in (0, NO_TESTS):
        results.problems.append("not everything could be collected: the runs below say why")
    results.read(whole, collecting=True)
    print(f"{len(results.collected)} tests", flush=True)
    workers = os.environ.get("LINNET_TEST_WORKERS", "2")
    fast = Session(name="fast", arguments=["-n", workers, "--dist", "worksteal", "-m", FAST], isolated=False)
    run_beside([*sessions(results.collected), fast], results, folder)


def run_beside(beside: list[Session], results: Results, folder: Path) -> None:
    """Runs the sessions, a few at a time; those that failed a little are tried again when all have ended."""
    title(", ".join(session.name for session in beside))
    reports = {session.name: folder / f"{session.name}.jsonl" for session in beside}

    def run(session: Session) -> int:
        started = time.monotonic()
        label = f"{session.name:9}" if len(beside) > 1 else ""
        code = _pytest(session.arguments, reports[session.name], isolated=session.isolated, label=label)
        print(f"--- {session.name}: exit code {code}, {time.monotonic() - started:.0f} s", flush=True)
        return code

    with ThreadPoolExecutor(int(os.environ.get("LINNET_SESSIONS_AT_ONCE", "2"))) as pool:
        codes = list(pool.map(run, beside))
    for session, code in zip(beside, codes, strict=True):
        results.read(reports[session.name], collecting=False)
        if code not in (0, 1, NO_TESTS):
            results.problems.append(f"pytest ended with {code} in {session.name}")
    if len(results.failed()) <= SECOND_TRIES:
        for session in beside:
            try_again(results, session, reports[session.name])


def try_again(results: Results, session: Session, report: Path) -> None:
    """A few failures are tried once more, alone: on a shared machine a deadline may pass by chance. A test that is wrong fails again."""
    first, again = Results(), Results()
    first.read(report, collecting=False)
    failed = first.failed()
    if not failed:
        return
    title(f"a second try, alone: {len(failed)} of {session.name}")
    second = report.with_name(f"again-{report.name}")
    _pytest(failed, second, isolated=session.isolated)
    again.read(second, collecting=False)
    results.amend(again)


def report(results: Results, missing: list[str]) -> int:
    """Prints the outcome; the exit code."""
    skipped: dict[str, list[str]] = defaultdict(list)
    for identity, outcome in results.outcomes.items():
        if outcome == "skipped":
            skipped[results.reasons.get(identity, "")].append(identity)
    failed = results.failed()
    if results.second:
        title(f"passed at the second try only: {len(results.second)}")
        print("\n".join(sorted(results.second)))
    if failed:
        title(f"failed: {len(failed)}")
        print("\n".join(failed))
    if missing or skipped:
        title("NOT RUN HERE, and how to change that")
        print("\n".join(missing))
        for reason, identities in sorted(skipped.items(), key=lambda item: -len(item[1])):
            print(f"{len(identities):5} tests: {reason}")
    broken = list(results.problems)
    if require_all():
        least = json.loads(COUNTS.read_text())
        broken += violations(results, least, missing)
    if broken:
        title("this run does not count")
        print("\n".join(broken))
    title("passed by marker")
    print(", ".join(f"{marker} {count}" for marker, count in sorted(results.passed_by_marker().items())) or "none")
    bad = results.count("failed") + len(broken)
    print(f"\n{results.count('passed')} passed, {bad} failed, {results.count('skipped')} skipped")
    return 1 if bad or not results.count("passed") else 0


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    if given:
        return subprocess.run(in_namespaces([sys.executable, "-m", "pytest", *given]), cwd=ROOT, check=False).returncode
    title("real parts")
    missing = prepare()
    if not missing:
        listing = subprocess.run(in_namespaces([sys.executable, "-m", "tests.testbed.versions"]), cwd=ROOT, check=False, timeout=300)
        if listing.returncode != 0:
            missing.append("the real parts do not start: see above")
    results = Results()
    with tempfile.TemporaryDirectory(prefix="linnet-report-") as folder:
        run_all(results, Path(folder))
    return report(results, missing)


if __name__ == "__main__":
    sys.exit(main())
