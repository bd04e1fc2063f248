"""What is wrong with a MetricSource or a FlagSource: blocks that are not those of its type, logins in two ways, templates that say nothing."""

from analyzers.sources.counts import HOLE
from analyzers.templates import paths
from analyzers.templates.errors import PathError
from daemon.api import referred_rules
from daemon.api.bounds import port_faults, positive
from daemon.api.errors import Errors, fault
from daemon.api.fields import Model, wire
from daemon.api.flagservices import generic_source
from daemon.api.sources import METRIC_SOURCES, FlagSourceSpec, HttpAuth, HttpServer, MetricSourceSpec, WebSource
from flags.errors import Invalid
from flags.generic_view import checked


def metric_source_faults(spec: MetricSourceSpec, path: str) -> Errors:
    yield from _matching(spec.type, {kind: (wire(name), getattr(spec, name)) for kind, name in METRIC_SOURCES.items()}, path)
    for name in METRIC_SOURCES.values():
        block = getattr(spec, name)
        if isinstance(block, HttpServer) and block.auth is not None:
            yield from _auth(block.auth, f"{path}.{name}.auth")
    for name in (spec.prometheus.parameters if spec.prometheus else None) or {}:
        if name in referred_rules.OWN_PARAMETERS:
            yield fault(f"{path}.prometheus.parameters", name, f"{', '.join(referred_rules.OWN_PARAMETERS)} are Linnet's own; remove them")
    if spec.prometheus is not None and spec.prometheus.sig_v4 is not None and spec.prometheus.auth is not None:
        yield fault(f"{path}.prometheus.sigV4", None, "sigV4 signs instead of auth; keep one")
    for name in METRIC_SOURCES.values():
        yield from positive(getattr(getattr(spec, name), "window", None), f"{path}.{wire(name)}.window")
    if spec.web is not None:
        yield from _counters(spec.web, f"{path}.web")
    if spec.scrape is not None:
        yield from port_faults(spec.scrape.port, f"{path}.scrape.port")
        yield from positive(spec.scrape.interval, f"{path}.scrape.interval")


def _counters(block: WebSource, path: str) -> Errors:
    for index, counter in enumerate(block.counters):
        try:
            paths.parse(HOLE.sub("x", counter.json_path or ""))
        except PathError as error:
            yield fault(f"{path}.counters[{index}].jsonPath", counter.json_path, str(error))


def _matching(chosen: str, blocks: dict[str, tuple[str, Model | None]], path: str) -> Errors:
    """The block of the chosen type is there, and no other."""
    for kind, (name, block) in blocks.items():
        if kind == chosen and block is None:
            yield fault(f"{path}.{name}", None, f"is missing: type {kind} needs it", "Required")
        if kind != chosen and block is not None:
            yield fault(f"{path}.{name}", None, f"goes with type {kind}, not {chosen}; remove it or change type")


def _auth(auth: HttpAuth, path: str) -> Errors:
    if (auth.bearer_secret_ref is None) == (auth.basic is None):
        yield fault(path, None, "needs exactly one of bearerSecretRef and basic; without a login leave auth out", "NotOneKind")


def flag_source_faults(spec: FlagSourceSpec, path: str) -> Errors:
    blocks: dict[str, tuple[str, Model | None]] = {
        "Flagd": ("flagd", spec.flagd),
        "Unleash": ("unleash", spec.unleash),
        "LaunchDarkly": ("launchDarkly", spec.launch_darkly),
        "HTTP": ("http", spec.http),
    }
    yield from _matching(spec.type, blocks, path)
    if spec.flagd is not None and (spec.flagd.config_map_ref is None) == (spec.flagd.feature_flag_ref is None):
        yield fault(f"{path}.flagd", None, "needs exactly one of configMapRef and featureFlagRef", "NotOneKind")
    if spec.http is not None:
        if spec.http.auth is not None:
            yield from _auth(spec.http.auth, f"{path}.http.auth")
        try:
            checked(generic_source(spec.http))
        except Invalid as error:
            field = error.field.removeprefix("FlagSource.spec")
            yield fault(f"{path}{field}", error.value, f"{error.problem}. {error.way_out}")
