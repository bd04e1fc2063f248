"""Faults in the adaptive ramp of the core, and in what the daemon gives the judge."""

from __future__ import annotations

from tests.mutants.model import Mutant

_RAMP = "tests/unit/rollout/test_ramp.py"
_LOG = "tests/unit/control/test_ramp.py::test_the_stored_log_is_what_a_release_was_decided_by"

MUTANTS = (
    Mutant(
        name="climbs-beyond-the-step",
        protects="ramp: ceilings",
        path="daemon/rollout/ramp.py",
        old="    return min(max(before, wish), ceiling) if _may_climb",
        new="    return max(before, wish) if _may_climb",
        test=f"{_RAMP}::test_evidence_climbs_and_the_steps_say_how_far",
    ),
    Mutant(
        name="a-wish-for-less-waits-for-the-evidence-to-catch-up",
        protects="ramp: retreat at once",
        path="daemon/rollout/ramp.py",
        old="    if wish < judge.weight:\n",
        new="    if wish < judge.weight and _may_climb(turn, judge.weight):\n",
        test=f"{_RAMP}::test_a_wish_for_less_counts_whatever_weight_it_follows_from",
    ),
    Mutant(
        name="climbs-by-evidence-of-another-weight",
        protects="ramp: no climb on old evidence",
        path="daemon/rollout/ramp.py",
        old="rollout.exposed_at is not None and rollout.weight_reached == seen_at",
        new="rollout.exposed_at is not None",
        test=f"{_RAMP}::test_a_wish_that_follows_from_another_weight_raises_nothing",
    ),
    Mutant(
        name="climbs-through-a-freeze",
        protects="ramp: permits",
        path="daemon/rollout/ramp.py",
        old=' and leave.withheld(turn, "advance") is None',
        new="",
        test=f"{_RAMP}::test_a_freeze_stops_the_climb_and_not_the_fall",
    ),
    Mutant(
        name="climbs-while-a-template-holds",
        protects="ramp: templates hold",
        path="daemon/rollout/ramp.py",
        old="judge is not None and judge.climbs and",
        new="judge is not None and",
        test=f"{_RAMP}::test_templates_that_hold_a_release_hold_its_weight",
    ),
    Mutant(
        name="a-paused-release-climbs",
        protects="ramp: a person's pause",
        path="daemon/rollout/commands.py",
        old="    ramp.hold_at_most(turn)\n",
        new="",
        test=f"{_RAMP}::test_a_person_who_pauses_stops_the_climb_and_not_the_fall",
    ),
    Mutant(
        name="a-dwell-outlasts-a-retreat",
        protects="ramp: dwell at the weight",
        path="daemon/rollout/ramp.py",
        old="    if now != (before is not None):\n",
        new="    if now and before is None:\n",
        test=f"{_RAMP}::test_the_dwell_of_a_step_is_at_its_weight",
    ),
    Mutant(
        name="promoted-without-a-bake",
        protects="judge rule 13: bake",
        path="daemon/rollout/progress.py",
        old='    if turn.now >= ends:\n        return True\n    turn.wait("Baking"',
        new='    if turn.now >= 0:\n        return True\n    turn.wait("Baking"',
        test=f"{_RAMP}::test_a_proven_release_serves_for_its_bake_before_it_is_promoted",
    ),
    Mutant(
        name="a-wide-flag-precedes-its-weight",
        protects="lockstep of flags and weight",
        path="daemon/rollout/ramp.py",
        old="asked if asked.gate is not None or asked.group else _lowered(turn, name, asked)",
        new="asked",
        test=f"{_RAMP}::test_a_flag_that_reaches_others_waits_for_the_steps_weight",
    ),
    Mutant(
        name="a-restart-forgets-under-what-weight-was-counted",
        protects="P5, P7: the log does not depend on a restart",
        path="daemon/rollout/exposures.py",
        old="        turn.roll(exposures=[*rollout.exposures, now][-KEPT:])\n",
        new="        turn.roll(exposures=[now])\n",
        test=_LOG,
    ),
    Mutant(
        name="an-owner-s-bound-is-widened",
        protects="margins of the owner",
        path="daemon/control/measuring.py",
        old="unacceptable=given[m.name]) if m.name in owned else m for m in found.metrics)",
        new="unacceptable=m.unacceptable) if m.name in owned else m for m in found.metrics)",
        test="tests/unit/control/test_learning.py::test_a_bound_that_its_owner_wrote_down_is_not_widened",
    ),
    Mutant(
        name="a-share-that-pods-count",
        protects="judge rule 1: split test only where requests are split",
        path="daemon/control/measuring.py",
        old="    return found if len(naming) <= len(resolved.scopes) else None\n",
        new="    return found\n",
        test="tests/unit/control/test_learning.py::test_only_a_router_that_counts_this_release_alone_shows_the_share",
    ),
    Mutant(
        name="learns-from-a-part",
        protects="history is whole or none",
        path="analyzers/past.py",
        old="        if isinstance(outcome, Samples):\n",
        new='        if not hasattr(outcome, "message"):\n',
        test="tests/unit/analyzers/test_past.py::test_nothing_is_learnt_from_a_part_or_from_a_source_without_a_past",
    ),
)
