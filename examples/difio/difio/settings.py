"""Settings. Everything has a default that works on one machine without any server; the environment changes it.

DIFIO_VAR: folder of the database, the reports and the file broker. CELERY_BROKER_URL: another broker.
"""

from __future__ import annotations

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
INDEX_DIR = BASE_DIR / "index"
VAR_DIR = Path(os.environ.get("DIFIO_VAR") or BASE_DIR / "var").absolute()
REPORTS_DIR = VAR_DIR / "reports"
MESSAGES_DIR = VAR_DIR / "broker" / "messages"
CONTROL_DIR = VAR_DIR / "broker" / "control"
for folder in (REPORTS_DIR, MESSAGES_DIR, CONTROL_DIR):
    folder.mkdir(parents=True, exist_ok=True)

SECRET_KEY = os.environ.get("DIFIO_SECRET_KEY", "an example without pages needs no secret")
INSTALLED_APPS = ["difio"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "Europe/Sofia"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR_DIR / "difio.sqlite3",
        # Two workers may write: wait for the lock at BEGIN, not in the middle of a transaction.
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}

CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "filesystem://")
if CELERY_BROKER_URL.startswith("filesystem:"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(MESSAGES_DIR),
        "data_folder_out": str(MESSAGES_DIR),
        "control_folder": str(CONTROL_DIR),
        "polling_interval": 0.2,
    }
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_ALWAYS_EAGER = os.environ.get("DIFIO_EAGER") == "1"
CELERY_TASK_EAGER_PROPAGATES = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_TIME_LIMIT = 300
CELERY_TIMEZONE = TIME_ZONE
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_LOG_FORMAT = "%(asctime)s %(message)s"
CELERY_WORKER_TASK_LOG_FORMAT = "%(asctime)s %(message)s"
