"""The runner's promise: nothing that did not run is counted as green."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed.run import ROOT, Results, in_namespaces, sessions, violations

CONFTEST = """
import sys
sys.path.insert(0, {root!r})
from tests.testbed import strict
from tests.testbed.strict import pytest_runtest_makereport
def pytest_configure(config):
    config.addinivalue_line("markers", "cluster: x")
    strict.register(config)
"""
TESTS = """
import pytest
def test_good(): pass
def test_bad(): assert 0
@pytest.mark.cluster
def test_skipped(): pytest.skip("no such part")
@pytest.mark.xfail(reason="later")
def test_expected(): assert 0
@pytest.fixture
def broken_end():
    yield
    raise OSError("left behind")
@pytest.mark.cluster
def test_dirty(broken_end): pass
"""


def session(folder: Path, *arguments: str, require: str = "") -> Results:
    """What a real pytest on the tests above reported."""
    (folder / "conftest.py").write_text(CONFTEST.format(root=str(ROOT)))
    (folder / "test_some.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    report = folder / "report.jsonl"
    env = {**os.environ, "LINNET_TEST_REPORT": str(report), "LINNET_REQUIRE_ALL": require}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, str(folder)]
    subprocess.run(command, cwd=folder, env=env, check=False, capture_output=True, timeout=50)
    results = Results()
    results.read(report, collecting=True)
    results.read(report, collecting=False)
    return results


def short(results: Results) -> dict[str, str]:
    return {identity.rpartition("::")[2]: outcome for identity, outcome in results.outcomes.items()}


def test_outcomes_are_the_worst_of_each_tests_phases(tmp_path: Path) -> None:
    """A test whose clean-up fails has failed, and the reason of a skip is kept."""
    results = session(tmp_path)
    assert short(results) == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_skipped": "skipped",
        "test_expected": "skipped",
        "test_dirty": "failed",
    }
    assert any("no such part" in reason for reason in results.reasons.values())
    assert results.never_ran() == []


@pytest.mark.parametrize("spread", [[], ["-n", "2"]])
def test_where_all_is_required_a_skip_and_an_expected_failure_fail(tmp_path: Path, spread: list[str]) -> None:
    """Under LINNET_REQUIRE_ALL=1 a test that does not run is a failed test, on xdist workers too."""
    found = short(session(tmp_path, *spread, require="1"))
    assert found == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_skipped": "failed",
        "test_expected": "failed",
        "test_dirty": "failed",
    }


def test_a_deselected_test_is_noticed(tmp_path: Path) -> None:
    """What was collected as a whole and never ran is a violation by name."""
    results = session(tmp_path, "-k", "good")
    results.collected["test_some.py::test_lost"] = []
    assert violations(results, {}, []) == ["collected and never run: test_some.py::test_lost"]


def test_too_few_passed_tests_of_a_marker_are_a_violation(tmp_path: Path) -> None:
    """The least counts hold for tests that passed, not for tests that exist."""
    results = session(tmp_path)
    found = violations(results, {"cluster": 1}, ["helm"])
    assert "0 tests marked cluster passed, tests/counts.json asks for 1" in found
    assert "not here: helm" in found


def test_every_marked_test_is_in_exactly_one_session(tmp_path: Path) -> None:
    """Scenarios have a session of their own, and a test with two marks is run once."""
    marks = {
        "tests/cluster/test_a.py": "cluster",
        "tests/cluster/test_b.py": "demo",
        "tests/test_c.py": "cluster",
        "tests/test_d.py": "demo",
    }
    for name, marker in marks.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"import pytest\n@pytest.mark.{marker}\n@pytest.mark.unleash\ndef test_x(): pass\n")
    (tmp_path / "tests/test_fast.py").write_text("def test_x(): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    cluster\n    demo\n    unleash\naddopts = --import-mode=importlib\n")
    planned = sessions({f"{name}::test_x": [marker, "unleash"] for name, marker in marks.items()})
    assert [session.name for session in planned] == ["scenarios", "unleash", "cluster"]
    ran = []
    for session in planned:
        command = [sys.executable, "-m", "pytest", "-q", "-rp", "-p", "no:cacheprovider", *session.arguments]
        done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=50)
        ran += [line.split()[1] for line in done.stdout.splitlines() if line.startswith("PASSED")]
    assert sorted(ran) == sorted(f"{name}::test_x" for name in marks)


def test_the_least_counts_name_known_markers() -> None:
    """A misspelt marker in counts.json would ask for nothing."""
    from tests.testbed.strict import MARKERS

    assert set(json.loads((ROOT / "tests" / "counts.json").read_text())) <= set(MARKERS)


def test_root_needs_no_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root runs the command as it is; others get namespaces of their own."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert in_namespaces(["x"]) == ["x"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert in_namespaces(["x"])[:2] == ["unshare", "--map-root-user"]
