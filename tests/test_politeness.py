"""What the crawler does not do to people's sites: hurry, insist, go astray, knock at private doors."""

from __future__ import annotations

import csv
import gzip
import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.crawl.guard import AddressGuard, AddressRefused
from tasks.crawl.politeness import Pace, seconds_of_retry_after
from tasks.crawl.robots import parse_robots, tags_of
from tasks.crawl.scope import Scope, pattern_of
from tasks.crawl.settings import CrawlSettings, CuratedLinks
from tasks.crawl.stage import Crawl
from tasks.web.urls import without_session
from tests.test_crawl import Site, crawled
from warehouse.artifact import read_tables

HTML = {"Content-Type": "text/html"}
LOOPBACK = ("127.0.0.0/8",)
NOT_PUBLIC = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("255.255.255.255", "198.51.100.7", "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "2002:7f00:1::"),
]


class Told(Site):
    """A site that says what it was told to, and remembers when it was asked."""

    def __init__(self, answers: dict[str, tuple[int, dict[str, str], bytes]], robots: str = "") -> None:
        self.answers, self.robots, self.times = answers, robots, list[tuple[float, str]]()
        super().__init__()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.times.append((time.time(), path))
        if path == "/robots.txt":
            return 200, {}, self.robots.encode()
        return self.answers.get(path, (404, HTML, b"none"))


@pytest.fixture
def told() -> Iterator[type[Told]]:
    made = []

    class Kept(Told):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            made.append(self)

    yield Kept
    for site in made:
        site.server.shutdown()


def page(*links: str, text: str = "", head: str = "") -> tuple[int, dict[str, str], bytes]:
    anchors = "".join(f'<a href="{link}">x</a>' for link in links)
    return 200, HTML, f"<html><head>{head}</head><body>{text}{anchors}</body></html>".encode()


def urls_of(crawl: Crawl) -> dict[str, dict]:
    rows = read_tables(crawl.store, crawl.ref, "urls").to_pylist()
    return {row["url"].partition("//")[2].partition("/")[2]: row for row in rows}


def test_requests_keep_their_distance_and_go_one_at_a_time(told: type[Told], tmp_path: Path) -> None:
    site = told({"/": page(*(f"/{n}" for n in range(6))), **{f"/{n}": page(text=str(n)) for n in range(6)}})
    crawled(tmp_path, site.settings(delay_s=0.15, requests_per_host=1))
    assert all(b - a >= 0.13 for (a, _), (b, _) in itertools.pairwise(site.times))


def test_crawl_delay_is_kept_whatever_the_settings_say(told: type[Told], tmp_path: Path) -> None:
    site = told({"/": page("/1", "/2"), "/1": page(), "/2": page()}, "User-agent: *\nCrawl-delay: 0.3\n")
    crawled(tmp_path, site.settings(requests_per_host=8))
    after_robots = [at for at, path in site.times if path != "/robots.txt"]
    assert all(b - a >= 0.28 for a, b in itertools.pairwise(after_robots))


def test_retry_after_is_waited_for_and_the_page_still_comes(told: type[Told], tmp_path: Path) -> None:
    site = told({"/": page("/1"), "/1": page(text="one")})
    usual, refused_at = site.answer, list[float]()

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        if path == "/1" and not refused_at:
            refused_at.append(time.time())
            return 429, {"Retry-After": "1"}, b"later"
        return usual(path)

    site.answer = answer  # type: ignore[method-assign]
    crawl, _ = crawled(tmp_path, site.settings())
    assert urls_of(crawl)["1"]["verdict"] == "kept"
    assert min(at for at, path in site.times if path == "/1") - refused_at[0] >= 0.99


def test_host_that_refuses_again_and_again_is_left_alone_with_a_reason(told: type[Told], tmp_path: Path) -> None:
    site = told({"/": page(*(f"/{n}" for n in range(40))), **{f"/{n}": (503, {}, b"no") for n in range(40)}})
    crawl, _ = crawled(tmp_path, site.settings(patience=3, backoff_s=0.01))
    assert urls_of(crawl)["39"]["rule"] == "host left alone"
    assert sum(path != "/robots.txt" for _, path in site.times) < 20


