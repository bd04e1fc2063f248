"""The judge of each rollout: one task a rollout reads samples at every scrape and feeds the judge one frozen tick at a time.

A slow metric source must never delay an abort, so nothing of this happens inside a reconcile: a task leaves its latest view, and
wakes the reconciler. The evidence is stored in the `AnalysisRun`, from which a restarted daemon goes on.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from analyzers.channels import BucketsDifferError
from analyzers.collector import BASELINE, CANARY, ArmTargets, Collected, Collector, resolve
from analyzers.errors import AnalysisError
from analyzers.evidence import EvidenceLog
from analyzers.judge import Judge
from analyzers.metrics import AnyMetric, HistogramMetric
from analyzers.reasons import compared
from analyzers.sources.protocol import MetricSource
from analyzers.ticks import Action, Answer, Code, Problem, ProblemKind
from daemon.api.quantities import parse_duration
from daemon.control.caches import Caches
from daemon.control.http import Http
from daemon.control.measuring import arms, candidates, judge_config
from daemon.control.releases import Releases
from daemon.control.resolve import Resolved
from daemon.control.runs import RunStore, parameters_of
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.control.sourcing import source_of
from daemon.kube.errors import KubeError
from daemon.kube.store import Key
from daemon.rollout.clock import epoch
from daemon.rollout.model import JudgeView, MetricView

HISTORY: Final = 256  # exposure changes remembered to weigh past ticks
STORE_EVERY: Final = 60.0  # seconds between two writes of evidence before a verdict
ABSENT: Final = frozenset({Code.NO_TRAFFIC, Code.NO_CANARY_TRAFFIC})


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """From `since` on the canary had this share, and whether all had settled."""

    since: float
    weight: float
    settled: bool
    foreign: str = ""


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
        self.exposures: deque[Exposure] = deque(maxlen=HISTORY)
        self.view: JudgeView | None = None
        self.stored_at = 0.0
        self.dirty = False
        self.evidence: EvidenceLog | None = None
        self.parameters = ""
        self._judge: Judge | None = None
        self._collector: Collector | None = None
        self._source: MetricSource | None = None
        self._interval = 15.0

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
        source_object = self.resolved.metric_source
        if source_object is None:
            raise AnalysisError("no metric source", reason="NoSource")
        self._source = await source_of(source_object, self.ports.http, self.ports.secrets)
        metrics = await self._metrics(self._source)
        config = judge_config(self.resolved, metrics)
        self._interval = config.scrape_seconds
        self.parameters = parameters_of(config, metrics)
        stored = None if self.fresh else await self.ports.runs.evidence(self.resolved, self.revision, self.parameters)
        self.fresh = False
        last = None
        self.evidence, self._judge = EvidenceLog(config), Judge(config)
        if stored:
            resumed = EvidenceLog.unpack(stored)
            judge = resumed.judge()
            if judge.config.digest == config.digest:
                self.evidence, self._judge, last = resumed, judge, resumed.last_index
        self._collector = Collector(self._source, metrics, scrape_seconds=self._interval, last_index=last)

    async def _metrics(self, source: MetricSource) -> tuple[AnyMetric, ...]:
        analysis = self.resolved.spec.analysis
        chosen: list[AnyMetric] = []
        for metric in (analysis.metrics if analysis else None) or []:
            found = candidates(metric, self.resolved)
            only = found[0] if len(found) == 1 else None
            if only is not None and not isinstance(only, HistogramMetric):
                chosen.append(only)
                continue
            pair = arms(self.ports.caches, self.resolved, self.revision)
            if pair is None:
                raise AnalysisError("no pods of both versions to ask for metrics", reason="NoPods", retryable=True)
            by_name = {a.name: a for a in pair}
            answer = await resolve(source, found, by_name[BASELINE], now=self.ports.clock(), other=by_name[CANARY])
            if answer.metric is None:
                why = answer.failure.message if answer.failure else "; ".join(answer.tried)
                raise AnalysisError(f"metric {metric.name}: {why}", reason="MetricMissing", retryable=True)
            chosen.append(answer.metric)
        return tuple(chosen)

    async def _tick(self) -> None:
        collector, judge, evidence = self._collector, self._judge, self.evidence
        pair = arms(self.ports.caches, self.resolved, self.revision)
        if collector is None or judge is None or evidence is None or pair is None:
            return
        collected = await collector.collect(self.ports.clock(), pair, deadline=min(5.0, self._interval))
        answer: Answer | None = None
        for frozen in collected.ticks:
            then = self._exposure(frozen.at, self._interval)
            if then is None:
                continue
            problems = (Problem(kind=ProblemKind.FOREIGN_WRITE, text=then.foreign),) if then.foreign else ()
            tick = frozen.tick(weight=then.weight, warm=self._warm(frozen.at), settled=then.settled, problems=problems, units=_units(pair))
            answer = judge.tick(tick)
            evidence.append(tick, answer)
            self.dirty = True
        if answer is not None:
            self._publish(answer, collected)
        elif collected.problems and not collected.ticks:
            self._absent("ProviderError", collected.problems[0].text)

    def _exposure(self, at: float, interval: float) -> Exposure | None:
        """What was in force over (at - interval, at]; None before the first exposure."""
        now = None
        for e in self.exposures:
            if e.since <= at:
                now = e
        if now is None:
            return None
        changed = now.since > at - interval
        return msgspec.structs.replace(now, settled=now.settled and not changed)

    def _warm(self, at: float) -> bool:
        """Whether the canary's youngest pod was past its cold start; the judge itself counts time and requests besides."""
        pair = arms(self.ports.caches, self.resolved, self.revision)
        started = pair[0].started.values() if pair else ()
        analysis = self.resolved.spec.analysis
        warm_up = parse_duration(analysis.warm_up) if analysis and analysis.warm_up else 60.0
        return bool(started) and at >= max(started) + warm_up

    def _publish(self, answer: Answer, collected: Collected) -> None:
        first = answer.reasons[0]
        code = str(first.code)
        if first.code in ABSENT:
            code = "NoData"
        elif first.code == Code.DATA_PROBLEM:
            code = "ProviderError"
        self._set(view_of(answer, code, first.text, self._judge))

    def _absent(self, code: str, text: str) -> None:
        before = self.view
        base = before or JudgeView(action="Hold")
        self._set(msgspec.structs.replace(base, action="Hold", code=code, text=text))

    def _set(self, view: JudgeView) -> None:
        if view == self.view:
            return
        self.view = view
        self.ports.wake(self.resolved.canary.key)


