"""From the text in a Notifier's Secret to an address that apprise understands.

People paste what Slack and Teams give them, so the native webhook URLs are accepted as they are; other services by apprise's own
addresses. The text is a password: it appears in no repr, no error and no log, only its service and host do.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from daemon.notify.errors import InvalidTargetError

# These act on the machine that the daemon runs on, or read files of it, and are nobody's way to a channel.
_LOCAL = frozenset({"dbus", "file", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})
_WAY_OUT = (
    "Put a Slack incoming webhook (https://hooks.slack.com/services/...), a Teams workflow URL (https://...logic.azure.com/... or "
    "https://...api.powerplatform.com/...), an https webhook, or an apprise address (such as slack://, workflows://, jsons://) into it."
)
_SLACK_HOSTS = {"hooks.slack.com": "", "hooks.slack-gov.com": "gov-hook"}
_SLACK_PATH = re.compile(r"/services/([A-Za-z0-9]+)/([A-Za-z0-9]+)/([A-Za-z0-9]+)/?")
_TEAMS_HOST = re.compile(
    r"[a-z0-9.-]+\.(logic\.azure\.(com|us|cn)|api\.powerplatform\.(com|us|cn)|api\.(gov|high)\.powerplatform\.(com|us))"
)
_TEAMS_PATH = re.compile(
    r"(?P<automate>/powerautomate/automations/direct(/cu/(?P<route>[0-9]+))?)?/workflows/(?P<id>[A-Za-z0-9_-]+)/triggers/manual/paths/invoke/?"
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to post. `address` is apprise's and secret; `label` is what may be shown."""

    service: str
    label: str
    address: str = field(repr=False)


def parse(text: str) -> Target:
    """The target of a Notifier's Secret value."""
    text = text.strip()
    scheme, separator, _ = text.partition("://")
    scheme = scheme.lower()
    if not text or not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]{0,30}", scheme) or re.search(r"\s", text):
        raise InvalidTargetError(f"the Notifier's Secret holds {'nothing' if not text else 'no address'}. {_WAY_OUT}")
    if scheme == "http":
        raise InvalidTargetError(
            "the Notifier's Secret holds an unencrypted http:// address. Use https://, or json:// if it must be unencrypted."
        )
    if scheme in _LOCAL:
        raise InvalidTargetError(f"{scheme}:// is not available to a daemon in a pod. {_WAY_OUT}")
    return _native(text) if scheme == "https" else _apprise(scheme, text)


def _native(text: str) -> Target:
    try:
        url = urlsplit(text)
        host, port = (url.hostname or "").lower(), url.port
    except ValueError:
        raise InvalidTargetError(f"the Notifier's Secret holds an https address that cannot be read. {_WAY_OUT}") from None
    if not host:
        raise InvalidTargetError(f"the Notifier's Secret holds an https address without a host. {_WAY_OUT}")
    if host in _SLACK_HOSTS:
        return _slack(host, url.path)
    if _TEAMS_HOST.fullmatch(host):
        return _teams(host, port, url.path, url.query)
    if host.endswith((".webhook.office.com", "outlook.office.com")):
        raise InvalidTargetError(
            "Teams connectors (webhook.office.com) were retired by Microsoft. Create a Workflow in Teams and use its URL."
        )
    return _webhook(text)


def _slack(host: str, path: str) -> Target:
    found = _SLACK_PATH.fullmatch(path)
    if found is None:
        raise InvalidTargetError(
            f"the {host} address is no incoming webhook: its path should be /services/T.../B.../... Copy it again from Slack."
        )
    mode = f"&mode={_SLACK_HOSTS[host]}" if _SLACK_HOSTS[host] else ""
    return Target(service="slack", label=f"Slack ({host})", address=f"slack://{'/'.join(found.groups())}/?{_SLACK_OPTIONS}{mode}")


def _teams(host: str, port: int | None, path: str, query: str) -> Target:
    found = _TEAMS_PATH.fullmatch(path)
    values = dict(parse_qsl(query))
    if found is None or not values.get("sig"):
        problem = "its path should be .../workflows/<id>/triggers/manual/paths/invoke" if found is None else "its sig=... is missing"
        raise InvalidTargetError(f"the Teams address on {host} is incomplete: {problem}. Copy the whole URL again from the Workflow.")
    options = {"sig": values["sig"], "image": "no", "pa": "yes" if found["automate"] else "no"}
    if "api-version" in values:
        options["ver"] = values["api-version"]
    if found["route"]:
        options["route"] = found["route"]
    at = host if port is None else f"{host}:{port}"
    return Target(service="workflows", label=f"Teams ({host})", address=f"workflows://{at}/{found['id']}/?{urlencode(options)}")


def _webhook(text: str) -> Target:
    """Apprise takes plain query keys for options of its own; with a hyphen before them they are sent on."""
    url = urlsplit(text)
    query = urlencode([(f"-{key}", value) for key, value in parse_qsl(url.query, keep_blank_values=True)])
    return Target(
        service="webhook", label=f"webhook ({url.hostname})", address=f"jsons://{url.netloc}{url.path or '/'}{query and '?' + query}"
    )


_SLACK_OPTIONS = "image=no&footer=no&blocks=yes"
_SERVICES = {
    "slack": ("slack", "Slack", "slack.com"),
    "workflow": ("workflows", "Teams", ""),
    "workflows": ("workflows", "Teams", ""),
    "json": ("webhook", "webhook", ""),
    "jsons": ("webhook", "webhook", ""),
}
_OPTIONS = {"slack": dict(parse_qsl(_SLACK_OPTIONS)), "workflows": {"image": "no"}}


def _apprise(scheme: str, text: str) -> Target:
    head, _, query = text.partition("?")
    given = parse_qsl(query, keep_blank_values=True)
    if any(key.lower() == "template" for key, _ in given):
        raise InvalidTargetError(f"template= in a {scheme}:// address reads a file of the daemon. Leave it out.")
    service, name, host = _SERVICES.get(scheme, (scheme, scheme, ""))
    missing = {key: value for key, value in _OPTIONS.get(service, {}).items() if key not in dict(given)}
    query = "&".join(part for part in (query, urlencode(missing)) if part)
    if service in ("workflows", "webhook"):
        host = _host(head)
    return Target(service=service, label=f"{name} ({host})" if host else name, address=f"{head}?{query}" if query else head)


def _host(head: str) -> str:
    """The host alone; in other services' addresses that place holds a token."""
    try:
        return urlsplit(head).hostname or ""
    except ValueError:
        raise InvalidTargetError(f"the Notifier's Secret holds an address whose host cannot be read. {_WAY_OUT}") from None
