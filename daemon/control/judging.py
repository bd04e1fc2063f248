"""The judge of each rollout: one task a rollout reads samples at every scrape and feeds the judge one frozen tick at a time.

A slow metric source must never delay an abort, so nothing of this happens inside a reconcile: a task leaves its latest view, and
wakes the reconciler. The evidence is stored in the `AnalysisRun`, from which a restarted daemon goes on.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from analyzers.channels import BucketsDifferError
from analyzers.collector import ArmTargets, Collector, resolve
from analyzers.errors import AnalysisError
from analyzers.evidence import EvidenceLog, Trial
from analyzers.history import History
from analyzers.joining import Joined
from analyzers.metrics import AnyMetric, HistogramMetric
from analyzers.options import JudgeConfig, Kind
from analyzers.past import past
from analyzers.reasons import bound_in_force, compared, few_pods
from analyzers.sources.protocol import MetricSource
from analyzers.ticks import Action, Answer, Code, MetricCounts, Problem, ProblemKind, SplitCounts
from daemon.api.quantities import parse_duration
from daemon.api.status import ExposureStatus
from daemon.control import podstatus
from daemon.control.caches import Caches
from daemon.control.http import Http
from daemon.control.measuring import arms, candidates, interval_of, judge_config, learnt, splits
from daemon.control.releases import Releases
from daemon.control.resolved import Resolved
from daemon.control.runs import RunStore, parameters_of
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.control.sourcing import source_of
from daemon.kube.errors import KubeError
from daemon.kube.store import Key
from daemon.rollout.clock import epoch
from daemon.rollout.model import JudgeView, MetricView

STORE_EVERY: Final = 60.0  # seconds between two writes of evidence before a verdict
ABSENT: Final = frozenset({Code.NO_TRAFFIC, Code.NO_CANARY_TRAFFIC})


FREE: Final = frozenset({Code.BAKING, Code.TOO_FEW_UNITS, Code.MORE_EVIDENCE_NEEDED, Code.CLIMBING})
"""What a ramp that is where it wants to be waits for: nothing of it speaks against the next step."""


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """How the judges reach the world."""

    caches: Caches
    http: Http
    secrets: SecretReader
    runs: RunStore
    wake: Callable[[Key], None]
    clock: Callable[[], float] = time.time


class _Session:
    """One rollout of one revision."""

    def __init__(self, ports: Ports, resolved: Resolved, revision: str, *, fresh: bool = False) -> None:
        self.ports = ports
        self.fresh = fresh
        self.resolved = resolved
        self.revision = revision
        self.view: JudgeView | None = None
        self.stored_at = 0.0
        self.dirty = False
        self.parameters = ""
        self._trial: Trial | None = None
        self._split: str | None = None
        self._collector: Joined | None = None
        self._interval = 15.0

    @property
    def evidence(self) -> EvidenceLog | None:
        return self._trial.log if self._trial is not None else None

    async def run(self) -> None:
        """Until cancelled. Whatever goes wrong with the source is a view, not an end."""
        while True:
            try:
                await self._start()
            except (AnalysisError, SecretMissing, KubeError, ValueError) as e:
                self._absent("ProviderError", str(e))
                await asyncio.sleep(self._interval)
                continue
            try:
                await self._follow()
            except BucketsDifferError as e:
                # The canary showed its first buckets, and they are others: both are compared anew at the bounds they share.
                self._absent("ProviderError", str(e))

    async def _follow(self) -> None:
        while True:
            await self._tick()
            await asyncio.sleep(self._until_next())

    def _until_next(self) -> float:
        now = self.ports.clock()
        return self._interval - now % self._interval + 0.05

    async def _start(self) -> None:
        uses = self.resolved.sources
        sources = {u.item.name: await source_of(u.item, self.ports.http, self.ports.secrets) for u in uses}
        whose = {m.name: u.item.name for u in uses for m in u.metrics}
        if self.resolved.restarts is not None:
            sources[podstatus.SOURCE] = self._pods(interval_of(self.resolved))
            whose[self.resolved.restarts.name] = podstatus.SOURCE
        metrics = await self._metrics(sources, whose)
        config = judge_config(self.resolved, metrics)
        self._interval = config.scrape_seconds
        self.parameters = parameters_of(config, metrics, whose)
        stored = None if self.fresh else await self.ports.runs.evidence(self.resolved, self.revision, self.parameters)
        self.fresh = False
        # What was learnt before the start is in the log: it would be another thing now, with the canary in sight.
        self._trial = Trial.resume(stored) if stored else Trial.begin(await self._learnt(sources, whose, metrics, config))
        last = self._trial.log.last_index if stored else self._unexposed()
        self._split = splits(self.ports.caches, self.resolved, metrics)
        if self._trial.config.ramp is not None:
            self._publish_first(self._trial)
        self._collector = Joined(
            {
                name: Collector(
                    source,
                    [m for m in metrics if whose[m.name] == name],
                    scrape_seconds=self._interval,
                    last_index=last,
                    called=f"MetricSource {name}" if len(uses) > 1 else "",
                )
                for name, source in sources.items()
            }
        )

    def _pods(self, interval: float) -> podstatus.PodStatusSource:
        namespace, pods = self.resolved.canary.namespace, self.ports.caches.pods.store
        return podstatus.PodStatusSource(lambda name: pods.get(namespace, name), interval)

    def _unexposed(self) -> int | None:
        """The last tick before the first exposure: a daemon that died before it had stored anything reads again what came after."""
        rollout = self.resolved.canary.status.rollout
        return math.floor(epoch(rollout.judge_from) / self._interval) if rollout is not None and rollout.judge_from else None

    async def _learnt(
        self, sources: Mapping[str, MetricSource], whose: Mapping[str, str], metrics: tuple[AnyMetric, ...], config: JudgeConfig
    ) -> JudgeConfig:
        """Baseline against baseline, from before the first exposure."""
        pairs, rollout = arms(self.ports.caches, self.resolved, self.revision), self.resolved.canary.status.rollout
        until = epoch(rollout.started_at) if rollout is not None else self.ports.clock()
        history: dict[str, History] = {}
        for name, source in sources.items():
            if pairs is None:
                break
            own = [m for m in metrics if whose[m.name] == name]
            history |= await past(source, own, pairs[name][1], until=until, scrape_seconds=config.scrape_seconds)
        return learnt(config, history, self.resolved)

    async def _metrics(self, sources: Mapping[str, MetricSource], whose: Mapping[str, str]) -> tuple[AnyMetric, ...]:
        chosen: list[AnyMetric] = []
        for metric in (*self.resolved.metrics, *([self.resolved.restarts] if self.resolved.restarts else ())):
            found = candidates(metric, self.resolved)
            only = found[0] if len(found) == 1 else None
            if only is not None and not isinstance(only, HistogramMetric):
                chosen.append(only)
                continue
            pairs = arms(self.ports.caches, self.resolved, self.revision)
            if pairs is None:
                raise AnalysisError("no pods of both versions to ask for metrics", reason="NoPods", retryable=True)
            name = whose[metric.name]
            canary, baseline = pairs[name]
            answer = await resolve(sources[name], found, baseline, now=self.ports.clock(), other=canary)
            if answer.metric is None:
                why = answer.failure.message if answer.failure else "; ".join(answer.tried)
                raise AnalysisError(f"metric {metric.name}: {why}", reason="MetricMissing", retryable=True)
            chosen.append(answer.metric)
        return tuple(chosen)

    async def _tick(self) -> None:
        collector, trial = self._collector, self._trial
        pairs = arms(self.ports.caches, self.resolved, self.revision)
        if collector is None or trial is None or pairs is None:
            return
        gone = sorted(set(collector.sources) - set(pairs))
        if gone:
            self._absent("ProviderError", f"MetricSource {', '.join(gone)} is gone, and its metrics cannot be judged without it")
            return
        pair = next(iter(pairs.values()))
        collected = await collector.collect(self.ports.clock(), pairs, deadline=min(5.0, self._interval))
        answer: Answer | None = None
        weight = 0
        for frozen in collected.ticks:
            then = self._exposure(frozen.at, self._interval)
            if then is None:
                continue
            problems = (Problem(kind=ProblemKind.FOREIGN_WRITE, text=then.foreign),) if then.foreign else ()
            tick = frozen.tick(
                weight=float(then.weight),  # an integer would be read back as another number than the digest of the evidence was made of
                warm=self._warm(pair[0], frozen.at),
                settled=then.settled,
                problems=problems,
                units=_units(pair, frozen.at),
                split=_split(frozen.arms.get(self._split)) if self._split else None,
            )
            answer, weight = trial.tick(tick), then.weight
            self.dirty = True
        if answer is not None:
            self._publish(answer, weight)
        elif collected.problems and not collected.ticks:
            self._absent("ProviderError", collected.problems[0].text)

    def _exposure(self, at: float, interval: float) -> ExposureStatus | None:
        """What was in force over (at - interval, at]; None before the first exposure."""
        rollout = self.resolved.canary.status.rollout
        now = next((e for e in reversed(rollout.exposures if rollout else []) if epoch(e.since) <= at), None)
        if now is None:
            return None
        changed = epoch(now.since) > at - interval
        return msgspec.structs.replace(now, settled=now.settled and not changed)

    def _warm(self, canary: ArmTargets, at: float) -> bool:
        """Whether the youngest pod of the canary's was past its cold start; the judge itself counts time and requests besides.

        Code behind a flag that is released alone is cold from its first exposure on.
        """
        started = [s for s in canary.started.values() if s <= at]
        rollout = self.resolved.canary.status.rollout
        if self.resolved.spec.flags_only and rollout is not None and rollout.judge_from is not None:
            started = [epoch(rollout.judge_from)]
        analysis = self.resolved.spec.analysis
        warm_up = parse_duration(analysis.warm_up) if analysis and analysis.warm_up else 60.0
        return bool(started) and at >= max(started) + warm_up

    def _publish_first(self, trial: Trial) -> None:
        """Where the weight begins, before the first tick; after a restart, what the stored ticks lead to."""
        if trial.answer is not None:
            self._publish(trial.answer, round(trial.log.stored().entries[-1].weight))
            return
        start = round(trial.config.start_percent)
        self._set(JudgeView(action="Hold", code="Evidence", text="nothing is counted yet", wanted_weight=start))

    def _publish(self, answer: Answer, weight: int) -> None:
        first = answer.reasons[0]
        code = str(first.code)
        if first.code in ABSENT:
            code = "NoData"
        elif first.code == Code.DATA_PROBLEM:
            code = "ProviderError"
        config = self._trial.config if self._trial else None
        view = view_of(answer, code, first.text, config)
        if config is not None and config.ramp is not None and answer.wanted_weight is not None:
            view = msgspec.structs.replace(view, wanted_weight=round(answer.wanted_weight), weight=weight)
        self._set(view)

    def _absent(self, code: str, text: str) -> None:
        before = self.view
        base = before or JudgeView(action="Hold")
        self._set(msgspec.structs.replace(base, action="Hold", code=code, text=text))

    def _set(self, view: JudgeView) -> None:
        if view == self.view:
            return
        self.view = view
        self.ports.wake(self.resolved.canary.key)


def _units(pair: tuple[ArmTargets, ArmTargets], at: float) -> tuple[int, int] | None:
    """Pods of (canary, baseline) then: how far two arms of equal releases may differ depends on how many there are."""
    canary, baseline = (sum(1 for s in a.started.values() if s <= at) for a in pair)
    return (canary, baseline) if canary and baseline else None


def _split(counts: MetricCounts | None) -> SplitCounts | None:
    """What the router sent to each arm."""
    if counts is None or counts.canary is None or counts.baseline is None:
        return None
    return SplitCounts(counts.canary.requests, counts.baseline.requests)


_ACTIONS: Final[dict[Action, Literal["Hold", "Advance", "Promote", "Rollback"]]] = {
    Action.HOLD: "Hold",
    Action.ADVANCE: "Advance",
    Action.PROMOTE: "Promote",
    Action.ROLLBACK: "Rollback",
    Action.INCONCLUSIVE: "Hold",  # the deadline of a rollout is the core's to keep
}


def _action(answer: Answer, config: JudgeConfig | None) -> Literal["Hold", "Advance", "Promote", "Rollback", "Inconclusive"]:
    if answer.action is Action.INCONCLUSIVE and answer.code is Code.BOTH_WORSENED:
        return "Inconclusive"  # more time would bring the same again
    if answer.action is Action.HOLD and config is not None and config.ramp is not None and answer.code in FREE:
        return "Advance"
    return _ACTIONS[answer.action]


def view_of(answer: Answer, code: str, text: str, config: JudgeConfig | None) -> JudgeView:
    """The judge's answer as the core reads it."""
    sure = 100 - round(config.max_bad_promotion_percent) if config else 95
    metrics = tuple(
        MetricView(
            name=m.name,
            canary_events=m.canary_errors,
            canary_total=0 if m.kind == Kind.RESTARTS else m.canary_requests,  # pod-seconds are no requests
            baseline_events=m.baseline_errors,
            baseline_total=0 if m.kind == Kind.RESTARTS else m.baseline_requests,
            log_worse=max(m.log_e_worse, m.log_e_catastrophe),
            log_fine=m.log_e_fine,
            bound=f"{m.bound} ({sure} % sure)" if m.bound else "",
            widened=bound_in_force(m),
            says="" if m.kind == "Ratio" and m.worse == "Higher" else compared(m),
        )
        for m in answer.metrics
    )
    waits = [m.seconds_needed for m in answer.metrics if m.seconds_needed]
    culprit = answer.reasons[0].metric
    return JudgeView(
        action=_action(answer, config),
        code=code,
        text=text,
        metrics=metrics,
        canary_requests=max((m.canary_requests for m in answer.metrics if m.kind != Kind.RESTARTS), default=0),
        needed_odds=100.0 / config.max_false_rollback_percent if config else 100.0,
        culprit=culprit,
        seconds_more=max(waits, default=None),
        widened=few_pods(answer.metrics),
    )


