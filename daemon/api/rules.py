"""What the shape of a kind cannot say: rules in CEL for the API server, keys of named lists, and the way out of what is planned.

Tables by struct and field, so that a rule follows its struct into every kind that contains it. `daemon.api.validation` says the
same in Python for the merged spec, where profile and object have met; one table of wrong objects is run through both.
"""

from typing import Final

from daemon.api import names
from daemon.api.lists import Key
from daemon.api.picks import MEANING as PICK_WORDS
from daemon.api.picks import NAMES as PICKED_BY
from daemon.api.referred_rules import OWN_PARAMETERS, REFERRED_RULES
from daemon.api.routers import KNOWN
from daemon.api.rule import COUNT, DAY, FACTOR, PORT, POSITIVE, Rule, count

STEP_KINDS: Final = ("pause", "approval", "analysis", "match", "mirror", "scale", "gate")
METRIC_KINDS: Final = ("preset", "ratio", "histogram", "gauge")
SERVICE_LIMIT: Final = names.NAME_LIMIT - len(names.CANARY_SUFFIX)


_HAS_STEP_FLAGS = "(has(self.flags) && size(self.flags) > 0)"
_STEP_NAMES = "self.steps.all(s, !has(s.name) || self.steps.exists_one(t, has(t.name) && t.name == s.name))"
_WEIGHTS = "self.steps.filter(s, has(s.weight)).map(s, s.weight)"
_PICKS = "(has(s.match) || has(s.mirror))"
_PICKED_FIRST = f"self.steps.filter(s, has(s.weight) || {_PICKS}).map(s, has(s.weight) ? s.weight : 0).isSorted()"
_SAME_FLAG = (
    "(has(g.key) ? g.key : g.name) == (has(f.key) ? f.key : f.name) && "
    "(has(g.sourceRef) ? g.sourceRef.name : '') == (has(f.sourceRef) ? f.sourceRef.name : '')"
)
_UNDECLARED = "s.flags.all(f, has(self.flags) && self.flags.exists(g, g.name == f.name))"

# Presets whose values are not shares of requests.
LATENCY_PRESETS: Final = ["HTTPLatency", "GRPCLatency", "EnvoyLatency"]
RELATIVE_PRESETS: Final = [*LATENCY_PRESETS, "CPUPerRequest", "QueueAge"]
_RELATIVE: Final = f"has(self.histogram) || has(self.gauge) || (has(self.preset) && self.preset in {RELATIVE_PRESETS})"
_BLUE_GREEN: Final = "has(self.strategy) && has(self.strategy.type) && self.strategy.type == 'BlueGreen'"
_OBSERVES: Final = "has(self.mode) && self.mode == 'Observe'"
_RELEASE: Final = (
    Rule(
        rule=f"!({_OBSERVES}) || !has(self.traffic) || !has(self.traffic.mode) || self.traffic.mode != 'None'",
        message="Observe compares old pods with new ones, and a release of flags alone has none: leave mode out",
        field=".mode",
    ),
    Rule(
        rule=f"!({_OBSERVES}) || !has(self.analysis) || !has(self.analysis.judge) || self.analysis.judge != 'TemplatesOnly'",
        message="Observe compares two versions by their metrics, and judge TemplatesOnly compares none: use Statistical",
        field=".mode",
    ),
    Rule(
        rule=f"!({_BLUE_GREEN}) || !has(self.steps) || self.steps.filter(s, has(s.weight) && s.weight > 0 && s.weight < 100).size() <= 1",
        message="blue-green switches all requests at once: keep at most one weight below 100, to compare at, or use type Canary",
        field=".steps",
    ),
    Rule(
        rule=f"!({_BLUE_GREEN}) || !has(self.traffic) || !has(self.traffic.mode) || self.traffic.mode != 'PodRatio'",
        message="PodRatio: blue-green needs a route to switch; by share of pods there is no switch",
        field=".traffic",
    ),
    Rule(
        rule="!has(self.traffic) || !has(self.traffic.mode) || self.traffic.mode != 'PodRatio' || !has(self.steps) || "
        "!self.steps.exists(s, has(s.scale))",
        message="a scale step needs a route: by share of pods, canary pods have requests at once; use weight",
        field=".steps",
    ),
    Rule(
        rule="!has(self.traffic) || !has(self.traffic.mode) || !(self.traffic.mode in ['PodRatio', 'None']) || !has(self.steps) || "
        f"!self.steps.exists(s, {_PICKS})",
        message="a match or mirror step needs a route, which tells requests apart; remove the step, or set traffic.mode to Routes",
        field=".steps",
    ),
    Rule(
        rule=f"!has(self.steps) || !self.steps.exists(s, {_PICKS}) || ({_PICKED_FIRST} && self.steps.exists(s, has(s.weight) && s.weight > 0))",
        message="match and mirror steps stand before the first weight above 0, and one must follow: their requests are no sample of everybody's",
        field=".steps",
    ),
    Rule(
        rule=f"!has(self.steps) || {_WEIGHTS}.isSorted()",
        message="weights must not fall from step to step; to go back, abort the release (linnet abort)",
        field=".steps",
    ),
    Rule(rule=f"!has(self.steps) || {_STEP_NAMES}", message="two steps have the same name; each needs a name of its own", field=".steps"),
    Rule(
        rule=f"!has(self.flags) || size(self.flags) == 0 || !has(self.steps) || self.steps.all(s, !has(s.flags) || {_UNDECLARED})",
        message="a step moves a flag that spec.flags does not declare; declare it there or correct its name",
        field=".steps",
    ),
    Rule(
        rule=f"!has(self.flags) || self.flags.all(f, self.flags.exists_one(g, {_SAME_FLAG}))",
        message="two entries of spec.flags stand for the same key of the same source; keep one",
        field=".flags",
    ),
    Rule(
        rule="!has(self.notify) || self.notify.all(n, self.notify.exists_one(m, m.notifierRef.name == n.notifierRef.name))",
        message="a Notifier is named twice; keep one entry with all its events in `events`",
        field=".notify",
    ),
)

