"""The `helm template` lines of `install.md`, with the real Helm: what an admin applies is what the page says."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import ROOT, blocks, commands
from tests.unit.chart.rendered import helm

PAGE = ROOT / "docs" / "how-to" / "install.md"
LINES = [line for b in blocks(PAGE) if b.language == "sh" for line in commands(b.body) if line.startswith("helm template")]
KINDS = {
    "templates/crds/*.yaml": {"CustomResourceDefinition": 9},
    "templates/hold-policies.yaml": {
        "MutatingAdmissionPolicy": 1,
        "MutatingAdmissionPolicyBinding": 1,
        "ValidatingAdmissionPolicy": 1,
        "ValidatingAdmissionPolicyBinding": 1,
    },
}


@pytest.mark.parametrize("line", LINES)
def test_what_an_admin_applies_is_what_the_page_says(line: str, tmp_path: Path) -> None:
    """The nine CRDs, and the two policies with their bindings; nothing beside them."""
    words = shlex.split(line.split(" | ")[0])
    only = words[words.index("--show-only") + 1]
    done = helm(*["." if word == "charts/linnet" else word for word in words[1:]], home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Counter(body["kind"] for body in yaml.safe_load_all(done.stdout) if body) == KINDS[only]


def test_the_page_has_both_lines() -> None:
    """One for the CRDs, one for the policies."""
    assert len(LINES) == len(KINDS)
