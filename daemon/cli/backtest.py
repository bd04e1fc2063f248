"""`linnet backtest`: what Linnet would have said of releases that rolled before it was there, from the history of a Prometheus.

Old pods are compared with new ones over the time in which both served, by the judge of the daemon and through the same collector. A
native roll is short: after it there is nothing to compare with, so a release without fault often ends undecided, and that is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from daemon.cli.asking import Asked, asked_options
from daemon.cli.cluster import OK, Access, CliError, Cluster, access_options, deployment_name, dump, run, seconds

if TYPE_CHECKING:
    from analyzers.account import Account
    from analyzers.collector import ArmTargets, CollectedTick
    from analyzers.evidence import EvidenceLog
    from analyzers.metrics import AnyMetric
    from analyzers.options import JudgeConfig
    from analyzers.sources.protocol import MetricSource
    from daemon.control.resolved import Resolved
    from daemon.kube.objects import Deployment, ReplicaSet

STRIDE: Final = 300.0  # seconds of history a question
ROLL: Final = 3600.0  # the longest roll that is looked at
BOTH: Final = 50.0  # the weight told to the judge while both versions serve: a roll has no other
DEADLINE: Final = 20.0


@click.command()
@click.argument("target", metavar="deploy/NAME")
@access_options()
@click.option("--last", type=click.IntRange(1, 10), default=1, show_default=True, help="How many releases, newest first.")
@asked_options
@click.option("--interval", default="15s", show_default=True, callback=seconds, help="At which the pods were scraped.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def backtest(target: str, access: Access, last: int, asked: Asked, interval: float, output: str) -> None:
    """Say what Linnet would have done in the last releases of a Deployment, from Prometheus' history.

    Needs the Deployment's ReplicaSets and a Prometheus that scraped its pods with a `pod` label; neither the daemon nor a Canary. With
    a Canary its metrics and margins are taken, else Linnet's own. Exit codes: 0, or 1 where nothing could be compared.
    """

    async def body(cluster: Cluster) -> int:
        found = await _Backtest(cluster, deployment_name(target), asked, interval).run(last)
        if output == "json":
            dump(found)
        else:
            click.echo("\n\n".join(_told(one) for one in found))
        return OK if all("says" in one for one in found) else 1

    run(access, body)


def _told(one: dict[str, Any]) -> str:
    head = f"{one['release']}, from {one['from']}"
    if "says" not in one:
        return f"{head}\n  {one['why']}"
    return "\n".join([head, f"  {one['says']}", *(f"  {line}" for line in one["metrics"])])


class _Backtest:
    def __init__(self, cluster: Cluster, name: str, asked: Asked, interval: float) -> None:
        self._cluster, self._name, self._asked, self._interval = cluster, name, asked, interval

    async def run(self, last: int) -> list[dict[str, Any]]:
        from daemon.cli.past import means
        from daemon.control.http import Http

        deployment = await self._cluster.deployment(self._cluster.namespace, self._name)
        sets = await self._sets(deployment)
        if len(sets) < 2:
            raise CliError(f"Deployment {self._name} has one ReplicaSet only: there is no release in its history to look at")
        http = Http()
        try:
            resolved, source = await means(self._cluster, deployment, http, asked=self._asked, interval=self._interval)
            pairs = list(zip(sets[1:], sets, strict=False))[:last]  # (old, new), newest first
            return [await self._one(resolved, source, old, new) for old, new in pairs]
        finally:
            await http.close()

    async def _sets(self, deployment: Deployment) -> list[ReplicaSet]:
        """Newest first, by the native controller's own count."""
        from daemon.kube.resources import REPLICA_SETS

        page = await self._cluster.client.list(REPLICA_SETS, deployment.namespace)
        mine = [s for s in page.items if any(o.uid == deployment.metadata.uid for o in s.metadata.owner_references or ())]
        return sorted(mine, key=lambda s: int((s.metadata.annotations or {}).get("deployment.kubernetes.io/revision", "0")), reverse=True)

    async def _one(self, resolved: Resolved, source: MetricSource, old: ReplicaSet, new: ReplicaSet) -> dict[str, Any]:
        from analyzers.errors import AnalysisError

        image = new.spec.template and _image(new)
        told = {"release": f"{new.name}{f' ({image})' if image else ''} after {old.name}", "from": new.metadata.creation_timestamp or "?"}
        try:
            return told | await self._judged(resolved, source, old, new)
        except AnalysisError as e:
            return told | {"why": f"nothing can be said: {e}"}

    async def _judged(self, resolved: Resolved, source: MetricSource, old: ReplicaSet, new: ReplicaSet) -> dict[str, Any]:
        import time

        from analyzers.account import account, lines
        from analyzers.evidence import read
        from daemon.control.measuring import judge_config
        from daemon.rollout.clock import epoch

        arms = (_arm("canary", new), _arm("baseline", old))
        begin = epoch(new.metadata.creation_timestamp or "")
        end = min(time.time(), begin + ROLL)
        metrics, missing = await self._metrics(resolved, source, arms, begin)
        if not metrics:
            return {"why": f"nothing was compared: {missing}"}
        ticks = await self._ticks(source, metrics, arms, (begin, end))
        log = _fed(judge_config(resolved, metrics), ticks, resolved)
        if log is None:
            return {"why": "nothing was compared: at no scrape did both versions answer (the roll was quicker, or the history is gone)"}
        found = account(read(log.pack()))
        return {
            "says": _says(found, log.ticks * self._interval),
            "verdict": found.verdict,
            "metrics": list(lines(found)),
            "missing": missing,
        }

    async def _metrics(
        self, resolved: Resolved, source: MetricSource, arms: tuple[ArmTargets, ArmTargets], begin: float
    ) -> tuple[tuple[AnyMetric, ...], str]:
        """What the spec's metrics meant at that time; those that were not counted then are left out, and named."""
        from analyzers.collector import resolve
        from daemon.cli.past import told
        from daemon.control.measuring import candidates

        chosen, missing = [], []
        for metric in resolved.metrics:
            at = begin + 4 * self._interval
            answer = await resolve(source, candidates(metric, resolved), arms[1], now=at, deadline=DEADLINE)
            if answer.metric is not None:
                chosen.append(answer.metric)
            else:
                missing.append(f"{metric.name}: {told(answer)}")
        return tuple(chosen), "; ".join(missing)

    async def _ticks(
        self, source: MetricSource, metrics: tuple[AnyMetric, ...], arms: tuple[ArmTargets, ArmTargets], span: tuple[float, float]
    ) -> list[CollectedTick]:
        """The daemon's collector, led through the past until the old pods are gone."""
        from analyzers.collector import Collector

        begin, end = span
        collector = Collector(source, metrics, scrape_seconds=self._interval, last_index=int(begin // self._interval))
        found: list[CollectedTick] = []
        now, met = begin, False
        while now < end:
            now = min(now + STRIDE, end)
            fresh = (await collector.collect(now, arms, deadline=DEADLINE)).ticks
            found += fresh
            both = any(_both(t) for t in fresh)
            if met and not both:
                break
            met = met or both
        return found


def _image(item: ReplicaSet) -> str:
    import msgspec

    template = msgspec.json.decode(item.spec.template)
    containers = (template.get("spec") or {}).get("containers") or [{}]
    return str(containers[0].get("image", ""))


def _arm(name: str, item: ReplicaSet) -> ArmTargets:
    from analyzers.collector import ArmTargets
    from analyzers.metrics import Matcher, MatchOp

    pods = Matcher("pod", MatchOp.REGEX, f"{item.name}-[a-z0-9]+")
    return ArmTargets(name=name, matchers=(Matcher("namespace", MatchOp.EQUAL, item.namespace), pods))


def _both(tick: CollectedTick) -> bool:
    """Whether both versions answered requests in it."""
    arms = [(c.canary, c.baseline) for c in tick.arms.values()]
    counted = any(c is not None and b is not None and c.requests and b.requests for c, b in arms)
    return counted or any(b.canary and b.baseline and sum(b.canary) and sum(b.baseline) for b in tick.buckets.values())


def _fed(config: JudgeConfig, ticks: list[CollectedTick], resolved: Resolved) -> EvidenceLog | None:
    """The judge's word on each scrape from the first to the last at which both versions served."""
    from analyzers.evidence import EvidenceLog
    from analyzers.judge import Judge
    from analyzers.ticks import Verdict

    places = [k for k, t in enumerate(ticks) if _both(t)]
    if not places:
        return None
    judge, log = Judge(config), EvidenceLog(config)
    replicas = max(1, (resolved.deployment.spec.replicas if resolved.deployment is not None else None) or 1)
    for one in ticks[places[0] : places[-1] + 1]:
        tick = one.tick(weight=BOTH, units=(replicas, replicas))
        answer = judge.tick(tick)
        log.append(tick, answer)
        if answer.verdict is Verdict.FAIL:
            break
    return log


def _says(found: Account, exposed: float) -> str:
    from analyzers.account import duration
    from analyzers.ticks import Verdict

    if found.verdict is Verdict.FAIL:
        return f"Linnet would have rolled it back after {duration(exposed)}: {found.reason}"
    if found.verdict is Verdict.PASS:
        return f"Linnet would have promoted it: {found.reason}"
    return (
        f"Linnet would not have stopped it; nothing spoke against it in the {duration(exposed)} in which both versions served, "
        "too little to prove it fine (a canary is given the time that takes)"
    )
