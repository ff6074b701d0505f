"""Settings of a crawl, polite unless told otherwise."""

from __future__ import annotations

from pydantic import Field, field_validator

from tasks.stage import StageSettings, operational
from tasks.urls import canonical_url


class CrawlSettings(StageSettings):
    """Where a crawl starts, how far it goes, and how gently."""

    seeds: tuple[str, ...] = Field(min_length=1, description="URLs to start from; the crawl stays on their hosts")
    max_depth: int = Field(20, ge=0, description="links to follow from a seed")
    max_pages: int = Field(1_000_000, ge=1, description="pages to fetch at most")
    max_page_bytes: int = Field(16 << 20, ge=1, description="bytes of a body after which it is refused")
    user_agent: str = Field(
        "gristmill/0.1 (+https://pypi.org/project/gristmill)",
        description="how the crawler names itself; put your contact in it before you crawl other people's sites",
    )
    obey_robots: bool = Field(True, description="fetch robots.txt and do as it says")
    delay_s: float = operational(1.0, "seconds between two requests to a host", ge=0)
    requests_per_host: int = operational(1, "requests under way at once to a host", ge=1)
    autothrottle: bool = operational(True, "slow down where a host answers slowly")
    timeout_s: float = operational(30.0, "seconds to wait for an answer", gt=0)
    retries: int = operational(2, "further tries after a network error or a 5xx answer", ge=0)
    batch_pages: int = operational(500, "pages after which a batch is committed to the archive", ge=1)
    batch_bytes: int = operational(64 << 20, "bytes of bodies after which a batch is committed", ge=1)
    batch_seconds: float = operational(30.0, "seconds after which a batch is committed", gt=0)

    @field_validator("seeds")
    @classmethod
    def _canonical(cls, seeds: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(canonical_url(seed) for seed in seeds)
