"""The console: the face of the gateway in a terminal, and its command line."""
