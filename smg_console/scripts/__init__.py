"""Commands for shells and scripts: what the console's keys do, with exit codes, for people and for programs."""