_KINDS: Final = ", ".join(f"'{kind}'" for kind in KNOWN)
_GROUPED: Final = ", ".join(f"'{kind}.{group}'" for kind, group in KNOWN.items())
_DESCRIBED: Final = "(has(self.traffic.routers) && self.traffic.routers.exists(d, d.kind == r.kind))"


def _known_routes(unless: str = "") -> Rule:
    return Rule(
        rule=f"{unless}!has(self.traffic) || !has(self.traffic.routes) || self.traffic.routes.all(r, r.kind in [{_KINDS}] || {_DESCRIBED})",
        message=f"a route is of no kind that this version moves ({', '.join(KNOWN)}): describe its kind in traffic.routers, or name another",
        field=".traffic",
    )


STRUCT_RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "Canary": (
        Rule(
            rule=f"size(self.metadata.name) <= {names.NAME_LIMIT}",
            message=f"metadata.name: must have at most {names.NAME_LIMIT} characters, since it becomes a label of the canary's objects",
        ),
    ),
    "CanarySpec": (
        *_RELEASE,
        _known_routes("has(self.profileRef) || "),
        Rule(
            rule="has(self.workloadRef) || has(self.profileRef) || (has(self.traffic) && has(self.traffic.mode) && self.traffic.mode == 'None')",
            message="names no workload; only a release of flags alone (traffic.mode: None) goes without",
            field=".workloadRef",
        ),
        Rule(
            rule="(has(self.flags) && size(self.flags) > 0) || has(self.profileRef) || !has(self.steps) || "
            "self.steps.all(s, !has(s.flags) || size(s.flags) == 0)",
            message="a step moves a flag but spec.flags declares none; declare it there",
            field=".steps",
        ),
    ),
    "CanaryProfileSpec": (*_RELEASE, _known_routes()),
    "RouteRef": (
        Rule(
            rule=f"!(self.kind in [{_KINDS}]) || (self.kind + '.' + self.group) in [{_GROUPED}]",
            message="is not the group of this kind: " + ", ".join(f"{kind} is of {group}" for kind, group in KNOWN.items()),
            field=".group",
        ),
    ),
    "CustomRouter": (
        Rule(
            rule=f"!(self.kind in [{_KINDS}])",
            message="needs no description: Linnet brings a router of this kind; remove this entry",
            field=".kind",
        ),
    ),
    "Traffic": (
        Rule(
            rule="!has(self.routers) || self.routers.all(d, self.routers.exists_one(e, e.kind == d.kind))",
            message="two descriptions are of the same kind, which is all that the status tells routes apart by; keep one",
            field=".routers",
        ),
        Rule(
            rule="!has(self.mode) || !(self.mode in ['PodRatio', 'None']) || !has(self.routes) || size(self.routes) == 0",
            message="routes are moved only in mode Routes; remove them, or set mode to Routes",
            field=".routes",
        ),
        Rule(
            rule="!has(self.mode) || self.mode != 'PodRatio' || !has(self.identity) || self.identity != 'Isolated'",
            message="with mode PodRatio the Service itself reaches canary pods, so they cannot be Isolated; leave identity out",
            field=".identity",
        ),
    ),
    "Approval": (
        Rule(
            rule="!has(self.among) || size(self.among) == 0 || size(self.among) >= (has(self.approvers) ? self.approvers : 1)",
            message="asks for more people than it names: nobody could ever give it; name more, or lower approvers",
            field=".approvers",
        ),
        Rule(
            rule="!has(self.among) || self.among.all(n, self.among.exists_one(m, m == n))", message="names somebody twice", field=".among"
        ),
    ),
    "Step": (
        Rule(
            rule=f"(has(self.weight) || {_HAS_STEP_FLAGS} || (has(self.dwell) && !has(self.match) && !has(self.mirror)) ? 1 : 0) + {count(STEP_KINDS)} == 1",
            message=f"a step is an exposure (weight and/or flags, with dwell) or exactly one of {', '.join(STEP_KINDS)}; make it two steps",
        ),
        Rule(
            rule=f"!has(self.dwell) || has(self.weight) || {_HAS_STEP_FLAGS} || has(self.match) || has(self.mirror)",
            message="dwell goes with weight, flags, match or mirror; a pause has a duration of its own",
            field=".dwell",
        ),
        Rule(
            rule="!(has(self.match) || has(self.mirror)) || (has(self.dwell) && has(self.dwell.minDuration) && !has(self.dwell.minRequests))",
            message="a match or mirror step needs dwell.minDuration, and no minRequests: say how long these requests reach the canary",
        ),
        Rule(
            rule="!has(self.weight) || self.weight < 100 || !has(self.dwell) || !has(self.dwell.minRequests)",
            message="requests are counted where two versions are compared, and at weight 100 there is one; say minDuration",
            field=".dwell",
        ),
    ),
    "StepMatch": (
        Rule(
            rule=" || ".join(f"(has(self.{name}) && size(self.{name}) > 0)" for name in PICKED_BY),
            message="nothing says whose requests: give it headers, cookies or query",
        ),
    ),
    "Flag": (
        Rule(
            rule="!has(self.mode) || self.mode != 'Aligned' || !has(self.cohorts) || size(self.cohorts) == 0",
            message="the route cannot tell who is in a cohort: an aligned flag has none; remove them, or use Gated",
            field=".cohorts",
        ),
        Rule(
            rule="!has(self.mode) || self.mode != 'Aligned' || !has(self.stickiness) || !(self.stickiness in ['default', 'random'])",
            message="each SDK chooses for itself, and the edge cannot follow; name the field whose value the edge knows",
            field=".stickiness",
        ),
    ),
    "FlagCohort": (
        Rule(
            rule="has(self.segment) || (has(self.constraints) && size(self.constraints) > 0)",
            message="nothing says who is in it, so it would be everybody; give it constraints, or a segment by name",
        ),
        Rule(rule="self.name != 'all'", message="'all' is what the share of everybody is called; choose another name", field=".name"),
    ),
    "FlagStep": (
        Rule(rule="has(self.percent) || has(self.cohorts)", message="percent is missing: say what share sees the flag, 0 to 100"),
    ),
    "Dwell": (
        Rule(rule="has(self.minDuration) || has(self.minRequests)", message="needs minDuration, minRequests or both; or leave dwell out"),
    ),
    "Metric": (
        Rule(
            rule=f"{count(METRIC_KINDS)} == 1",
            message=f"a metric has exactly one of {', '.join(METRIC_KINDS)}; for errors: preset: HTTPErrorRatio",
        ),
        Rule(
            rule="!has(self.direction) || self.direction == 'LowerIsBetter' || has(self.ratio)",
            message="HigherIsBetter goes with ratio, whose errors then count what is wanted; remove it",
            field=".direction",
        ),
        *(
            Rule(
                rule=f"!has(self.{name}) || !self.{name}.endsWith('pp') || !({_RELATIVE})",
                message="percentage points are for shares of requests; write 10% or 1.1x",
                field=f".{name}",
            )
            for name in ("rollbackIfWorseBy", "promoteIfWithin")
        ),
    ),
    "Analysis": (
        Rule(
            rule="!has(self.interval) || !has(self.deadline) || duration(self.interval) < duration(self.deadline)",
            message="must be shorter than deadline, or the canary is never looked at in time",
            field=".interval",
        ),
        Rule(
            rule="!has(self.warmUp) || !has(self.deadline) || duration(self.warmUp) < duration(self.deadline)",
            message="must be shorter than deadline, or the judge never starts",
            field=".warmUp",
        ),
    ),
    "Outcome": (
        Rule(
            rule="self.action == 'Wait' || !has(self.thenAfter)",
            message="goes with action Wait alone; remove it or set action: Wait",
            field=".thenAfter",
        ),
        Rule(
            rule="self.action == 'Wait' || !has(self.then)",
            message="goes with action Wait alone; remove it or set action: Wait",
            field=".then",
        ),
    ),
    **REFERRED_RULES,
}

