"""The chart as Helm renders it: scope, policies, rights, the pod's hardening, and what it refuses."""

from __future__ import annotations

import importlib
import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.cli.main import COMMANDS
from daemon.web.keyring import turned
from tests.cluster import hold_cases
from tests.testbed.webhook import registration
from tests.unit.chart.rendered import CHART, CLUSTER_SCOPED, Chart, Object, helm, of_kind, one

pytestmark = pytest.mark.cluster

NAMESPACED: Object = {"scope": {"namespaces": ["shop", "cart"]}, "crds": {"install": False}}
EVERYTHING: Object = {
    "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prom"}},
    "prometheusRule": {"enabled": True},
    "api": {"enabled": True, "tlsSecret": "linnet-api"},
    "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]},
    "image": {"registry": "mirror.example", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "clusterName": "eu-1",
    "extraArgs": ["--extra"],
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example"}],
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "sre"},
    "commonLabels": {"part": "delivery"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "priorityClassName": "system-cluster-critical",
    "caps": {"rollouts": 20, "rolloutsPerNamespace": 2, "namespaceAnnotations": True},
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more", "namespace": "{{ .Release.Namespace }}"}},
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-text'}",
    ],
}
POLICY_KINDS = (
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)


@pytest.fixture
def chart(tmp_path: Path) -> Chart:
    return Chart(tmp_path)


def rules(objects: list[Object], *, people: bool = False) -> list[Object]:
    """Every rule that a ServiceAccount of the chart is given (with `people`, those of the aggregated roles instead)."""
    roles = of_kind(objects, "Role", "ClusterRole")
    return [rule for role in roles if _aggregated(role) == people for rule in role["rules"]]


def _aggregated(role: Object) -> bool:
    return any(key.startswith("rbac.authorization.k8s.io/aggregate-to-") for key in role["metadata"].get("labels", {}))


def pod_specs(objects: list[Object]) -> dict[str, Object]:
    specs = {found["kind"]: found["spec"]["template"]["spec"] for found in of_kind(objects, "Deployment", "Job")}
    [doctor] = of_kind(objects, "Pod")
    return specs | {"Pod": doctor["spec"]}


def test_lint_is_silent(tmp_path: Path) -> None:
    """`helm lint --strict` has no warning, for each set of values that the tests use."""
    for number, values in enumerate(({}, NAMESPACED, EVERYTHING)):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(values))
        done = helm("lint", "--strict", str(CHART), "-f", str(path), home=tmp_path)
        assert done.returncode == 0, done.stdout
        assert "WARNING" not in done.stdout


