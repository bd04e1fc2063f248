"""A Linnet that was installed to observe only: the first evening, with no right to change anything, told by the API server's own record.

Alone with the daemon, and before the scenarios by its name: the one release of the chart gives its rights away for the length of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.scenario import ANALYSIS, API, Shop
from tests.testbed.linnet import Linnet
from tests.witness.audit import Audit

pytestmark = pytest.mark.cluster

OURS = {"canaries", "analysisruns", "notifiers", "events", "leases"}


@pytest.fixture
def looker(linnet: Linnet) -> Iterator[Linnet]:
    """The installed Linnet without its rights, and with them again at the end."""
    linnet.await_no_canaries()
    linnet.install({"rbac": {"observeOnly": True}})
    yield linnet
    linnet.install()


def profile() -> dict[str, object]:
    spec = {"mode": "Observe", "analysis": ANALYSIS}
    return {"apiVersion": API, "kind": "CanaryProfile", "metadata": {"name": "look"}, "spec": spec}


def test_without_a_right_to_change_anything_it_says_what_it_would_have_done(looker: Linnet, front: Shop) -> None:
    """One annotation, and a bad update is said to be one: on record are writes of Linnet's own kinds, Events and the Lease, and no refusal."""
    front.open(adopted=False, extra=[profile()], replicas=3, startup_seconds=4)
    front.kubectl("annotate", "deployment", "shop", "linnet.dev/profile=look")
    front.until(lambda s: s.get("stableRevision"), "a version serves")
    front.load(60)
    front.push("bad-30")
    status = front.until(lambda s: s.get("history"), "a word on the update", 120)
    front.kubectl("rollout", "status", "deployment/shop", "--timeout=90s")  # nobody held it up
    front.stop_load()
    [entry] = status["history"]
    assert entry["outcome"] == "WouldRollBack", entry
    assert entry["sentence"].endswith("Only observed: nothing was changed.")
    assert "would have been rolled back at" in front.await_event("Observed")
    seen = Audit.read(looker.plane.audit_log, since=front.since).by(looker.account)
    # The dry runs and restores of a Linnet with rights would be refused here: it does not even try.
    assert sorted({one.target for one in seen.forbidden()}) == []
    assert {one.resource for one in seen.writes()} <= OURS
    assert {one.subresource for one in seen.writes().on("canaries") if one.verb == "patch"} == {"status"}
    found = front.get("deployment", "shop")
    assert [key for key in found["metadata"]["annotations"] if key.startswith("linnet.dev/")] == ["linnet.dev/profile"]
    front.kubectl("annotate", "deployment", "shop", "linnet.dev/profile-")
    front.kubectl("wait", "--for=delete", "canaries.linnet.dev/shop", "--timeout=60s")
