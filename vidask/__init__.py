"""vidask: questions about videos, answered in the background. This package is what a producer installs."""

from vidask.client import Client
from vidask.errors import (
    InvalidFrame,
    InvalidJob,
    InvalidSettings,
    InvalidTranscript,
    JobCancelled,
    JobError,
    JobExpired,
    JobFailed,
    JobNotFound,
    JobQuarantined,
    QueueUnavailable,
    StoreUnavailable,
    UnknownVideo,
    VidaskError,
    WaitTimeout,
)
from vidask.frames import Frame
from vidask.frames_job import FramesJob
from vidask.jobs import Job
from vidask.models import (
    Answer,
    Citation,
    ForgetReport,
    FrameProblem,
    FramesReport,
    IndexReport,
    Message,
    Progress,
    Sampling,
    Segment,
    Usage,
)
from vidask.quarantine import InspectedJob, QuarantinedJob
from vidask.streaming import StreamEvent
from vidask.subtitles import read_subtitles

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Citation",
    "Client",
    "ForgetReport",
    "Frame",
    "FrameProblem",
    "FramesJob",
    "FramesReport",
    "IndexReport",
    "InspectedJob",
    "InvalidFrame",
    "InvalidJob",
    "InvalidSettings",
    "InvalidTranscript",
    "Job",
    "JobCancelled",
    "JobError",
    "JobExpired",
    "JobFailed",
    "JobNotFound",
    "JobQuarantined",
    "Message",
    "Progress",
    "QuarantinedJob",
    "QueueUnavailable",
    "Sampling",
    "Segment",
    "StoreUnavailable",
    "StreamEvent",
    "UnknownVideo",
    "Usage",
    "VidaskError",
    "WaitTimeout",
    "read_subtitles",
]
