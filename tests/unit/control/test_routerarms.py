"""Whose counters are whose, by the names that routers give their backends."""

from __future__ import annotations

import re

import pytest

from analyzers.metrics import MatchOp
from analyzers.sources.merging import plain
from daemon.control.routerarms import LABELS

# What a real Traefik, Contour and istiod made of Service web, port 80, in namespace shop; then of others that look like it.
SEEN = {
    "Traefik": ("shop-web-0-svc-shop-{}-80@kubernetesgateway", ("shop-web-0-svc-shop-my-web-80@kubernetesgateway",)),
    "Envoy": ("shop_{}_80", ("shop_my-web_80", "my-shop_web_80", "shop_web-next_80")),
    "IstioEnvoy": (
        "outbound|80|v1|{}.shop.svc.cluster.local",
        (
            "outbound|80||my-web.shop.svc.cluster.local",
            "outbound|80|web|b.shop.svc.cluster.local",
            "outbound|80||web.other.svc.cluster.local",
            "inbound|80||web.shop.svc.cluster.local",
        ),
    ),
}


@pytest.mark.parametrize("router", SEEN)
def test_a_backend_is_counted_for_its_own_arm_alone(router: str) -> None:
    """Stable's name is the beginning of the canary's, and other Services end alike: none of them is taken for another."""
    name, others = SEEN[router]
    for service in ("web", "web-canary"):
        (matcher,) = LABELS[router]("shop", service)
        assert matcher.op is MatchOp.REGEX
        assert plain(matcher.value), "pages are matched by the daemon itself, and it takes simple ones alone"
        fits = [seen for seen in (name.format("web"), name.format("web-canary"), *others) if re.fullmatch(matcher.value, seen)]
        assert fits == [name.format(service)]


def test_istio_s_telemetry_names_the_service_itself() -> None:
    """Two labels that are equal or not."""
    assert [(m.label, m.op, m.value) for m in LABELS["Istio"]("shop", "web")] == [
        ("destination_service_namespace", MatchOp.EQUAL, "shop"),
        ("destination_service_name", MatchOp.EQUAL, "web"),
    ]
