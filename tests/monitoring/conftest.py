"""What a scrape of Prometheus shows, parsed by its own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from resprout import monitoring

Scrape = Callable[..., float | None]


def samples_of(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The values of an exposition by the names of the samples and their labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def scrape() -> Iterator[Scrape]:
    """Count from here on, and give the value of a sample as it is when asked; None if there is none."""
    registry = CollectorRegistry()
    end = monitoring.prometheus(registry)

    def value(name: str, **labels: str) -> float | None:
        found = samples_of(generate_latest(registry).decode())
        return found.get((name, tuple(sorted(labels.items()))))

    yield value
    end()
    assert generate_latest(registry) == b""
