"""The short form on a Deployment: what each annotation means, and what is said of a misspelt one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.api import names
from daemon.api.annotations import canary_from_annotations, opted_in
from daemon.api.canary import CanarySpec
from daemon.api.defaults import effective, merge
from daemon.api.profiles import WEB
from daemon.api.validation import validate

ALL = {
    names.PROFILE: "web",
    names.STEPS: "1,5,25:5m,50",
    names.FLAGS: "new-checkout, newSearch",
    names.ROUTE: "httproute/checkout",
    names.NOTIFY: "slack-payments,mail",
    names.SERVICE: "checkout:http",
}


def read(**changes: str | None) -> CanarySpec:
    """The spec of the full set with some annotations changed; an error fails the test."""
    found = canary_from_annotations("checkout", altered(changes))
    assert isinstance(found, CanarySpec), found
    return found


def altered(changes: dict[str, str | None]) -> dict[str, str]:
    merged = {**ALL, **{f"linnet.dev/{key}": value for key, value in changes.items()}}
    return {key: value for key, value in merged.items() if value is not None}


def test_the_annotations_become_a_spec() -> None:
    """Every annotation, as the documentation shows it."""
    assert msgspec.to_builtins(read()) == {
        "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
        "profileRef": {"name": "web"},
        "steps": [{"weight": 1}, {"weight": 5}, {"weight": 25, "dwell": {"minDuration": "5m"}}, {"weight": 50}],
        "flags": [{"name": "new-checkout", "key": "new-checkout"}, {"name": "newsearch", "key": "newSearch"}],
        "traffic": {"routes": [{"name": "checkout"}], "serviceRef": {"name": "checkout", "port": "http"}},
        "notify": [{"notifierRef": {"name": "slack-payments"}}, {"notifierRef": {"name": "mail"}}],
    }


def test_several_routes_of_several_kinds_are_named_in_one_line() -> None:
    """Each kind brings its group."""
    traffic = read(route="httproute/checkout,httpproxies/shop, grpcroute/checkout").traffic
    assert [(r.group, r.kind, r.name) for r in (traffic and traffic.routes) or []] == [
        ("gateway.networking.k8s.io", "HTTPRoute", "checkout"),
        ("projectcontour.io", "HTTPProxy", "shop"),
        ("gateway.networking.k8s.io", "GRPCRoute", "checkout"),
    ]


def test_the_profile_alone_is_enough() -> None:
    """One annotation opts in; everything else comes from the profile."""
    spec = canary_from_annotations("checkout", {names.PROFILE: "web", "unrelated/annotation": "x"})
    assert isinstance(spec, CanarySpec)
    assert spec.steps is None
    assert spec.traffic is None
    assert validate(effective(merge(spec, WEB.spec))) == []


def test_opting_in_is_naming_a_profile() -> None:
    """The other annotations alone do not hand a Deployment to Linnet."""
    assert opted_in({names.PROFILE: "web"})
    assert not opted_in({names.STEPS: "5"})


def test_our_own_marks_are_no_misspelling() -> None:
    """What Linnet or the owner's break-glass writes on the Deployment is not reported."""
    assert read(canary="checkout", held="policy", hold="off") == read()


def test_a_port_may_be_a_number_or_left_out() -> None:
    """`checkout:8080`, `checkout`."""
    for text, port in (("checkout:8080", 8080), ("checkout", None), ("checkout:http", "http")):
        traffic = read(service=text).traffic
        assert traffic is not None
        assert traffic.service_ref is not None
        assert traffic.service_ref.port == port


WRONG = [
    ({"profil": "web"}, "profil", "did you mean linnet.dev/profile"),
    ({"step": "5"}, "step", "did you mean linnet.dev/steps"),
    ({"notifications": "a"}, "notifications", "linnet.dev/"),
    ({"action": "promote@7f9c"}, "action", "on the Canary"),
    ({"profile": None}, "profile", "is missing"),
    ({"profile": "Web"}, "profile", "'Web'"),
    ({"steps": "5%"}, "steps", "'5%' is not a step"),
    ({"steps": "5,,10"}, "steps", "empty entry"),
    ({"steps": ""}, "steps", "empty entry"),
    ({"steps": "5,101"}, "steps", "'101' is not a step"),
    ({"steps": "5:soon"}, "steps", "'soon' is not a duration"),
    ({"steps": "5:0s"}, "steps", "longer than 0s"),
    ({"steps": "25,5"}, "steps", "5 is below the 25"),
    ({"steps": ",".join(str(i) for i in range(1, 40))}, "steps", "39 entries"),
    ({"flags": "new checkout"}, "flags", "'new checkout' is not a flag's key"),
    ({"flags": "a,A"}, "flags", "twice"),
    ({"flags": "a,b,c,d,e,f,g,h,i"}, "flags", "9 entries"),
    ({"route": "checkout"}, "route", "write httproute/checkout"),
    ({"route": "wormhole/checkout"}, "route", "httproute/checkout"),
    ({"route": "httproute/a,,httproute/b"}, "route", "empty entry"),
    ({"notify": "Slack"}, "notify", "'Slack'"),
    ({"notify": "a,a"}, "notify", "twice"),
    ({"service": "Checkout"}, "service", "name:port"),
    ({"service": "checkout:"}, "service", "name:port"),
    ({"service": "checkout:99999"}, "service", "99999 is not a port"),
    ({"service": "a" * 60}, "service", "shorter name"),
]


@pytest.mark.parametrize(("changes", "key", "says"), WRONG)
def test_what_is_wrong_is_told_at_the_annotation(changes: dict[str, str | None], key: str, says: str) -> None:
    """The path is the annotation's, since that is where the author will mend it."""
    errors = canary_from_annotations("checkout", altered(changes))
    assert isinstance(errors, list)
    told = [error for error in errors if error.path == f"metadata.annotations[linnet.dev/{key}]"]
    assert told, errors
    assert says in " ".join(error.message for error in told)


def test_everything_wrong_is_told_at_once() -> None:
    """One Event names all misspellings."""
    errors = canary_from_annotations("checkout", altered({"profile": None, "steps": "x", "rout": "y", "flags": "!"}))
    assert isinstance(errors, list)
    assert len({error.path for error in errors}) == 4


def test_a_deployment_whose_name_cannot_be_a_label_is_refused() -> None:
    """The Canary has the Deployment's name, and that becomes a label."""
    errors = canary_from_annotations("d" * 64, ALL)
    assert isinstance(errors, list)
    assert errors[0].path == "metadata.name"
    assert "64 characters" in errors[0].message


@given(st.dictionaries(st.sampled_from([*ALL, "linnet.dev/else"]), st.text(max_size=40)))
def test_no_annotation_breaks_the_reader(annotations: dict[str, str]) -> None:
    """Whatever people write, the answer is a valid spec or errors, never an exception."""
    found = canary_from_annotations("checkout", annotations)
    if isinstance(found, CanarySpec):
        assert validate(found) == []
    else:
        assert found
