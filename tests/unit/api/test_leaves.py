"""No field is accepted and ignored: each is refused by name, has one value only, or is tested to change what is observed.

`leaves.json` has `tested`: leaf -> the test in which changing it alone changes what is observed; and `owed`: leaf -> the part that
still has to name such a test.
"""

import ast
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.api.canary import CanarySpec, WorkloadRef
from daemon.api.defaults import merge
from daemon.api.kinds import CanaryProfileSpec
from tests.unit.api.leaves import leaves, settable
from tests.unit.api.objects import FULL_CANARY

ROOT = Path(__file__).parents[3]
TABLE: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "leaves.json").read_text(encoding="utf-8"))


def test_every_leaf_is_refused_or_tested() -> None:
    """A new field fails here until someone says which test shows what it does."""
    unknown = [path for path in settable() if path not in TABLE["tested"] and path not in TABLE["owed"]]
    assert unknown == []


def test_the_table_names_only_leaves_that_exist() -> None:
    """A renamed or refused field leaves no entry behind, and none is both tested and owed."""
    known = set(settable())
    assert [path for path in [*TABLE["tested"], *TABLE["owed"]] if path not in known] == []
    assert set(TABLE["tested"]) & set(TABLE["owed"]) == set()


def test_the_named_tests_exist() -> None:
    """Found in the syntax tree, so that suites which cannot run here count too."""
    missing = []
    for leaf, node_id in TABLE["tested"].items():
        file, _, name = node_id.partition("::")
        path = ROOT / file
        if not path.exists() or name.split("::")[-1].partition("[")[0] not in functions(path):
            missing.append(f"{leaf}: {node_id}")
    assert missing == []


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_nothing_is_owed() -> None:
    """The list of untested leaves is empty."""
    assert TABLE["owed"] == {}


def test_there_are_leaves_of_every_sort() -> None:
    """The walk itself works: it finds refused ones, and settable ones deep inside lists."""
    paths = {path: refused for path, _, refused in leaves()}
    assert paths["Canary.spec.steps[].match.cohort"]
    assert not paths["Canary.spec.steps[].approval.timeout"]
    assert not paths["Canary.spec.steps[].dwell.minRequests"]
    assert "Canary.spec.strategy.baseline" not in settable()
    assert "Canary.spec.strategy.ramp" in settable()


PROFILE: dict[str, Any] = {key: value for key, value in FULL_CANARY.items() if key not in ("workloadRef", "profileRef")}


@pytest.mark.parametrize("field", sorted(PROFILE))
def test_every_field_of_a_profile_reaches_the_merged_spec(field: str) -> None:
    """What the profile says and the Canary does not is what the release does, field by field."""
    bare = CanarySpec(workload_ref=WorkloadRef(name="a"))
    with_it = merge(bare, msgspec.convert({field: PROFILE[field]}, type=CanaryProfileSpec))
    expected = msgspec.convert({"workloadRef": {"name": "a"}, field: PROFILE[field]}, type=CanarySpec)
    assert with_it == expected
    assert with_it != bare


def test_the_full_profile_has_every_settable_leaf() -> None:
    """So that the test above leaves out no field of a profile."""
    own = ("allowedNamespaces[]", "metricSourceRef.name", "flagSourceRef.name")
    wanted = {path.removeprefix("CanaryProfile.spec.") for path in settable() if path.startswith("CanaryProfile.spec.")}
    there = written(PROFILE)
    free = {leaf for leaf in wanted if any(path.startswith(f"{leaf.removesuffix('[]')}.") for path in there)}  # maps, and a Job's spec
    assert wanted - set(there) - free - set(own) == set()


def written(value: Any, path: str = "") -> list[str]:
    """Paths of all leaves of an object; what people name themselves is an entry without a name."""
    if path.endswith(tuple(f"match.{kind}" for kind in ("headers", "cookies", "query"))):
        return [f"{path}[]"]
    if isinstance(value, dict):
        return [leaf for name, child in value.items() for leaf in written(child, f"{path}.{name}" if path else name)]
    if isinstance(value, list):
        return [leaf for child in value for leaf in written(child, f"{path}[]")]
    return [path]
