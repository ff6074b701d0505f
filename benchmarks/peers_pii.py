"""presidio's and datatrove's rules for personal data, as processes of their own: no import of this project.

python benchmarks/peers_pii.py presidio|datatrove < LINES, each {"kind": …, "text": …}; prints [text after, pieces replaced].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

Redact = Callable[[str, str], tuple[str, int]]


def by_presidio() -> Redact:
    from presidio_analyzer import predefined_recognizers as known
    from tldextract import tldextract

    tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)  # asks nobody
    kinds = {
        "email": known.EmailRecognizer(),
        "phone": known.PhoneRecognizer(),
        "ip": known.IpRecognizer(),
        "iban": known.IbanRecognizer(),
        "card": known.CreditCardRecognizer(),
    }

    def redact(kind: str, text: str) -> tuple[str, int]:
        if kind not in kinds:
            return text, 0
        found = kinds[kind].analyze(text, kinds[kind].supported_entities, None)
        pieces, end = 0, len(text)
        for piece in sorted(found, key=lambda piece: -piece.end):
            if piece.end <= end:
                text, end, pieces = f"{text[: piece.start]}<>{text[piece.end :]}", piece.start, pieces + 1
        return text, pieces

    return redact


def by_datatrove() -> Redact:
    from datatrove.pipeline.formatters import PIIFormatter

    mark = "\ue000"
    formatters = {
        "email": PIIFormatter(remove_emails=True, remove_ips=False, email_replacement=mark),
        "ip": PIIFormatter(remove_emails=False, remove_ips=True, ip_replacement=mark),
    }

    def redact(kind: str, text: str) -> tuple[str, int]:
        if kind not in formatters:
            return text, 0
        after = formatters[kind].format(text)
        return after, after.count(mark)

    return redact


def main() -> None:
    redact = {"presidio": by_presidio, "datatrove": by_datatrove}[sys.argv[1]]()
    for line in sys.stdin:
        row = json.loads(line)
        print(json.dumps(redact(row["kind"], row["text"])))


if __name__ == "__main__":
    main()
