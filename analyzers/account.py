"""What a stored verdict rests on, told from its evidence alone: how the counts grew, what decided, and when.

Everything is asked of the same judge that gave the verdict, by replay; `analyzers.otherwise` asks what would have changed it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from analyzers.errors import EvidenceError
from analyzers.evidence import Log, walk
from analyzers.options import Kind, MetricConfig
from analyzers.reasons import bound_in_force, compared
from analyzers.stats.interval import confidence_sequence
from analyzers.ticks import Action, Answer, MetricEvidence, Verdict

SLOW = 3.0
"""Standard errors by which the tails must differ before people are shown a bucket as the slow one."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One arm's share of events so far, with the interval that holds at every look (95 %)."""

    events: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        return self.events / self.total if self.total else None


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The release after one tick. `shares`: of each ratio, (canary, baseline)."""

    at: float
    weight: float
    action: Action
    verdict: Verdict
    log_e_worse: float
    log_e_fine: float
    shares: dict[str, tuple[Share, Share]]


class Buckets(msgspec.Struct, frozen=True, kw_only=True):
    """All requests of a histogram, per bucket (+Inf last), and the boundary at which the canary is furthest behind the baseline,
    or where it is nowhere `slow`, the one next to the baseline's p90.
    """

    edges: tuple[float, ...]
    canary: tuple[int, ...]
    baseline: tuple[int, ...]
    worst: float
    slower: tuple[float, float]
    slow: bool

    @property
    def words(self) -> str:
        """'5.9 % of the canary's requests took longer than 250 ms, 0.1 % of the baseline's'."""
        mine, theirs = (f"{_percent(v)} %" for v in self.slower)
        return f"{mine} of the canary's requests took longer than {duration(self.worst)}, {theirs} of the baseline's"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is told of one judged revision. `decided_by` is the metric that decided, or that is still missing."""

    verdict: Verdict
    action: Action
    reason: str
    decided_by: str
    decided_at: float | None
    needed_worse: float
    needed_fine: float
    points: tuple[Point, ...]
    metrics: tuple[MetricEvidence, ...]
    histograms: dict[str, Buckets]
    folded: int | None = None


def account(log: Log) -> Account:
    """The account of a stored log; its last tick of weight is what the verdict is read from."""
    answers: list[tuple[Point, Answer]] = []
    sums: dict[str, tuple[int, int, int, int]] = {}
    for entry, (tick, answer, _) in zip(log.entries, walk(log), strict=True):
        for metric in (m for m in log.config.metrics if m.kind is not Kind.RESTARTS):
            counts = entry.arms.get(metric.name)
            if counts is not None and counts.canary is not None and counts.baseline is not None and 0 < tick.weight < 100:
                a, b, c, d = sums.get(metric.name, (0, 0, 0, 0))
                sums[metric.name] = (
                    a + counts.canary.errors, b + counts.canary.requests, c + counts.baseline.errors, d + counts.baseline.requests,
                )  # fmt: skip
        answers.append((_point(tick.at, tick.weight, answer, sums), answer))
    if not answers:
        raise EvidenceError("the evidence log holds no tick: there is nothing to tell")
    place = _decisive(answers)
    point, answer = answers[place]
    return Account(
        verdict=answer.verdict,
        action=answer.action,
        reason=answer.reasons[0].text,
        decided_by=_decider(answer),
        decided_at=point.at if answer.verdict in {Verdict.PASS, Verdict.FAIL} else None,
        needed_worse=log.config.alpha,
        needed_fine=log.config.beta,
        points=tuple(p for p, _ in answers),
        metrics=answer.metrics,
        histograms={m.name: found for m in log.config.metrics if m.kind is Kind.HISTOGRAM and (found := _buckets(log, m)) is not None},
        folded=log.base.last_index if log.base is not None else None,
    )


def verdict_of(log: Log) -> Verdict:
    """What the log says of the release: bad news are final; good ones are those at the largest weight that was reached."""
    answers = [(_point(t.at, t.weight, a, {}), a) for t, a, _ in walk(log)]
    if not answers:
        raise EvidenceError("the evidence log holds no tick: there is no verdict to give")
    return answers[_decisive(answers)][1].verdict


def _point(at: float, weight: float, answer: Answer, sums: dict[str, tuple[int, int, int, int]]) -> Point:
    phi = {m.name: m.phi for m in answer.metrics}
    return Point(
        at=at,
        weight=weight,
        action=answer.action,
        verdict=answer.verdict,
        log_e_worse=answer.log_e_total,
        log_e_fine=min((m.log_e_fine for m in _proving(answer)), default=0.0),
        shares={name: (_share(a, b, phi[name]), _share(c, d, phi[name])) for name, (a, b, c, d) in sums.items()},
    )


