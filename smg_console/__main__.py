"""`python -m smg_console` is `smg-console`."""

import sys

from smg_console.cli import main

if __name__ == "__main__":
    sys.exit(main())
