"""A flag service of one's own, driven by templates: the contract in two dialects, and what is wrong with a template, said before a call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from flags import generic_templates as templates
from flags.errors import Conflict, FlagError, Forbidden, Invalid, Retryable
from flags.generic import GenericProvider
from flags.generic_view import GenericSource, Reading, Writing
from flags.model import Desired, FlagRef
from tests.unit.flags.caller import Caller
from tests.unit.flags.contract import ProviderContract, gated
from tests.unit.flags.inhouse import FLAG, ME, TOKEN, InhouseWorld, Service, by_action, by_document


async def _world(source: Callable[[str], GenericSource]) -> AsyncIterator[InhouseWorld]:
    service = Service()
    made = InhouseWorld(service, source(await service.start()))
    yield made
    await made.caller.close()
    await service.stop()


@pytest.fixture
async def world() -> AsyncIterator[InhouseWorld]:
    async for made in _world(by_document):
        yield made


class TestContractByDocument(ProviderContract):
    """PUT of whole documents, 412 by ETag."""


class TestContractByAction(ProviderContract):
    """POST of actions, 409 by a version, a switch of its own for zero."""

    @pytest.fixture
    async def world(self) -> AsyncIterator[InhouseWorld]:
        async for made in _world(by_action):
            yield made


# Templates.


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('{"p": "{{percent}}"}', {"p": 10}),
        ('{"p": "{{ percent }} %"}', {"p": "10 %"}),
        ('["{{gate}}", {"{{flag}}": "{{cohorts}}"}]', [None, {'a"b': []}]),
        ('{"o": "by {{owner}} on {{flag}}", "n": 1.5}', {"o": 'by me on a"b', "n": 1.5}),
    ],
)
def test_a_hole_alone_becomes_the_value_and_within_a_text_its_text(template: str, expected: Any) -> None:
    """No quoting to get wrong."""
    values = {"percent": 10, "flag": 'a"b', "gate": None, "cohorts": [], "owner": "me", "revision": "3"}
    assert templates.fill(templates.body("set.body", template), values) == expected


def test_a_flag_in_a_path_is_quoted() -> None:
    """A key never becomes another path."""
    assert templates.fill_path("/flags/{{flag}}?p={{percent}}", {"flag": "../a b?c", "percent": 5}) == "/flags/..%2Fa%20b%3Fc?p=5"


@pytest.mark.parametrize(
    ("pointer", "expected"), [("/a/b", 1), ("/list/1", "y"), ("/a~1b/c~0d", 2), ("/a/x", None), ("/list/7", None), ("", None)]
)
def test_a_pointer_finds_a_member_or_nothing(pointer: str, expected: Any) -> None:
    """As RFC 6901 has it."""
    document = {"a": {"b": 1}, "list": ["x", "y"], "a/b": {"c~d": 2}}
    assert templates.at(document, pointer) == (expected if pointer else document)


SET = Writing(path="/f/{{flag}}", body='{"p": "{{percent}}", "o": "{{owner}}"}')
GOOD = GenericSource(url="http://127.0.0.1:9", read=Reading(path="/f/{{flag}}", percent="/p", owner="/o"), set=SET)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (replace(GOOD, set=replace(SET, body='{"p": {{percent}}}')), r"http\.set\.body is .*it is no JSON.*Put holes into quotes"),
        (replace(GOOD, set=replace(SET, body='{"p": "{{percnt}}"}')), r"'\{\{percnt\}\}'.*nothing of that name.*Known here: flag, percent"),
        (replace(GOOD, set=replace(SET, body='{"o": "{{owner}}"}')), r"it has no \{\{percent\}\}, so no share could be set"),
        (replace(GOOD, set=replace(SET, body='{"p": "{{percent}}"}')), r"it has no \{\{owner\}\}, so nobody could tell whose flag it is"),
        (replace(GOOD, set=replace(SET, path="f/{{flag}}")), r"set\.path is 'f/.*does not begin with /"),
        (replace(GOOD, set=replace(SET, path="/f")), r"no \{\{flag\}\} says which flag"),
        (replace(GOOD, read=replace(GOOD.read, gate="/g")), r"read\.gate is '/g': read\.gate is there, and \{\{gate\}\} is not"),
        (
            replace(GOOD, set=replace(SET, body=SET.body[:-1] + ', "c": "{{cohorts}}"}')),
            r"set\.body has \{\{cohorts\}\}, and read\.cohorts is not",
        ),
        (replace(GOOD, conditional="Revision"), r"conditional is 'Revision'.*Give read\.revision"),
        (replace(GOOD, zero=Writing(path="/f/{{flag}}", body="off")), r"http\.zero\.body is 'off'"),
    ],
)
def test_a_template_that_cannot_work_is_refused_before_any_call(source: GenericSource, says: str) -> None:
    """Field, value and way out, when the provider is made."""
    with pytest.raises(Invalid, match=says):
        GenericProvider(source, ME, Caller())


async def test_without_a_gate_in_the_templates_gated_is_refused() -> None:
    """What a service cannot do is known from its templates; nobody is asked."""
    caller = Caller()
    provider = GenericProvider(GOOD, ME, caller)
    assert (provider.capabilities.gates, provider.capabilities.cohorts, provider.capabilities.compare_and_set) == (False, False, False)
    with pytest.raises(Invalid, match=r"flags\[new-checkout\]\.mode is 'Gated': http cannot limit.*Use mode Independent"):
        await provider.apply(FLAG, gated(5), None)
    assert caller.calls == []


# The service.


async def test_a_service_that_takes_a_write_and_ignores_it_is_found_out(world: InhouseWorld) -> None:
    """Read back before any traffic moves."""
    world.service.deaf = True
    with pytest.raises(Invalid, match=r"http\.set is 'on for 5 % of everybody where track is canary'.*took it, and it has on for nobody"):
        await world.provider.apply(FLAG, gated(5), None)


async def test_a_share_that_is_no_whole_percentage_is_drift_and_no_start(world: InhouseWorld) -> None:
    """12.5 is refused before the first write, and neither lower nor higher afterwards."""
    await world.provider.apply(FLAG, gated(5), None)
    world.service.person(FLAG.key, share={"percent": 12.5, "gate": "canary"})
    with pytest.raises(FlagError, match=r"at 12\.5.*changed by bob"):
        await world.provider.verify(FLAG, gated(5), 0.0)
    world.service.person(FLAG.key, labels={})
    with pytest.raises(Invalid, match=r"flags\[new-checkout\]\.percent is 12\.5: it is no whole percentage"):
        await world.provider.check(FLAG, gated(5))


async def test_who_changed_it_is_named_by_the_service(world: InhouseWorld) -> None:
    """Where the source says at which pointer."""
    await world.provider.apply(FLAG, gated(5), None)
    world.person_sets(3)
    with pytest.raises(FlagError, match="changed by bob"):
        await world.provider.apply(FLAG, gated(10), gated(5))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (
            {"headers": {}, "read": Reading(path="/flags/{{flag}}", percent="/p", owner="/o")},
            Forbidden,
            r"401: who are you\?.*put a valid one into the Secret",
        ),
        ({"headers": {"Authorization": TOKEN}, "read": Reading(path="/none/{{flag}}", percent="/p", owner="/o")}, FlagError, "404"),
    ],
)
async def test_an_answer_that_is_no_success_is_said_without_the_login(
    world: InhouseWorld, change: dict[str, Any], error: type[FlagError], says: str
) -> None:
    """What the service says, and what to do."""
    source = replace(replace(GOOD, url=world.source.url), **change)
    with pytest.raises(error, match=says) as caught:
        await GenericProvider(source, ME, world.caller).read(FLAG)
    assert TOKEN not in str(caught.value) + repr(source)


async def test_a_pointer_to_nothing_is_said(world: InhouseWorld) -> None:
    """A wrong pointer must not read as 0 %."""
    source = replace(world.source, read=replace(world.source.read, percent="/rollout"))
    with pytest.raises(Invalid, match=r"read\.percent is '/rollout': there is nothing at it"):
        await GenericProvider(source, ME, world.caller).read(FLAG)


async def test_a_service_that_hangs_is_given_up_after_five_seconds(world: InhouseWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it does."""
    monkeypatch.setattr("flags.generic.DEADLINE", 0.05)
    world.hang()
    for call in (world.provider.read(FLAG), world.provider.zero(FLAG), world.provider.apply(FLAG, gated(1), None)):
        with pytest.raises(Retryable, match="took longer than"):
            await call


async def test_a_service_that_always_changes_under_us_is_a_conflict(world: InhouseWorld) -> None:
    """Three attempts, then the next pass."""
    await world.provider.apply(FLAG, gated(5), None)

    async def edit() -> None:
        world.service.person(FLAG.key)
        world.race(edit)

    world.race(edit)
    with pytest.raises(Conflict, match="3 times"):
        await world.provider.apply(FLAG, gated(10), gated(5))


async def test_a_rollback_of_a_flag_that_vanished_is_done_already(world: InhouseWorld) -> None:
    """Nobody has it."""
    assert not (await world.provider.zero(FlagRef(key="gone", source="s"))).changed


async def test_an_ungated_share_grows_from_what_people_have(world: InhouseWorld) -> None:
    """Independent: 20 % by hand may become 30 %, and never 10 %."""
    world.person_sets(20)
    with pytest.raises(FlagError, match=r"on for 20 % of everybody without Linnet"):
        await world.provider.apply(FLAG, Desired(percent=10), None)
    original = (await world.provider.apply(FLAG, Desired(percent=30), None)).original or ""
    assert (await world.provider.restore(FLAG, original)).exact
    assert world.service.flags[FLAG.key]["share"]["percent"] == 20
