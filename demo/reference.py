"""The Python language topics and the documentation of modules as a web site, in the manner of pydoc.

Pages are made of docstrings and signatures alone and show no value of the running process: no path, no
address, no environment. The same interpreter and packages serve the same bytes.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import pydoc
import pydoc_data.topics
import re
import sys
import warnings
from html import escape
from types import ModuleType
from typing import Any

from demo.site import ROBOTS, link_list, page, paragraphs

SITE = "The Reference: Python, module by module"
# Not all of scipy: docstrings of scipy.stats hold random draws, those of scipy.signal list sets.
PACKAGES = ("numpy", "fsspec", "pyarrow", "scipy.linalg", "scipy.interpolate", "scipy.optimize")
# Modules that act on import, print, or are not for reading.
SKIPPED = re.compile(
    r"^(_|antigravity|this|idlelib|turtle|tkinter|lib2to3|test|pydoc_data|ensurepip|venv|nt$|winreg|msvcrt|winsound)|\.(_|tests?\b|__main__)"
)
MIRRORED = ("argparse", "json", "os.path")
PLAIN_DEFAULTS = (int, float, bool, type(None))
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+|\b0x[0-9a-f]{9,}\b")
PATH = re.compile(r"(?:/[\w.+-]+)*/(?:site-packages|lib/python[\d.]+)\b[\w./+-]*|/(?:home|root|Users|tmp)/[\w./+-]*")


def module_names() -> list[str]:
    """Names of the modules that get a page, in order."""
    names = [name for name in sorted(sys.stdlib_module_names) if not SKIPPED.search(name)]
    for package in (
        "asyncio",
        "collections",
        "concurrent",
        "email",
        "html",
        "http",
        "importlib",
        "json",
        "logging",
        "multiprocessing",
        "unittest",
        "urllib",
        "xml",
        *PACKAGES,
    ):
        found = importlib.import_module(package)
        names += (
            [f"{package}.{info.name}" for info in pkgutil.iter_modules(found.__path__)]
            if "." not in package
            else [package]
        )
    return sorted({name for name in [*names, "os.path", "numpy"] if not SKIPPED.search(name)})


def _module(name: str) -> ModuleType | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except (ImportError, AttributeError, OSError, RuntimeError):
        return None


def clean(text: str) -> str:
    """Docstring text without what belongs to this process or machine."""
    return PATH.sub("…", ADDRESS.sub("", text))


def signature(thing: Any) -> str:
    """Parameters by name, with defaults only where they are plain values."""
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return "(...)"
    shown = []
    for parameter in parameters:
        default = parameter.default
        text = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "") + parameter.name
        if default is not parameter.empty:
            text += f"={default!r}" if isinstance(default, PLAIN_DEFAULTS) else "=..."
        shown.append(text)
    return f"({', '.join(shown)})"


def docstring_html(thing: Any) -> str:
    """A docstring as HTML: prose in paragraphs, examples and tables as preformatted text."""
    text = clean(inspect.getdoc(thing) or "")
    blocks = []
    for block in text.split("\n\n"):
        if block.lstrip().startswith(">>>") or block.startswith("    "):
            blocks.append(f"<pre>{escape(block)}</pre>")
        elif block.strip():
            blocks.append(paragraphs(block))
    return "\n".join(blocks)


def _members(owner: Any, module: str) -> list[tuple[str, Any]]:
    public = getattr(owner, "__all__", None)
    return [
        (name, value)
        for name, value in sorted(vars(owner).items(), key=lambda item: item[0])
        if (name in public if public is not None else not name.startswith("_"))
        and (inspect.isclass(value) or inspect.isroutine(value))
        and (public is not None or getattr(value, "__module__", module) == module)
    ]


def _documented(name: str, value: Any, level: str) -> str:
    own = docstring_html(value)
    return f"<{level}>{escape(name)}{escape(signature(value))}</{level}>\n{own}" if own else ""


def module_pages(name: str, module: ModuleType) -> list[tuple[str, str, str]]:
    """(name, heading, HTML) of a module's page and of each documented class's page."""
    body, made = [docstring_html(module)], []
    for member, value in _members(module, name):
        if inspect.isclass(value):
            methods = [
                _documented(n, v, "h3")
                for n, v in sorted(vars(value).items())
                if not n.startswith("_") and inspect.isroutine(v)
            ]
            text = "\n".join([docstring_html(value), *filter(None, methods)])
            if len(text) > 1500:
                made.append((f"{name}.{member}", f"class {name}.{member}{signature(value)}", text))
                body.append(f'<p>class <a href="/{escape(name)}.{escape(member)}.html">{escape(member)}</a></p>')
            else:
                body.append(_documented(member, value, "h2"))
        else:
            body.append(_documented(member, value, "h2"))
    text = "\n".join(filter(None, body))
    return [(name, f"module {name}", text), *made] if len(text) > 200 else made


def pages(limit: int | None = None) -> dict[str, tuple[str, bytes]]:
    """Path -> (content type, body) of the whole site; ``limit`` keeps that many topics and modules."""
    made = [
        (topic, f"topic {topic}", paragraphs(clean(pydoc.plain(text))))
        for topic, text in sorted(pydoc_data.topics.topics.items())
    ][:limit]
    for name in module_names()[:limit]:
        module = _module(name)
        made += module_pages(name, module) if module is not None else []
    site: dict[str, tuple[str, bytes]] = {"/robots.txt": ("text/plain", ROBOTS.encode())}
    index = []
    for number, (name, heading, body) in enumerate(made):
        around = [
            ("/", "Index"),
            *((f"/{made[i][0]}.html", made[i][0]) for i in (number - 1, number + 1) if 0 <= i < len(made)),
        ]
        html = page(SITE, heading, heading, body, around).encode()
        for path in (f"/{name}.html", *([f"/stable/{name}.html"] if name in MIRRORED else [])):
            site[path] = ("text/html; charset=utf-8", html)
            index.append((path, name))
    about = "<p>What the language reference, the modules and a few packages say about themselves.</p>"
    for path, heading, body in (
        ("/", SITE, link_list(index)),
        ("/about.html", "About this site", about),
        ("/search", "Search", "<p>Nothing found.</p>"),
    ):
        site[path] = ("text/html; charset=utf-8", page(SITE, heading, heading, body, [("/", "Index")]).encode())
    return site
