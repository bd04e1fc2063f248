"""News to people: Kubernetes Events on the Canary and on the Deployment, and messages to the notifiers that asked."""

import asyncio
import contextlib
import logging
from typing import Final, get_args

from daemon.api import names
from daemon.api.canary import EventKind
from daemon.control import objects as ours
from daemon.control.catalogue import Catalogue
from daemon.control.resolved import Resolved
from daemon.control.secrets import SecretMissing, SecretReader
from daemon.kube.errors import KubeError
from daemon.kube.events import EventRecorder, reference
from daemon.kube.objects import KubeObject
from daemon.kube.resources import DEPLOYMENTS
from daemon.notify.catalogue import Route, routes_for
from daemon.notify.errors import NotifyError
from daemon.notify.message import Message, severity_of
from daemon.notify.notifier import Notifier
from daemon.notify.targets import parse
from daemon.rollout.model import Decision, Event, Problem

log = logging.getLogger("linnet.tell")

# News that is about the Deployment itself: whoever looks at it must see why it does not roll.
ON_DEPLOYMENT: Final = frozenset({"Started", "Held", "RolledBack", "Bypassed", "StableLost", "Released", "Adopted", "Refused", "Observed"})
COMMANDS: Final = {
    "Paused": "resume",
    "Inconclusive": "promote|abort",
    "RolledBack": "status",
    "Promoted": "status",
    "Started": "status",
    "Step": "status",
    "FlagDue": "flags",
}
SECRET_DEADLINE: Final = 10.0


class Teller:
    def __init__(self, recorder: EventRecorder, notifier: Notifier, catalogue: Catalogue, secrets: SecretReader, cluster: str) -> None:
        self._recorder = recorder
        self._notifier = notifier
        self._catalogue = catalogue
        self._secrets = secrets
        self._cluster = cluster
        self._outbox: asyncio.Queue[tuple[Resolved, Message]] = asyncio.Queue(maxsize=1000)

    async def run(self) -> None:
        """Looks up where messages go, apart from the passes: a slow Secret delays no transition."""
        while True:
            resolved, message = await self._outbox.get()
            try:
                await self._send(resolved, message)
            except Exception:
                log.exception("%s/%s: %s not sent", message.namespace, message.name, message.kind)  # one message must not end the others
            finally:
                self._outbox.task_done()

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 - the bound is the point of the call
        """Wait until all that was told is handed to the notifier, while `run` still runs. False when the time came first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._outbox.join()
                return True
        log.warning("about %d messages were told to nobody: the daemon ends", self._outbox.qsize() + 1)
        return False

    def tell(self, resolved: Resolved, decision: Decision) -> None:
        """Returns at once."""
        for event in decision.events:
            self._events(resolved, event)
            if event.reason in get_args(EventKind):
                self._queue(resolved, event)

    def _events(self, resolved: Resolved, event: Event) -> None:
        kind = "Warning" if event.warning else "Normal"
        canary = reference(ours.CANARIES, resolved.canary)
        self._recorder.record(canary, event.reason, event.message, type="Warning" if event.warning else "Normal", action=event.reason)
        if resolved.deployment is not None and event.reason in ON_DEPLOYMENT:
            self.say(resolved.deployment, event.reason, _for_deployment(event), warning=kind == "Warning")

    def say(self, deployment: KubeObject, reason: str, message: str, *, warning: bool) -> None:
        """An Event on a Deployment."""
        self._recorder.record(reference(DEPLOYMENTS, deployment), reason, message, type="Warning" if warning else "Normal", action=reason)

    def _queue(self, resolved: Resolved, event: Event) -> None:
        kind = next(k for k in get_args(EventKind) if k == event.reason)
        canary = resolved.canary
        verb = COMMANDS.get(event.reason, "status")
        message = Message(
            kind=kind,
            severity=severity_of(kind),
            cluster=self._cluster,
            namespace=canary.namespace,
            name=canary.name,
            revision=event.revision,
            sentence=event.message,
            facts=_facts(resolved, kind),
            command=f"linnet {verb} {canary.name} -n {canary.namespace}",
        )
        try:
            self._outbox.put_nowait((resolved, message))
        except asyncio.QueueFull:
            log.warning("%s/%s: too many messages waiting; %s is not sent", canary.namespace, canary.name, event.reason)

    async def _send(self, resolved: Resolved, message: Message) -> None:
        namespace = resolved.canary.namespace
        routes = []
        found: dict[str, ours.Notifier] = {}
        for entry in resolved.spec.notify or []:
            item = self._catalogue.notifier(namespace, entry.notifier_ref.name)
            if isinstance(item, Problem):
                self._complain(resolved, item.reason, f"{item.message}; {item.way_out}")
                continue
            route = Route(notifier=item.name, namespace=item.namespace, on=tuple(entry.on) if entry.on else None)
            routes.append(route)
            found[route.key] = item
        for key in routes_for(message.kind, routes):
            try:
                await self._offer(key, found[key], message)
            except (KubeError, SecretMissing, NotifyError, TimeoutError) as e:
                self._complain(resolved, "NotifierInvalid", f"Notifier {key} heard nothing of {message.kind}: {e}")

    async def offer(self, item: ours.Notifier, message: Message) -> None:
        """To one Notifier, whoever named it; raises where its Secret cannot be read or used."""
        await self._offer(Route(notifier=item.name, namespace=item.namespace).key, item, message)

    async def _offer(self, key: str, item: ours.Notifier, message: Message) -> None:
        url = await asyncio.wait_for(self._secrets.read(item.namespace, item.spec.url_secret_ref), SECRET_DEADLINE)
        self._notifier.offer(key, parse(url), message)

    def _complain(self, resolved: Resolved, reason: str, message: str) -> None:
        """An Event on the Canary; neither text ever holds what is in a Secret."""
        log.warning("%s/%s: %s", *resolved.canary.key, message)
        self._recorder.record(reference(ours.CANARIES, resolved.canary), reason, message, type="Warning", action="Notify")


def _for_deployment(event: Event) -> str:
    if event.reason == "Started":
        return f"{event.message}. Held by Linnet: the Deployment stays paused until the new template is judged ({names.HELD_MARK})"
    return event.message


def _facts(resolved: Resolved, kind: EventKind) -> tuple[tuple[str, str], ...]:
    status = resolved.canary.status
    facts = []
    if status.step:
        facts.append(("Step", status.step))
    if status.weight is not None and kind != "Promoted":  # after a promotion no canary is left to have a share
        facts.append(("Weight", f"{status.weight} %"))
    facts += [("Flag " + f.key, f"{f.written or 0} %") for f in status.flags]
    for metric in status.metrics[:2]:
        canary, baseline = (
            f"{events}/{total}" if total else str(events)
            for events, total in ((metric.canary_events, metric.canary_total), (metric.baseline_events, metric.baseline_total))
        )
        facts.append((metric.name, f"canary {canary}, baseline {baseline}"))
    return tuple(facts)
