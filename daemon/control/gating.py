"""Asks the gates that a release waits for, as its status says, and hands their answers to the core as permits.

One task a gate: a receiver that hangs delays no other, and no reconcile. Nothing is remembered here: a daemon that was started anew asks
again, and a Job of a gate is the one that is there already.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from daemon.api.gates import ReleaseGate, StepGate, Webhook
from daemon.api.jobs import JobCheck
from daemon.api.status import CanaryStatus
from daemon.control.checking import release_of
from daemon.control.jobs import JobRunner
from daemon.control.receivers import Receivers
from daemon.control.releases import Releases
from daemon.control.resolved import Resolved
from daemon.kube.errors import KubeError
from daemon.kube.store import Key
from daemon.rollout.model import Permit
from daemon.rollout.steps import step_gate
from daemon.workloads.jobs import Question

log = logging.getLogger("linnet.gates")

SOURCE: Final = "Gate"
EVERY: Final = 10.0  # seconds between two looks at a gate that is closed, or at one that may end the release
LONGEST: Final = 60.0  # seconds between two tries of one that did not say
ASKED: Final = frozenset({"Starting", "Progressing", "Paused", "Inconclusive"})


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """How gates are asked."""

    receivers: Receivers
    jobs: JobRunner
    wake: Callable[[Key], None]


def gates_of(resolved: Resolved, status: CanaryStatus) -> dict[str, StepGate | ReleaseGate]:
    """What is to be asked now, by the name in the status; a gate at Rollback as long as the release lasts."""
    rollout = status.rollout
    if rollout is None or status.phase not in ASKED:
        return {}
    spec = resolved.spec
    known: dict[str, StepGate | ReleaseGate] = {step_gate(i): s.gate for i, s in enumerate(spec.steps or []) if s.gate is not None}
    known |= {g.name: g for g in spec.gates or []}
    waiting = [g.name for g in rollout.gates if g.state == "Waiting"]
    found = {name: known[gate] for name in waiting if (gate := name.partition("/")[0]) in known}
    return found | {g.name: g for g in spec.gates or [] if g.at == "Rollback"}


class _Session:
    """The gates of one release."""

    def __init__(self, ports: Ports, resolved: Resolved, revision: str, release: str) -> None:
        self.ports = ports
        self.resolved = resolved
        self.revision = revision
        self.release = release
        self.wanted: dict[str, StepGate | ReleaseGate] = {}
        self.answers: dict[str, Permit] = {}
        self.changed = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        self._tasks.clear()
        async with asyncio.TaskGroup() as group:
            while True:
                self.changed.clear()
                for name in [n for n in self._tasks if n not in self.wanted]:
                    self._tasks.pop(name).cancel()
                    self.answers.pop(name, None)
                for name, gate in self.wanted.items():
                    if name not in self._tasks:
                        self._tasks[name] = group.create_task(self._ask(name, gate), name=f"gate {name}")
                await self.changed.wait()

    async def _ask(self, name: str, gate: StepGate | ReleaseGate) -> None:
        if gate.job is not None:
            await self._run_job(name, gate.job)
        elif gate.webhook is not None:
            ending = isinstance(gate, ReleaseGate) and gate.at == "Rollback"
            await self._call(name, gate.webhook, ending=ending)

    async def _call(self, name: str, hook: Webhook, *, ending: bool) -> None:
        """Until it opens; one that may end the release is asked for as long as that lasts."""
        failures = 0
        while True:
            found = await self.ports.receivers.ask(hook, self.resolved.canary.namespace, self._payload(name))
            if found.state == "Open":
                self._answer(
                    Permit(source=SOURCE, gate=name, must_abort=ending, why=f"gate {name}: {found.text}" if ending else found.text)
                )
                return
            if not ending:
                self._answer(Permit(source=SOURCE, gate=name, advance=False, why=found.text))
            failures = failures + 1 if found.state == "Unknown" else 0
            await asyncio.sleep(min(LONGEST, 2.0**failures) if failures else EVERY)

    async def _run_job(self, name: str, check: JobCheck) -> None:
        """Its end is the answer; where it says nothing of the release it is made anew."""
        canary = self.resolved.canary
        number = 0

        def tell(text: str) -> None:
            self._answer(Permit(source=SOURCE, gate=name, advance=False, why=text))

        while True:
            question = Question(canary.namespace, canary.name, canary.metadata.uid, self.release, f"gate/{name}/{number}")
            try:
                ended = await self.ports.jobs.answer(check, question, tell)
            except KubeError as e:
                tell(f"its Job cannot be made: {e.message}")
            else:
                if ended.phase in ("Successful", "Failed"):
                    failed = ended.phase == "Failed"
                    why = f"gate {name}: {ended.text}" if failed else ended.text
                    self._answer(Permit(source=SOURCE, gate=name, advance=not failed, must_abort=failed, why=why))
                    return
                tell(ended.text)
                number += 1
            await asyncio.sleep(min(LONGEST, EVERY * 2.0 ** min(number, 3)))

    def _payload(self, name: str) -> dict[str, Any]:
        """What receivers of Flagger's webhooks know, and what they lacked."""
        canary = self.resolved.canary
        status = canary.status
        return {
            "name": canary.name,
            "namespace": canary.namespace,
            "phase": status.phase,
            "checksum": self.revision,
            "gate": name,
            "revision": self.revision,
            "stableRevision": status.stable_revision,
            "step": status.step,
            "weight": status.weight,
        }

    def _answer(self, permit: Permit) -> None:
        if self.answers.get(permit.gate) != permit:
            self.answers[permit.gate] = permit
            self.ports.wake(self.resolved.canary.key)


class GateBoard:
    """Starts, feeds and ends the sessions. `run` belongs into the leader's TaskGroup."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._sessions: Releases[_Session] = Releases("gates")

    async def run(self) -> None:
        await self._sessions.run()

    def permits(self, key: Key, revision: str) -> tuple[Permit, ...]:
        session = self._sessions.get(key, revision)
        return tuple(session.answers.values()) if session is not None else ()

    def follow(self, resolved: Resolved, status: CanaryStatus) -> None:
        """Told after each pass which gates are waited for."""
        key, wanted = resolved.canary.key, gates_of(resolved, status)
        session = self._sessions.get(key)
        release = release_of(status)
        if session is not None and (not wanted or session.release != release):
            self._sessions.close(key)
            session = None
        if not wanted or status.rollout is None or not self._sessions.running:
            return
        if session is None:
            session = _Session(self._ports, resolved, status.rollout.revision, release)
            self._sessions.open(key, session)
        session.resolved = resolved
        if wanted.keys() != session.wanted.keys():
            session.wanted = wanted
            session.changed.set()

    def drop(self, key: Key) -> None:
        """The Canary itself is gone."""
        self._sessions.close(key)
