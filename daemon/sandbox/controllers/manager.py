"""All controllers of the sandbox, each under the name by which the native one is known."""

from daemon.sandbox.controllers.access import Access
from daemon.sandbox.controllers.deployment import DeploymentController
from daemon.sandbox.controllers.endpoints import EndpointSliceController
from daemon.sandbox.controllers.garbage import GarbageCollector
from daemon.sandbox.controllers.replicaset import ReplicaSetController
from daemon.sandbox.controllers.runtime import Controller
from daemon.sandbox.controllers.scheduler import Scheduler
from daemon.sandbox.store import Store


def controllers(store: Store) -> list[Controller]:
    """In the order in which they look at a change."""

    def resources() -> list[str]:
        return sorted({resource.key for resource in store.registry if "list" in resource.verbs})

    return [
        GarbageCollector(Access(store, GarbageCollector.name), resources),
        DeploymentController(Access(store, DeploymentController.name)),
        ReplicaSetController(Access(store, ReplicaSetController.name)),
        Scheduler(Access(store, Scheduler.name, user="system:kube-scheduler", manager="kube-scheduler")),
        EndpointSliceController(Access(store, EndpointSliceController.name)),
    ]
