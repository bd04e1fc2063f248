"""`linnet aa`: how often Linnet would have been wrong about this very service, found by judging it against itself in hours gone by.

No release is needed and nothing is touched: pods of one version are told apart as if some of them were a canary. What comes out is the
share of wrong rollbacks, how long a proof takes, and how soon a version that fails more is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from daemon.cli.asking import Asked, asked_options
from daemon.cli.cluster import OK, Access, CliError, Cluster, access_options, deployment_name, dump, run, seconds

if TYPE_CHECKING:
    from analyzers.aa import Findings, Placebo
    from analyzers.collector import ArmTargets
    from analyzers.metrics import AnyMetric
    from analyzers.options import JudgeConfig
    from analyzers.sources.protocol import MetricSource
    from daemon.control.resolved import Resolved

DEADLINE: Final = 20.0
MOST_WINDOWS: Final = 400


@click.command()
@click.argument("target", metavar="deploy/NAME")
@access_options()
@asked_options
@click.option("--since", default="72h", show_default=True, callback=seconds, help="How far to look back.")
@click.option("--window", default="30m", show_default=True, callback=seconds, help="Length of one trial.")
@click.option("--interval", default="15s", show_default=True, callback=seconds, help="At which the pods were scraped.")
@click.option(
    "--worse-by", default=1.0, show_default=True, type=click.FloatRange(0.01, 50), metavar="PP", help="Errors added to see it found."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def aa(target: str, access: Access, asked: Asked, since: float, window: float, interval: float, worse_by: float, output: str) -> None:
    """Judge a service against itself, in windows of its past in which nothing was released, and say how often that went wrong.

    In each window one pod plays the canary, then half of them. Exit codes: 0; 1 where nothing could be compared, or where more windows
    than chance allows were rolled back.
    """

    async def body(cluster: Cluster) -> int:
        made = await _Trials(cluster, deployment_name(target), asked, interval).run(since, window, worse_by / 100)
        found, left_out, alpha = made
        if output == "json":
            import msgspec

            dump({"leftOut": left_out, "alpha": alpha, "trials": [msgspec.to_builtins(f) | {"trusted": f.trusted} for f in found]})
        else:
            click.echo(_table(deployment_name(target), found, left_out, alpha, (since, window, worse_by)))
        return OK if all(f.trusted for f in found) else 1

    run(access, body)


class _Trials:
    def __init__(self, cluster: Cluster, name: str, asked: Asked, interval: float) -> None:
        self._cluster, self._name, self._asked, self._interval = cluster, name, asked, interval

    async def run(self, since: float, length: float, excess: float) -> tuple[list[Findings], int, float]:
        """What became of each size of canary, how many windows were left out, and the share of mistakes that was promised."""
        from analyzers.aa import findings
        from analyzers.errors import AnalysisError
        from daemon.cli.past import means
        from daemon.control.http import Http
        from daemon.control.measuring import judge_config

        number = int(since // length)
        if number < 2 or number > MOST_WINDOWS or length < 8 * self._interval:
            raise CliError(
                f"--since {since:g}s holds {number} windows of {length:g}s: choose 2 to {MOST_WINDOWS} of them, each of 8 scrapes or more"
            )
        deployment = await self._cluster.deployment(self._cluster.namespace, self._name)
        http = Http()
        try:
            resolved, source = await means(self._cluster, deployment, http, asked=self._asked, interval=self._interval)
            metrics = await self._metrics(resolved, source)
            config = judge_config(resolved, metrics)
            placebos, left_out = await self._play(source, metrics, config, (number, length), excess)
        except AnalysisError as e:
            raise CliError(str(e)) from e
        finally:
            await http.close()
        if not placebos:
            raise CliError(
                f"nothing was compared: in none of {number} windows did two pods of one version serve throughout, with a window before"
            )
        sizes = ([p[i] for p in placebos] for i in range(2))
        return [findings(ones, alpha=config.alpha) for ones in sizes], left_out, config.alpha

    async def _play(
        self, source: MetricSource, metrics: tuple[AnyMetric, ...], config: JudgeConfig, windows: tuple[int, float], excess: float
    ) -> tuple[list[tuple[Placebo, Placebo]], int]:
        """Window by window; each teaches the next one, as the hour before a release does."""
        import time

        from analyzers.aa import chosen, one_version, play
        from analyzers.past import window

        number, length = windows
        end, before, found, left_out = time.time(), None, [], 0
        for k in range(number - 1, -1, -1):
            until = end - k * length
            seen = await window(source, metrics, self._arm(), until=until, seconds=length, scrape_seconds=self._interval)
            pods = one_version(seen)
            here = seen.only(pods) if pods else None
            if here is not None and before is not None:
                one, half = (chosen(pods, n, f"{until:.0f}") for n in (1, len(pods) // 2))
                found.append((play(config, before, here, one, excess=excess), play(config, before, here, half, excess=excess)))
            else:
                left_out += 1
            before = here
        return found, left_out

    async def _metrics(self, resolved: Resolved, source: MetricSource) -> tuple[AnyMetric, ...]:
        """Those of the spec that each pod counts: nothing else tells pods of one version apart."""
        import time

        from analyzers.collector import resolve
        from analyzers.metrics import HistogramMetric, RatioMetric
        from daemon.cli.past import told
        from daemon.control.measuring import candidates

        chosen, why = [], []
        for wanted in resolved.metrics:
            answer = await resolve(source, candidates(wanted, resolved), self._arm(), now=time.time(), deadline=DEADLINE)
            if isinstance(answer.metric, RatioMetric | HistogramMetric) and not answer.metric.arm_matchers:
                chosen.append(answer.metric)
            elif answer.metric is not None:
                why.append(f"{wanted.name}: not counted by the pods themselves")
            else:
                why.append(f"{wanted.name}: {told(answer)}")
        if not chosen:
            raise CliError(f"{self._name} cannot be judged against itself: {'; '.join(why) or 'the spec has no metric'}")
        return tuple(chosen)

    def _arm(self) -> ArmTargets:
        from analyzers.collector import BASELINE, ArmTargets
        from analyzers.metrics import Matcher, MatchOp

        pods = Matcher("pod", MatchOp.REGEX, f"{self._name}-[a-z0-9]+-[a-z0-9]+")
        return ArmTargets(name=BASELINE, matchers=(Matcher("namespace", MatchOp.EQUAL, self._cluster.namespace), pods))


def _table(name: str, found: list[Findings], left_out: int, alpha: float, asked: tuple[float, float, float]) -> str:
    since, window, worse_by = asked
    head = f"{name} against itself: {found[0].windows} windows of {window / 60:.3g} min in the last {since / 3600:.3g} h"
    lines = [
        head + (f", {left_out} left out (the first, and those with a release or with fewer than two pods)" if left_out else ""),
        "",
        f"{'canary':>12}  {'rolled back':>14}  {'proven fine after':>26}  {f'+{worse_by:g} pp stopped after':>26}",
    ]
    for f in found:
        proven, caught = (_median(*x, f.windows) for x in ((f.proven_minutes, f.proven), (f.caught_minutes, f.caught)))
        size, stopped = f"{f.canary_pods} of {f.pods} pods", f"{f.stopped} of {f.windows}"
        lines.append(f"{size:>12}  {stopped:>14}  {proven:>26}  {caught:>26}")
    return "\n".join([*lines, "", _said(found, alpha)])


def _median(minutes: float | None, seen: int, windows: int) -> str:
    return f"never ({windows} tried)" if minutes is None else f"{minutes:.1f} min ({seen} of {windows})"


def _said(found: list[Findings], alpha: float) -> str:
    worst = min(found, key=lambda f: f.chance)
    if worst.trusted:
        return f"At most {100 * alpha:g} % may be rolled back for nothing; these windows do not speak against that. Minutes are medians."
    return (
        f"At most {100 * alpha:g} % should be rolled back for nothing; so many are no chance ({100 * worst.chance:.2g} %). To blame: "
        f"{', '.join(worst.blamed)}. Widen rollbackIfWorseBy there, take the metric out, or use `mode: Observe` until pods are more alike."
    )
