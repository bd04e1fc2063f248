"""Where metrics and flags live, and who is told: the objects a platform team writes once and releases refer to by name.

They may hold the name of a Secret, never its content. One in the catalogue namespace serves only those whom it admits: naming
the platform's source must not be enough to use the platform's token.
"""

from typing import Annotated, Final, Literal

import msgspec

from daemon.api.fields import Duration, Model, Name, ObjectName, Time, WallTime, Weekday, Word, doc, planned

ALL: Final = "*"

NamespacePattern = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$")]
FlagPattern = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.~-]*\*?$")]
AllowedNamespaces = Annotated[list[NamespacePattern], msgspec.Meta(max_length=256)]
SecretKey = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
Url = Annotated[str, msgspec.Meta(min_length=8, max_length=2048, pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]
ProjectId = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9][a-z0-9.:-]*$")]
MetricsPath = Annotated[str, msgspec.Meta(min_length=1, max_length=512, pattern=r"^/[^\s#]*$")]
TemplatePath = Annotated[str, msgspec.Meta(min_length=2, max_length=1024, pattern=r"^/[^\s#]*$")]
HeaderValue = Annotated[str, msgspec.Meta(max_length=1024)]

ADMITS = "Namespaces whose Canaries may use this object from the catalogue namespace; '*' is all, nothing is none."


class SecretRef(Model, frozen=True, kw_only=True):
    """One key of a Secret in the namespace of the object that names it."""

    name: ObjectName
    key: SecretKey


class BasicAuth(Model, frozen=True, kw_only=True):
    username_secret_ref: SecretRef
    password_secret_ref: SecretRef


class HttpAuth(Model, frozen=True, kw_only=True):
    """How to sign in: a bearer token, or user and password."""

    bearer_secret_ref: SecretRef | None = None
    basic: BasicAuth | None = None


class ClientCert(Model, frozen=True, kw_only=True):
    """Who Linnet is to a server that asks for a certificate: both in PEM, the key unencrypted."""

    cert_secret_ref: SecretRef
    key_secret_ref: SecretRef


class HttpServer(Model, frozen=True, kw_only=True):
    """A server over HTTP: where it is, whom it is trusted by, and who asks."""

    url: Annotated[Url, doc("Base address without query, such as http://prometheus.monitoring:9090.")]
    auth: HttpAuth | None = None
    headers: Annotated[
        Annotated[dict[str, HeaderValue], msgspec.Meta(max_length=16)] | None,
        doc("Sent with each query, such as X-Scope-OrgID; nothing secret."),
    ] = None
    ca_secret_ref: Annotated[SecretRef | None, doc("CA in PEM that signs the server's certificate, instead of the public ones.")] = None
    client_cert: ClientCert | None = None


class SigV4(Model, frozen=True, kw_only=True):
    """Signs each query as Amazon's services ask for it, instead of auth. Credentials are read anew for each release."""

    region: Annotated[Word, doc("Such as eu-west-1.")]
    access_key_secret_ref: Annotated[SecretRef, doc("The access key's id.")]
    secret_key_secret_ref: Annotated[SecretRef, doc("The secret access key.")]
    session_token_secret_ref: Annotated[SecretRef | None, doc("The session token of credentials that expire.")] = None
    service: Annotated[Word | None, doc("Default that of the source: aps for Prometheus, monitoring for CloudWatch.")] = None


class PrometheusSource(HttpServer, frozen=True, kw_only=True):
    """A Prometheus, or anything that answers its HTTP API (Thanos, Mimir, VictoriaMetrics)."""

    parameters: Annotated[
        Annotated[dict[str, HeaderValue], msgspec.Meta(max_length=16)] | None,
        doc("Sent with each query beside its own, such as max_source_resolution: 0s for a Thanos that downsamples."),
    ] = None
    sig_v4: Annotated[SigV4 | None, doc("For Amazon Managed Service for Prometheus.")] = None


class GraphiteSource(HttpServer, frozen=True, kw_only=True):
    """A graphite-web, or anything that answers its render API. For templates."""


class DatadogSource(Model, frozen=True, kw_only=True):
    """Datadog. For templates."""

    url: Annotated[Url | None, doc("The API of your site, such as https://api.datadoghq.eu. Default https://api.datadoghq.com.")] = None
    api_key_secret_ref: SecretRef
    application_key_secret_ref: Annotated[SecretRef, doc("An application key that may read metrics (timeseries_query).")]


class InfluxDBSource(Model, frozen=True, kw_only=True):
    """InfluxDB 2, asked in Flux. For templates."""

    url: Annotated[Url, doc("Base address, such as http://influxdb.monitoring:8086.")]
    org: Annotated[Word, doc("The organisation whose buckets are read.")]
    token_secret_ref: Annotated[SecretRef, doc("A token that may read them.")]


