"""Commands: argv to exit status."""
