"""Why: Linnet's hold is two admission policies; the sandbox evaluates the very objects that the chart installs.

`PolicyAdmission` finds the policies whose bindings match a write, evaluates their CEL, and mutates or refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon.sandbox import cel, objects, patching
from daemon.sandbox import fieldsets as fs
from daemon.sandbox.errors import JSON, ApiError, qualified
from daemon.sandbox.resources import Resource
from daemon.sandbox.selectors import from_object

if TYPE_CHECKING:
    from daemon.sandbox.store import Caller, Store

_GROUP = "admissionregistration.k8s.io"
_CODES = {"Invalid": 422, "Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A write as policies see it."""

    resource: Resource
    subresource: str
    operation: str
    obj: JSON | None
    old: JSON | None
    caller: Caller

    @property
    def some(self) -> JSON:
        return self.obj if self.obj is not None else self.old or {}

    @property
    def namespace(self) -> str:
        return str(self.some["metadata"].get("namespace", ""))

    def request(self) -> JSON:
        """The `request` variable."""
        r = self.resource
        kind = {"group": r.group, "version": r.version, "kind": r.kind}
        resource = {"group": r.group, "version": r.version, "resource": r.plural}
        groups = list(self.caller.groups) or ["system:authenticated"]
        return {
            "kind": kind,
            "resource": resource,
            "subResource": self.subresource,
            "requestKind": kind,
            "requestResource": resource,
            "requestSubResource": self.subresource,
            "name": self.some["metadata"].get("name", ""),
            "namespace": self.namespace if r.namespaced else "",
            "operation": self.operation,
            "userInfo": {"username": self.caller.user, "groups": groups},
            "dryRun": self.caller.dry_run,
            "options": {},
        }


class Variables(Mapping[str, Any]):
    """The `variables` of a policy: each computed when first read, and at most once."""

    def __init__(self, wanted: list[JSON]) -> None:
        self._wanted = {v["name"]: v["expression"] for v in wanted}
        self._known: dict[str, Any] = {}
        self.scope: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = cel.compile_expression(self._wanted[name])(self.scope)
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._wanted

    def __iter__(self) -> Iterator[str]:
        return iter(self._wanted)

    def __len__(self) -> int:
        return len(self._wanted)


def _covers(wanted: list[str], value: str) -> bool:
    return "*" in wanted or value in wanted


def _rule_matches(rule: JSON, attempt: Attempt) -> bool:
    r = attempt.resource
    name = f"{r.plural}/{attempt.subresource}" if attempt.subresource else r.plural
    patterns = {name, "*/*", f"{r.plural}/*" if attempt.subresource else "*", f"*/{attempt.subresource}" if attempt.subresource else "*"}
    scope = rule.get("scope", "*")
    return (
        _covers(rule.get("operations") or [], attempt.operation)
        and _covers(rule.get("apiGroups") or [], r.group)
        and _covers(rule.get("apiVersions") or [], r.version)
        and bool(patterns & set(rule.get("resources") or ()))
        and scope in ("*", "Namespaced" if r.namespaced else "Cluster")
        and (not rule.get("resourceNames") or attempt.some["metadata"].get("name") in rule["resourceNames"])
    )


def _matches(constraints: JSON | None, attempt: Attempt, namespace: JSON | None) -> bool:
    """Whether constraints of a policy or of a binding cover the write."""
    if not constraints:
        return True
    rules = constraints.get("resourceRules")
    if rules is not None and not any(_rule_matches(rule, attempt) for rule in rules):
        return False
    if any(_rule_matches(rule, attempt) for rule in constraints.get("excludeResourceRules") or ()):
        return False
    selector = constraints.get("namespaceSelector")
    if (
        selector
        and attempt.resource.namespaced
        and namespace is not None
        and not from_object(selector)(namespace["metadata"].get("labels") or {})
    ):
        return False
    wanted = constraints.get("objectSelector")
    if not wanted:
        return True
    test = from_object(wanted)
    return any(test(o["metadata"].get("labels") or {}) for o in (attempt.obj, attempt.old) if o is not None)


