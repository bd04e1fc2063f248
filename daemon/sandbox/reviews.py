"""Why: clients ask whether they may, and who they are; in the sandbox everybody may everything."""

from __future__ import annotations

from typing import Any

from daemon.sandbox import errors as err
from daemon.sandbox.errors import JSON
from daemon.sandbox.resources import Resource
from daemon.sandbox.store import Caller


def answered(resource: Resource, review: Any, caller: Caller) -> JSON:
    """A review with its status."""
    if not isinstance(review, dict):
        raise err.bad_request(f"the object provided is unrecognized (must be of type {resource.kind})")
    head = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": {}}
    if resource.kind == "SelfSubjectReview":
        return {**head, "status": {"userInfo": {"username": caller.user, "groups": list(caller.groups)}}}
    spec = review.get("spec") or {}
    if not spec.get("resourceAttributes") and not spec.get("nonResourceAttributes"):
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise err.invalid(resource.kind, resource.group, "", [err.invalid_value("spec.resourceAttributes", None, why)])
    return {**head, "spec": spec, "status": {"allowed": True, "reason": "the sandbox allows everything"}}
