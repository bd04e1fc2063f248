"""The error table on the real server: each row that an open-source Unleash can produce, and what the daemon makes of it.

A test of a row is called after its status. Rows that the daemon's own requests never meet (409, 415, a body that is no JSON), and those
that would be everybody's on a shared server (429, maintenance with 503), are in tests/unit/flags/test_unleash_errors.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from flags.errors import Drifted, FlagError, Forbidden, Invalid, Missing, Retryable
from flags.model import Converged, FlagRef
from flags.provider import DEADLINE
from tests.testbed.unleash import BACKEND, PROJECT, Unleash
from tests.unit.flags.contract import gated
from tests.unleash.world import ME, PRODUCTION, UnleashWorld

pytestmark = pytest.mark.unleash


@pytest.fixture
async def world(unleash: Unleash) -> AsyncIterator[UnleashWorld]:
    made = UnleashWorld(unleash)
    yield made
    await made.close()


@pytest.fixture
def change_requests(unleash: Unleash) -> Iterator[None]:
    """Switched on as Enterprise does it; the check itself is in the open-source core."""
    unleash.database.query(
        f"INSERT INTO change_request_settings (project, environment, required_approvals) VALUES ('{PROJECT}', '{PRODUCTION}', 1)"
    )
    yield
    unleash.database.query("DELETE FROM change_request_settings")


async def test_row_401_a_token_that_nobody_knows_is_forbidden(world: UnleashWorld) -> None:
    """401, with the way out and without the token."""
    with pytest.raises(Forbidden, match=r"401.*put a valid one into the Secret") as caught:
        await world.driver(ME, token="*:*.unknown-secret").read(world.flag)
    assert "unknown-secret" not in str(caught.value)
    assert not caught.value.retryable


async def test_row_403_a_backend_token_is_the_wrong_kind(world: UnleashWorld) -> None:
    """It may read flags for SDKs and change nothing."""
    with pytest.raises(Forbidden, match=r"403.*needs the token of an account"):
        await world.driver(ME, token=BACKEND[PRODUCTION]).read(world.flag)


async def test_row_403_rights_that_are_missing_are_named_before_a_write(world: UnleashWorld) -> None:
    """A viewer's token reads the flag, and is refused in advance with the names of the permissions."""
    viewer = world.server.person("vera", role=3)
    provider = world.driver(ME, token=viewer)
    for call in (provider.check(world.flag, gated(5)), provider.apply(world.flag, gated(5), None)):
        with pytest.raises(Forbidden, match=r"vera-.* lacks CREATE_FEATURE_STRATEGY, UPDATE_FEATURE_STRATEGY, UPDATE_FEATURE_ENVIRONMENT"):
            await call
    assert world.strategies() == []


async def test_an_editor_s_token_is_enough(world: UnleashWorld) -> None:
    """The least that an open-source Unleash offers for writing; every change is signed with that account's name."""
    editor = world.driver(ME, token=world.server.person("linnet"))
    original = (await editor.apply(world.flag, gated(5), None)).original or ""
    await editor.zero(world.flag)
    assert (await editor.restore(world.flag, original)).exact
    assert {entry.user.partition("-")[0] for entry in world.log() if entry.kind != "feature-created"} == {"linnet"}


async def test_row_403_change_requests_are_an_error_of_configuration(world: UnleashWorld, change_requests: None) -> None:
    """403 at the first write, told apart from missing rights; nothing else was written."""
    provider = world.driver(ME, token=world.server.person("linnet"))
    with pytest.raises(Forbidden, match=r"Change requests are on.*SKIP_CHANGE_REQUEST"):
        await provider.apply(world.flag, gated(5), None)
    assert (world.strategies(), world.enabled()) == ([], False)


async def test_row_404_a_flag_that_is_nowhere_or_archived_is_missing(world: UnleashWorld) -> None:
    """404 in both cases; taking back what is not there is done already."""
    with pytest.raises(Missing, match="no-such-flag"):
        await world.provider.read(FlagRef(key="no-such-flag", source="unleash"))
    await world.provider.apply(world.flag, gated(5), None)
    world.server.admin("DELETE", f"/projects/{PROJECT}/features/{world.flag.key}")
    with pytest.raises(Missing, match=world.flag.key):
        await world.provider.apply(world.flag, gated(10), gated(5))
    assert not (await world.provider.zero(world.flag)).changed