@pytest.mark.parametrize("values", [{}, NAMESPACED, EVERYTHING], ids=["default", "namespaced", "everything"])
def test_every_object_is_whole(chart: Chart, values: Object) -> None:
    """Each document has a kind, a name and our labels; namespaced objects name their namespace; no name is taken twice."""
    objects = chart.render(values)
    seen = set()
    for found in objects:
        key = (found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"])
        assert key not in seen
        seen.add(key)
        if found["kind"] in {"CustomResourceDefinition", "CanaryProfile"} or found["metadata"]["name"] in {"more", "linnet-text"}:
            continue
        assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == "linnet", key
        assert ("namespace" in found["metadata"]) is (found["kind"] not in CLUSTER_SCOPED), key
    assert (("ConfigMap", "linnet", "more") in seen) is (values is EVERYTHING)


def test_cluster_wide_by_default(chart: Chart) -> None:
    """Without values: CRDs that stay, one ClusterRole, the policies, two replicas with a Lease, a budget and no Role but the Lease's."""
    objects = chart.render()
    assert {crd["metadata"]["annotations"]["helm.sh/resource-policy"] for crd in of_kind(objects, "CustomResourceDefinition")} == {"keep"}
    assert {role["metadata"]["name"] for role in of_kind(objects, "Role")} == {"linnet-lease", "linnet-cleanup-lease"}
    assert one(objects, "Deployment", "linnet")["spec"]["replicas"] == 2
    assert one(objects, "PodDisruptionBudget", "linnet")["spec"]["minAvailable"] == 1
    assert len(of_kind(objects, *POLICY_KINDS)) == 8


def test_namespaced_has_nothing_cluster_scoped(chart: Chart) -> None:
    """With scope.namespaces and without the CRDs a person without rights on the cluster can install all of it."""
    objects = chart.render(NAMESPACED)
    assert of_kind(objects, *CLUSTER_SCOPED) == []
    where = sorted(role["metadata"]["namespace"] for role in of_kind(objects, "Role") if role["metadata"]["name"] == "linnet")
    assert where == ["cart", "linnet", "shop"]
    args = pod_specs(objects)["Deployment"]["containers"][0]["args"]
    assert [arg for arg in args if "namespace=" in arg][:3] == ["--namespace=shop", "--namespace=cart", "--catalogue-namespace=linnet"]


def test_a_namespace_that_is_also_the_release_s_gets_one_role(chart: Chart) -> None:
    """Linnet may work in its own namespace: one Role of that name, with all rules."""
    objects = chart.render({**NAMESPACED, "scope": {"namespaces": ["linnet"]}})
    [role] = [role for role in of_kind(objects, "Role") if role["metadata"]["name"] == "linnet"]
    assert any("deployments" in rule["resources"] for rule in role["rules"])


# What evaluates the mutating rules, by what is wished for, whether the API server can, and where Linnet works.
HOLDERS: tuple[tuple[Any, Any, bool, list[str], str], ...] = (
    ("auto", "auto", True, [], "policy"),
    ("auto", "auto", False, [], "webhook"),
    ("auto", True, True, [], "webhook"),
    ("auto", False, True, [], "policy"),
    ("auto", "false", False, [], "refusals alone"),
    ("auto", "auto", True, ["shop"], ""),
    ("auto", "auto", False, ["shop"], ""),
    ("true", "auto", True, ["shop"], "policy"),
    (True, "auto", False, ["shop"], "policy"),
    (True, "auto", False, [], "webhook"),
    (True, False, False, [], "policy"),
    ("false", "auto", True, [], ""),
    (False, True, False, [], ""),
)


@pytest.mark.parametrize(("wish", "webhook", "known", "namespaces", "by"), HOLDERS)
def test_what_evaluates_the_rules(chart: Chart, wish: Any, webhook: Any, known: bool, namespaces: list[str], by: str) -> None:
    """Never both and, where the rules are wanted and somebody can, never neither; what refuses needs no webhook."""
    switches: Object = {"hold": {"policies": wish, "webhook": {"enabled": webhook}}, "verbs": {"policies": wish}}
    objects = chart.render({**switches, "scope": {"namespaces": namespaces}}, policies=known)
    mutating, refusing = POLICY_KINDS[:2], POLICY_KINDS[2:]
    assert len(of_kind(objects, *mutating)) == (4 if by == "policy" else 0)
    assert len(of_kind(objects, *refusing)) == (4 if by else 0)
    assert len(of_kind(objects, "MutatingWebhookConfiguration")) == (1 if by == "webhook" else 0)
    args = pod_specs(objects)["Deployment"]["containers"][0]["args"]
    assert any(arg.startswith("--webhook-address") for arg in args) is (by == "webhook")


def test_the_webhook_has_the_conditions_of_the_policies(chart: Chart) -> None:
    """Word by word, as the cases of the hold try them; it never refuses a write, and is not asked for what is nobody's of ours."""
    objects = chart.render(policies=False)
    found = one(objects, "MutatingWebhookConfiguration", "linnet-hold")
    accounts = ["system:serviceaccount:linnet:linnet", "system:serviceaccount:linnet:linnet-cleanup"]
    ring = turned(None, ["localhost"], datetime.now(UTC))
    for hook, path in zip(found["webhooks"], (hold_cases.POLICIES, hold_cases.POLICIES.with_name("verb-policies.yaml")), strict=True):
        wanted = registration(hold_cases.policies(accounts, path), "https://localhost", ring)["webhooks"][0]
        client = {"namespace": "linnet", "name": "linnet-webhook", "path": f"/{hook['name'].partition('.')[0]}", "port": 443}
        assert hook == {**wanted, "clientConfig": {"service": client}}
        assert hook["failurePolicy"] == "Ignore"


def test_the_webhook_s_rights_are_one_secret_and_one_configuration(chart: Chart) -> None:
    """By name; the Secret is made empty, so that nobody has to create one, and an upgrade takes nothing out of it."""
    objects = chart.render(policies=False)
    assert "data" not in one(objects, "Secret", "linnet-webhook")
    secret, configuration = (
        [rule for rule in rules(objects) if name in rule["resources"] and set(rule["verbs"]) > {"list", "watch"}]
        for name in ("secrets", "mutatingwebhookconfigurations")
    )
    assert [(rule["resourceNames"], rule["verbs"]) for rule in secret] == [(["linnet-webhook"], ["list", "watch", "patch"])]
    assert [(rule["resourceNames"], rule["verbs"]) for rule in configuration] == [(["linnet-hold"], ["get", "list", "watch", "patch"])]


def test_a_certificate_of_somebody_else_s_is_mounted_and_needs_no_right(chart: Chart) -> None:
    """As cert-manager writes it: the pod reads files, the configuration says who injects what to trust, no Secret of ours is there."""
    annotation = {"cert-manager.io/inject-ca-from": "linnet/linnet-webhook"}
    objects = chart.render({"hold": {"webhook": {"tlsSecret": "hook-tls", "annotations": annotation, "caBundle": "UEVN"}}}, policies=False)
    found = one(objects, "MutatingWebhookConfiguration", "linnet-hold")
    assert found["metadata"]["annotations"] == annotation
    assert {hook["clientConfig"]["caBundle"] for hook in found["webhooks"]} == {"UEVN"}
    pod = pod_specs(objects)["Deployment"]
    assert {"name": "webhook-tls", "secret": {"secretName": "hook-tls"}} in pod["volumes"]
    assert "--webhook-cert=/var/run/linnet/webhook/tls.crt" in pod["containers"][0]["args"]
    assert of_kind(objects, "Secret") == []


@pytest.mark.parametrize("values", [{}, {"hold": {"webhook": {"tlsSecret": "hook-tls"}}}], ids=["own", "files"])
def test_the_webhook_s_arguments_are_options(chart: Chart, values: Object) -> None:
    """A daemon that its own chart starts wrongly would crash in a loop."""
    command, *options = pod_specs(chart.render(values, policies=False))["Deployment"]["containers"][0]["args"]
    parameters = getattr(importlib.import_module(COMMANDS[command][0]), COMMANDS[command][1]).params
    known = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {option.partition("=")[0] for option in options} <= known


def test_the_policies_are_those_of_the_file(chart: Chart) -> None:
    """What Helm installs is what the cases of the hold run against, with the chart's two ServiceAccounts and the named others as Linnet."""
    objects = chart.render({"hold": {"extraUsernames": ["system:serviceaccount:other:linnet"]}})
    accounts = ["system:serviceaccount:linnet:linnet", "system:serviceaccount:linnet:linnet-cleanup", "system:serviceaccount:other:linnet"]
    for wanted in hold_cases.policies(accounts):
        assert one(objects, wanted["kind"], wanted["metadata"]["name"])["spec"] == wanted["spec"]


def test_the_policies_of_a_namespaced_linnet_look_at_its_namespaces_alone(chart: Chart) -> None:
    """Elsewhere nobody would release what they hold."""
    objects = chart.render({**NAMESPACED, "hold": {"policies": True}})
    for kind, name in (("MutatingAdmissionPolicy", "linnet-hold"), ("ValidatingAdmissionPolicy", "linnet-release")):
        selector = one(objects, kind, name)["spec"]["matchConstraints"]["namespaceSelector"]
        assert selector == {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "cart"]}]}


