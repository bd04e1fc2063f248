"""Where the API server is, and how to find out: a kubeconfig, or the ServiceAccount mounted into a pod.

Parsed here with PyYAML alone. kubernetes-asyncio can do this too, but importing it costs 66 MB and most of a second, so it is
loaded (by `credentials`) only for users whose kubeconfig names an exec plugin or an auth provider, which is where it earns its keep.
"""

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from daemon.kube.errors import ConfigError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PLUGINS = ("exec", "auth-provider")


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """A user whose token comes from a program or a cloud: the `user` node as kubernetes-asyncio wants it."""

    user: dict[str, Any]


class ClusterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything needed to reach one API server. Files are named, not read: `credentials` reads them again when they change."""

    server: str
    namespace: str = "default"
    ca_file: str | None = None
    ca_data: bytes | None = None
    cert_file: str | None = None
    cert_data: bytes | None = None
    key_file: str | None = None
    key_data: bytes | None = None
    token: str | None = None
    token_file: str | None = None
    username: str | None = None
    password: str | None = None
    insecure: bool = False
    tls_server_name: str | None = None
    proxy_url: str | None = None
    plugin: Plugin | None = None
    source: str = ""

    def __repr__(self) -> str:
        return f"ClusterConfig(server={self.server!r}, namespace={self.namespace!r}, source={self.source!r})"


def load(kubeconfig: str | None = None, context: str | None = None, *, env: Mapping[str, str] | None = None) -> ClusterConfig:
    """The configuration a user expects: the named file, $KUBECONFIG, the pod's ServiceAccount, ~/.kube/config, in this order."""
    env = os.environ if env is None else env
    if kubeconfig:
        return from_kubeconfig([kubeconfig], context)
    if env.get("KUBECONFIG"):
        paths = [p for p in env["KUBECONFIG"].split(os.pathsep) if p]
        return from_kubeconfig(paths, context, skip_missing=True)
    if not context and env.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT / "token").exists():
        return in_cluster(env=env)
    home = Path(env.get("HOME") or "~").expanduser() / ".kube" / "config"
    if home.exists():
        return from_kubeconfig([str(home)], context)
    raise ConfigError(
        f"no cluster is configured: pass --kubeconfig, set KUBECONFIG, or create {home}; in a pod, mount a ServiceAccount token"
    )


def in_cluster(*, env: Mapping[str, str] | None = None, folder: Path = SERVICE_ACCOUNT) -> ClusterConfig:
    """The API server as a pod sees it."""
    env = os.environ if env is None else env
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigError("KUBERNETES_SERVICE_HOST is not set: this process does not run in a pod; pass --kubeconfig")
    token, ca, namespace = folder / "token", folder / "ca.crt", folder / "namespace"
    if not token.exists():
        raise ConfigError(f"{token} is missing: set automountServiceAccountToken: true on the pod, or pass --kubeconfig")
    return ClusterConfig(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        ca_file=str(ca) if ca.exists() else None,
        token_file=str(token),
        source="in-cluster",
    )


def from_kubeconfig(paths: Sequence[str], context: str | None = None, *, skip_missing: bool = False) -> ClusterConfig:
    """Read one file or a $KUBECONFIG list: for each name the first file that has it wins, as kubectl does."""
    files = [f for f in (_read(Path(p), skip_missing=skip_missing) for p in paths) if f is not None]
    if not files:
        raise ConfigError(f"no kubeconfig at {os.pathsep.join(paths)}")
    source = os.pathsep.join(paths)
    name = context or next((f.current for f in files if f.current), "")
    if not name:
        raise ConfigError(f"{source}: current-context is not set; pass --context or run `kubectl config use-context`")
    ctx, _ = _named(files, "contexts", "context", name, source)
    cluster, cluster_base = _named(files, "clusters", "cluster", _text(ctx, "cluster", source) or "", source)
    user: Mapping[str, Any] = {}
    user_base = cluster_base
    if ctx.get("user"):
        user, user_base = _named(files, "users", "user", _text(ctx, "user", source) or "", source)
    return _assemble(ctx, (cluster, cluster_base), (user, user_base), source)


class _File(msgspec.Struct, frozen=True):
    base: Path
    current: str
    content: dict[str, Any]


def _read(path: Path, *, skip_missing: bool) -> _File | None:
    path = path.expanduser()
    try:
        content = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are safe loaders
    except FileNotFoundError:
        if skip_missing:
            return None
        raise ConfigError(f"kubeconfig {path} does not exist; pass another --kubeconfig") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise ConfigError(f"kubeconfig {path} cannot be read: {e}") from e
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"kubeconfig {path} is no mapping: is it really a kubeconfig?")
    return _File(path.resolve().parent, str(content.get("current-context") or ""), content)


def _named(files: Sequence[_File], plural: str, singular: str, name: str, source: str) -> tuple[Mapping[str, Any], Path]:
    known: list[str] = []
    for file in files:
        entries = file.content.get(plural) or []
        if not isinstance(entries, list):
            raise ConfigError(f"{source}: {plural} must be a list")
        for entry in entries:
            if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(singular) or {}, dict):
                return entry.get(singular) or {}, file.base
            known.append(str(entry.get("name")) if isinstance(entry, dict) else "?")
    raise ConfigError(f"{source}: {singular} {name!r} is not among {plural}: {', '.join(known) or 'none'}")


def _assemble(
    ctx: Mapping[str, Any], cluster: tuple[Mapping[str, Any], Path], user: tuple[Mapping[str, Any], Path], source: str
) -> ClusterConfig:
    (c, cluster_base), (u, user_base) = cluster, user
    server = _text(c, "server", source)
    if not server or not server.startswith(("http://", "https://")):
        raise ConfigError(f"{source}: cluster.server is {server!r}; it must start with https:// or http://")
    plugin = Plugin(user=dict(u)) if any(u.get(p) for p in _PLUGINS) else None
    return ClusterConfig(
        server=server.rstrip("/"),
        namespace=_text(ctx, "namespace", source) or "default",
        ca_file=_file(c, "certificate-authority", cluster_base, source),
        ca_data=_data(c, "certificate-authority-data", source),
        cert_file=_file(u, "client-certificate", user_base, source),
        cert_data=_data(u, "client-certificate-data", source),
        key_file=_file(u, "client-key", user_base, source),
        key_data=_data(u, "client-key-data", source),
        token=_text(u, "token", source),
        token_file=_file(u, "tokenFile", user_base, source),
        username=_text(u, "username", source),
        password=_text(u, "password", source),
        insecure=bool(c.get("insecure-skip-tls-verify")),
        tls_server_name=_text(c, "tls-server-name", source),
        proxy_url=_text(c, "proxy-url", source),
        plugin=plugin,
        source=source,
    )


def _text(node: Mapping[str, Any], key: str, source: str) -> str | None:
    value = node.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ConfigError(f"{source}: {key} must be a string, not {type(value).__name__}")
    return value


def _file(node: Mapping[str, Any], key: str, base: Path, source: str) -> str | None:
    value = _text(node, key, source)
    return None if value is None else str(base / Path(value).expanduser())


def _data(node: Mapping[str, Any], key: str, source: str) -> bytes | None:
    value = _text(node, key, source)
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"{source}: {key} is not base64") from None
