"""Cross-city transfer: what a run on one city hands on to a run on another."""
