"""Settings of a worker."""

from config.settings import Settings

__all__ = ["Settings"]
