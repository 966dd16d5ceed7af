"""The `mbrl` command: one file per verb, which parses, calls the library and sets the exit code."""
