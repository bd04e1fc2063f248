"""`linnet import`: what becomes of Flagger's and Argo Rollouts' objects, and that nothing is dropped without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from daemon.api import validation
from daemon.cli.importing.convert import Imported, convert
from daemon.cli.importing.ledger import Ledger, leaves, shown
from daemon.cli.main import main

FLAGGER = """
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: podinfo, namespace: test}
spec:
  provider: gatewayapi:v1
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: podinfo}
  progressDeadlineSeconds: 60
  service:
    port: 9898
    hosts: [app.example.com]
    gatewayRefs: [{name: gateway, namespace: infra}]
    timeout: 5s
    match: [{uri: {prefix: /api}}]
    retries: {attempts: 3}
  analysis:
    interval: 1m
    threshold: 5
    maxWeight: 25
    stepWeight: 10
    metrics:
    - {name: request-success-rate, thresholdRange: {min: 99}, interval: 1m}
    - name: not-found
      templateRef: {name: not-found}
      thresholdRange: {max: 5}
      interval: 2m
      templateVariables: {code: "404"}
    alerts:
    - {name: on-call, severity: error, providerRef: {name: on-call}}
    webhooks:
    - {name: sign-off, type: confirm-promotion, url: http://gate/}
---
apiVersion: flagger.app/v1beta1
kind: MetricTemplate
metadata: {name: not-found, namespace: test}
spec:
  provider: {type: prometheus, address: "http://prometheus:9090"}
  query: sum(rate(x{namespace="{{ namespace }}",pod=~"{{ target }}-.+",code!="{{ variables.code }}"}[{{ interval }}])) / sum(rate(x{pod=~"{{ target }}-primary-.+"}[1m]))
---
apiVersion: flagger.app/v1beta1
kind: AlertProvider
metadata: {name: on-call, namespace: test}
spec: {type: slack, address: "https://hooks.slack.com/services/T0/B0/x"}
"""

ROLLOUT = """
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: shop
  namespace: test
  annotations: {notifications.argoproj.io/subscribe.on-rollout-aborted.slack: ops}
spec:
  replicas: 5
  selector: {matchLabels: {app: shop}}
  template: {metadata: {labels: {app: shop}}, spec: {containers: [{name: shop, image: "shop:1"}]}}
  strategy:
    canary:
      stableService: shop
      canaryService: shop-canary
      trafficRouting: {plugins: {argoproj-labs/gatewayAPI: {httpRoute: shop}}}
      steps:
      - setWeight: 20
      - pause: {duration: 300}
      - setWeight: 50
      - pause: {}
      - analysis: {templates: [{templateName: success-rate}], args: [{name: service, value: shop}]}
      - experiment: {duration: 1h}
"""

TEMPLATE = """
apiVersion: argoproj.io/v1alpha1
kind: ClusterAnalysisTemplate
metadata: {name: success-rate}
spec:
  args: [{name: service}, {name: token, valueFrom: {secretKeyRef: {name: web, key: token}}}]
  metrics:
  - name: success-rate
    interval: 5m
    count: "3"
    successCondition: result[0] >= 0.95
    failureLimit: 3
    provider: {prometheus: {address: "http://prometheus:9090/", query: 'x{s="{{args.service}}"}'}}
  - name: smoke
    provider: {web: {url: "http://shop/smoke", headers: [{key: Authorization, value: "Bearer {{args.token}}"}]}}
  - name: cloud
    provider: {datadog: {query: "avg:x{*}", apiVersion: v2}}
"""


def _import(*texts: str) -> Imported:
    return convert([body for text in texts for body in yaml.safe_load_all(text)])


def _made(found: Imported, kind: str, name: str | None = None) -> dict[str, Any]:
    (body,) = [b for b in found.objects if b["kind"] == kind and name in (None, b["metadata"]["name"])]
    return body


def _said(found: Imported, path: str) -> tuple[str, str]:
    (note,) = [n for n in found.notes if n.path == path]
    return note.outcome, note.text


def test_the_ladder_of_a_flagger_canary_is_kept() -> None:
    """A step for each weight, as long as Flagger stayed there; a step may pass maxWeight, as Flagger's does."""
    spec = _made(_import(FLAGGER), "Canary")["spec"]
    assert spec["steps"] == [{"weight": w, "dwell": {"minDuration": "1m"}} for w in (10, 20, 30)]
    assert (spec["strategy"], spec["progressDeadline"]) == ({"ramp": "Steps"}, "60s")


def test_the_objects_that_flagger_would_delete_are_written() -> None:
    """The Service that clients call and the HTTPRoute belong to Flagger's object and go with it."""
    found = _import(
        FLAGGER, "kind: Deployment\nmetadata: {name: podinfo}\nspec: {selector: {matchLabels: {app.kubernetes.io/name: podinfo}}}"
    )
    assert _made(found, "Service")["spec"]["selector"] == {"app.kubernetes.io/name": "podinfo"}
    (rule,) = _made(found, "HTTPRoute")["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "podinfo", "port": 9898}]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/api"}}]
    assert rule["timeouts"] == {"request": "5s"}
    assert _said(found, "spec.service.retries")[0] == "NoCounterpart"


