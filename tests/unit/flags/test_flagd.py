"""The flagd provider: the contract on a ConfigMap, judged by flagd's own evaluator, and what is special about one JSON file."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from flags import flagd, registry
from flags.errors import Busy, Drifted, Exposed, FlagError, Invalid, Missing, Retryable
from flags.flagd import FlagdProvider, FlagdSource
from flags.flagd_view import annotation_for
from flags.model import Converged, Desired, FlagRef, settled
from tests.unit.flags.contract import ProviderContract, gated
from tests.unit.flags.flagd_world import FILE, FLAG, ME, FeatureFlagWorld, FlagdWorld


@pytest.fixture
def world() -> FlagdWorld:
    return FlagdWorld()


class TestContract(ProviderContract):
    """A mounted file: a write counts as seen after 90 s."""


class TestContractProjectedAtOnce(ProviderContract):
    """As in the sandbox, which projects at once: settle is 0."""

    @pytest.fixture
    def world(self) -> FlagdWorld:
        return FlagdWorld(settle=0)


class TestContractOfAnObject(ProviderContract):
    """A FeatureFlag of the OpenFeature operator: members are patched, not a text."""

    @pytest.fixture
    def world(self) -> FeatureFlagWorld:
        return FeatureFlagWorld()

    async def test_only_the_members_that_change_are_patched(self, world: FeatureFlagWorld) -> None:
        """What others own of the object stays theirs."""
        await world.provider.apply(FLAG, gated(5), None)
        await world.provider.apply(FLAG, gated(10), gated(5))
        paths = [[o["path"] for o in patch if o["path"].startswith("/spec")] for patch in world.store.patches]
        taken = ["/spec/flagSpec/flags/new-checkout/targeting", "/spec/flagSpec/$evaluators"]
        assert [sorted(paths[0]), paths[1]] == [sorted(taken), ["/spec/flagSpec/$evaluators/linnet-new-checkout/and"]]

    async def test_a_second_canary_is_told_how_to_free_the_object(self, world: FeatureFlagWorld) -> None:
        """The command names the kind."""
        await world.provider.apply(FLAG, gated(5), None)
        with pytest.raises(Busy, match=r"kubectl -n shop annotate featureflag flags linnet.dev/flag.new-checkout-"):
            await world.rival.apply(FLAG, gated(5), None)


async def test_an_empty_targeting_is_put_back_too() -> None:
    """It says what no targeting says, and is the owner's all the same."""
    world = FlagdWorld()
    world.edit(lambda document: document["flags"]["new-checkout"].update(targeting={}))
    before = world.snapshot()
    original = (await world.provider.apply(FLAG, gated(5), None)).original or ""
    assert (await world.provider.restore(FLAG, original)).exact
    assert world.snapshot() == before


REFERRING = """{"flags":{"new-checkout":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off",
 "targeting":{"if":[{"==":[{"var":"plan"},"banned"]},"off",{"$ref":"linnet-new-checkout"},"on",{"==":[{"var":"plan"},"beta"]},"on","off"]}},
 "limit":{"state":"ENABLED","variants":{"small":1,"big":2},"defaultVariant":"small"}},
 "$evaluators":{"linnet-new-checkout": {"and":[{"==":[{"fractional":[["on",0],["off",100]]},"on"]}]}, "theirs":{"==":[1,1]}}}"""


class TestContractBesidePeoplesTargeting(ProviderContract):
    """The owner pasted our branch between rules of their own."""

    @pytest.fixture
    def world(self) -> FlagdWorld:
        return FlagdWorld(REFERRING)

    async def test_state_says_what_is_there(self, world: FlagdWorld) -> None:  # type: ignore[override]
        """The pasted evaluator is a rule at 0 % already."""
        assert (await world.provider.read(FLAG)).percent == 0
        await world.provider.apply(FLAG, gated(10), None)
        state = await world.provider.read(FLAG)
        assert (state.percent, state.own, state.foreign) == (10, True, ())

    async def test_rules_before_and_after_ours_still_apply(self, world: FlagdWorld) -> None:
        """A ban before our branch wins, and a beta rule after it is untouched at 0 %."""
        await world.provider.apply(FLAG, gated(100), None)
        core = FlagdCore()
        core.set_flags(world.store.text())
        banned = EvaluationContext("user-1", {"track": "canary", "plan": "banned"})
        assert core.resolve_boolean_value("new-checkout", True, banned).value is False
        beta = EvaluationContext("user-1", {"track": "stable", "plan": "beta"})
        assert core.resolve_boolean_value("new-checkout", False, beta).value is True


