"""After all scenarios: the daemon was refused nothing, and what it was granted it used (promise of least rights).

Runs after the other files by its name. Without them in the same session only the refusals are looked at.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.testbed.linnet import Linnet
from tests.witness.audit import Audit

pytestmark = pytest.mark.cluster

SCENARIOS = {f"test_scenarios_{what}" for what in ("daemon", "doctor", "inputs", "jobs", "people", "release")}
FEATURE_FLAGS = "a FlagSource may name a FeatureFlag; test_featureflags.py drives one with the daemon's client, no scenario does"
WEEKLY = "written when a weekly digest goes out, which no scenario waits for; tests/unit/control/test_observing.py sends one"
PRUNING = "an AnalysisRun is pruned from the sixth release of one Canary on, which no scenario plays"
ROUTES = [
    ("gateway.networking.k8s.io", "httproutes"),
    ("gateway.networking.k8s.io", "grpcroutes"),
    ("traefik.io", "traefikservices"),
    ("projectcontour.io", "httpproxies"),
    ("networking.istio.io", "virtualservices"),
]
NAMED = "used once a Canary names a route of this kind: tried in the data-plane suite, which is not a scenario"
RESTORED_AFTER_A_RACE = "read when somebody wrote between a restore and the giving back of its owners"
# Granted and not used by any scenario: why each is there. Whoever makes the daemon use one, or takes the right away, deletes its line.
EXCEPTIONS: dict[tuple[str, str, str], str] = {
    ("get", "core.openfeature.dev", "featureflags"): FEATURE_FLAGS,
    ("patch", "core.openfeature.dev", "featureflags"): FEATURE_FLAGS,
    ("get", "", "services"): "the canary's Service is read where its CREATE found one: after a crash between the CREATE and the cache",
    **{("get", group, resource): RESTORED_AFTER_A_RACE for group, resource in ROUTES if resource != "httproutes"},
    **{("patch", group, resource): NAMED for group, resource in ROUTES if resource != "httproutes"},
    **{(verb, group, resource): NAMED for verb in ("list", "watch") for group, resource in ROUTES if "gateway" not in group},
    **{(verb, "networking.k8s.io", "ingresses"): NAMED for verb in ("list", "watch", "create", "patch", "delete")},
    **{(verb, "networking.k8s.io", "ingressclasses"): NAMED for verb in ("list", "watch")},
    **{(verb, "networking.istio.io", "destinationrules"): NAMED for verb in ("list", "watch")},
    ("patch", "linnet.dev", "notifiers/status"): WEEKLY,
    ("list", "linnet.dev", "analysisruns"): PRUNING,
    ("delete", "linnet.dev", "analysisruns"): PRUNING,
}


def granted(linnet: Linnet) -> set[tuple[str, str, str]]:
    """(verb, group, resource) of every rule that the daemon's account has."""
    rules: list[dict[str, Any]] = linnet.plane.json("get", "clusterrole", "linnet")["rules"]
    rules += linnet.plane.json("get", "role", "linnet-lease", "-n", linnet.namespace)["rules"]
    return {
        (verb, group, resource) for rule in rules for verb in rule["verbs"] for group in rule["apiGroups"] for resource in rule["resources"]
    }


def test_the_daemon_was_refused_nothing(linnet: Linnet) -> None:
    """Not one 403 for the chart's ServiceAccount in the whole session."""
    refused = Audit.read(linnet.plane.audit_log).by(linnet.account).forbidden()
    # Scenarios leave their namespaces as they are: nothing new may be made in one that is ending, whoever asks.
    refused = refused.where(lambda one: "being terminated" not in str(one.response))
    assert sorted({one.target for one in refused}) == []


def test_every_right_of_the_daemon_was_used(linnet: Linnet, request: pytest.FixtureRequest) -> None:
    """A right that no scenario needs is taken away, or listed with its reason."""
    ran = {item.nodeid.partition("::")[0].rpartition("/")[2].removesuffix(".py") for item in request.session.items}
    if not ran >= SCENARIOS:
        return  # asked for alone: nothing can be said of what was not used
    used = Audit.read(linnet.plane.audit_log).by(linnet.account).granted()
    unused = granted(linnet) - used
    new, old = sorted(unused - set(EXCEPTIONS)), sorted(set(EXCEPTIONS) & used)
    assert not new, "granted and never used:\n" + "\n".join(map(str, new))
    assert not old, "listed as unused, and used:\n" + "\n".join(map(str, old))
