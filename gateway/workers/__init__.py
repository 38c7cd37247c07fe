"""Everything the gateway knows of its workers, and the loops that find it out."""
