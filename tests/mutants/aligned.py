"""Faults in aligned flags: a user who has the flag without the new pods, or the pods without the flag."""

from __future__ import annotations

from tests.mutants.model import Mutant

_CORE = "tests/unit/rollout/test_aligned.py"
_RULE = "tests/unit/flags/test_buckets.py"
_ROUTE = "tests/unit/traffic/test_bucketing.py"

MUTANTS = (
    Mutant(
        name="a-bucket-is-off-by-one",
        protects="aligned: the SDKs' bucket",
        path="flags/buckets.py",
        old="signed=False) % BUCKETS + 1",
        new="signed=False) % BUCKETS",
        test=f"{_RULE}::test_a_bucket_is_where_the_sdk_lets_the_user_in",
    ),
    Mutant(
        name="a-bucket-has-another-seed",
        protects="aligned: the SDKs' bucket",
        path="flags/buckets.py",
        old='mmh3.hash(f"{group}:{identity}", 0,',
        new='mmh3.hash(f"{group}:{identity}", 1,',
        test=f"{_RULE}::test_a_bucket_is_where_the_sdk_lets_the_user_in",
    ),
    Mutant(
        name="a-pattern-leaves-out-its-last-bucket",
        protects="aligned: the route's buckets",
        path="flags/buckets.py",
        old='        yield f"{tens}{_digits(0, units)}"',
        new='        yield f"{tens}{_digits(0, max(0, units - 1))}"',
        test=f"{_RULE}::test_a_pattern_takes_its_buckets_and_no_other",
    ),
    Mutant(
        name="a-pattern-matches-anywhere",
        protects="aligned: the route's buckets",
        path="flags/buckets.py",
        old="return f\"^({'|'.join(_parts(percent))})$\"",
        new="return f\"({'|'.join(_parts(percent))})\"",
        test=f"{_RULE}::test_a_pattern_takes_its_buckets_and_no_other",
    ),
    Mutant(
        name="an-aligned-flag-keeps-a-group-of-its-own",
        protects="aligned: one group for route and flag",
        path="daemon/rollout/shares.py",
        old='        group=group if flag.mode == "Aligned" else "",\n',
        new='        group=flag.key or flag.name if flag.mode == "Aligned" else "",\n',
        test=f"{_CORE}::test_all_aligned_flags_have_the_routes_group",
    ),
    Mutant(
        name="an-aligned-flag-rises-beyond-the-weight",
        protects="aligned: never more than the route gives",
        path="daemon/rollout/ramp.py",
        old="    due = {name: shares.within(asked, weight) for name, asked in turn.step.flags.items()}\n",
        new="    due = dict(turn.step.flags)\n",
        test=f"{_CORE}::test_the_flag_climbs_with_the_evidence",
    ),
    Mutant(
        name="a-retreat-waits-for-no-aligned-flag",
        protects="aligned: flag before weight on the way down",
        path="daemon/rollout/exposure.py",
        old="    if falls and not aligning.flags_first(turn, weight, flags):",
        new="    if falls:",
        test=f"{_CORE}::test_before_a_retreat_the_flag_falls",
    ),
    Mutant(
        name="a-flag-stays-above-a-weight-that-fell",
        protects="aligned: the flag follows what stands",
        path="daemon/rollout/exposure.py",
        old="        aligning.trail(turn)\n",
        new="        pass\n",
        test=f"{_CORE}::test_when_pods_die_the_weight_falls_at_once_and_the_flag_after_it",
    ),
    Mutant(
        name="a-random-share-passes-for-the-buckets",
        protects="P8 of aligned routes",
        path="daemon/traffic/bucketing.py",
        old="    return weight, ELSE if weight and weight < BUCKETS else picked",
        new="    return weight, picked",
        test=f"{_ROUTE}::test_a_share_at_random_is_none_that_was_written",
    ),
)
