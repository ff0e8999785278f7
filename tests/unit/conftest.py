"""Hypothesis as it sets itself up for CI: always the same examples, and each may take as long as it does on a busy machine."""

from hypothesis import settings

settings.load_profile("ci")
