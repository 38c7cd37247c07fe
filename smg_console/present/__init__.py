"""From the plane's data to what is drawn: runs of text with style names. Pure: no widget, no clock, no I/O."""
