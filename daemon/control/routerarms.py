"""How each router's own counters tell stable from canary: by a label that names the backend, never by pods."""

from collections.abc import Callable, Mapping
from typing import Final

from analyzers.collector import BASELINE, CANARY
from analyzers.metrics import Matcher, MatchOp
from daemon.api.names import canary_service
from daemon.control.resolved import Resolved

Arms = dict[str, tuple[Matcher, ...]]


def _traefik(namespace: str, service: str) -> tuple[Matcher, ...]:
    """The `service` label of a route's backend ends in `-svc-<namespace>-<service>-<index>@kubernetesgateway`."""
    return (Matcher("service", MatchOp.REGEX, f".*-svc-{namespace}-{service}-[0-9]+@kubernetesgateway"),)


def _envoy(namespace: str, service: str) -> tuple[Matcher, ...]:
    """Contour counts each cluster as `<namespace>_<service>_<port>`; no name of Kubernetes has an underscore."""
    return (Matcher("envoy_cluster_name", MatchOp.REGEX, f"{namespace}_{service}_[^_]+"),)


def _istio_envoy(namespace: str, service: str) -> tuple[Matcher, ...]:
    """istiod calls a cluster `outbound|<port>|<subset>|<host>`, and Istio's proxies have a label without `envoy_`.

    The bars are written as any character: neither a port nor a subset has one, so nothing else fits them.
    """
    return (Matcher("cluster_name", MatchOp.REGEX, f"outbound.[0-9]+.[a-zA-Z0-9-]*.{service}[.]{namespace}[.]svc[.].+"),)


def _istio(namespace: str, service: str) -> tuple[Matcher, ...]:
    """Istio's standard metrics have the Service that the route chose."""
    names = (("destination_service_namespace", namespace), ("destination_service_name", service))
    return tuple(Matcher(label, MatchOp.EQUAL, value) for label, value in names)


LABELS: Final[Mapping[str, Callable[[str, str], tuple[Matcher, ...]]]] = {
    "Traefik": _traefik,
    "Envoy": _envoy,
    "IstioEnvoy": _istio_envoy,
    "Istio": _istio,
}


def router_arms(resolved: Resolved) -> dict[str, Arms]:
    """For each router that counts; empty without a Service to split."""
    if resolved.service is None:
        return {}
    namespace, stable = resolved.canary.namespace, resolved.service.name
    of_arm = ((BASELINE, stable), (CANARY, canary_service(stable)))
    return {router: {arm: labels(namespace, service) for arm, service in of_arm} for router, labels in LABELS.items()}
