"""The Kubernetes runtime: transport, partial objects, informers, queue, lease, patches, events.

It exists because no Python client offers these parts with a deadline on every call (see the modules). It knows nothing of
canaries and imports nothing of ours; everything above it speaks to an API server only through here.
"""
