"""What is measured in one rollout: the source, the metrics and the arms, from the spec and the caches."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from analyzers.collector import BASELINE, CANARY, ArmTargets
from analyzers.history import History, before, learn
from analyzers.metrics import AnyMetric, GaugeMetric, HistogramMetric, Matcher, MatchOp, RatioMetric, margins, parse_selector
from analyzers.options import JudgeConfig, Kind, MetricConfig, RampConfig, Worse, conversion
from analyzers.presets import preset_metrics
from analyzers.sources.protocol import Target
from analyzers.stats.alone import LEAST_WINDOWS
from daemon.api.canary import ArmLabels, Metric
from daemon.api.defaults import has_usual_margins
from daemon.api.quantities import parse_duration
from daemon.control import objects as ours
from daemon.control import podstatus
from daemon.control.caches import Caches
from daemon.control.resolved import Resolved
from daemon.control.routerarms import router_arms
from daemon.kube.objects import Deployment, Pod
from daemon.rollout.clock import epoch
from daemon.rollout.steps import plan_of

HASH: Final = "[a-z0-9]+"
WINDOW: Final = 20  # looks: five minutes at the usual interval
NEVER: Final = 365 * 86_400.0
"""When the judge itself gives up, in seconds: a release's deadline is the core's to keep, which knows of people's pauses."""


def candidates(metric: Metric, resolved: Resolved) -> tuple[AnyMetric, ...]:
    """What `metric` may mean, best first: one where the spec names counters, several for a preset."""
    field = f"metrics[{metric.name}]"
    arms: dict[str, tuple[Matcher, ...]] = {}
    labels = _flag_labels(metric, resolved)
    if labels is not None:
        arms = {
            BASELINE: _matchers(labels.stable, f"{field}.armLabels.stable"),
            CANARY: _matchers(labels.canary, f"{field}.armLabels.canary"),
        }
    given = None
    if metric.rollback_if_worse_by is not None:
        given = margins(metric.rollback_if_worse_by, metric.promote_if_within, name=metric.name)
    lag = parse_duration(metric.lag) if metric.lag else 0.0
    if metric.preset is not None:
        return preset_metrics(metric.preset, name=metric.name, margins=given, lag=lag, arms=arms, router_arms=router_arms(resolved))
    more: dict[str, Any] = {"name": metric.name, "lag": lag, "arm_matchers": arms}
    if given is not None:
        more |= {"tolerated": given[0], "unacceptable": given[1]}
    if metric.histogram is not None:
        return (HistogramMetric(buckets=parse_selector(metric.histogram, field=f"{field}.histogram"), **more),)
    if metric.gauge is not None:
        return (GaugeMetric(value=parse_selector(metric.gauge, field=f"{field}.gauge"), **more),)
    return (_ratio(metric, more, field),)


def _ratio(metric: Metric, more: dict[str, Any], field: str) -> RatioMetric:
    """Wanted outcomes (orders) come late and in whole shares: their margins are relative, and they are waited for."""
    if metric.ratio is None:
        raise ValueError(f"{field} has none of preset, ratio, histogram and gauge")
    wanted = metric.direction == "HigherIsBetter"
    usual = conversion(metric.name)
    defaults = {"tolerated": usual.tolerated, "unacceptable": usual.unacceptable} if wanted else {}
    if wanted and metric.lag is None:
        more = {**more, "lag": usual.lag}
    return RatioMetric(
        errors=parse_selector(metric.ratio.errors, field=f"{field}.ratio.errors"),
        total=parse_selector(metric.ratio.total, field=f"{field}.ratio.total"),
        worse=Worse.LOWER if wanted else Worse.HIGHER,
        **{**defaults, **more},
    )


def _matchers(text: str, field: str) -> tuple[Matcher, ...]:
    return parse_selector(f"arm{text if text.startswith('{') else '{' + text + '}'}", field=field).matchers


def interval_of(resolved: Resolved) -> float:
    """Seconds between two looks: the release's interval, or that of a source which asks for more patience."""
    analysis = resolved.spec.analysis
    wanted = parse_duration((analysis.interval if analysis else None) or "15s")
    pages = [u.item.spec.scrape for u in resolved.sources if u.item.spec.type == "Scrape"]
    return max([wanted, *(parse_duration(p.interval) for p in pages if p is not None and p.interval)])


def is_error_ratio(metric: AnyMetric | None) -> bool:
    """Whether it counts what must not become more: what the planner can tell the time of."""
    return isinstance(metric, RatioMetric) and metric.worse is Worse.HIGHER


