"""Every error that vidask raises on purpose.

A message is one line: the value that was wrong, the limit it broke, and what to do.

    VidaskError
    ├── InvalidJob (ValueError)               refused before anything was queued, or by the worker that read it
    │   ├── InvalidTranscript                 a subtitle file that cannot be read as one
    │   └── InvalidFrame                      a picture that cannot be used
    ├── QueueUnavailable (ConnectionError)    Redis does not answer, or refuses us
    ├── JobNotFound (LookupError)             no such job for this tenant, or its row has expired
    ├── WaitTimeout (TimeoutError)            the job goes on; only the waiting ended
    ├── JobError                              the job reached an end that is not success
    │   ├── JobFailed
    │   ├── JobCancelled
    │   ├── JobExpired
    │   └── JobQuarantined
    ├── UnknownVideo (LookupError)            the question names a video that is not indexed
    ├── Unavailable                           what a job needs is not there; where that `passes`, it is tried again
    │   ├── ModelUnavailable                  the language model failed this call, or its server does not answer
    │   └── StoreUnavailable                  Chroma does not answer, cannot write, or its folder is taken
    ├── ModelDied                             a model's process has ended; its worker starts anew, and the job with it
    └── InvalidSettings (ValueError)          a setting that the worker cannot start with
"""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """What an error says, without its line breaks; its name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


class VidaskError(Exception):
    """Base of all errors that vidask raises on purpose."""


class InvalidJob(VidaskError, ValueError):
    """A job breaks a limit of its model; nothing was queued."""


class InvalidTranscript(InvalidJob):
    """A subtitle file cannot be read as one."""


class InvalidFrame(InvalidJob):
    """A picture cannot be used: it is no image that is taken, too large, not where it was said to be, or has expired."""


class QueueUnavailable(VidaskError, ConnectionError):
    """Redis does not answer, or refuses the user, the password or the write."""


class JobNotFound(VidaskError, LookupError):
    """No job of this tenant has that id, or its row has expired."""


class WaitTimeout(VidaskError, TimeoutError):
    """The job was not finished in the time given; it goes on."""


class JobError(VidaskError):
    """A job reached a terminal state that is not success.

    Attributes:
        job_id: the job's id; `""` where Celery's `AsyncResult.get` raised it, which knows the id.
        error_type: name of the exception that ended it in the worker, `""` where none did.
    """

    def __init__(self, message: str, *, job_id: str = "", error_type: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id
        self.error_type = error_type


class JobFailed(JobError):
    """The job ended with an error, which is this exception's message."""


class JobCancelled(JobError):
    """The job was cancelled before it finished."""


class JobExpired(JobError):
    """The job's deadline passed before it had ended."""


class JobQuarantined(JobError):
    """The job ended its worker several times and was set aside."""


class UnknownVideo(VidaskError, LookupError):
    """The question names a video that is not indexed for this tenant."""


class Unavailable(VidaskError):
    """Something that a job needs is not there.

    Attributes:
        passes: whether the same may succeed in a moment. A job that meets such an error tries again before it fails.
    """

    def __init__(self, message: str, *, passes: bool = True) -> None:
        super().__init__(message)
        self.passes = passes


class ModelUnavailable(Unavailable):
    """The language model failed this call, or its server does not answer."""


class ModelDied(VidaskError):
    """A model's process has ended. The worker gives its jobs back and ends; another takes them."""


class StoreUnavailable(Unavailable):
    """Chroma does not answer or cannot write, its folder is taken, or its vectors do not fit the embedding model."""


class InvalidSettings(VidaskError, ValueError):
    """A setting that the worker cannot start with."""
