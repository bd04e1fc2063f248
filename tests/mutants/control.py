"""Faults in the shell and in single writes: what is written into users' objects, in what order, and on what ground."""

from __future__ import annotations

from tests.mutants.model import Mutant

_HOLD = "tests/unit/workloads/test_protection_hold.py"

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
        old="    operations = [test(TEMPLATE, item.spec.template), replace(TEMPLATE, dict(template))]\n",
        new="    operations = [replace(TEMPLATE, dict(template))]\n",
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
        old="    if item.spec.paused and item.metadata.annotation(names.HELD_MARK):\n",
        new="    if item.spec.paused:\n",
        test=f"{_HOLD}::test_a_pause_of_the_owner_is_not_ours_to_end",
    ),
)
