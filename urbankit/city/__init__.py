"""Sources, `prepare`, and the prepared city."""
