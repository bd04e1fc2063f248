"""The process: everything put together, started and stopped in order.

Informers run in every replica, so that a new leader has its caches warm; reconcilers, judges and messages run only while leading.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from collections import Counter
from typing import Final

import msgspec

from daemon.api import names
from daemon.control.adopt import Adopter
from daemon.control.api import ApiOptions, serving
from daemon.control.caches import Caches
from daemon.control.catalogue import Catalogue
from daemon.control.checking import CheckBoard
from daemon.control.checking import Ports as CheckPorts
from daemon.control.digests import Digests
from daemon.control.execute import Executor
from daemon.control.flagging import FlagBoard
from daemon.control.flagnews import FlagSourceNews
from daemon.control.flagsources import FlagSources
from daemon.control.gates import GateProbe
from daemon.control.gating import GateBoard
from daemon.control.gating import Ports as GatePorts
from daemon.control.groups import Groups
from daemon.control.guard import Guard, GuardedHttp
from daemon.control.http import Http
from daemon.control.jobs import JobRunner
from daemon.control.judging import JudgeBoard, Ports
from daemon.control.leave import Leave
from daemon.control.line import Line
from daemon.control.metrics import Metrics
from daemon.control.observe import Observer
from daemon.control.permits import HoldProbe
from daemon.control.prospects import Ports as ProspectPorts
from daemon.control.prospects import Prospects
from daemon.control.receivers import Receivers
from daemon.control.reconcile import Reconciler
from daemon.control.resolve import Resolver
from daemon.control.runs import RunStore
from daemon.control.secrets import SecretReader
from daemon.control.sources import SourceProbe
from daemon.control.tell import Teller
from daemon.control.volumes import VolumeProbe
from daemon.control.wakeups import Wakeups
from daemon.control.webhook import Webhook, WebhookOptions
from daemon.kube import config as kube_config
from daemon.kube.client import Client
from daemon.kube.controller import Controller, ControllerOptions
from daemon.kube.events import EventRecorder
from daemon.kube.lease import LeaderElector, LeaseOptions
from daemon.kube.store import Key
from daemon.kube.transport import Transport
from daemon.notify.notifier import Notifier, Outcome
from daemon.rollout.line import Caps
from daemon.web.flagnews import FlagNews
from daemon.web.health import application, serve
from daemon.workloads.revisions import Revisions, Templates
from flags.unleash_witness import Witnesses

log = logging.getLogger("linnet.daemon")


# A Lease lasts 15 s and a pod is given 30: both are over before somebody else acts, or ends this process.
LAST_WORDS: Final = 2.0  # seconds for Events, and for looking up who hears of what, before the Lease is given back
LAST_MESSAGES: Final = 8.0  # seconds after that in which waiting messages still go out


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `linnet run` is started with; each is also a value of the chart."""

    kubeconfig: str | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    catalogue_namespace: str = "linnet-system"
    cluster_name: str = "default"
    metrics_address: str = "0.0.0.0:8080"
    leader_election: bool = True
    lease_name: str = "linnet"
    lease_namespace: str | None = None
    workers: int = 4
    allow_addresses: tuple[str, ...] = ()
    max_rollouts: int = 0
    max_rollouts_per_namespace: int = 0
    namespace_caps: bool = False
    jobs: bool = False
    observe_only: bool = False
    api: ApiOptions = ApiOptions()
    webhook: WebhookOptions = WebhookOptions()
    sync_deadline: float = 60.0


