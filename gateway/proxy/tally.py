"""What the data plane counts about requests as a whole: plain numbers that telemetry samples.

Cardinality is bounded: routes and error codes are the gateway's own, statuses are counted by class.
"""


class Tally:
    """Counters that only grow."""

    __slots__ = ("answered", "client_left", "refused", "retries", "retries_exhausted", "retries_refused")

    def __init__(self) -> None:
        self.answered: dict[tuple[str, int], int] = {}
        """Answers by route and status class (2 for 2xx); the route `control` is the control API's."""
        self.refused: dict[str, int] = {}
        """The gateway's own error answers and broken streams by code."""
        self.client_left = 0
        """Requests whose client left before the answer was complete."""
        self.retries = 0
        """Attempts beyond the first of their request."""
        self.retries_exhausted = 0
        """Requests of which the last attempt allowed had failed."""
        self.retries_refused = 0
        """Attempts that the budget for retries did not allow."""

    @property
    def requests(self) -> int:
        """Requests that got an answer."""
        return sum(self.answered.values())

    @property
    def errors(self) -> int:
        """Answers from 500 on, on data routes."""
        return sum(n for (route, status), n in self.answered.items() if status >= 5 and route != "control")

    def answer(self, route: str, status: int) -> None:
        key = (route, status // 100)
        self.answered[key] = self.answered.get(key, 0) + 1

    def refusal(self, code: str) -> None:
        self.refused[code] = self.refused.get(code, 0) + 1