class PolicyAdmission:
    """Evaluates the policies that are in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def _attempt(self, resource: Resource, obj: JSON | None, old: JSON | None, caller: Caller, sub: str) -> Attempt:
        operation = "CREATE" if old is None else "DELETE" if obj is None else "UPDATE"
        return Attempt(resource=resource, subresource=sub, operation=operation, obj=obj, old=old, caller=caller)

    def _bound(self, plural: str, attempt: Attempt) -> Iterator[tuple[JSON, JSON, Any]]:
        """Each policy that covers the write, with each of its bindings and parameters."""
        policies = self._store.state(qualified(plural, _GROUP))
        if not policies or attempt.resource.group == _GROUP:
            return
        bindings = self._store.state(qualified(plural.replace("policies", "policybindings"), _GROUP))
        namespace = self._store.peek("namespaces", "", attempt.namespace) if attempt.resource.namespaced else None
        for (_, name), policy in sorted(policies.items()):
            if not _matches(policy["spec"].get("matchConstraints"), attempt, namespace):
                continue
            for _, binding in sorted(bindings.items()):
                if binding["spec"]["policyName"] == name and _matches(binding["spec"].get("matchResources"), attempt, namespace):
                    for params in self._params(policy, binding, attempt):
                        yield policy, binding, params

    def _params(self, policy: JSON, binding: JSON, attempt: Attempt) -> list[Any]:
        kind, ref = policy["spec"].get("paramKind"), binding["spec"].get("paramRef")
        if not kind or not ref:
            return [None]
        resource = self._store.registry.by_kind(kind["apiVersion"], kind["kind"])
        found: list[Any] = []
        if resource is not None:
            ns = (ref.get("namespace") or attempt.namespace) if resource.namespaced else ""
            if ref.get("name"):
                one = self._store.peek(resource, ns, ref["name"])
                found = [one] if one is not None else []
            else:
                found = list(self._store.list(resource, ns, ref.get("selector") or {}))
        if found or ref.get("parameterNotFoundAction") == "Allow":
            return found
        why = "no params found for policy binding with `Deny` parameterNotFoundAction"
        if policy["spec"].get("failurePolicy", "Fail") == "Ignore":
            return []
        raise _refused(attempt, policy, binding, f"failed to configure binding: {why}", "Forbidden")

    def _scope(self, policy: JSON, attempt: Attempt, params: Any) -> dict[str, Any]:
        variables = Variables(policy["spec"].get("variables") or [])
        scope: dict[str, Any] = {
            "object": attempt.obj,
            "oldObject": attempt.old,
            "request": attempt.request(),
            "params": params,
            "variables": variables,
            "namespaceObject": self._store.peek("namespaces", "", attempt.namespace) if attempt.resource.namespaced else None,
        }
        variables.scope = scope
        return scope

    # -- mutating -----------------------------------------------------------------------------------------------------------------

    def mutate(self, resource: Resource, obj: JSON, old: JSON | None, caller: Caller, subresource: str) -> JSON:
        """The object after all mutating policies; those with `reinvocationPolicy: IfNeeded` see what later ones changed."""
        attempt = self._attempt(resource, obj, old, caller, subresource)
        before: dict[str, JSON] = {}
        for again in (False, True):
            for policy, binding, params in self._bound("mutatingadmissionpolicies", attempt):
                key = f"{policy['metadata']['name']}/{binding['metadata']['name']}"
                if again and (policy["spec"].get("reinvocationPolicy") != "IfNeeded" or before.get(key) == attempt.obj):
                    continue
                mutated = self._mutated(policy, binding, attempt, params)
                attempt = self._attempt(resource, mutated, old, caller, subresource)
                before[key] = mutated
            if not before:
                break
        return attempt.obj or obj

    def _mutated(self, policy: JSON, binding: JSON, attempt: Attempt, params: Any) -> JSON:
        obj = attempt.obj or {}
        try:
            scope = self._scope(policy, attempt, params)
            if not _conditions(policy, scope):
                return obj
            for mutation in policy["spec"]["mutations"]:
                obj = _one_mutation(attempt.resource, mutation, scope, obj)
                scope["object"] = obj
        except cel.CelError as e:
            if policy["spec"].get("failurePolicy", "Fail") == "Ignore":
                return attempt.obj or {}
            raise _refused(attempt, policy, binding, str(e), "Invalid") from None
        return obj

    # -- validating ---------------------------------------------------------------------------------------------------------------

    def validate(self, resource: Resource, obj: JSON | None, old: JSON | None, caller: Caller, subresource: str) -> None:
        """Refuse what a validating policy denies; a failure counts as its failurePolicy says."""
        attempt = self._attempt(resource, obj, old, caller, subresource)
        for policy, binding, params in self._bound("validatingadmissionpolicies", attempt):
            for reason, message in self._failures(policy, attempt, params):
                actions = binding["spec"].get("validationActions") or []
                if "Deny" in actions:
                    raise _refused(attempt, policy, binding, message, reason)
                if "Warn" in actions:
                    names = f"'{policy['metadata']['name']}' with binding '{binding['metadata']['name']}'"
                    caller.warnings.append(f"Validation failed for ValidatingAdmissionPolicy {names}: {message}")

    def _failures(self, policy: JSON, attempt: Attempt, params: Any) -> Iterator[tuple[str, str]]:
        strict = policy["spec"].get("failurePolicy", "Fail") == "Fail"
        scope = self._scope(policy, attempt, params)
        try:
            if not _conditions(policy, scope):
                return
        except cel.CelError as e:
            if strict:
                yield "Invalid", str(e)
            return
        for rule in policy["spec"].get("validations") or ():
            try:
                passed = cel.compile_expression(rule["expression"])(scope) is True
            except cel.CelError as e:
                if strict:
                    yield "Invalid", f"expression '{rule['expression']}' resulted in error: {e}"
                continue
            if not passed:
                yield rule.get("reason") or "Invalid", _message(rule, scope)


def _message(rule: JSON, scope: dict[str, Any]) -> str:
    if rule.get("messageExpression"):
        try:
            said = cel.compile_expression(rule["messageExpression"])(scope)
        except cel.CelError:
            said = None
        if isinstance(said, str) and said.strip() and "\n" not in said:
            return said.strip()
    return str(rule.get("message") or f"failed expression: {rule['expression']}").strip()


def _conditions(policy: JSON, scope: dict[str, Any]) -> bool:
    """All match conditions; a false one decides even when another fails."""
    failure: cel.CelError | None = None
    for condition in policy["spec"].get("matchConditions") or ():
        try:
            if cel.compile_expression(condition["expression"])(scope) is not True:
                return False
        except cel.CelError as e:
            failure = e
    if failure is not None:
        raise failure
    return True


def _one_mutation(resource: Resource, mutation: JSON, scope: dict[str, Any], obj: JSON) -> JSON:
    if mutation["patchType"] == "JSONPatch":
        operations = cel.as_json(cel.compile_expression(mutation["jsonPatch"]["expression"])(scope))
        try:
            return patching.json_patch(obj, operations)
        except ApiError as e:
            raise cel.CelError(f"JSON Patch: {e.message}") from None
    config = cel.as_json(cel.compile_expression(mutation["applyConfiguration"]["expression"])(scope))
    if not isinstance(config, dict):
        raise cel.CelError("must evaluate to Object")
    merged = fs.merge(objects.node_of(resource), obj, config)
    return dict(merged)


def _refused(attempt: Attempt, policy: JSON, binding: JSON, message: str, reason: str) -> ApiError:
    r, name = attempt.resource, attempt.some["metadata"].get("name", "")
    who = f"'{policy['metadata']['name']}' with binding '{binding['metadata']['name']}' denied request: {message}"
    kind = "" if policy["kind"] == "MutatingAdmissionPolicy" else "ValidatingAdmissionPolicy "
    said = f"policy {who}" if not kind else f"{kind}{who}"
    details: JSON = {"name": name} if name else {}
    if r.group:
        details["group"] = r.group
    details |= {"kind": r.plural, "causes": [{"message": said}]}
    return ApiError(_CODES.get(reason, 422), reason, f'{qualified(r.plural, r.group)} "{name}" is forbidden: {said}', details)