def test_a_selector_that_had_to_be_guessed_is_said_to_be() -> None:
    """Flagger's own labels are set at its command line, which no manifest shows."""
    outcome, text = _said(_import(FLAGGER), "spec.targetRef.name")
    assert outcome == "Differs"
    assert "guess" in text


def test_a_query_of_flaggers_asks_for_the_pods_that_linnet_makes() -> None:
    """Its `target` was the canary; ours is the other way round."""
    found = _import(FLAGGER)
    (metric,) = _made(found, "AnalysisTemplate")["spec"]["metrics"]
    assert 'pod=~"{{args.target}}-.+",code!="{{args.code}}"}[{{args.interval}}]' in metric["provider"]["prometheus"]["query"]
    assert 'pod=~"{{args.stable}}-.+"' in metric["provider"]["prometheus"]["query"]
    (use,) = _made(found, "Canary")["spec"]["analysis"]["templates"]
    given = {arg["name"]: arg.get("value") for arg in use["args"]}
    assert given == {"code": "404", "interval": "2m", "namespace": None, "stable": "podinfo", "target": "podinfo-canary-.*"}
    assert use["thresholdRange"] == {"max": 5.0}


def test_built_in_checks_become_comparisons_and_say_so() -> None:
    """A constant of 99 % is not what decides any more; the note says what does."""
    found = _import(FLAGGER)
    assert _made(found, "Canary")["spec"]["analysis"]["metrics"] == [{"name": "errors", "preset": "HTTPErrorRatio"}]
    assert "compared with the baseline" in _said(found, "spec.analysis.metrics[0].thresholdRange")[1]


def test_an_alert_provider_becomes_a_notifier_whose_address_is_in_a_secret() -> None:
    """The address is a password."""
    found = _import(FLAGGER)
    secret = _made(found, "Secret")
    assert _made(found, "Notifier")["spec"]["urlSecretRef"] == {"name": secret["metadata"]["name"], "key": "address"}
    assert _made(found, "Canary")["spec"]["notify"] == [{"notifierRef": {"name": "on-call"}, "events": ["RolledBack"]}]


def test_webhooks_that_are_asked_become_signed_gates() -> None:
    """At the same points, waiting without end as they did; what has another way is told."""
    found = _import(FLAGGER)
    (gate,) = _made(found, "Canary")["spec"]["gates"]
    assert (gate["at"], gate["onTimeout"], gate["webhook"]["signingKeySecretRef"]["name"]) == ("Promotion", "Wait", "linnet-gates")
    assert gate["webhook"]["url"].startswith("http")
    assert "asked with a signature" in _said(found, "spec.analysis.webhooks[0].type")[1]


def test_a_rollout_becomes_a_deployment_and_a_canary() -> None:
    """A pause of a known length is the time of the weight before it; an open one waits for a person."""
    found = _import(ROLLOUT)
    assert _made(found, "Deployment")["spec"]["replicas"] == 5
    spec = _made(found, "Canary")["spec"]
    assert spec["steps"] == [
        {"weight": 20, "dwell": {"minDuration": "300s"}},
        {"weight": 50},
        {"pause": {}},
        {"analysis": {"name": "success-rate", "args": [{"name": "service", "value": "shop"}]}},
    ]
    assert spec["traffic"]["routes"] == [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "shop"}]
    assert spec["notify"] == [{"notifierRef": {"name": "slack-ops"}, "events": ["RolledBack"]}]
    assert _said(found, "spec.strategy.canary.steps[5].experiment")[0] == "NoCounterpart"


def test_a_rollout_that_refers_to_a_deployment_makes_none() -> None:
    """The Deployment is there."""
    body = next(yaml.safe_load_all(ROLLOUT))
    for field in ("template", "selector", "replicas"):
        del body["spec"][field]
    body["spec"]["workloadRef"] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    found = convert([body])
    assert [b["kind"] for b in found.objects] == ["Canary"]
    assert _made(found, "Canary")["spec"]["workloadRef"]["name"] == "web"


