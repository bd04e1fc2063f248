"""A user's shop under Linnet: what a scenario does to it, and what can be seen of it from outside.

One `Shop` is one namespace: a Deployment, a Service and an HTTPRoute as a team writes them (applied server-side, so that owners
count), a Canary quick enough for a test, and a record of how everything was before. Reads go over HTTP to the API server and not by
kubectl, because scenarios wait by looking again and again, several at a time.
"""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.testbed import netns
from tests.testbed.envoy import EnvoyGateway
from tests.testbed.gateway import Gateway, await_answer, http_route
from tests.testbed.linnet import Linnet, eventually
from tests.testbed.loadgen import Load, LoadGenerator, start_load
from tests.testbed.nodes import NodeAgent, shop
from tests.witness.audit import Audit, Event
from tests.witness.requests import app_records, compare

Object = dict[str, Any]
API = "linnet.dev/v1alpha1"
STABLE_FLAG = {"flags": {"new-checkout": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}}}
PATHS = {
    "deployment": "/apis/apps/v1/namespaces/{}/deployments/{}",
    "replicasets": "/apis/apps/v1/namespaces/{}/replicasets/{}",
    "service": "/api/v1/namespaces/{}/services/{}",
    "httproute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes/{}",
    "httpproxy": "/apis/projectcontour.io/v1/namespaces/{}/httpproxies/{}",
    "virtualservice": "/apis/networking.istio.io/v1/namespaces/{}/virtualservices/{}",
    "configmap": "/api/v1/namespaces/{}/configmaps/{}",
    "hpa": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/{}",
    "canary": "/apis/linnet.dev/v1alpha1/namespaces/{}/canaries/{}",
    "pods": "/api/v1/namespaces/{}/pods/{}",
    "events": "/apis/events.k8s.io/v1/namespaces/{}/events/{}",
    "revisions": "/apis/apps/v1/namespaces/{}/controllerrevisions/{}",
}
STEPS = ({"weight": 20, "dwell": {"minDuration": "2s"}}, {"weight": 50, "dwell": {"minDuration": "2s"}})
ANALYSIS = {
    "interval": "1s",
    "warmUp": "2s",
    # Wide margins: a few hundred requests decide, which is what a test has time for.
    "metrics": [{"name": "errors", "preset": "HTTPErrorRatio", "rollbackIfWorseBy": "2pp", "promoteIfWithin": "10pp"}],
}


def canary(name: str = "shop", **spec: Any) -> Object:
    """A Canary of Deployment `name`; keyword arguments replace parts of its spec."""
    body = {"workloadRef": {"name": name}, "strategy": {"ramp": "Steps"}, "steps": list(STEPS), "analysis": ANALYSIS, **spec}
    # The test's gateway acts a tenth of a second after its report; what the default is for has a scenario of its own.
    body["traffic"] = {"drain": "3s"} | body.get("traffic", {})
    return {"apiVersion": API, "kind": "Canary", "metadata": {"name": name}, "spec": body}


def metric_source() -> Object:
    """The app's own metrics page, each second."""
    return {
        "apiVersion": API,
        "kind": "MetricSource",
        "metadata": {"name": "default"},
        "spec": {"type": "Scrape", "scrape": {"port": "http", "interval": "1s"}},
    }


def flag_objects(settle: str = "1s") -> list[Object]:
    """A flagd file in a ConfigMap, and the source that lets Linnet write it. The node agent projects a change within a second."""
    flagd = {"configMapRef": {"name": "flags", "key": "flags.json"}, "settle": settle}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "flags"}, "data": {"flags.json": json.dumps(STABLE_FLAG, indent=2)}},
        {"apiVersion": API, "kind": "FlagSource", "metadata": {"name": "flagd"}, "spec": {"type": "Flagd", "flagd": flagd}},
    ]


FLAG = {"name": "new-checkout", "sourceRef": {"name": "flagd"}}


