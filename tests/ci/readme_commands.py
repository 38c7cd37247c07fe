"""Print commands of the README, so that what is tested is what a newcomer reads.

The README marks a block with a comment such as `<!-- command: install -->` on the line above its fence. Names
are given as arguments. An unknown name is an error.
"""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"<!-- command: (?P<name>[\w-]+) -->\n```\w*\n(?P<text>.*?)\n```", re.DOTALL)


def commands() -> dict[str, str]:
    """The marked commands by name."""
    found = BLOCK.finditer(README.read_text(encoding="utf-8"))
    return {m["name"]: m["text"] for m in found}


if __name__ == "__main__":
    known = commands()
    for name in sys.argv[1:]:
        if name not in known:
            sys.exit(f"README.md has no command named {name!r}; it has {', '.join(known) or 'none'}")
        print(known[name])
