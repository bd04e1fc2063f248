"""Which routers there are: a new one is a module, a line here and a run of the contract test."""

from collections.abc import Callable, Mapping
from typing import Final

from daemon.kube.client import Client
from daemon.kube.objects import HTTPRoute
from daemon.kube.store import Store
from daemon.traffic.httproute import HTTPRouteRouter
from daemon.traffic.router import Router

Build = Callable[[Client, Store[HTTPRoute]], Router]

ROUTERS: Final[Mapping[str, Build]] = {
    "HTTPRoute": HTTPRouteRouter,
}
