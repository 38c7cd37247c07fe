"""Settings: one typed model, filled from flags, environment and file, flags winning.

`model` says what can be set, `load` where values come from, `flags` how they look on a command line.
"""

from gateway.settings.model import Settings

__all__ = ["Settings"]
