"""What a pattern means to a person. The CRDs say it by a rule with this message instead of a bare regular expression."""

from typing import Final, get_args

from daemon.api import analysis, calendar, fields, routers, sources

_MEANINGS: Final = (
    (fields.Duration, "a duration such as 90s, 2m or 1h30m"),
    (fields.Margin, "a margin such as 0.5pp, 10%, 1.1x or 1.1x+0.02pp"),
    (fields.Name, "lower-case letters, digits and '-'"),
    (fields.ObjectName, "lower-case letters, digits, '-' and '.'"),
    (fields.FlagKey, "letters, digits and any of _ . ~ -"),
    (sources.NamespacePattern, "the name of a namespace, or '*' for all"),
    (sources.FlagPattern, "a flag's key, with '*' at its end alone"),
    (sources.SecretKey, "a key: letters, digits and any of - . _"),
    (sources.Url, "http:// or https:// with host and path, without query and without a password"),
    (sources.MetricsPath, "a path that begins with /"),
    (analysis.ArgName, "letters, digits, '-', '_' and '.'"),
    (analysis.MetricPattern, "the name of a metric, with '*' for any characters"),
    (routers.RouteKind, "a kind such as HTTPRoute"),
    (routers.ApiVersion, "a version such as v1 or v1beta1"),
    (routers.FieldPath, "names with / between them, such as spec/rules/*/backendRefs"),
    (routers.FieldName, "the name of one field"),
    (fields.WallTime, "a wall time such as 09:00, or 24:00 for the end of the day"),
    (calendar.Instant, "a time with its offset, such as 2026-12-24T18:00:00+01:00 or 2026-12-24T17:00:00Z"),
    (analysis.HeaderName, "the name of a header: letters, digits, '-' and '_'"),
)
MEANING: Final[dict[str, str]] = {get_args(alias)[1].pattern: meaning for alias, meaning in _MEANINGS}
