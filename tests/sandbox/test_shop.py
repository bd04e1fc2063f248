"""The demo's parts one by one: the shop, the load and the inbox."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families

from daemon.sandbox.controllers.objects import pod_ready, status_of, terminating
from daemon.sandbox.inbox import Inbox
from daemon.sandbox.load import Load, LoadOptions
from daemon.sandbox.podspec import Image
from flags.flagd_rules import Variants, rule_for, targeting_for
from flags.model import Desired, Gate
from tests.sandbox.workbench import Bench, Object, on_processes, web

SHOP = (Image(name="shop:*", entrypoint=("{python}", "-m", "daemon.sandbox.shop", "--version", "{tag}")),)
VARIANTS = Variants(on="on", off="off")


def flag_file(percent: int, *, gated: bool = True) -> str:
    """The flag as Linnet's own provider writes it."""
    desired = Desired(percent=percent, gate=Gate() if gated else None)
    flag = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": targeting_for("new-checkout", VARIANTS),
    }
    return json.dumps({"flags": {"new-checkout": flag}, "$evaluators": {"linnet-new-checkout": rule_for(desired, VARIANTS)}})


def shop(track: str, *, errors: str = "0") -> Object:
    env = [
        {"name": "TRACK", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['linnet.dev/track']"}}},
        {"name": "FLAGS_FILE", "value": "/etc/flags/flags.json"},
        {"name": "SHOP_ERROR_PERCENT", "value": errors},
        {"name": "SHOP_DRAIN_SECONDS", "value": "0.1"},
    ]
    container = {
        "env": env,
        "volumeMounts": [{"name": "flags", "mountPath": "/etc/flags"}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
    }
    found = web(
        "shop:v2", 1, name=f"shop-{track}", container=container, pod={"volumes": [{"name": "flags", "configMap": {"name": "flags"}}]}
    )
    found["spec"]["template"]["metadata"]["labels"]["linnet.dev/track"] = track
    return found


def config_map(percent: int, *, gated: bool = True) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "flags", "namespace": "default"},
        "data": {"flags.json": flag_file(percent, gated=gated)},
    }


async def ready_pod(bench: Bench, name: str) -> str:
    found = lambda: next((p for p in bench.pods(app=name) if pod_ready(p) and not terminating(p)), None)  # noqa: E731
    pod: Any = await bench.until(found, f"a ready pod of {name}")
    return f"http://{status_of(pod)['podIP']}:8080"


async def visit(base: str, users: int) -> list[tuple[int, str]]:
    found = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        for number in range(users):
            async with http.get(f"{base}/checkout", headers={"X-User-Id": f"user-{number}"}) as response:
                found.append((response.status, response.headers["X-Shop-Flag"]))
    return found


async def test_only_the_canary_shows_the_gated_feature_and_a_change_is_seen_at_once(tmp_path: Path) -> None:
    """The flag file that Linnet's provider writes gates by track; a write of the ConfigMap counts from the next request on."""
    async with on_processes(tmp_path, images=SHOP) as bench:
        bench.apply(config_map(100))
        bench.apply(shop("stable"))
        bench.apply(shop("canary", errors="100"))
        stable, canary = await ready_pod(bench, "shop-stable"), await ready_pod(bench, "shop-canary")
        assert set(await visit(stable, 20)) == {(200, "off")}
        assert set(await visit(canary, 20)) == {(500, "on")}
        bench.change("configmaps", "flags", lambda c: c.update(data={"flags.json": flag_file(0)}))
        assert set(await visit(canary, 20)) == {(200, "off")}
        bench.change("configmaps", "flags", lambda c: c.update(data={"flags.json": flag_file(50)}))
        half = sum(flag == "on" for _, flag in await visit(canary, 300))
        assert 110 < half < 190
        counted = await _counted(canary)
        assert counted["200", "canary", "off"] == 20 + 300 - half
        assert counted["500", "canary", "on"] == 20 + half


async def _counted(base: str) -> dict[tuple[str, str, str], float]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http, http.get(f"{base}/metrics") as response:
        text = await response.text()
    return {
        (s.labels["code"], s.labels["track"], s.labels["flag"]): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if s.name == "http_requests_total"
    }


async def test_a_broken_flag_file_leaves_the_last_good_state(tmp_path: Path) -> None:
    """An evaluator that cannot read its file must not change what users see."""
    async with on_processes(tmp_path, images=SHOP) as bench:
        bench.apply(config_map(100))
        bench.apply(shop("canary"))
        canary = await ready_pod(bench, "shop-canary")
        assert set(await visit(canary, 3)) == {(200, "on")}
        bench.change("configmaps", "flags", lambda c: c.update(data={"flags.json": "{"}))
        assert set(await visit(canary, 3)) == {(200, "on")}


async def test_the_load_counts_every_request_once_and_by_who_answered(tmp_path: Path) -> None:
    """What the client counted and what the shop counted agree."""
    async with on_processes(tmp_path, images=SHOP) as bench:
        bench.apply(config_map(100))
        bench.apply(shop("canary", errors="50"))
        base = await ready_pod(bench, "shop-canary")
        load = Load(LoadOptions(url=f"{base}/checkout", rate=200, users=50))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(load.run())
            await _until_answered(load, 200)
            running.cancel()
        counted = await _counted(base)
        assert load.skipped == 0
        assert load.count(track="canary", flag="on", version="v2") == load.answered
        assert counted["500", "canary", "on"] + counted["200", "canary", "on"] >= load.answered
        assert 60 < load.count(failed=True) * 200 / load.answered < 140


async def _until_answered(load: Load, count: int) -> None:
    async with asyncio.timeout(20):
        while load.answered < count:
            await asyncio.sleep(0.05)


async def test_the_load_counts_a_refused_connection_as_a_failure_and_does_not_try_again() -> None:
    """No retries hide an outage."""
    load = Load(LoadOptions(url="http://127.0.0.1:9/checkout", rate=500))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(load.run())
        await _until_answered(load, 20)
        running.cancel()
    assert load.count(failed=True) == load.answered
    assert load.count(error="ClientConnectorError") == load.answered


SLACK = {"attachments": [{"title": "Rolled back", "text": "26 of 530 failed", "color": "#a00", "mrkdwn_in": ["text"]}]}
CARD = {"type": "AdaptiveCard", "body": [{"type": "TextBlock", "text": "Promoted"}]}
TEAMS = {"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": CARD}]}


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [(SLACK, "Slack", "Rolled back\n26 of 530 failed"), (TEAMS, "Teams", "Promoted"), ({"title": "x", "message": "y"}, "webhook", "x\ny")],
)
async def test_the_inbox_keeps_what_came_and_reads_it_out(body: Any, kind: str, text: str) -> None:
    """The message as it was posted, the kind by its shape, and the words a person would read."""
    inbox = Inbox()
    async with inbox.listening(), aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        async with http.post(f"{inbox.url}/services/T/B/x", json=body) as response:
            assert response.status == 200
        (post,) = await inbox.wait_for(1)
    assert post.json == body
    assert (post.kind, post.text, post.path) == (kind, text, "/services/T/B/x")


async def test_the_inbox_speaks_tls_and_takes_what_is_not_json() -> None:
    """A certificate of the test's own authority is enough for a real client."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    inbox = Inbox()
    connector = aiohttp.TCPConnector(ssl=client)
    async with inbox.listening(tls=server), aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as http:
        async with http.post(f"{inbox.url}/hook", data=b"plain words") as response:
            assert response.status == 200
        (post,) = await inbox.wait_for(1)
    assert (post.kind, post.text) == ("webhook", "plain words")