def owners(found: Mapping[str, Any]) -> list[str]:
    """Who owns which field, without times, statuses, the controllers' own notes and the annotations that are Linnet's by right."""
    kept = []
    for entry in found["metadata"].get("managedFields") or []:
        fields = json.loads(json.dumps(entry.get("fieldsV1") or {}))
        annotations = fields.get("f:metadata", {}).get("f:annotations", {})
        for key in [k for k in annotations if k.startswith("f:linnet.dev/")]:
            del annotations[key]
        if set(annotations) <= {"."}:
            fields.get("f:metadata", {}).pop("f:annotations", None)
        if not fields.get("f:metadata", True):
            del fields["f:metadata"]
        if fields and not entry.get("subresource") and entry["manager"] != "kube-controller-manager":
            kept.append(json.dumps([entry["manager"], entry["operation"], fields], sort_keys=True))
    return sorted(kept)


def at_rest(found: Mapping[str, Any]) -> Object:
    """What must be as it was: the spec (or data), the labels, the annotations that are not ours, and the owners."""
    annotations = {
        k: v
        for k, v in (found["metadata"].get("annotations") or {}).items()
        if not k.startswith(("linnet.dev/", "deployment.kubernetes.io/"))
    }
    body = found.get("spec", found.get("data"))
    return {"body": body, "labels": found["metadata"].get("labels"), "annotations": annotations, "owners": owners(found)}


ACCOUNT = "until=2099-01-01T00:00:00Z;why=the till is down"  # an override must say both


