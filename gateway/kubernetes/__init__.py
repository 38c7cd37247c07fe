"""Kubernetes discovery: what the cluster's pods say, kept in step, and what that means for the workers."""
