"""What graphite-web must be told; the folder and carbon's port come from whoever starts it."""

import os

from graphite.settings import *  # noqa: F403

STORAGE_DIR = os.environ["GRAPHITE_STORAGE"]
WHISPER_DIR = f"{STORAGE_DIR}/whisper"
STANDARD_DIRS = DATA_DIRS = [WHISPER_DIR]
LOG_DIR, INDEX_FILE = STORAGE_DIR, f"{STORAGE_DIR}/index"
CARBONLINK_HOSTS = [f"127.0.0.1:{os.environ['GRAPHITE_CARBON']}"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["127.0.0.1"]
TIME_ZONE = "UTC"