class Shop:
    """One namespace with a shop in it."""

    def __init__(self, linnet: Linnet, agent: NodeAgent, gateway: Gateway, namespace: str) -> None:
        self.linnet, self.agent, self.namespace = linnet, agent, namespace
        self.gateway: Gateway | EnvoyGateway = gateway
        self.plane = linnet.plane
        self.host = f"{namespace}.test"
        self.since = time.time()
        self.before: dict[str, Object] = {}
        self.extra: Sequence[str] = ()
        self._manifest: list[Object] = []
        self._load: LoadGenerator | None = None

    # -- what the user does ----------------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, check: bool = True, input: str | None = None) -> str:  # noqa: A002 - as in subprocess.run
        """kubectl in the shop's namespace; what it printed, on either stream."""
        done = self.plane.kubectl(*arguments, "-n", self.namespace, check=check, input=input)
        return done.stdout + done.stderr

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.plane.apply(*objects, namespace=self.namespace, server_side=True)

    def open(
        self,
        spec: Mapping[str, Any] | None = None,
        *,
        flags: bool = False,
        route: bool | Mapping[str, Any] = True,
        extra: Sequence[Mapping[str, Any]] = (),
        strategy: Mapping[str, Any] | None = None,
        adopted: bool = True,
        source: Mapping[str, Any] | None = None,
        **manifest: Any,
    ) -> Shop:
        """Everything applied and serving; with `adopted` until Linnet has taken it on. Remembers how it was. `route`: another than an HTTPRoute."""
        self._manifest = shop(**{"startup_seconds": 1, "flags": "flags" if flags else None, **manifest})
        if strategy is not None:
            self._manifest[0]["spec"]["strategy"] = dict(strategy)
        objects: list[Mapping[str, Any]] = [source or metric_source(), *self._manifest, *extra]
        if flags:
            objects += flag_objects()
        routed: Mapping[str, Any] = {}
        if route:
            routed = http_route("shop", self.host, {"shop": None}) if route is True else route
            objects.append(routed)
        self.apply(*objects)
        self.kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
        if route:
            await_answer(self.gateway, self.host)
        kinds = (
            {"service": "shop", "deployment": "shop"}
            | ({routed["kind"].lower(): "shop"} if routed else {})
            | ({"configmap": "flags"} if flags else {})
        )
        kinds |= {"hpa": "shop"} if any(one["kind"] == "HorizontalPodAutoscaler" for one in extra) else {}
        self.before = {kind: at_rest(self.get(kind, name)) for kind, name in kinds.items()}
        if adopted:
            wanted: Object = {**({"flags": [FLAG]} if flags else {}), **(spec or {})}
            self.apply(canary("shop", **wanted))
            self.await_phase("Idle")
        return self

    def push(self, tag: str, **env: str) -> None:
        """The user's pipeline applies the manifest with a new image."""
        container = self._manifest[0]["spec"]["template"]["spec"]["containers"][0]
        container["image"] = f"shop:{tag}"
        container["env"] = [e for e in container["env"] if e["name"] not in env] + [{"name": k, "value": v} for k, v in env.items()]
        self.apply(self._manifest[0])

    def push_image(self, tag: str) -> None:
        """`kubectl set image`."""
        self.kubectl("set", "image", "deployment/shop", f"shop=shop:{tag}")

    def order(self, verb: str, of: str = "shop") -> None:
        """What `linnet <verb>` writes: the verb, bound to the revision at hand."""
        status = self.status(of)
        revision = (status.get("rollout") or {}).get("revision") or status["observedRevision"]
        self.kubectl(
            "annotate",
            "canaries.linnet.dev",
            of,
            "--overwrite",
            f"linnet.dev/action={verb}@{revision}#by=alice;n={time.time()};{ACCOUNT}",
        )

    # -- what can be seen ------------------------------------------------------------------------------------------------------

    def get(self, kind: str, name: str = "") -> Object:
        found: Object = json.loads(self.plane.request(PATHS[kind].format(self.namespace, name)))
        return found

    def items(self, kind: str) -> list[Object]:
        found: list[Object] = json.loads(self.plane.request(PATHS[kind].format(self.namespace, "").rstrip("/")))["items"]
        return found

    def status(self, name: str = "shop") -> Object:
        """`status` of the Canary; empty while there is none."""
        found = next((one for one in self.items("canary") if one["metadata"]["name"] == name), {})
        return found.get("status") or {}

    def until(self, check: Callable[[Object], Any], what: str, timeout: float = 60.0) -> Object:
        """Until the Canary's status satisfies `check`; the status then."""
        last: Object = {}

        def look() -> bool:
            nonlocal last
            last = self.status()
            return bool(check(last))

        try:
            eventually(look, what, timeout, every=0.2)
        except AssertionError as error:
            brief = {key: last.get(key) for key in ("phase", "step", "weight", "waiting", "flags", "routes", "restore", "metrics")}
            brief["rollout"] = {k: v for k, v in (last.get("rollout") or {}).items() if k != "spec"}
            raise AssertionError(f"{error}\n{json.dumps(brief, indent=1)}\n{self.story()}") from None
        return last

    def await_phase(self, phase: str, timeout: float = 60.0) -> Object:
        return self.until(lambda s: s.get("phase") == phase, f"phase {phase}", timeout)

    def await_weight(self, weight: int, timeout: float = 60.0) -> Object:
        """Until the status says that so much of the traffic was seen on the canary."""
        return self.until(lambda s: s.get("weight") == weight and (s.get("rollout") or {}).get("exposedAt"), f"weight {weight}", timeout)

    def await_verdict(self, result: str, timeout: float = 75.0, *, revision: str | None = None) -> Object:
        """Until the release ended with this verdict and everything is put away."""

        def ended(status: Object) -> bool:
            verdict = status.get("verdict") or {}
            right = verdict.get("result") == result and revision in (None, verdict.get("revision"))
            return right and status.get("rollout") is None and status.get("phase") in ("Idle", "Held", "Bypassed")

        return self.until(ended, f"verdict {result}", timeout)

    def weights(self) -> dict[str, int | None]:
        """Backend -> weight in the first rule of the route."""
        return {b["name"]: b.get("weight") for b in self.get("httproute", "shop")["spec"]["rules"][0]["backendRefs"]}

    def image(self) -> str:
        return str(self.get("deployment", "shop")["spec"]["template"]["spec"]["containers"][0]["image"])

    def deployments(self) -> set[str]:
        return {one["metadata"]["name"] for one in self.items("deployment")}

    def events(self, reason: str | None = None, kind: str | None = None) -> list[Object]:
        return [
            e
            for e in self.items("events")
            if str(e.get("reportingController", "")).startswith("linnet")
            and reason in (None, e.get("reason"))
            and kind in (None, e["regarding"]["kind"])
        ]

    def await_event(self, reason: str, kind: str | None = None, timeout: float = 30.0) -> str:
        """The note of an Event, once it is there."""
        eventually(lambda: self.events(reason, kind), f"an Event {reason} on {kind or 'anything'}", timeout)
        return str(self.events(reason, kind)[0]["note"])

    def story(self) -> str:
        """Events, and what the daemon said of this namespace, for a failed assertion."""
        told = sorted(f"{e['metadata']['creationTimestamp']} {e['reason']}: {e['note']}" for e in self.events(kind="Canary"))
        said = [self.agent.logs(self.linnet.namespace, pod) for pod in self.linnet.pods()]
        lines = [line for text in said for line in text.splitlines() if self.namespace in line or "rror" in line]
        return "\n".join([*told, *lines[-25:], f"writes: {self.steps()}"])

    def waiting(self) -> Object:
        found: Object = self.status().get("waiting") or {}
        return found

    # -- requests --------------------------------------------------------------------------------------------------------------

    def load(self, rate: float = 60.0) -> LoadGenerator:
        self._load = start_load(self.plane, self.gateway.url, self.host, rate=rate)
        return self._load

    def stop_load(self) -> Load:
        assert self._load is not None, "no load was started"
        found, self._load = self._load.stop(), None
        return found

    def close(self) -> None:
        if self._load is not None:
            self.stop_load()

    def assert_no_switch_hurt(self, seen: Load) -> None:
        """Not one request failed on its way, and client and application tell the same story of each."""
        lost = seen.transport_failures()
        assert not lost, f"{len(lost)} of {seen.total} requests failed on the way:\n{self._whereabouts(lost)}"
        agreement = compare(seen.records, self._app_records())
        assert agreement.whole, str(agreement)

    def _whereabouts(self, lost: Sequence[Object]) -> str:
        """For each lost request where the gateway sent it, and what was being done to that pod: whose fault it is can be read off."""
        answers = self.gateway.answers() if isinstance(self.gateway, Gateway) else {}
        pods = {answers[one["id"]].get("ServiceAddr"): one["pod"] for one in self._app_records() if one["id"] in answers}
        ends: dict[str, tuple[float, str]] = {}
        for one in Audit.read(self.plane.audit_log, since=self.since).writes().on("pods", namespace=self.namespace):
            if one.verb == "delete":
                ends.setdefault(one.name, (one.time, one.user))
        lines = []
        for record in lost[:20]:
            answer = answers.get(record["id"], {})
            pod = pods.get(answer.get("ServiceAddr"), answer.get("ServiceAddr", "no pod"))
            when, who = ends.get(pod, (0.0, ""))
            end = f", {record['time'] - when:+.2f} s after {who} ended it" if who else ""
            lines.append(f"{record['outcome']} ({'kept' if record['kept'] else 'new'} connection) from {pod}{end}")
        return "\n".join([*lines, f"writes: {self.steps()}"])

    def ask(self, requests: int, fields: Mapping[str, str]) -> Counter[str]:
        """Requests with more lines of the head: which versions served them, by the app's own log."""
        asked = [uuid.uuid4().hex for _ in range(requests)]

        def fetch() -> None:
            for identity in asked:
                head = {"Host": self.host, "X-Request-Id": identity, **fields}
                with urllib.request.urlopen(urllib.request.Request(f"{self.gateway.url}/asked", headers=head), timeout=10) as answer:
                    answer.read()

        netns.call(self.plane.netns, fetch)
        served: Counter[str] = Counter()

        def logged() -> bool:
            served.clear()
            served.update(str(line["version"]) for line in self._app_records() if line.get("id") in asked)
            return served.total() >= requests

        eventually(logged, "the app's log has all requests", 20, every=0.5)
        return served

    def _app_records(self) -> list[Any]:
        """The app's lines since this shop opened; older processes of other scenarios have nothing to say."""
        fresh = [p for p in self.agent.requests.glob("shop-*.jsonl") if p.stat().st_mtime >= self.since]
        folder = Path(self.plane.directory) / f"app-{self.namespace}-{time.monotonic_ns()}"
        folder.mkdir()
        for path in fresh:
            (folder / path.name).symlink_to(path)
        return app_records(folder)

    # -- P1 and the audit log --------------------------------------------------------------------------------------------------

    def assert_as_before(self, image: str, *, changed: str = "") -> None:
        """P1: every object of the user's, and who owns what in it, is what it was, the image and the kind `changed` by the test aside."""
        for kind, wanted in self.before.items():
            if kind == changed:
                continue
            name = "flags" if kind == "configmap" else "shop"
            expected = json.loads(json.dumps(wanted))
            if kind == "deployment":
                expected["body"]["template"]["spec"]["containers"][0]["image"] = image
            found = at_rest(self.get(kind, name))
            assert found == expected, f"{kind} {name} is not what it was:\n{json.dumps([found, expected], indent=1)}"

    def assert_clean(self) -> None:
        """Nothing of a release is left: no canary Deployment, no pod of one, no mark of a hold."""
        found = self.get("deployment", "shop")
        assert not found["spec"].get("paused")
        assert "linnet.dev/held" not in (found["metadata"].get("annotations") or {})
        eventually(lambda: self.deployments() == {"shop"}, "the canary Deployment is gone", 20)

    def writes(self, since: float | None = None) -> Audit:
        """The daemon's accepted writes in this namespace, Events aside, in order."""
        seen = Audit.read(self.plane.audit_log, since=self.since if since is None else since)
        mine = seen.by(self.linnet.account).writes().without("events")
        return mine.where(lambda one: one.namespace == self.namespace and "dryRun=" not in one.uri)

    def steps(self, since: float | None = None) -> list[str]:
        """The daemon's writes as short words, repeated ones once: what a scenario asserts the order of."""
        said: list[str] = []
        for one in self.writes(since):
            words = _word(one)
            if words and (not said or said[-1] != words):
                said.append(words)
        return said


