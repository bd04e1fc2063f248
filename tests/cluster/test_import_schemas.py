"""`linnet import` against the published schemas of Flagger and Argo Rollouts: every field there is ends somewhere.

A sentinel is put into each leaf of each CRD in turn. What became of it must be said; if it is said to be mapped, what is written
must depend on it. Needs the CRDs that the testbed fetches, and no cluster.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import yaml

from daemon.cli.importing.convert import convert
from daemon.cli.importing.ledger import Note, leaves, shown
from tests.testbed import build

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

Path = tuple[str | int, ...]
FILES = ("crd.yaml", "rollout-crd.yaml", "analysis-template-crd.yaml", "cluster-analysis-template-crd.yaml")
# The least object of each kind that makes sense; a leaf is put into it.
BASES: dict[str, dict[str, Any]] = {
    "Canary": {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
        "provider": "gatewayapi:v1",
        "service": {"port": 80},
        "analysis": {"interval": "1m"},
    },
    "MetricTemplate": {"provider": {"type": "prometheus", "address": "http://prometheus:9090"}, "query": "vector(1)"},
    "AlertProvider": {"type": "slack", "address": "http://six:9090"},
    "Rollout": {
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "shop", "image": "shop:1"}]}},
        "strategy": {},
    },
    "AnalysisTemplate": {"metrics": [{"name": "errors", "provider": {"prometheus": {"query": "vector(1)"}}}]},
}
BASES["ClusterAnalysisTemplate"] = BASES["AnalysisTemplate"]
# What a leaf says nothing without.
BESIDE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("spec.service.rewrite.type", {"spec.service.rewrite.uri": "/"}),
    ("spec.service.headers", {"spec.provider": "gatewayapi:v1"}),
    ("spec.analysis.metrics[0].t", {"spec.analysis.metrics[0].name": "x", "spec.analysis.metrics[0].templateRef.name": "x"}),
    ("spec.analysis.metrics[0].interval", {"spec.analysis.metrics[0].name": "x", "spec.analysis.metrics[0].templateRef.name": "x"}),
    ("spec.analysis.metrics[0].name", {"spec.analysis.metrics[0].name": "request-duration"}),
    ("spec.metricsServer", {"spec.analysis.metrics": [{"name": "request-duration"}]}),
    ("spec.analysis.iterations", {"spec.analysis.match": [{"headers": {"a": {"exact": "b"}}}]}),
    ("spec.analysis.match[0]", {"spec.analysis.iterations": 2}),
    ("spec.analysis.interval", {"spec.analysis.stepWeight": 5}),
    ("spec.analysis.maxWeight", {"spec.analysis.stepWeight": 5}),
    ("spec.analysis.alerts[0].severity", {"spec.analysis.alerts[0].providerRef.name": "x"}),
    ("spec.strategy.canary.steps[0].analysis.args[0].name", {"spec.strategy.canary.steps[0].analysis.args[0].value": "x"}),
    ("spec.strategy.canary.steps[0].analysis", {"spec.strategy.canary.steps[0].analysis.templates[0].templateName": "x"}),
    ("spec.strategy.canary.analysis.args[0].name", {"spec.strategy.canary.analysis.args[0].value": "x"}),
    ("spec.strategy.canary.analysis", {"spec.strategy.canary.analysis.templates[0].templateName": "x"}),
    ("spec.workloadRef", {"spec.workloadRef.name": "shop"}),
)
VALUES = {"spec.service.rewrite.type": "ReplacePrefixMatch"}
WORDS = {"interval": "7m", "conditions": "result > 7", "severity": "error", "address": "http://seven:9090", "url": "http://seven/"}


def _schemas() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for file in FILES:
        for crd in yaml.safe_load_all((build.peer_crds() / file).read_text()):
            for version in (crd or {"spec": {"versions": []}})["spec"]["versions"]:
                group = f"{crd['spec']['group']}/{version['name']}"
                yield group, crd["spec"]["names"]["kind"], version["schema"]["openAPIV3Schema"]


def _places(schema: dict[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Each leaf of a schema with a sentinel that fits it."""
    if schema.get("properties"):
        for name, below in schema["properties"].items():
            yield from _places(below, (*path, name))
    elif schema.get("type") == "array":
        yield from _places(schema["items"], (*path, 0))
    elif isinstance(schema.get("additionalProperties"), dict):
        yield from _places(schema["additionalProperties"], (*path, "seven"))
    else:
        yield path, _sentinel(schema, str(path[-1]))


