"""The console over SSH: a server in the gateway's own loop that opens a console for each client.

Nothing here is imported unless `--ssh-port` is set: `asyncssh` and Textual are heavy.
"""