@pytest.mark.parametrize("values", [{}, NAMESPACED], ids=["cluster-wide", "namespaced"])
def test_rights_have_no_wildcard_and_never_list_secrets(chart: Chart, values: Object) -> None:
    """No '*' anywhere, Secrets are read one by one, nothing that grants rights or runs code is among the resources."""
    objects = chart.render(values)
    for rule in rules(objects) + rules(objects, people=True):
        assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert not any(name.startswith(("roles", "clusterroles", "pods/exec", "serviceaccounts")) for name in rule["resources"])
        assert not {"deletecollection", "impersonate", "escalate", "bind"} & set(rule["verbs"])
    for rule in rules(objects):
        if "secrets" in rule["resources"]:
            assert rule["verbs"] == ["get"]
    assert not any("secrets" in rule["resources"] for rule in rules(objects, people=True))


def test_the_roles_of_a_namespace_grant_what_the_cluster_role_grants(chart: Chart) -> None:
    """Apart from looking at the policies and classes, which are cluster-scoped, a namespaced Linnet may do the same in its namespaces."""
    everywhere = one(chart.render(), "ClusterRole", "linnet")["rules"]
    [shop] = [role for role in of_kind(chart.render(NAMESPACED), "Role") if role["metadata"]["namespace"] == "shop"][:1]
    kept = [r for r in everywhere if r["apiGroups"] != ["admissionregistration.k8s.io"] and r["resources"] != ["ingressclasses"]]
    assert kept == shop["rules"]


