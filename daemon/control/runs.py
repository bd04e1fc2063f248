"""The `AnalysisRun` of a revision: the stored evidence, written whole, bounded, a few kept."""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from analyzers.evidence import EvidenceLog
from analyzers.metrics import AnyMetric
from analyzers.options import JudgeConfig
from daemon.api import names
from daemon.api.analysis import TemplateRun, TemplateRuns
from daemon.control import objects as ours
from daemon.control.resolved import Resolved
from daemon.kube import errors
from daemon.kube.client import Client
from daemon.rollout.clock import stamp
from daemon.workloads.revisions import label_value

KEPT: Final = 5
PARAMETERS_LIMIT: Final = 32_768


class RunStore:
    def __init__(self, client: Client, now: Callable[[], float] = time.time) -> None:
        self._client = client
        self._now = now
        self._there: dict[str, str] = {}  # uid of a Canary: its newest run that is known to be stored

    async def evidence(self, resolved: Resolved, revision: str, parameters: str) -> str | None:
        """The packed log of this rollout, as far as it was stored.

        What was measured in an older rollout of the same revision, of another Canary, or with other parameters is no evidence in
        this one (promise P4).
        """
        run = await self._client.find(ours.ANALYSIS_RUNS, resolved.canary.namespace, run_name(resolved.canary.name, revision))
        rollout = resolved.canary.status.rollout
        if run is None or rollout is None or run.status.evidence is None:
            return None
        self._there[resolved.canary.metadata.uid] = run.name
        same = _spec(resolved, revision, rollout.started_at, parameters)
        return run.status.evidence.data if msgspec.to_builtins(run.spec) == same else None

    async def save(self, resolved: Resolved, revision: str, evidence: EvidenceLog, parameters: str) -> None:
        """Replaces what is stored, that of an earlier try of the same revision included."""
        canary, rollout = resolved.canary, resolved.canary.status.rollout
        if rollout is None:
            return
        name = run_name(canary.name, revision)
        verdict = canary.status.verdict
        status: dict[str, Any] = {
            "metrics": msgspec.to_builtins(canary.status.metrics),
            "updatedAt": stamp(self._now()),
            "evidence": {"encoding": "zlib+base64", "data": evidence.pack(), "ticks": evidence.ticks},
        }
        if verdict is not None and verdict.revision == revision:
            status["verdict"] = msgspec.to_builtins(verdict)
        spec = _spec(resolved, revision, rollout.started_at, parameters)
        patch = {"spec": spec, "status": status}
        uid = canary.metadata.uid
        if self._there.get(uid) == name or not await self._created(canary, self._body(resolved, revision, spec, status)):
            try:
                await self._client.merge_patch(ours.ANALYSIS_RUNS, canary.namespace, name, patch)
            except errors.NotFound:
                await self._created(canary, self._body(resolved, revision, spec, status))
        self._there[uid] = name

    async def templates(self, resolved: Resolved, revision: str) -> tuple[TemplateRun, ...]:
        """What the templates of this rollout measured, as far as it was stored; that of an earlier try is none of it."""
        run = await self._client.find(ours.ANALYSIS_RUNS, resolved.canary.namespace, run_name(resolved.canary.name, revision))
        rollout = resolved.canary.status.rollout
        stored = run.status.templates if run is not None else None
        if stored is None or rollout is None or stored.rollout_started_at != rollout.started_at:
            return ()
        return tuple(stored.runs)

    async def save_templates(self, resolved: Resolved, revision: str, runs: list[TemplateRun]) -> None:
        """Beside the evidence, in a patch of its own: neither write waits for, or undoes, the other."""
        canary, rollout = resolved.canary, resolved.canary.status.rollout
        if rollout is None:
            return
        stored = TemplateRuns(rollout_started_at=rollout.started_at, runs=runs)
        status: dict[str, Any] = {"templates": msgspec.to_builtins(stored), "updatedAt": stamp(self._now())}
        name = run_name(canary.name, revision)
        try:
            await self._client.merge_patch(ours.ANALYSIS_RUNS, canary.namespace, name, {"status": status})
        except errors.NotFound:
            body = self._body(resolved, revision, _spec(resolved, revision, rollout.started_at, ""), status)
            if not await self._created(canary, body):
                await self._client.merge_patch(ours.ANALYSIS_RUNS, canary.namespace, name, {"status": status})

    async def _created(self, canary: ours.Canary, body: dict[str, Any]) -> bool:
        """False where it is there already."""
        try:
            await self._client.create(ours.ANALYSIS_RUNS, canary.namespace, body)
        except errors.AlreadyExists:
            return False
        if len(canary.status.history) >= KEPT:  # one run a line of the history at most: before, there is none too many
            await self._prune(canary)
        return True

    def _body(self, resolved: Resolved, revision: str, spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
        canary = resolved.canary
        owner = {"apiVersion": names.API_VERSION, "kind": "Canary", "name": canary.name, "uid": canary.metadata.uid}
        return {
            "metadata": {
                "name": run_name(canary.name, revision),
                "namespace": canary.namespace,
                "labels": {names.OWNER: label_value(canary.name), names.REVISION: revision},
                "ownerReferences": [owner],
            },
            "spec": spec,
            "status": status,
        }

    async def _prune(self, canary: ours.Canary) -> None:
        page = await self._client.list(ours.ANALYSIS_RUNS, canary.namespace, label_selector=f"{names.OWNER}={label_value(canary.name)}")
        runs = sorted(page.items, key=lambda r: r.metadata.creation_timestamp or "", reverse=True)
        for run in runs[KEPT:]:
            await self._client.delete(ours.ANALYSIS_RUNS, canary.namespace, run.name, uid=run.metadata.uid)


def _spec(resolved: Resolved, revision: str, started_at: str, parameters: str) -> dict[str, Any]:
    """Of what the evidence is."""
    return {"canaryRef": {"name": resolved.canary.name}, "revision": revision, "startedAt": started_at, "parameters": parameters}


def parameters_of(config: JudgeConfig, metrics: tuple[AnyMetric, ...], sources: Mapping[str, str] | None = None) -> str:
    """What the judge was given, as JSON: the options, and for each metric the counters that were found to mean it, and whom they are of."""
    queries = {m.name: {**{str(role): str(s) for role, s in m.selectors.items()}, "arms": _arms(m)} for m in metrics}
    for name, source in (sources or {}).items():
        queries[name]["source"] = source
    text = msgspec.json.encode({"config": config, "queries": queries}, order="deterministic").decode()
    return text if len(text) <= PARAMETERS_LIMIT else msgspec.json.encode({"digest": hashlib.sha256(text.encode()).hexdigest()}).decode()


def _arms(metric: AnyMetric) -> dict[str, str]:
    return {arm: ",".join(str(m) for m in matchers) for arm, matchers in metric.arm_matchers.items()}


def run_name(canary: str, revision: str) -> str:
    return f"{canary}-{revision}"