class CloudWatchSource(Model, frozen=True, kw_only=True):
    """Amazon CloudWatch, asked by GetMetricData. For templates."""

    sig_v4: Annotated[SigV4, doc("Region, and keys of a user or role that may cloudwatch:GetMetricData.")]
    url: Annotated[Url | None, doc("Default the region's public endpoint; such as that of a VPC endpoint.")] = None
    window: Annotated[Duration | None, doc("How far back is looked, in whole minutes up to the one that ended last. Default 5m.")] = None


class NewRelicSource(Model, frozen=True, kw_only=True):
    """New Relic, asked in NRQL through NerdGraph. For templates."""

    account_id: Annotated[int, doc("The account whose data are asked.", ge=1)]
    api_key_secret_ref: Annotated[SecretRef, doc("A user key (NRAK-...).")]
    url: Annotated[Url | None, doc("Default https://api.newrelic.com/graphql; https://api.eu.newrelic.com/graphql for the EU.")] = None


class DynatraceSource(Model, frozen=True, kw_only=True):
    """Dynatrace, asked by the Metrics API v2. For templates."""

    url: Annotated[Url, doc("The environment, such as https://abc12345.live.dynatrace.com.")]
    token_secret_ref: Annotated[SecretRef, doc("An API token that may metrics.read.")]
    window: Annotated[Duration | None, doc("How far back is looked where the query does not say. Default 5m.")] = None


class SplunkSource(Model, frozen=True, kw_only=True):
    """Splunk Observability Cloud (SignalFx), asked in SignalFlow. For templates."""

    realm: Annotated[Word, doc("Such as us0 or eu0.")]
    token_secret_ref: Annotated[SecretRef, doc("An organisation's access token with the API scope.")]
    url: Annotated[Url | None, doc("Default https://stream.REALM.signalfx.com.")] = None
    window: Annotated[Duration | None, doc("How far back the program runs. Default 5m.")] = None


class GoogleSource(Model, frozen=True, kw_only=True):
    """Google Cloud Monitoring, asked in PromQL. For templates."""

    project: Annotated[ProjectId, doc("Id or number of the project whose metrics are read.")]
    key_secret_ref: Annotated[SecretRef, doc("A service account's key in JSON; the account needs roles/monitoring.viewer.")]
    url: Annotated[Url | None, doc("Default https://monitoring.googleapis.com.")] = None


class WebCounter(Model, frozen=True, kw_only=True):
    """A count that only grows, of each version."""

    name: Annotated[
        Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")],
        doc("What a metric's selector calls it, such as orders."),
    ]
    json_path: Annotated[
        Annotated[str, msgspec.Meta(max_length=512)] | None,
        doc(
            "To a number, such as {$.canary.orders} with the word arm in double braces for canary, or to records. Default: all of the answer."
        ),
    ] = None
    value: Annotated[
        Word | None, doc("Field of a record that is the count. Its fields that are texts are labels for selectors. Default value.")
    ] = None


class WebSource(HttpServer, frozen=True, kw_only=True):
    """Counts in JSON over HTTP: what a business knows of each version. For the judge; templates have a provider of their own, web.

    The words arm (stable or canary) and those of a metric's armLabels, in double braces, are filled in for each version.
    """

    path: Annotated[TemplatePath | None, doc("Below url, asked with GET; the word arm in double braces is filled in.")] = None
    counters: Annotated[list[WebCounter], msgspec.Meta(min_length=1, max_length=16)]


class ScrapeSource(Model, frozen=True, kw_only=True):
    """The pods' own metrics page, read by Linnet: no Prometheus needed."""

    port: Annotated[int | str, doc("Port number, or the name of a container port.")]
    path: Annotated[MetricsPath | None, doc("Default /metrics.")] = None
    interval: Annotated[Duration | None, doc("Shortest time between two scrapes of a pod; else analysis.interval.")] = None


class MetricSourceSpec(Model, frozen=True, kw_only=True):
    type: Annotated[
        Literal[
            "Prometheus",
            "Scrape",
            "Graphite",
            "Datadog",
            "InfluxDB",
            "CloudWatch",
            "NewRelic",
            "Dynatrace",
            "Splunk",
            "GoogleCloudMonitoring",
            "Web",
        ],
        doc("Which of the fields below is used."),
    ]
    prometheus: PrometheusSource | None = None
    scrape: ScrapeSource | None = None
    graphite: GraphiteSource | None = None
    datadog: DatadogSource | None = None
    influxdb: InfluxDBSource | None = None
    cloud_watch: CloudWatchSource | None = None
    new_relic: NewRelicSource | None = None
    dynatrace: DynatraceSource | None = None
    splunk: SplunkSource | None = None
    google_cloud_monitoring: GoogleSource | None = None
    web: WebSource | None = None
    ingestion_delay: Annotated[Duration | None, doc("How late samples may arrive: 0s, or 30s behind remote write. Default 0s.")] = None
    allowed_namespaces: Annotated[AllowedNamespaces | None, doc(ADMITS)] = None

    @property
    def server(self) -> HttpServer | None:
        """The server of whichever type; pods have none."""
        return next((b for name in METRIC_SOURCES.values() if isinstance(b := getattr(self, name), HttpServer)), None)


