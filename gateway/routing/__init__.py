"""Routing policies: which of the workers that may take a request gets it. Pure; one small module per policy."""
