"""Gateway API `HTTPRoute`: weights of backendRefs. A rule takes part when it names the stable Service."""

from typing import Final

from daemon.traffic.gatewayapi import dialect

HTTP_ROUTE: Final = dialect("httproutes", "HTTPRoute")
