"""`linnet plan`: how long a release of this service will take at each share, and what can be noticed at all, before anything is tried."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import click

from daemon.cli.asking import Asked, asked_options
from daemon.cli.cluster import OK, Access, CliError, Cluster, access_options, deployment_name, dump, run

if TYPE_CHECKING:
    from analyzers.planner import Plan
    from analyzers.usage import Usage
    from daemon.kube.objects import Deployment

SHARES: Final = (1, 5, 10, 25, 50)
WINDOW: Final = 900.0  # seconds of traffic that the plan is made for
DEADLINE: Final = 20.0


@click.command()
@click.argument("target", metavar="deploy/NAME")
@access_options()
@asked_options
@click.option(
    "--worse-by", default=1.0, show_default=True, type=click.FloatRange(0.01, 50), metavar="PP", help="Excess of errors to notice."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def plan(target: str, access: Access, asked: Asked, worse_by: float, output: str) -> None:
    """Say how long a release will take, from the last quarter of an hour of the service's own traffic.

    For each share of the traffic: the canary requests and minutes until a version that fails so much more is stopped, and until one as
    good as stable is proven. Needs neither the daemon nor a Canary. Exit codes: 0, or 1 where the traffic cannot be measured.
    """

    async def body(cluster: Cluster) -> int:
        used, found = await _planned(cluster, deployment_name(target), asked, worse_by / 100)
        if output == "json":
            import msgspec

            dump({"requestsPerSecond": used.per_second, "errorRatio": used.error_ratio, "shares": msgspec.to_builtins(found)})
        else:
            click.echo(_table(deployment_name(target), used, found, worse_by))
        return OK

    run(access, body)


async def _planned(cluster: Cluster, name: str, asked: Asked, excess: float) -> tuple[Usage, list[Plan]]:
    import msgspec

    from analyzers import planner
    from analyzers.errors import AnalysisError
    from daemon.cli.past import means
    from daemon.control.http import Http
    from daemon.control.measuring import is_error_ratio, judge_config
    from daemon.rollout.steps import plan_of

    deployment = await cluster.deployment(cluster.namespace, name)
    http = Http()
    try:
        resolved, source = await means(cluster, deployment, http, asked=asked, interval=None)
        metric, used = await _traffic(resolved, source, deployment)
        if not is_error_ratio(metric):
            raise CliError("the spec has no metric that counts failed requests: the planner has nothing to plan with")
        config = judge_config(resolved, (metric,))
        config = msgspec.structs.replace(config, deadline_seconds=plan_of(resolved.spec, gitops=False).deadline)
        rate = min(0.99, used.error_ratio)
        return used, [planner.plan(config, share / 100, used.per_second, rate, excess=excess) for share in SHARES]
    except AnalysisError as e:
        raise CliError(str(e)) from e
    finally:
        await http.close()


async def _traffic(resolved: Any, source: Any, deployment: Deployment) -> tuple[Any, Usage]:
    """The first metric of the spec that counts requests, and what it counted lately."""
    import time

    from analyzers.collector import BASELINE, ArmTargets, resolve
    from analyzers.metrics import Matcher, MatchOp, RatioMetric
    from analyzers.sources.protocol import Query, Samples
    from analyzers.usage import usage
    from daemon.cli.past import told
    from daemon.control.measuring import candidates

    pods = Matcher("pod", MatchOp.REGEX, f"{deployment.name}-[a-z0-9]+-[a-z0-9]+")
    arm = ArmTargets(name=BASELINE, matchers=(Matcher("namespace", MatchOp.EQUAL, deployment.namespace), pods))
    now, why = time.time(), []
    for wanted in resolved.metrics:
        answer = await resolve(source, candidates(wanted, resolved), arm, now=now, deadline=DEADLINE)
        if not isinstance(answer.metric, RatioMetric):
            why.append(told(answer))
            continue
        roles = [answer.metric.total, answer.metric.errors]
        queries = [Query(selector=s.where(answer.metric.arm_matchers.get(BASELINE, arm.matchers))) for s in roles]
        total, errors = await source.fetch(queries, at=now, window=WINDOW, deadline=DEADLINE)
        used = usage(total.series, errors.series if isinstance(errors, Samples) else ()) if isinstance(total, Samples) else None
        if used is not None and used.per_second > 0:
            return answer.metric, used
        why.append(f"{wanted.name}: no requests in the last {WINDOW / 60:.0f} minutes")
    raise CliError(f"the traffic of {deployment.name} cannot be measured: {'; '.join(w for w in why if w) or 'no metric counts requests'}")


def _table(name: str, used: Usage, found: list[Plan], worse_by: float) -> str:
    lines = [
        f"{name}: {used.per_second:.3g} requests/s, {100 * used.error_ratio:.2g} % of them fail",
        "",
        f"{'share':>6}  {f'+{worse_by:g} pp is stopped after':>28}  {'an equal one is proven after':>28}",
    ]
    for one in found:
        stop, prove = (_after(*pair) for pair in ((one.detect_requests, one.detect_minutes), (one.prove_requests, one.prove_minutes)))
        late = "" if one.fits else "  later than analysis.deadline"
        lines.append(f"{one.share_percent:>4g} %  {stop:>28}  {prove:>28}{late}")
    least = found[0].least_share
    said = f"The smallest share that is proven in time is {least} %." if least else "At this traffic no share up to 50 % is proven in time."
    return "\n".join([*lines, "", f"Canary requests, on average; twice that in one release of ten. {said}"])


def _after(requests: float | None, minutes: float | None) -> str:
    if requests is None or minutes is None:
        return "never"
    size = 10 ** max(0, math.floor(math.log10(max(requests, 1))) - 1)
    count = f"{round(requests / size) * size:,.0f}".replace(",", " ")
    return f"{count} requests, {_minutes(minutes)}"


def _minutes(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
