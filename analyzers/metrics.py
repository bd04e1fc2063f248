"""What a judged metric is: which counters are errors, which are everything, and how to tell the arms apart.

Margins are written as people say them ("0.5pp", "10%", "1.1x").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

from analyzers.errors import ConfigError
from analyzers.margins import read as read_margin
from analyzers.options import Kind, MetricConfig, Worse, check_margins, restarts
from analyzers.series import Role
from analyzers.stats.ratio import TOLERATED, UNACCEPTABLE, Margin

SLOWER: Final = Margin(ratio=1.05, slack=0.0)
COSTLIER: Final = Margin(ratio=1.10, slack=0.0)
TOO_SLOW: Final = Margin(ratio=1.25, slack=0.0)
POD_RESTARTS: Final = "kube_pod_container_status_restarts_total"
"""As kube-state-metrics calls what a pod's status says: the name for dashboards."""
POD_SECONDS: Final = "pod_seconds_total"


class MatchOp(StrEnum):
    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


class Matcher(msgspec.Struct, frozen=True):
    """One condition on one label; an absent label is the empty string, as in PromQL."""

    label: str
    op: MatchOp
    value: str

    def accepts(self, labels: Mapping[str, str]) -> bool:
        have = labels.get(self.label, "")
        if self.op in {MatchOp.EQUAL, MatchOp.NOT_EQUAL}:
            return (have == self.value) is (self.op is MatchOp.EQUAL)
        return (_regex(self.value).fullmatch(have) is not None) is (self.op is MatchOp.REGEX)

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.label}{self.op.value}"{escaped}"'


class Selector(msgspec.Struct, frozen=True):
    """A counter and the conditions on its labels: the subset of PromQL whose raw samples can be read."""

    name: str
    matchers: tuple[Matcher, ...] = ()

    def accepts(self, labels: Mapping[str, str]) -> bool:
        return all(m.accepts(labels) for m in self.matchers)

    def where(self, matchers: Iterable[Matcher]) -> Selector:
        """The same counter, narrowed further."""
        return Selector(self.name, (*self.matchers, *matchers))

    def __str__(self) -> str:
        return f"{self.name}{{{','.join(str(m) for m in self.matchers)}}}" if self.matchers else self.name


_NAME: Final = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s*", re.DOTALL)
_MATCHER: Final = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)', re.DOTALL)


@lru_cache(maxsize=512)
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII | re.DOTALL)


def parse_selector(text: str, *, field: str = "selector") -> Selector:
    """Read `http_requests_total{code=~"5.."}`; functions and aggregations are refused, raw samples are what is judged."""
    whole = _NAME.fullmatch(text)
    if whole is None:
        raise ConfigError(
            f'{field} is {text!r}: give one counter with label conditions, as in http_requests_total{{code=~"5.."}}, without rate() or sum()'
        )
    matchers, rest = [], whole.group(2) or ""
    while rest.strip():
        found = _MATCHER.match(rest)
        if found is None:
            raise ConfigError(f'{field} is {text!r}: cannot read {rest.strip()!r}; conditions look like label="value" with =, !=, =~ or !~')
        label, op, value = found.groups()
        matchers.append(_matcher(label, MatchOp(op), _unescape(value), field))
        rest = rest[found.end() :]
    return Selector(whole.group(1), tuple(matchers))


def _matcher(label: str, op: MatchOp, value: str, field: str) -> Matcher:
    if op in {MatchOp.REGEX, MatchOp.NOT_REGEX}:
        try:
            _regex(value)
        except re.error as error:
            raise ConfigError(f"{field}: {value!r} is not a regular expression: {error}") from error
    return Matcher(label, op, value)


def _unescape(value: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m.group(1), m.group(1)), value)


class _Metric(msgspec.Struct, frozen=True, kw_only=True):
    """What all kinds have. `arm_matchers` replaces the arms' own matchers where the counter is not the application's (a
    router that counts per backend). `lag` is how long after an exposure its outcome is known.
    """

    name: str
    tolerated: Margin = TOLERATED
    unacceptable: Margin = UNACCEPTABLE
    weight: float = 1.0
    lag: float = 0.0
    arm_matchers: dict[str, tuple[Matcher, ...]] = msgspec.field(default_factory=dict)

    @property
    def selectors(self) -> dict[str, Selector]:
        """What is asked, by what it is to the metric; the first says whether a service has the metric at all."""
        raise NotImplementedError

    @property
    def anchor(self) -> Selector:
        return next(iter(self.selectors.values()))

    def where(self, role: str, arm: str, matchers: tuple[Matcher, ...]) -> Selector:
        """What is asked of one arm."""
        return self.selectors[role].where(self.arm_matchers.get(arm, matchers))

    def _config(self, kind: Kind, **more: Any) -> MetricConfig:
        return MetricConfig(
            name=self.name, kind=kind, weight=self.weight, tolerated=self.tolerated, unacceptable=self.unacceptable, lag=self.lag, **more
        )


