"""What all tests share: times of day are shown in UTC, wherever the tests run."""

import os
import time

os.environ["TZ"] = "UTC"
time.tzset()
