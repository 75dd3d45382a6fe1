"""Views of the baselines."""
