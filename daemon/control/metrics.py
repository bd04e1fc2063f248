"""What the daemon says of itself, for Prometheus: few series, bounded by kinds and not by Canaries."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from daemon.kube.controller import ReconcileRecord
from daemon.kube.transport import RequestRecord
from daemon.notify.notifier import Outcome


class Metrics:
    """One registry for one daemon; tests make as many as they like."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.requests = Counter("linnet_kube_requests", "Requests to the API server", ["method", "code"], registry=self.registry)
        self.reconciles = Counter("linnet_reconciles", "Passes over an object", ["controller", "outcome"], registry=self.registry)
        self.seconds = Histogram("linnet_reconcile_seconds", "Length of a pass", ["controller"], registry=self.registry)
        self.phases = Gauge("linnet_canaries", "Canaries by phase", ["phase"], registry=self.registry)
        self.leading = Gauge("linnet_leading", "1 while this replica leads", registry=self.registry)
        self.messages = Counter("linnet_messages", "Messages to people, by how they ended", ["fate"], registry=self.registry)
        self.flag_news = Counter("linnet_flag_news", "Webhooks of flag services, by how they ended", ["outcome"], registry=self.registry)
        self.rollouts = Counter("linnet_rollouts", "Releases that ended, by outcome", ["outcome"], registry=self.registry)

    def request(self, record: RequestRecord) -> None:
        self.requests.labels(record.method, str(record.status)).inc()

    def reconciled(self, record: ReconcileRecord) -> None:
        self.reconciles.labels(record.controller, record.outcome).inc()
        self.seconds.labels(record.controller).observe(record.seconds)

    def sent(self, outcome: Outcome) -> None:
        self.messages.labels(outcome.fate).inc()

    def lead(self, leading: bool) -> None:  # noqa: FBT001 - the elector's callback has one argument
        self.leading.set(1 if leading else 0)
