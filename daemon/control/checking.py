"""Measures the templates of each release: one task a metric, so that one that is slow delays no other, and no reconcile.

Each template is kept as it was when the release began, with what it measured, in the release's `AnalysisRun`: a changed template
changes the next release, and a restarted daemon goes on where the last one stopped.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from analyzers.errors import AnalysisError
from analyzers.sources.protocol import Failure, HttpClient, ValueOutcome
from analyzers.sources.web import WebRequest, web_value
from analyzers.templates import args as arguments
from analyzers.templates.metric import Measurement, Phase, due, judge
from daemon.api import templates
from daemon.api.analysis import AnalysisTemplateSpec, TemplateMetric, TemplateRun
from daemon.api.jobs import JobCheck
from daemon.api.status import CanaryStatus
from daemon.control.catalogue import Catalogue
from daemon.control.checkrun import CheckRun
from daemon.control.checks import CheckUse, field_value, public_values
from daemon.control.http import Http
from daemon.control.jobs import JobRunner
from daemon.control.releases import Releases
from daemon.control.resolved import Resolved
from daemon.control.runs import RunStore
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.control.sourcing import values_of
from daemon.kube.errors import KubeError
from daemon.kube.store import Key
from daemon.rollout.model import CheckView, Problem
from daemon.workloads.jobs import Question

log = logging.getLogger("linnet.checking")

ERROR_AGAIN: Final = 30.0  # seconds until a metric that ended in errors is measured again
STORE_EVERY: Final = 2.0  # seconds between two writes of what was measured
QUERY_DEADLINE: Final = 30.0
EXPOSED: Final = frozenset({"Progressing", "Paused", "Inconclusive", "Promoting", "Settling"})


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """How the checks reach the world. `web` refuses addresses that templates must not speak to."""

    catalogue: Catalogue
    http: Http
    web: HttpClient
    secrets: SecretReader
    jobs: JobRunner
    runs: RunStore
    wake: Callable[[Key], None]
    clock: Callable[[], float] = time.time


class _Session:
    """The templates of one rollout."""

    def __init__(self, ports: Ports, resolved: Resolved, revision: str, release: str) -> None:
        self.ports = ports
        self.resolved = resolved
        self.revision = revision
        self.runs: dict[str, CheckRun] = {}
        self.active: set[str] = set()
        self.views: tuple[CheckView, ...] = ()
        self.changed = asyncio.Event()
        self._dirty = asyncio.Event()
        self._begun: set[str] = set()
        self.release = release

    async def run(self) -> None:
        """Until cancelled."""
        await self._load()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(), name="templates kept")
            while True:
                self.changed.clear()
                for run in [self.runs[i] for i in sorted(self.active - self._begun) if i in self.runs]:
                    self._begin(run, group)
                await self.changed.wait()

    async def _load(self) -> None:
        """Every template of the release as it is now, or as it was when the release began."""
        stored: dict[str, TemplateRun] | None = None
        while stored is None:
            try:
                stored = {r.id: r for r in await self.ports.runs.templates(self.resolved, self.revision)}
            except KubeError as e:
                log.warning("%s/%s: what its templates measured cannot be read: %s", *self.resolved.canary.key, e)
                await asyncio.sleep(2)
        for check in self.resolved.checks:
            before = stored.get(check.id)
            try:
                self.runs[check.id] = self._run(check, before)
            except (AnalysisError, msgspec.ValidationError) as e:
                log.warning("%s/%s: template %s: %s", *self.resolved.canary.key, check.name, e)
        self._publish()

    def _run(self, check: CheckUse, before: TemplateRun | None) -> CheckRun:
        spec = check.spec
        if before is not None and before.spec is not None:
            spec = msgspec.convert(before.spec, AnalysisTemplateSpec)
            check = msgspec.structs.replace(check, spec=spec, namespace=before.namespace)
        if spec is None:
            raise AnalysisError(f"template {check.name} does not exist", reason="TemplateMissing")
        values = public_values(check, self._canary())
        run = CheckRun(check, spec, tuple(templates.metric_of(spec, templates.fill(m, values)) for m in spec.metrics))
        if before is not None:
            run.restore(before)
        return run

    def _canary(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self.resolved.canary))
        return found

    def _begin(self, run: CheckRun, group: asyncio.TaskGroup) -> None:
        self._begun.add(run.use.id)
        if run.started_at is None:
            run.started_at = self.ports.clock()
        for index, metric in enumerate(run.metrics):
            group.create_task(self._follow(run, index), name=f"template {run.use.id} {metric.name}")
        self._publish()

    async def _follow(self, run: CheckRun, index: int) -> None:
        """One metric, until it is complete."""
        metric = run.metrics[index]
        while True:
            result = run.results[index]
            if result.phase is Phase.ERROR and not metric.dry_run:
                await asyncio.sleep(ERROR_AGAIN)
                run.resume(index)
                continue
            at = due(metric, result, run.started_at or 0.0)
            if at is None:
                return
            await asyncio.sleep(max(0.0, at - self.ports.clock()))
            found = await self._measure(run, index)
            run.record(index, found)
            self._publish()

    async def _measure(self, run: CheckRun, index: int) -> Measurement:
        """One measurement, whatever comes of it."""
        secrets: list[str] = []
        try:
            values = await self._values(run.use, secrets)
            filled = templates.fill(run.spec.metrics[index], values)
            metric = templates.metric_of(run.spec, filled)
            if filled.provider.job is not None:
                return await self._run_job(run, index, filled.provider.job)
            outcome = await self._ask(filled)
        except (AnalysisError, SecretMissing, KubeError, ValueError, OSError) as e:
            return self._error(str(e), secrets)
        except Exception as e:
            log.exception("%s/%s: template %s, metric %s", *self.resolved.canary.key, run.use.name, run.metrics[index].name)
            return self._error(f"{type(e).__name__}: {e}", secrets)
        if isinstance(outcome, Failure):
            return self._error(outcome.message, secrets)
        found = judge(metric, outcome.value, self.ports.clock())
        return msgspec.structs.replace(
            found, value=arguments.blot(found.value, secrets), message=arguments.blot(found.message, secrets)[:500]
        )

    async def _run_job(self, run: CheckRun, index: int, job: JobCheck) -> Measurement:
        """Its exit code is the measurement. After a restart the same measurement asks for the same Job, which then is there."""
        before = run.results[index]
        canary, number = self.resolved.canary, before.count + before.error + before.no_data
        question = Question(
            canary.namespace, canary.name, canary.metadata.uid, self.release, f"{run.use.id}/{run.metrics[index].name}/{number}"
        )

        def tell(text: str) -> None:
            if run.doing.get(index) != text:
                run.doing[index] = text
                self._publish()

        ended = await self.ports.jobs.answer(job, question, tell)
        return Measurement(phase=Phase(ended.phase), finished_at=self.ports.clock(), message=ended.text[:500])

    def _error(self, message: str, secrets: list[str]) -> Measurement:
        return Measurement(phase=Phase.ERROR, finished_at=self.ports.clock(), message=arguments.blot(message, secrets)[:500])

    async def _values(self, use: CheckUse, secrets: list[str]) -> dict[str, str]:
        """Every arg's value, Secrets read anew: a rotated token works at the next measurement."""
        values: dict[str, str] = {}
        for own in (use.spec.args if use.spec else None) or []:
            if own.value is not None:
                values[own.name] = own.value
            elif own.value_from is not None and own.name not in [a.name for a in use.given]:
                values[own.name] = await self.ports.secrets.read(use.namespace, own.value_from.secret_key_ref)
                secrets.append(values[own.name])
        for arg in use.given:
            source = arg.value_from
            if arg.value is not None:
                values[arg.name] = arg.value
            elif source is not None and source.secret_key_ref is not None:
                values[arg.name] = await self.ports.secrets.read(self.resolved.canary.namespace, source.secret_key_ref)
                secrets.append(values[arg.name])
            elif source is not None and source.field_ref is not None:
                values[arg.name] = field_value(self._canary(), source.field_ref.field_path)
        return values

    async def _ask(self, metric: TemplateMetric) -> ValueOutcome:
        query, web = metric.provider.query, metric.provider.web
        if query is not None:
            kind, check = query
            item = self.ports.catalogue.metric_source(
                self.resolved.canary.namespace, check.source_ref.name if check.source_ref else "default"
            )
            if isinstance(item, Problem):
                raise AnalysisError(item.message, reason=item.reason)
            if item.spec.type != kind:
                raise AnalysisError(f"MetricSource {item.name} is of type {item.spec.type}, not {kind}", reason="SourceUnsuitable")
            source = await values_of(item, self.ports.http, self.ports.secrets)
            return await source.value(check.query, at=self.ports.clock(), deadline=QUERY_DEADLINE)
        if web is None:
            raise AnalysisError(f"metric {metric.name} has no provider", reason="NoProvider")
        problem = templates.address_problem(web.url)
        if problem:
            raise AnalysisError(f"url {problem}", reason="InvalidAddress")
        conditions = (metric.success_condition, metric.failure_condition, metric.threshold_range)
        request = WebRequest(
            url=web.url,
            method=web.method or "GET",
            headers={h.key: h.value for h in web.headers or []},
            body=web.body,
            json_path=web.json_path or "",
            conditioned=any(c is not None for c in conditions),
            deadline=float(web.timeout_seconds or 10),
        )
        return await web_value(request, self.ports.web)

    def _publish(self) -> None:
        views = tuple(self.runs[i].view() for i in self.runs if self.runs[i].started_at is not None)
        self._dirty.set()
        if views != self.views:
            self.views = views
            self.ports.wake(self.resolved.canary.key)

    async def _keep(self) -> None:
        """Stores what changed, soon."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self.store()
            await asyncio.sleep(STORE_EVERY)

    async def store(self) -> None:
        if not self.runs:
            return
        try:
            await self.ports.runs.save_templates(self.resolved, self.revision, [r.stored() for r in self.runs.values()])
        except KubeError as e:
            self._dirty.set()
            log.warning("%s/%s: what its templates measured is not stored: %s", *self.resolved.canary.key, e)


def release_of(status: CanaryStatus) -> str:
    """One try of one revision: its Jobs are of no other."""
    rollout = status.rollout
    return f"{rollout.revision}@{rollout.started_at}" if rollout is not None else ""


class CheckBoard:
    """Starts, feeds and ends the sessions. `run` belongs into the leader's TaskGroup."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._sessions: Releases[_Session] = Releases("templates")

    async def run(self) -> None:
        await self._sessions.run()

    def views(self, key: Key, revision: str) -> tuple[CheckView, ...]:
        session = self._sessions.get(key, revision)
        return session.views if session is not None else ()

    async def follow(self, resolved: Resolved, status: CanaryStatus) -> None:
        """Told after each pass: what is to be measured from now on."""
        key, rollout = resolved.canary.key, status.rollout
        if rollout is None or status.phase not in {*EXPOSED, "Starting"}:
            await self.forget(key)
            await self._ports.jobs.end(*key)
            return
        if not self._sessions.running or not resolved.checks:
            return
        session = self._sessions.get(key, rollout.revision)
        if session is None:
            await self.forget(key)
            await self._ports.jobs.end(*key, but=release_of(status))
            session = _Session(self._ports, resolved, rollout.revision, release_of(status))
            self._sessions.open(key, session)
        session.resolved = resolved
        active = {c.id for c in resolved.checks if _is_due(c, status)}
        if active - session.active:
            session.active |= active
            session.changed.set()

    async def forget(self, key: Key) -> None:
        """Ends the measurements of a release; what they found is kept."""
        found = self._sessions.close(key)
        if found is None:
            return
        session, task = found
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})
        await session.store()

    def drop(self, key: Key) -> None:
        """The Canary itself is gone: nothing is kept."""
        self._sessions.close(key)


def _is_due(check: CheckUse, status: CanaryStatus) -> bool:
    rollout = status.rollout
    if rollout is None:
        return False
    if check.moment == "BeforeFirstStep":
        return rollout.checks_from is not None
    if check.moment == "Background":
        return rollout.judge_from is not None or rollout.picked_from is not None
    return rollout.exposed_at is not None and rollout.step == check.step
