"""Rolling drains under way, a line each; the screen shows it only then."""

from collections.abc import Sequence

from gateway.workers.rolling_jobs import RollingStatus
from smg_console.present import effects
from smg_console.present.runs import Line
from smg_console.widgets.panel import Panel

MOST = 3


class RollingLine(Panel):
    """How far each is, who drains with how much time left, and what one can do."""

    def jobs(self) -> list[RollingStatus]:
        """Those to show."""
        return effects.in_sight(self.face.plane.rollings(), self.face.seen.gateway.now)[-MOST:]

    def draw(self, width: int, height: int) -> Sequence[Line]:
        jobs, now = self.jobs(), self.face.seen.gateway.now
        self.styles.height = max(1, len(jobs))
        return [effects.job_line(job, now, width) for job in jobs]