@pytest.mark.parametrize("values", [{}, NAMESPACED], ids=["cluster-wide", "namespaced"])
def test_the_cleanup_may_do_what_the_daemon_may(chart: Chart, values: Object) -> None:
    """The same rules under the hook's own account, and one read of its own; all of them hooks that come before the Job."""
    objects = chart.render(values)
    roles = of_kind(objects, "Role", "ClusterRole")
    for role in roles:
        name = role["metadata"]["name"]
        if name.startswith("linnet-cleanup") or _aggregated(role):
            continue
        twin = "linnet-cleanup" + name.removeprefix("linnet")
        [found] = [
            r for r in roles if r["metadata"]["name"] == twin and r["metadata"].get("namespace") == role["metadata"].get("namespace")
        ]
        more = [rule for rule in found["rules"] if rule not in role["rules"]]
        assert [rule for rule in found["rules"] if rule not in more] == role["rules"]
        works = any("deployments" in rule["resources"] for rule in role["rules"])
        assert more == ([{"apiGroups": ["linnet.dev"], "resources": ["canaries"], "verbs": ["get"]}] if works else [])
    hooks = [o for o in objects if o["metadata"]["name"].startswith("linnet-cleanup")]
    weights = {o["kind"]: int(o["metadata"]["annotations"]["helm.sh/hook-weight"]) for o in hooks}
    assert {o["metadata"]["annotations"]["helm.sh/hook"] for o in hooks} == {"pre-delete"}
    assert max(weight for kind, weight in weights.items() if kind != "Job") < weights["Job"]


