"""What is wrong with an object is said with the field and the way out. The API server answers for the same table in tests/cluster."""

from typing import Any

import pytest

from daemon.api.validation import lint
from tests.unit.api.objects import FULL_CANARY, MORE_GOOD, Wrong, make, wrong_objects

TABLE = wrong_objects()


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_a_wrong_object_is_refused_by_the_name_of_its_field(case: Wrong) -> None:
    """Lint names the field, and where the table asks for it the value and the way out."""
    errors = lint(case.raw)
    told = [error for error in errors if error.path == case.field or error.path.startswith(f"{case.field}.")]
    assert told, f"{case.field} is not named in {[str(error) for error in errors]}"
    text = " ".join(str(error) for error in told)
    assert (case.lint_says or case.says) in text


def test_the_table_is_long_and_its_names_are_unique() -> None:
    """At least sixty, as the promise says, and each can be found by its name."""
    assert len(TABLE) >= 60
    assert len({case.name for case in TABLE}) == len(TABLE)


GOOD = [(kind, spec) for kind, specs in MORE_GOOD.items() for spec in specs]


@pytest.mark.parametrize(("kind", "spec"), GOOD)
def test_a_good_object_has_nothing_wrong(kind: str, spec: dict[str, Any]) -> None:
    """No false alarm on what the documentation shows, except for what only the merge with a profile can supply."""
    assert lint(make(kind, spec)) == []


def test_all_faults_are_told_at_once() -> None:
    """A user mends an object in one go, not one error at a time."""
    spec = {**FULL_CANARY, "mode": "Watch", "onRollback": "Never", "trafic": {}, "progressDeadline": "soon"}
    paths = {error.path for error in lint(make("Canary", spec))}
    assert paths == {"spec.mode", "spec.onRollback", "spec.trafic", "spec.progressDeadline"}


@pytest.mark.parametrize(
    ("raw", "field", "says"),
    [
        ({"apiVersion": "linnet.dev/v1", "kind": "Canary"}, "apiVersion", "linnet.dev/v1alpha1"),
        ({"apiVersion": "linnet.dev/v1alpha1", "kind": "Canry"}, "kind", "did you mean Canary"),
        ({"apiVersion": "linnet.dev/v1alpha1", "kind": "Canary", "spce": {}}, "spce", "did you mean spec"),
        ({"apiVersion": "linnet.dev/v1alpha1", "kind": "Canary"}, "spec", "is missing"),
        (make("Canary", FULL_CANARY, name="x" * 64), "metadata.name", "64 characters"),
    ],
)
def test_a_wrong_envelope_is_named(raw: dict[str, Any], field: str, says: str) -> None:
    """Kind, version, misspelt top-level fields and a name that is too long."""
    errors = {error.path: error.message for error in lint(raw)}
    assert says in errors[field]
