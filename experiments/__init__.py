"""Programs: they read the command line, print, and write files; all else is in `sfjax`."""
