"""How lists are merged and owned, and what a field is told of: tables by struct and field, as `rules` has them for what may stand there."""

from typing import Any, Final

Key = tuple[str, str]

# Named lists: entries are merged and owned one by one. All other lists of objects are atomic.
LIST_KEYS: Final[dict[Key, tuple[str, ...]]] = {
    ("ReleaseSpec", "flags"): ("name",),
    ("Traffic", "routes"): ("group", "kind", "name"),
    ("Traffic", "routers"): ("group", "kind"),
    ("ReleaseSpec", "gates"): ("name",),
    ("Step", "flags"): ("name",),
    ("FlagStep", "cohorts"): ("name",),
    ("Flag", "cohorts"): ("name",),
    ("Analysis", "metrics"): ("name",),
    ("Analysis", "templates"): ("name",),
    ("AnalysisTemplateSpec", "metrics"): ("name",),
    ("WebSource", "counters"): ("name",),
    ("AnalysisTemplateSpec", "args"): ("name",),
    ("TemplateUse", "args"): ("name",),
    ("StepAnalysis", "args"): ("name",),
    ("ReleaseGroupSpec", "members"): ("name",),
    ("ReleaseGroupStatus", "members"): ("name",),
    ("ReleaseGroupStatus", "conditions"): ("type",),
    ("CanaryStatus", "conditions"): ("type",),
    ("CanaryStatus", "arms"): ("name",),
    ("CanaryStatus", "metrics"): ("name",),
    ("AnalysisRunStatus", "metrics"): ("name",),
}
SETS: Final[frozenset[Key]] = frozenset(
    {
        ("NotifyRoute", "events"),
        ("StepMirror", "methods"),
        ("ReleaseWindow", "days"),
        ("ReleaseWindow", "moves"),
        ("FreezeSpec", "namespaces"),
        ("GroupMember", "after"),
        ("MemberStatus", "after"),
        ("MetricSourceSpec", "allowedNamespaces"),
        ("FlagSourceSpec", "allowedNamespaces"),
        ("FlagSourceSpec", "allowedFlags"),
        ("NotifierSpec", "allowedNamespaces"),
        ("CanaryProfileSpec", "allowedNamespaces"),
        ("AnalysisTemplateSpec", "allowedNamespaces"),
    }
)
# A key of a named list must be in every entry, so these alone have a default in the schema.
KEY_DEFAULTS: Final[dict[Key, str]] = {("RouteRef", "group"): "gateway.networking.k8s.io", ("RouteRef", "kind"): "HTTPRoute"}


def lookup(table: dict[Key, Any], struct: str, field: str) -> Any:
    """The entry for a field of a struct; both specs share the fields of `ReleaseSpec`."""
    found = table.get((struct, field))
    if found is None and struct in ("CanarySpec", "CanaryProfileSpec"):
        return table.get(("ReleaseSpec", field))
    return found
