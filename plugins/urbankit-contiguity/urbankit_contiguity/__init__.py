"""Views for urbankit, built with libpysal."""
