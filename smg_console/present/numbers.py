"""Numbers as an operator reads them: short, of one width, with the unit that fits."""

from math import isfinite, isnan

NONE = "–"


def rate(value: float | None) -> str:
    """Per second, in at most 6 cells: `0`, `3.2`, `120`, `4.5k`."""
    if value is None or isnan(value):
        return NONE
    if value == 0:
        return "0"
    if value < 0.05:
        return "<0.1"
    if value < 9.95:
        return f"{value:.1f}"
    return count(value)


def count(value: float | None) -> str:
    """A count in at most 5 cells: `7`, `999`, `12.3k`, `4.0M`."""
    if value is None or not isfinite(value):
        return NONE
    value = round(value)
    for limit, divisor, unit in ((10_000, 1, ""), (999_950, 1_000, "k"), (999_950_000, 1_000_000, "M")):
        if value < limit:
            return f"{value}" if divisor == 1 else _short(value / divisor) + unit
    return _short(value / 1_000_000_000) + "G"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """A response time in at most 6 cells: `0.8ms`, `12ms`, `3.4s`, `2m05s`."""
    if seconds is None or not isfinite(seconds):
        return NONE
    ms = seconds * 1000
    if ms < 10:
        return f"{ms:.1f}ms"
    if ms < 999.5:
        return f"{ms:.0f}ms"
    if seconds < 99.95:
        return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"
    return age(seconds)


def age(seconds: float | None) -> str:
    """How long ago or how long left, in at most 6 cells: `4s`, `2m05s`, `3h12m`, `5d07h`."""
    if seconds is None or not isfinite(seconds):
        return NONE
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    days = whole // 86400
    return f"{days}d{whole % 86400 // 3600:02}h" if days < 100 else f"{min(days, 9999)}d"


def percent(share: float | None) -> str:
    """A share of 1 in at most 5 cells: `0%`, `0.4%`, `37%`, `100%`."""
    if share is None or not isfinite(share):
        return NONE
    value = share * 100
    if 0 < value < 0.05:
        return "<0.1%"
    if 0 < value < 9.95:
        return f"{value:.1f}%"
    return f"{value:.0f}%"


def size(value: float | None) -> str:
    """Bytes in at most 6 cells: `0B`, `512B`, `12.3kB`, `4.0MB`, `31GB`."""
    if value is None or not isfinite(value):
        return NONE
    whole = max(0, round(value))
    if whole < 1000:
        return f"{whole}B"
    for limit, divisor, unit in ((999_500, 1e3, "kB"), (999_500_000, 1e6, "MB")):
        if whole < limit:
            return _short(whole / divisor) + unit
    return _short(whole / 1e9) + "GB"
