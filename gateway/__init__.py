"""The gateway: routes traffic to inference workers and keeps watch over them, with or without a console."""

__version__ = "0.1.0"
