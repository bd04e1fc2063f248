"""Faults that the random walk must find: each breaks a promise in the records of the API server, and not only in a unit's answer."""

from __future__ import annotations

from tests.mutants.model import Mutant

_WALK = "tests/walk/test_walk.py::test_a_short_walk_breaks_no_promise"

MUTANTS = (
    Mutant(
        name="walk-no-floor",
        protects="P2 floor",
        path="daemon/rollout/floor.py",
        old="        turn.do(LiftFloor(minimum=wanted))\n",
        new="        pass\n",
        test=_WALK,
    ),
    Mutant(
        name="walk-a-release-without-its-test",
        protects="P8 release race",
        path="daemon/workloads/hold.py",
        old="    operations = [test(TEMPLATE, item.spec.template)]\n    if item.spec.paused:\n",
        new="    operations: list[Operation] = []\n    if item.spec.paused:\n",
        test=_WALK,
    ),
    Mutant(
        name="walk-compared-with-the-spec-before",
        protects="P10 what was rejected stays held",
        path="daemon/rollout/decide.py",
        old="        memory.hold(turn)\n    else:\n",
        new="        memory.hold(turn)\n        if workload.revision == turn.status.observed_revision:\n            turn.do(ReleaseHold(revision=workload.revision))\n    else:\n",
        test=_WALK,
    ),
    Mutant(
        name="walk-memory-lost-on-restart",
        protects="P9 memory",
        path="daemon/workloads/revisions.py",
        old="""    def _remembered(self, item: ControllerRevision) -> bool:
        failed = item.metadata.annotation(FAILED_AT)
        return bool(failed) and since(failed, self._now()) < MEMORY
""",
        new="""    def _remembered(self, item: ControllerRevision, born: list[float] = []) -> bool:
        born.append(self._now())
        failed = item.metadata.annotation(FAILED_AT)
        return bool(failed) and since(failed, self._now()) < self._now() - born[0]
""",
        test=_WALK,
    ),
)
