"""Which providers there are: a new one is a module, a line here and a run of the contract suite."""

from collections.abc import Callable
from typing import Any

import msgspec

from flags.errors import Invalid
from flags.flagd import FlagdProvider, FlagdSource
from flags.generic import GenericProvider
from flags.generic_view import GenericSource
from flags.launchdarkly import LaunchDarklyProvider
from flags.launchdarkly_api import LaunchDarklySource, Limits
from flags.model import Owner
from flags.provider import FlagProvider, HttpClient, ObjectStore
from flags.unleash import UnleashProvider
from flags.unleash_admin import UnleashSource
from flags.unleash_witness import Witnesses


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider reaches the world; the daemon gives them."""

    objects: ObjectStore
    http: HttpClient
    witnesses: Witnesses | None = None
    limits: Limits | None = None


Build = Callable[[dict[str, Any], Owner, Ports], FlagProvider]

PROVIDERS: dict[str, Build] = {
    "flagd": lambda options, owner, ports: FlagdProvider(msgspec.convert(options, FlagdSource), owner, ports.objects),
    "launchDarkly": lambda options, owner, ports: LaunchDarklyProvider(
        msgspec.convert(options, LaunchDarklySource), owner, ports.http, ports.limits
    ),
    "http": lambda options, owner, ports: GenericProvider(msgspec.convert(options, GenericSource), owner, ports.http),
    "unleash": lambda options, owner, ports: UnleashProvider(msgspec.convert(options, UnleashSource), owner, ports.http, ports.witnesses),
}


def build(kind: str, options: dict[str, Any], owner: Owner, ports: Ports) -> FlagProvider:
    """The provider of a FlagSource."""
    if kind not in PROVIDERS:
        raise Invalid(
            field="FlagSource.spec.provider",
            value=kind,
            problem="no such provider in this version",
            way_out=f"Use one of: {', '.join(sorted(PROVIDERS))}.",
        )
    try:
        return PROVIDERS[kind](options, owner, ports)
    except msgspec.ValidationError as problem:
        # Names only: among the values are tokens.
        given = ", ".join(sorted(options))
        raise Invalid(field=f"FlagSource.spec.{kind}", value=given, problem=str(problem), way_out="See the FlagSource reference.") from None
