"""Gateway API `GRPCRoute`: weights of backendRefs, as in an HTTPRoute; a rule takes part when it names the stable Service."""

from typing import Final

from daemon.traffic.gatewayapi import dialect

GRPC_ROUTE: Final = dialect("grpcroutes", "GRPCRoute")
