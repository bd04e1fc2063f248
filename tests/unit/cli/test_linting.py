"""Manifests are judged with file and line, offline, and only where they are Linnet's."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.cli.main import main

GOOD = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: checkout
  annotations:
    linnet.dev/profile: web
    linnet.dev/steps: "1,5,25:5m,50"
spec: {}
---
apiVersion: v1
kind: Service
metadata: {name: checkout}
---
apiVersion: linnet.dev/v1alpha1
kind: Canary
metadata: {name: checkout}
spec:
  workloadRef: {name: checkout}
"""


def lint(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["lint", *arguments], input=stdin)


def test_good_manifests_pass_and_strangers_are_not_read() -> None:
    """A Service is nobody's business here."""
    done = lint("-", stdin=GOOD)
    assert (done.exit_code, done.output) == (0, "2 objects of Linnet's checked, 0 wrong\n")


@pytest.mark.parametrize(
    ("good", "wrong", "line", "said"),
    [
        ('"1,5,25:5m,50"', '"1,200"', 7, "metadata.annotations[linnet.dev/steps]"),
        ("linnet.dev/profile", "linnet.dev/profil", 6, "did you mean linnet.dev/profile?"),
        ("spec: {}", "spec: {paused: false}", 8, "spec.paused: must not stand in the manifest"),
        (
            "workloadRef: {name: checkout}",
            "workloadRef: {name: checkout, kind: StatefulSet}",
            18,
            "a StatefulSet is not released by Linnet",
        ),
        ("workloadRef: {name: checkout}", "workloadRef: {name: checkout}\n  strategy: {baseline: Fresh}", 19, "not in this version"),
        (
            "workloadRef: {name: checkout}",
            "workloadRef: {name: checkout}\n  steps:\n  - weight: 5\n  - weight: 3",
            21,
            "spec.steps[1].weight",
        ),
        ("    linnet.dev/profile: web\n", "    linnet.dev/profile: web\n    linnet.dev/held: policy\n", 7, "is written by Linnet"),
        ("linnet.dev/profile: web", "linnet.dev/profile: 5", 6, "put it in quotes"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, good: str, wrong: str, line: int, said: str) -> None:
    """File, line, object, field, way out; exit code 1."""
    path = tmp_path / "shop.yaml"
    path.write_text(GOOD.replace(good, wrong))
    done = lint(str(tmp_path))
    assert done.exit_code == 1
    assert said in done.output
    assert done.output.startswith(f"{path}:{line}: "), done.output


def test_a_canary_is_judged_together_with_its_profile() -> None:
    """Flag steps of a profile need the Canary's flags: only the merged spec shows that they are missing."""
    text = """\
apiVersion: linnet.dev/v1alpha1
kind: CanaryProfile
metadata: {name: flagged}
spec:
  steps:
  - {weight: 5, flags: [{name: new, percent: 10}]}
---
apiVersion: linnet.dev/v1alpha1
kind: Canary
metadata: {name: checkout}
spec:
  workloadRef: {name: checkout}
  profileRef: {name: flagged}
"""
    done = lint("-", "-o", "json", stdin=text)
    assert done.exit_code == 1
    (finding,) = json.loads(done.stdout)
    assert (finding["object"], finding["reason"]) == ("Canary/checkout", "UnknownFlag")
    flags = "  profileRef: {name: flagged}\n  flags: [{name: new}]\n"
    assert lint("-", stdin=text.replace("  profileRef: {name: flagged}\n", flags)).exit_code == 0


def test_templates_and_missing_files_get_their_sentence(tmp_path: Path) -> None:
    """A Helm template is no YAML: lint what it renders. A file that is not there ends with 2."""
    done = lint("-", stdin="metadata:\n  name: {{ .Release.Name }}\n  x: [\n")
    assert done.exit_code == 1
    assert "helm template ... | linnet lint -" in done.output
    assert lint(str(tmp_path / "none.yaml")).exit_code == 2
    assert lint(str(tmp_path)).exit_code == 2
    assert "nothing of Linnet's found" in lint("-", stdin="kind: Service\n").output


def test_lists_are_opened() -> None:
    """`kubectl get -o yaml` wraps objects in a List."""
    wrapped = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: linnet.dev/v1alpha1\n  kind: Canary\n  metadata: {name: x}\n  spec: {}\n"
    done = lint("-", stdin=wrapped)
    assert done.exit_code == 1
    assert "<stdin>:7: Canary/x: spec.workloadRef: names no workload" in done.output


def test_what_cannot_be_read_is_said_in_words(tmp_path: Path) -> None:
    """A file that is not there, and one that is no text: the reason, not the interpreter's name for it."""
    (tmp_path / "blob.yaml").write_bytes(b"\x00\xff")
    for file, why in ((tmp_path / "none.yaml", "No such file or directory"), (tmp_path / "blob.yaml", "it is not text in UTF-8")):
        done = lint(str(file))
        assert (done.exit_code, done.output) == (2, f"linnet: {file}: cannot be read: {why}\n")