def _units(pair: tuple[ArmTargets, ArmTargets]) -> tuple[int, int] | None:
    """Pods of (canary, baseline): how far two arms of equal releases may differ depends on how many there are."""
    canary, baseline = (len(a.started) for a in pair)
    return (canary, baseline) if canary and baseline else None


_ACTIONS: Final[dict[Action, Literal["Hold", "Advance", "Promote", "Rollback"]]] = {
    Action.HOLD: "Hold",
    Action.ADVANCE: "Advance",
    Action.PROMOTE: "Promote",
    Action.ROLLBACK: "Rollback",
    Action.INCONCLUSIVE: "Hold",  # the deadline of a rollout is the core's to keep
}


def view_of(answer: Answer, code: str, text: str, judge: Judge | None) -> JudgeView:
    """The judge's answer as the core reads it."""
    config = judge.config if judge else None
    sure = 100 - round(config.max_bad_promotion_percent) if config else 95
    metrics = tuple(
        MetricView(
            name=m.name,
            canary_events=m.canary_errors,
            canary_total=m.canary_requests,
            baseline_events=m.baseline_errors,
            baseline_total=m.baseline_requests,
            log_worse=max(m.log_e_worse, m.log_e_catastrophe),
            log_fine=m.log_e_fine,
            bound=f"{m.bound} ({sure} % sure)" if m.bound else "",
            says="" if m.kind == "Ratio" and m.worse == "Higher" else compared(m),
        )
        for m in answer.metrics
    )
    waits = [m.seconds_needed for m in answer.metrics if m.seconds_needed]
    culprit = answer.reasons[0].metric
    return JudgeView(
        action=_ACTIONS[answer.action],
        code=code,
        text=text,
        metrics=metrics,
        canary_requests=max((m.canary_requests for m in answer.metrics), default=0),
        needed_odds=100.0 / config.max_false_rollback_percent if config else 100.0,
        culprit=culprit,
        seconds_more=max(waits, default=None),
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

    def follow(self, resolved: Resolved, weight: float, *, settled: bool, foreign: str, fresh: bool = False) -> None:
        """Told in each pass of an exposed rollout: starts the session, and remembers what was in force since when.

        `fresh`: it was exposed in this very pass for the first time, so there is no stored evidence to go on from.
        """
        key = resolved.canary.key
        rollout = resolved.canary.status.rollout
        if rollout is None or not self._sessions.running:
            return
        session = self._sessions.get(key, rollout.revision)
        if session is None:
            self.forget(key)
            session = _Session(self._ports, resolved, rollout.revision, fresh=fresh)
            self._sessions.open(key, session)
            if rollout.exposed_at is not None and rollout.judge_from is not None:
                session.exposures.append(Exposure(since=epoch(rollout.exposed_at), weight=float(rollout.weight_reached), settled=True))
        session.resolved = resolved
        weight = float(weight)  # an integer would be read back as another number than the digest of the evidence was made of
        last = session.exposures[-1] if session.exposures else None
        if last is None or (last.weight, last.settled, last.foreign) != (weight, settled, foreign):
            session.exposures.append(Exposure(since=self._ports.clock(), weight=weight, settled=settled, foreign=foreign))

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
