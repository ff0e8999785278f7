"""Errors that stay inside a worker."""

from vidask.errors import VidaskError


class GivenBack(VidaskError):
    """A job that this worker will not finish; it goes back to the queue for another, or is another's already."""