async def test_foreign_targeting_is_refused_with_the_line_to_paste() -> None:
    """The message carries the exact branch and evaluator; following it works."""
    world = FlagdWorld()
    theirs = {"if": [{"==": [{"var": "plan"}, "beta"]}, "on", "off"]}
    world.edit(lambda document: document["flags"]["new-checkout"].update(targeting=theirs))
    with pytest.raises(Invalid) as caught:
        await world.provider.apply(FLAG, gated(10), None)
    message = str(caught.value)
    assert "flags.new-checkout.targeting" in message
    branch = message.split('"targeting": ')[1].split(", and beside")[0].replace("<your targeting>", json.dumps(theirs))
    seed = message.split('"$evaluators": ')[1].split("; Linnet")[0]
    world.edit(lambda document: document["flags"]["new-checkout"].update(targeting=json.loads(branch)))
    world.edit(lambda document: document.update({"$evaluators": json.loads(seed)}))
    await world.provider.apply(FLAG, gated(100), None)
    assert world.on(("user-1",), "canary") == {"user-1"}
    assert world.on(("user-1",), "stable") == set()


def _change(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["flags"]["new-checkout"].update(fields)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (_change(variants={"a": 1, "b": 2}), Invalid, "variants is .*one variant that is true"),
        (_change(variants={"on": True, "off": False, "maybe": True}), Invalid, "variants is "),
        (_change(variants=None), Invalid, "it is not an object"),
        (_change(variants={"o\\n": True, "off": False}), Invalid, "substitute it by text"),
        (_change(state="DISABLED"), Invalid, "state is 'DISABLED'.*Set it to ENABLED"),
        (_change(defaultVariant="on"), Exposed, "Make 'off' its default"),
        (_change(targeting={"if": [{"$ref": "linnet-new-checkout"}, "on", "on"]}), Exposed, "for everybody"),
        (_change(targeting={"if": [{"$ref": "linnet-new-checkout"}, "on"]}, defaultVariant="on"), Exposed, "for everybody"),
        (_change(targeting={"if": [{"$ref": "linnet-new-checkout"}, "off", "off"]}), Invalid, "not Linnet's to change"),
        (lambda document: document.update({"$evaluators": {"linnet-new-checkout": {"var": "x"}}}), Invalid, "Linnet did not write it"),
        (lambda document: document["flags"].update({"new-checkout": 3}), Invalid, "it is not an object"),
        (lambda document: document.update(flags=[]), Invalid, 'no object "flags"'),
    ],
)
async def test_a_flag_that_cannot_be_driven_is_refused_untouched(
    change: Callable[[Any], object], error: type[FlagError], says: str
) -> None:
    """Field, value and way out, before the first byte is written."""
    world = FlagdWorld()
    world.edit(change)
    before = world.snapshot()
    with pytest.raises(error, match=says):
        await world.provider.apply(FLAG, gated(10), None)
    assert world.snapshot() == before


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        (FlagdSource(namespace="shop", config_map="nope"), Missing, "shop/nope does not exist"),
        (FlagdSource(namespace="shop", config_map="flags", key="x.json"), Missing, "it has flags.json, other"),
        (FlagdSource(namespace="shop", config_map="flags", key="other"), Invalid, "not readable JSON"),
    ],
)
async def test_a_source_that_is_not_there_is_reported_with_what_is(source: FlagdSource, error: type[FlagError], says: str) -> None:
    """A typing error is found from the message alone."""
    with pytest.raises(error, match=says):
        await FlagdProvider(source, ME, FlagdWorld().store).read(FLAG)


async def test_a_file_with_a_key_written_twice_is_refused() -> None:
    """We could edit the one that does not count."""
    world = FlagdWorld('{"flags": {"new-checkout": {}, "new-checkout": {}}}')
    with pytest.raises(Invalid, match="a key occurs twice"):
        await world.provider.apply(FLAG, gated(10), None)


async def test_an_immutable_config_map_is_refused() -> None:
    """The API server would refuse every write later."""
    world = FlagdWorld()
    world.store.object["immutable"] = True
    with pytest.raises(Invalid, match="not immutable"):
        await world.provider.read(FLAG)


async def test_only_our_members_change_in_the_file() -> None:
    """Everything else keeps its bytes while the flag is driven, so that a diff shows what Linnet does and no more."""
    world = FlagdWorld()
    await world.provider.apply(FLAG, gated(10), None)
    text = world.store.text()
    for line in FILE.splitlines():
        assert line.rstrip("}, ") in text
    assert '{"small": 1.50, "big": 1e2}' in text


