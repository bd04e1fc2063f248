"""Everything that the documents name exists: commands, options, annotations, fields, metrics, reasons, links, files, tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs import known
from tests.docs.pages import ROOT, all_blocks, anchors, codes, commands, links, name, pages, prose, written

WRITTEN = written()
SHELL = ("sh", "console")
# Words of Kubernetes, Helm, Go, SDKs and other tools that the documents use in code style.
OTHERS = frozenset(
    {
        "Application",
        "ConfigMap",
        "ControlPlane",
        "ControllerRevision",
        "CronJob",
        "DaemonSet",
        "Deadline",
        "Degraded",
        "Deployment",
        "ENABLED",
        "Endpoints",
        "Event",
        "HTTPRoute",
        "Healthy",
        "HelmRelease",
        "HorizontalPodAutoscaler",
        "IfNotPresent",
        "InProgress",
        "Job",
        "Kustomization",
        "Lease",
        "MESSAGE",
        "MutatingAdmissionPolicy",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodMonitor",
        "Progressing",
        "Recreate",
        "Released",
        "ReplicaSet",
        "RespectIgnoreDifferences",
        "Rollout",
        "Secret",
        "ServerSideApply",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
        "StatefulSet",
        "Suspended",
    }
)
FORBIDDEN_HOSTS = ("docker.io", "ghcr.io", "quay.io", "gcr.io", "registry.k8s.io", "pypi.org", "npmjs.org", "crates.io", "pythonhosted")
MACHINE = re.compile(r"(?<![\w.])/(?:root|home|work|Users|tmp/[a-z])\b")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|TBD|XXX|lorem ipsum|coming soon)\b", re.IGNORECASE)


def every_page(values: tuple[Path, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", values, ids=name)


def linnet_lines() -> list[tuple[str, str]]:
    """(where, command line) of everything that starts with linnet, in blocks and in running text."""
    found = []
    for block in all_blocks(*SHELL):
        text = block.body if block.language == "sh" else "\n".join(line for line in block.body.splitlines() if line.startswith("$ "))
        found += [(str(block), part.strip()) for line in commands(text) for part in re.split(r"\s\|\s", line) if _is_linnet(part)]
    for page in WRITTEN:
        found += [(name(page), code) for code in codes(page) if _is_linnet(code)]
    return found


def _is_linnet(text: str) -> bool:
    return re.match(r"\s*(?:\.venv/bin/)?linnet(?: [a-z-]|$)", text) is not None and "=" not in text.split(maxsplit=1)[0]


@pytest.mark.parametrize(("where", "line"), linnet_lines())
def test_a_command_exists_with_its_options(where: str, line: str) -> None:
    """The command line's own parser takes what the page tells people to type."""
    assert known.check_linnet(line.replace(".venv/bin/", "").replace("\\", "")) is None, where


def test_a_wrong_command_would_be_found() -> None:
    """The check sees a command, an option and a choice that are not there."""
    assert known.check_linnet("linnet statsu") is not None
    assert known.check_linnet("linnet status --al") is not None
    assert known.check_linnet("linnet wait x --for ended") is not None
    assert known.check_linnet("linnet promote|abort checkout") is None


@every_page(pages())
def test_every_name_of_our_group_exists(page: Path) -> None:
    """`linnet.dev/...`: annotations, labels, finalizers; a misspelt one would silently do nothing."""
    text = page.read_text(encoding="utf-8")
    found = set(re.findall(r"(?<![\w.])linnet\.dev/([A-Za-z][A-Za-z0-9-]*[A-Za-z0-9])", text))
    assert found - known.group_names() == set()


@every_page(pages())
def test_every_metric_exists(page: Path) -> None:
    """`linnet_...` as Prometheus shows it."""
    assert set(re.findall(r"\blinnet_[a-z_]+\b", page.read_text(encoding="utf-8"))) - known.metrics() == set()


@every_page(WRITTEN)
def test_every_reason_phase_and_value_exists(page: Path) -> None:
    """CamelCase in code style is a word of the code, or one of Kubernetes'."""
    found = {code for code in codes(page) if re.fullmatch(r"[A-Z][A-Za-z]{2,}", code)}
    assert found - known.words() - OTHERS == set()


