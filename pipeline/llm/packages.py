"""Packages that one backend alone needs."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from vidask.errors import InvalidSettings, one_line

#: What brings a package, where it is not to come alone.
_BROUGHT_BY = {"vllm": "'.[worker,gpu]', without constraints.txt"}


@contextmanager
def needs(package: str) -> Generator[None]:
    """To be put around the imports from a package.

    Raises:
        InvalidSettings: it is not installed, or does not load on this machine.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        msg = (
            f"{package} is not installed (no module {error.name}); run: pip install {_BROUGHT_BY.get(package, package)}"
        )
        raise InvalidSettings(msg) from None
    except ImportError as error:
        msg = f"{package} does not load ({one_line(error)}); install the build that fits this machine"
        raise InvalidSettings(msg) from None
