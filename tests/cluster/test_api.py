"""The generated CRDs on a real API server: it takes them, takes good objects, and refuses wrong ones by the name of the field."""

import copy
import json
from typing import Any

import pytest

from daemon.api.crds import crd
from daemon.api.kinds import KINDS, Canary, decode
from daemon.api.profiles import documents
from tests.testbed.controlplane import ControlPlane
from tests.unit.api.objects import FULL_CANARY, MORE_GOOD, make, wrong_objects

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with our CRDs."""
    control_plane.apply(*(crd(kind) for kind in KINDS), server_side=True)
    control_plane.kubectl("wait", "--for=condition=Established", *(f"crd/{kind.crd}" for kind in KINDS), "--timeout=30s")
    return control_plane


def create(plane: ControlPlane, raw: dict[str, Any], namespace: str, *arguments: str) -> tuple[int, str]:
    """`kubectl create`, with the server's strict reading of fields."""
    text = json.dumps(raw)
    done = plane.kubectl("create", "--validate=strict", "-n", namespace, "-f", "-", *arguments, input=text, check=False)
    return done.returncode, done.stdout + done.stderr


GOOD = [(kind, spec) for kind, specs in MORE_GOOD.items() for spec in specs]


def test_good_objects_are_accepted_and_kept_whole(plane: ControlPlane, namespace: str) -> None:
    """What the documentation shows is stored without loss: no field is pruned or altered."""
    for index, (kind, spec) in enumerate(GOOD):
        raw = make(kind, spec, name=f"good-{index}")
        code, text = create(plane, raw, namespace, "-o", "json")
        assert code == 0, text
        stored = json.loads(text)["spec"]
        for route in (raw["spec"].get("traffic") or {}).get("routes") or []:
            route.setdefault("kind", "HTTPRoute")
        assert stored == raw["spec"]


def test_the_shipped_profiles_are_accepted(plane: ControlPlane, namespace: str) -> None:
    """Each of the profiles of the chart is a valid object."""
    for document in documents():
        code, text = create(plane, document, namespace)
        assert code == 0, text


# One test for the whole table: a kubectl call costs a tenth of a second, a test of its own with a namespace several.
def test_wrong_objects_are_refused_by_the_name_of_the_field(plane: ControlPlane, namespace: str) -> None:
    """Every row that a server can judge is refused, and its message has the field and what the table asks for."""
    missed: list[str] = []
    rows = [case for case in wrong_objects() if case.server]
    for case in rows:
        code, text = create(plane, case.raw, namespace, "--dry-run=server")
        if code == 0 or case.server_field not in text or case.says not in text:
            missed.append(f"{case.name}: wanted {case.server_field} and {case.says!r}, got {text.strip()}")
    assert missed == []
    assert len(rows) >= 60


def test_what_only_lint_knows_is_accepted_by_the_server(plane: ControlPlane, namespace: str) -> None:
    """Rows marked `server: false` are honest: the server takes them, so the reconciler must say what is wrong."""
    for case in wrong_objects():
        if not case.server:
            code, text = create(plane, case.raw, namespace, "--dry-run=server")
            assert code == 0, f"{case.name}: {text}"


def test_the_workload_of_a_canary_cannot_be_changed(plane: ControlPlane, namespace: str) -> None:
    """Another workload is another Canary; spelling out the kind is no change."""
    create(plane, make("Canary", {"workloadRef": {"name": "one"}}, name="fixed"), namespace)
    same = json.dumps({"spec": {"workloadRef": {"kind": "Deployment", "apiVersion": "apps/v1"}}})
    plane.kubectl("patch", "lin", "fixed", "-n", namespace, "--type=merge", "-p", same)
    other = json.dumps({"spec": {"workloadRef": {"name": "two"}}})
    done = plane.kubectl("patch", "lin", "fixed", "-n", namespace, "--type=merge", "-p", other, check=False)
    assert done.returncode != 0
    assert "spec.workloadRef" in done.stderr
    assert "delete this Canary" in done.stderr


def test_a_name_that_cannot_be_a_label_is_refused(plane: ControlPlane, namespace: str) -> None:
    """Found at admission, not when the first canary is created."""
    code, text = create(plane, make("Canary", FULL_CANARY, name="x" * 64), namespace)
    assert code != 0
    assert "metadata.name" in text


def test_several_faults_are_told_at_once(plane: ControlPlane, namespace: str) -> None:
    """Rules do not hide one another."""
    spec = {**copy.deepcopy(FULL_CANARY), "strategy": {"baseline": "Fresh"}, "progressDeadline": "0s"}
    _, text = create(plane, make("Canary", spec), namespace)
    assert "spec.strategy" in text
    assert "spec.progressDeadline" in text


def test_kubectl_shows_the_release(plane: ControlPlane, namespace: str) -> None:
    """The columns, the short name, the category, and the sentence with `-o wide`; status is written by its own endpoint."""
    create(plane, make("Canary", FULL_CANARY), namespace)
    status = {
        "phase": "Progressing",
        "step": "2/4 half",
        "weight": 50,
        "flagsText": "new-checkout 50 %",
        "verdictText": "Pending",
        "observedRevision": "7f9c2",
        "sentence": "checkout 7f9c2 at 50 %",
        "rollout": {"revision": "7f9c2", "startedAt": "2026-01-01T00:00:00Z", "spec": FULL_CANARY},
    }
    plane.kubectl("patch", "lin", "checkout", "-n", namespace, "--type=merge", "--subresource=status", "-p", json.dumps({"status": status}))
    lines = plane.kubectl("get", "lin", "-n", namespace).stdout.splitlines()
    assert lines[0].split() == ["NAME", "PHASE", "STEP", "WEIGHT", "FLAGS", "VERDICT", "AGE"]
    assert "2/4 half" in lines[1]
    assert "checkout 7f9c2 at 50 %" in plane.kubectl("get", "lin", "-n", namespace, "-o", "wide").stdout
    assert "canary.linnet.dev/checkout" in plane.kubectl("get", "linnet", "-n", namespace, "-o", "name").stdout
    canary = decode(Canary, plane.json("get", "lin", "checkout", "-n", namespace))
    assert canary.status.phase == "Progressing"
    assert canary.status.rollout is not None
    assert canary.status.rollout.spec == FULL_CANARY, "the snapshot must be stored whole"
    assert canary.metadata.namespace == namespace
    assert canary.spec.steps is not None
    assert len(canary.spec.steps) == len(FULL_CANARY["steps"])


def test_two_managers_own_flags_of_one_canary(plane: ControlPlane, namespace: str) -> None:
    """Named lists are merged by name, so that a second team can add its flag by server-side apply."""
    create(plane, make("Canary", {"workloadRef": {"name": "a"}, "flags": [{"name": "one"}]}, name="shared"), namespace)
    more = make("Canary", {"flags": [{"name": "two"}]}, name="shared")
    apply = ("apply", "--server-side", "--field-manager=other", "-n", namespace, "-f", "-")
    plane.kubectl(*apply, input=json.dumps(more))
    flags = plane.json("get", "lin", "shared", "-n", namespace)["spec"]["flags"]
    assert [flag["name"] for flag in flags] == ["one", "two"]
