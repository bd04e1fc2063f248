"""The controllers of the sandbox: what kube-controller-manager and kube-scheduler do to the objects that a release touches."""
