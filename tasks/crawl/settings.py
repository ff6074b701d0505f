"""Settings of a crawl, polite unless told otherwise."""

from __future__ import annotations

import ipaddress
import re
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.core.stage import StageSettings, operational
from tasks.web.urls import canonical_url, domain_of, host_name

SOFTWARE = "gristmill/0.1"
MEBIBYTE = 1 << 20
# Endings of pictures, sound, films, archives, programs, office files, fonts and data: nothing that extract could read.
_ENDINGS = """
jpg jpeg png gif webp svg bmp ico tif tiff avif heic psd ai eps mp3 wav ogg oga flac m4a aac wma mp4 m4v mov avi mkv webm
wmv flv ogv mpg mpeg zip gz tgz bz2 xz zst 7z rar tar jar war iso dmg exe msi deb rpm apk bin dll so img pdf doc docx xls
xlsx ppt pptx odt ods odp epub mobi ps djvu css js mjs map wasm woff woff2 ttf otf eot swf parquet sqlite db npy npz h5
pkl whl egg class o a
"""
NOT_TEXT = tuple(_ENDINGS.split())
HOUR, DAY = 3600.0, 86400.0


class CuratedLinks(BaseModel):
    """URLs that people vouched for, as WebText took links with three karma or more (GPT-2, section 2.1)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: str = Field(description="table of URLs: .parquet, .csv, .tsv or .jsonl")
    url_column: str = Field("url", description="column of the URLs")
    score_column: str = Field("", description="column of the scores; empty where every URL is wanted")
    min_score: float = Field(3.0, description="score from which a URL is crawled; 3 karma for WebText")


class CrawlSettings(StageSettings):
    """Where a crawl starts, how far it goes, and how gently."""

    seeds: tuple[str, ...] = Field((), description="URLs to start from: pages, sitemaps or feeds")
    links: CuratedLinks | None = Field(None, description="a list of URLs with scores, instead of seeds or beside them")
    domains: tuple[str, ...] = Field(
        (), description="domains to stay on, their subdomains included; empty for the hosts of seeds and links"
    )
    prefixes: tuple[str, ...] = Field((), description="beginnings of URLs to stay within; empty for none")
    exclude: tuple[str, ...] = Field((), description="regular expressions; a URL in which one is found is refused")
    skip: tuple[str, ...] = Field(
        NOT_TEXT, description="endings of paths, without the dot, that are no text and are not fetched"
    )
    max_depth: int = Field(20, ge=0, description="links to follow from a seed")
    max_redirects: int = Field(5, ge=0, description="redirects to follow one after another")
    max_pages: int = Field(1_000_000, ge=1, description="pages to fetch at most in one crawl")
    pages_per_host: int = Field(1_000_000, ge=1, description="pages to fetch at most from a host in one crawl")
    bytes_per_host: int = Field(1 << 40, ge=1, description="bytes of bodies to fetch at most from a host in one crawl")
    max_page_bytes: int = Field(16 * MEBIBYTE, ge=1, description="bytes of a body after which it is refused")
    max_decoded_bytes: int = Field(
        64 * MEBIBYTE, ge=1, description="bytes of a body after decompression after which it is refused"
    )
    max_header_bytes: int = Field(64 << 10, ge=1, description="bytes of an answer's headers after which it is refused")
    max_url_chars: int = Field(2000, ge=1, description="longest URL that is fetched")
    urls_per_pattern: int = Field(
        50_000, ge=1, description="URLs of a host that differ in digits or parameter values alone"
    )
    soft_404: bool = Field(
        True, description="ask each host once for a page that cannot be, to know its answer by sight"
    )
    sitemaps: bool = Field(True, description="read the sitemaps that robots.txt names, and the feeds that pages name")
    user_agent: str = Field("", description="how the crawler names itself; empty for gristmill and the contact")
    contact: str = Field("", description="URL or e-mail address where site owners reach you; needed for public hosts")
    private_networks: tuple[str, ...] = Field(
        (), description="networks that are not public and may be asked all the same, such as 127.0.0.0/8"
    )
    obey_robots: bool = Field(True, description="fetch robots.txt and do as it says")
    obey_robots_tags: bool = Field(True, description="do as X-Robots-Tag and meta robots say")
    revisit_min_s: float = Field(0.0, ge=0, description="seconds after which a page is looked at again, at least")
    revisit_max_s: float = Field(30 * DAY, ge=0, description="seconds after which a page is looked at again, at most")
    delay_s: float = operational(1.0, "seconds between two requests to a host", ge=0)
    requests_per_host: int = operational(1, "requests under way at once to a host", ge=1)
    concurrent_requests: int = operational(16, "requests under way at once", ge=1)
    autothrottle: bool = operational(True, "slow down where a host answers slowly")
    timeout_s: float = operational(60.0, "seconds to wait for a whole answer", gt=0)
    retries: int = operational(2, "further tries after a network error or a 5xx answer", ge=0)
    patience: int = operational(8, "refusals in a row (429, 503, silence) after which a host is left alone", ge=1)
    backoff_s: float = operational(5.0, "seconds to wait after a first refusal; doubled after each further one", ge=0)
    max_wait_s: float = operational(HOUR, "longest wait for a host, whatever its Retry-After or Crawl-delay", ge=0)
    robots_lifetime_s: float = operational(DAY / 2, "seconds that a robots.txt is believed", gt=0, le=DAY)
    page_seconds: float = operational(10.0, "seconds of a processor after which a page counts as failed", gt=0)
    page_memory_bytes: int = operational(
        1 << 30, "bytes of memory with which a page counts as failed, where the system counts them (Linux)", ge=1 << 20
    )
    warc_bytes: int = operational(256 * MEBIBYTE, "bytes after which a WARC file is finished", ge=1)

    @field_validator("seeds", "prefixes")
    @classmethod
    def _canonical(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(canonical_url(url) for url in urls)

    @field_validator("domains")
    @classmethod
    def _lower_case(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(domain_of(canonical_url(f"http://{domain}/")) for domain in domains)

    @field_validator("private_networks")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(network)) for network in networks)

    @field_validator("exclude")
    @classmethod
    def _patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern} is no regular expression: {error}") from error
        return patterns

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.seeds and self.links is None:
            raise ValueError("a crawl needs seeds or links to start from")
        public = [seed for seed in self.seeds if not self.may_be_private(domain_of(seed))]
        if (public or self.links) and not self.contact:
            raise ValueError(
                f"set contact to a URL or an e-mail address where site owners reach you, since {(public or ['the links'])[0]} "
                "is not yours alone (a host on this machine wants private_networks instead)"
            )
        return self

    def may_be_private(self, domain: str) -> bool:
        """Whether a host is an address in one of the private networks, or this machine's own name among them."""
        name = host_name(domain).strip("[]")
        try:
            address = ipaddress.ip_address("127.0.0.1" if name == "localhost" else name)
        except ValueError:
            return False
        return any(address in ipaddress.ip_network(network) for network in self.private_networks)

    @property
    def full_user_agent(self) -> str:
        """The User-Agent header."""
        return self.user_agent or (f"{SOFTWARE} (+{self.contact})" if self.contact else SOFTWARE)

    @property
    def product_token(self) -> str:
        """The name that robots.txt and robots tags address: the user agent's first word, without its version."""
        found = re.match(r"[A-Za-z_-]+", self.full_user_agent)
        return found.group() if found else "gristmill"
