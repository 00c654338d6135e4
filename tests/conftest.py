"""Settings of the whole test suite."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "lyapflow", deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("lyapflow")
