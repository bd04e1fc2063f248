"""The pure half of the Unleash provider: the bucket rule, how far strategies reach, what the witness doubts, and what is never shown."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.admission import admit
from flags.buckets import bucket, share
from flags.errors import Invalid
from flags.model import Cohort, Constraint, Desired, FlagRef, Gate, Owner
from flags.registry import Ports, build
from flags.unleash import UnleashProvider
from flags.unleash_admin import UnleashSource
from flags.unleash_rules import Arm, arms
from flags.unleash_view import Strategy, combined, constraint
from flags.unleash_witness import Sight, doubt

FLAG = FlagRef(key="new-checkout", source="unleash")
MARK = "prod/shop/checkout/uid-1"
OWNER = Owner(cluster="c", namespace="n", name="m", uid="u")
IDS = tuple(f"user-{number}" for number in range(20_000))


@pytest.mark.parametrize(
    ("group", "identity", "expected"),
    [
        ("new-checkout", "user-0", 36),
        ("new-checkout", "user-1", 32),
        ("new-checkout", "user-2", 90),
        ("new-checkout", "ålesund", 99),
        ("g", "u1", 74),
    ],
)
def test_the_bucket_rule_is_that_of_the_sdks(group: str, identity: str, expected: int) -> None:
    """Vectors taken from the SDK itself."""
    assert bucket(group, identity) == expected


@pytest.mark.parametrize(("percent", "expected"), [(0, 0), (1, 1.045), (10, 9.885), (25, 25.16), (50, 50.255), (99, 98.895), (100, 100)])
def test_shares_of_20000_ids_are_those_of_the_sdks(percent: int, expected: float) -> None:
    """To the id."""
    assert round(100 * len(share("new-checkout", IDS, percent)) / len(IDS), 3) == expected


@given(st.text(max_size=20), st.text(max_size=20), st.integers(0, 99))
def test_a_larger_share_keeps_everybody(group: str, identity: str, percent: int) -> None:
    """Nobody who has a flag loses it when its percent rises."""
    assert share(group, [identity], percent) <= share(group, [identity], percent + 1)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({"name": "default"}, 100),
        ({"name": "flexibleRollout", "parameters": {"rollout": "30"}}, 30),
        ({"name": "flexibleRollout", "parameters": {"rollout": "30"}, "disabled": True}, 0),
        ({"name": "flexibleRollout", "parameters": {"rollout": "12.5"}}, 13),
        ({"name": "flexibleRollout", "parameters": {"rollout": "250"}}, 100),
        ({"name": "flexibleRollout", "parameters": {"rollout": "many"}}, 0),
        ({"name": "gradualRolloutRandom", "parameters": {"percentage": "7"}}, 7),
        ({"name": "userWithId", "parameters": {"userIds": "ann"}}, 0),
        ({"name": "of-our-own", "parameters": {}}, 0),
    ],
)
def test_how_far_a_strategy_reaches(strategy: dict[str, Any], expected: int) -> None:
    """The widest reading of what SDKs read differently; lists of people reach nobody else."""
    assert Strategy(**strategy).reach == expected


def test_strategies_of_one_group_overlap_and_others_add_up_by_chance() -> None:
    """Strategies are OR-ed."""
    one = Strategy(name="flexibleRollout", parameters={"rollout": "30", "groupId": "g"})
    two = Strategy(name="flexibleRollout", parameters={"rollout": "50", "groupId": "g"})
    other = Strategy(name="flexibleRollout", parameters={"rollout": "50", "groupId": "h"})
    assert (combined([one, two], "g"), combined([one, other], "g"), combined([], "g")) == (50, 65, 0)


def test_a_constraint_is_written_whole() -> None:
    """Lists for the operators of lists, one value for the others; nothing is left to a default."""
    listed = constraint(Constraint(attribute="plan", values=("a", "b")))
    single = constraint(Constraint(attribute="age", operator="NUM_GTE", values=("18",)))
    assert (listed["values"], single["value"], single["values"]) == (["a", "b"], "18", [])
    assert {"inverted", "caseInsensitive"} <= listed.keys()


def beta(operator: str, *values: str) -> Cohort:
    return Cohort(name="beta", percent=1, constraints=(Constraint(attribute="plan", values=values, operator=operator),))


@pytest.mark.parametrize(
    ("desired", "says"),
    [
        (Desired(percent=1, cohorts=(Cohort(name="beta", percent=1),)), "nothing says who is in it"),
        (Desired(percent=1, cohorts=(Cohort(name="all", percent=1, segment="s"),)), "everybody is called"),
        (Desired(percent=1, cohorts=(Cohort(name="b", percent=1, segment="s"), Cohort(name="b", percent=2, segment="s"))), "twice"),
        (Desired(percent=1, cohorts=(Cohort(name="b", percent=101, segment="s"),)), r"cohorts\[b\].percent is 101"),
        (Desired(percent=1, cohorts=(Cohort(name="b", percent=1, constraints=(Constraint(attribute="x", values=()),)),)), "no values"),
        (Desired(percent=1, cohorts=(beta("GLOB", "x"),)), r"constraints\[plan\].operator is 'GLOB'"),
        (Desired(percent=1, cohorts=(beta("NUM_GT", "1", "2"),)), "NUM_GT takes one value"),
        (Desired(percent=1, stickiness=""), "stickiness"),
    ],
)
def test_what_cannot_be_written_is_refused_by_field(desired: Desired, says: str) -> None:
    """Before any call."""
    provider = UnleashProvider(UnleashSource(url="https://u.example", token="t", environment="e"), OWNER, NoHttp())
    with pytest.raises(Invalid, match=says):
        admit(FLAG, desired, provider.capabilities)


# The witness.

WANTED = Desired(percent=30, gate=Gate())


def sight(arm: Arm, *, rollout: str | None = None, group: str = "new-checkout", enabled: bool = True, more: tuple[Any, ...] = ()) -> Sight:
    """An SDK that has this strategy, evaluating by a group id that may be another one."""
    percent = int(rollout or arm.parameters["rollout"])
    mark = f"{MARK}@{percent}"

    def evaluate(context: dict[str, Any]) -> bool:
        return context["properties"].get("track") == "canary" and bool(share(group, [context["userId"]], percent))

    return Sight(enabled, [{"parameters": {**arm.parameters, "rollout": str(percent), "linnet": mark}}, *more], evaluate)


def doubted(found: Sight | None) -> str:
    wanted = arms(FLAG, WANTED, MARK, {})
    return doubt(found, FLAG.key, WANTED, wanted)


ARM = arms(FLAG, WANTED, MARK, {})["all"]


def test_a_witness_that_sees_what_was_written_has_no_doubt() -> None:
    """Payload and probes agree."""
    assert doubted(sight(ARM)) == ""


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (None, "has no flag"),
        (sight(ARM, enabled=False), "switched off"),
        (sight(ARM, rollout="10"), "does not have flag new-checkout at 30 %"),
        (sight(ARM, group="another"), "evaluate flag new-checkout otherwise than the bucket rule"),
    ],
)
def test_a_witness_doubts(found: Sight | None, says: str) -> None:
    """The old percent, another group id, a flag that is off: each is told apart, and the step waits."""
    assert says in doubted(found)


def test_beside_strategies_of_others_more_may_be_in_but_never_fewer() -> None:
    """Somebody whom we leave out may have the flag by another strategy."""
    everybody = Sight(True, [*sight(ARM).strategies, {"parameters": {"rollout": "1"}}], lambda _: True)
    nobody = Sight(True, everybody.strategies, lambda _: False)
    assert doubted(everybody) == ""
    assert "otherwise" in doubted(nobody)


# What is never shown, and never loaded.


class NoHttp:
    async def request(self, method: str, url: str, *, headers: Any, data: bytes | None, deadline: float) -> Any:
        raise AssertionError(url)


def test_no_token_is_in_a_text() -> None:
    """Neither in the source as it is shown, nor in the error about its options."""
    source = UnleashSource(url="https://u.example/api/", token="secret-a", environment="production", client_token="secret-b")
    assert "secret" not in repr(source) + str(source)
    assert source.base == "https://u.example"
    ports = Ports(objects=None, http=NoHttp())  # type: ignore[arg-type]
    with pytest.raises(Invalid) as caught:
        build("unleash", {"url": "https://u.example", "token": "secret-a"}, OWNER, ports)
    assert "environment" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_sdk_is_loaded_only_for_the_first_witness() -> None:
    """It costs most of a second, and most Linnets drive no flag of Unleash."""
    code = "import json, sys, flags.registry, daemon.control.daemon; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = json.loads(done.stdout)
    assert "flags.unleash_witness" in loaded
    assert not [name for name in loaded if name.startswith(("UnleashClient", "yggdrasil_engine", "apscheduler"))]
