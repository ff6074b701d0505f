"""What free answers are worth beside those that are accepted: exact match, F1, ROUGE of each, BLEU of all."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.estimates import Figure

RESAMPLES = 1000
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normal_answer(text: str) -> str:
    """An answer as SQuAD compares them: lower case, no punctuation, no articles, single spaces (Rajpurkar et al. 2016)."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(answer: str, accepted: Sequence[str]) -> float:
    """1 where the answer is one of those accepted."""
    return float(any(normal_answer(answer) == normal_answer(one) for one in accepted))


def f1(answer: str, accepted: Sequence[str]) -> float:
    """The best harmonic mean of precision and recall over the words of an accepted answer."""
    return max((_overlap(normal_answer(answer).split(), normal_answer(one).split()) for one in accepted), default=0.0)


def _overlap(given: Sequence[Any], wanted: Sequence[Any]) -> float:
    if not given or not wanted:
        return float(given == wanted)
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted))


def rouge(n: int) -> Callable[[str, Sequence[str]], float]:
    """ROUGE-n's F1 over lower-case words (Lin 2004)."""
    return lambda answer, accepted: max((_overlap(_grams(answer, n), _grams(one, n)) for one in accepted), default=0.0)


def rouge_l(answer: str, accepted: Sequence[str]) -> float:
    """ROUGE-L: F1 of the longest common subsequence of words (Lin 2004)."""
    return max((_longest(_grams(answer, 1), _grams(one, 1)) for one in accepted), default=0.0)


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = re.findall(r"[^\W_]+", text.lower())
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


def _longest(given: Sequence[Any], wanted: Sequence[Any]) -> float:
    before = [0] * (len(wanted) + 1)
    for one in given:
        row = [0]
        for place, other in enumerate(wanted):
            row.append(before[place] + 1 if one == other else max(row[-1], before[place + 1]))
        before = row
    return 2 * before[-1] / (len(given) + len(wanted)) if given and wanted else float(given == wanted)


OF_AN_ANSWER: dict[str, Callable[[str, Sequence[str]], float]] = {
    "exact match": exact_match,
    "f1": f1,
    "rouge-1": rouge(1),
    "rouge-2": rouge(2),
    "rouge-l": rouge_l,
}


def column_of(metric: str) -> str:
    """The column of answers that holds a metric of one answer."""
    return metric.replace(" ", "_").replace("-", "_")


def bleu(answers: Sequence[str], wanted: Sequence[str], clusters: npt.NDArray[Any]) -> Figure:
    """SacreBLEU's corpus BLEU, 0 to 100 (Post 2018), its standard error by resampling the clusters a thousand times."""
    if not answers:
        return Figure(math.nan, math.nan)
    rows = np.array([_bleu_counts(answer, one) for answer, one in zip(answers, wanted, strict=True)], np.int64)
    _, place = np.unique(clusters, return_inverse=True)
    sums = np.zeros((int(place.max()) + 1, rows.shape[1]), np.int64)
    np.add.at(sums, place, rows)
    draw = np.random.default_rng(len(answers))
    found = [_bleu_of(sums[draw.integers(0, len(sums), len(sums))].sum(0)) for _ in range(RESAMPLES)]
    return Figure(_bleu_of(rows.sum(0)), float(np.std(found, ddof=1)) if len(sums) > 1 else math.nan)


@cache
def _scorer() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


def _bleu_counts(answer: str, wanted: str) -> list[int]:
    """Matches and totals of 1- to 4-grams, length of answer and of reference."""
    score = _scorer().sentence_score(answer, [wanted])
    return [*score.counts, *score.totals, score.sys_len, score.ref_len]


def _bleu_of(counts: npt.NDArray[np.int64]) -> float:
    from sacrebleu.metrics.bleu import BLEU

    matches, totals, lengths = counts[:4].tolist(), counts[4:8].tolist(), counts[8:].tolist()
    given, wanted = lengths
    return float(BLEU.compute_bleu(matches, totals, given, wanted, smooth_method="exp").score)
