"""LaunchDarkly: the contract on a server written from the vendor's documentation, its models on what that answers, its SDK on what that holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from flags.errors import Conflict, Drifted, Exposed, FlagError, Forbidden, Invalid, Missing, Retryable
from flags.launchdarkly_api import API_VERSION, SEMANTIC, LaunchDarklySource, Limits
from flags.model import Cohort, Constraint, Desired, FlagRef, Gate
from tests.unit.flags.contract import ProviderContract, beta, gated
from tests.unit.flags.launchdarkly_server import TOKEN, LaunchDarkly
from tests.unit.flags.launchdarkly_world import FLAG, ME, OFF, ON, LaunchDarklyWorld

HEADERS = {"Authorization": TOKEN, "LD-API-Version": API_VERSION}
IDS = tuple(f"user-{number}" for number in range(20_000))


@pytest.fixture
async def world() -> AsyncIterator[LaunchDarklyWorld]:
    server = LaunchDarkly()
    made = LaunchDarklyWorld(server, await server.start())
    yield made
    await made.caller.close()
    await server.stop()


def person_s_rule(world: LaunchDarklyWorld, *clauses: tuple[str, str], on: bool = False) -> str:
    """A person adds a rule at the end; gives its id."""
    made = [{"contextKind": "user", "attribute": a, "op": "in", "negate": False, "values": [v]} for a, v in clauses]
    world.server.person({"kind": "addRule", "clauses": made, "variationId": ON if on else OFF})
    return str(world.server.config()["rules"][-1]["_id"])


class TestContract(ProviderContract):
    """Targeting is on and serves false."""


@pytest.mark.parametrize(("percent", "expected"), [(1, 1.0), (10, 10.0), (50, 50.0)])
async def test_the_vendor_s_sdk_gives_20000_contexts_the_share(world: LaunchDarklyWorld, percent: int, expected: float) -> None:
    """From the server's state, on the canary alone; percent sent as thousandths would be a thousandth of it."""
    await world.provider.apply(FLAG, gated(percent), None)
    found = 100 * len(world.on(IDS, "canary")) / len(IDS)
    assert abs(found - expected) <= 1.0
    assert world.on(IDS[:500], "stable") == set()
    assert world.ours()["rollout"]["variations"] == [
        {"variation": 0, "weight": percent * 1000},
        {"variation": 1, "weight": 100_000 - percent * 1000},
    ]


async def test_a_cohort_of_20000_contexts_and_nobody_else(world: LaunchDarklyWorld) -> None:
    """Beta 50 and everybody 1: the first match decides, and the larger share comes first."""
    await world.provider.apply(FLAG, Desired(percent=1, gate=Gate(), cohorts=(beta(50),)), None)
    inside, outside = world.on(IDS, "canary", tier="beta"), world.on(IDS, "canary", tier="free")
    assert abs(100 * len(inside) / len(IDS) - 50) <= 1
    assert abs(100 * len(outside) / len(IDS) - 1) <= 0.3
    assert outside < inside
    both = Desired(percent=80, gate=Gate(), cohorts=(beta(50),))
    await world.provider.apply(FLAG, both, Desired(percent=1, gate=Gate(), cohorts=(beta(50),)))
    assert world.on(IDS, "canary", tier="beta") == world.on(IDS, "canary", tier="free")


async def test_the_answers_of_the_contract_server_pass_the_vendor_s_models(world: LaunchDarklyWorld) -> None:
    """Read, patched and previewed: what our client was tested on is what the vendor's own client would take."""
    from launchdarkly_api.models.feature_flag import FeatureFlag

    person_s_rule(world, ("team", "staff"), on=True)
    await world.provider.apply(FLAG, Desired(percent=7, gate=Gate(), cohorts=(beta(30),)), None)
    for flag in world.server.flags.values():
        found = FeatureFlag.from_dict(flag)
        assert found is not None
        assert found.environments is not None
        assert len(found.environments["production"].rules or []) == len(flag["environments"]["production"]["rules"])


async def test_the_contract_server_s_audit_log_passes_the_vendor_s_models(world: LaunchDarklyWorld) -> None:
    """As an answer, the newest first, with what a patch of ours and a person's edit left there."""
    from launchdarkly_api.models.audit_log_entry_listing_rep_collection import AuditLogEntryListingRepCollection

    await world.provider.apply(FLAG, gated(5), None)
    world.server.person({"kind": "turnFlagOff"})
    found = await world.caller.request("GET", f"{world.url}/api/v2/auditlog?limit=20", headers=HEADERS, data=None, deadline=5)
    entries = AuditLogEntryListingRepCollection.from_json(found.body.decode())
    assert entries is not None
    assert [e.id for e in entries.items] == [e["_id"] for e in reversed(world.server.audit)]
    assert {r for e in entries.items for r in (e.target and e.target.resources) or []} == {"proj/shop:env/production:flag/new-checkout"}


