"""What the tests' pods run: an HTTP server on the standard library alone, so that a pod starts in a few milliseconds.

/ tells who answers; /healthz is the readiness; /unready and /ready switch it; /exit?3 ends the process; /slow?0.5 answers late.
"""

import http.server
import json
import os
import pathlib
import signal
import sys
import threading
import time

ready = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write for head and body; two would meet a delayed acknowledgement

    def do_GET(self) -> None:
        path, _, argument = self.path.partition("?")
        status = 200
        if path == "/healthz":
            status = 200 if ready.is_set() else 503
        elif path == "/ready":
            ready.set()
        elif path == "/unready":
            ready.clear()
        elif path == "/exit":
            os._exit(int(argument or 1))
        elif path == "/slow":
            time.sleep(float(argument or 0.5))
        elif path == "/file":
            argument = pathlib.Path(os.environ["FILE"]).read_text()
        body = json.dumps({"version": sys.argv[1], "ip": os.environ["POD_IP"], "env": dict(os.environ), "file": argument}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Version", sys.argv[1])
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        if "/healthz" not in self.path:
            print(json.dumps({"path": self.path, "version": sys.argv[1]}), flush=True)


def main() -> None:
    delay = float(os.environ.get("DRAIN", "0"))
    print(json.dumps({"event": "started", "pid": os.getpid()}), flush=True)
    if os.environ.get("READY", "1") == "1":
        ready.set()
    if os.environ.get("CHILD"):
        os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")
    server = http.server.ThreadingHTTPServer((os.environ["POD_IP"], 8080), Handler)

    def leave(*_: object) -> None:
        print(json.dumps({"event": "terminating"}), flush=True)
        if os.environ.get("STUBBORN"):
            return
        threading.Timer(delay, server.shutdown).start()

    signal.signal(signal.SIGTERM, leave)
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