class JudgeBoard:
    """Starts, feeds and ends the sessions. `run` belongs into the leader's TaskGroup."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._sessions: Releases[_Session] = Releases("judge")

    async def run(self) -> None:
        await self._sessions.run()

    def view(self, key: Key, revision: str) -> JudgeView | None:
        session = self._sessions.get(key, revision)
        return session.view if session is not None else None

    def follow(self, resolved: Resolved, *, fresh: bool = False) -> None:
        """Told in each pass of a release with canary pods: starts the session, which reads from the status what was in force since when.

        `fresh`: it is not exposed yet, or was in this very pass for the first time, so there is no stored evidence to go on from.
        """
        key = resolved.canary.key
        rollout = resolved.canary.status.rollout
        if rollout is None or not self._sessions.running:
            return
        session = self._sessions.get(key, rollout.revision)
        if session is None:
            self.forget(key)
            self._sessions.open(key, _Session(self._ports, resolved, rollout.revision, fresh=fresh))
        else:
            session.resolved = resolved

    def forget(self, key: Key) -> None:
        self._sessions.close(key)

    async def store(self, resolved: Resolved, *, force: bool) -> None:
        """Writes the evidence to the AnalysisRun: at the verdict, and before it once a minute at most."""
        session = self._sessions.get(resolved.canary.key)
        if session is None or session.evidence is None or not session.dirty:
            return
        now = self._ports.clock()
        if not force and now - session.stored_at < STORE_EVERY:
            return
        session.stored_at, session.dirty = now, False
        with contextlib.suppress(KubeError):
            await self._ports.runs.save(resolved, session.revision, session.evidence, session.parameters)