FIELD_RULES: Final[dict[Key, tuple[Rule, ...]]] = {
    ("CanarySpec", "workloadRef"): (
        Rule(
            rule="self.name == oldSelf.name && (has(self.kind) ? self.kind : 'Deployment') == (has(oldSelf.kind) ? oldSelf.kind : 'Deployment')",
            message="cannot be changed: delete this Canary and create one for the other workload",
        ),
    ),
    ("ServiceRef", "name"): (
        Rule(
            rule=f"size(self) <= {SERVICE_LIMIT}",
            message=f"must have at most {SERVICE_LIMIT} characters, since the canary's Service is named after it with {names.CANARY_SUFFIX}",
        ),
    ),
    **{
        ("StepMatch", name): (
            Rule(
                rule=f"self.all(n, n.matches(r'{forms[0]}') && self[n].matches(r'{forms[1]}'))",
                message=f"names must be {PICK_WORDS[forms[0]]}, values {PICK_WORDS[forms[1]]}",
            ),
        )
        for name, forms in PICKED_BY.items()
    },
    ("ServiceRef", "port"): (PORT,),
    ("PrometheusSource", "parameters"): (
        Rule(
            rule=f"self.all(name, !(name in {OWN_PARAMETERS}))",
            message="query, time and timeout are Linnet's own; remove them",
        ),
    ),
    ("ScrapeSource", "port"): (PORT,),
    ("ScrapeSource", "interval"): (POSITIVE,),
    ("Pause", "duration"): (Rule(rule=POSITIVE.rule, message="must be longer than 0s; leave it out to wait for linnet resume"),),
    ("Approval", "timeout"): (Rule(rule=POSITIVE.rule, message="must be longer than 0s: somebody has to read it first"),),
    ("Strategy", "scaleDownDelay"): (POSITIVE,),
    ("Dwell", "minDuration"): (POSITIVE,),
    ("ReleaseSpec", "progressDeadline"): (POSITIVE,),
    ("Analysis", "interval"): (POSITIVE,),
    ("TemplateMetric", "interval"): (POSITIVE,),
    ("TemplateMetric", "count"): (COUNT,),
    ("TemplateMetric", "failureLimit"): (COUNT,),
    ("TemplateMetric", "inconclusiveLimit"): (COUNT,),
    ("TemplateMetric", "consecutiveErrorLimit"): (COUNT,),
    ("TemplateMetric", "consecutiveSuccessLimit"): (COUNT,),
    ("TemplateUse", "interval"): (POSITIVE,),
    ("Analysis", "deadline"): (POSITIVE,),
    ("Outcome", "thenAfter"): (POSITIVE,),
    ("FreezeSpec", "from"): (DAY,),
    ("FreezeSpec", "until"): (DAY,),
    ("Metric", "rollbackIfWorseBy"): (FACTOR,),
    ("Metric", "promoteIfWithin"): (FACTOR,),
}
