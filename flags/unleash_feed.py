"""Which flags changed, from Unleash's event log: one request for a whole project, however many flags are watched. Pure.

The Admin API has no answer with many flags at once that costs nothing: its export puts an event of its own into the log each time. But every
change of a flag is an event with the flag's name. Events get their number before they are committed, so a number may appear after a higher
one: what is new is told by the set of numbers that were there the last time, not by the highest.
"""

import json
from collections.abc import Sequence
from typing import Any

from flags.model import Changes

WINDOW = 20  # events in the usual answer
WIDE = 1000  # where all of those are new: what the server gives at most
# Events without a flag's name that change no flag. Any other without a name (segments, imports, environments) may concern every flag.
_ELSEWHERE = (
    *(
        "addon-",
        "api-token-",
        "application-",
        "client-",
        "context-field-",
        "features-exported",
        "group-",
        "pat-",
        "public-signup-",
        "role-",
    ),
    *("scim-", "service-account-", "setting-", "signal-", "strategy-created", "strategy-deleted", "tag-", "user-"),
)


def unseen(since: str, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """What came since; None where the answer does not reach back to it."""
    known = set(json.loads(since))
    if known and not known & {event["id"] for event in events}:
        return None
    return [event for event in events if event["id"] not in known and event["id"] > min(known, default=0)]


def changes(since: str, events: Sequence[dict[str, Any]], project: str, environment: str) -> Changes:
    """What the events say of flags of this project and environment."""
    cursor = json.dumps(sorted(event["id"] for event in events[:WINDOW]))
    if not since:
        return Changes(cursor=cursor, everything=True)
    new = unseen(since, events)
    if new is None:
        return Changes(cursor=cursor, everything=True)
    here = [e for e in new if e.get("project") in (None, "", "*", project) and e.get("environment") in (None, "", "*", environment)]
    named = frozenset(str(event["featureName"]) for event in here if event.get("featureName"))
    everything = any(not e.get("featureName") and not str(e.get("type")).startswith(_ELSEWHERE) for e in here)
    return Changes(cursor=cursor, flags=named, everything=everything)
