"""From a Canary to everything it speaks of: the merged spec, the Deployment, the Service, the routes, and what is wrong.

All references are followed here and nowhere else, so that a missing one is found before anything is touched, and said once.
"""

from typing import Any

import msgspec

from analyzers.sources import SOURCES
from daemon.api import names
from daemon.api.aligned import bucket_header
from daemon.api.bluegreen import is_blue_green
from daemon.api.canary import CanarySpec, Metric
from daemon.api.defaults import effective, is_restarts, merge
from daemon.api.routers import KNOWN, RouteRef
from daemon.api.validation import validate
from daemon.control import objects as ours
from daemon.control.caches import Caches
from daemon.control.catalogue import Catalogue
from daemon.control.checks import checks_of, gate_problems
from daemon.control.observing import allowed, unsuited
from daemon.control.resolved import FLOOR, FlagUse, Resolved, SourceUse, gated
from daemon.kube.objects import Deployment, Service
from daemon.rollout.flagsonly import plan_in
from daemon.rollout.model import Problem
from daemon.rollout.pick import picks_of
from daemon.traffic.router import Scope
from daemon.workloads import gate, preflight
from daemon.workloads.canary import Identity
from daemon.workloads.revisions import Templates


class Resolver:
    def __init__(self, caches: Caches, catalogue: Catalogue, templates: Templates, *, observe_only: bool = False) -> None:
        self._caches = caches
        self.catalogue = catalogue
        self._templates = templates
        self._observe_only = observe_only  # the daemon was given no rights to do more

    async def read(self, canary: ours.Canary) -> Resolved:
        """`resolve`, once the kinds of route that it speaks of are in the cache: a kind is watched when it is first named."""
        found = self.resolve(canary)
        routers, routes = self._caches.routers, self._caches.routes
        unread = [r for r in map(routers.resource, found.scopes) if routes.trouble(r)]
        if unread:
            await routes.read(unread)
            found = self.resolve(canary)
        return found

    def spec(self, canary: ours.Canary) -> CanarySpec:
        """Merged with its profile, every field filled in; a rollout under way keeps its own."""
        return self._spec(canary, [])

    def observes(self, canary: ours.Canary) -> bool:
        """Whether it is watched only: then not even a finalizer of ours is put on it."""
        return self.spec(canary).mode == "Observe"

    def resolve(self, canary: ours.Canary) -> Resolved:
        """Follows every reference. A rollout under way keeps the spec it was started with."""
        problems: list[Problem] = []
        spec = self._spec(canary, problems)
        if spec.flags_only and spec.mode != "Observe":
            return self._flags_alone(canary, spec, problems)
        name = spec.workload
        deployment = self._caches.deployments.store.get(canary.namespace, name)
        found = Resolved(canary=canary, spec=spec, deployment=deployment)
        problems += self._workload(canary, spec)
        if deployment is None:
            return self._left_behind(found, problems)
        if found.observed:
            return self._watched(found, problems)
        service = self._service(canary, spec, deployment, problems)
        scopes, pod_ratio = self._under_way(canary, spec, service) or self._routes(canary, spec, service, problems)
        flags = self._flags(canary, spec, problems)
        sources = self._sources(canary, spec, problems)
        checks = checks_of(self.catalogue, canary, spec, problems)
        problems += gate_problems(self.catalogue, spec)
        identity = preflight.identity(deployment, service, pod_ratio=pod_ratio)
        if isinstance(identity, Problem):
            problems.append(identity)
            identity = Identity(altered=None)
        elif not problems:
            problems += self._shape(canary, spec, deployment, service, identity, pod_ratio=pod_ratio)
        return msgspec.structs.replace(
            found,
            service=service,
            scopes=scopes,
            pod_ratio=pod_ratio,
            flags=flags,
            sources=sources,
            checks=checks,
            identity=identity,
            problems=tuple(problems),
        )

    def _flags_alone(self, canary: ours.Canary, spec: CanarySpec, problems: list[Problem]) -> Resolved:
        """No workload, no route: flags, what they are judged by, and the plan that the spec asks for now."""
        now = spec if canary.status.rollout is None else self._merged(canary, [])
        sources = self._sources(canary, spec, problems)
        problems += [
            Problem(
                reason="SourceUnsuited",
                message=f"MetricSource {use.item.name} scrapes pods of two versions, and flags alone have no pods of their own",
                way_out="name a MetricSource of type Prometheus in the metrics' sourceRef",
            )
            for use in sources
            if use.item.spec.type == "Scrape"
        ]
        return Resolved(
            canary=canary,
            spec=spec,
            deployment=None,
            flags=self._flags(canary, spec, problems),
            sources=sources,
            checks=checks_of(self.catalogue, canary, spec, problems),
            flag_plan=plan_in(effective(now)),
            problems=(*problems, *gate_problems(self.catalogue, spec)),
        )

    def _watched(self, found: Resolved, problems: list[Problem]) -> Resolved:
        """A rolling update needs no Service, route, flag or template: only somebody who counts what its pods do."""
        sources = self._sources(found.canary, found.spec, problems)
        problems += unsuited(use.item for use in sources)
        return msgspec.structs.replace(found, pod_ratio=True, sources=sources, problems=tuple(problems))

    def _left_behind(self, found: Resolved, problems: list[Problem]) -> Resolved:
        """Without its Deployment: what a release under way has written is still to be found, by the undo log and our own Service."""
        canary = found.canary
        if canary.status.rollout is None:
            return msgspec.structs.replace(found, problems=tuple(problems))
        stable = self._split_service(canary)
        service = self._caches.services.store.get(canary.namespace, stable)
        port = self._port(found.spec, service, problems) if service is not None else None
        written = sorted({(e.kind, e.name) for e in canary.status.restore if e.kind != FLOOR}) if stable else []
        scopes = tuple(self._scope(found.spec, canary, stable, kind, name, port) for kind, name in written)
        flags = self._flags(canary, found.spec, problems)
        return msgspec.structs.replace(found, service=service, scopes=scopes, flags=flags, problems=tuple(problems))

    def _spec(self, canary: ours.Canary, problems: list[Problem]) -> CanarySpec:
        rollout = canary.status.rollout
        if rollout is not None and rollout.spec is not None:
            return msgspec.convert(rollout.spec, CanarySpec)
        spec = allowed(self._merged(canary, problems), problems, observe_only=self._observe_only)
        hint = "linnet lint says the same before an apply"
        wrong = [e for e in validate(spec) if e.path != "spec.workloadRef.kind"]  # `_workload` says that of the object itself
        problems += [Problem(reason="InvalidSpec", message=f"{e.path}: {e.message}", way_out=hint, unhold=True) for e in wrong]
        return effective(spec)

    def _merged(self, canary: ours.Canary, problems: list[Problem]) -> CanarySpec:
        """The object over its profile, as they are now."""
        spec = canary.spec
        if spec.profile_ref is not None:
            profile = self.catalogue.profile(canary.namespace, spec.profile_ref.name)
            if isinstance(profile, Problem):
                problems.append(profile)
            else:
                spec = merge(spec, profile.spec)
        return spec

    def _workload(self, canary: ours.Canary, spec: CanarySpec) -> list[Problem]:
        kind, name = (spec.workload_ref.kind if spec.workload_ref else None) or "Deployment", spec.workload
        if kind != "Deployment":
            return [
                Problem(
                    reason="WorkloadUnsupported",
                    message=f"{kind} {name} cannot run two versions side by side under one identity; this version releases Deployments",
                    way_out="release what stands in front of it, or move it to a Deployment where its state allows that",
                    unhold=True,
                )
            ]
        others = self._caches.canaries.store.by("workload", f"{canary.namespace}/{name}")
        first = min(others, key=lambda c: (c.metadata.creation_timestamp or "", c.name), default=canary)
        if first.name == canary.name:
            return []
        return [
            Problem(
                reason="WorkloadTaken",
                message=f"Deployment {name} is already released by Canary {first.name}",
                way_out=f"delete one of {first.name} and {canary.name}",
            )
        ]

    def _service(self, canary: ours.Canary, spec: CanarySpec, deployment: Deployment, problems: list[Problem]) -> Service | None:
        traffic = spec.traffic
        ref = traffic.service_ref if traffic else None
        if ref is not None:
            named = self._caches.services.store.get(canary.namespace, ref.name)
            if named is None:
                problems.append(
                    Problem(
                        reason="ServiceMissing",
                        message=f"Service {ref.name} does not exist",
                        way_out="create it, or correct spec.traffic.serviceRef",
                    )
                )
            return named
        if traffic is not None and traffic.mode == "PodRatio":
            return None
        found = self._selecting(deployment)
        if len(found) == 1:
            return found[0]
        problems.append(_several_services(found) if found else _no_service(deployment))
        return None

    def _selecting(self, deployment: Deployment) -> list[Service]:
        """The user's Services whose requests reach the pods, headless ones aside."""
        labels = self._labels(deployment)
        return [
            s
            for s in self._caches.services.store.by("namespace", deployment.namespace)
            if s.spec.selector
            and s.metadata.label(names.OWNER) == ""
            and s.spec.selector.items() <= labels.items()
            and s.spec.cluster_ip != "None"
        ]

    def _labels(self, deployment: Deployment) -> dict[str, str]:
        template = self._templates.decode(deployment.spec.template)
        labels: dict[str, str] = (template.get("metadata") or {}).get("labels") or {}
        return labels

    def _routes(
        self, canary: ours.Canary, spec: CanarySpec, service: Service | None, problems: list[Problem]
    ) -> tuple[tuple[Scope, ...], bool]:
        traffic = spec.traffic
        mode = traffic.mode if traffic else "Auto"
        if mode == "PodRatio":
            return (), True
        if service is None:
            return (), False
        port = self._port(spec, service, problems)
        named = (traffic.routes if traffic else None) or []
        scopes = tuple(self._scope(spec, canary, service.name, r.kind, r.name, port) for r in named if _known(spec, r))
        problems += [_unknown_route(r) for r in named if not _known(spec, r)]
        if not named:
            scopes = self._caches.routers.discover(self._scope(spec, canary, service.name, "", "", port))
        isolated = traffic is not None and traffic.identity == "Isolated"
        if not scopes and mode == "Auto" and not isolated:
            return (), True
        if not scopes and not named:
            alone = ", and without one nothing keeps requests from canary pods (spec.traffic.identity: Isolated)" if isolated else ""
            problems.append(
                Problem(
                    reason="NoRoute",
                    message=f"no HTTPRoute names Service {service.name}{alone}",
                    way_out="create one, name a route of another kind in spec.traffic.routes, or set spec.traffic.mode: PodRatio"
                    + (" and leave identity out" if isolated else ""),
                )
            )
        for scope in scopes:
            problems += self._caches.routers.problems(scope)
        return scopes, False

    def _under_way(self, canary: ours.Canary, spec: CanarySpec, service: Service | None) -> tuple[tuple[Scope, ...], bool] | None:
        """What a release splits stays what it was when it began: a route or Service deleted in the middle must not make it one by share of pods.

        None before that, when it is still to be found.
        """
        if canary.status.rollout is None or canary.status.phase in ("Pending", "Idle", "Starting"):
            return None
        stable = service.name if service is not None else self._split_service(canary)
        moved = [(r.kind, r.name) for r in canary.status.routes]
        if not moved or not stable:
            return None
        port = self._port(spec, service, []) if service is not None else None
        return tuple(self._scope(spec, canary, stable, kind, name, port) for kind, name in moved), False

    def _split_service(self, canary: ours.Canary) -> str:
        """The name of the user's Service by that of ours, which outlives it; empty where there is none."""
        mine = self._caches.canary_services(canary.namespace, canary.name)
        return mine[0].name.removesuffix(names.CANARY_SUFFIX) if mine else ""

    def _scope(self, spec: CanarySpec, canary: ours.Canary, service: str, kind: str, route: str, port: int | None) -> Scope:
        described = next((r for r in (spec.traffic.routers if spec.traffic else None) or [] if r.kind == kind), None)
        return Scope(
            namespace=canary.namespace,
            name=route,
            stable=service,
            canary=names.canary_service(service),
            port=port,
            kind=kind,
            custom=described,
            picks=picks_of(spec.steps or []),
            buckets=bucket_header(spec),
        )

    def _port(self, spec: CanarySpec, service: Service, problems: list[Problem]) -> int | None:
        wanted = spec.traffic.service_ref.port if spec.traffic and spec.traffic.service_ref else None
        if wanted is None:
            return None
        ports = service.spec.ports or ()
        found = next((p.port for p in ports if wanted in (p.port, p.name)), None)
        if found is None:
            there = ", ".join(f"{p.name} ({p.port})" if p.name else str(p.port) for p in ports)
            problems.append(
                Problem(
                    reason="PortMissing", message=f"Service {service.name} has no port {wanted}", way_out=f"there are: {there or 'none'}"
                )
            )
        return found

    def _flags(self, canary: ours.Canary, spec: CanarySpec, problems: list[Problem]) -> tuple[FlagUse, ...]:
        used = []
        for flag in spec.flags or []:
            key = flag.key or flag.name
            source = self.catalogue.flag_source(canary.namespace, flag.source_ref.name if flag.source_ref else "default", key)
            if isinstance(source, Problem):
                problems.append(source)
            else:
                used.append(FlagUse(name=flag.name, key=key, source=source))
        return tuple(used)

    def _sources(self, canary: ours.Canary, spec: CanarySpec, problems: list[Problem]) -> tuple[SourceUse, ...]:
        """Who is asked for which metrics, in the order in which they are first named."""
        metrics = [m for m in (spec.analysis.metrics if spec.analysis else None) or [] if not is_restarts(m)]
        if spec.analysis is not None and spec.analysis.judge == "TemplatesOnly":
            return ()
        named: dict[str, list[Metric]] = {} if metrics else {"default": []}
        for metric in metrics:
            named.setdefault(metric.source_ref.name if metric.source_ref else "default", []).append(metric)
        found = []
        for name, asked in named.items():
            item = self.catalogue.metric_source(canary.namespace, name)
            problem = item if isinstance(item, Problem) else _unsuitable(item)
            if problem is not None:
                problems.append(problem)
            elif not isinstance(item, Problem):
                found.append(SourceUse(item=item, metrics=tuple(asked)))
        return tuple(found)

    def _shape(
        self,
        canary: ours.Canary,
        spec: CanarySpec,
        deployment: Deployment,
        service: Service | None,
        identity: Identity,
        *,
        pod_ratio: bool,
    ) -> list[Problem]:
        template: dict[str, Any] = self._templates.decode(deployment.spec.template)
        if pod_ratio and any(step.scale is not None for step in spec.steps or []):
            return [_needs_route("a scale step")]
        if pod_ratio and picks_of(spec.steps or []):
            return [_needs_route("a match or mirror step")]
        if pod_ratio and bucket_header(spec):
            return [_needs_route("a flag of mode Aligned")]
        if pod_ratio and is_blue_green(spec):
            return [_needs_route("blue-green")]
        found = preflight.foreign_controller(deployment) + preflight.pod_shape(template)
        pretending = gate.pretends(template) if gated(spec) else None
        found += [pretending] if pretending is not None else []
        found += preflight.name_lengths(deployment.name, service.name if service and not pod_ratio else None)
        found += preflight.selectors(template, canary.name, identity, self._caches.policies.store.by("namespace", canary.namespace))
        found += preflight.autoscaler(self._caches.autoscaler_of(deployment), identity)
        if service is not None and not pod_ratio:
            taken = self._caches.services.store.get(canary.namespace, names.canary_service(service.name))
            found += preflight.taken(canary.name, taken)
        return found


