"""The generated pages are what the code says now, and their hand-written parts name everything there is."""

from pathlib import Path
from typing import get_args

import pytest

from daemon.api import names
from daemon.api.annotations import canary_from_annotations
from daemon.api.canary import CanarySpec
from daemon.api.conditions import DUE, GATE, MISMATCH, OBSERVED, PENDING, UNMET, UNTRIED, conditions
from daemon.api.status import Phase
from daemon.cli import reference
from daemon.cli.main import COMMANDS
from daemon.rollout.model import Command

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_the_page_is_not_stale(name: str) -> None:
    """Stale? Run `make docs`."""
    assert (FOLDER / name).read_text(encoding="utf-8") == reference.pages()[name]


def test_a_second_writing_changes_nothing(tmp_path: Path) -> None:
    """Pages do not depend on when or where they are written."""
    assert sorted(p.name for p in reference.write(tmp_path)) == sorted(reference.pages())
    assert reference.write(tmp_path) == []


def test_every_command_and_option_is_there() -> None:
    """Each command of the table has its section, with its exit codes where it ends with more than one."""
    page = reference.pages()["cli.md"]
    for name in COMMANDS:
        assert f"\n## linnet {name}\n" in page
    for name in ("wait", "promote", "doctor", "lint", "release", "cleanup", "restart"):
        section = page.split(f"\n## linnet {name}\n")[1].split("\n## ")[0]
        assert "Exit codes: 0" in section
    assert "## linnet notify test" in page


def test_every_annotation_is_explained_with_an_example_that_works() -> None:
    """The examples of the page, together on one Deployment, are accepted."""
    annotations = {key: example.strip('"') for key, example in reference._EXAMPLES.items()}
    assert set(annotations) == set(reference.ON_DEPLOYMENTS) == set(names.OPT_IN_ANNOTATIONS)
    assert isinstance(canary_from_annotations("checkout", annotations), CanarySpec)
    page = reference.pages()["annotations.md"]
    for key in (names.HOLD, names.CANARY_MARK, names.HELD_MARK, names.ACTION):
        assert f"`{key}`" in page
    for verb in get_args(Command.__annotations__["verb"]):
        assert verb in page


def test_every_condition_and_phase_is_there() -> None:
    """The page lists the conditions that the code makes, and every phase."""
    page = reference.pages()["conditions.md"]
    made = {
        c.type for c in conditions([], phase="Idle", verdict=None, sentence="", generation=1, revision=None, now="2026-01-01T00:00:00Z")
    }
    assert {*made, DUE, GATE, MISMATCH, OBSERVED, PENDING, UNMET, UNTRIED} == set(reference.CONDITIONS)
    for phase in get_args(Phase):
        assert f"| {phase} |" in page


def test_what_is_planned_is_marked() -> None:
    """No field of a later version looks as if it worked."""
    page = reference.pages()["api.md"]
    row = next(line for line in page.splitlines() if line.startswith("| `spec.analysis.outcomes.stableBroken`"))
    assert "Not in this version; leave it out; a rollout waits for stable" in row
