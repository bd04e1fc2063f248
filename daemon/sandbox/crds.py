"""Why: what a CustomResourceDefinition says is checked, and read as resources, without a store."""

from __future__ import annotations

from typing import Any

from daemon.sandbox import cel, schema
from daemon.sandbox import errors as err
from daemon.sandbox.errors import JSON, FieldError
from daemon.sandbox.resources import Resource

CRDS = "customresourcedefinitions.apiextensions.k8s.io"


def served_versions(crd: JSON) -> list[Resource]:
    """The resources that a CRD adds."""
    spec, names = crd["spec"], crd["spec"]["names"]
    out = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        raw = (version.get("schema") or {}).get("openAPIV3Schema") or {"x-kubernetes-preserve-unknown-fields": True}
        subresources = version.get("subresources") or {}
        out.append(
            Resource(
                group=spec["group"],
                version=version["name"],
                plural=names["plural"],
                kind=names["kind"],
                namespaced=spec.get("scope") == "Namespaced",
                singular=names.get("singular", ""),
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                subresources=tuple(s for s in ("status", "scale") if s in subresources),
                custom=True,
                schema=schema.of_custom(raw),
                columns=tuple(version.get("additionalPrinterColumns") or ()),
                selectable=tuple(f["jsonPath"].removeprefix(".") for f in version.get("selectableFields") or ()),
                scale=subresources.get("scale"),
            )
        )
    return out


def check(crd: JSON) -> list[FieldError]:
    """What makes a CRD unusable: names, versions, schemas that are not structural, rules that do not compile."""
    spec = crd["spec"]
    names = spec.get("names") or {}
    wanted = f"{names.get('plural', '')}.{spec.get('group', '')}"
    out: list[FieldError] = []
    if crd["metadata"].get("name") != wanted:
        out.append(err.invalid_value("metadata.name", crd["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group'))
    out += [err.required(f"spec.names.{name}") for name in ("plural", "kind") if not names.get(name)]
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        out.append(err.unsupported("spec.scope", spec.get("scope", ""), ("Cluster", "Namespaced")))
    versions = spec.get("versions") or []
    if sum(bool(v.get("storage")) for v in versions) != 1:
        out.append(err.invalid_value("spec.versions", len(versions), "must have exactly one version marked as storage version"))
    for i, version in enumerate(versions):
        raw = (version.get("schema") or {}).get("openAPIV3Schema")
        path = f"spec.versions[{i}].schema.openAPIV3Schema"
        if raw is None:
            out.append(err.required(path, "schemas are required"))
        else:
            out += _structural(raw, path)
    return out


def _structural(raw: Any, path: str) -> list[FieldError]:
    if not isinstance(raw, dict):
        return [err.type_invalid(path, str(raw), "a schema is an object")]
    out: list[FieldError] = []
    free = raw.get("x-kubernetes-int-or-string") or raw.get("x-kubernetes-preserve-unknown-fields")
    if not raw.get("type") and not free:
        out.append(err.required(f"{path}.type", "must not be empty for specified object fields"))
    if raw.get("type") == "array" and "items" not in raw:
        out.append(err.required(f"{path}.items", "must be specified"))
    if raw.get("properties") and raw.get("additionalProperties"):
        out.append(err.field_forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"))
    rules: list[JSON] = raw.get("x-kubernetes-validations") or []
    for i, rule in enumerate(rules):
        for word in [w for w in ("rule", "messageExpression") if rule.get(w)]:
            out += _compiles(rule[word], f"{path}.x-kubernetes-validations[{i}].{word}")
    for key, child in (raw.get("properties") or {}).items():
        out += _structural(child, f"{path}.properties[{key}]")
    for word in ("items", "additionalProperties"):
        if isinstance(raw.get(word), dict):
            out += _structural(raw[word], f"{path}.{word}")
    return out


def _compiles(text: str, path: str) -> list[FieldError]:
    try:
        cel.compile_expression(text)
    except cel.CelError as e:
        return [err.invalid_value(path, text, str(e))]
    return []
