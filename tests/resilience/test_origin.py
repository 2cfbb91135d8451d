import httpx
import pytest

from smart_support.errors import SetupError
from smart_support.resilience.origin import UpstreamSettings, origin_of
from smart_support.resilience.quota import Quota
from smart_support.settings import Settings


def settings(**lines: object) -> Settings:
    return Settings(_env_file=None, **lines)  # type: ignore[arg-type]


def test_the_defaults_of_an_installation_are_the_defaults_of_the_code() -> None:
    ours, theirs = UpstreamSettings(), UpstreamSettings.from_settings(settings())

    assert theirs == ours


def test_what_an_operator_sets_is_what_counts() -> None:
    chosen = UpstreamSettings.from_settings(
        settings(
            smart_support_tool_attempts=2,
            smart_support_tool_concurrency=7,
            smart_support_tool_allowed_hosts="orders.internal, 10.1.0.0/16",
            smart_support_tool_quotas="https://api.test=10/second",
            smart_support_tool_retry_ratio=0.5,
            smart_support_tool_retry_burst=3,
            smart_support_breaker_calls=4,
            smart_support_breaker_share=0.9,
            smart_support_breaker_slow_after=1.5,
            smart_support_breaker_open_for=1.0,
            smart_support_breaker_open_at_most=9.0,
        ),
        also_allowed=["127.0.0.1"],
    )

    assert (chosen.attempts, chosen.attempts_unsent, chosen.places) == (2, 4, 7)
    assert (chosen.retry_ratio, chosen.retry_burst) == (0.5, 3)
    assert chosen.quotas == {"https://api.test": Quota(10, 1.0)}
    assert chosen.addresses.hosts == {"orders.internal"}
    chosen.addresses.check("x", ["10.1.2.3", "127.0.0.1"])
    breaker = chosen.breaker
    assert (breaker.least_calls, breaker.share, breaker.slow_after) == (4, 0.9, 1.5)
    assert (breaker.open_for, breaker.open_at_most) == (1.0, 9.0)


@pytest.mark.parametrize(
    "line",
    [
        {"smart_support_tool_allowed_hosts": "10.0.0.0/99"},
        {"smart_support_tool_quotas": "https://api.test=often"},
    ],
    ids=lambda line: next(iter(line)),
)
def test_a_wrong_line_is_named(line: dict[str, str]) -> None:
    with pytest.raises(SetupError) as raised:
        UpstreamSettings.from_settings(settings(**line))

    assert next(iter(line)).upper() in str(raised.value)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.Example.com/x?y", "https://api.example.com"),
        ("https://api.example.com:443/", "https://api.example.com"),
        ("http://api.example.com:8080/", "http://api.example.com:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://user:pass@api.example.com/", "https://api.example.com"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    assert origin_of(httpx.URL(url)) == origin
