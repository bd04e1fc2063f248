"""A real Kubernetes control plane for one test session or bench, in a network namespace of its own.

    with ControlPlane() as plane, plane.entered():
        plane.kubectl("get", "namespaces")

Own namespace, own etcd, own certificates: nothing is shared between two sessions and nothing listens outside. RBAC is on, bound
ServiceAccount tokens are issued, and an audit log names every caller, so that a test can say who wrote what in which order.
`ControlPlane` itself may be used from outside the namespace (its commands enter it); a test that opens connections enters it.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.testbed import build, kubernetes, netns

ADDRESS = "10.99.0.1"
PORT = 6443
SERVICE_NETWORK = "10.100.0.0/16"
# Callers with all rights (group system:masters) and a name of their own in the audit log.
USERS = ("admin", "alice", "node-agent", "traefik", "prometheus", "kwok", "bench", "components")
PARTS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}
# Bodies are kept for what a rollout is made of; Secrets never; reads and watches of everything else by metadata.
AUDIT_POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "nonResourceURLs": ["/readyz*", "/livez*", "/healthz*", "/openapi*"]},
        {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets", "serviceaccounts/token"]}]},
        {
            "level": "RequestResponse",
            "verbs": ["create", "update", "patch", "delete", "deletecollection"],
            "resources": [
                {"group": "linnet.dev"},
                {"group": "apps"},
                {"group": "gateway.networking.k8s.io"},
                {"group": "autoscaling"},
                {"group": "", "resources": ["configmaps", "services", "events", "pods/eviction"]},
                {"group": "events.k8s.io"},
            ],
        },
        {"level": "Metadata"},
    ],
}


class ControlPlaneError(RuntimeError):
    """The control plane did not start, or a command on it failed."""


@dataclass(kw_only=True)
class Process:
    """A part that runs: its name, the process and the file its output goes to."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def tail(self, characters: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""

    def stop(self, patience: float = 5.0) -> None:
        """SIGTERM, then SIGKILL."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(patience)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(patience)


class ControlPlane:
    """etcd, kube-apiserver, kube-controller-manager and kube-scheduler; a context manager that ends them all."""

    def __init__(self, *, keep: bool = False) -> None:
        self.keep = keep or bool(os.environ.get("LINNET_TEST_KEEP"))
        # Taken once: pytest changes its own environment at each phase of a test, and scenarios run in threads beside that.
        self._environment = dict(os.environ)
        self.bin, self.servers = build.bin_dir(), kubernetes.bin_dir()
        self.url = f"https://{ADDRESS}:{PORT}"
        self.token = "admin-token"
        self.netns = ""
        self.version = ""
        self.processes: list[Process] = []
        self.directory = Path()
        self.ca = Path()
        self.kubeconfig = Path()
        self.audit_log = Path()

    # -- life ------------------------------------------------------------------------------------------------------------------

    def start(self, timeout: float = 120.0) -> Self:
        """Starts everything; returns once the API server is ready and the default ServiceAccount exists."""
        lacking = build.missing(PARTS)
        if lacking:
            raise ControlPlaneError(f"not built: {', '.join(lacking)}: run `python -m tests.testbed.build`")
        self.netns = netns.create()
        self.directory = Path(tempfile.mkdtemp(prefix="linnet-cluster-"))
        self.directory.chmod(0o755)
        try:
            self._write_files()
            self._start_etcd()
            self._start_apiserver()
            self._await_ready(timeout)
            self._start_controllers()
            self._await_default_account(timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends every process in the namespace, removes it and the files."""
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()
        if self.netns:
            netns.delete(self.netns)
            self.netns = ""
        if self.directory.name and not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # -- what tests use --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def entered(self) -> Iterator[ControlPlane]:
        """The calling thread is inside the namespace: `url`, pods and gateways can be reached from it."""
        with netns.entered(self.netns):
            yield self

    def popen(self, command: list[str], *, name: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Process:
        """Starts a command inside the namespace; its output goes to `<directory>/<name>.log`; it ends with the control plane."""
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            started = subprocess.Popen(
                netns.command(self.netns, *command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**self._environment, **(env or {})},
                cwd=cwd or self.directory,
                start_new_session=True,
            )
        process = Process(name=name, popen=started, log=log)
        self.processes.append(process)
        return process

    def run_in_netns(
        self,
        command: list[str],
        *,
        input: str | None = None,  # noqa: A002 - named as in subprocess.run
        timeout: float = 60.0,
        env: Mapping[str, str] | None = None,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command inside the namespace to its end; with `check` a failure raises with what it printed."""
        done = subprocess.run(
            netns.command(self.netns, *command),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**self._environment, **(env or {})},
            check=False,
        )
        if check and done.returncode != 0:
            raise ControlPlaneError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002
        check: bool = True,
        timeout: float = 60.0,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """kubectl as a user types it (user `admin`, or the given kubeconfig)."""
        command = [str(self.bin / "kubectl"), "--kubeconfig", str(kubeconfig or self.kubeconfig), *arguments]
        env = {"HOME": str(self.directory), "KUBECACHEDIR": str(self.directory / "kube-cache")}
        return self.run_in_netns(command, input=input, timeout=timeout, check=check, env=env)

    def helm(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002
        check: bool = True,
        timeout: float = 120.0,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Helm 4 with a home of its own."""
        home = self.directory / "helm"
        env = {"HOME": str(home), "HELM_CONFIG_HOME": str(home), "HELM_CACHE_HOME": str(home), "HELM_DATA_HOME": str(home)}
        command = [str(self.bin / "helm"), "--kubeconfig", str(kubeconfig or self.kubeconfig), *arguments]
        return self.run_in_netns(command, input=input, timeout=timeout, check=check, env=env)

    def json(self, *arguments: str) -> Any:
        """The decoded answer of `kubectl <arguments> -o json`."""
        return json.loads(self.kubectl(*arguments, "-o", "json").stdout)

    def apply(self, *objects: Mapping[str, Any], namespace: str | None = None, server_side: bool = False) -> None:
        """`kubectl apply -f -` of objects given as mappings."""
        where = ["-n", namespace] if namespace else []
        how = ["--server-side"] if server_side else []
        self.kubectl("apply", *where, *how, "-f", "-", input=yaml.safe_dump_all(list(objects)))

    def user_kubeconfig(self, user: str) -> Path:
        """The kubeconfig of one of `USERS` (all of them may do everything; the audit log tells them apart)."""
        return self._kubeconfig(user, f"{user}-token")

    def service_account_token(self, namespace: str, name: str, duration: str = "24h") -> str:
        """A bound token of an existing ServiceAccount, by TokenRequest."""
        return self.kubectl("create", "token", name, "-n", namespace, f"--duration={duration}").stdout.strip()

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """A kubeconfig that is nothing but this ServiceAccount; its current namespace is the account's."""
        return self._kubeconfig(f"{namespace}.{name}", self.service_account_token(namespace, name), namespace)

    def install_gateway_api(self) -> None:
        """The standard CRDs of Gateway API."""
        self.kubectl("apply", "--server-side", "-f", str(build.share_dir() / "gateway-api"), timeout=120)
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s", timeout=90)

    def request(self, path: str, *, token: str | None = None) -> bytes:
        """GET of one path with the admin's token, from wherever the caller is."""
        return netns.call(self.netns, lambda: self._get(path, token or self.token))

    def versions(self) -> dict[str, str]:
        """What the running parts say of themselves over the wire."""
        server = json.loads(self.request("/version"))["gitVersion"]
        store = netns.call(self.netns, lambda: json.loads(_plain("http://127.0.0.1:2379/version"))["etcdserver"])
        client = json.loads(self.kubectl("version", "--client", "-o", "json").stdout)["clientVersion"]["gitVersion"]
        return {"kube-apiserver": server, "etcd": store, "kubectl": client}

    # -- parts -----------------------------------------------------------------------------------------------------------------

    def _write_files(self) -> None:
        here = self.directory
        authority = trustme.CA()
        server = authority.issue_cert(ADDRESS, "127.0.0.1", "10.100.0.1", "localhost", "kubernetes.default.svc", "kubernetes.default")
        self.ca = here / "ca.crt"
        authority.cert_pem.write_to_path(self.ca)
        server.private_key_pem.write_to_path(here / "server.key")
        (here / "server.crt").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (here / "sa.key").write_bytes(key.private_bytes(*form))
        rows = [f"{user}-token,{user},{user},system:masters" for user in USERS]
        rows.append("scheduler-token,system:kube-scheduler,scheduler")
        rows.append("controllers-token,system:kube-controller-manager,controllers")
        (here / "tokens.csv").write_text("\n".join(rows) + "\n")
        (here / "audit-policy.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))
        self.audit_log = here / "audit.log"
        self.audit_log.touch()
        self.kubeconfig = self._kubeconfig("admin", self.token)

    def _kubeconfig(self, user: str, token: str, namespace: str = "default") -> Path:
        authority = base64.b64encode(self.ca.read_bytes()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user, "namespace": namespace}}],
            "current-context": "test",
        }
        path = self.directory / f"{user}.kubeconfig"
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o600)
        return path

    def _start_etcd(self) -> None:
        options = [
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--data-dir={self.directory / 'etcd'}",
            "--listen-peer-urls=http://127.0.0.1:2380",
        ]
        client = "http://127.0.0.1:2379"
        self.popen([str(self.bin / "etcd"), *options, f"--listen-client-urls={client}", f"--advertise-client-urls={client}"], name="etcd")

    def _start_apiserver(self) -> None:
        here = self.directory
        options = {
            "etcd-servers": "http://127.0.0.1:2379",
            "bind-address": "0.0.0.0",
            "secure-port": PORT,
            "advertise-address": ADDRESS,
            "tls-cert-file": here / "server.crt",
            "tls-private-key-file": here / "server.key",
            "cert-dir": here / "certs",
            "service-cluster-ip-range": SERVICE_NETWORK,
            "service-account-key-file": here / "sa.key",
            "service-account-signing-key-file": here / "sa.key",
            "service-account-issuer": "https://kubernetes.default.svc",
            "token-auth-file": here / "tokens.csv",
            "authorization-mode": "RBAC",
            "allow-privileged": "true",
            "audit-policy-file": here / "audit-policy.yaml",
            "audit-log-path": self.audit_log,
            "audit-log-maxsize": 4096,  # one file: a rotated log would hide the start of a scenario
            "audit-log-mode": "blocking",
            "enable-aggregator-routing": "true",  # webhooks are asked at their pods' addresses: nothing here translates a Service's
            "max-requests-inflight": 2000,
            "max-mutating-requests-inflight": 1000,
        }
        self.popen([str(self.servers / "kube-apiserver"), *(f"--{key}={value}" for key, value in options.items())], name="kube-apiserver")

    def _start_controllers(self) -> None:
        here = self.directory
        load = ["--leader-elect=false", "--kube-api-qps=500", "--kube-api-burst=1000"]
        manager = [
            f"--kubeconfig={self._kubeconfig('controllers', 'controllers-token')}",
            f"--authentication-kubeconfig={self.user_kubeconfig('components')}",
            f"--authorization-kubeconfig={self.user_kubeconfig('components')}",
            f"--service-account-private-key-file={here / 'sa.key'}",
            f"--root-ca-file={self.ca}",
            "--use-service-account-credentials=true",
            # The node agent answers for its nodes; without Leases of a kubelet the lifecycle controller would evict their pods.
            "--controllers=*,-node-ipam-controller,-node-lifecycle-controller,-node-route-controller,-cloud-node-lifecycle-controller",
            f"--cert-dir={here / 'certs'}",
            *load,
        ]
        self.popen([str(self.servers / "kube-controller-manager"), *manager], name="kube-controller-manager")
        config, components = self._kubeconfig("scheduler", "scheduler-token"), self.user_kubeconfig("components")
        options = [f"--kubeconfig={config}", f"--authentication-kubeconfig={components}", f"--authorization-kubeconfig={components}", *load]
        self.popen([str(self.servers / "kube-scheduler"), *options, f"--cert-dir={here / 'certs'}"], name="kube-scheduler")

    # -- waiting ---------------------------------------------------------------------------------------------------------------

    def _get(self, path: str, token: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection(ADDRESS, PORT, timeout=10, context=context)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise OSError(f"GET {path}: {answer.status} {body[:300]!r}")
        return body

    def _await(self, path: str, timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.request(path)
            except OSError as error:
                for process in self.processes:
                    if process.popen.poll() is not None:
                        raise ControlPlaneError(f"{process.name} ended with {process.popen.returncode}:\n{process.tail()}") from error
                if time.monotonic() > deadline:
                    raise ControlPlaneError(f"{what} after {timeout:.0f} s: {error}\n{self.processes[-1].tail()}") from error
                time.sleep(0.1)
            else:
                return

    def _await_ready(self, timeout: float) -> None:
        self._await("/readyz", timeout, "the API server is not ready")
        self.version = json.loads(self.request("/version"))["gitVersion"]

    def _await_default_account(self, timeout: float) -> None:
        # Without it the first pods of a test are refused: the controller manager is not up yet.
        self._await("/api/v1/namespaces/default/serviceaccounts/default", timeout, "there is no default ServiceAccount")


def _plain(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
    return body