async def test_row_404_a_flag_of_another_project_is_missing(world: UnleashWorld) -> None:
    """The message has the project that was asked."""
    with pytest.raises(Missing, match="elsewhere"):
        await world.driver(ME, project="elsewhere").read(world.flag)


async def test_row_400_a_limit_of_the_server_is_said(world: UnleashWorld) -> None:
    """400 ExceedsLimitError: 30 strategies are there already, and none of them is changed."""
    for number in range(30):
        world.server.strategy(world.flag.key, PRODUCTION, rollout="0", title=str(number), disabled=True)
    with pytest.raises(Invalid, match="limit"):
        await world.provider.apply(world.flag, gated(5), None)
    assert len(world.strategies()) == 30


async def test_a_release_plan_is_never_touched(world: UnleashWorld) -> None:
    """A strategy that belongs to a milestone (Enterprise, so by a row): refused before a write."""
    identity = world.server.strategy(world.flag.key, PRODUCTION, rollout="0")
    sql = world.server.database.query
    plan = f"plan-{world.flag.key}"
    sql(
        "INSERT INTO release_plan_definitions (id, discriminator, name, feature_name, environment, created_by_user_id, created_at) "
        f"VALUES ('{plan}', 'plan', '{plan}', '{world.flag.key}', '{PRODUCTION}', 1, now())"
    )
    sql(f"INSERT INTO milestones (id, name, sort_order, release_plan_definition_id) VALUES ('m-{plan}', 'm', 0, '{plan}')")
    sql(f"UPDATE feature_strategies SET milestone_id = 'm-{plan}' WHERE id = '{identity}'")
    with pytest.raises(Invalid, match="a release plan of Unleash drives it"):
        await world.provider.apply(world.flag, gated(5), None)
    assert len(world.strategies()) == 1


async def test_an_address_that_is_no_unleash_api_is_said(world: UnleashWorld) -> None:
    """200 with a page of HTML, as a wrong path gives it."""
    with pytest.raises(FlagError, match=r"no API of Unleash|404"):
        await world.driver(ME, url=f"{world.server.url}/somewhere").read(world.flag)


async def test_the_address_of_the_api_is_taken_too(world: UnleashWorld) -> None:
    """People copy it from their SDK's settings."""
    assert (await world.driver(ME, url=f"{world.server.url}/api/").read(world.flag)).percent is None


async def test_nobody_at_the_address_is_retryable(world: UnleashWorld) -> None:
    """A refused connection."""
    with pytest.raises(Retryable, match=r"127\.0\.0\.1:9"):
        await world.driver(ME, url="http://127.0.0.1:9").read(world.flag)


async def test_a_server_that_says_nothing_is_given_up_at_the_deadline(world: UnleashWorld) -> None:
    """Every verb, whatever the transport does."""
    world.hang()
    provider = world.provider
    loop = asyncio.get_running_loop()
    began = loop.time()
    calls = (
        provider.read(world.flag),
        provider.check(world.flag, gated(5)),
        provider.apply(world.flag, gated(5), None),
        provider.verify(world.flag, gated(5), 0.0),
        provider.zero(world.flag),
        provider.restore(world.flag, '{"environment": false, "foreign": ""}'),
        provider.release(world.flag),
    )
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Retryable}
    assert loop.time() - began < 2 * DEADLINE


async def test_row_500_a_lost_database_is_given_up_at_the_deadline(world: UnleashWorld) -> None:
    """Unleash hangs for a minute then and calls itself healthy; we do not wait, and find the flag as it was afterwards."""
    await world.provider.apply(world.flag, gated(10), None)
    loop = asyncio.get_running_loop()
    world.server.database.stop()
    try:
        assert world.server.request("GET", "/health").status == 200
        began = loop.time()
        with pytest.raises(Retryable):
            await world.provider.zero(world.flag)
        assert loop.time() - began < 2 * DEADLINE
    finally:
        world.server.database.start()
    async with asyncio.timeout(60):
        while True:
            try:
                await world.provider.zero(world.flag)
            except Retryable:
                continue
            break
    assert world.ours()["parameters"]["rollout"] == "0"