def test_blue_green_keeps_the_person_and_the_time_to_go_back() -> None:
    """Of Argo's: the pause before the switch and the delay after it; a service of Flagger's with iterations is compared as long."""
    body = next(yaml.safe_load_all(ROLLOUT))
    body["spec"]["strategy"] = {"blueGreen": {"activeService": "shop", "autoPromotionEnabled": False, "scaleDownDelaySeconds": 60}}
    spec = _made(convert([body]), "Canary")["spec"]
    assert spec["strategy"] == {"type": "BlueGreen", "ramp": "Steps", "scaleDownDelay": "60s"}
    assert [step.get("weight", "pause" in step) for step in spec["steps"]] == [True, 50, 100]
    body = next(yaml.safe_load_all(FLAGGER))
    body["spec"]["analysis"] = {"interval": "1m", "iterations": 10, "threshold": 2}
    spec = _made(convert([body]), "Canary")["spec"]
    assert spec["strategy"]["type"] == "BlueGreen"
    assert spec["steps"][0] == {"name": "compare", "weight": 50, "dwell": {"minDuration": "10m"}}


def test_a_template_of_argos_keeps_its_meaning_or_says_where_it_does_not() -> None:
    """Conditions decide on missing data as they did; a metric without a condition, and an unknown provider, are named."""
    found = _import(TEMPLATE)
    spec = _made(found, "AnalysisTemplate")["spec"]
    first, second = spec["metrics"]
    assert (first["onNoData"], first["failureLimit"], first["count"]) == ("Evaluate", 3, "3")
    assert _made(found, "MetricSource")["spec"]["prometheus"]["url"] == "http://prometheus:9090"
    assert first["provider"]["prometheus"]["sourceRef"]["name"] == _made(found, "MetricSource")["metadata"]["name"]
    assert "no condition" in _said(found, "spec.metrics[1].name")[1]
    assert second["provider"]["web"]["headers"] == [{"key": "Authorization", "value": "Bearer {{args.token}}"}]
    assert [m["name"] for m in spec["metrics"]] == ["success-rate", "smoke"]
    assert {n.outcome for n in found.notes if n.path.startswith("spec.metrics[2]")} == {"NoCounterpart"}


def test_a_job_of_argos_is_the_same_job_within_bounds() -> None:
    """Tried as often as it was, with its log kept; what would hold a release for ever is bounded, and each change is told."""
    job = """{
      metadata: {labels: {team: shop}},
      spec: {ttlSecondsAfterFinished: 5, suspend: true, template: {spec: {restartPolicy: OnFailure, containers: [{name: a, image: "b:{{args.tag}}"}]}}}}"""
    text = f"""
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {{name: smoke}}
spec: {{args: [{{name: tag}}], metrics: [{{name: run, provider: {{job: {job}}}}}]}}
"""
    found = _import(text)
    made = _made(found, "AnalysisTemplate")["spec"]["metrics"][0]["provider"]["job"]
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b:{{args.tag}}"}]}
    assert made == {
        "metadata": {"labels": {"team": "shop"}},
        "spec": {"ttlSecondsAfterFinished": 600, "backoffLimit": 6, "template": {"spec": pod}},
    }
    told = {n.path.rpartition(".")[2]: n.outcome for n in found.notes if n.outcome != "Mapped"}
    assert told == {"ttlSecondsAfterFinished": "Differs", "suspend": "NoCounterpart", "template": "Differs", "restartPolicy": "Differs"}


