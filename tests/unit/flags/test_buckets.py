"""One rule for a user's bucket: what SDKs evaluate, what a gateway's pattern matches, and what we compute are the same."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yggdrasil_engine.engine import UnleashEngine

from flags.admission import problems
from flags.buckets import BUCKETS, PATTERNS, bucket, pattern, within
from flags.launchdarkly import CAN as LAUNCH_DARKLY
from flags.model import Desired

GROUPS = ("linnet", "new-checkout", "größe")


@pytest.fixture(scope="module")
def engine() -> UnleashEngine:
    """The SDKs' engine with a flag for each group and percent."""
    features = [
        {
            "name": f"{group}-{percent}",
            "enabled": True,
            "strategies": [
                {
                    "name": "flexibleRollout",
                    "parameters": {"rollout": str(percent), "stickiness": "userId", "groupId": group},
                    "constraints": [],
                }
            ],
        }
        for group in GROUPS
        for percent in range(BUCKETS)
    ]
    made = UnleashEngine()
    made.take_state(json.dumps({"version": 2, "features": features}))
    return made


@given(group=st.sampled_from(GROUPS), identity=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40))
@settings(max_examples=300, deadline=None)
def test_a_bucket_is_where_the_sdk_lets_the_user_in(engine: UnleashEngine, group: str, identity: str) -> None:
    """On at the bucket's percent and off one below it, whatever letters an id has."""
    place = bucket(group, identity)
    assert 1 <= place <= BUCKETS
    context = {"userId": identity, "properties": {}}
    if place < BUCKETS:
        assert engine.is_enabled(f"{group}-{place}", context).is_enabled
    assert not engine.is_enabled(f"{group}-{place - 1}", context).is_enabled


def test_a_pattern_takes_its_buckets_and_no_other() -> None:
    """All 99 of them on all decimals up to 999, and on what only looks like one: matched anywhere or from the start, as gateways differ."""
    texts = [*map(str, range(1000)), "", "01", "1 ", "1,2", "1\n2", "x1", "+1", "1.0"]
    for percent in range(1, BUCKETS):
        taken = {text for text in texts if re.search(pattern(percent), text)}
        assert taken == {str(n) for n in range(1, percent + 1)} == {text for text in texts if re.fullmatch(pattern(percent), text)}


def test_each_pattern_tells_its_percent() -> None:
    """What stands in a route is read back as the weight."""
    assert len(PATTERNS) == BUCKETS - 1
    assert all(PATTERNS[pattern(percent)] == percent for percent in range(1, BUCKETS))


@pytest.mark.parametrize("percent", [0, 100, -1])
def test_nobody_and_everybody_need_no_pattern(percent: int) -> None:
    """A route without a rule, or with the plain weight."""
    with pytest.raises(ValueError, match="need no pattern"):
        pattern(percent)


def test_a_growing_share_only_adds_users() -> None:
    """Who is in at 10 % is in at 50 %."""
    users = [f"user-{n}" for n in range(500)]
    before: set[str] = set()
    for percent in range(BUCKETS + 1):
        now = {user for user in users if within("linnet", user, percent)}
        assert before <= now
        before = now
    assert before == set(users)


def test_a_provider_with_a_rule_of_its_own_is_not_aligned() -> None:
    """Refused before anything is written, by the mode's name and with the modes that work."""
    desired = Desired(percent=10, group="linnet")
    [refused] = problems("flags[a]", desired, LAUNCH_DARKLY)
    assert (refused.field, refused.value) == ("flags[a].mode", "Aligned")
    assert "Use mode Gated or Independent" in str(refused)
    assert not list(problems("flags[a]", desired, msgspec.structs.replace(LAUNCH_DARKLY, buckets=True)))
