"""Faults in the line of releases: caps that are passed, and places that are lost."""

from __future__ import annotations

from tests.mutants.model import Mutant

_PURE = "tests/unit/rollout/test_line.py"
_WHOLE = "tests/unit/control/test_line.py"

MUTANTS = (
    Mutant(
        name="a-start-that-is-being-written-is-not-counted",
        protects="caps: workers that decide at the same time",
        path="daemon/control/reconcile.py",
        old="            self._line.begins(key)  # before",
        new="            pass  # before",
        test=f"{_WHOLE}::test_releases_that_come_all_at_once_never_pass_the_cap",
    ),
    Mutant(
        name="who-is-served-is-forgotten",
        protects="caps: no namespace starves",
        path="daemon/rollout/line.py",
        old="max(waiting[n][0].since, served.get(n, waiting[n][0].since))",
        new="waiting[n][0].since",
        test=f"{_PURE}::test_no_namespace_keeps_another_waiting_for_more_than_one_release",
    ),
    Mutant(
        name="a-frozen-release-takes-a-slot",
        protects="caps: who may not start takes none",
        path="daemon/rollout/leave.py",
        old="key=lambda p: (not p.queue, p.owned,",
        new="key=lambda p: (p.queue, p.owned,",
        test=f"{_PURE}::test_a_freeze_is_said_first_and_the_place_is_kept_through_it",
    ),
    Mutant(
        name="each-wait-is-a-new-place",
        protects="caps: order kept",
        path="daemon/rollout/leave.py",
        old="turn.set(queued_since=turn.status.queued_since or stamp(turn.now))",
        new="turn.set(queued_since=stamp(turn.now))",
        test=f"{_PURE}::test_a_release_waits_in_line_without_a_deadline_and_people_hear_of_it_once",
    ),
    Mutant(
        name="the-next-in-line-sleeps-on",
        protects="caps: woken, not polled",
        path="daemon/control/wakeups.py",
        old="        if new is None or (old is not None and _staked(old) != _staked(new)):\n",
        new="        if new is None:\n",
        test=f"{_WHOLE}::test_releases_wait_in_line_through_a_restart_and_each_namespace_has_its_turn",
    ),
)