@every_page(WRITTEN)
def test_every_field_exists(page: Path) -> None:
    """`spec....` and `status....` in code style are fields of our kinds, or ones of Deployments and routes that are named so on purpose."""
    foreign = {"spec.driftDetection.ignore", "status.parents", "spec.paused", "spec.template"}
    found = {c.split("[")[0].split(":")[0] for c in codes(page) if re.fullmatch(r"(?:spec|status)\.[A-Za-z.\[\]:' ]+", c)}
    assert found - known.api_fields() - foreign == set()


@every_page(WRITTEN)
def test_every_chart_value_exists(page: Path) -> None:
    """In `--set` and in code style."""
    text = page.read_text(encoding="utf-8")
    heads = {value.split(".")[0] for value in known.chart_values()}
    found = set(re.findall(r"--set(?:-string)?[= ]'?([A-Za-z.]+)=", text)) - {"image.tag"}
    found |= {c.split("=")[0] for c in codes(page) if re.fullmatch(r"[a-z][A-Za-z]*\.[A-Za-z.]+(?:=\S*)?", c) and c.split(".")[0] in heads}
    assert {f for f in found if not f.endswith((".py", ".yaml", ".md", ".py`"))} - known.chart_values() == set()


@every_page(WRITTEN)
def test_every_make_target_exists(page: Path) -> None:
    """`make ...` in code style and in shell blocks."""
    lines = [c for c in codes(page) if c.startswith("make ")]
    lines += [line for b in all_blocks("sh") if b.page == name(page) for line in commands(b.body) if line.startswith("make ")]
    found = {word for line in lines for word in line.split("#")[0].split("ARGS")[0].split()[1:] if not word.startswith("--")}
    assert found - known.make_targets() == set()


@every_page(pages())
def test_every_link_leads_somewhere(page: Path) -> None:
    """Relative links and anchors; a page that moved is noticed here, not by a reader."""
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@every_page(WRITTEN)
def test_every_file_and_test_that_is_named_exists(page: Path) -> None:
    """Paths in code style, and `tests/...py::test_name`."""
    missing = []
    for code in codes(page):
        path, _, test = code.partition("::")
        if not re.fullmatch(r"(?:daemon|analyzers|flags|charts|tests|docs|bench|examples|\.ci)/[\w./-]+", path) or "<" in code:
            continue
        if not (ROOT / path).exists() or (test and test not in known.test_names(path)):
            missing.append(code)
    assert missing == []


@every_page(WRITTEN)
def test_no_page_names_a_machine_a_registry_or_something_unfinished(page: Path) -> None:
    """Documents are for everybody's machine, and say what is, not what will be."""
    text = page.read_text(encoding="utf-8")
    assert [host for host in FORBIDDEN_HOSTS if host in text] == []
    assert MACHINE.findall(text) == []
    assert UNFINISHED.findall(text) == []


def test_every_page_can_be_reached() -> None:
    """From the index of the documentation, in one step or over the reference's own index."""
    start = [ROOT / "docs" / "README.md", ROOT / "docs" / "reference" / "README.md", ROOT / "README.md"]
    reached = {(page.parent / link.partition("#")[0]).resolve() for page in start for link in links(page)}
    assert [name(p) for p in pages() if p.is_relative_to(ROOT / "docs") and p not in reached and p not in start] == []


def _told(page: str) -> set[str]:
    return set(re.findall(r"`([A-Za-z]+)`", prose(ROOT / "docs" / page)))


def test_every_event_is_documented() -> None:
    """A new Event without a line in the reference fails here."""
    assert known.event_reasons() - _told("reference/events.md") == set()


def test_every_phase_wait_and_problem_is_documented() -> None:
    """Whatever `status.waiting` may say can be looked up."""
    inner = {"Required"}  # of a field error, never of a wait
    assert (known.phases() | known.waits()) - inner - _told("reference/phases.md") == set()


def test_every_end_of_a_release_is_explained_at_three_in_the_morning() -> None:
    """Every reason for which a release is taken back is on the page that people find first."""
    assert known.rollback_reasons() - _told("how-to/why-was-my-release-stopped.md") == set()
