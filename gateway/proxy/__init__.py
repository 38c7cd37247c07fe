"""The data plane: carries requests from clients to workers and answers back, at protocol level.

A request goes one way: `listener` (bytes from the client) → `exchange` (which worker, what happened) →
`upstream` (bytes to the worker), and its answer back. `server` composes them.
"""
