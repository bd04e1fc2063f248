"""Linnet: a progressive-delivery daemon for Kubernetes."""

__version__ = "0.1.0"
