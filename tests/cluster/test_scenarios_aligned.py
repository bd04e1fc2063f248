"""Aligned: the same users get the new pods and the flag, or neither. A real edge names the bucket, each pod's own SDK decides the flag.

The edge is `examples/edge` in front of the real gateway; the clients only say who they are, and some of them claim a bucket that is
not theirs. What a request met is in its answer: the version of the pod, and what the Unleash SDK inside it made of the user.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from flags.buckets import bucket, within
from tests.cluster.scenario import Shop
from tests.cluster.test_scenarios_flags import Flagged
from tests.dataplanes.meter import Client, Seen
from tests.testbed.edge import Edge
from tests.testbed.linnet import eventually
from tests.testbed.unleash import Unleash

pytestmark = [pytest.mark.cluster, pytest.mark.unleash]

GROUP = "linnet"
USERS = tuple(f"{'üser' if n % 10 == 0 else 'user'}-{n}" for n in range(5_000))
REQUESTS = {1: 5_000, 10: 5_000, 50: 10_000}
STEPS = [{"weight": w, "dwell": {"minDuration": "1h"}} for w in REQUESTS]
CONNECTIONS = 16
CLOCKS = 0.05  # seconds by which the database's clock and the API server's may be read apart


class Aligned(Flagged):
    """A shop behind an edge, whose flag goes to the users of its new pods."""

    @property
    def declared(self) -> dict[str, Any]:
        return {"name": "new-checkout", "key": self.flag, "sourceRef": {"name": "unleash"}, "mode": "Aligned", "stickiness": "userId"}

    def rule_writes(self) -> list[tuple[float, str]]:
        """When a rule of ours came into the route, and when it went; (arrival, operation), by the API server's log."""
        return [
            (one.time, operation["op"])
            for one in self.shop.writes().on("httproutes")
            for operation in (one.request if isinstance(one.request, list) else [])
            if operation["op"] in ("add", "remove") and operation["path"].rpartition("/")[0] == "/spec/rules"
        ]

    def reached(self, weight: int) -> None:
        """The step stands, and what a sample of people meets is what it says: SDKs in pods have their own second."""
        self.shop.until(lambda s: s.get("weight") == weight and (s.get("rollout") or {}).get("exposedAt"), f"{weight} %", 90)


@pytest.fixture
def edge(front: Shop) -> Iterator[Edge]:
    made = Edge(front.gateway.url)
    yield made
    made.stop()


def met(edge: Edge, host: str, users: Sequence[str]) -> list[dict[str, Any]]:
    """One request of each, every second one with a claim to the first bucket: what the pods say of them."""

    async def run() -> Seen:
        seen, client, left = Seen(), Client(edge.url, host), iter(enumerate(users))

        async def work() -> None:
            for number, user in left:
                claim = "X-Linnet-Bucket: 1\r\n" if number % 2 else ""
                await client.ask("/", seen, fields=f"X-User: {user}\r\n{claim}")

        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
        client.close()
        return seen

    seen = asyncio.run(run())
    assert seen.failures == [], seen.failures[:3]
    return [json.loads(body) for body, times in seen.versions.items() for _ in range(times)]


def wrong(answers: Sequence[dict[str, Any]], version: str, percent: int) -> list[dict[str, Any]]:
    """Who had one without the other, or neither where both were due."""
    return [a for a in answers if not (a["version"] == version) == (a["flag"] is True) == within(GROUP, a["user"], percent)]


def _agreed(edge: Edge, host: str, users: Sequence[str], percent: int) -> bool:
    return not wrong(met(edge, host, users), "v2", percent)


def test_a_user_has_the_new_pods_and_the_flag_or_neither(front: Shop, unleash: Unleash, edge: Edge) -> None:
    """20,000 requests at 1, 10 and 50 %: not one with half of it. Then the abort: flag first, then the route, by others' logs."""
    aligned = Aligned(front, unleash)
    aligned.open(STEPS, flags=[aligned.declared])
    front.push("v2", FLAG_KEY=aligned.flag)
    met_by: Counter[int] = Counter()
    for weight, requests in REQUESTS.items():
        aligned.reached(weight)
        probes = [*USERS[:40], *sorted(USERS, key=lambda user: bucket(GROUP, user))[:20]]
        eventually(partial(_agreed, edge, front.host, probes, weight), "the gateway and all SDKs have it", 30)
        answers = met(edge, front.host, [USERS[n % len(USERS)] for n in range(requests)])
        assert len(answers) == requests
        assert not wrong(answers, "v2", weight), wrong(answers, "v2", weight)[:3]
        met_by[weight] = sum(a["version"] == "v2" for a in answers)
        assert met_by[weight] == sum(within(GROUP, USERS[n % len(USERS)], weight) for n in range(requests)) > 0
        assert (
            aligned.ours()["parameters"] | {"rollout": str(weight), "groupId": GROUP, "stickiness": "userId"}
            == aligned.ours()["parameters"]
        )
        front.order("skip" if weight != 50 else "abort")
    print(f"\nof {REQUESTS} requests {dict(met_by)} met both")
    front.await_verdict("Fail", 90)
    _assert_order(aligned)
    front.assert_as_before("shop:v1")
    assert not wrong(met(edge, front.host, USERS[:200]), "v2", 0)


def _assert_order(aligned: Aligned) -> None:
    """Each rise of the flag after its rule was written; on the way back the flag first, the rule within five seconds."""
    raised, closed = [e.time for e in aligned.log().raises()], [e.time for e in aligned.log().zeroes()]
    written = [at for at, op in aligned.rule_writes() if op == "add"]
    taken = [at for at, op in aligned.rule_writes() if op == "remove"]
    assert len(raised) == len(written) == len(REQUESTS)
    assert all(rule < flag + CLOCKS for rule, flag in zip(written, raised, strict=True)), (written, raised)
    assert closed[0] <= taken[-1] + CLOCKS, "the traffic went back before the flag"
    assert taken[-1] - closed[0] < 5


def test_at_the_promotion_nobody_loses_the_flag(front: Shop, unleash: Unleash, edge: Edge) -> None:
    """The half that had it keeps it, on whichever pods; the traffic returns when every pod is new; the flag stays with its group."""
    aligned = Aligned(front, unleash)
    aligned.open([{"weight": 50, "dwell": {"minDuration": "1h"}}], flags=[aligned.declared])
    front.push("v2", FLAG_KEY=aligned.flag)
    aligned.reached(50)
    users = USERS[:60]
    eventually(partial(_agreed, edge, front.host, users, 50), "the gateway and all SDKs have it", 30)
    front.order("promote")
    lost: list[dict[str, Any]] = []

    def over() -> bool:
        answers = met(edge, front.host, users)
        lost.extend(a for a in answers if (a["flag"] is True) != within(GROUP, a["user"], 50))
        lost.extend(a for a in answers if a["flag"] is True and a["version"] != "v2")
        return front.status().get("rollout") is None

    eventually(over, "promoted", 120)
    assert not lost, lost[:3]
    assert front.image() == "shop:v2"
    found = aligned.ours()
    shown = {key: found["parameters"][key] for key in ("rollout", "groupId", "linnet")}
    assert (shown, found["constraints"]) == ({"rollout": "50", "groupId": GROUP, "linnet": "released"}, [])