def _unsuitable(item: ours.MetricSource) -> Problem | None:
    """Why the judge cannot take increments from it."""
    kind = SOURCES[item.spec.type]
    if kind.counters is not None:
        return None
    message = f"MetricSource {item.name} is of type {item.spec.type}: {kind.instead}"
    way_out = "name a MetricSource of type Prometheus, Scrape or Web, or judge: TemplatesOnly"
    return Problem(reason="SourceUnsuitable", message=message, way_out=way_out, unhold=True)


def _known(spec: CanarySpec, route: RouteRef) -> bool:
    return route.kind in KNOWN or any(r.kind == route.kind for r in (spec.traffic.routers if spec.traffic else None) or [])


def _unknown_route(route: RouteRef) -> Problem:
    return Problem(
        reason="RouteUnknown",
        message=f"{route.kind} {route.name} is of no kind that this version moves: {', '.join(KNOWN)}",
        way_out="describe the kind in spec.traffic.routers, or name another route",
        unhold=True,
    )


def _needs_route(what: str) -> Problem:
    return Problem(
        reason="StrategyNeedsRoute",
        message=f"{what} needs a route: by share of pods, canary pods have requests as soon as they are there",
        way_out="put an HTTPRoute in front of the Service, or release by weights",
        unhold=True,
    )


def _no_service(deployment: Deployment) -> Problem:
    return Problem(
        reason="NoService",
        message=f"no Service selects the pods of Deployment {deployment.name}",
        way_out="create one, or set spec.traffic.mode: PodRatio for a worker without requests",
    )


def _several_services(found: list[Service]) -> Problem:
    several = ", ".join(sorted(s.name for s in found))
    return Problem(
        reason="SeveralServices",
        message=f"Services {several} all select the pods",
        way_out="name one in spec.traffic.serviceRef",
    )
