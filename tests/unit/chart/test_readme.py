"""The chart's documents say what the chart does; none of this needs Helm."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import yaml

from tests.cluster import hold_cases
from tests.unit.chart import values_table
from tests.unit.chart.values_table import CHART

SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def test_the_readme_lists_every_value_with_its_default() -> None:
    """A value that was added, renamed or given another default shows up in the README, or this fails."""
    text = (CHART / "README.md").read_text()
    assert text == values_table.readme(text), "run `python -m tests.unit.chart.values_table`"


def test_every_value_has_a_comment() -> None:
    """A value nobody explains is a value nobody sets."""
    assert [value.path for value in values_table.values() if not value.comment] == []


def test_every_value_is_read_by_a_template() -> None:
    """A value that nothing reads promises what the chart does not do."""
    text = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    text = text.replace("$i.", ".Values.image.")  # linnet.image
    assert [value.path for value in values_table.values() if not re.search(rf"\.Values\.{re.escape(value.path)}\b", text)] == []


def _objects(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)] if "properties" in schema else []
    for key, child in schema.get("properties", {}).items():
        found += _objects(child, f"{path}.{key}")
    return found


def test_the_schema_knows_every_value_and_no_other() -> None:
    """Each group of values is closed and lists exactly what values.yaml has; `global` belongs to parent charts."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    for path, schema in _objects(SCHEMA):
        assert schema["additionalProperties"] is False, path
        group = defaults
        for key in filter(None, path.split(".")):
            group = group[key]
        assert set(schema["properties"]) - {"global"} == set(group), path


def test_the_defaults_obey_the_schema() -> None:
    """What is shipped is valid by the schema that is shipped."""
    jsonschema.validate(yaml.safe_load((CHART / "values.yaml").read_text()), SCHEMA)


@pytest.mark.parametrize("page", ["README.md", "templates/NOTES.txt"])
def test_the_way_out_without_the_daemon_is_the_same_everywhere(page: str) -> None:
    """The README, the notes and the policy's refusal give one and the same line."""
    line = "kubectl annotate deploy NAME -n NAMESPACE linnet.dev/hold=off --overwrite && kubectl rollout resume deploy NAME -n NAMESPACE"
    assert line in (CHART / page).read_text()
    [release] = [policy for policy in hold_cases.policies(["x"]) if policy["kind"] == "ValidatingAdmissionPolicy"]
    said = release["spec"]["validations"][0]["messageExpression"]
    assert "kubectl annotate deploy " in said
    assert " linnet.dev/hold=off --overwrite && kubectl rollout resume deploy " in said
