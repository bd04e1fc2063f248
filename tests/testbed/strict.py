"""What `LINNET_REQUIRE_ALL=1` means: a test that does not run is a test that failed.

A green run says nothing if half of it was skipped for want of a part. So the report of every session goes to a file that the
runner reads (`LINNET_TEST_REPORT`), and under `LINNET_REQUIRE_ALL=1` a skip or an expected failure is turned into a failure where it
happens, with the reason it gave. Deselected tests are found by the runner, which compares what was collected with what ran.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

MARKERS = ("cluster", "dataplane", "unleash", "browser", "demo")


def require_all() -> bool:
    return os.environ.get("LINNET_REQUIRE_ALL") == "1"


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _write(record: dict[str, Any]) -> None:
    target = os.environ.get("LINNET_TEST_REPORT")
    if target:
        with Path(target).open("a") as file:
            file.write(json.dumps(record) + "\n")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    longrepr = report.longrepr
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr or "")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    expected = getattr(report, "wasxfail", None)
    if not require_all() or not (report.skipped or expected is not None):
        return
    reason = _reason(report) if expected is None else f"expected to fail: {expected}"
    if expected is not None:
        del report.wasxfail
    report.outcome = "failed"
    report.longrepr = f"LINNET_REQUIRE_ALL=1 forbids a test that does not run: {reason}"


class Recorder:
    """Writes collected and finished tests of this session to the report file; registered in the controlling process only."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            marks = [mark for mark in MARKERS if item.get_closest_marker(mark)]
            _write({"event": "collected", "id": item.nodeid, "marks": marks})

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome != "passed":
            _write({"event": "finished", "id": report.nodeid, "outcome": report.outcome, "marks": [], "reason": _reason(report)[-2000:]})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        marks = [mark for mark in MARKERS if mark in report.keywords]
        reason = "" if report.outcome == "passed" else _reason(report)[-2000:]
        found = {"outcome": report.outcome, "marks": marks, "reason": reason, "seconds": round(report.duration, 2)}
        _write({"event": "finished", "id": report.nodeid, **found})


def register(config: pytest.Config) -> None:
    """Called from the top conftest."""
    if not _is_worker(config) and os.environ.get("LINNET_TEST_REPORT"):
        config.pluginmanager.register(Recorder(), "linnet-recorder")
