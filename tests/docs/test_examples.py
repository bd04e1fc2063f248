"""Whatever a reader copies works: each example and each YAML block is accepted by the code that would meet it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from daemon.api.annotations import canary_from_annotations
from daemon.api.validation import lint
from daemon.cli.linting import faults
from flags.flagd_rules import variants_of
from tests.docs.known import CHART
from tests.docs.pages import ROOT, Block, all_blocks

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
BLOCKS = all_blocks("yaml")
ROLES = ("", "spec", "annotations", "values", "fragment")
# Kinds of other projects that the documents may show whole.
FOREIGN = {
    "apps/v1": {"Deployment"},
    "v1": {"Service", "Secret", "ConfigMap"},
    "gateway.networking.k8s.io/v1": {"HTTPRoute"},
    "argoproj.io/v1alpha1": {"Application"},
    "kustomize.toolkit.fluxcd.io/v1": {"Kustomization"},
    "networking.istio.io/v1": {"DestinationRule"},
    "rbac.authorization.k8s.io/v1": {"Role"},
}


def wrong(body: dict[str, Any]) -> list[str]:
    """What keeps an object from being usable as it is shown."""
    version, kind = str(body.get("apiVersion")), str(body.get("kind"))
    found = [f"{kind} has no name"] if not (body.get("metadata") or {}).get("name") else []
    if not version.startswith("linnet.dev/") and kind not in FOREIGN.get(version, set()):
        found.append(f"{version} {kind} is not known here")
    found += [str(error) for error in faults(body, {}) or []]
    if kind in ("Deployment", "Service", "HTTPRoute"):
        found += [f"{kind} has unknown fields {sorted(set(body['spec']) - KNOWN[kind])}"] if set(body["spec"]) - KNOWN[kind] else []
    if kind == "Deployment":
        selected, labels = body["spec"]["selector"]["matchLabels"], body["spec"]["template"]["metadata"]["labels"]
        found += ["the selector does not meet the pods"] if not selected.items() <= labels.items() else []
    return found


KNOWN = {
    "Deployment": {"replicas", "selector", "template", "strategy", "minReadySeconds"},
    "Service": {"selector", "ports", "type"},
    "HTTPRoute": {"parentRefs", "hostnames", "rules"},
}


def documents(text: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(text) if found is not None]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_an_example_is_accepted(path: Path) -> None:
    """Each object of each file passes the same functions as `linnet lint` and admission, or is a well-formed object of others."""
    found = documents(path.read_text(encoding="utf-8"))
    assert found
    assert [why for body in found for why in wrong(body)] == []


def test_every_example_is_listed() -> None:
    """The list in the README of the examples is the folder."""
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in EXAMPLES if f"({p.name})" not in text] == []


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_yaml_block_is_accepted(block: Block) -> None:
    """Whole objects, parts of a spec, annotations and chart values are each held against what reads them."""
    assert block.role in ROLES, f"{block}: unknown role {block.role!r}"
    body: Any = yaml.safe_load(block.body) if block.role else None
    if block.role == "spec":
        raw = {"apiVersion": "linnet.dev/v1alpha1", "kind": "Canary", "metadata": {"name": "checkout"}}
        declared = {} if "flags" in body else {"flags": [{"name": "new-checkout"}]}
        assert lint({**raw, "spec": {"workloadRef": {"name": "checkout"}, **declared, **body}}) == []
    elif block.role == "annotations":
        found = canary_from_annotations("checkout", body)
        assert not isinstance(found, list), found
    elif block.role == "values":
        jsonschema.validate(body, json.loads((CHART / "values.schema.json").read_text(encoding="utf-8")))
    elif block.role == "fragment":
        assert isinstance(body, dict)
    else:
        found_objects = documents(block.body)
        assert found_objects
        assert [why for one in found_objects for why in wrong(one)] == []


@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_a_python_block_is_python_and_its_names_exist(block: Block) -> None:
    """What is imported from Linnet's packages is there; what is imported from others is at least Python."""
    for node in ast.walk(ast.parse(block.body)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("daemon", "analyzers", "flags"):
            module = __import__(node.module, fromlist=[alias.name for alias in node.names])
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.parametrize("block", all_blocks("json"), ids=str)
def test_a_json_block_is_json_and_a_flag_that_can_be_taken(block: Block) -> None:
    """The flags that are shown are ones that Linnet accepts."""
    for key, flag in json.loads(block.body)["flags"].items():
        assert variants_of(key, flag).on


def test_the_flag_file_of_the_examples_can_be_taken() -> None:
    """The ConfigMap that a reader starts with is one that the provider does not refuse."""
    [body] = documents((ROOT / "examples" / "flagd-configmap.yaml").read_text(encoding="utf-8"))
    flags = json.loads(body["data"]["flags.json"])["flags"]
    assert {key: flag["defaultVariant"] for key, flag in flags.items()} == {key: variants_of(key, flag).off for key, flag in flags.items()}


def test_a_wrong_block_would_be_found() -> None:
    """The checks above see a misspelt field, annotation and chart value."""
    base = {"apiVersion": "linnet.dev/v1alpha1", "kind": "Canary", "metadata": {"name": "x"}}
    assert wrong({**base, "spec": {"workloadRef": {"name": "x"}, "tarffic": {}}})
    assert isinstance(canary_from_annotations("x", {"linnet.dev/profil": "web"}), list)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"scop": {}}, json.loads((CHART / "values.schema.json").read_text(encoding="utf-8")))
