"""Settings of the whole test suite."""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "lyapflow",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lyapflow")
# which a shell has jobs in the background ignore
signal.signal(signal.SIGINT, signal.default_int_handler)
