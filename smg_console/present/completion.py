"""What completion shows and shares: candidates are whole texts that what was typed may become. Pure."""

from collections.abc import Sequence

from smg_console.present.runs import Line, Run, cut


def shared_beginning(texts: Sequence[str]) -> str:
    """What all texts begin with."""
    if not texts:
        return ""
    least, most = min(texts), max(texts)
    same = next((n for n, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), len(least))
    return least[:same]


def hint_line(problem: str, candidates: Sequence[str], otherwise: str, width: int) -> Line:
    """An error; else candidates, of each the word that is new in it; else what is said otherwise."""
    if problem:
        return cut(((" ✗ ", "bold error"), (problem, "error")), width)
    if not candidates:
        return cut(((f" {otherwise}", "muted"),), width)
    at = shared_beginning(candidates).rstrip().rfind(" ") + 1
    runs: list[Run] = [(" Tab ", "bold accent")]
    for candidate in candidates:
        runs += [(f" {candidate[at:].strip()}", ""), (" ", "")]
    return cut(runs, width)
