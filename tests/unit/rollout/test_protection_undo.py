"""The undo log outlives the daemon: what it still names is restored again, although the route looks restored already."""

from __future__ import annotations

import msgspec

from daemon.api.status import RestoreEntry
from daemon.rollout import model as m
from daemon.rollout.decide import decide
from tests.unit.rollout.world import Version
from tests.unit.rollout.worlds import releasing


def test_a_daemon_that_died_before_giving_the_owners_back_does_it_after_its_restart() -> None:
    """The backend is out of the route, the entry is still there: the owners may not be what they were (P1, P5)."""
    w = releasing(Version("v2", judge="bad"))
    w.reach("RollingBack", rollback="Draining")
    w.run(lambda w: all(r.weight is None for r in w.routes))
    entry = RestoreEntry(
        api_version="gateway.networking.k8s.io/v1", kind="HTTPRoute", namespace="shop", name="checkout", pointer="/spec/rules/0/backendRefs"
    )
    kinds = {r.kind for r in w.observe().routes}
    entry = msgspec.structs.replace(entry, kind=kinds.pop(), name=w.observe().routes[0].name)
    seen = msgspec.structs.replace(w.observe(), restore=(entry,))
    decision = decide(w.spec_in_force(), w.status, seen, w.now, name="checkout")
    assert any(isinstance(a, m.RestoreRoutes) for a in decision.actions)
    assert not any(isinstance(a, m.DeleteCanary) for a in decision.actions)
