"""What a radix tree of prompts means, said plainly: a list of who saw which prompt, the oldest first."""

from dataclasses import dataclass, field
from itertools import takewhile


@dataclass
class Prompts:
    """Keeps whole prompts and looks at all of them for every question."""

    max_size: int
    per_prompt: int
    kept: list[tuple[float, int, bool, str]] = field(default_factory=list)
    """Time, holder, whether its characters are tokens, text."""
    void: list[list[tuple[float, int, bool, str]]] = field(default_factory=list)
    """Of each holder that was forgotten, what is not freed yet."""

    def insert(self, holder: int, text: str, tokens: bool, now: float) -> None:
        text = text[: max(1, self.max_size // 4)]
        if not text:
            return
        self.kept = [one for one in self.kept if one[1:] != (holder, tokens, text)]
        self.kept.append((now, holder, tokens, text))
        while self.size() > self.max_size or self.ends() > max(1, self.max_size // self.per_prompt):
            if not self.free():
                self.kept.pop(0)

    def free(self) -> bool:
        while self.void and not self.void[-1]:
            self.void.pop()
        if self.void:
            self.void[-1].pop(0)
        return bool(self.void)

    def forget(self, holder: int) -> None:
        self.void.append([one for one in self.kept if one[1] == holder])
        self.kept = [one for one in self.kept if one[1] != holder]

    def expire(self, before: float) -> None:
        self.kept = [one for one in self.kept if one[0] >= before]

    def all(self) -> list[tuple[float, int, bool, str]]:
        return self.kept + [one for ones in self.void for one in ones]

    def size(self) -> int:
        return len({(one[2], one[3][:n]) for one in self.all() for n in range(1, len(one[3]) + 1)})

    def ends(self) -> int:
        return len(self.all())

    def share(self, holder: int) -> int:
        return len({(one[2], one[3][:n]) for one in self.kept if one[1] == holder for n in range(1, len(one[3]) + 1)})

    def matched(self, holder: int, text: str, tokens: bool) -> int:
        seen = [one[3] for one in self.kept if one[1:3] == (holder, tokens)]
        return max((_common(text, one) for one in seen), default=0)


def _common(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
