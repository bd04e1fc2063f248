"""Every name that is visible outside the process, in one place.

A label, annotation or field manager that is spelt twice is sooner or later spelt two ways; users, policies, the chart
and the documentation all refer to these.
"""

import re
from typing import Final

GROUP: Final = "linnet.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FIELD_MANAGER: Final = "linnet"
FINALIZER: Final = f"{GROUP}/restore"

# What a user writes on a Deployment.
PROFILE: Final = f"{GROUP}/profile"  # opts in; the value names a CanaryProfile
MODE: Final = f"{GROUP}/mode"  # Enforce or Observe
STEPS: Final = f"{GROUP}/steps"
FLAGS: Final = f"{GROUP}/flags"
ROUTE: Final = f"{GROUP}/route"
NOTIFY: Final = f"{GROUP}/notify"
SERVICE: Final = f"{GROUP}/service"  # name[:port], where the selector alone does not tell
HOLD: Final = f"{GROUP}/hold"  # "off" is the break-glass that lets anyone un-pause
OPT_IN_ANNOTATIONS: Final = (PROFILE, MODE, STEPS, FLAGS, ROUTE, NOTIFY, SERVICE)

# What Linnet writes on a user's Deployment.
CANARY_MARK: Final = f"{GROUP}/canary"  # adopted: the value is the Canary's name; the hold policies look for it
HELD_MARK: Final = f"{GROUP}/held"  # set by the policy (or by `hold: Always`) in the write that pauses
AUTHOR_MARK: Final = f"{GROUP}/author"  # who wrote what is held, a name a line: stamped by the policy beside the mark above
HOLD_MARKS: Final = (HELD_MARK, AUTHOR_MARK)  # gone with the hold

# What Linnet reads on a Namespace, where it is told to.
MAX_ROLLOUTS: Final = f"{GROUP}/max-rollouts"  # releases under way at once

# What Linnet reads on a Canary (verbs bound to a revision, so that a replayed GitOps value does nothing).
ACTION: Final = f"{GROUP}/action"  # promote@REV | abort@REV | pause@REV | resume@REV | override@REV
ACTION_BY: Final = f"{GROUP}/action-by"  # `WRITER ACTION`, stamped by the API server (verb-policies.yaml)
FLAG_NEWS: Final = f"{GROUP}/flag-news"  # when a flag service said that a flag of the release changed: it is read again

# Labels on Linnet's own objects.
TRACK: Final = f"{GROUP}/track"
REVISION: Final = f"{GROUP}/revision"
OWNER: Final = f"{GROUP}/owned-by"  # the Canary's name
ROLE: Final = f"{GROUP}/role"

TRACK_CANARY: Final = "canary"
TRACK_ENV: Final = "LINNET_TRACK"  # given to every container by the downward API; what the app hands to its flag SDK

HELD_BY_POLICY: Final = "policy"
HELD_BY_WEBHOOK: Final = "webhook"
HELD_ALWAYS: Final = "always"

# Of the admission policies, and of the webhook that stands in for the mutating ones before Kubernetes 1.36.
HOLD_POLICY: Final = "linnet-hold"
RELEASE_POLICY: Final = "linnet-release"

NAME_LIMIT: Final = 63
CANARY_SUFFIX: Final = "-canary"
REVISION_LENGTH: Final = 5

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def is_label(text: str) -> bool:
    """May `text` name a Service, or a port by name (a port's name has a letter)?"""
    return len(text) <= NAME_LIMIT and _LABEL.fullmatch(text) is not None and not text.isdigit()


def canary_service(service: str) -> str:
    """Name of the Service that selects the canary pods of `service`; one name for good."""
    return f"{service}{CANARY_SUFFIX}"


def canary_workload(workload: str, revision: str) -> str:
    """Name of the Deployment that runs `revision` beside `workload`; a new revision is a new object."""
    return f"{workload}{CANARY_SUFFIX}-{revision}"
