"""Style sheets that consoles of one process share: parsing them is a third of what opening a console costs.

What a sheet's text means depends on the theme's variables alone, so each text is parsed once for each theme.
"""

from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet
from textual.css.types import CSSLocation

MOST_THEMES = 16

_Rules = dict[tuple[object, ...], list[RuleSet]]
_parsed: dict[frozenset[tuple[str, str]], _Rules] = {}


class SharedStylesheet(Stylesheet):
    """Rules are parsed once for all sheets with the same variables. Nothing writes to a rule once it is parsed."""

    def __init__(self, *, variables: dict[str, str] | None = None) -> None:
        super().__init__(variables=variables)
        self._known = _known(variables or {})

    def set_variables(self, variables: dict[str, str]) -> None:
        super().set_variables(variables)
        self._known = _known(variables)

    def _parse_rules(
        self,
        css: str,
        read_from: CSSLocation,
        is_default_rules: bool = False,
        tie_breaker: int = 0,
        scope: str = "",
    ) -> list[RuleSet]:
        key = (css, read_from, is_default_rules, tie_breaker, scope)
        rules = self._known.get(key)
        if rules is None:
            rules = super()._parse_rules(css, read_from, is_default_rules, tie_breaker, scope)
            self._known[key] = rules
        return rules

    def reparse(self) -> None:
        """Textual does this in a sheet of its own kind; an error leaves the old rules here, too."""
        self.parse()


def _known(variables: dict[str, str]) -> _Rules:
    key = frozenset(variables.items())
    found = _parsed.get(key)
    if found is None:
        if len(_parsed) >= MOST_THEMES:
            _parsed.clear()
        found = _parsed[key] = {}
    return found
