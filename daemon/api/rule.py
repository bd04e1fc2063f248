"""One rule in CEL, as a CRD carries it, and the rules that many fields share."""

from dataclasses import dataclass
from typing import Any, Final

from daemon.api import patterns


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One CEL rule. `field` is the path under the node that the error names, `expression` a message with the value in it."""

    rule: str
    message: str
    expression: str | None = None
    field: str | None = None

    def to_schema(self) -> dict[str, Any]:
        wire = {"rule": self.rule, "message": self.message, "messageExpression": self.expression, "fieldPath": self.field}
        return {key: value for key, value in wire.items() if value is not None}


def of_form(pattern: str) -> Rule:
    """The rule that stands for a pattern."""
    return Rule(rule=f"self.matches(r'{pattern}')", message=f"must be {patterns.MEANING[pattern]}")


def count(present: tuple[str, ...]) -> str:
    """In CEL: how many of these fields are there."""
    return " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in present)


# Said without duration(), which would complain of a malformed one a second time.
POSITIVE: Final = Rule(rule="self.matches('[1-9]')", message="must be longer than 0s; leave it out for the default")
COUNT: Final = Rule(
    rule="type(self) == int ? (int(self) >= -1 && int(self) <= 10000) : string(self).matches('^([0-9]{1,5}|-1|[{][{] *args[.][-A-Za-z0-9_.]+ *[}][}])$')",
    message="must be a whole number up to 10000, or one arg that becomes one",
)
PORT: Final = Rule(
    rule="type(self) == int ? (int(self) >= 1 && int(self) <= 65535) : string(self).matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    message="must be a port number from 1 to 65535 or a port's name",
)
DAY: Final = Rule(rule="timestamp(self) > timestamp('2000-01-01T00:00:00Z')", message="is no day of the calendar of this century")
FACTOR: Final = Rule(
    rule="!self.matches('^0+([.][0-9]*)?x')",
    message="a factor below 1x would refuse even a canary as good as stable; write 1.1x or 10% for 'a tenth worse'",
)