METRIC_SOURCES: Final = {
    "Prometheus": "prometheus",
    "Scrape": "scrape",
    "Graphite": "graphite",
    "Datadog": "datadog",
    "InfluxDB": "influxdb",
    "CloudWatch": "cloud_watch",
    "NewRelic": "new_relic",
    "Dynatrace": "dynatrace",
    "Splunk": "splunk",
    "GoogleCloudMonitoring": "google_cloud_monitoring",
    "Web": "web",
}
"""Types of a MetricSource to their blocks."""


class ConfigMapRef(Model, frozen=True, kw_only=True):
    """The flag file of flagd."""

    name: ObjectName
    key: Annotated[SecretKey, doc("The file's key in the ConfigMap.")]
    namespace: Annotated[Name | None, doc("Another namespace than the source's own; only in the catalogue namespace.")] = None


class FeatureFlagRef(Model, frozen=True, kw_only=True):
    """A FeatureFlag (core.openfeature.dev/v1beta1) of the OpenFeature operator."""

    name: ObjectName
    namespace: Annotated[Name | None, doc("Another namespace than the source's own; only in the catalogue namespace.")] = None


class FlagdSource(Model, frozen=True, kw_only=True):
    """flagd, reading its flags from a ConfigMap or from a FeatureFlag object; exactly one of the two."""

    config_map_ref: ConfigMapRef | None = None
    feature_flag_ref: FeatureFlagRef | None = None
    settle: Annotated[
        Duration | None,
        doc("Longest time until all readers see a change. Default 90s for a ConfigMap, which is mounted, and 15s for a FeatureFlag."),
    ] = None


class UnleashSource(Model, frozen=True, kw_only=True):
    """Unleash, written through its admin API and watched through its own SDK."""

    url: Annotated[Url, doc("Base address, such as https://unleash.example.com.")]
    token_secret_ref: Annotated[
        SecretRef,
        doc("Token of an account that may create and update strategies and switch environments: a personal or service account's."),
    ]
    environment: Annotated[Word, doc("The environment whose strategies Linnet moves, such as production.")]
    project: Annotated[Word | None, doc("Default `default`.")] = None
    witness_token_secret_ref: Annotated[
        SecretRef | None,
        doc("Backend (client) token of the same project and environment: with it, a change counts once Unleash's own SDK evaluates it."),
    ] = None
    settle: Annotated[
        Duration | None, doc("Longest time until every app's SDK has a change: the slowest refresh interval and 2s. Default 30s.")
    ] = None
    webhook_secret_ref: Annotated[
        SecretRef | None,
        doc("What Unleash's webhook shows as Authorization: with it, a person's hand on a flag is noticed at once, not at the next poll."),
    ] = None


TemplateBody = Annotated[str, msgspec.Meta(min_length=2, max_length=16384)]
Pointer = Annotated[str, msgspec.Meta(min_length=2, max_length=256, pattern=r"^(/[^/]*)+$")]


class HttpFlagRead(Model, frozen=True, kw_only=True):
    """Where a flag is read, and where in the JSON that comes back things are, by JSON pointers."""

    path: Annotated[TemplatePath, doc("Below url, asked with GET; the word flag in double braces is filled in.")]
    percent: Annotated[Pointer, doc("The share, a whole number from 0 to 100, such as /rollout/percent.")]
    owner: Annotated[Pointer, doc("The text that says who drives the flag; missing, null or empty is nobody.")]
    gate: Annotated[Pointer | None, doc("The value of `track` that the flag is limited to; missing, null or empty is no limit.")] = None
    cohorts: Annotated[Pointer | None, doc("The list of cohorts, as set wrote it.")] = None
    enabled: Annotated[Pointer | None, doc("Whether the flag is on at all. Left out, it always is.")] = None
    revision: Annotated[Pointer | None, doc("What changes with every write.")] = None
    changed_by: Annotated[Pointer | None, doc("Who changed the flag last, for messages.")] = None


class HttpFlagWrite(Model, frozen=True, kw_only=True):
    """A request that changes a flag, as a template: a text that is nothing but a hole becomes the value itself."""

    path: Annotated[TemplatePath, doc("Below url; the words flag, percent and revision in double braces are filled in.")]
    body: Annotated[TemplateBody, doc("JSON whose texts have flag, percent, gate, cohorts, owner and revision in double braces.")]
    method: Annotated[Literal["PUT", "POST", "PATCH"] | None, doc("Default PUT.")] = None


