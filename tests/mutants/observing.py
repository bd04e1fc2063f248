"""Faults in what only looks: that it writes, that it mixes what must be apart, that it calls silence fine."""

from __future__ import annotations

from tests.mutants.model import Mutant

_CORE = "tests/unit/rollout/test_observing.py"
_WHOLE = "tests/unit/control/test_observing.py"

MUTANTS = (
    Mutant(
        name="observing-gives-back-what-it-never-took",
        protects="Observe writes nothing",
        path="daemon/rollout/observing.py",
        old="    if turn.seen.guarded or turn.seen.deleting:\n",
        new="    if turn.seen.guarded or turn.seen.deleting or turn.seen.strays:\n",
        test=f"{_CORE}::test_whatever_is_seen_nothing_is_written",
    ),
    Mutant(
        name="observed-canary-gets-a-finalizer",
        protects="Observe writes nothing",
        path="daemon/control/reconcile.py",
        old="and not self._resolver.observes(canary)",
        new="",
        test=f"{_WHOLE}::test_enforcing_later_needs_the_field_alone_and_observing_again_gives_all_back",
    ),
    Mutant(
        name="observed-roll-without-proof-is-fine",
        protects="P4 evidence",
        path="daemon/rollout/observing.py",
        old='_say(turn, "NoData" if missing else "TooShort", sentence.too_short(turn))',
        new='_say(turn, "NoData" if missing else "WouldPromote", sentence.would_promote(turn))',
        test=f"{_CORE}::test_a_roll_that_ends_before_a_proof_is_too_short_to_tell_and_never_called_fine",
    ),
    Mutant(
        name="observed-pods-alone-count-as-side-by-side",
        protects="P4 evidence",
        path="daemon/rollout/observing.py",
        old="exposures.append(ExposureStatus(since=alone, weight=ALONE, settled=True))",
        new="exposures.append(ExposureStatus(since=alone, weight=BOTH, settled=True))",
        test=f"{_CORE}::test_after_the_last_old_pod_what_is_counted_belongs_to_no_comparison_side_by_side",
    ),
)
