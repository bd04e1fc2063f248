"""`linnet wait` answers for one revision, and never with the end of another."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from daemon.api.status import CanaryStatus, HistoryEntry, RolloutStatus
from daemon.cli.waiting import outcome
from tests.unit.cli.world import world

NEW, OLD = "bbbbb", "aaaaa"


def status(**fields: Any) -> CanaryStatus:
    return CanaryStatus(stable_revision=OLD, **{"phase": "Idle", **fields})


def past(revision: str, outcome: str) -> list[HistoryEntry]:
    return [HistoryEntry(revision=revision, outcome=outcome, sentence=f"{revision} {outcome}")]


def under_way(revision: str) -> RolloutStatus:
    return RolloutStatus(revision=revision, started_at="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("seen", "present", "code"),
    [
        (status(), NEW, None),  # the daemon has not looked yet
        (status(history=past(OLD, "Promoted")), NEW, None),  # the one before was promoted: no answer to the question
        (status(history=past(NEW, "Superseded")), NEW, None),  # the same template came again
        (status(phase="Progressing", rollout=under_way(NEW)), NEW, None),
        (status(phase="Progressing", rollout=under_way(NEW), history=past(NEW, "RolledBack")), NEW, None),  # a retry
        (status(phase="RollingBack", rollout=under_way(NEW)), OLD, None),
        (status(phase="Promoting", rollout=under_way(NEW)), NEW, None),
        (CanaryStatus(stable_revision=NEW, phase="Promoting", rollout=under_way(NEW)), NEW, None),  # stable already, not yet done
        (CanaryStatus(stable_revision=NEW, phase="Idle", history=past(NEW, "Promoted")), NEW, 0),
        (CanaryStatus(stable_revision=NEW, phase="Idle"), NEW, 0),
        (CanaryStatus(stable_revision="ccccc", phase="Idle", history=past(NEW, "Promoted")), "ccccc", 0),
        (status(history=past(NEW, "RolledBack")), OLD, 1),  # restored
        (status(phase="Held", history=past(NEW, "RolledBack")), NEW, 1),
        (status(phase="Held"), NEW, 1),
        (status(history=past(NEW, "Superseded")), "ccccc", 1),
        (status(), "ccccc", 1),
        (status(phase="Bypassed"), NEW, 1),
        (status(phase="Inconclusive", rollout=under_way(NEW)), NEW, 3),
    ],
)
def test_the_end_of_the_revision_in_question(seen: CanaryStatus, present: str, code: int | None) -> None:
    """Every standing of a release that a pipeline may meet."""
    end = outcome("web", seen, NEW, present)
    assert (None if end is None else end.code) == code
    assert end is None or end.sentence


async def test_it_waits_for_an_image_that_has_not_arrived(tmp_path: Path) -> None:
    """Started before the apply, as pipelines do: neither the old stable version nor a timeout answers; the abort does."""
    async with world(tmp_path) as w, w.daemon():
        waiting = asyncio.create_task(w.spawn("wait", "web", "--image", "app:v2", "--timeout", "40s"))
        finished = asyncio.create_task(w.spawn("wait", "web", "--image", "app:v2", "--for", "finished", "--timeout", "40s"))
        await w.releasing()
        await w.run("abort", "web")
        code, said = await waiting
        assert code == 1, said
        assert "rolled back after" in said
        assert "stopped by admin" in said
        assert (await finished)[0] == 0


async def test_a_timeout_says_what_is_waited_for(tmp_path: Path) -> None:
    """Exit code 2, with phase and way out."""
    async with world(tmp_path) as w, w.daemon():
        await w.releasing()
        done = await w.run("wait", "web", "--timeout", "1s")
        assert done.exit_code == 2
        assert "not ended after 1 s: web " in done.output
        assert "is Progressing" in done.output
        unknown = await w.run("wait", "web", "--revision", "zzzzz")
        assert unknown.exit_code == 1
        assert "--revision zzzzz is not known of web" in unknown.output