async def test_ours_stands_before_the_rule_that_would_hide_it(world: LaunchDarklyWorld) -> None:
    """A person's rule for everybody of the canary ends the search: behind it ours never matches. A narrower one keeps its say."""
    staff = person_s_rule(world, ("team", "staff"))
    catch_all = person_s_rule(world, ("track", "canary"))
    await world.provider.apply(FLAG, gated(100), None)
    assert [rule["_id"] for rule in world.server.config()["rules"]] == [staff, world.ours()["_id"], catch_all]
    assert "reorderRules" not in [one["kind"] for patch in world.server.patches for one in patch["instructions"]]  # it was put there
    assert world.on(IDS[:100], "canary") == set(IDS[:100])
    assert world.on(IDS[:100], "canary", team="staff") == set()


async def test_a_rule_that_can_never_match_is_refused_before_anything_is_written(world: LaunchDarklyWorld) -> None:
    """Field, value and way out."""
    never = Cohort(name="old", percent=50, constraints=(Constraint(attribute="track", values=("stable",)),))
    with pytest.raises(Invalid, match=r"cohorts\[old\]\.constraints\[track\] is 'stable'.*can never match.*Drop one"):
        await world.provider.check(FLAG, Desired(percent=1, gate=Gate(), cohorts=(never,)))
    assert world.server.patches == []


async def test_a_person_who_hides_our_rule_pulled_the_brake(world: LaunchDarklyWorld) -> None:
    """Ours still stands at its share, and matches nobody."""
    await world.provider.apply(FLAG, gated(10), None)
    theirs = person_s_rule(world, ("track", "canary"))
    world.server.person(
        {"kind": "reorderRules", "ruleIds": [theirs, *(r["_id"] for r in world.server.config()["rules"] if r["_id"] != theirs)]}
    )
    with pytest.raises(Drifted, match="never matches any more") as caught:
        await world.provider.verify(FLAG, gated(10), 0.0)
    assert caught.value.direction == "lower"


async def test_targeting_is_switched_on_last_and_off_again(world: LaunchDarklyWorld) -> None:
    """In the patch in which our rule gets its share; after the rollback it is off as it was found."""
    world.server.person({"kind": "turnFlagOff"})
    before = world.snapshot()
    original = (await world.provider.apply(FLAG, gated(10), None)).original or ""
    kinds = [[one["kind"] for one in patch["instructions"]] for patch in world.server.patches]
    assert kinds == [["addRule"], ["updateRuleVariationOrRollout", "updateRuleDescription", "turnFlagOn"]]
    await world.provider.zero(FLAG)
    assert (await world.provider.restore(FLAG, original)).exact
    assert world.snapshot() == before


async def test_switching_on_must_not_open_the_flag(world: LaunchDarklyWorld) -> None:
    """Targeting off, and its default rule serves true: on would mean everybody."""
    world.person_opens_for_all()
    world.person_disables()
    with pytest.raises(Exposed, match=r"100 % of everybody without Linnet as soon as targeting is on, by the default rule"):
        await world.provider.apply(FLAG, gated(5), None)


async def test_a_write_of_the_same_moment_brings_our_share_back_to_nobody(world: LaunchDarklyWorld) -> None:
    """The version of the answer tells; what the other hand meant is not guessed."""
    await world.provider.apply(FLAG, gated(10), None)

    async def edit() -> None:
        world.person_sets(3)

    world.race(edit)
    with pytest.raises(Drifted, match="took its share back to 0"):
        await world.provider.apply(FLAG, gated(50), gated(10))
    assert world.on(IDS[:2000], "canary") == set()


async def test_a_rule_whose_answer_was_lost_is_found_by_its_clauses(world: LaunchDarklyWorld) -> None:
    """It serves nobody and is not signed: taken, not doubled."""
    world.caller.lose.add("PATCH")
    with pytest.raises(Retryable):
        await world.provider.apply(FLAG, gated(10), None)
    await world.provider.apply(FLAG, gated(10), None)
    assert len(world.server.config()["rules"]) == 1


