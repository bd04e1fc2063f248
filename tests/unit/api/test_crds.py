"""The generated CRDs: fresh, structural, bounded, and each table of rules still belongs to a field."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import re2  # type: ignore[import-untyped]

from daemon.api import crds, fields, lists, patterns, rules, structure
from daemon.api.kinds import KINDS
from daemon.api.schema import FREE, INT_OR_STRING, STRUCT, tree

CHART = Path(__file__).parents[3] / "charts" / "linnet"
CEL = "x-kubernetes-validations"


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node of a schema with its path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from nodes(node[key], f"{path}[]")


def own_nodes() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node below spec and status of every kind."""
    for kind in KINDS:
        root = crds.crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for part in ("spec", "status"):
            if part in root["properties"]:
                yield from nodes(root["properties"][part], f"{kind.name}.{part}")


def test_the_chart_has_the_files_of_these_types() -> None:
    """A change of a struct without `make crds` fails here."""
    stale = [name for name, text in crds.files().items() if not (CHART / name).exists() or (CHART / name).read_text() != text]
    assert stale == [], "run `make crds`"


def test_no_file_of_a_kind_that_is_gone_is_left() -> None:
    """The folder holds what is generated and nothing else."""
    assert {path.name for path in (CHART / "templates" / "crds").iterdir()} == {f"{kind.plural}.yaml" for kind in KINDS}


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    """The generator is deterministic and says which files it changed."""
    assert len(crds.write(tmp_path)) == len(crds.files())
    assert crds.write(tmp_path) == []


def test_every_schema_is_structural() -> None:
    """No reference, no union but int-or-string, no title, no null default; every node has a type or keeps anything."""
    for path, node in own_nodes():
        assert not {"$ref", "oneOf", "allOf", "not", "title", "const", "nullable"} & set(node), path
        assert ("anyOf" in node) == bool(node.get(INT_OR_STRING)), path
        assert "type" in node or node.get(INT_OR_STRING), path
        assert not (isinstance(node.get("exclusiveMinimum"), int | float) and not isinstance(node["exclusiveMinimum"], bool)), path
        assert not any(key.startswith("x-linnet") for key in node), path


def test_everything_that_can_grow_is_bounded() -> None:
    """The API server prices rules by the largest object; status lists must not grow without end either."""
    for path, node in own_nodes():
        kind = node.get("type")
        if node.get(INT_OR_STRING) or (kind == "string" and "enum" not in node):
            assert "maxLength" in node, path
        if kind == "array":
            assert "maxItems" in node, path
            assert "x-kubernetes-list-type" in node, path
        if kind == "object" and not node.get(FREE):
            assert "properties" in node or "maxProperties" in node, path


def test_only_keys_of_named_lists_have_defaults() -> None:
    """A default would look like the user's own word and hide the profile's."""
    keys = {f".{field}" for _, field in lists.KEY_DEFAULTS}
    assert {path[path.rindex(".") :] for path, node in own_nodes() if "default" in node} == keys


def test_named_lists_have_their_keys_in_every_entry() -> None:
    """A key is required or has a default, and is of a plain type."""
    for path, node in own_nodes():
        for key in node.get("x-kubernetes-list-map-keys", ()):
            entry = node["items"]
            assert key in entry["required"] or "default" in entry["properties"][key], f"{path}: {key}"
            assert entry["properties"][key]["type"] == "string"


def test_every_pattern_is_in_the_subset_of_re2() -> None:
    """The API server compiles patterns with Go's engine, which has no look-around; rules match with the same."""
    found = [node["pattern"] for _, node in own_nodes() if "pattern" in node] + list(patterns.MEANING)
    for pattern in found:
        re2.compile(pattern)


def test_every_rule_says_what_is_wrong() -> None:
    """A rule without a message would print CEL at people."""
    told = [rule for _, node in own_nodes() for rule in node.get(CEL, ())]
    assert len(told) > 50
    assert all(rule["message"] and "\n" not in rule["message"] for rule in told)


def structs() -> dict[str, set[str]]:
    """Struct name -> its fields on the wire, of all kinds."""
    found: dict[str, set[str]] = {"ReleaseSpec": set()}
    for kind in KINDS:
        for _, node in nodes(tree(kind)):
            if STRUCT in node:
                found.setdefault(node[STRUCT], set()).update(node.get("properties", {}))
    found["ReleaseSpec"] = found["CanarySpec"] & found["CanaryProfileSpec"]
    return found


@pytest.mark.parametrize("table", [rules.FIELD_RULES, lists.LIST_KEYS, structure.INSTEAD, lists.KEY_DEFAULTS, dict.fromkeys(lists.SETS)])
def test_tables_of_rules_name_fields_that_exist(table: dict[lists.Key, Any]) -> None:
    """A renamed field must not lose its rule in silence."""
    known = structs()
    assert [key for key in table if key[1] not in known.get(key[0], set())] == []


def test_rules_of_structs_name_structs_and_fields_that_exist() -> None:
    """The same for rules on whole structs and the field they point at."""
    known = structs()
    for struct, found in rules.STRUCT_RULES.items():
        assert struct in known
        assert all(rule.field is None or rule.field.removeprefix(".") in known[struct] for rule in found), struct


def test_what_is_planned_says_what_works_instead() -> None:
    """No refusal without a way out."""
    for kind in KINDS:
        for path, node in nodes(tree(kind)):
            for name, child in node.get("properties", {}).items():
                if {fields.PLANNED, fields.PLANNED_VALUES, fields.BUILT_ITEMS} & set(child):
                    assert lists.lookup(structure.INSTEAD, node[STRUCT], name), f"{path}.{name}"


def test_crds_survive_an_uninstall() -> None:
    """Removing the chart must not delete everybody's Canaries."""
    for kind in KINDS:
        assert crds.crd(kind)["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_no_text_is_read_as_a_template() -> None:
    """Helm evaluates the files; a message with braces would break the chart."""
    with pytest.raises(AssertionError):
        crds.dump({"message": "write {{ .Values.x }}"})


def test_the_command_wants_a_chart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Without an argument it says how it is used; with one it prints what it wrote."""
    assert crds.main([]) == 2
    assert "usage" in capsys.readouterr().err
    assert crds.main([str(tmp_path)]) == 0
    assert "canaries.yaml" in capsys.readouterr().out
