"""How the small world looks to Linnet: the same facts that the shell would observe, and a judge whose opinion follows from exposure."""

from __future__ import annotations

import msgspec

from daemon.api.status import RestoreEntry
from daemon.rollout import model as m
from daemon.rollout.clock import stamp
from daemon.rollout.steps import plan_of
from flags.model import Share
from tests.unit.rollout.world_facts import START, Autoscaler, Flag, Pods, WorldFacts


class SeenWorld(WorldFacts):
    """A world that can be observed."""

    def observe(self) -> m.Observed:
        rollout = self.status.rollout
        mine = self.canaries.get(rollout.revision) if rollout else None
        return m.Observed(
            workload=self._workload() if self.exists else None,
            canary=self._canary_view(rollout.revision, mine) if rollout and mine is not None else None,
            service_revision=self.service_revision if self.routed else (rollout.revision if rollout and mine else None),
            strays=tuple(r for r in self.canaries if rollout is None or r != rollout.revision),
            pod_ratio=not self.routed,
            routes=tuple(
                m.RouteView(kind="HTTPRoute", name=r.name, weight=r.weight, picked=r.picked, accepted=r.accepted, manager=r.manager)
                for r in self.routes
            ),
            flags=tuple(self._flag_view(f) for f in self.flags) if rollout else (),
            autoscaler=self._autoscaler(self.hpa) if self.hpa else None,
            floor_written=self.hpa is not None and self.hpa.lifted,
            judge=self._judge(rollout.revision) if rollout and rollout.judge_from else None,
            permits=self.permits,
            command=self.command,
            problems=self.problems,
            restore=self._undo(),
            records=tuple(self._record(r) for r in self.stored),
            gitops=self.gitops,
            generation=1,
            deleting=self.deleting,
        )

    def _autoscaler(self, item: Autoscaler) -> m.AutoscalerView:
        return m.AutoscalerView(name="checkout", minimum=item.minimum, maximum=item.maximum, touched=item.touched)

    def _record(self, revision: str) -> m.RecordView:
        image, failure = self.versions[revision].image, self.failed.get(revision)
        at, by = self.stable_by.get(revision, (0.0, ""))
        return m.RecordView(
            revision=revision,
            images=(image,) if image else (),
            stable_at=stamp(at) if at else "",
            stable_by=by,
            failed_at=stamp(START) if failure else "",
            failed_for=failure.reason if failure else "",
            sentence=failure.sentence if failure else "",
        )

    def _undo(self) -> tuple[RestoreEntry, ...]:
        if self.hpa is None or not self.hpa.lifted:
            return ()
        entry = RestoreEntry(
            api_version="autoscaling/v2",
            kind="HorizontalPodAutoscaler",
            namespace="shop",
            name="checkout",
            pointer="/spec/minReplicas",
            original=str(self.hpa.original),
            written=str(self.hpa.floor),
        )
        return (entry,)

    def _workload(self) -> m.WorkloadView:
        active = tuple(
            m.ReplicaSetView(name=f"checkout-{r}", revision=r, replicas=p.replicas, available=p.available)
            for r, p in self.sets.items()
            if p.replicas
        )
        available = sum(p.available for p in self.sets.values())
        mine = self.sets.get(self.template, Pods())
        complete = mine.replicas == mine.available == self.replicas and all(
            r == self.template or not p.replicas for r, p in self.sets.items()
        )
        if self.paused:
            complete = len(active) == 1 and available >= self.replicas
        image = self.versions[self.template].image
        return m.WorkloadView(
            revision=self.template,
            replicas=self.replicas,
            available=available,
            complete=complete,
            paused=self.paused,
            held=self.held,
            authors=self.authors if self.held else (),
            hold_off=self.hold_off,
            adopted=self.adopted,
            active=active,
            max_surge=0 if self.recreate else self.surge,
            keeps_serving=not self.recreate and (self.unavailable or (0 if self.surge else 1)) < self.replicas,
            images=(image,) if image else (),
        )

    def _canary_view(self, revision: str, pods: Pods) -> m.CanaryView:
        version = self.versions[revision]
        words = "" if version.starts else "pod x: CrashLoopBackOff"
        return m.CanaryView(
            revision=revision, replicas=pods.replicas, available=pods.available, failing=words, fatal=version.fatal and pods.replicas > 0
        )

    def _flag_view(self, flag: Flag) -> m.FlagView:
        before = next((f for f in self.status.flags if f.name == flag.name), None)
        percent = (before.written if before else None) if flag.error else flag.percent  # a source that is away shows nothing
        return m.FlagView(
            name=flag.name,
            key=flag.key,
            source="flagd",
            percent=percent,
            cohorts=tuple(Share(cohort=name, percent=share) for name, share in flag.cohorts.items()),
            seen=flag.percent is not None and flag.age >= flag.settles and not flag.error,
            gated=flag.gated,
            error=flag.error,
            missing=flag.missing,
            retryable=not flag.missing,
            drift=flag.drift,  # type: ignore[arg-type]
            plain=flag.plain,
            original=str(flag.people),
            open=flag.open,
        )

    def _judge(self, revision: str) -> m.JudgeView:
        seconds = self.exposure.get(revision, 0.0)
        kind = "provider" if self.metrics_down else self.versions[revision].judge
        requests = int(seconds * 10)
        bad = kind == "bad"
        metric = m.MetricView(
            name="errors",
            canary_events=requests // 20 if bad else requests // 800,
            canary_total=requests,
            baseline_events=requests // 80,
            baseline_total=requests * 10,
            log_worse=seconds / 5 if bad else -1.0,
            log_fine=-1.0 if bad else seconds / 30,
            bound="at most 0.3 pp worse (95 % sure)",
        )
        base = m.JudgeView(action="Hold", code="Leaning", text="errors: not decided", metrics=(metric,), canary_requests=requests)
        rungs = plan_of(self.spec_in_force(), gitops=False).ramp if self.routed else ()
        if rungs:
            base = self._moved(base, rungs, climbs=kind == "good")
        if kind in ("nodata", "provider"):
            code = "NoData" if kind == "nodata" else "ProviderError"
            return msgspec.structs.replace(base, code=code, text="no samples" if kind == "nodata" else "Prometheus does not answer")
        everything = bool(self.routes) and all(r.weight == 100 for r in self.routes)
        if everything:  # nothing is left to compare with
            return msgspec.structs.replace(base, code="NoControl", text="all traffic is on the canary: there is nothing to compare it with")
        if bad and seconds > 25:
            return msgspec.structs.replace(base, action="Rollback", code="Worse", text="errors are worse", culprit="errors")
        if base.action == "Inconclusive" or self.mood != "calm":
            return base
        if kind == "good" and seconds > 200 and (not rungs or (base.weight or 0) >= rungs[-1]):
            return msgspec.structs.replace(base, action="Promote", code="Proven", text="no harm within 1 pp: proven")
        if kind == "good" and seconds > 15:
            return msgspec.structs.replace(base, action="Advance", code="Leaning", text="no sign of harm")
        return base

    def _moved(self, base: m.JudgeView, rungs: tuple[int, ...], *, climbs: bool) -> m.JudgeView:
        """The view with a wish for the weight: it follows from a tick some time ago, as the real one does."""
        ticks = self.shown[: -self.lag] if self.lag else self.shown
        if not ticks:
            return msgspec.structs.replace(base, wanted_weight=1)
        seen = ticks[-1]
        held = len(ticks) >= 3 and ticks[-3:] == [seen] * 3
        above = next((r for r in rungs if r > seen), seen)
        if self.mood in ("incident", "hopeless"):
            final = self.mood == "hopeless"
            return msgspec.structs.replace(
                base, action="Inconclusive" if final else "Hold", code="BothWorsened", text="both sickened", wanted_weight=0, weight=seen
            )
        if self.mood == "leaning":
            return msgspec.structs.replace(base, code="LeaningBad", text="the evidence leans", wanted_weight=min(seen, 1), weight=seen)
        wish = 1 if seen == 0 else above if held and climbs else seen
        return msgspec.structs.replace(base, text="nothing speaks against it", wanted_weight=wish, weight=seen)
