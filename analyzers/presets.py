"""Golden signals by name: what a service or its router counts, under the names that client libraries and routers give it.

A preset is a list of conventions, best first; the series that a service has decide which one is meant. What a convention
gives is an ordinary metric of selectors, which can be printed as PromQL and put into a dashboard beside the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from analyzers.errors import ConfigError
from analyzers.metrics import (
    COSTLIER,
    POD_RESTARTS,
    POD_SECONDS,
    SLOWER,
    TOO_SLOW,
    AnyMetric,
    GaugeMetric,
    HistogramMetric,
    Matcher,
    RatioMetric,
    RestartMetric,
    Selector,
    UsageMetric,
    parse_selector,
)
from analyzers.series import Role
from analyzers.stats.ratio import TOLERATED, UNACCEPTABLE, Margin

Kind = Literal["ratio", "histogram", "usage", "age", "restarts"]
OLDER: Final = Margin(ratio=1.5, slack=0.0)
TOO_OLD: Final = Margin(ratio=2.0, slack=0.0)
AGE_FLOOR: Final = 1.0
"""Seconds: nobody waits in a queue whose oldest message is younger."""
DEFAULTS: Final[Mapping[Kind, tuple[Margin, Margin]]] = {
    "ratio": (TOLERATED, UNACCEPTABLE),
    "histogram": (SLOWER, TOO_SLOW),
    "usage": (COSTLIER, TOO_SLOW),
    "age": (OLDER, TOO_OLD),
    "restarts": (TOLERATED, UNACCEPTABLE),
}


class Convention(msgspec.Struct, frozen=True, kw_only=True):
    """One way of counting. `tried` is what the tests hold it against, empty where nothing real was at hand.

    `router`: counted by this router for each backend, so that the arms are told apart by its labels and not by pods.
    `native`: the series are native histograms, which count by themselves.
    """

    name: str
    selectors: Mapping[str, str]
    tried: str = ""
    router: str = ""
    native: bool = False


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    kind: Kind
    purpose: str
    conventions: tuple[Convention, ...]


def _errors(counter: str, label: str, name: str, **more: str | bool) -> Convention:
    """`label!=""` in the total makes a convention apply only where the label exists."""
    selectors = {Role.TOTAL: f'{counter}{{{label}!=""}}', Role.ERRORS: f'{counter}{{{label}=~"5.."}}'}
    return msgspec.convert({"name": name, "selectors": selectors, **more}, Convention)


GRPC_FAULTS: Final = "Unknown|DeadlineExceeded|Unimplemented|Internal|Unavailable|DataLoss"
"""The codes that speak of the server; the others (NotFound, InvalidArgument, ...) are answers. Some libraries write them in capitals."""
_GRPC_CAPITALS: Final = "UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"
_GRPC_NUMBERS: Final = "2|4|12|13|14|15"
_ENVOY: Final = 'envoy_http_conn_manager_prefix!="admin"'


def _grpc(counter: str, label: str, faults: str, name: str, tried: str = "") -> Convention:
    selectors: dict[str, str] = {Role.TOTAL: f'{counter}{{{label}!=""}}', Role.ERRORS: f'{counter}{{{label}=~"{faults}"}}'}
    return Convention(name=name, selectors=selectors, tried=tried)


_TRAEFIK_ERRORS: Final = _errors(
    "traefik_service_requests_total", "code", "Traefik, per backend service", tried="Traefik", router="Traefik"
)
_ENVOY_ERRORS: Final = (
    Convention(
        name="Envoy as Contour sets it up, per backend cluster",
        selectors={
            Role.TOTAL: 'envoy_cluster_upstream_rq_xx{envoy_response_code_class!=""}',
            Role.ERRORS: 'envoy_cluster_upstream_rq_xx{envoy_response_code_class="5"}',
        },
        tried="Envoy",
        router="Envoy",
    ),
    Convention(
        name="Envoy as Istio sets it up, per backend cluster",
        selectors={
            Role.TOTAL: 'envoy_cluster_upstream_rq{response_code_class!=""}',
            Role.ERRORS: 'envoy_cluster_upstream_rq{response_code_class="5xx"}',
        },
        tried="Envoy",
        router="IstioEnvoy",
    ),
)
_ENVOY_LATENCIES: Final = (
    Convention(
        name="Envoy as Contour sets it up, per backend cluster (milliseconds)",
        selectors={Role.BUCKETS: 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name!=""}'},
        tried="Envoy",
        router="Envoy",
    ),
    Convention(
        name="Envoy as Istio sets it up, per backend cluster (milliseconds)",
        selectors={Role.BUCKETS: 'envoy_cluster_upstream_rq_time_bucket{cluster_name!=""}'},
        tried="Envoy",
        router="IstioEnvoy",
    ),
)
_LIBRARY: Final = "prometheus-client"
_OTEL: Final = "OpenTelemetry's SDK and aiohttp instrumentation"
_INTERCEPTOR: Final = "py-grpc-prometheus"
_OTLP: Final = "Prometheus, sent to it by OTLP"
PRESETS: Final[Mapping[str, Preset]] = {
    "HTTPErrorRatio": Preset(
        kind="ratio",
        purpose="Requests answered with 5xx, of all.",
        conventions=(
            _errors("http_requests_total", "code", "client libraries, label code", tried=_LIBRARY),
            _errors("http_requests_total", "status", "client libraries, label status", tried=_LIBRARY),
            _errors("http_requests_total", "status_code", "client libraries, label status_code", tried=_LIBRARY),
            _errors("http_server_request_duration_seconds_count", "http_response_status_code", "OpenTelemetry", tried=_OTEL),
            _errors("http_server_request_duration_seconds", "http_response_status_code", "OpenTelemetry, native histogram", tried=_OTLP, native=True),
            _errors("http_server_duration_milliseconds_count", "http_status_code", "OpenTelemetry, before its conventions were stable", tried=_OTEL),
            _errors("http_server_requests_seconds_count", "status", "Spring Boot, Micrometer"),
            _errors("http_request_duration_seconds_count", "code", "request durations by code", tried=_LIBRARY),
            _errors("http_request_duration_seconds_count", "status", "request durations by status", tried=_LIBRARY),
            _errors("http_request_duration_seconds_count", "status_code", "request durations by status_code (express-prom-bundle)", tried=_LIBRARY),
            Convention(
                name="Envoy beside the app",
                selectors={
                    Role.TOTAL: f'envoy_http_downstream_rq_xx{{{_ENVOY},envoy_response_code_class!=""}}',
                    Role.ERRORS: f'envoy_http_downstream_rq_xx{{{_ENVOY},envoy_response_code_class="5"}}',
                },
                tried="Envoy",
            ),
            _TRAEFIK_ERRORS,
            *_ENVOY_ERRORS,
            Convention(
                name="Istio's telemetry, at the client",
                selectors={
                    Role.TOTAL: 'istio_requests_total{reporter="source",response_code!=""}',
                    Role.ERRORS: 'istio_requests_total{reporter="source",response_code=~"5.."}',
                },
                router="Istio",
            ),
        ),
    ),
    "HTTPLatency": Preset(
        kind="histogram",
        purpose="How long requests take: the whole distribution must not move up.",
        conventions=(
            Convention(
                name="client libraries", selectors={Role.BUCKETS: "http_request_duration_seconds_bucket"}, tried=_LIBRARY
            ),
            Convention(name="OpenTelemetry", selectors={Role.BUCKETS: "http_server_request_duration_seconds_bucket"}, tried=_OTEL),
            Convention(
                name="OpenTelemetry, native histogram",
                selectors={Role.BUCKETS: "http_server_request_duration_seconds"},
                tried=_OTLP,
                native=True,
            ),
            Convention(
                name="OpenTelemetry, before its conventions were stable",
                selectors={Role.BUCKETS: "http_server_duration_milliseconds_bucket"},
                tried=_OTEL,
            ),
            Convention(name="Spring Boot, Micrometer", selectors={Role.BUCKETS: "http_server_requests_seconds_bucket"}),
            Convention(
                name="Envoy beside the app (milliseconds)",
                selectors={Role.BUCKETS: f"envoy_http_downstream_rq_time_bucket{{{_ENVOY}}}"},
                tried="Envoy",
            ),
            Convention(
                name="Traefik, per backend service",
                selectors={Role.BUCKETS: "traefik_service_request_duration_seconds_bucket"},
                tried="Traefik",
                router="Traefik",
            ),
            *_ENVOY_LATENCIES,
            Convention(
                name="Istio's telemetry, at the client (milliseconds)",
                selectors={Role.BUCKETS: 'istio_request_duration_milliseconds_bucket{reporter="source"}'},
                router="Istio",
            ),
        ),
    ),
    "GRPCErrorRatio": Preset(
        kind="ratio",
        purpose="Calls that ended in a fault of the server (Unknown, DeadlineExceeded, Unimplemented, Internal, Unavailable, DataLoss), of all.",
        conventions=(
            _grpc("grpc_server_handled_total", "grpc_code", f"{GRPC_FAULTS}|{_GRPC_CAPITALS}", "gRPC interceptors", _INTERCEPTOR),
            _grpc("grpc_server_handled_total", "code", f"{GRPC_FAULTS}|{_GRPC_CAPITALS}", "older gRPC interceptors", _INTERCEPTOR),
            _grpc("rpc_server_duration_milliseconds_count", "rpc_grpc_status_code", _GRPC_NUMBERS, "OpenTelemetry"),
        ),
    ),
    "GRPCLatency": Preset(
        kind="histogram",
        purpose="How long calls take: the whole distribution must not move up.",
        conventions=(
            Convention(
                name="gRPC interceptors", selectors={Role.BUCKETS: "grpc_server_handling_seconds_bucket"}, tried=_INTERCEPTOR
            ),
            Convention(name="OpenTelemetry", selectors={Role.BUCKETS: "rpc_server_duration_milliseconds_bucket"}),
        ),
    ),
    "CPUPerRequest": Preset(
        kind="usage",
        purpose="Seconds of CPU that a request takes, as the process counts them.",
        conventions=(
            Convention(
                name="client libraries",
                selectors={Role.TOTAL: "http_requests_total", Role.USED: "process_cpu_seconds_total"},
                tried=_LIBRARY,
            ),
            Convention(
                name="OpenTelemetry and process metrics",
                selectors={Role.TOTAL: "http_server_request_duration_seconds_count", Role.USED: "process_cpu_seconds_total"},
            ),
        ),
    ),
    "QueueAge": Preset(
        kind="age",
        purpose="The age of the oldest message that a worker has not done yet, in seconds, as each worker says it. Only where versions have "
        "queues or partitions of their own: what both take from has one age, and nothing to compare.",
        conventions=(
            Convention(name="workers, by their own word", selectors={Role.VALUE: "queue_oldest_message_age_seconds"}, tried=_LIBRARY),
            Convention(name="Sidekiq, by Yabeda", selectors={Role.VALUE: "sidekiq_queue_latency"}),
        ),
    ),
    "Restarts": Preset(
        kind="restarts",
        purpose="How often containers restart, killed for their memory or otherwise ended, in the time that their pods are there. It ends a "
        "release and promotes none; its margins are its own (a tenth more than the baseline's, and one in an hour of a pod).",
        conventions=(
            Convention(
                name="the pods' own status, no server needed (as PromQL: kube-state-metrics)",
                selectors={Role.TOTAL: POD_SECONDS, Role.ERRORS: POD_RESTARTS},
                tried="Kubernetes",
            ),
        ),
    ),
    "TraefikErrorRatio": Preset(kind="ratio", purpose="Requests answered with 5xx, as the router counts them.", conventions=(_TRAEFIK_ERRORS,)),
    "EnvoyErrorRatio": Preset(
        kind="ratio", purpose="Answers with 5xx, as the Envoy before the Service counts its tries.", conventions=_ENVOY_ERRORS
    ),
    "EnvoyLatency": Preset(
        kind="histogram", purpose="How long backends take to answer, as the Envoy before the Service measures it.", conventions=_ENVOY_LATENCIES
    ),
}  # fmt: skip


def preset_metrics(
    preset: str,
    *,
    name: str = "errors",
    margins: tuple[Margin, Margin] | None = None,
    lag: float = 0.0,
    arms: Mapping[str, tuple[Matcher, ...]] | None = None,
    router_arms: Mapping[str, Mapping[str, tuple[Matcher, ...]]] | None = None,
) -> tuple[AnyMetric, ...]:
    """The preset's candidates, best first. `arms` are the owner's own labels for all of them; `router_arms` those of each router's
    counters.
    """
    found = PRESETS.get(preset)
    if found is None:
        raise ConfigError(f"metrics[{name}].preset is {preset!r}: this version knows {', '.join(sorted(PRESETS))}")
    routers = router_arms or {}

    def own(convention: Convention) -> Mapping[str, tuple[Matcher, ...]]:
        return arms or routers.get(convention.router, {})

    return tuple(metric_of(found, c, name=name, margins=margins, lag=lag, arms=own(c)) for c in found.conventions)


def metric_of(
    preset: Preset,
    convention: Convention,
    *,
    name: str,
    margins: tuple[Margin, Margin] | None = None,
    lag: float = 0.0,
    arms: Mapping[str, tuple[Matcher, ...]] | None = None,
) -> AnyMetric:
    tolerated, unacceptable = margins or DEFAULTS[preset.kind]
    picked = {role: parse_selector(text) for role, text in convention.selectors.items()}
    common = {"name": name, "tolerated": tolerated, "unacceptable": unacceptable, "lag": lag, "arm_matchers": dict(arms or {})}
    match preset.kind:
        case "ratio":
            return RatioMetric(errors=picked[Role.ERRORS], total=picked[Role.TOTAL], **common)  # type: ignore[arg-type]
        case "histogram":
            return HistogramMetric(buckets=picked[Role.BUCKETS], **common)  # type: ignore[arg-type]
        case "usage":
            return UsageMetric(used=picked[Role.USED], total=picked[Role.TOTAL], **common)  # type: ignore[arg-type]
        case "age":
            return GaugeMetric(value=picked[Role.VALUE], floor=AGE_FLOOR, **common)  # type: ignore[arg-type]
        case "restarts":
            return RestartMetric(name=name)


def convention_of(preset: str, metric: AnyMetric) -> Convention | None:
    """Which convention of a preset a found metric is."""
    found = PRESETS.get(preset)
    wanted = {role: str(selector) for role, selector in metric.selectors.items()}
    return (
        next((c for c in found.conventions if {r: str(parse_selector(t)) for r, t in c.selectors.items()} == wanted), None)
        if found
        else None
    )


def promql(metric: AnyMetric, matchers: tuple[Matcher, ...] = (), *, window: str = "5m", native: bool = False) -> str:
    """One arm's value for a dashboard. The judge itself reads raw samples: rates are extrapolated, and quantiles interpolated."""

    def rate(selector: Selector, by: str = "") -> str:
        return f"sum{by}(rate({selector.where(matchers)}[{window}]))"

    def count(selector: Selector) -> str:
        return f"histogram_count({rate(selector)})" if native else rate(selector)

    match metric:
        case RatioMetric():
            return f"{count(metric.errors)} / {count(metric.total)}"
        case HistogramMetric():
            return f"histogram_quantile(0.9, {rate(metric.buckets, '' if native else ' by (le) ')})"
        case UsageMetric():
            return f"{rate(metric.used)} / {rate(metric.total)}"
        case RestartMetric():
            return f"sum(increase({metric.restarts.where(matchers)}[{window}]))"
        case _:
            return f"avg({metric.anchor.where(matchers)})"
