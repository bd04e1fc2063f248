"""A resolved Canary that carries an action, for the parser."""

from daemon.api import names
from daemon.api.canary import CanarySpec, WorkloadRef
from daemon.control.objects import Canary
from daemon.control.resolve import Resolved
from daemon.kube.objects import ObjectMeta


def resolved_with_action(text: str) -> Resolved:
    spec = CanarySpec(workload_ref=WorkloadRef(name="web"))
    found = Canary(metadata=ObjectMeta(name="web", namespace="default", annotations={names.ACTION: text}), spec=spec)
    return Resolved(canary=found, spec=spec, deployment=None)
