"""The script: what is played, and that only what is said differs from the defaults."""

from typing import Any

import msgspec
import pytest

from daemon.api.annotations import canary_from_annotations
from daemon.api.canary import CanarySpec
from daemon.api.defaults import effective, merge
from daemon.api.kinds import CanaryProfileSpec
from daemon.api.validation import validate
from daemon.cli.demo import objects
from daemon.cli.demo.script import KEPT, DemoOptions, UnleashPlace, hurried, releases
from daemon.notify.targets import parse


def of_kind(kind: str, name: str) -> dict[str, Any]:
    found = [*objects.catalogue(DemoOptions()), *objects.shop(DemoOptions(), "web", "gateway")]
    return next(o for o in found if (o["kind"], o["metadata"]["name"]) == (kind, name))


def test_with_an_unleash_the_flags_are_its_own_and_no_token_is_shown() -> None:
    """New names for each run; the shop gets the backend token from the Secret, and no file."""
    place = UnleashPlace(url="http://127.0.0.1:4242", token="admin-secret", client_token="backend-secret", run="1a2b")
    options = DemoOptions(unleash=place)
    assert [release.flag for release in releases(options)] == ["new-checkout-1a2b", "express-pay-1a2b"]
    found = {
        o["kind"]: o for o in [*objects.catalogue(options), *objects.shop(options, "web", "gateway")] if o["metadata"]["name"] != "webhooks"
    }
    assert found["FlagSource"]["spec"]["unleash"]["environment"] == "development"
    env = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {e["name"] for e in env} >= {"UNLEASH_URL", "UNLEASH_TOKEN"}
    assert "secret" not in repr(options)
    assert "secret" not in str(found["Deployment"]).replace("secretKeyRef", "")
    assert any("SDK of Unleash" in line for line in hurried(options))


def spec() -> CanarySpec:
    made = canary_from_annotations("shop", of_kind("Deployment", "shop")["metadata"]["annotations"])
    assert isinstance(made, CanarySpec)
    return made


def test_nothing_but_steps_and_times_differs_from_the_shipped_defaults() -> None:
    """Risks, margins, deadline and outcomes are those that anyone gets who writes nothing."""
    profile = msgspec.convert(of_kind("CanaryProfile", "demo")["spec"], CanaryProfileSpec)
    merged = merge(spec(), profile)
    assert validate(merged) == []
    ours, shipped = effective(merged), effective(spec())
    assert ours.analysis is not None
    assert shipped.analysis is not None
    same = msgspec.structs.replace(
        ours.analysis, interval=shipped.analysis.interval, warm_up=shipped.analysis.warm_up, bake=shipped.analysis.bake
    )
    assert same == shipped.analysis
    assert ours.traffic is not None
    assert shipped.traffic is not None
    traffic = msgspec.structs.replace(ours.traffic, drain=shipped.traffic.drain)
    assert (
        msgspec.structs.replace(ours, steps=shipped.steps, strategy=shipped.strategy, analysis=shipped.analysis, traffic=traffic) == shipped
    )
    assert (ours.analysis.interval, ours.analysis.warm_up, ours.traffic.drain) == ("1s", "3s", "3s")


def test_what_is_said_of_the_defaults_is_what_they_are() -> None:
    """The line about risks and margins, against the merged spec."""
    analysis = effective(spec()).analysis
    assert analysis is not None
    assert analysis.metrics is not None
    assert (analysis.max_false_rollback_percent, analysis.max_bad_promotion_percent) == (1, 5)
    assert [(m.rollback_if_worse_by, m.promote_if_within) for m in analysis.metrics if m.preset != "Restarts"] == [
        ("1.1x+0.02pp", "1.25x+0.3pp")
    ]
    for text in ("1 %", "5 %", "1.1x + 0.02 pp", "1.25x + 0.3 pp"):
        assert text in KEPT


def test_all_that_differs_is_said() -> None:
    """Interval, warm-up, drain, steps, settling of flags and the rate, each with its number."""
    said = " ".join(hurried(DemoOptions(rate=150)))
    for text in ("1 s, not every 15 s", "3 s, not 60 s", "3 s, not 10 s", "10 % for 3 s, 50 % for 5 s", "90 s", "150 requests/s"):
        assert text in said


@pytest.mark.parametrize(
    ("options", "played"),
    [
        (DemoOptions(), [("v2", "new-checkout", True, 0.0, "Promoted"), ("v3", "express-pay", True, 3.0, "RolledBack")]),
        (
            DemoOptions(order=("bad", "good")),
            [("v2", "express-pay", True, 3.0, "RolledBack"), ("v3", "new-checkout", True, 0.0, "Promoted")],
        ),
        (DemoOptions(bad_flag=False), [("v2", "new-checkout", True, 0.0, "Promoted"), ("v3", "express-pay", False, 3.0, "RolledBack")]),
        (DemoOptions(bad_error_percent=0), [("v2", "new-checkout", True, 0.0, "Promoted"), ("v3", "express-pay", True, 0.0, "RolledBack")]),
    ],
)
def test_the_options_change_the_builds_and_never_what_is_expected(options: DemoOptions, played: list[tuple[object, ...]]) -> None:
    """The bad release is always expected to be rolled back: that it is not is what the exit code says."""
    assert [(r.tag, r.flag, r.announced, r.error_percent, r.expected) for r in releases(options)] == played


def test_what_is_bad_is_baked_into_the_image() -> None:
    """The Deployment that is applied says nothing of errors: nobody could read the outcome from it."""
    good, bad = objects.images(DemoOptions(bad_error_percent=7))
    assert (good.env["SHOP_ERROR_PERCENT"], bad.env["SHOP_ERROR_PERCENT"]) == ("0", "7")
    assert "ERROR" not in str(of_kind("Deployment", "shop"))


def test_the_webhooks_are_what_slack_and_teams_hand_out() -> None:
    """The Notifiers' Secrets hold native addresses, so that the way to both services is the real one."""
    found = {name: parse(url) for name, url in objects.WEBHOOKS.items()}
    assert {name: target.service for name, target in found.items()} == {"slack": "slack", "teams": "workflows"}