@pytest.mark.parametrize("annotations", [None, {"team": "checkout"}])
async def test_restore_gives_annotations_and_owners_back(annotations: dict[str, str] | None) -> None:
    """The user's next server-side apply meets no conflict: the key is theirs again, and ours nowhere."""
    world = FlagdWorld(annotations=annotations)
    before = json.loads(json.dumps(world.store.object))
    original = (await world.provider.apply(FLAG, gated(10), None)).original or ""
    assert world.store.object["metadata"]["managedFields"] != before["metadata"]["managedFields"]
    await world.provider.restore(FLAG, original)
    assert world.store.object == before


async def test_owners_are_given_back_by_a_repeated_restore_after_a_crash() -> None:
    """Killed between the data and the owners: the second call does the rest."""
    world = FlagdWorld()
    before = world.store.object["metadata"]["managedFields"]
    original = (await world.provider.apply(FLAG, gated(10), None)).original or ""
    kept: list[Any] = []

    async def die() -> None:
        kept.append(1)
        raise Retryable("killed")

    await world.provider.zero(FLAG)
    restore = world.provider.restore(FLAG, original)
    patch = world.store.patch

    async def patch_once(ref: Any, operations: Any) -> Any:
        if operations[-1]["path"] == "/metadata/managedFields":
            await die()
        return await patch(ref, operations)

    world.store.patch = patch_once  # type: ignore[method-assign]
    with pytest.raises(Retryable, match="killed"):
        await restore
    world.store.patch = patch  # type: ignore[method-assign]
    await world.provider.restore(FLAG, original)
    assert world.store.object["metadata"]["managedFields"] == before


async def test_two_canaries_drive_two_flags_of_one_file() -> None:
    """Each restores its own and leaves the other's running."""
    world = FlagdWorld()
    other = FlagRef(key="new-search", source="flagd")
    world.edit(lambda document: document["flags"].update({"new-search": document["flags"]["new-checkout"]}))
    mine = (await world.provider.apply(FLAG, gated(10), None)).original or ""
    await world.rival.apply(other, gated(20), None)
    await world.provider.restore(FLAG, mine)
    assert (await world.rival.read(other)).percent == 20
    assert isinstance(await world.rival.verify(other, gated(20), 0.0), Converged)
    assert "linnet-new-checkout" not in world.store.text()


async def test_restore_leaves_a_rule_that_a_person_rewrote() -> None:
    """Their rule may be in use; it is named instead of removed."""
    world = FlagdWorld()
    original = (await world.provider.apply(FLAG, gated(10), None)).original or ""
    world.edit(lambda document: document["$evaluators"].update({"linnet-new-checkout": {"var": "beta"}}))
    before = world.snapshot()
    with pytest.raises(Drifted, match="rewritten by kubectl-edit"):
        await world.provider.restore(FLAG, original)
    assert world.snapshot() == before


async def test_restore_leaves_targeting_that_a_person_built_on_our_rule() -> None:
    """Taking the evaluator out would break their flag."""
    world = FlagdWorld()
    original = (await world.provider.apply(FLAG, gated(10), None)).original or ""
    mixed = {"if": [{"or": [{"$ref": "linnet-new-checkout"}, {"==": [{"var": "plan"}, "beta"]}]}, "on", "off"]}
    world.edit(lambda document: document["flags"]["new-checkout"].update(targeting=mixed))
    with pytest.raises(Drifted, match="targeting of flag new-checkout"):
        await world.provider.restore(FLAG, original)
    assert world.document()["flags"]["new-checkout"]["targeting"] == mixed


async def test_restore_takes_our_rule_out_when_a_person_replaced_the_targeting() -> None:
    """Nothing refers to it any more, and their targeting stays."""
    world = FlagdWorld()
    original = (await world.provider.apply(FLAG, gated(10), None)).original or ""
    theirs = {"if": [{"==": [{"var": "plan"}, "beta"]}, "on", "off"]}
    world.edit(lambda document: document["flags"]["new-checkout"].update(targeting=theirs))
    await world.provider.restore(FLAG, original)
    assert world.document()["flags"]["new-checkout"]["targeting"] == theirs
    assert "$evaluators" not in world.document()


async def test_a_removed_reference_is_the_brake() -> None:
    """A person who takes our branch out of the targeting took the flag from everybody."""
    world = FlagdWorld()
    await world.provider.apply(FLAG, gated(10), None)
    world.edit(lambda document: document["flags"]["new-checkout"].pop("targeting"))
    with pytest.raises(Drifted, match="no longer refers") as caught:
        await world.provider.apply(FLAG, gated(20), gated(10))
    assert (caught.value.direction, caught.value.by) == ("lower", "kubectl-edit")


