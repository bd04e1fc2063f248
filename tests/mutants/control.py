"""Faults in the shell and in single writes: what is written into users' objects, in what order, and on what ground."""

from __future__ import annotations

from tests.mutants.model import Mutant

_HOLD = "tests/unit/workloads/test_protection_hold.py"
_ROUTE = "tests/unit/traffic/test_routers.py::TestRouters"

MUTANTS = (
    Mutant(
        name="a-release-without-its-test",
        protects="release race",
        path="daemon/workloads/hold.py",
        old="    operations = [test(TEMPLATE, item.spec.template)]\n    if item.spec.paused:\n",
        new="    operations: list[Operation] = []\n    if item.spec.paused:\n",
        test=f"{_HOLD}::test_a_newer_template_that_lands_before_the_release_stays_held",
    ),
    Mutant(
        name="a-write-back-without-its-test",
        protects="restore race",
        path="daemon/workloads/hold.py",
        old="[test(TEMPLATE, item.spec.template), replace(TEMPLATE, dict(template)), *beside]",
        new="[replace(TEMPLATE, dict(template)), *beside]",
        test=f"{_HOLD}::test_a_template_is_written_back_only_over_the_one_that_was_rejected",
    ),
    Mutant(
        name="the-template-stays-ours",
        protects="P1 owners",
        path="daemon/workloads/hold.py",
        old="    await owners.give_back(client, DEPLOYMENTS, item.namespace, item.name, recorded, written=written)\n",
        new="",
        test=f"{_HOLD}::test_a_template_written_back_leaves_its_owners_as_they_were",
    ),
    Mutant(
        name="the-owner-s-pause-is-ended",
        protects="the owner's pause",
        path="daemon/workloads/hold.py",
        old="    ours = item.spec.paused and item.metadata.annotation(names.HELD_MARK)\n",
        new="    ours = item.spec.paused\n",
        test=f"{_HOLD}::test_a_pause_of_the_owner_is_not_ours_to_end",
    ),
    Mutant(
        name="a-weight-without-its-test",
        protects="JSON Patch test",
        path="daemon/traffic/dialect.py",
        old='    operations = [_guard(dialect, at, stable), add(f"{at}/{dialect.weight}", 100 - weight)]\n',
        new='    operations = [add(f"{at}/{dialect.weight}", 100 - weight)]\n',
        test=f"{_ROUTE}::test_a_route_that_was_rearranged_before_the_first_write_is_not_written_blindly",
    ),
    Mutant(
        name="an-old-report-is-an-acceptance",
        protects="order at a route",
        path="daemon/traffic/gatewayapi.py",
        old='found is None or found.get("observedGeneration", 0) < route.metadata.generation',
        new="found is None",
        test=f"{_ROUTE}::test_accepted_only_when_every_parent_speaks_of_this_generation",
    ),
    Mutant(
        name="the-route-s-owners-stay-ours",
        protects="P1 route restore",
        path="daemon/traffic/weighted.py",
        old='            await owners.give_back(self._client, resource, scope.namespace, scope.name, entries[0].owners or "[]", written=written)\n',
        new="            pass\n",
        test=f"{_ROUTE}::test_restoring_leaves_no_trace",
    ),
    Mutant(
        name="the-route-keeps-our-weight",
        protects="P1 route restore",
        path="daemon/traffic/dialect.py",
        old="    if now.get(field) == before.get(field):\n        return []\n",
        new="    return []\n",
        test=f"{_ROUTE}::test_restoring_leaves_no_trace",
    ),
    Mutant(
        name="flags-before-the-weight",
        protects="P3 abort order",
        path="daemon/control/reconcile.py",
        old='order = {"SetWeight": 0, "ZeroFlags": 1}',
        new='order = {"SetWeight": 1, "ZeroFlags": 0}',
        test="tests/unit/control/test_protection_order.py",
    ),
    Mutant(
        name="old-annotations-release-the-new-template",
        protects="one write, one release",
        path="daemon/control/following.py",
        old='Permit(source="Annotations", start=False',
        new='Permit(source="Annotations", start=True',
        test="tests/unit/control/test_following.py::test_a_release_waits_for_a_canary_that_has_not_followed_yet",
    ),
    Mutant(
        name="settle-counts-from-the-wish",
        protects="samples after the flag",
        path="daemon/control/flagging.py",
        old="            since = max(since, at)\n",
        new="",
        test="tests/unit/control/test_flagging.py::test_a_settle_counts_from_the_write_and_not_from_the_wish",
    ),
    Mutant(
        name="a-flag-is-found-missing-in-mid-release",
        protects="preflight",
        path="daemon/control/reconcile.py",
        old='    return held or resolved.canary.status.phase == "Pending"\n',
        new="    return False\n",
        test="tests/unit/control/test_flagging.py::test_a_flag_that_cannot_be_moved_is_refused_before_anything_is_written",
    ),
    Mutant(
        name="acts-before-the-status",
        protects="P5 status before act",
        path="daemon/control/reconcile.py",
        old="        canary = await self._write(stored, status, now)\n",
        new="        await self._act(resolved, decision)\n        canary = await self._write(stored, status, now)\n",
        test="tests/unit/control/test_undo.py::test_what_is_written_is_recorded_before",
    ),
    Mutant(
        name="a-library-of-fifty-megabytes",
        protects="memory",
        path="daemon/control/runs.py",
        old="import hashlib\n",
        new="import hashlib\nimport scipy.stats\n",
        test="tests/unit/cli/test_imports.py::test_importing_the_daemon_loads_nothing_heavy",
    ),
    Mutant(
        name="a-watch-that-begins-in-silence",
        protects="status --watch",
        path="daemon/cli/status.py",
        old="    before: list[Any] | None = None\n",
        new="    before: list[Any] | None = []\n",
        test="tests/unit/cli/test_status.py::test_watch_shows_every_change_until_it_is_interrupted",
    ),
)
