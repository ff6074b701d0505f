"""Tables of what models are asked and what they answer."""

from __future__ import annotations

import pyarrow as pa

from warehouse.schemas.field import INT, REAL, TEXT, field

TEXTS, REALS, INTS, TRUTH = pa.list_(TEXT), pa.list_(REAL), pa.list_(INT), pa.bool_()

QUESTIONS = pa.schema(
    [
        field("task", TEXT, "the task", nullable=False),
        field("example_id", TEXT, "the question's name in its set", nullable=False),
        field("role", TEXT, "asked, or shown: an example with its answer", nullable=False),
        field("fields", TEXT, "JSON: the texts that prompts are made of"),
        field("choices", TEXTS, "the answers to choose among, null where the answer is free"),
        field("gold", INT, "place of the right choice, from 0"),
        field("answers", TEXTS, "free answers that are accepted"),
        field("cluster", TEXT, "the passage that it shares with other questions, empty for none"),
        field("text", TEXT, "question and right answer as they are looked for in the corpus"),
        field("license", TEXT, "licence of the set"),
    ]
)

QUESTION_HITS = pa.schema(
    [
        field("doc_id", TEXT, "document of the corpus"),
        field("n", INT, "words of the n-gram"),
        field("bag", TRUTH, "whether they are words that say what a text is about, in any order"),
        field("gram", pa.uint64(), "name of the n-gram"),
        field("start", INT, "first byte of it in the document"),
        field("stop", INT, "byte behind it"),
    ]
)

EXPOSED = pa.schema(
    [
        field("task", TEXT, "the task", nullable=False),
        field("example_id", TEXT, "the question", nullable=False),
        field("words", INT, "N: words of the n-grams that were looked for"),
        field("grams", INT, "distinct n-grams of the question"),
        field("found", INT, "how many of them stand in text that is trained on, and in ten documents at most"),
        field("reworded", INT, "how often seven of the words that say what it is about stand there in any order"),
        field("dirty", TRUTH, "whether any does; null where the question has too few words to tell"),
    ]
)

ANSWERS = pa.schema(
    [
        field("run", TEXT, "key of the training run, or the name of a baseline", nullable=False),
        field("step", INT, "step of the checkpoint, null for a baseline"),
        field("task", TEXT, "the task", nullable=False),
        field("shots", INT, "demonstrations that were to be shown"),
        field("prompt", TEXT, "which of the task's prompts"),
        field("seed", INT, "seed of the demonstrations, null where none is shown"),
        field("example_id", TEXT, "the question", nullable=False),
        field("cluster", TEXT, "the passage that it shares with others, or the question itself"),
        field("prompt_digest", TEXT, "digest of all that the model was shown and asked"),
        field("prompt_text", TEXT, "the prompt, of the first few questions alone"),
        field("shown", INT, "demonstrations that fitted the context"),
        field("choices", TEXTS, "what could be chosen"),
        field("log_likelihoods", REALS, "nats (negative) of each choice, of the answer, or of the text"),
        field("unconditional", REALS, "the same behind words that say nothing of the question"),
        field("tokens", INTS, "tokens of each"),
        field("answer", TEXT, "what the model chose or wrote"),
        field("gold", TEXT, "the right answer"),
        field("accepted", TEXTS, "all answers that are accepted"),
        field("correct", TRUTH, "whether it is right, by the published protocol's normaliser"),
        field("correct_by_none", TRUTH, "by the sum of the log-likelihoods"),
        field("correct_by_token", TRUTH, "by their mean over tokens (GPT-3)"),
        field("correct_by_character", TRUTH, "over characters"),
        field("correct_by_byte", TRUTH, "over bytes of UTF-8"),
        field("correct_by_context", TRUTH, "less those behind words that say nothing (GPT-3: Answer:)"),
        field("correct_filtered", TRUTH, "last word: the likeliest word that is no stop word"),
        field("correct_last_token", TRUTH, "last word: its last token, those before it given"),
        field("bits_a_byte", REAL, "bits a byte of the right answer"),
        field("probability", REAL, "share of the right choice in the probability of all choices"),
        field("margin", REAL, "normalised log-likelihood of the right choice less that of the best other, nats"),
        field("exact_match", REAL, "free answers: 1 where it is one that is accepted"),
        field("f1", REAL, "free answers: overlap of words with the best accepted one"),
        field("rouge_1", REAL, "summaries: overlap of words"),
        field("rouge_2", REAL, "summaries: overlap of pairs of words"),
        field("rouge_l", REAL, "summaries: longest common subsequence of words"),
        field("words", INT, "texts: words as the set's papers count them"),
        field("bytes", INT, "texts: bytes of UTF-8"),
        field("characters", INT, "texts: characters"),
        field("dirty", TRUTH, "whether an n-gram of the question stands in the corpus; null where that cannot be told"),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "questions": QUESTIONS,
    "question_hits": QUESTION_HITS,
    "exposed": EXPOSED,
    "answers": ANSWERS,
}