def _word(event: Event) -> str:
    """`weight 20`, `release`, `restore`, `flag`, `create canary` ... of one write."""
    operations = event.request if isinstance(event.request, list) else []
    paths = {o.get("path", ""): o.get("value") for o in operations if o.get("op") != "test"}
    canary_object = event.name.startswith("shop-canary") or event.name == ""
    if event.resource == "httproutes":
        return _route_word(operations, paths)
    if event.resource == "deployments" and event.verb in ("create", "delete"):
        return f"{event.verb} canary"
    if event.resource == "deployments" and canary_object:
        return "scale canary"
    if event.resource == "deployments":
        return _workload_word(operations, paths)
    if event.resource == "configmaps":
        return "flag" if any(p.startswith("/data") for p in paths) else "flag owners"
    words = {"services": "service", "horizontalpodautoscalers": "floor", "controllerrevisions": "template", "replicasets": "replicaset"}
    return words.get(event.resource, "status" if event.subresource == "status" else event.resource)


def _route_word(operations: Sequence[Object], paths: Mapping[str, Any]) -> str:
    if any("managedFields" in p for p in paths):
        return "route owners"
    if "/spec/rules/-" in paths:
        return "pick"
    added = [v for p, v in paths.items() if p.endswith("/-")]
    if added:
        return f"backend {added[0]['weight']}"
    removed = [o["path"] for o in operations if o["op"] == "remove"]
    ours = bool(removed) and all(p.rpartition("/")[0] == "/spec/rules" for p in removed)
    if removed and not ours:
        return "route back"
    if ours and not any(p.endswith("/weight") for p in paths):
        return "pick away"
    return f"weight {100 - next((v for p, v in paths.items() if p.endswith('/weight')), 0)}"


def _workload_word(operations: Sequence[Object], paths: Mapping[str, Any]) -> str:
    if any("managedFields" in p for p in paths):
        return "workload owners"
    if "/spec/template" in paths:
        return "restore"
    if any(o["path"] == "/spec/paused" and o["op"] == "remove" for o in operations):
        return "release"
    return "adopt"