def test_the_notification_settings_of_argo_name_what_a_person_has_to_fill_in() -> None:
    """A token is no address."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argo-rollouts-notification-configmap", "namespace": "argo"}}
    found = convert([body | {"data": {"service.slack": "token: $slack-token", "trigger.on-x": "- send: [x]"}}])
    assert _made(found, "Notifier")["spec"]["urlSecretRef"] == {"name": "slack", "key": "url"}
    assert _said(found, "data[service.slack]")[0] == "Differs"
    assert _said(found, "data[trigger.on-x]")[0] == "NoCounterpart"


def test_all_that_is_written_passes_lint() -> None:
    """What this version does not have is taken out and told, never written."""
    for found in (_import(FLAGGER), _import(ROLLOUT), _import(TEMPLATE)):
        assert [error for body in found.objects if "linnet" in body["apiVersion"] for error in validation.lint(body)] == []


def test_what_lint_refuses_is_told_at_the_field_that_it_came_from() -> None:
    """A DaemonSet has no canary: nothing is written, and the reason stands at targetRef."""
    body = next(yaml.safe_load_all(FLAGGER))
    body["spec"]["targetRef"]["kind"] = "DaemonSet"
    found = convert([body])
    assert [b for b in found.objects if b["kind"] == "Canary"] == []
    assert "DaemonSet" in _said(found, "spec.targetRef.kind")[1]


def test_weights_that_fall_are_refused_where_they_were_written() -> None:
    """What can be kept is."""
    body = next(yaml.safe_load_all(FLAGGER))
    body["spec"]["analysis"]["stepWeights"] = [50, 20]
    found = convert([body])
    assert [step["weight"] for step in _made(found, "Canary")["spec"]["steps"]] == [50]
    assert "must not fall" in _said(found, "spec.analysis.stepWeights[1]")[1]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(alphabet="abc.", min_size=1, max_size=3), below, max_size=3),
    max_leaves=12,
)


@given(spec=_VALUES)
def test_every_leaf_of_any_object_is_accounted_for(spec: Any) -> None:
    """Each leaf lies below the path of exactly one note that is the longest to cover it; nothing else is noted."""
    ledger = Ledger({"apiVersion": "x/v1", "kind": "Odd", "metadata": {"name": "a"}, "spec": spec})
    paths = {note.path for note in ledger.notes()}
    for leaf in leaves(ledger.body):
        assert any(shown(leaf[:length]) in paths for length in range(1, len(leaf) + 1))


def test_the_command_writes_manifests_and_tells_what_is_lost(tmp_path: Path) -> None:
    """Objects on standard output, notes on standard error, exit code 1 while something has no counterpart."""
    (tmp_path / "flagger.yaml").write_text(FLAGGER)
    done = CliRunner().invoke(main, ["import", str(tmp_path)])
    assert done.exit_code == 1
    assert {b["kind"] for b in yaml.safe_load_all(done.stdout)} >= {"Canary", "Service", "HTTPRoute", "Notifier"}
    assert "Canary/podinfo: spec.analysis.webhooks[0].type: asked with a signature" in done.stderr
    assert "3 objects read:" in done.stderr


def test_the_command_answers_programs(tmp_path: Path) -> None:
    """JSON with objects, notes and the three counts."""
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    done = CliRunner().invoke(main, ["import", "-o", "json", str(tmp_path / "template.yaml")])
    answer = json.loads(done.stdout)
    assert sum(answer["counts"].values()) == len(answer["notes"])
    assert {n["outcome"] for n in answer["notes"]} == {"Mapped", "Differs", "NoCounterpart"}


def test_files_without_anything_to_import_are_an_error(tmp_path: Path) -> None:
    """Exit code 2, with what would be read."""
    (tmp_path / "x.yaml").write_text("kind: Deployment\napiVersion: apps/v1\nmetadata: {name: x}\n")
    done = CliRunner().invoke(main, ["import", str(tmp_path)])
    assert done.exit_code == 2
    assert "nothing to import" in done.stderr


def test_a_file_that_is_not_yaml_is_an_error(tmp_path: Path) -> None:
    """Exit code 2 and the file's name."""
    (tmp_path / "x.yaml").write_text("a: [\n")
    done = CliRunner().invoke(main, ["import", str(tmp_path)])
    assert done.exit_code == 2
    assert "x.yaml: is not YAML" in done.stderr


def test_matched_people_come_first_as_they_did_there() -> None:
    """A/B of Flagger's and header routes of Argo's become match steps of the same time, and a weight that compares follows."""
    body = yaml.safe_load(FLAGGER.split("\n---")[0])
    body["spec"]["analysis"] = {"interval": "1m", "iterations": 10, "match": [{"headers": {"x-canary": {"exact": "insider"}}}]}
    found = convert([body])
    staff = {"match": {"headers": {"x-canary": "insider"}}, "dwell": {"minDuration": "10m"}}
    assert _made(found, "Canary")["spec"]["steps"] == [staff, {"name": "compare", "weight": 50}]
    assert _said(found, "spec.analysis.iterations")[0] == "Differs"
    rollout = yaml.safe_load(ROLLOUT.split("\n---")[0])
    header = {"name": "a", "match": [{"headerName": "x-canary", "headerValue": {"exact": "insider"}}]}
    rollout["spec"]["strategy"]["canary"]["steps"] = [{"setHeaderRoute": header}, {"pause": {"duration": "10m"}}, {"setWeight": 50}]
    assert _made(convert([rollout]), "Canary")["spec"]["steps"] == [staff, {"weight": 50}]