def test_retry_after_means_seconds_or_a_date() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert seconds_of_retry_after("120", now.timestamp()) == 120
    assert seconds_of_retry_after(format_datetime(now + timedelta(seconds=90), usegmt=True), now.timestamp()) == 90
    assert seconds_of_retry_after(format_datetime(now - timedelta(days=1), usegmt=True), now.timestamp()) == 0
    assert seconds_of_retry_after("soon", now.timestamp()) is None


def test_back_off_doubles_with_jitter_and_ends_with_an_answer() -> None:
    settings = CrawlSettings(seeds=("http://127.0.0.1/",), private_networks=LOOPBACK, backoff_s=1.0, max_wait_s=100.0)
    pace, now = Pace(settings), 1000.0
    waits = []
    for _ in range(6):
        pace.refused(now)
        waits.append(pace.not_before - now)
        now = pace.not_before
    assert all(0.75 * 2**n <= wait <= 1.25 * 2**n for n, wait in enumerate(waits))
    pace.answered(0.1, fine=True)
    assert (pace.refusals, pace.not_before) == (0, 0.0)


def test_autothrottle_slows_down_with_a_slow_host_and_recovers() -> None:
    settings = CrawlSettings(seeds=("http://127.0.0.1/",), private_networks=LOOPBACK, delay_s=0.5)
    pace = Pace(settings)
    pace.answered(4.0, fine=True)
    assert pace.delay == 4.0
    pace.answered(0.1, fine=False)
    assert pace.delay == 4.0  # an error that comes fast is no reason to hurry
    for _ in range(8):
        pace.answered(0.1, fine=True)
    assert pace.delay == 0.5


def test_pages_that_ask_to_be_left_out_are_not_kept_and_not_archived(told: type[Told], tmp_path: Path) -> None:
    site = told(
        {
            "/": page("/tagged", "/meta", "/theirs", "/nofollow"),
            "/tagged": (200, HTML | {"X-Robots-Tag": "noindex"}, b"<html>kept out</html>"),
            "/meta": page(head='<meta name="ROBOTS" content="NoArchive">', text="kept out"),
            "/theirs": (200, HTML | {"X-Robots-Tag": "otherbot: noindex"}, b"<html>for another robot</html>"),
            "/nofollow": page("/unfollowed", head='<meta name="robots" content="nofollow">', text="kept"),
        }
    )
    crawl, rows = crawled(tmp_path, site.settings())
    urls = urls_of(crawl)
    assert (urls["tagged"]["rule"], urls["tagged"]["detail"]) == ("robots tag", "noindex")
    assert (urls["meta"]["rule"], urls["meta"]["detail"]) == ("robots tag", "noarchive")
    assert urls["theirs"]["verdict"] == urls["nofollow"]["verdict"] == "kept"
    assert "unfollowed" not in urls
    assert all(row["warc_offset"] is None for row in rows if row["url"].endswith(("/tagged", "/meta")))
    archive = b"".join(gzip.decompress(path.read_bytes()) for path in (tmp_path / crawl.ref.folder / "warc").iterdir())
    assert b"kept out" not in archive


def test_tags_are_read_for_this_robot_and_for_all() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert tags_of(["gristmill: none"], [], "gristmill", now).refused == "none"
    assert tags_of(["unavailable_after: 2025-01-01"], [], "gristmill", now).refused == "unavailable_after"
    assert tags_of(["unavailable_after: 25 Jun 2030 15:00:00 GMT"], [], "gristmill", now).refused is None
    assert tags_of([], [("gristmill", "noai, nofollow")], "gristmill", now) == tags_of(
        ["noai", "nofollow"], [], "x", now
    )
    assert tags_of([], [("description", "noindex")], "gristmill", now).refused is None


def test_robots_txt_is_read_when_it_is_packed_moved_or_names_nonsense(told: type[Told], tmp_path: Path) -> None:
    rules = b"User-agent: *\nDisallow: /no\nSitemap: http://[bad\nSitemap: /map.xml\nCrawl-delay: soon\n"
    site = told({"/": page("/no", "/yes"), "/yes": page(text="yes"), "/no": page(text="no")})
    site.answers |= {
        "/robots.txt": (301, {"Location": "/moved.txt"}, b""),
        "/moved.txt": (200, {"Content-Encoding": "gzip", "Content-Type": "text/plain"}, gzip.compress(rules)),
    }
    site.answer = lambda path: site.times.append((0.0, path)) or site.answers.get(path, (404, {}, b""))  # type: ignore[method-assign]
    crawl, _ = crawled(tmp_path, site.settings())
    assert (urls_of(crawl)["no"]["rule"], urls_of(crawl)["yes"]["verdict"]) == ("robots.txt", "kept")
    assert "/no" not in {path for _, path in site.times}
    assert "/map.xml" in {path for _, path in site.times}