class Daemon:
    """`run` until cancelled."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.metrics = Metrics()
        self._identity = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._problem = "starting"
        self._caches: Caches | None = None
        self._webhook: Webhook | None = None

    async def run(self) -> None:
        config = kube_config.load(self.options.kubeconfig, self.options.context)
        app = application(self.metrics.registry, self.missing, self._count_phases)
        async with Transport(config, observe=self.metrics.request) as transport, serve(app, self.options.metrics_address) as url:
            log.info("linnet serves %s/metrics and leads as %s", url, self._identity)
            client = Client(transport, field_manager=names.FIELD_MANAGER)
            options = self.options
            caches = self._caches = Caches(
                client, options.namespaces, options.catalogue_namespace, caps=options.namespace_caps, jobs=options.jobs
            )
            notifier = Notifier(self._sent)
            webhook = self._webhook = Webhook(options.webhook, client, options.catalogue_namespace)
            api = serving(options.api, client, options.namespaces, self._flag_news(client, caches))
            async with webhook.serving(), api, asyncio.TaskGroup() as group:
                informers = group.create_task(caches.run(), name="informers")
                messages = group.create_task(notifier.run(), name="messages")
                try:
                    await caches.wait_synced(self.options.sync_deadline)
                    self._problem = ""
                    await self._lead(client, caches, notifier, webhook)
                finally:
                    # Here and not in the leading work: what is told already needs no Lease, and delays no other replica.
                    await notifier.drain(LAST_MESSAGES)
                    messages.cancel()
                    informers.cancel()

    def _flag_news(self, client: Client, caches: Caches) -> FlagNews:
        news = FlagSourceNews(caches, client, SecretReader(client), self.options.catalogue_namespace)
        return FlagNews(news, lambda outcome: self.metrics.flag_news.labels(outcome).inc())

    async def _lead(self, client: Client, caches: Caches, notifier: Notifier, webhook: Webhook) -> None:
        leader = _Leader(self, client, caches, notifier, webhook)
        if not self.options.leader_election:
            self.metrics.lead(leading=True)
            await leader.work()
            return
        namespace = self.options.lease_namespace or self.options.catalogue_namespace
        elector = LeaderElector(
            client, namespace, self.options.lease_name, self._identity, options=LeaseOptions(), on_change=self.metrics.lead
        )
        await elector.run(leader.work)

    def missing(self) -> str:
        """Why it is not ready yet; empty where it is."""
        if self._problem:
            return self._problem
        if self._caches is None or not self._caches.synced:
            return "caches are not synced"
        return self._webhook.problem if self._webhook is not None else ""

    def _count_phases(self) -> None:
        if self._caches is None:
            return
        counts: Counter[str] = Counter(c.status.phase for c in self._caches.canaries.store)
        for phase in set(counts) | {"Idle", "Progressing", "Held"}:
            self.metrics.phases.labels(phase).set(counts.get(phase, 0))

    def _sent(self, outcome: Outcome) -> None:
        self.metrics.sent(outcome)
        if outcome.problem:
            message = outcome.message
            log.warning(
                "%s/%s: %s to %s: %s: %s", message.namespace, message.name, message.kind, outcome.route, outcome.fate, outcome.problem
            )

    @property
    def identity(self) -> str:
        return self._identity


class _Leader:
    """What runs while leading: built anew for each term, so that nothing of a former term is believed."""

    def __init__(self, daemon: Daemon, client: Client, caches: Caches, notifier: Notifier, webhook: Webhook) -> None:
        self._daemon = daemon
        self._client = client
        self._caches = caches
        self._notifier = notifier
        self._webhook = webhook

    async def work(self) -> None:
        options, client, caches = self._daemon.options, self._client, self._caches
        http = Http()
        recorder = EventRecorder(client, instance=self._daemon.identity)
        catalogue = Catalogue(caches, options.catalogue_namespace)
        secrets = SecretReader(client)
        teller = Teller(recorder, self._notifier, catalogue, secrets, options.cluster_name)
        templates = Templates()
        resolver = Resolver(caches, catalogue, templates, observe_only=options.observe_only)
        reconciler = self._reconciler(http, secrets, resolver, teller, templates)
        canaries: Controller[Key] = Controller(
            "canary", reconciler.reconcile, options=ControllerOptions(workers=options.workers), observe=self._daemon.metrics.reconciled
        )
        self._wake = canaries.queue.add
        digests = Digests(client, caches, resolver, teller, cluster=options.cluster_name)
        adopter = Adopter(client, caches, teller, resolver)
        adoptions: Controller[Key] = Controller("adoption", adopter.reconcile, observe=self._daemon.metrics.reconciled)
        groups: Controller[Key] = Controller(
            "group", Groups(client, caches, resolver, recorder).reconcile, observe=self._daemon.metrics.reconciled
        )
        stops = Wakeups(caches, canaries.queue, adoptions.queue, groups.queue, options.catalogue_namespace).subscribe()
        async with asyncio.TaskGroup() as last:
            # These outlive the rest, so that what was done is told.
            words = [last.create_task(coroutine) for coroutine in (recorder.run(), teller.run())]
            try:
                async with asyncio.TaskGroup() as group:
                    for coroutine in (
                        self._judges.run(),
                        self._prospects.run(),
                        self._witnesses.run(),
                        self._checks.run(),
                        self._webhook.publish(),
                        self._gates.run(),
                        digests.run(),
                        canaries.run(),
                        adoptions.run(),
                        groups.run(),
                    ):
                        group.create_task(coroutine)
            finally:
                for stop in stops:
                    stop()
                with contextlib.suppress(TimeoutError):
                    await asyncio.gather(recorder.flush(LAST_WORDS), teller.drain(LAST_WORDS))
                for task in words:
                    task.cancel()
                await http.close()
                await self._web.close()

    def _woken(self, key: Key) -> None:
        self._wake(key)

    def _reconciler(self, http: Http, secrets: SecretReader, resolver: Resolver, teller: Teller, templates: Templates) -> Reconciler:
        client, caches, catalogue = self._client, self._caches, resolver.catalogue
        self._judges = JudgeBoard(
            Ports(caches=caches, http=http, secrets=secrets, runs=RunStore(client), wake=self._woken),
        )
        self._web = GuardedHttp(Guard(self._daemon.options.allow_addresses))
        jobs = JobRunner(client, caches, secrets)
        self._gates = GateBoard(GatePorts(receivers=Receivers(self._web, secrets), jobs=jobs, wake=self._woken))
        self._checks = CheckBoard(
            CheckPorts(
                catalogue=catalogue,
                http=http,
                web=self._web,
                secrets=secrets,
                jobs=jobs,
                runs=RunStore(client),
                wake=self._woken,
            )
        )
        self._prospects = Prospects(ProspectPorts(caches=caches, http=http, secrets=secrets, wake=self._woken))
        self._witnesses = Witnesses(http.session)
        flags = FlagBoard(FlagSources(client, http, secrets, self._witnesses), self._daemon.options.cluster_name)
        revisions = Revisions(client, caches.revisions.store, templates, time.time)
        options = self._daemon.options
        line = Line(caches, Caps(cluster=options.max_rollouts, namespace=options.max_rollouts_per_namespace))
        leave = Leave(caches, catalogue.namespace, line)
        return Reconciler(
            client=client,
            caches=caches,
            resolver=resolver,
            observer=Observer(
                caches, revisions, templates, flags, self._judges, GateProbe(client, caches, templates), self._checks, leave, self._gates
            ),
            executor=Executor(client, caches, revisions, templates, flags),
            judges=self._judges,
            checks=self._checks,
            gates=self._gates,
            flags=flags,
            probe=HoldProbe(client, sources=SourceProbe(http, secrets), volumes=VolumeProbe(client, templates)),
            prospects=self._prospects,
            line=line,
            teller=teller,
            ended=lambda outcome: self._daemon.metrics.rollouts.labels(outcome).inc(),
        )
