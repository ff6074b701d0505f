"""Addresses that let somebody in: passwords and signatures stand in the environment, and are in nothing that is kept or shown."""

from __future__ import annotations

import os
import re
from typing import Annotated

from pydantic import AfterValidator

from warehouse.errors import SettingError

# Parameters by which object stores and services know who asks: signatures of S3, GCS and Azure, keys and tokens.
_SECRET_NAME = re.compile(
    r"(?:x-amz-|x-goog-|x-ms-).*|.*(?:signature|token|secret|passw|credential|api[-_]?key).*|(?:.*[-_])?auth(?:orization)?"
    r"|sig|key|pwd|googleaccessid|awsaccesskeyid",
    re.IGNORECASE,
)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>)\]}]+", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def public(address: str) -> str:
    """An address without user, password and what signs it; a path is what it is."""
    if "://" not in address:
        return address
    head, mark, query = address.partition("?")
    scheme, _, rest = head.partition("://")
    host, slash, path = rest.partition("/")
    pieces = [piece for piece in query.split("&") if not _SECRET_NAME.fullmatch(piece.partition("=")[0])]
    shown = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    return f"{shown}?{'&'.join(pieces)}" if mark and pieces else shown


def scrubbed(text: str) -> str:
    """A text, of an error say, whose addresses are public."""
    return _URL.sub(lambda found: public(found.group()), text)


def variables(text: str) -> list[str]:
    """The names of all ``${NAME}`` in a text, once each."""
    return sorted(set(_VARIABLE.findall(text)))


def expanded(address: str) -> str:
    """An address with ``${NAME}`` taken from the environment. Raises SettingError where that is not set."""

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in os.environ:
            raise SettingError(
                f"{address} asks for {name}, which the environment does not hold: export it, "
                f"or save it as the Secret block {name.lower().replace('_', '-')} of your Prefect server"
            )
        return os.environ[name]

    return _VARIABLE.sub(value, address)


def _checked(address: str) -> str:
    """The address; raises ValueError where a secret stands in it that is no variable."""
    given = _VARIABLE.sub("", address)
    head, _, query = given.partition("?")
    user, _, _ = head.partition("://")[2].partition("/")[0].rpartition("@")
    pairs = [piece.partition("=") for piece in query.split("&")]
    name_alone, _, password = user.partition(":")
    if (
        password
        or (name_alone and ":" not in user)
        or any(value and _SECRET_NAME.fullmatch(name) for name, _, value in pairs)
    ):
        raise ValueError(
            f"{public(given)} comes with a password, a key or a signature: write ${{NAME}} in its place, and set NAME in the environment"
        )
    return address


PublicAddress = Annotated[str, AfterValidator(_checked)]  # a setting that is kept and shown, and so holds no secret
