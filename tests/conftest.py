"""What all tests share: times of day are shown in UTC, wherever the tests run, and a slow machine fails nothing."""

import os
import time

from hypothesis import settings

os.environ["TZ"] = "UTC"
time.tzset()

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
