"""Every Canary that the scenarios of this session wrote, as Argo CD would have shown it: the objects are the API server's own.

Runs after the scenarios by its name.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.argocd import ArgoCd
from tests.testbed.linnet import Linnet
from tests.witness.audit import Audit

pytestmark = pytest.mark.cluster

RANK = {"Healthy": "True", "Degraded": "False", "Progressing": "Unknown"}


def test_argo_cd_shows_every_canary_of_the_session_as_its_conditions_say(linnet: Linnet, request: pytest.FixtureRequest) -> None:
    """In each phase that was seen: health as `Ready`, Suspended where a person may have to act; an old generation is Progressing."""
    argo = ArgoCd()
    seen: dict[str, set[str]] = {}
    for canary in _written(Audit.read(linnet.plane.audit_log)):
        status = canary.get("status") or {}
        ready = next((c["status"] for c in status.get("conditions") or [] if c["type"] == "Ready"), None)
        if ready is None or status.get("observedGeneration") != canary["metadata"]["generation"]:
            assert argo.health(canary)[0] == "Progressing"
            continue
        shown, message = argo.health(canary)
        seen.setdefault(status["phase"], set()).add(shown)
        if status["phase"] in ("Paused", "Inconclusive"):
            assert (shown, bool(message)) == ("Suspended", True)
        else:
            assert RANK[shown] == ready
    ran = {item.nodeid.partition("::")[0].rpartition("/")[2] for item in request.session.items}
    if {"test_scenarios_release.py", "test_scenarios_people.py"} <= ran:
        assert set(seen) >= {"Pending", "Idle", "Starting", "Progressing", "Paused", "Promoting", "RollingBack", "Held"}


def _written(audit: Audit) -> list[dict[str, Any]]:
    patched = audit.on("canaries", subresource="status").writes().where(lambda one: one.code == 200)
    return [one.response for one in patched if isinstance(one.response, dict) and one.response.get("kind") == "Canary"]
