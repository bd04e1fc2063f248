"""From a FlagSource object to the provider that moves its flags, credentials included.

A provider is built anew for each use: the token is read from its Secret by name and kept for half a minute, so that a changed one is used
within a minute and nothing that was deleted goes on being used.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from daemon.api.flagservices import generic_source
from daemon.api.quantities import parse_duration
from daemon.api.sources import SecretRef
from daemon.control import objects as ours
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.kube import errors as kube_errors
from daemon.kube.client import Client
from daemon.kube.objects import RawObject
from daemon.kube.patch import Operation
from daemon.kube.resources import CONFIG_MAPS, custom
from flags.errors import Conflict, Forbidden, Missing, Retryable
from flags.launchdarkly_api import Limits
from flags.model import Owner
from flags.provider import FlagProvider, HttpClient, ObjectRef
from flags.registry import Ports, build
from flags.unleash_witness import Witnesses

MOUNTED: Final = 90.0  # seconds until the kubelet of each node has brought a ConfigMap up to date
WATCHED: Final = 15.0  # seconds until whoever watches an object has told every SDK of it
FEATURE_FLAGS: Final = custom("core.openfeature.dev", "v1beta1", "featureflags", "FeatureFlag", RawObject)
_KINDS: Final = {"ConfigMap": CONFIG_MAPS.with_model(RawObject), "FeatureFlag": FEATURE_FLAGS}


class KubeObjects:
    """ConfigMaps and FeatureFlags for the flagd provider: the `ObjectStore` of the flags package."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def manager(self) -> str:
        return self._client.field_manager

    async def get(self, ref: ObjectRef) -> Mapping[str, Any]:
        return await self._guarded("GET", ref, None)

    async def patch(self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return await self._guarded("PATCH", ref, operations)

    async def _guarded(self, verb: str, ref: ObjectRef, operations: Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any]:
        what, resource = f"{ref.kind} {ref.namespace}/{ref.name}", _KINDS[ref.kind]
        try:
            path = resource.path(ref.namespace, ref.name)
            if operations is None:
                body = await self._client.transport.request("GET", path, deadline=4.0, attempts=1)
            else:
                wire = [Operation(op=o["op"], path=o["path"], value=o.get("value")) for o in operations]
                await self._client.json_patch(resource, ref.namespace, ref.name, wire, deadline=4.0)
                body = await self._client.transport.request("GET", path, deadline=4.0, attempts=1)
        except kube_errors.NotFound as e:
            raise Missing(f"{what} does not exist") from e
        except kube_errors.Forbidden as e:
            raise Forbidden(f"{what}: Linnet may not {verb.lower()} it") from e
        except (kube_errors.PatchTestFailed, kube_errors.Conflict) as e:
            raise Conflict(f"{what} changed meanwhile") from e
        except kube_errors.KubeError as e:
            raise Retryable(f"{what}: {e.message}") from e
        found: dict[str, Any] = msgspec.json.decode(body)
        return found


class FlagSources:
    """Builds providers. Without `witnesses` (a command that writes and goes) nothing waits for what SDKs see."""

    def __init__(self, client: Client, http: HttpClient, secrets: SecretReader, witnesses: Witnesses | None = None) -> None:
        self._ports = Ports(objects=KubeObjects(client), http=http, witnesses=witnesses, limits=Limits())
        self._secrets = secrets

    async def provider(self, source: ours.FlagSource, owner: Owner) -> FlagProvider:
        """Of a FlagSource, for one Canary. FlagError where it cannot be reached as it is written."""
        kind, options = await self._options(source)
        return build(kind, options, owner, self._ports)

    async def _options(self, source: ours.FlagSource) -> tuple[str, dict[str, Any]]:
        match source.spec.type:
            case "Flagd":
                return "flagd", _flagd(source)
            case "Unleash":
                return "unleash", await self._unleash(source)
            case "LaunchDarkly":
                return "launchDarkly", await self._launch_darkly(source)
            case "HTTP":
                return "http", await self._http(source)

    async def _unleash(self, source: ours.FlagSource) -> dict[str, Any]:
        unleash = source.spec.unleash
        if unleash is None:
            raise Missing(f"FlagSource {source.namespace}/{source.name} has no unleash block")
        options: dict[str, Any] = {"url": unleash.url, "environment": unleash.environment, "project": unleash.project or "default"}
        if unleash.settle:
            options["settle"] = parse_duration(unleash.settle)
        options["token"] = await self._secret(source, unleash.token_secret_ref)
        if unleash.witness_token_secret_ref is not None:
            options["client_token"] = await self._secret(source, unleash.witness_token_secret_ref)
        return options

    async def _launch_darkly(self, source: ours.FlagSource) -> dict[str, Any]:
        service = source.spec.launch_darkly
        if service is None:
            raise Missing(f"FlagSource {source.namespace}/{source.name} has no launchDarkly block")
        options: dict[str, Any] = {"project": service.project, "environment": service.environment}
        if service.url:
            options["url"] = service.url
        if service.context_kind:
            options["context_kind"] = service.context_kind
        if service.settle:
            options["settle"] = parse_duration(service.settle)
        options["token"] = await self._secret(source, service.token_secret_ref)
        return options

    async def _http(self, source: ours.FlagSource) -> dict[str, Any]:
        http = source.spec.http
        if http is None:
            raise Missing(f"FlagSource {source.namespace}/{source.name} has no http block")
        login: dict[str, str] = {}
        if http.auth is not None and http.auth.bearer_secret_ref is not None:
            login["Authorization"] = f"Bearer {await self._secret(source, http.auth.bearer_secret_ref)}"
        if http.auth is not None and http.auth.basic is not None:
            user = await self._secret(source, http.auth.basic.username_secret_ref)
            password = await self._secret(source, http.auth.basic.password_secret_ref)
            login["Authorization"] = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
        options: dict[str, Any] = msgspec.to_builtins(generic_source(http, login))
        return options

    async def _secret(self, source: ours.FlagSource, ref: SecretRef) -> str:
        try:
            return await self._secrets.read(source.namespace, ref)
        except SecretMissing as e:
            raise Missing(f"FlagSource {source.namespace}/{source.name}: {e}") from e
        except kube_errors.KubeError as e:
            raise Retryable(f"FlagSource {source.namespace}/{source.name}: {e.message}") from e


def _flagd(source: ours.FlagSource) -> dict[str, Any]:
    flagd = source.spec.flagd
    if flagd is None:
        raise Missing(f"FlagSource {source.namespace}/{source.name} has no flagd block")
    settle = {"settle": parse_duration(flagd.settle)} if flagd.settle else {}
    if flagd.feature_flag_ref is not None:
        ref = flagd.feature_flag_ref
        return {"namespace": ref.namespace or source.namespace, "feature_flag": ref.name, "settle": WATCHED, **settle}
    if flagd.config_map_ref is None:
        raise Missing(f"FlagSource {source.namespace}/{source.name} names neither a ConfigMap nor a FeatureFlag")
    file = flagd.config_map_ref
    return {"namespace": file.namespace or source.namespace, "config_map": file.name, "key": file.key, "settle": MOUNTED, **settle}
