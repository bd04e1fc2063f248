"""Rules of the kinds that a Canary refers to or is held by: sources, templates, windows, freezes, groups.

By struct, like those of `daemon.api.rules`, which the CRDs are made of.
"""

from typing import Final

from daemon.api import analysis, fields, sources
from daemon.api.rule import Rule, count

OWN_PARAMETERS: Final = ["query", "time", "timeout"]

NEEDS: Final = {
    "Scrape": "its port",
    "Datadog": "its keys",
    "InfluxDB": "its url, org and token",
    "CloudWatch": "its sigV4",
    "NewRelic": "its accountId and key",
    "Dynatrace": "its url and token",
    "Splunk": "its realm and token",
    "GoogleCloudMonitoring": "its project and key",
    "Web": "its url and counters",
}
"""What the block of a MetricSource cannot do without."""

_PROVIDERS: Final = tuple(fields.wire(name) for name in analysis.PROVIDERS)

REFERRED_RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "MetricSourceSpec": tuple(
        rule
        for kind, block in ((kind, fields.wire(name)) for kind, name in sources.METRIC_SOURCES.items())
        for rule in (
            Rule(
                rule=f"self.type != '{kind}' || has(self.{block})",
                message=f"type {kind} needs {block} with {NEEDS.get(kind, 'its url')}",
                field=f".{block}",
            ),
            Rule(
                rule=f"self.type == '{kind}' || !has(self.{block})",
                message=f"goes with type {kind}; remove it or change type",
                field=f".{block}",
            ),
        )
    ),
    "FlagdSource": (
        Rule(rule="has(self.configMapRef) != has(self.featureFlagRef)", message="needs exactly one of configMapRef and featureFlagRef"),
    ),
    "FlagSourceSpec": (
        Rule(
            rule="self.type != 'Flagd' || has(self.flagd)",
            message="type Flagd needs flagd with its configMapRef or featureFlagRef",
            field=".flagd",
        ),
        Rule(rule="self.type == 'Flagd' || !has(self.flagd)", message="goes with type Flagd; remove it or change type", field=".flagd"),
        Rule(
            rule="self.type != 'Unleash' || has(self.unleash)",
            message="type Unleash needs unleash with its url, environment and tokenSecretRef",
            field=".unleash",
        ),
        Rule(
            rule="self.type == 'Unleash' || !has(self.unleash)",
            message="goes with type Unleash; remove it or change type",
            field=".unleash",
        ),
        Rule(
            rule="self.type != 'LaunchDarkly' || has(self.launchDarkly)",
            message="type LaunchDarkly needs launchDarkly with its project, environment and tokenSecretRef",
            field=".launchDarkly",
        ),
        Rule(
            rule="self.type == 'LaunchDarkly' || !has(self.launchDarkly)",
            message="goes with type LaunchDarkly; remove it or change type",
            field=".launchDarkly",
        ),
        Rule(rule="self.type != 'HTTP' || has(self.http)", message="type HTTP needs http with its url, read and set", field=".http"),
        Rule(rule="self.type == 'HTTP' || !has(self.http)", message="goes with type HTTP; remove it or change type", field=".http"),
    ),
    "ReleaseWindow": (
        Rule(
            rule="(has(self.opens) ? self.opens : '00:00') != (has(self.closes) ? self.closes : '24:00')",
            message="it closes when it opens, so it never opens; leave opens and closes out for whole days",
            field=".closes",
        ),
        Rule(
            rule="!has(self.opens) || self.opens != '24:00'",
            message="24:00 is the end of a day; a window that opens then opens on the next day at 00:00",
            field=".opens",
        ),
    ),
    "FreezeSpec": (
        Rule(
            rule="!has(self.from) || !has(self.until) || timestamp(self.from) < timestamp(self.until)",
            message="is not after from, so it never holds; give it a later end, or leave it out",
            field=".until",
        ),
    ),
    "ReleaseGroupSpec": (
        Rule(
            rule="self.members.all(m, !has(m.after) || m.after.all(a, a != m.name && self.members.exists(n, n.name == a)))",
            message="has an after that names the member itself, or no member of this group; name other members, or leave it out",
            field=".members",
        ),
    ),
    "Provider": (
        Rule(
            rule=f"{count(_PROVIDERS)} == 1",
            message=f"needs exactly one of {', '.join(_PROVIDERS)}",
        ),
    ),
    "TemplateArg": (Rule(rule="!has(self.value) || !has(self.valueFrom)", message="has value and valueFrom; keep one"),),
    "Arg": (Rule(rule="has(self.value) != has(self.valueFrom)", message="needs exactly one of value and valueFrom"),),
    "ArgFrom": (Rule(rule="has(self.secretKeyRef) != has(self.fieldRef)", message="needs exactly one of secretKeyRef and fieldRef"),),
    "ThresholdRange": (Rule(rule="has(self.min) || has(self.max)", message="needs min, max or both"),),
    "TemplateMetric": (
        Rule(
            rule="!has(self.thresholdRange) || !(has(self.successCondition) || has(self.failureCondition))",
            message="goes without successCondition and failureCondition; keep one way to say it",
            field=".thresholdRange",
        ),
    ),
    "PrometheusSource": (
        Rule(rule="!has(self.sigV4) || !has(self.auth)", message="sigV4 signs instead of auth; keep one", field=".sigV4"),
    ),
    "HttpAuth": (
        Rule(
            rule="has(self.bearerSecretRef) != has(self.basic)",
            message="needs exactly one of bearerSecretRef and basic; without a login leave auth out",
        ),
    ),
}