def test_the_cleanup_job_tolerates_everything_and_ends(chart: Chart) -> None:
    """It runs on a tainted cluster, gives up after two minutes, and the policies are no hooks: they go after it."""
    objects = chart.render({"cleanup": {"onUninstall": "leave"}})
    job = one(objects, "Job", "linnet-cleanup")["spec"]
    assert job["activeDeadlineSeconds"] == 120
    assert job["template"]["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert job["template"]["spec"]["containers"][0]["args"][:3] == ["cleanup", "--all", "--held=leave"]
    assert not any("helm.sh/hook" in policy["metadata"].get("annotations", {}) for policy in of_kind(objects, *POLICY_KINDS))
    assert of_kind(chart.render({"cleanup": {"enabled": False}}), "Job") == []


@pytest.mark.parametrize("values", [{}, NAMESPACED, EVERYTHING], ids=["default", "namespaced", "everything"])
def test_every_pod_is_hardened(chart: Chart, values: Object) -> None:
    """Daemon, cleanup and doctor obey the restricted pod security standard and mount only a projected token, /tmp and, with the HTTP API,
    its certificate.
    """
    specs = pod_specs(chart.render(values))
    assert set(specs) == {"Deployment", "Job", "Pod"}
    for kind, spec in specs.items():
        assert spec["automountServiceAccountToken"] is False, kind
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 65532
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        [container] = spec["containers"]
        inside = container["securityContext"]
        assert (inside["readOnlyRootFilesystem"], inside["allowPrivilegeEscalation"], inside["privileged"]) == (True, False, False)
        assert inside["capabilities"] == {"drop": ["ALL"]}
        mounts = {mount["mountPath"]: bool(mount.get("readOnly")) for mount in container["volumeMounts"]}
        certificate = mounts.pop("/var/run/linnet/api", None)
        assert certificate in ((True, None) if kind == "Deployment" else (None,))
        assert sorted(mounts) == ["/tmp", "/var/run/secrets/kubernetes.io/serviceaccount"]
        kinds = {frozenset(volume) - {"name"} for volume in spec["volumes"]}
        assert kinds == {frozenset({"emptyDir"}), frozenset({"projected"})} | ({frozenset({"secret"})} if certificate else set())


def test_the_daemon_is_told_everything_by_arguments(chart: Chart) -> None:
    """The command line says where it works, how it logs and which Lease it takes; probes ask the metrics port."""
    container = pod_specs(chart.render({"clusterName": "eu-1"}))["Deployment"]["containers"][0]
    assert container["args"] == [
        "run",
        "--catalogue-namespace=linnet",
        "--metrics-address=:8080",
        "--log-format=json",
        "--leader-election",
        "--lease-name=linnet",
        "--lease-namespace=linnet",
        "--cluster-name=eu-1",
    ]
    probes = {key: container[key]["httpGet"] for key in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} == {"metrics"}
    assert probes["readinessProbe"]["path"] == "/readyz"


@pytest.mark.parametrize("kind", ["Deployment", "Job", "Pod"])
def test_every_argument_of_a_pod_is_an_option_of_its_command(chart: Chart, kind: str) -> None:
    """A pod whose arguments the command line refuses would crash in a loop: each command and option exists."""
    command, *options = pod_specs(chart.render({**NAMESPACED, "clusterName": "eu-1"}))[kind]["containers"][0]["args"]
    if command not in COMMANDS:
        pytest.skip(f"there is no command `linnet {command}` yet")
    module, attribute, _ = COMMANDS[command]
    parameters = getattr(importlib.import_module(module), attribute).params
    known = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {option.partition("=")[0] for option in options} <= known


def test_a_single_replica_needs_neither_lease_nor_budget(chart: Chart) -> None:
    """One replica without leader election is legal and has no PodDisruptionBudget that would block a drain for good."""
    objects = chart.render({"replicas": 1, "leaderElection": {"enabled": False}})
    assert "--no-leader-election" in pod_specs(objects)["Deployment"]["containers"][0]["args"]
    assert of_kind(objects, "PodDisruptionBudget") == []


def test_optional_objects_are_there_on_demand_only(chart: Chart) -> None:
    """Nothing that needs another operator's CRDs is rendered unless asked for."""
    optional = ("ServiceMonitor", "PrometheusRule", "NetworkPolicy")
    assert of_kind(chart.render(), *optional) == []
    assert sorted(found["kind"] for found in of_kind(chart.render(EVERYTHING), *optional)) == sorted(optional)


def test_the_image_is_named_by_digest_when_one_is_given(chart: Chart) -> None:
    """Registry, repository and digest; without a tag the chart's version."""
    images = {spec["containers"][0]["image"] for spec in pod_specs(chart.render(EVERYTHING)).values()}
    assert images == {"mirror.example/linnet/linnet@sha256:" + "0" * 64}
    images = {spec["containers"][0]["image"] for spec in pod_specs(chart.render()).values()}
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert images == {f"linnet/linnet:{version}"}


WRONG: tuple[tuple[Object, str], ...] = (
    ({"replica": 3}, "replica"),
    ({"replicas": "two"}, "replicas"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"image": {"digest": "latest"}}, "digest"),
    ({"scope": {"namespaces": ["Shop"]}}, "namespaces"),
    ({"scope": {"namespaces": ["shop", "shop"]}}, "namespaces"),
    ({"scope": {"namespace": "shop"}}, "namespace"),
    ({"hold": {"policies": "yes"}}, "policies"),
    ({"hold": {"extraUsernames": ["x'] || true || ['"]}}, "extraUsernames"),
    ({"cleanup": {"onUninstall": "delete"}}, "onUninstall"),
    ({"hold": {"webhook": {"enabled": "yes"}}}, "enabled"),
    ({"hold": {"webhook": {"timeoutSeconds": 30}}}, "timeoutSeconds"),
    ({"hold": {"webhook": {"caBundle": "-----BEGIN"}}}, "caBundle"),
    ({"hold": {"policies": True, "webhook": {"enabled": True}}, **NAMESPACED}, "hold.webhook.tlsSecret"),
    ({"crds": {"install": "no"}}, "install"),
    ({"metrics": {"port": 80}}, "port"),
    ({"leaderElection": {"leaseName": ""}}, "leaseName"),
    ({"replicas": 2, "leaderElection": {"enabled": False}}, "replicas: 1"),
    ({"serviceAccount": {"create": False}}, "serviceAccount.name"),
    ({"caps": {"rollouts": -1}}, "rollouts"),
    ({"caps": {"rolloutsPerNamespace": "two"}}, "rolloutsPerNamespace"),
    ({"caps": {"namespaceAnnotations": True}, **NAMESPACED}, "caps.rolloutsPerNamespace"),
)