async def test_a_removed_gate_is_drift_upwards() -> None:
    """Without its gate the same percent reaches the stable pods too."""
    world = FlagdWorld()
    await world.provider.apply(FLAG, gated(10), None)
    world.edit(lambda document: document["$evaluators"]["linnet-new-checkout"]["and"].pop(0))
    with pytest.raises(Drifted) as caught:
        await world.provider.verify(FLAG, gated(10), 0.0)
    assert caught.value.direction == "higher"


async def test_a_flag_of_a_vanished_canary_names_the_command_that_frees_it() -> None:
    """The same name with another uid is another Canary."""
    world = FlagdWorld(annotations={annotation_for("new-checkout"): "prod/shop/checkout/old-uid"})
    with pytest.raises(Busy, match=r"kubectl -n shop annotate configmap flags linnet.dev/flag.new-checkout-"):
        await world.provider.apply(FLAG, gated(10), None)


async def test_a_spoilt_undo_log_is_refused_and_nothing_is_written() -> None:
    """Guessing what was there would be worse than saying so."""
    world = FlagdWorld()
    await world.provider.apply(FLAG, gated(10), None)
    before = world.snapshot()
    with pytest.raises(Invalid, match="undo log of flag new-checkout"):
        await world.provider.restore(FLAG, "{}")
    assert world.snapshot() == before


async def test_zero_is_done_when_the_file_is_gone() -> None:
    """Nobody can have a flag that no longer exists; the rollback goes on."""
    world = FlagdWorld()
    await world.provider.apply(FLAG, gated(10), None)
    del world.store.object["data"]["flags.json"]
    assert not (await world.provider.zero(FLAG)).changed


async def test_a_source_that_does_not_answer_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call ends at the deadline, as an error that may be retried."""
    monkeypatch.setattr(flagd, "DEADLINE", 0.01)
    world = FlagdWorld()
    world.hang()
    for call in (world.provider.read(FLAG), world.provider.zero(FLAG), world.provider.apply(FLAG, gated(1), None)):
        with pytest.raises(Retryable, match=r"within 0\.01 s") as caught:
            await call
        assert caught.value.retryable


async def test_a_file_that_others_write_all_the_time_is_a_retryable_conflict() -> None:
    """No endless loop: three looks, then the caller's backoff."""
    world = FlagdWorld()
    patch = world.store.patch

    async def busy(ref: Any, operations: Any) -> Any:
        world.store.edit("other", str(world.store.version))
        return await patch(ref, operations)

    world.store.patch = busy  # type: ignore[method-assign]
    with pytest.raises(Retryable, match="3 times"):
        await world.provider.apply(FLAG, gated(1), None)
    assert world.document() == json.loads(FILE)


async def test_cancellation_is_not_swallowed() -> None:
    """A leader that lost its lease stops at once."""
    world = FlagdWorld()
    world.hang()
    task = asyncio.ensure_future(world.provider.zero(FLAG))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("key", ["new-checkout", "a" * 58, "a" * 59, "with/slash", "ends-", "späte"])
def test_the_mark_is_a_legal_annotation_for_every_key(key: str) -> None:
    """At most 63 characters after the prefix, and different keys have different marks."""
    name = annotation_for(key).removeprefix("linnet.dev/")
    assert len(name) <= 63
    assert name.isascii()
    assert name[-1].isalnum()


def test_promotion_keeps_opens_or_removes() -> None:
    """Keep leaves the percent as reached, Open is for all, Remove puts the flag back."""
    assert settled(gated(25), "Keep") == Desired(percent=25)
    assert settled(gated(25), "Open") == Desired(percent=100)
    assert settled(gated(25), "Remove") is None


class NoHttp:
    """flagd asks nobody over HTTP."""

    async def request(self, method: str, url: str, *, headers: Any, data: bytes | None, deadline: float) -> Any:
        raise AssertionError(url)


async def test_the_registry_builds_the_provider_and_names_what_it_does_not_know() -> None:
    """An unknown provider or option is an error with the choices in it."""
    store = FlagdWorld().store
    ports = registry.Ports(objects=store, http=NoHttp())
    provider = registry.build("flagd", {"namespace": "shop", "config_map": "flags", "settle": 0}, ME, ports)
    await provider.apply(FLAG, gated(5), None)
    assert isinstance(await provider.verify(FLAG, gated(5), 0.0), Converged)
    with pytest.raises(Invalid, match="Use one of: flagd, http, launchDarkly, unleash"):
        registry.build("unleesh", {}, ME, ports)
    with pytest.raises(Invalid, match="config_map"):
        registry.build("flagd", {"namespace": "shop"}, ME, ports)
