"""The command line: one file for each command, each importing what it needs when it runs."""
