"""`linnet explain` and `linnet replay` need the stored evidence and nothing else."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from analyzers.evidence import Entry, EvidenceLog, Log, _digest, read, write
from analyzers.ticks import MetricCounts
from daemon.cli.main import main
from tests.unit.analyzers.recorded import recorded

Object = dict[str, Any]
SENTENCE = "checkout 7f9c2 rolled back after 2 min at 5 %: too many failures."


@cache
def _packed(errors: float) -> str:
    return recorded(errors=errors, ticks=40).pack()


def stored(data: str | None, result: str | None = "Fail", reason: str = "Worse", **status: Any) -> Object:
    body: Object = {
        "apiVersion": "linnet.dev/v1alpha1",
        "kind": "AnalysisRun",
        "metadata": {"name": "checkout-7f9c2", "namespace": "shop"},
        "spec": {"canaryRef": {"name": "checkout"}, "revision": "7f9c2", "startedAt": "2026-11-23T01:00:00Z"},
        "status": dict(status),
    }
    if data is not None:
        body["status"]["evidence"] = {"encoding": "zlib+base64", "data": data, "ticks": 9}
    if result is not None:
        verdict = {"result": result, "revision": "7f9c2", "reason": reason, "sentence": SENTENCE, "at": "2026-11-23T01:02:00Z"}
        body["status"]["verdict"] = verdict
    return body


def linnet(tmp_path: Path, command: str, body: Object | str, *words: str) -> Result:
    path = tmp_path / "run.json"
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return CliRunner().invoke(main, [command, "-f", str(path), *words])


def _zeroed(data: str) -> str:
    """The canary's errors away, with a digest that fits."""
    log: Log = read(data)
    entries: list[Entry] = []
    for e in log.entries:
        counts = e.arms["errors"]
        assert counts.canary is not None
        entries.append(
            msgspec.structs.replace(
                e, arms={**e.arms, "errors": MetricCounts(msgspec.structs.replace(counts.canary, errors=0), counts.baseline)}
            )
        )
    return write(msgspec.structs.replace(log, entries=tuple(entries), digest=_digest(log.config, log.base, entries)))


def test_a_verdict_is_given_again_on_another_machine(tmp_path: Path) -> None:
    """From a file alone, also with the stored verdict deleted."""
    done = linnet(tmp_path, "replay", stored(_packed(0.03)))
    assert done.exit_code == 0, done.output
    assert "checkout-7f9c2: Fail" in done.output and "The stored verdict is Fail: the same." in done.output
    deleted = linnet(tmp_path, "replay", stored(_packed(0.03), None))
    assert deleted.exit_code == 0 and "checkout-7f9c2: Fail" in deleted.output and "No verdict is stored" in deleted.output


def test_a_verdict_that_does_not_follow_is_told(tmp_path: Path) -> None:
    """With the canary's errors zeroed the replay says otherwise; with another reason than the counts it does not contradict."""
    done = linnet(tmp_path, "replay", stored(_zeroed(_packed(0.03))), "-o", "json")
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert (found["stored"], found["same"]) == ("Fail", False) and found["verdict"] != "Fail"
    assert linnet(tmp_path, "replay", stored(_packed(0.001), reason="Aborted")).exit_code == 0


def test_edited_evidence_is_refused_in_words(tmp_path: Path) -> None:
    """A count that was changed is a count that was changed."""
    log = read(_packed(0.03))
    edited = write(msgspec.structs.replace(log, entries=log.entries[1:]))
    done = linnet(tmp_path, "replay", stored(edited))
    assert done.exit_code == 1 and "does not match its digest" in done.output


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[", "cannot be read"),
        ({"kind": "List", "items": []}, "holds a list"),
        ({"kind": "Canary"}, "holds no AnalysisRun"),
        (stored(None), "has no evidence"),
        (stored("?"), "cannot be read"),
        (EvidenceLog, "holds no AnalysisRun"),
    ],
    ids=["no yaml", "a list", "another kind", "no evidence", "no log", "plain text"],
)
@pytest.mark.parametrize("command", ["explain", "replay"])
def test_what_is_no_evidence_gets_a_sentence(tmp_path: Path, command: str, body: Any, said: str) -> None:
    """One line that names the file or the run, and no traceback."""
    done = linnet(tmp_path, command, "just text" if body is EvidenceLog else body)
    assert done.exit_code in (1, 2) and said in done.output, done.output
    assert done.output.startswith("linnet: ") and done.output.count("\n") == 1


def test_neither_or_both_of_run_and_file_is_a_usage_error(tmp_path: Path) -> None:
    """Exactly one of them says what is meant."""
    assert CliRunner().invoke(main, ["explain"]).exit_code == 2
    assert "RUN" in linnet(tmp_path, "explain", stored(None), "checkout").output


def test_an_explanation_tells_what_one_asks_at_night(tmp_path: Path) -> None:
    """What, why, how sure, and what if; the picture in three forms."""
    pictures = {kind: tmp_path / f"run.{kind}" for kind in ("svg", "png", "html")}
    words = [w for kind, path in pictures.items() for w in (f"--{kind}", str(path))]
    done = linnet(tmp_path, "explain", stored(_packed(0.03)), *words)
    assert done.exit_code == 0, done.output
    for said in (SENTENCE, "Decided", "the metric that decided: errors", "canary requests failed", "failed canary requests it would not"):
        assert said in done.output
    assert "100 : 1 to be stopped, 20 : 1 in every metric" in done.output
    assert pictures["svg"].read_text().startswith("<svg ") and SENTENCE in pictures["html"].read_text()
    assert pictures["png"].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_an_explanation_for_programs(tmp_path: Path) -> None:
    """The same as numbers."""
    done = linnet(tmp_path, "explain", stored(_packed(0.001), "Pass", "Proven"), "-o", "json")
    found = json.loads(done.output)
    assert found["verdict"] == "Pass" and [m["name"] for m in found["metrics"]] == ["errors", "latency", "cpu", "orders"]
    assert found["buckets"]["latency"]["edges"]


def test_templates_alone_are_told_without_a_picture(tmp_path: Path) -> None:
    """Where nothing was compared there is nothing to draw, and that is said."""
    runs = [{"id": "background/smoke", "template": "smoke", "namespace": "shop", "phase": "Failed", "message": "rate 0.4"}]
    body = stored(None, reason="CheckFailed", templates={"rolloutStartedAt": "2026-11-23T01:00:00Z", "runs": runs})
    done = linnet(tmp_path, "explain", body)
    assert done.exit_code == 0 and "smoke: Failed, rate 0.4" in done.output
    drawn = linnet(tmp_path, "explain", body, "--png", str(tmp_path / "x.png"))
    assert drawn.exit_code == 1 and "no counts to draw" in drawn.output
