"""Why: an admission policy that cannot be evaluated is refused when it is written, not when it first matters."""

from __future__ import annotations

from typing import Any

from daemon.sandbox import cel
from daemon.sandbox import errors as err
from daemon.sandbox.errors import JSON, FieldError

_ACTIONS = ("Audit", "Deny", "Warn")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")


def _compiles(text: Any, path: str) -> list[FieldError]:
    if not isinstance(text, str) or not text.strip():
        return [err.required(path, "expression is not specified")]
    try:
        cel.compile_expression(text)
    except cel.CelError as e:
        return [err.invalid_value(path, text, str(e))]
    return []


def check_policy(policy: JSON, _old: JSON | None) -> list[FieldError]:
    """Mutating and validating policies alike: what is matched, what is evaluated."""
    spec = policy.get("spec") or {}
    out = _matching(spec)
    for group in ("matchConditions", "variables"):
        for i, entry in enumerate(spec.get(group) or ()):
            if not entry.get("name"):
                out.append(err.required(f"spec.{group}[{i}].name"))
            out += _compiles(entry.get("expression"), f"spec.{group}[{i}].expression")
    if policy["kind"] == "MutatingAdmissionPolicy":
        return out + _mutations(spec)
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        out.append(err.required("spec.validations", "validations or auditAnnotations must contain at least one item"))
    for i, entry in enumerate(spec.get("validations") or ()):
        out += _compiles(entry.get("expression"), f"spec.validations[{i}].expression")
        if entry.get("messageExpression"):
            out += _compiles(entry["messageExpression"], f"spec.validations[{i}].messageExpression")
    return out


def _matching(spec: JSON) -> list[FieldError]:
    constraints = spec.get("matchConstraints")
    if constraints is None:
        return [err.required("spec.matchConstraints")]
    if not constraints.get("resourceRules"):
        return [err.required("spec.matchConstraints.resourceRules")]
    out: list[FieldError] = []
    for i, rule in enumerate(constraints["resourceRules"]):
        path = f"spec.matchConstraints.resourceRules[{i}]"
        out += [err.required(f"{path}.{n}") for n in ("operations", "apiGroups", "apiVersions", "resources") if not rule.get(n)]
        for j, operation in enumerate(rule.get("operations") or ()):
            if operation not in _OPERATIONS:
                out.append(err.unsupported(f"{path}.operations[{j}]", operation, _OPERATIONS))
    return out


def _mutations(spec: JSON) -> list[FieldError]:
    mutations = spec.get("mutations") or []
    out = [] if mutations else [err.required("spec.mutations", "mutations must contain at least one item")]
    for i, mutation in enumerate(mutations):
        path = f"spec.mutations[{i}]"
        kind = mutation.get("patchType")
        if kind not in ("ApplyConfiguration", "JSONPatch"):
            out.append(err.unsupported(f"{path}.patchType", kind or "", ("ApplyConfiguration", "JSONPatch")))
            continue
        name = "applyConfiguration" if kind == "ApplyConfiguration" else "jsonPatch"
        out += _compiles((mutation.get(name) or {}).get("expression"), f"{path}.{name}.expression")
    return out


def check_binding(binding: JSON, _old: JSON | None) -> list[FieldError]:
    spec = binding.get("spec") or {}
    out = [] if spec.get("policyName") else [err.required("spec.policyName")]
    if binding["kind"] == "ValidatingAdmissionPolicyBinding":
        actions = spec.get("validationActions") or []
        if not actions:
            out.append(err.required("spec.validationActions"))
        out += [err.unsupported(f"spec.validationActions[{i}]", a, _ACTIONS) for i, a in enumerate(actions) if a not in _ACTIONS]
    return out
