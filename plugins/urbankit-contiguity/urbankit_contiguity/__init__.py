"""Views of urbankit by libpysal."""