class RatioMetric(_Metric, frozen=True, kw_only=True):
    """Errors of all: two counters of the same scope. `worse` is lower where the counted outcome is a wanted one (orders)."""

    errors: Selector
    total: Selector
    worse: Worse = Worse.HIGHER

    @property
    def selectors(self) -> dict[str, Selector]:
        return {Role.TOTAL: self.total, Role.ERRORS: self.errors}

    def config(self, *, history_phi: float | None = None, usual_rate: float | None = None) -> MetricConfig:
        """The part the judge needs."""
        return self._config(Kind.RATIO, worse=self.worse, history_phi=history_phi, usual_rate=usual_rate)


class HistogramMetric(_Metric, frozen=True, kw_only=True):
    """Latency or size: the `_bucket` counter of a classic histogram. `edges` are the bounds that are compared, found in the source."""

    buckets: Selector
    edges: tuple[float, ...] = ()
    tolerated: Margin = SLOWER
    unacceptable: Margin = TOO_SLOW
    weight: float = 0.875

    @property
    def selectors(self) -> dict[str, Selector]:
        return {Role.BUCKETS: self.buckets}

    def config(self) -> MetricConfig:
        return self._config(Kind.HISTOGRAM, edges=self.edges)


class UsageMetric(_Metric, frozen=True, kw_only=True):
    """What a request takes: seconds of CPU by requests, both counted by the same pods."""

    used: Selector
    total: Selector
    tolerated: Margin = COSTLIER
    unacceptable: Margin = TOO_SLOW
    weight: float = 0.375

    @property
    def selectors(self) -> dict[str, Selector]:
        return {Role.TOTAL: self.total, Role.USED: self.used}

    def config(self) -> MetricConfig:
        return self._config(Kind.GAUGE)


class GaugeMetric(_Metric, frozen=True, kw_only=True):
    """A value per pod, such as the length of a queue: the mean over an arm's pods must not grow. What is below `floor` is as good as that:
    an empty queue can be compared with another one only so.
    """

    value: Selector
    tolerated: Margin = COSTLIER
    unacceptable: Margin = TOO_SLOW
    weight: float = 0.375
    floor: float = 0.0

    @property
    def selectors(self) -> dict[str, Selector]:
        return {Role.VALUE: self.value}

    def config(self) -> MetricConfig:
        return self._config(Kind.GAUGE)


class RestartMetric(_Metric, frozen=True, kw_only=True):
    """How often an arm's pods restart, in the time that they are there; margins are its own. Told by the pods' status, not by a server."""

    restarts: Selector = Selector(POD_RESTARTS)
    seconds: Selector = Selector(POD_SECONDS)

    @property
    def selectors(self) -> dict[str, Selector]:
        return {Role.TOTAL: self.seconds, Role.ERRORS: self.restarts}

    def config(self) -> MetricConfig:
        return restarts(self.name)


AnyMetric: TypeAlias = RatioMetric | HistogramMetric | UsageMetric | GaugeMetric | RestartMetric


def traefik_arms(services: Mapping[str, str]) -> dict[str, tuple[Matcher, ...]]:
    """Arms as Traefik's `service` label tells them apart, e.g. {"canary": "shop-checkout-canary-80@kubernetesgateway"}."""
    return {arm: (Matcher("service", MatchOp.EQUAL, service),) for arm, service in services.items()}


def parse_margin(text: str, *, field: str) -> Margin:
    """`0.5pp` is an absolute excess, `10%` and `1.1x` are relative; joined with + ("1.1x+0.02pp") both apply."""
    try:
        ratio, slack = read_margin(text)
    except ValueError as e:
        raise ConfigError(f"{field} is {e}") from e
    return Margin(ratio=ratio, slack=slack)


def margins(rollback_if_worse_by: str | None, promote_if_within: str | None, *, name: str = "errors") -> tuple[Margin, Margin]:
    """(tolerated, unacceptable). When only the first is given, promotion asks for a bound about twice as wide."""
    tolerated = (
        TOLERATED if rollback_if_worse_by is None else parse_margin(rollback_if_worse_by, field=f"metrics[{name}].rollbackIfWorseBy")
    )
    if promote_if_within is not None:
        unacceptable = parse_margin(promote_if_within, field=f"metrics[{name}].promoteIfWithin")
    elif rollback_if_worse_by is None:
        unacceptable = UNACCEPTABLE
    else:
        unacceptable = Margin(
            ratio=max(UNACCEPTABLE.ratio, 2.0 * tolerated.ratio - 1.0), slack=max(UNACCEPTABLE.slack, 2.0 * tolerated.slack)
        )
    check_margins(name, tolerated, unacceptable)
    return tolerated, unacceptable
