"""The table of mutants fits the tree: said in a second here, instead of after twenty minutes of breaking things."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.table import PAGE, by_rule, page

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place_and_names_a_test_that_is_there(mutant: Mutant) -> None:
    """Whoever edits a protected line, or renames its test, takes the mutant along."""
    file, _, test = mutant.test.partition("::")
    assert (ROOT / mutant.path).read_text().count(mutant.old) == 1, f"{mutant.path} does not have the text once: {mutant.old!r}"
    assert mutant.old != mutant.new
    words = test.partition("[")[0].split("::") if test else []
    text = (ROOT / file).read_text()
    missing = [word for word in words if f"def {word}(" not in text and f"class {word}" not in text]
    # A test class may stand in a contract that the module imports.
    assert not missing or all(word in _contracts(file) for word in missing), f"{file} has no {missing}"


def _contracts(file: str) -> str:
    return "".join(path.read_text() for path in (ROOT / file).parent.glob("*.py"))


def test_every_mutant_has_a_name_of_its_own() -> None:
    """`--only NAME` means one."""
    assert [name for name, count in Counter(m.name for m in MUTANTS).items() if count > 1] == []


def test_every_rule_of_the_judge_is_broken_by_a_mutant() -> None:
    """Rules 1 to 17, and by name the places where a mistake is invisible."""
    assert [number for number, broken in by_rule().items() if not broken] == []
    told = {m.protects for m in MUTANTS}
    invisible = ("rule 5: epoch-aligned grid", "rule 5: newborn series", "rule 5: resets", ": metric weights", ": alpha and beta")
    assert [what for what in invisible if not any(what in one for one in told)] == []


def test_the_page_of_the_judges_rules_is_the_catalogues() -> None:
    """Run `python -m tests.mutants.table` after a change of a mutant."""
    assert PAGE.read_text(encoding="utf-8") == page()
