"""How often the console draws: traffic goes first, so a late loop or a dear frame slows the picture down. Pure."""

FRAME_S = 0.25
SLOWEST_S = 2.0
LATE_MS, VERY_LATE_MS = 20.0, 100.0
SHARE = 0.1
"""Most of the loop's time that frames may take."""


def pause_after(frame_s: float, late_ms: float) -> float:
    """Seconds until the next frame, after one that held the loop for `frame_s`, on a loop this late."""
    slower = 4.0 if late_ms > VERY_LATE_MS else 2.0 if late_ms > LATE_MS else 1.0
    return min(SLOWEST_S, max(FRAME_S * slower, frame_s / SHARE))
