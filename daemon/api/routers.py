"""Which kinds of route can be named in a Canary: those that Linnet brings, and those that a user describes.

The names are here, so that `linnet lint` and admission know them without the code that moves them (`daemon/traffic`); a test holds both
lists against each other. A `CustomRouter` says where in any other kind the backends are, so that an unlisted gateway needs no code.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from daemon.api.fields import Duration, Model, ObjectName, doc

GATEWAY_API: Final = "gateway.networking.k8s.io"
KNOWN: Final[Mapping[str, str]] = {
    "HTTPRoute": GATEWAY_API,
    "GRPCRoute": GATEWAY_API,
    "TraefikService": "traefik.io",
    "HTTPProxy": "projectcontour.io",
    "VirtualService": "networking.istio.io",
    "Ingress": "networking.k8s.io",
}

RouteKind = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$")]
ApiGroup = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
ApiVersion = Annotated[str, msgspec.Meta(min_length=2, max_length=63, pattern=r"^v[0-9][a-z0-9]*$")]
FieldPath = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=r"^[^/~]+(/[^/~]+)*$")]
Weight = Annotated[int, msgspec.Meta(ge=0, le=100)]
FieldName = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[^/~*]+$")]


class RouteRef(Model, frozen=True, kw_only=True):
    """A route object whose weights Linnet moves."""

    name: ObjectName
    kind: Annotated[RouteKind, doc("HTTPRoute where left out.")] = "HTTPRoute"
    group: Annotated[ApiGroup, doc("API group of the kind, without the version.")] = GATEWAY_API


class RouteReady(Model, frozen=True, kw_only=True):
    """How a route says that its gateway has taken it."""

    path: Annotated[FieldPath, doc("Where the word is, such as `status/currentStatus`; a number picks an entry of a list.")]
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=128), doc("The word that means yes, such as `valid`.")]
    generation: Annotated[
        FieldPath | None, doc("Where the generation is that it speaks of; left out, the word is taken to speak of the object as it is.")
    ] = None


class CustomRouter(Model, frozen=True, kw_only=True):
    """How to move the weights of a kind of route that Linnet does not bring: where its backends are, and what they are called there."""

    kind: RouteKind
    group: ApiGroup
    version: ApiVersion
    resource: Annotated[ObjectName, doc("The plural, as in `kubectl get <resource>`.")]
    backends: Annotated[
        Annotated[list[FieldPath], msgspec.Meta(min_length=1, max_length=8)],
        doc("Paths of the lists that requests are split over; `*` is each entry, such as `spec/routes/*/services`."),
    ]
    service: Annotated[FieldPath | None, doc("Where a backend names its Service. Default `name`.")] = None
    weight: Annotated[FieldName | None, doc("The field of a backend that holds its weight. Default `weight`.")] = None
    port: Annotated[FieldPath | None, doc("Where a backend names the port. Default `port`.")] = None
    unset: Annotated[Weight | None, doc("What a backend without a weight counts beside others. Default 1.")] = None
    ready: RouteReady | None = None
    settle: Annotated[Duration | None, doc("How long after a write a route without `ready` is taken to be in force. Default 5s.")] = None
