"""Whether a Canary that is made from annotations says what they say by now.

One `kubectl apply` may change the annotations and the template at once. The Canary follows a moment later, and a release keeps the
spec that it started with: so it does not start before the Canary has followed.
"""

from typing import Final

from daemon.api.annotations import canary_from_annotations
from daemon.control.adopt import MADE_BY, asks
from daemon.control.resolved import Resolved
from daemon.rollout.model import Permit

PATIENCE: Final = 60.0  # seconds for the Canary to follow; the release then starts as the Canary says


def following(resolved: Resolved) -> Permit | None:
    """Leave withheld while the Deployment's annotations ask for another Canary than this one, or for none.

    Annotations with a fault in them ask for nothing: people are told of it, and the Canary stays as it is.
    """
    canary, deployment = resolved.canary, resolved.deployment
    if deployment is None or canary.status.rollout is not None or not canary.metadata.label(MADE_BY):
        return None
    asked = canary_from_annotations(deployment.name, deployment.metadata.annotations or {})
    if asked == canary.spec:
        return None
    if isinstance(asked, list) and asks(deployment.metadata.annotations or {}):
        return None
    why = "the Canary is about to follow the annotations of its Deployment"
    return Permit(source="Annotations", start=False, why=why, patience=PATIENCE)
