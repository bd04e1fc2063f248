"""After all scenarios: the daemon was refused nothing, and what it was granted it used (promise of least rights).

Runs after the other files by its name. Without them in the same session only the refusals are looked at.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.testbed.linnet import Linnet
from tests.witness.audit import Audit

pytestmark = pytest.mark.cluster

SCENARIOS = {"test_scenarios_daemon", "test_scenarios_inputs", "test_scenarios_people", "test_scenarios_release"}
ALONE = "granted with list and watch, by which the daemon reads; one object alone is read by nobody yet"
PATCHED = "granted for replacing; the daemon patches"
LATER = "of what is not in this version: templates, endpoints, disruption budgets, the gateway of a route"
ELSEWHERE = "`linnet doctor` and the chart's hooks, which have the same rules, ask for the policies"
SELDOM = "pruning, and the guard of an owner reference: more releases of one Canary than a scenario makes"
ADMISSION = "admissionregistration.k8s.io"
# Granted and not used by any scenario: why each is there. Whoever makes the daemon use one, or takes the right away, deletes its line.
EXCEPTIONS: dict[tuple[str, str, str], str] = {
    **{("get", "", name): ALONE for name in ("pods", "services")},
    **{("get", "apps", name): ALONE for name in ("controllerrevisions", "replicasets")},
    **{("get", "linnet.dev", name): ALONE for name in ("canaries", "canaryprofiles", "flagsources", "metricsources", "notifiers")},
    ("get", "networking.k8s.io", "networkpolicies"): ALONE,
    **{("update", "linnet.dev", name): PATCHED for name in ("canaries", "canaries/status", "analysisruns", "analysisruns/status")},
    **{("get", "linnet.dev", name): PATCHED for name in ("canaries/status", "analysisruns/status")},
    ("patch", "linnet.dev", "analysisruns/status"): PATCHED,
    ("update", "events.k8s.io", "events"): PATCHED,
    ("patch", "coordination.k8s.io", "leases"): "the Lease is replaced, never patched",
    **{(verb, "linnet.dev", "analysistemplates"): LATER for verb in ("get", "list", "watch")},
    **{(verb, "discovery.k8s.io", "endpointslices"): LATER for verb in ("get", "list", "watch")},
    **{(verb, "policy", "poddisruptionbudgets"): LATER for verb in ("get", "list", "watch")},
    ("get", "gateway.networking.k8s.io", "gateways"): LATER,
    **{("get", ADMISSION, f"{kind}admissionpolicies"): ELSEWHERE for kind in ("mutating", "validating")},
    **{("get", ADMISSION, f"{kind}admissionpolicybindings"): ELSEWHERE for kind in ("mutating", "validating")},
    **{(verb, "linnet.dev", "analysisruns"): SELDOM for verb in ("delete", "list", "watch")},
    ("update", "linnet.dev", "canaries/finalizers"): SELDOM,
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
