"""The table of mutants fits the tree: said in a second here, instead of after twenty minutes of breaking things."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, Mutant

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
