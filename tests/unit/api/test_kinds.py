"""Whole objects: read forgivingly, written completely; who may use what is in the catalogue."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.api.canary import CanarySpec
from daemon.api.errors import ApiError, InvalidObjectError
from daemon.api.kinds import KINDS, Canary, FlagSource, MetricSource, decode, encode, kind_named
from daemon.api.profiles import SHIPPED, documents
from daemon.api.sources import admits_flag, admits_namespace, flags_namespace
from daemon.api.validation import lint, read
from tests.unit.api.objects import FULL_CANARY, GOOD, make


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_object_survives_being_read_and_written(kind: Any) -> None:
    """No field of a good object is lost between the wire and the struct."""
    raw = make(kind.name, GOOD[kind.name])
    assert encode(decode(kind.resource, raw)) == raw
    assert decode(kind.resource, msgspec.json.encode(raw)) == decode(kind.resource, raw)


def test_fields_of_a_later_version_are_ignored_on_read() -> None:
    """A daemon one version behind its CRDs keeps working."""
    raw = make("Canary", {**FULL_CANARY, "later": {"x": 1}})
    raw["status"] = {"phase": "Idle", "laterStatus": [1], "conditions": []}
    canary = decode(Canary, raw)
    assert canary.status.phase == "Idle"
    assert canary.spec == msgspec.convert(FULL_CANARY, CanarySpec)


def test_reading_a_broken_object_tells_everything() -> None:
    """The reconciler's condition names every fault, not the first."""
    with pytest.raises(InvalidObjectError) as caught:
        read(Canary, make("Canary", {"workloadRef": {}, "progressDeadline": "soon", "steps": [{"weight": 500}]}))
    assert {error.path for error in caught.value.errors} == {"spec.workloadRef.name", "spec.progressDeadline", "spec.steps[0].weight"}
    assert not caught.value.retryable


def test_a_broken_status_is_an_error_of_ours() -> None:
    """Not one of the decoder's, which callers do not know."""
    with pytest.raises(ApiError, match="Canary cannot be read"):
        read(Canary, {**make("Canary", FULL_CANARY), "status": {"phase": 7}})


def test_an_unknown_kind_is_named_with_those_there_are() -> None:
    """The message helps whoever mistyped it."""
    with pytest.raises(ApiError, match="CanaryProfile"):
        kind_named("Rollout")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "weight", "steps", "flags", "metrics", "x"]), inner)
    ),
    max_leaves=12,
)


@given(
    st.sampled_from([kind.name for kind in KINDS]),
    st.dictionaries(st.sampled_from(sorted({*FULL_CANARY, "type", "scrape", "flagd"})), JSON),
)
def test_lint_has_an_answer_to_anything(kind: str, spec: dict[str, Any]) -> None:
    """Errors with paths, never an exception, whatever was parsed from a file."""
    for error in lint(make(kind, spec)):
        assert error.path
        assert error.message


def test_yaml_booleans_as_keys_are_told() -> None:
    """YAML 1.1 reads the bare key `on` as true."""
    errors = lint(make("Canary", {"workloadRef": {"name": "a"}, "notify": [{"notifierRef": {"name": "s"}, True: ["Paused"]}]}))
    assert any("True" in error.path for error in errors)


def test_a_password_in_an_address_is_not_repeated() -> None:
    """Errors are logged and shown."""
    errors = lint(make("MetricSource", {"type": "Prometheus", "prometheus": {"url": "http://me:hunter2@host"}}))
    assert errors
    assert "hunter2" not in repr(errors)


@pytest.mark.parametrize(
    ("allowed", "namespace", "admitted"),
    [(None, "shop", False), ([], "shop", False), (["*"], "shop", True), (["shop"], "shop", True), (["shop"], "shop2", False)],
)
def test_the_catalogue_admits_only_named_namespaces(allowed: list[str] | None, namespace: str, admitted: bool) -> None:
    """Nothing said is nobody: naming the platform's source is not enough."""
    assert admits_namespace(allowed, namespace) is admitted


@pytest.mark.parametrize(
    ("allowed", "key", "admitted"),
    [(None, "a", True), (["new-*"], "new-checkout", True), (["new-*"], "old", False), (["a"], "ab", False), (["*"], "x", True)],
)
def test_a_flag_source_admits_flags_by_name_or_prefix(allowed: list[str] | None, key: str, admitted: bool) -> None:
    """A source without a list moves all of its flags."""
    assert admits_flag(allowed, key) is admitted


def flag_source(namespace: str | None, ref: str) -> FlagSource:
    reference = {"name": "flags"} | ({"key": "f.json"} if ref == "configMapRef" else {}) | ({"namespace": namespace} if namespace else {})
    return decode(FlagSource, make("FlagSource", {"type": "Flagd", "flagd": {ref: reference}}))


@pytest.mark.parametrize("ref", ["configMapRef", "featureFlagRef"])
@pytest.mark.parametrize(
    ("named", "source_namespace", "expected"),
    [(None, "shop", "shop"), ("shop", "shop", "shop"), ("other", "shop", None), ("other", "linnet", "other")],
)
def test_only_the_catalogue_may_reach_into_another_namespace(
    named: str | None, source_namespace: str, expected: str | None, ref: str
) -> None:
    """A tenant must not write another tenant's flags with Linnet's hands."""
    spec = flag_source(named, ref).spec
    assert flags_namespace(spec, source_namespace=source_namespace, catalogue="linnet") == expected


def test_the_shipped_profiles_are_sound_and_admit_all() -> None:
    """Web, low-traffic, high-traffic, worker and observe; a profile nobody may use would be of no use."""
    assert [profile.metadata.name for profile in SHIPPED] == ["web", "low-traffic", "high-traffic", "worker", "observe"]
    for document in documents():
        assert lint(document) == []
        assert document["spec"]["allowedNamespaces"] == ["*"]


def test_the_worker_profile_goes_by_pods() -> None:
    """A worker has no route."""
    worker = {profile.metadata.name: profile for profile in SHIPPED}["worker"]
    assert worker.spec.traffic is not None
    assert worker.spec.traffic.mode == "PodRatio"


def test_a_metric_source_of_either_type_is_read() -> None:
    """Numbers and names of ports stay what they are."""
    scrape = decode(MetricSource, make("MetricSource", {"type": "Scrape", "scrape": {"port": "metrics"}}))
    assert scrape.spec.scrape is not None
    assert scrape.spec.scrape.port == "metrics"