@pytest.mark.parametrize(("values", "named"), WRONG, ids=[str(values) for values, _ in WRONG])
def test_wrong_values_are_refused_by_name(chart: Chart, values: Object, named: str) -> None:
    """A misspelt or impossible value is refused before anything is rendered, and the message names it."""
    done = chart.try_render(values)
    assert done.returncode != 0
    assert named in done.stderr


def test_two_releases_have_no_namespaced_name_in_common(chart: Chart, tmp_path: Path) -> None:
    """Namespaced Linnets of two teams, each in a namespace of its own, do not fight over an object."""
    other = helm(
        "template", "blue", str(CHART), "-n", "blue", "--set", "scope.namespaces={blue}", "--set", "crds.install=false", home=tmp_path
    )
    names = [
        {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects}
        for objects in (chart.render(NAMESPACED), [o for o in yaml.safe_load_all(other.stdout) if o])
    ]
    assert not any(left & right for left, right in itertools.combinations(names, 2))


def test_the_http_api_is_served_over_tls_with_the_rights_that_it_needs(chart: Chart) -> None:
    """A port, the certificate, one Canary and the two reviews; and nothing of it by default."""
    objects = chart.render({"api": {"enabled": True, "tlsSecret": "linnet-api"}})
    pod = one(objects, "Deployment", "linnet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert "--api-cert=/var/run/linnet/api/tls.crt" in container["args"]
    assert {"name": "api-tls", "secret": {"secretName": "linnet-api"}} in pod["volumes"]
    assert one(objects, "ClusterRoleBinding", "linnet-api")["roleRef"]["name"] == "system:auth-delegator"
    gets = [rule for rule in rules(objects) if "canaries" in rule["resources"] and "get" in rule["verbs"]]
    assert gets
    plain = chart.render()
    assert not [o for o in of_kind(plain, "ClusterRoleBinding") if o["metadata"]["name"] == "linnet-api"]
    assert "api" not in [p["name"] for p in one(plain, "Service", "linnet")["spec"]["ports"]]


def test_caps_are_options_and_namespaces_are_read_only_where_they_have_caps(chart: Chart) -> None:
    """Neither an option nor a right by default."""
    objects = chart.render({"caps": {"rollouts": 20, "rolloutsPerNamespace": 2, "namespaceAnnotations": True}})
    args = pod_specs(objects)["Deployment"]["containers"][0]["args"]
    assert {"--max-rollouts=20", "--max-rollouts-per-namespace=2", "--namespace-caps"} <= {*args}
    wanted = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]}
    assert wanted in one(objects, "ClusterRole", "linnet")["rules"]
    assert not [rule for rule in rules(chart.render()) if "namespaces" in rule["resources"]]


def test_jobs_are_made_only_where_the_chart_says_so(chart: Chart) -> None:
    """Neither an option nor a right by default."""
    objects = chart.render({"jobs": {"enabled": True}})
    assert "--jobs" in pod_specs(objects)["Deployment"]["containers"][0]["args"]
    wanted = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list", "watch", "create", "delete"]}
    assert wanted in one(objects, "ClusterRole", "linnet")["rules"]
    plain = chart.render()
    assert not [rule for rule in rules(plain) if "jobs" in rule["resources"]]
    assert "--jobs" not in pod_specs(plain)["Deployment"]["containers"][0]["args"]


def test_the_http_api_is_not_served_without_a_certificate(chart: Chart) -> None:
    """Refused by name."""
    done = chart.try_render({"api": {"enabled": True}})
    assert done.returncode != 0
    assert "api.tlsSecret: name a Secret of type kubernetes.io/tls" in done.stderr