def judge_config(resolved: Resolved, metrics: tuple[AnyMetric, ...]) -> JudgeConfig:
    """The judge's options, frozen at the start of a rollout."""
    analysis = resolved.spec.analysis
    if analysis is None:
        raise ValueError("effective spec without analysis")
    plan = plan_of(resolved.spec, gitops=False)
    ramp = None
    if plan.ramp and not resolved.pod_ratio:
        ramp = RampConfig(rungs=tuple(float(r) for r in plan.ramp), bake_seconds=plan.bake)
    return JudgeConfig(
        metrics=tuple(m.config() for m in metrics),
        scrape_seconds=interval_of(resolved),
        max_false_rollback_percent=analysis.max_false_rollback_percent or 1.0,
        max_bad_promotion_percent=analysis.max_bad_promotion_percent or 5.0,
        deadline_seconds=NEVER,
        warm_up_seconds=parse_duration(analysis.warm_up or "60s"),
        ladder=() if ramp or plan.observe else tuple(float(s.reach if plan.flags_only else s.weight) for s in plan.steps),
        ramp=ramp,
        split=any(_routed(m, resolved) for m in metrics),
    )


def learnt(config: JudgeConfig, history: Mapping[str, History], resolved: Resolved) -> JudgeConfig:
    """With what the hours before the release teach, frozen from here on; a bound that the owner wrote down stays as it is."""
    found = learn(config, history)
    owned = {m.name for m in resolved.metrics if not has_usual_margins(m)}
    given = {m.name: m.unacceptable for m in config.metrics}
    metrics = tuple(msgspec.structs.replace(m, unacceptable=given[m.name]) if m.name in owned else m for m in found.metrics)
    found = msgspec.structs.replace(found, metrics=metrics, rps=found.rps or _measured(resolved))
    if resolved.observed:
        return _with_past(found, history)
    if found.ramp is None:
        return found
    first = max(1, min((s.weight for s in plan_of(resolved.spec, gitops=False).steps if s.weight), default=1))
    start = min(first, max(1, round(found.start_percent)))  # routes are set in whole percents
    return msgspec.structs.replace(found, ramp=msgspec.structs.replace(found.ramp, start=float(start)))


def _with_past(config: JudgeConfig, history: Mapping[str, History]) -> JudgeConfig:
    """A rolling update leaves nothing to compare with after a few minutes: from then on shares of failures meet those of the time before."""
    return msgspec.structs.replace(config, metrics=tuple(_meeting(m, history.get(m.name)) for m in config.metrics))


def _meeting(metric: MetricConfig, known: History | None) -> MetricConfig:
    if metric.kind is not Kind.RATIO or known is None or known.events is None or known.requests is None:
        return metric
    if len(known.events) < LEAST_WINDOWS * WINDOW:
        return metric
    return before(metric, known.events.sum(axis=1), known.requests.sum(axis=1), window=WINDOW)


def _measured(resolved: Resolved) -> float | None:
    """Requests a second that are split, as they were measured at rest."""
    forecast = resolved.canary.status.forecast
    if forecast is None or forecast.requests_per_second is None:
        return None
    share = forecast.coverage_percent if forecast.coverage_percent is not None else 100
    return forecast.requests_per_second * share / 100 or None


def _routed(metric: AnyMetric, resolved: Resolved) -> bool:
    """Whether it is counted by the router, for the arms of this release."""
    return isinstance(metric, RatioMetric) and bool(resolved.scopes) and metric.arm_matchers in router_arms(resolved).values()


def splits(caches: Caches, resolved: Resolved, metrics: tuple[AnyMetric, ...]) -> str | None:
    """The metric whose totals are what the router sent to each arm; None where other routes name the Service, too."""
    found = next((m.name for m in metrics if _routed(m, resolved)), None)
    if found is None:
        return None
    naming = caches.routers.discover(resolved.scopes[0])
    return found if len(naming) <= len(resolved.scopes) else None


def arms(caches: Caches, resolved: Resolved, revision: str) -> dict[str, tuple[ArmTargets, ArmTargets]] | None:
    """(canary, baseline) as each source finds them, by its name, and as the pods' own status does; None while either has no pods to speak
    of.
    """
    found = _by_source(caches, resolved, revision)
    if found and resolved.restarts is not None:
        canary, baseline = next(iter(found.values()))
        found[podstatus.SOURCE] = (_alive(canary), _alive(baseline))
    return found