async def test_row_500_a_person_who_writes_in_between_is_never_overwritten(world: UnleashWorld) -> None:
    """500 'Test operation failed' is read as a conflict; the second look finds the person's value and names them."""
    await world.provider.apply(world.flag, gated(10), None)
    bob = world.server.person("bob")

    async def write() -> None:
        operation = {"op": "replace", "path": "/parameters/rollout", "value": "3"}
        world.server.patch(world.flag.key, PRODUCTION, world.ours()["id"], operation, token=bob)

    world.race(write)
    with pytest.raises(Drifted, match=r"is at 3 %, not at 10 %: changed by bob-") as caught:
        await world.provider.apply(world.flag, gated(50), gated(10))
    assert caught.value.direction == "lower"
    assert world.ours()["parameters"]["rollout"] == "3"
    assert (await world.provider.read(world.flag)).written_by.startswith("bob-")


async def test_a_full_share_that_a_person_lowers_is_lower_and_nothing_else(world: UnleashWorld) -> None:
    """At 100 % other fields are written than below: a person who types 5 there changed the share alone."""
    await world.provider.apply(world.flag, gated(100), None)
    world.person_sets(5)
    assert (await world.provider.read(world.flag)).percent == 5
    assert isinstance(await world.provider.verify(world.flag, gated(5), 0.0), Converged)
    with pytest.raises(Drifted) as caught:
        await world.provider.verify(world.flag, gated(100), 0.0)
    assert caught.value.direction == "lower"


async def test_the_brake_works_while_people_edit(world: UnleashWorld) -> None:
    """A constraint that somebody adds at the same moment stays, and the share is 0 all the same."""
    await world.provider.apply(world.flag, gated(10), None)
    constraint = {"contextName": "country", "operator": "IN", "values": ["no"]}

    async def write() -> None:
        world.patch(world.ours(), {"op": "replace", "path": "/constraints", "value": [constraint]})

    world.race(write)
    assert (await world.provider.zero(world.flag)).changed
    assert world.ours()["parameters"]["rollout"] == "0"
    assert [c["contextName"] for c in world.ours()["constraints"]] == ["country"]


async def test_a_title_that_changes_at_the_same_moment_stops_the_brake_with_a_word(world: UnleashWorld) -> None:
    """The strategy is the person's from then on; they are not overwritten, and the caller is told."""
    await world.provider.apply(world.flag, gated(10), None)

    async def write() -> None:
        world.patch(world.ours(), {"op": "replace", "path": "/title", "value": "mine"})

    world.race(write)
    with pytest.raises(Drifted, match="was renamed"):
        await world.provider.zero(world.flag)


async def test_a_frozen_database_is_given_up_at_the_deadline_by_every_call(world: UnleashWorld) -> None:
    """Connections stay open and nothing answers: each method ends after 5 s, all of them at the same time."""
    original = (await world.provider.apply(world.flag, gated(10), None)).original or ""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with world.server.database.frozen():
        provider = world.provider
        calls = (
            provider.read(world.flag),
            provider.check(world.flag, gated(20)),
            provider.apply(world.flag, gated(20), gated(10)),
            provider.verify(world.flag, gated(10), 0.0),
            provider.zero(world.flag),
            provider.restore(world.flag, original),
            provider.release(world.flag),
        )
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert loop.time() - began < 3 * DEADLINE
    assert [type(outcome) for outcome in outcomes] == [Retryable] * len(calls)
    async with asyncio.timeout(60):
        while True:
            try:
                await world.provider.zero(world.flag)
                break
            except Retryable:
                await asyncio.sleep(0.2)
    assert world.ours()["parameters"]["rollout"] == "0"