def _sentinel(schema: dict[str, Any], name: str) -> Any:
    if schema.get("enum"):
        return next((value for value in reversed(schema["enum"]) if value), None)
    if schema.get("x-kubernetes-int-or-string") or schema.get("type") in ("integer", "number"):
        return 7
    kind = schema.get("type", "object")
    words = {"boolean": True, "object": {"seven": 7}}
    pattern = str(schema.get("pattern", ""))
    return words.get(kind, WORDS.get(name, "7m" if "(m|s)" in pattern or name in ("duration", "initialDelay") else "seven"))


def _put(body: dict[str, Any], path: Path, value: Any) -> None:
    here: Any = body
    for key, following in pairwise(path):
        here = _below(here, key, [] if isinstance(following, int) else {})
    last: Any = path[-1]
    if isinstance(here, list) and last == len(here):
        here.append(value)
    else:
        here[last] = value


def _below(here: Any, key: Any, empty: Any) -> Any:
    if isinstance(here, list):
        if key == len(here):
            here.append(empty)
    elif here.get(key) is None:
        here[key] = empty
    return here[key]


def _parsed(text: str) -> Path:
    return tuple(int(index) if index else name for name, index in re.findall(r"\.?([^.\[\]]+)|\[(\d+)\]", text))


def _base(group: str, kind: str, path: Path) -> dict[str, Any]:
    body: dict[str, Any] = {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": "shop", "namespace": "test"},
        "spec": copy.deepcopy(BASES[kind]),
    }
    if shown(path).startswith("spec.metrics[0].provider.web"):
        body["spec"]["metrics"][0]["provider"] = {"web": {"url": "http://six/"}}
    for prefix, more in BESIDE:
        if shown(path).startswith(prefix):
            for place, value in more.items():
                _put(body, _parsed(place), copy.deepcopy(value))
    return body


def _note_of(path: Path, notes: list[Note]) -> Note:
    """The longest note whose path covers the leaf."""
    text = shown(path)
    return max((n for n in notes if text == n.path or text.startswith((f"{n.path}.", f"{n.path}["))), key=lambda n: len(n.path))


@pytest.fixture(scope="module", autouse=True)
def _fetched() -> None:
    lacking = build.missing({"peer-crds"})
    if lacking:
        pytest.skip("not fetched: peer-crds: run `python -m tests.testbed.build`")


def _cases() -> list[tuple[str, str, Path, Any]]:
    return [
        (group, kind, path, VALUES.get(shown(path), value))
        for group, kind, schema in _schemas()
        for path, value in _places(schema)
        if path[0] in ("spec", "status") and path != ("status",)
    ]


def test_every_field_of_flagger_and_argo_rollouts_ends_somewhere(capsys: pytest.CaptureFixture[str]) -> None:
    """Mapped with an effect, said to differ, or named as lost; the three counts are printed."""
    counts: Counter[tuple[str, str]] = Counter()
    silent: list[str] = []
    without_effect: list[str] = []
    for group, kind, path, value in _cases():
        before = _base(group, kind, path)
        after = copy.deepcopy(before)
        _put(after, path, value)
        found = convert([after])
        note = _note_of(
            path if path in set(leaves(after)) else next(leaf for leaf in leaves(after) if leaf[: len(path)] == path), found.notes
        )
        counts[kind, note.outcome] += 1
        if note.outcome != "Mapped" and not note.text:
            silent.append(f"{kind} {shown(path)}")
        if note.outcome == "Mapped" and before != after and found.objects == convert([before]).objects:
            without_effect.append(f"{kind} {shown(path)}")
    assert not silent
    assert not without_effect, "\n".join(without_effect)
    with capsys.disabled():
        for kind in BASES:
            told = ", ".join(f"{counts[kind, outcome]} {outcome}" for outcome in ("Mapped", "Differs", "NoCounterpart"))
            print(f"\nlinnet import {kind}: {told}", end="")
    assert sum(counts.values()) > 2000


def test_what_is_written_passes_lint_whatever_was_read() -> None:
    """For each leaf: every object of Linnet's that comes out is accepted by this version."""
    from daemon.api import validation

    wrong = []
    for group, kind, path, value in _cases():
        body = _base(group, kind, path)
        _put(body, path, value)
        for made in convert([body]).objects:
            if made["apiVersion"].startswith("linnet.dev/") and validation.lint(made):
                wrong.append(f"{kind} {shown(path)}: {validation.lint(made)[0]}")
    assert not wrong