def _by_source(caches: Caches, resolved: Resolved, revision: str) -> dict[str, tuple[ArmTargets, ArmTargets]] | None:
    """(canary, baseline) as each source finds them, by its name; None while either has no pods to speak of."""
    deployment = resolved.deployment
    if resolved.spec.flags_only and resolved.sources:
        # On the same pods: each metric's own labels tell them apart.
        return {
            u.item.name: (
                ArmTargets(name=CANARY, matchers=_shared(CANARY, u.item)),
                ArmTargets(name=BASELINE, matchers=_shared(BASELINE, u.item)),
            )
            for u in resolved.sources
        }
    if deployment is None or not resolved.sources:
        return None
    if resolved.observed:
        return _rolled(caches, resolved, deployment)
    canaries = [
        d
        for d in caches.canary_deployments(resolved.canary.namespace, resolved.canary.name)
        if d.metadata.label("linnet.dev/revision") == revision
    ]
    if not canaries:
        return None
    canary = tuple(p for d in canaries for p in caches.pods_of(d))
    pattern = f"{canaries[0].name}-{HASH}-{HASH}"
    return {
        u.item.name: (_arm(CANARY, canary, u.item, pattern, deployment), _baseline(caches, deployment, u.item)) for u in resolved.sources
    }


def _rolled(caches: Caches, resolved: Resolved, deployment: Deployment) -> dict[str, tuple[ArmTargets, ArmTargets]] | None:
    """In an ordinary rolling update: the pods of the new ReplicaSet, and those of the one before."""
    rollout = resolved.canary.status.rollout
    watched = rollout.observed if rollout is not None else None
    if watched is None or not watched.old or not watched.new:
        return None
    both = []
    for name, sets in ((CANARY, watched.new), (BASELINE, watched.old)):
        pods = tuple(p for s in caches.sets_of(deployment) if s.name in sets for p in caches.pods_of_set(s))
        both.append((name, pods, f"({'|'.join(sets)})-{HASH}"))
    new, old = both
    return {
        u.item.name: (_arm(new[0], new[1], u.item, new[2], deployment), _arm(old[0], old[1], u.item, old[2], deployment))
        for u in resolved.sources
    }


def _flag_labels(metric: Metric, resolved: Resolved) -> ArmLabels | None:
    """As the owner wrote them; of one flag alone what Unleash's impact metrics say: the key, `enabled` or `disabled`."""
    by_word = any(u.item.spec.type == "Web" and metric in u.metrics for u in resolved.sources)
    if metric.arm_labels is not None or not resolved.spec.flags_only or len(resolved.flags) != 1 or by_word:
        return metric.arm_labels
    label = re.sub("[^A-Za-z0-9_]", "_", resolved.flags[0].key)
    return ArmLabels(stable=f'{label}="disabled"', canary=f'{label}="enabled"')


def baseline(caches: Caches, resolved: Resolved, source: ours.MetricSource) -> ArmTargets | None:
    """The stable pods alone, as `source` finds them: whether a metric exists can be asked before there is any canary."""
    return None if resolved.deployment is None else _baseline(caches, resolved.deployment, source)


def _baseline(caches: Caches, deployment: Deployment, source: ours.MetricSource) -> ArmTargets:
    hashes = [s.name for s in caches.sets_of(deployment)]
    return _arm(BASELINE, caches.pods_of(deployment), source, f"({'|'.join(hashes)})-{HASH}", deployment)


def _arm(name: str, pods: tuple[Pod, ...], source: ours.MetricSource, pattern: str, deployment: Deployment) -> ArmTargets:
    started = {p.name: epoch(p.status.start_time) for p in pods if p.status.start_time}
    if source.spec.type == "Web":
        return ArmTargets(name=name, matchers=_track(name), started=started)
    matchers = (Matcher("namespace", MatchOp.EQUAL, deployment.namespace), Matcher("pod", MatchOp.REGEX, pattern))
    scrape = source.spec.scrape
    if scrape is None or source.spec.type != "Scrape":
        return ArmTargets(name=name, matchers=matchers, started=started)
    targets = tuple(
        Target(pod=p.name, address=f"{p.status.pod_ip}:{port}", path=scrape.path or "/metrics", started_at=started.get(p.name))
        for p in pods
        if p.status.pod_ip and p.status.phase == "Running" and (port := _port(p, scrape.port)) is not None
    )
    return ArmTargets(name=name, targets=targets, started=started)


def _alive(arm: ArmTargets) -> ArmTargets:
    """Its pods that have begun, whether they serve or not: one that keeps crashing seldom does."""
    targets = tuple(Target(pod=name, address="", started_at=at) for name, at in arm.started.items())
    return ArmTargets(name=arm.name, targets=targets, started=arm.started)


def _shared(name: str, source: ours.MetricSource) -> tuple[Matcher, ...]:
    """Of versions that are on the same pods."""
    return _track(name) if source.spec.type == "Web" else ()


def _track(name: str) -> tuple[Matcher, ...]:
    """A version as a business knows it: by the word that the app was told (`linnet.dev/track`)."""
    return (Matcher("arm", MatchOp.EQUAL, "stable" if name == BASELINE else name),)


def _port(pod: Pod, wanted: int | str) -> int | None:
    if isinstance(wanted, int):
        return wanted
    ports = (p for c in pod.spec.containers for p in c.ports or ())
    return next((p.container_port for p in ports if p.name == wanted), None)