def _set(world: LaunchDarklyWorld, **switches: Any) -> None:
    for name, value in switches.items():
        setattr(world.server, name, value)


@pytest.mark.parametrize(
    ("switches", "error", "says"),
    [
        ({"approvals": True}, Forbidden, r"approvals are required in environment production \(405.*bypassRequiredApproval"),
        ({"scheduled": True}, Invalid, r"pending scheduled change to fail.*withdraw it or wait for it: Linnet never overrides it"),
        ({"read_only": True}, Forbidden, r"403: Access to the requested resource was denied.*give it the right"),
        ({"limited": {"Retry-After": "7"}}, Retryable, r"429: its rate limit is used up for 7 s"),
        ({"limited": {"X-Ratelimit-Reset": "1004000"}}, Retryable, r"used up for 4 s"),
    ],
)
async def test_what_the_service_refuses_is_known_before_anything_is_written(
    world: LaunchDarklyWorld, switches: dict[str, Any], error: type[FlagError], says: str
) -> None:
    """By a dry run, in `check`."""
    _set(world, **switches)
    before = world.snapshot()
    with pytest.raises(error, match=says) as caught:
        await world.provider.check(FLAG, gated(5))
    assert (world.snapshot(), TOKEN in str(caught.value)) == (before, False)


async def test_a_used_up_limit_is_not_asked_against(world: LaunchDarklyWorld) -> None:
    """Until the time that the headers gave; then again."""
    _set(world, limited={"X-Ratelimit-Reset": "1004000"})
    for _ in range(3):
        with pytest.raises(Retryable, match="rate limit"):
            await world.provider.read(FLAG)
    assert world.calls() == 1
    _set(world, limited=None)
    world.now += 5
    assert not (await world.provider.read(FLAG)).own


def test_a_limit_that_says_nonsense_silences_nobody_for_long() -> None:
    """A second without headers, a minute at most."""
    limits = Limits(lambda: 1000.0)
    source = LaunchDarklySource(token="t", project="p", environment="e")
    waits = [limits.heed(source, headers) for headers in ({}, {"Retry-After": "soon"}, {"Retry-After": "90000"})]
    assert waits == [1.0, 1.0, 60.0]


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        ({"token": "sdk-123"}, Forbidden, "401: Invalid access token"),
        ({"token": f"Bearer {TOKEN}"}, Forbidden, "401"),
        ({"project": "elsewhere"}, Missing, "Unknown project key elsewhere"),
        ({"environment": "staging"}, Invalid, r"launchDarkly\.environment is 'staging': flag new-checkout is not in it"),
    ],
)
async def test_a_source_that_is_wrong_is_said(world: LaunchDarklyWorld, more: dict[str, Any], error: type[FlagError], says: str) -> None:
    """Field, value and way out, without the token."""
    with pytest.raises(error, match=says):
        await world.driver(ME, **more).check(FLAG, gated(5))


async def test_each_change_says_who_made_it_and_for_what(world: LaunchDarklyWorld) -> None:
    """A comment with every patch; the environment by its key; nothing but what changes."""
    await world.provider.apply(FLAG, gated(10), None)
    await world.provider.apply(FLAG, gated(20), gated(10))
    assert {(p["comment"], p["environmentKey"]) for p in world.server.patches} == {("Linnet: shop/checkout of prod", "production")}
    assert [one["kind"] for one in world.server.patches[-1]["instructions"]] == ["updateRuleVariationOrRollout", "updateRuleDescription"]
    assert SEMANTIC.endswith("domain-model=launchdarkly.semanticpatch")


async def test_a_flag_of_more_than_true_and_false_is_refused(world: LaunchDarklyWorld) -> None:
    """With its values."""
    world.server.flags[FLAG.key]["variations"].append({"_id": "x", "value": "maybe"})
    with pytest.raises(Invalid, match=r"variations is 'True, False, maybe'"):
        await world.provider.read(FLAG)
    with pytest.raises(Missing, match="no-such"):
        await world.provider.read(FlagRef(key="no-such", source="ld"))


async def test_a_rule_added_by_somebody_while_ours_was_is_a_conflict(world: LaunchDarklyWorld) -> None:
    """Nothing has been opened yet: look again."""

    async def edit() -> None:
        person_s_rule(world, ("team", "staff"))

    world.race(edit)
    with pytest.raises(Conflict, match="which serve nobody yet"):
        await world.provider.apply(FLAG, gated(10), None)
    assert (await world.provider.apply(FLAG, gated(10), None)).changed
    assert len(world.server.config()["rules"]) == 2
