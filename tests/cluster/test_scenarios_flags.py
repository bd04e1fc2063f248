"""A release whose flag lives in a real Unleash: what apps see by its SDK, what its log says was written, and in which order."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from flags.buckets import within
from tests.cluster.scenario import API, Shop
from tests.testbed.linnet import eventually
from tests.testbed.unleash import ADMIN, BACKEND, Unleash
from tests.witness.audit import Audit
from tests.witness.exposure import Exposure
from tests.witness.flaglog import FlagLog
from tests.witness.requests import app_records

pytestmark = [pytest.mark.cluster, pytest.mark.unleash]

PRODUCTION = "production"
FLAGGED = [
    {"weight": 20, "flags": [{"name": "new-checkout", "percent": 100}], "dwell": {"minDuration": "4s"}},
    {"weight": 50, "dwell": {"minDuration": "2s"}},
]


class Flagged:
    """A shop whose new code is behind a flag of this Unleash."""

    def __init__(self, shop: Shop, unleash: Unleash, token: str = "") -> None:
        self.shop, self.unleash = shop, unleash
        self.flag = unleash.flag(f"checkout-{secrets.token_hex(3)}")
        self.user = "linnet"
        self.token = token or unleash.person(self.user)

    def open(self, steps: list[Any] | None = None, **spec: Any) -> Flagged:
        source = {
            "url": self.unleash.url,
            "environment": PRODUCTION,
            "tokenSecretRef": {"name": "unleash", "key": "token"},
            "witnessTokenSecretRef": {"name": "unleash", "key": "backend"},
            "settle": "2s",
        }
        self.secret(self.token)
        kind = {"apiVersion": API, "kind": "FlagSource", "metadata": {"name": "unleash"}, "spec": {"type": "Unleash", "unleash": source}}
        flag = {"name": "new-checkout", "key": self.flag, "sourceRef": {"name": "unleash"}}
        env = {"UNLEASH_URL": self.unleash.url, "UNLEASH_TOKEN": BACKEND[PRODUCTION], "FLAG_KEY": self.flag}
        self.shop.open({"flags": [flag], "steps": steps or FLAGGED, **spec}, extra=[kind], env=env)
        return self

    def secret(self, token: str) -> None:
        data = {"token": token, "backend": BACKEND[PRODUCTION]}
        self.shop.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "unleash"}, "stringData": data})

    def log(self) -> FlagLog:
        return FlagLog.read(self.unleash.url, ADMIN, self.flag).on(PRODUCTION)

    def ours(self) -> dict[str, Any]:
        return next(s for s in self.unleash.strategies(self.flag, PRODUCTION) if (s["title"] or "").startswith("linnet "))

    def await_percent(self, percent: int, timeout: float = 60.0) -> None:
        def there() -> bool:
            return any(s["parameters"]["rollout"] == str(percent) for s in self.unleash.strategies(self.flag, PRODUCTION))

        eventually(there, f"the flag is at {percent} %", timeout)

    def weight_writes(self) -> list[tuple[float, int]]:
        """When the daemon wrote which share of traffic, by the API server's log; (arrival, weight)."""
        found = []
        for one in self.shop.writes().on("httproutes"):
            for operation in one.request if isinstance(one.request, list) else []:
                if operation.get("path", "").endswith("/0/weight") and operation.get("op") in ("replace", "add"):
                    found.append((one.time, 100 - int(operation["value"])))
        return found

    def answered(self) -> list[dict[str, Any]]:
        """What the pods of this shop, living or not, say that they answered."""
        mine = {e.name for e in Audit.read(self.shop.plane.audit_log, since=self.shop.since).on("pods", namespace=self.shop.namespace)}
        return [r for r in app_records(self.shop.agent.requests) if r["pod"] in mine]


def test_a_version_that_is_bad_behind_its_flag_is_rolled_back_by_name(front: Shop, unleash: Unleash) -> None:
    """Only requests with the flag fail: rolled back, the sentence names the flag, and both logs show the order."""
    flagged = Flagged(front, unleash).open()
    before = flagged.unleash.feature(flagged.flag)
    front.load(80)
    front.push("flagbad-30", FLAG_KEY=flagged.flag)
    status = front.await_verdict("Fail", 120)
    seen = front.stop_load()
    assert "rolled back" in status["sentence"] and flagged.flag in status["sentence"].replace("new-checkout", flagged.flag), status[
        "sentence"
    ]
    assert {r["version"] for r in seen.failures()} <= {"flagbad-30"}
    front.assert_no_switch_hurt(seen)
    front.assert_as_before("shop:v1")
    _assert_order(flagged)
    assert not flagged.unleash.enabled(flagged.flag, PRODUCTION), "off again, as it was found"
    [left] = flagged.unleash.strategies(flagged.flag, PRODUCTION)
    assert (left["parameters"]["rollout"], left["disabled"]) == ("0", False)
    assert [e["strategies"] for e in flagged.unleash.feature(flagged.flag)["environments"] if e["name"] != PRODUCTION] == [
        e["strategies"] for e in before["environments"] if e["name"] != PRODUCTION
    ]


def _assert_order(flagged: Flagged) -> None:
    """Nothing raised the flag before the weight was written; flag and weight went back together, within P3's bound."""
    log, weights = flagged.log(), flagged.weight_writes()
    up = next(at for at, weight in weights if weight == 20)
    raised = log.raises().entries
    assert raised, log.order()
    assert all(entry.time > up for entry in raised), (up, [(e.time, e.words) for e in raised])
    assert {entry.user.partition("-")[0] for entry in log} == {flagged.user}
    down = next(at for at, weight in weights if weight == 0 and at > up)
    closed = log.zeroes().entries[0].time
    assert abs(closed - down) < 5, (closed, down)
    assert all(entry.time < min(closed, down) + 0.5 for entry in raised)