def _share(events: int, total: int, phi: float) -> Share:
    low, high = confidence_sequence(events, total, phi=phi)
    return Share(events=events, total=total, low=low, high=high)


def _decisive(answers: Sequence[tuple[Point, Answer]]) -> int:
    """The tick that the verdict is read from."""
    peak = max((p.weight for p, _ in answers if p.weight < 100), default=0.0)
    for k, (_, answer) in enumerate(answers):
        if answer.verdict is Verdict.FAIL:
            return k
    passed = [k for k, (p, a) in enumerate(answers) if a.verdict is Verdict.PASS and p.weight >= peak]
    return passed[0] if passed else len(answers) - 1


def _decider(answer: Answer) -> str:
    """Named by the judge; of a proof the one that took longest, of a wait the one that lacks most."""
    if answer.reasons[0].metric:
        return answer.reasons[0].metric
    lacking = [m for m in answer.metrics if not m.fine_proven] or _proving(answer)
    return min(lacking, key=lambda m: m.log_e_fine).name if lacking else ""


def _proving(answer: Answer) -> list[MetricEvidence]:
    """Those whose proof a promotion waits for."""
    return [m for m in answer.metrics if m.kind != Kind.RESTARTS]


def _buckets(log: Log, metric: MetricConfig) -> Buckets | None:
    size = len(metric.edges) + 1
    totals = [np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)]
    for entry in log.entries:
        counts = entry.buckets.get(metric.name)
        if counts is None or not 0 < entry.weight < 100 or counts.canary is None or counts.baseline is None:
            continue
        totals = [totals[0] + np.array(counts.canary), totals[1] + np.array(counts.baseline)]
    n_c, n_b = (int(t.sum()) for t in totals)
    if not n_c or not n_b:
        return None
    tails = [t[::-1].cumsum()[::-1][1:] / t.sum() for t in totals]
    pooled = (tails[0] * n_c + tails[1] * n_b) / (n_c + n_b)
    spread = np.sqrt(np.maximum(pooled * (1.0 - pooled), 1e-9) * (1.0 / n_c + 1.0 / n_b))
    behind = (tails[0] - tails[1]) / spread
    slow = bool(behind.max() >= SLOW)
    j = int(np.argmax(behind)) if slow else int(np.argmin(np.abs(tails[1] - 0.1)))
    return Buckets(
        edges=metric.edges,
        canary=tuple(int(x) for x in totals[0]),
        baseline=tuple(int(x) for x in totals[1]),
        worst=metric.edges[j],
        slower=(float(tails[0][j]), float(tails[1][j])),
        slow=slow,
    )


# In words.


def lines(found: Account) -> tuple[str, ...]:
    """One line for each metric: both arms, the bound, the odds."""
    return tuple(_line(m, found.histograms.get(m.name)) for m in found.metrics)


def _line(m: MetricEvidence, buckets: Buckets | None) -> str:
    if not (m.ticks_used or m.canary_requests):
        return f"{m.name}: nothing could be compared"
    parts = [compared(m) if buckets is None else f"{m.name}: {buckets.words}"]
    parts += [said for said in (m.bound, bound_in_force(m)) if said]
    parts.append(f"{odds(max(m.log_e_worse, m.log_e_catastrophe))} against it, {odds(m.log_e_fine)} for it")
    return "; ".join(parts)


def odds(nats: float) -> str:
    """Log evidence as people read it: '2 400 : 1'; below even it is said the other way round."""
    if nats < -0.05:
        return f"1 : {_rounded(math.exp(min(-nats, 690.0)))}"
    return f"{_rounded(math.exp(min(nats, 690.0)))} : 1"


def _rounded(value: float) -> str:
    if value >= 1e6:
        return f"10^{math.floor(math.log10(value))}"
    return f"{float(f'{value:.2g}'):,.0f}".replace(",", " ") if value >= 10 else f"{value:.1f}".removesuffix(".0")


def duration(seconds: float | None) -> str:
    """250 ms, 1.5 s, 12 min."""
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return f"{seconds * 1000:g} ms"
    if seconds < 90:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def _percent(fraction: float) -> str:
    percent = 100.0 * fraction
    return f"{percent:.{0 if percent == 0 or percent >= 10 else 1 if percent >= 1 else 2}f}"
