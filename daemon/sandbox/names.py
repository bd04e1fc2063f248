"""Why: what may be a name, a label or an annotation key, in the words of the server."""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric "
    "character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_KEY_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def dns_label(text: str) -> str:
    """Why the text is no RFC 1123 label; empty when it is one."""
    if len(text) > 63:
        return "must be no more than 63 bytes"
    return "" if _LABEL.fullmatch(text) else _LABEL_TEXT


def dns_subdomain(text: str) -> str:
    if len(text) > 253:
        return "must be no more than 253 bytes"
    return "" if _SUBDOMAIN.fullmatch(text) else _SUBDOMAIN_TEXT


def path_segment(text: str) -> str:
    if text in (".", ".."):
        return f"may not be '{text}'"
    return next((f"may not contain '{c}'" for c in "/%" if c in text), "")


def label_value(text: str) -> list[str]:
    out = ["must be no more than 63 bytes"] if len(text) > 63 else []
    return out if not text or _QUALIFIED.fullmatch(text) else [*out, _VALUE_TEXT]


def label_key(text: str) -> list[str]:
    prefix, slash, name = text.rpartition("/")
    out: list[str] = []
    if "/" in prefix:
        return [f"a valid label key must consist of one optional prefix and a name: {_KEY_TEXT}"]
    if slash and not prefix:
        out.append("prefix part must be non-empty")
    elif slash and dns_subdomain(prefix):
        out.append(f"prefix part {dns_subdomain(prefix)}")
    if not name:
        out.append("name part must be non-empty")
    elif len(name) > 63:
        out.append("name part must be no more than 63 bytes")
    if not _QUALIFIED.fullmatch(name):
        out.append(_KEY_TEXT)
    return out


def annotation_key(text: str) -> list[str]:
    return label_key(text.lower())