def test_the_same_version_with_the_flag_off_is_promoted(front: Shop, unleash: Unleash) -> None:
    """Nobody has the flag, so nobody fails: promoted, and the flag was never raised."""
    steps = [{"weight": 20, "flags": [{"name": "new-checkout", "percent": 0}], "dwell": {"minDuration": "2s"}}, FLAGGED[1]]
    flagged = Flagged(front, unleash).open(steps)
    front.load(80)
    front.push("flagbad-30", FLAG_KEY=flagged.flag)
    front.await_verdict("Pass", 120)
    seen = front.stop_load()
    assert seen.outcomes() == {"200": seen.total}
    front.assert_no_switch_hurt(seen)
    assert [entry.words for entry in flagged.log().raises()] == []


def test_a_good_version_keeps_its_flag_and_loses_its_gate(front: Shop, unleash: Unleash) -> None:
    """Gated until every pod is new; and at the promotion nobody of the reached half loses the flag again, at 50 requests a second.

    By the app's own log. Until the gate goes a request has the flag where it meets the canary, which a route by weight decides anew each
    time; from then on it is the user alone who decides.
    """
    steps = [FLAGGED[0] | {"flags": [{"name": "new-checkout", "percent": 50}]}, FLAGGED[1]]
    flagged = Flagged(front, unleash).open(steps)
    front.load(50)
    front.push("v2", FLAG_KEY=flagged.flag)
    front.await_verdict("Pass", 150)
    answers = len(flagged.answered())
    eventually(lambda: len(flagged.answered()) > answers + 100, "requests after the promotion", 30)
    front.assert_no_switch_hurt(front.stop_load())
    ours = flagged.ours()
    assert (ours["parameters"]["rollout"], ours["constraints"], ours["parameters"]["linnet"]) == ("50", [], "released")
    swap = next(e for e in flagged.log().raises() if e.before and e.before["constraints"] and e.after and not e.after["constraints"])
    seen = Exposure([r for r in flagged.answered() if r["user"]], reached=lambda user: within(flagged.flag, user, 50))
    assert seen.users_reached > 50
    assert not seen.unreached_with_flag()
    assert not seen.with_flag_outside("canary", before=swap.time), "the flag was on outside the canary before the gate went"
    assert not seen.lost(), "a user had the flag on every version and lost it again"
    returned = [at for at, weight in flagged.weight_writes() if at > swap.time and weight < 50]
    assert returned, "the traffic returned before the gate went"
    assert not seen.without_flag(since=returned[0]), "the traffic returned to pods that did not have the flag yet"


def test_a_token_that_is_revoked_in_mid_release_holds_no_traffic(front: Shop, unleash: Unleash) -> None:
    """The abort takes the traffic back at once; the flag follows when the Secret has a token that works again."""
    flagged = Flagged(front, unleash, token=unleash.person("first")).open([*FLAGGED, {"pause": {}}])
    front.load(40)
    front.push("v2", FLAG_KEY=flagged.flag)
    front.await_weight(20)
    flagged.await_percent(100)
    flagged.secret("user:0000000000000000000000000000000000000000")
    sql = unleash.database.query
    sql(f"DELETE FROM personal_access_tokens WHERE secret = '{flagged.token}'")
    front.order("abort")
    eventually(lambda: front.weights().get("shop-canary", 0) in (0, None), "the traffic is back", 30)
    assert flagged.ours()["parameters"]["rollout"] in ("0", "100")
    flagged.secret(unleash.person("second"))
    flagged.await_percent(0, 90)
    front.until(lambda s: s.get("rollout") is None, "everything is put away", 90)
    front.stop_load()


def test_an_unleash_that_is_gone_holds_no_traffic(front: Shop, unleash: Unleash) -> None:
    """Killed in mid-release: the abort's weight is written within its bound, and the flag is taken back when the server is back."""
    flagged = Flagged(front, unleash).open([*FLAGGED, {"pause": {}}])
    front.load(40)
    front.push("v2", FLAG_KEY=flagged.flag)
    front.await_weight(20)
    flagged.await_percent(100)
    unleash.stop_server()
    try:
        front.order("abort")
        eventually(lambda: front.weights().get("shop-canary", 0) in (0, None), "the traffic is back", 20)
    finally:
        unleash.start_server()
    flagged.await_percent(0, 90)
    front.until(lambda s: s.get("rollout") is None, "everything is put away", 90)
    front.stop_load()


def test_a_person_who_lowers_the_flag_ends_the_release(front: Shop, unleash: Unleash) -> None:
    """Lower than Linnet set is a brake that was pulled: rolled back, never raised again."""
    flagged = Flagged(front, unleash).open([*FLAGGED, {"pause": {}}])
    front.load(40)
    front.push("v2", FLAG_KEY=flagged.flag)
    front.await_weight(20)
    flagged.await_percent(100)
    front.await_phase("Paused")
    bob = unleash.person("bob")
    lowered = {"op": "replace", "path": "/parameters/rollout", "value": "5"}
    unleash.patch(flagged.flag, PRODUCTION, flagged.ours()["id"], lowered, token=bob)
    status = front.await_verdict("Fail", 90)
    front.stop_load()
    assert "lowered" in str(status), status["sentence"]
    by_bob = next(entry for entry in flagged.log() if entry.user.startswith("bob"))
    assert [entry.words for entry in flagged.log().after(by_bob.id).raises()] == []
