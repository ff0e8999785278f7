"""The worker: `celery -A worker.app worker`."""

from config import Settings
from vidask.errors import InvalidSettings
from worker.factory import create_app
from worker.services import open_services

try:
    _settings = Settings.from_environment()
except InvalidSettings as error:
    raise SystemExit(f"vidask worker: {error}") from None

app = create_app(_settings, open_services)
