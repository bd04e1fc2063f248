"""Real parts for tests and benches: a control plane, nodes, gateways and metrics in network namespaces of their own."""
