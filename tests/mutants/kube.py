"""Faults in the Kubernetes runtime: what is believed of the API server, who may work, whose fields are whose."""

from __future__ import annotations

from tests.mutants.model import Mutant

_LEASE = "tests/unit/kube/test_lease.py"
_OWNERS = "tests/unit/kube/test_owners.py"
_FAULTS = "tests/unit/kube/test_reflector_faults.py"
_TRANSPORT = "tests/unit/kube/test_transport.py"

MUTANTS = (
    Mutant(
        name="410-is-watched-on",
        protects="relist after 410",
        path="daemon/kube/informer.py",
        old='        except errors.Gone as e:\n            self._version = ""\n',
        new="        except errors.Gone as e:\n",
        test=f"{_FAULTS}::test_410_twice_lists_again_and_tells_what_vanished",
        hangs=True,
    ),
    Mutant(
        name="a-broken-watch-spins",
        protects="bounded requests",
        path="daemon/kube/informer.py",
        old="            if pause:\n                await asyncio.sleep(pause)\n",
        new="            if pause:\n                await asyncio.sleep(0)\n",
        test=f"{_FAULTS}::test_a_broken_watch_is_retried_with_growing_pauses_and_never_spins",
        hangs=True,
    ),
    Mutant(
        name="unreadable-objects-are-deleted",
        protects="last good version",
        path="daemon/kube/informer.py",
        old="self._store.replace(items, namespace=self._namespace, keep=self.rejected)",
        new="self._store.replace(items, namespace=self._namespace)",
        test=f"{_FAULTS}::test_an_object_that_cannot_be_read_keeps_its_last_good_version",
    ),
    Mutant(
        name="the-past-undoes-our-write",
        protects="cache after a write",
        path="daemon/kube/store.py",
        old="        return int(new) > int(old)\n",
        new="        return int(new) != int(old)\n",
        test="tests/unit/kube/test_store.py::test_what_was_before_our_own_write_does_not_come_back",
    ),
    Mutant(
        name="work-outlives-the-lease",
        protects="stop before loss",
        path="daemon/kube/lease.py",
        old="            if left <= 0:\n                return False\n",
        new="            if left <= -3600:\n                return False\n",
        test=f"{_LEASE}::test_a_leader_that_cannot_renew_stops_before_another_may_start",
        hangs=True,
    ),
    Mutant(
        name="a-slow-renewal-counts-from-its-answer",
        protects="stop before loss",
        path="daemon/kube/lease.py",
        old="            self._renewed_at = began\n",
        new="            self._renewed_at = self._clock()\n",
        test=f"{_LEASE}::test_a_renewal_counts_from_before_its_request_was_sent",
    ),
    Mutant(
        name="a-living-leader-is-deposed",
        protects="no split brain",
        path="daemon/kube/lease.py",
        old="        return self._clock() - self._observed_at <= duration\n",
        new="        return False\n",
        test=f"{_LEASE}::test_a_restarted_elector_waits_for_a_stranger_whatever_its_clock_says",
    ),
    Mutant(
        name="the-lease-is-released-before-the-work-ended",
        protects="orderly hand-over",
        path="daemon/kube/lease.py",
        old="            try:\n                await self._stop(task)\n            finally:\n",
        new="            try:\n                task.cancel()\n            finally:\n",
        test=f"{_LEASE}::test_work_that_will_not_end_is_reported_before_anybody_else_may_start",
    ),
    Mutant(
        name="owners-are-written-over-a-newer-version",
        protects="P1 owners",
        path="daemon/kube/owners.py",
        old="[at_version(live.resource_version), replace(_PATH, wanted or _STRIP)]",
        new="[replace(_PATH, wanted or _STRIP)]",
        test=f"{_OWNERS}::test_the_write_back_is_one_patch_guarded_by_the_version_and_survives_races",
    ),
    Mutant(
        name="an-owner-s-newer-word-is-changed",
        protects="P1 owners",
        path="daemon/kube/owners.py",
        old='        if current.get("time") == entry.get("time"):\n',
        new="        if True:\n",
        test=f"{_OWNERS}::test_an_owner_who_spoke_since_keeps_its_own_word",
    ),
    Mutant(
        name="our-entry-stays",
        protects="P1 owners",
        path="daemon/kube/owners.py",
        old="    kept = [copy.deepcopy(e) for e in live if not _is_ours(e, manager)]\n",
        new="    kept = [copy.deepcopy(e) for e in live]\n",
        test=f"{_OWNERS}::test_a_newcomer_is_kept_and_the_old_owner_still_gets_its_leaf",
    ),
    Mutant(
        name="a-failed-test-is-any-refusal",
        protects="JSON Patch test",
        path="daemon/kube/errors.py",
        old="        return PatchTestFailed(message, status=code)\n",
        new="        return Invalid(message, status=code)\n",
        test=f"{_TRANSPORT}::test_a_json_patch_that_does_not_fit_is_not_just_invalid",
    ),
    Mutant(
        name="writes-are-repeated-blindly",
        protects="at most once",
        path="daemon/kube/transport.py",
        old="        repeatable = method in _IDEMPOTENT if idempotent is None else idempotent\n",
        new="        repeatable = True\n",
        test=f"{_TRANSPORT}::test_a_write_that_may_have_happened_is_not_repeated",
    ),
    Mutant(
        name="two-workers-one-key",
        protects="one key at a time",
        path="daemon/kube/queue.py",
        old="        if key in self._active:\n            self._again.add(key)\n        elif key not in self._waiting:",
        new="        if key not in self._waiting:",
        test="tests/unit/kube/test_queue.py::TestQueueMachine",
    ),
    Mutant(
        name="status-is-written-each-pass",
        protects="no write at rest",
        path="daemon/kube/status.py",
        old="        if not patch:\n            return None\n",
        new="        if patch is None:\n            return None\n",
        test="tests/unit/kube/test_client.py::test_status_is_written_only_when_it_differs_and_a_lost_race_surfaces",
    ),
    Mutant(
        name="secrets-in-the-repr",
        protects="secrets",
        path="daemon/kube/objects/records.py",
        old='return f"Secret({self.namespace}/{self.name}, keys={sorted(self.data or {})})"',
        new='return f"Secret({self.namespace}/{self.name}, data={self.data})"',
        test="tests/unit/kube/test_client.py::test_a_secret_never_shows_its_values",
    ),
    Mutant(
        name="events-without-a-bound",
        protects="events are bounded",
        path="daemon/kube/events.py",
        old="        if bucket.tokens < 1.0:\n            return False\n",
        new="",
        test="tests/unit/kube/test_events.py::test_a_flapping_object_is_bounded_and_does_not_silence_others",
    ),
)
