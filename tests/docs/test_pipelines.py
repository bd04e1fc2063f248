"""The examples for pipelines: their shell is shell, and what they say to `linnet` is what it takes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.known import check_linnet
from tests.docs.pages import ROOT

PIPELINES = sorted((ROOT / "examples" / "pipelines").glob("*.yaml"))


def scripts(body: Any) -> Iterator[str]:
    """Every `run` and `script`, wherever it stands."""
    for key, value in body.items() if isinstance(body, dict) else enumerate(body if isinstance(body, list) else ()):
        if key in ("run", "script") and isinstance(value, str):
            yield value
        else:
            yield from scripts(value)


@pytest.mark.parametrize("path", PIPELINES, ids=lambda p: p.name)
def test_the_scripts_of_a_pipeline_are_shell_and_their_commands_exist(path: Path) -> None:
    """Each parses, and each call of linnet has a command and options that it knows."""
    found = list(scripts(yaml.safe_load(path.read_text())))
    assert found
    lines = [line.strip().replace("$TIMEOUT", "2h") for script in found for line in script.splitlines()]
    calls = [line for line in lines if line.startswith("linnet ")]
    assert calls
    assert [problem for call in calls if (problem := check_linnet(call)) is not None] == []
    for script in found:
        text = script.replace("$(", "${").replace("{results.", "{results_").replace(".path)", "_path}")
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=10, check=False)
        assert done.returncode == 0, done.stderr