@pytest.mark.parametrize(
    ("robots", "path", "allowed"),
    [
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("User-agent: *\nDisallow: /*.pdf$", "/x/y.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/x/y.pdf?z", True),
        ("User-agent: gristmill\nDisallow: /\n\nUser-agent: *\nAllow: /", "/x", False),
        ("User-agent: other\nDisallow: /", "/x", True),
        ("User-agent: *\nDisallow: /" + "*a" * 200 + "b", "/" + "a" * 2000, True),  # in one pass, not for ever
    ],
)
def test_robots_rules(robots: str, path: str, allowed: bool) -> None:
    assert parse_robots(robots.encode(), "gristmill").allows(f"http://host.example{path}") is allowed


def test_public_hosts_want_a_contact() -> None:
    with pytest.raises(ValidationError, match="set contact to a URL or an e-mail address"):
        CrawlSettings(seeds=("https://example.org/",))
    settings = CrawlSettings(seeds=("https://example.org/",), contact="https://example.net/bot")
    assert settings.full_user_agent == "gristmill/0.1 (+https://example.net/bot)"
    assert settings.product_token == "gristmill"


@pytest.mark.parametrize(
    "address",
    NOT_PUBLIC,
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    guard = AddressGuard(CrawlSettings(seeds=("https://example.org/",), contact="me@example.org"))
    with pytest.raises(AddressRefused, match="not public"):
        guard.check("trap.example", address)


def test_public_addresses_pass_with_a_contact_and_private_ones_with_leave() -> None:
    public = AddressGuard(CrawlSettings(seeds=("https://example.org/",), contact="me@example.org"))
    assert public.check("example.org", "93.184.216.34") == "93.184.216.34"
    inside = AddressGuard(CrawlSettings(seeds=("http://10.0.0.5/",), private_networks=("10.0.0.0/8",)))
    assert inside.check("wiki.example", "10.0.0.5") == "10.0.0.5"
    with pytest.raises(AddressRefused, match="no contact is set"):
        inside.check("example.org", "93.184.216.34")
    with pytest.raises(AddressRefused, match="not public"):
        inside.check("metadata.example", "169.254.169.254")


def test_redirect_to_an_address_that_is_not_allowed_is_refused_before_anything_is_sent(
    told: type[Told], tmp_path: Path
) -> None:
    site = told({"/": page("/away"), "/away": (302, {"Location": "http://localhost:1/x"}, b"")})
    other = told({"/": page(text="never asked")})
    site.answers["/away"] = (302, {"Location": other.root.replace("127.0.0.1", "127.0.0.2") + "/"}, b"")
    domains = ("127.0.0.1", "127.0.0.2")
    crawl, _ = crawled(
        tmp_path, site.settings(private_networks=("127.0.0.1/32",), domains=domains, seeds=(f"{site.root}/",))
    )
    refused = [row for row in read_tables(crawl.store, crawl.ref, "urls").to_pylist() if "127.0.0.2" in row["url"]]
    assert [row["rule"] for row in refused] == ["robots.txt"]
    assert "not public" in refused[0]["detail"]
    assert not other.times


def test_scope_by_prefix_domain_depth_and_pattern(told: type[Told], tmp_path: Path) -> None:
    settings = CrawlSettings(
        seeds=("https://docs.example.org/a/",),
        contact="x",
        domains=("example.org",),
        prefixes=("https://docs.example.org/a/",),
        exclude=(r"\.zip$",),
        max_depth=3,
    )
    scope = Scope(settings, settings.seeds)

    def rule(url: str, depth: int = 1) -> str | None:
        found = scope.refusal(url, depth)
        return found.rule if found else None

    assert rule("https://docs.example.org/a/b") is None
    assert rule("https://docs.example.org/c") == "outside the prefixes"
    assert rule("https://badexample.org/a/") == "another host"
    assert rule("https://docs.example.org/a/x.zip") == "excluded"
    assert rule("https://docs.example.org/a/b", 4) == "too deep"
    assert rule("https://docs.example.org/a/" + "x" * 3000) == "URL too long"
    assert rule("https://docs.example.org/a/" + "b/c/" * 5) == "trap: path in circles"
    assert rule("https://docs.example.org/a/2099/12/") == "trap: calendar without end"
    assert rule("https://docs.example.org/a/?" + "&".join(f"p{n}=1" for n in range(20))) == "trap: too many parameters"
    assert pattern_of("https://x.example/2024/05/post-17?b=2&a=1") == "/#/#/post-#?a&b"
    assert pattern_of("https://x.example/about") is None


def test_session_ids_do_not_make_new_pages(told: type[Told], tmp_path: Path) -> None:
    assert (
        without_session("http://h.example/a;jsessionid=0A1B?x=1&PHPSESSID=q1&sid=0123456789abcdef0123")
        == "http://h.example/a?x=1"
    )
    assert without_session("http://h.example/a?sid=7") == "http://h.example/a?sid=7"
    site = told({})
    visits = itertools.count()

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        site.times.append((0.0, path))
        n = next(visits)
        return (200, {}, b"") if path == "/robots.txt" else page(f"/a;jsessionid={n:032x}", f"/?PHPSESSID={n}")

    site.answer = answer  # type: ignore[method-assign]
    crawl, _ = crawled(tmp_path, site.settings(soft_404=False))
    assert sorted(urls_of(crawl)) == ["", "a"]


def test_endless_pagination_that_says_the_same_is_noticed_and_bounded(told: type[Told], tmp_path: Path) -> None:
    site = told({})

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        number = int(path.partition("=")[2] or 0)
        if path == "/robots.txt" or path.startswith("/gristmill-"):
            return 404, HTML, b""
        return page(*(f"/?page={number * 3 + n}" for n in (1, 2, 3)), text=f"No results on page {number}.")

    site.answer = answer  # type: ignore[method-assign]
    crawl, rows = crawled(tmp_path, site.settings(max_depth=100))
    assert len(rows) < 300
    assert any(row["rule"] == "trap: pages that say the same" for row in urls_of(crawl).values())


def test_budgets_of_a_host_are_kept_and_said(told: type[Told], tmp_path: Path) -> None:
    site = told({"/": page(*(f"/{n}" for n in range(30))), **{f"/{n}": page(text="x" * 500) for n in range(30)}})
    crawl, rows = crawled(tmp_path / "pages", site.settings(pages_per_host=10))
    assert sum(row["status"] is not None for row in rows) == 10
    assert {row["rule"] for row in urls_of(crawl).values() if row["verdict"] == "removed"} == {
        "page budget of the host"
    }
    crawl, rows = crawled(tmp_path / "bytes", site.settings(bytes_per_host=4000, requests_per_host=1))
    assert any(row["rule"] == "byte budget of the host" for row in urls_of(crawl).values())
    assert len(rows) < 12


def test_sitemaps_of_robots_txt_and_feeds_of_pages_give_links(told: type[Told], tmp_path: Path) -> None:
    site = told({})
    xml = {"Content-Type": "application/xml"}
    index = f"<sitemapindex><sitemap><loc>{site.root}/map.xml.gz</loc></sitemap></sitemapindex>"
    entries = f"<urlset><url><loc>{site.root}/mapped</loc><lastmod>2026-01-01</lastmod></url></urlset>"
    feed = f"<rss><channel><item><link>{site.root}/fed</link></item></channel></rss>"
    site.robots = f"User-agent: *\nAllow: /\nSitemap: {site.root}/index.xml\n"
    site.answers = {
        "/": page(head='<link rel="alternate" type="application/rss+xml" href="/feed">'),
        "/index.xml": (200, xml, index.encode()),
        "/map.xml.gz": (200, {"Content-Type": "application/gzip"}, gzip.compress(entries.encode())),
        "/feed": (200, {"Content-Type": "application/rss+xml"}, feed.encode()),
        "/mapped": page(text="mapped"),
        "/fed": page(text="fed"),
    }
    crawl, _ = crawled(tmp_path, site.settings())
    assert {path for path, row in urls_of(crawl).items() if row["verdict"] == "kept"} >= {"mapped", "fed"}


def test_curated_links_are_taken_from_their_threshold_on_best_first(told: type[Told], tmp_path: Path) -> None:
    site = told({f"/{n}": page("/elsewhere", text=f"page {n}") for n in range(6)})
    with (tmp_path / "links.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["url", "karma"], *([f"{site.root}/{n}", n] for n in range(6))])
    links = CuratedLinks(file=str(tmp_path / "links.csv"), score_column="karma", min_score=3)
    settings = site.settings(seeds=(), links=links, contact="me@example.org", max_depth=0, requests_per_host=1)
    crawl, rows = crawled(tmp_path / "store", settings)
    assert [row["url"].rpartition("/")[2] for row in rows] == ["5", "4", "3"]
    urls = urls_of(crawl)
    assert (urls["1"]["rule"], urls["1"]["detail"]) == ("score too low", "1, min_score 3")
    assert urls["elsewhere"]["rule"] == "too deep"


def test_many_hosts_are_asked_side_by_side(told: type[Told], tmp_path: Path) -> None:
    sites = [told({"/": page(text=f"host {n}"), "/robots.txt": (404, {}, b"")}) for n in range(5)]
    settings = sites[0].settings(seeds=tuple(f"{site.root}/" for site in sites), delay_s=0.4, requests_per_host=1)
    crawl, _ = crawled(tmp_path, settings)
    assert sum(row["verdict"] == "kept" for row in read_tables(crawl.store, crawl.ref, "urls").to_pylist()) == 5
    asked = [[at for at, _ in site.times] for site in sites]
    assert max(map(min, asked)) < min(map(max, asked))  # every first request came before any last one


def test_broken_page_costs_itself_only(told: type[Told], tmp_path: Path) -> None:
    site = told(
        {
            "/": page("/deep", "/odd", "/fine"),
            "/deep": (200, HTML, b"<div>" * 200_000),
            "/odd": (200, {"Content-Type": "text/html; charset=\xff\x00"}, bytes(range(256)) * 40),
            "/fine": page(text="fine"),
        }
    )
    crawl, _ = crawled(tmp_path, site.settings())
    assert urls_of(crawl)["fine"]["verdict"] == "kept"


def test_retry_after_holds_for_what_was_queued_and_for_robots_and_probe(told: type[Told], tmp_path: Path) -> None:
    site = told({"/": page("/1", "/2"), "/1": page(text="1"), "/2": page(text="2")})
    usual, refused = site.answer, dict[str, float]()

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        kind = "/gristmill" if path.startswith("/gristmill") else path
        found = usual(path)
        if kind in ("/robots.txt", "/gristmill", "/1") and kind not in refused:
            refused[kind] = time.time()
            return 503, {"Retry-After": "1"}, b"later"
        return found

    site.answer = answer  # type: ignore[method-assign]
    crawl, _ = crawled(tmp_path, site.settings(delay_s=0.1, requests_per_host=1))
    assert set(refused) == {"/robots.txt", "/gristmill", "/1"}
    for at in refused.values():
        assert min(t for t, _ in site.times if t > at + 1e-3) - at >= 0.99
    assert {urls_of(crawl)[path]["verdict"] for path in ("1", "2")} == {"kept"}


def test_host_that_asks_for_years_of_patience_is_left_alone_at_once(told: type[Told], tmp_path: Path) -> None:
    site = told({"/": page("/1", "/2"), "/1": (429, {"Retry-After": "999999999"}, b""), "/2": page()})
    started = time.time()
    crawl, _ = crawled(tmp_path, site.settings(requests_per_host=1))
    assert time.time() - started < 20
    assert "host left alone" in {row["rule"] for row in urls_of(crawl).values()}


def test_hostile_headers_and_metas_cost_one_page(told: type[Told], tmp_path: Path) -> None:
    date = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
    site = told(
        {
            "/": page("/date", "/spaces", "/charset", "/fine"),
            "/date": (429, {"Retry-After": date}, b""),
            "/spaces": page(head=f'<meta http-equiv="refresh" content="{" " * 300_000}">', text="kept"),
            "/charset": (200, {"Content-Type": "text/html; charset=unicode_escape"}, b"<html>\\ud800</html>"),
            "/fine": page(text="fine"),
        },
        "User-agent: *\n" + "a" + " " * 100_000 + "b c\n" + "Disallow: /x\n",
    )
    crawl, _ = crawled(tmp_path, site.settings(patience=2))
    assert urls_of(crawl)["spaces"]["verdict"] == urls_of(crawl)["charset"]["verdict"] == "kept"
    assert tags_of(["max-snippet:20, noindex"], [], "gristmill", datetime.now(UTC)).refused == "noindex"
