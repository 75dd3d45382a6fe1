"""Views that the baselines are built from, one file each."""