class HttpFlagSource(Model, frozen=True, kw_only=True):
    """A flag service of your own, read and written as you describe it."""

    url: Annotated[Url, doc("Base address, such as https://flags.example.com/api.")]
    read: HttpFlagRead
    set: HttpFlagWrite
    zero: Annotated[HttpFlagWrite | None, doc("How a flag is taken back. Left out, `set` with 0 %.")] = None
    auth: HttpAuth | None = None
    headers: Annotated[
        Annotated[dict[str, HeaderValue], msgspec.Meta(max_length=16)] | None, doc("Sent with each request; nothing secret.")
    ] = None
    conditional: Annotated[
        Literal["ETag", "Revision", "None"] | None,
        doc(
            "How a write is refused that somebody was faster than: If-Match with the read's ETag, or the revision in the body. Default None."
        ),
    ] = None
    settle: Annotated[Duration | None, doc("Longest time until all apps have a change. Default 30s.")] = None


class LaunchDarklySource(Model, frozen=True, kw_only=True):
    """LaunchDarkly, written through its REST API by semantic patches."""

    token_secret_ref: Annotated[SecretRef, doc("An API access token (no SDK key) whose role may update targeting rules of the flags.")]
    project: Annotated[Word, doc("Key of the project.")]
    environment: Annotated[Word, doc("Key of the environment whose rules Linnet moves, such as production.")]
    url: Annotated[Url | None, doc("Default https://app.launchdarkly.com; other hosts for the EU and federal instances.")] = None
    context_kind: Annotated[
        Word | None, doc("Kind of the context whose key decides a share, and whose attributes are asked. Default user.")
    ] = None
    settle: Annotated[Duration | None, doc("Longest time until every app's SDK has a change. Default 15s, for SDKs that stream.")] = None


class FlagSourceSpec(Model, frozen=True, kw_only=True):
    type: Annotated[
        Literal["Flagd", "Unleash", "LaunchDarkly", "HTTP"],
        doc("Which flag service holds the flags."),
    ]
    flagd: FlagdSource | None = None
    unleash: UnleashSource | None = None
    launch_darkly: LaunchDarklySource | None = None
    http: HttpFlagSource | None = None
    allowed_namespaces: Annotated[AllowedNamespaces | None, doc(ADMITS)] = None
    allowed_flags: Annotated[
        Annotated[list[FlagPattern], msgspec.Meta(max_length=256)] | None,
        doc("Flag keys that Canaries may move, exact or with a trailing '*'; left out, all of the source's."),
    ] = None


class Digest(Model, frozen=True, kw_only=True):
    """One message a week, at a wall time: what was only observed, and what Linnet would have done."""

    time_zone: Annotated[Word, doc("A name such as Europe/Berlin or UTC.")]
    day: Annotated[Weekday | None, doc("Default Mon.")] = None
    at: Annotated[WallTime | None, doc("Wall time such as 09:00. Default 09:00.")] = None


class NotifierStatus(Model, frozen=True, kw_only=True):
    digest_sent_at: Time | None = None


class NotifierSpec(Model, frozen=True, kw_only=True):
    url_secret_ref: Annotated[SecretRef, doc("Secret that holds an apprise URL, or a Slack or Teams webhook address as it is.")]
    template: Annotated[Annotated[str, msgspec.Meta(max_length=4096)] | None, planned("A text of your own for messages.")] = None
    allowed_namespaces: Annotated[AllowedNamespaces | None, doc(ADMITS)] = None
    digest: Annotated[
        Digest | None, doc("A weekly summary of the Canaries with mode Observe that name this Notifier; none where left out.")
    ] = None


def admits_namespace(allowed: list[str] | None, namespace: str) -> bool:
    """May a Canary of `namespace` use a catalogue object with this `allowedNamespaces`?"""
    return any(entry in (ALL, namespace) for entry in allowed or ())


def admits_flag(allowed: list[str] | None, key: str) -> bool:
    """May a Canary move the flag `key` through a source with this `allowedFlags`?"""
    if not allowed:
        return True
    return any(key.startswith(entry[:-1]) if entry.endswith(ALL) else key == entry for entry in allowed)


def flags_namespace(spec: FlagSourceSpec, *, source_namespace: str, catalogue: str) -> str | None:
    """Namespace of a flagd source's object, or None where the source may not name the one it names.

    A tenant's FlagSource that names another namespace would let the tenant write there with Linnet's hands.
    """
    ref = (spec.flagd.config_map_ref or spec.flagd.feature_flag_ref) if spec.flagd else None
    named = ref.namespace if ref else None
    if named is None or named == source_namespace:
        return source_namespace
    return named if source_namespace == catalogue else None
