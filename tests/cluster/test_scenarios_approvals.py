"""Approvals by people with real tokens: who wrote a revision, and who said yes to it, are the API server's words."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from daemon.cli import verbs as cli
from daemon.cli.cluster import Access, System, connected
from tests.cluster.scenario import Shop
from tests.cluster.stage import scenario

pytestmark = pytest.mark.cluster

RBAC = "rbac.authorization.k8s.io"
APPROVALS = {"timeout": "1h", "approvers": 3, "notByAuthor": True}
STEPS: list[dict[str, Any]] = [
    {"name": "sign-off", "approval": APPROVALS},
    {"weight": 20, "dwell": {"minDuration": "2s"}},
]
RULES = [
    {"apiGroups": [""], "resources": ["*"], "verbs": ["get", "list"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "patch"]},
    {"apiGroups": ["linnet.dev"], "resources": ["canaries"], "verbs": ["get", "list", "watch", "patch", "approve"]},
]


def people(*names: str) -> list[dict[str, Any]]:
    """ServiceAccounts who may push a version and approve one."""
    role: dict[str, Any] = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": "team"}, "rules": RULES}
    subjects = [{"kind": "ServiceAccount", "name": name} for name in names]
    reference = {"apiGroup": RBAC, "kind": "Role", "name": "team"}
    binding = {"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": {"name": "team"}, "roleRef": reference, "subjects": subjects}
    return [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}} for name in names] + [role, binding]


class Team:
    """The people of one shop, each with a token."""

    def __init__(self, shop: Shop, *names: str) -> None:
        self.shop = shop
        shop.apply(*people(*names))
        self.files: dict[str, Path] = {name: shop.plane.service_account_kubeconfig(shop.namespace, name) for name in names}

    def name(self, who: str) -> str:
        return f"system:serviceaccount:{self.shop.namespace}:{who}"

    def kubectl(self, who: str, *words: str) -> str:
        done = self.shop.plane.kubectl(*words, "-n", self.shop.namespace, kubeconfig=self.files[who], check=False)
        return done.stdout + done.stderr

    def annotate(self, who: str, text: str) -> None:
        said = self.kubectl(who, "annotate", "canaries.linnet.dev", "shop", "--overwrite", f"linnet.dev/action={text}")
        assert "annotated" in said, said

    def by_command_line(self, who: str, revision: str) -> None:
        """`linnet approve shop`."""

        async def run() -> int:
            system = System(catalogue="linnet-system", lease_name="linnet", lease_namespace="linnet-system")
            access = Access(kubeconfig=str(self.files[who]), context=None, namespaces=(self.shop.namespace,))
            async with connected(access) as cluster:
                return await cli.say(cluster, system, "shop", "approve", revision, cli.More(step="sign-off"))

        assert asyncio.run(run()) == 0

    def approved(self) -> list[str]:
        rollout = self.shop.status().get("rollout") or {}
        return [a["by"].rpartition(":")[2] for a in rollout.get("approvals") or []]

    def refused(self, words: str) -> None:
        """Until an Event says so; Events of one kind are counted, not repeated."""
        self.shop.until(lambda _: any(re.search(words, e["note"]) for e in self.shop.events("CommandRefused")), f"refused: {words}")


@scenario
def test_three_people_who_did_not_write_it_approve_a_version(shop: Shop) -> None:
    """Its author does not, one person counts once, an old yes applied again is harmless, and a forged author is refused."""
    shop.open({"steps": STEPS})
    team = Team(shop, "author", "helper", "ann", "bob", "carol")
    assert "updated" in team.kubectl("author", "set", "image", "deployment/shop", "shop=shop:v2")
    status = shop.until(lambda s: (s.get("waiting") or {}).get("reason") == "Approval", "the step waits for people")
    revision = status["rollout"]["revision"]
    assert f"not by its author {team.name('author')}" in status["waiting"]["message"]
    # Somebody who restarts what is held does not take its author's place, and nobody writes themself off.
    assert "restarted" in _restart(team, "helper")
    forged = team.kubectl("author", "annotate", "deployment", "shop", "--overwrite", f"linnet.dev/author={team.name('helper')}")
    assert "stamped by the API server" in forged
    first = f"approve@{revision}#n=1;step=sign-off"
    team.annotate("author", f"{first};why=mine")
    team.refused(f"{team.name('author')} wrote {revision}")
    team.annotate("helper", f"approve@{revision}#by=ann;n=2")
    team.refused(f"{team.name('helper')} wrote {revision}")
    team.annotate("ann", first)
    shop.until(lambda _: team.approved() == ["ann"], "ann's yes")
    team.annotate("ann", f"approve@{revision}#by=bob;n=3;step=sign-off")
    team.refused(f"{team.name('ann')} approved step sign-off already")
    team.by_command_line("bob", revision)
    shop.until(lambda s: "(2 of 3" in (s.get("waiting") or {}).get("message", ""), "bob's yes")
    team.annotate("ann", first)  # the old words, after others have spoken
    shop.until(lambda s: first in s.get("lastAction", ""), "they were heard")
    assert team.approved() == ["ann", "bob"]
    assert not shop.weights().get("shop-canary")
    team.annotate("carol", f"approve@{revision}#n=4;step=sign-off")
    shop.load(80)
    shop.await_verdict("Pass", 90)
    shop.stop_load()
    told = [e["note"] for e in shop.events("Approved")]
    assert any(f"{team.name('carol')}, 3 of 3" in note for note in told), told
    assert shop.image() == "shop:v2"
    shop.assert_clean()
    assert "linnet.dev/author" not in json.dumps(shop.get("deployment", "shop")["metadata"].get("annotations"))
    shop.assert_as_before("shop:v2", changed="deployment")  # the author's and the helper's kubectl are owners now


def _restart(team: Team, who: str) -> str:
    """What a restart button writes; kubectl's own refuses to touch what is paused."""
    stamp = {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}}}}}
    said = team.kubectl(who, "patch", "deployment", "shop", "--type=merge", "-p", json.dumps(stamp))
    return said.replace("patched", "restarted")
