"""What the writes of Linnet, the native controllers and time make of the small world.

Each write is applied as the shell would apply it, idempotent; Deployment, HPA, pods, gateways and flag sources follow on their own.
"""

from __future__ import annotations

from daemon.rollout import model as m
from daemon.rollout.pick import words
from flags.model import Share
from tests.unit.rollout.world_facts import Flag, Pods
from tests.unit.rollout.world_seen import SeenWorld


class MovingWorld(SeenWorld):
    """A world in which actions have effects, and time passes."""

    def act(self, action: m.Actions) -> None:
        if type(action) in self.broken:
            return
        self.acted.append(action)
        match action:
            case m.Adopt(adopted=adopted):
                self.adopted = adopted
            case m.StoreTemplate(revision=revision, role=role, by=by):
                if revision in self.stored or revision == self.template:
                    if role == "stable":
                        if self.stored.get(revision) != "stable":
                            self.stable_by[revision] = (self.now, by)
                        self.stored = dict.fromkeys(self.stored, "candidate")
                    self.stored[revision] = role
            case m.RememberFailure(revision=revision):
                if revision in self.stored:
                    self.failed.setdefault(revision, action)
            case m.ForgetFailure(revision=revision):
                self.failed.pop(revision, None)
            case m.DropFinalizer():
                self.finalized = True
            case _:
                self._act_on_workload(action)

    def _act_on_workload(self, action: m.Actions) -> None:
        match action:
            case m.PauseWorkload():
                self.paused, self.held = True, "true"
            case m.ReleaseHold(revision=revision):
                if self.template == revision:
                    self.unpause()
            case m.PutTemplate(revision=revision, expected=expected):
                if self.template == expected and revision in self.stored:
                    self.template, self.paused, self.held = revision, True, "true"
            case m.RestoreTemplate(revision=revision, expected=expected):
                if self.template == expected and revision in self.stored:
                    self.template = revision
                    self.unpause()
            case m.ResizeReplicaSets(sizes=sizes):
                for name, size in sizes:
                    self.sets.setdefault(name.removeprefix("checkout-"), Pods()).replicas = size
            case m.EnsureCanary(revision=revision, replicas=replicas):
                self.canaries.setdefault(revision, Pods()).replicas = replicas
                self.service_revision = revision
            case m.DeleteCanary():
                self.canaries.clear()
            case _:
                self._act_on_exposure(action)

    def _act_on_exposure(self, action: m.Actions) -> None:
        match action:
            case m.SetWeight(weight=weight, pick=pick):
                for route in self.routes:
                    if (route.weight, route.picked) != (weight, words(pick)):
                        route.picked = words(pick)
                        route.weight, route.accepted, route.age, route.manager = weight, False, 0.0, ""
            case m.RestoreRoutes():
                for route in self.routes:
                    if route.weight is not None or route.picked:
                        route.picked = ""
                        route.weight, route.accepted, route.age, route.manager = None, False, 0.0, ""
            case m.LiftFloor(minimum=minimum):
                if self.hpa:
                    self.hpa.minimum, self.hpa.lifted, self.hpa.floor = max(self.hpa.minimum, minimum), True, minimum
            case m.RestoreFloor():
                if self.hpa:
                    self.hpa.minimum, self.hpa.lifted, self.hpa.touched = self.hpa.original, False, False
            case _:
                self._act_on_flags(action)

    def _act_on_flags(self, action: m.Actions) -> None:
        named = {f.name: f for f in self.flags if not f.error}
        match action:
            case m.SetFlag(name=name, percent=percent, cohorts=cohorts, gated=gated, enforced=enforced) if name in named:
                self._write(named[name], percent, cohorts, gated=gated, enforced=enforced)
            case m.FinishFlag(name=name, percent=percent, cohorts=cohorts) if name in named:
                self._write(named[name], percent, cohorts, gated=False)
            case m.ZeroFlags(names=which):
                for flag in (f for f in named.values() if which is None or f.name in which):
                    if flag.percent or any(flag.cohorts.values()):
                        self._write(flag, 0, tuple(Share(cohort=c, percent=0) for c in flag.cohorts), gated=flag.gated)
            case m.RestoreFlags(names=which):
                for flag in (f for f in named.values() if which is None or f.name in which):
                    flag.percent, flag.drift, flag.gated, flag.cohorts = None, None, True, {}
            case m.ReleaseFlags(names=which):
                for flag in (f for f in named.values() if which is None or f.name in which):
                    flag.people, flag.percent, flag.gated = (flag.percent if flag.percent is not None else flag.people), None, True
            case _:
                pass

    def _write(self, flag: Flag, percent: int, cohorts: tuple[Share, ...] = (), *, gated: bool, enforced: bool = False) -> None:
        shares = {share.cohort: share.percent or 0 for share in cohorts}
        if flag.drift is None or percent == 0 or enforced:
            if (flag.percent, flag.gated, flag.cohorts) != (percent, gated, shares):
                flag.age = 0.0
            flag.percent, flag.gated, flag.drift, flag.cohorts = percent, gated, None, shares
            flag.writes.append({"all": percent, **shares})

    # Everybody else, and time.

    def tick(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self._native()
        for revision, pods in self.sets.items():
            self._start(revision, pods, len(self.sets) * 1_000)
        for revision, pods in self.canaries.items():
            self._start(revision, pods, self.capacity)
        for route in self.routes:
            route.age += seconds
            route.accepted = route.accepts and route.age >= 0.5
        for flag in self.flags:
            flag.age += seconds
        rollout = self.status.rollout
        if rollout is not None and rollout.exposures:
            self.shown.append(rollout.exposures[-1].weight)
        elif rollout is None or rollout.judge_from is None:
            self.shown.clear()
        for revision, pods in self.canaries.items():
            weighted = any((r.weight or 0) > 0 for r in self.routes) if self.routes else True
            if weighted and pods.available:
                self.exposure[revision] = self.exposure.get(revision, 0.0) + seconds

    def _start(self, revision: str, pods: Pods, room: int) -> None:
        pods.available = min(pods.available, pods.replicas)
        if self.versions[revision].starts and not self.versions[revision].fatal:
            pods.available = min(pods.replicas, room, pods.available + 2)

    def _native(self) -> None:
        """One sync of the native controllers of Deployment and HPA."""
        if self.hpa and self.hpa.follows and 0 < self.replicas < self.hpa.minimum:
            self.replicas = self.hpa.minimum
        if self.paused:
            self._native_scale()
        elif self.recreate:
            old = [p for r, p in self.sets.items() if r != self.template and p.replicas]
            for pods in old:
                pods.replicas = pods.available = 0
            if not old:
                self.sets.setdefault(self.template, Pods()).replicas = self.replicas
        else:
            self._native_roll()

    def _native_scale(self) -> None:
        active = [p for p in self.sets.values() if p.replicas]
        if len(active) == 1:
            active[0].replicas = self.replicas
        elif not active and self.replicas:
            newest = list(self.sets)[-1]  # of the ReplicaSets that exist, the newest-created one (trap A3)
            self.sets[newest].replicas = self.replicas
        elif len(active) > 1 and self.replicas == 0:
            for pods in active:
                pods.replicas = 0

    def _native_roll(self) -> None:
        new = self.sets.setdefault(self.template, Pods())
        total = sum(p.replicas for p in self.sets.values())
        if new.replicas > self.replicas:
            new.replicas = self.replicas
        new.replicas += max(0, min(self.replicas + self.surge - total, self.replicas - new.replicas))
        ready = sum(p.available for p in self.sets.values())
        spare = max(0, ready - (self.replicas - (self.unavailable or (0 if self.surge else 1))))
        for revision, pods in self.sets.items():
            if revision == self.template:
                continue
            dead = pods.replicas - pods.available
            gone = min(pods.replicas, dead + spare)
            spare -= max(0, gone - dead)
            pods.replicas -= gone
            pods.available = min(pods.available, pods.replicas)

    def kill_canary_pods(self, number: int) -> None:
        for pods in self.canaries.values():
            pods.available = max(0, pods.available - number)
