"""evaluate: scoring the same prompts with the same export beside lm-evaluation-harness, and whether the two agree."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import DATA, PROJECT, Row, measure, side_by_side, write_results

PEER = PROJECT / ".peers" / "evaluate" / "bin" / "python"
NETWORK: dict[str, Any] = {"layers": 6, "heads": 6, "width": 384, "context": 1024}
VOCABULARY = DATA / "bpe" / "gpt-bpe" / "gpt2"
TIMED = "hellaswag_10_shot"
# Name -> the task, and the demonstrations before a question.
TASKS: dict[str, tuple[str, int]] = {
    TIMED: ("hellaswag", 10),
    "hellaswag": ("hellaswag", 0),
    "piqa": ("piqa", 0),
    "arc_easy": ("arc_easy", 0),
    "winogrande": ("winogrande", 0),
    "lambada_openai": ("lambada_openai", 0),
    "wikitext2": ("wikitext2", 0),
    "1bw": ("1bw", 0),
}
EXTRA: dict[str, Any] = {
    "examples a second, scoring alone": lambda row: f"{row['documents'] / row['scoring_seconds']:,.2f}",
    "times lm-eval": lambda row: f"{row['ratio']:.2f}" if "ratio" in row else "",
}
TEXT = (
    "10-shot HellaSwag, {count} questions, every answer scored: {network}, float32, one process on all cores. Both are "
    "given the same prompts, made ready, and the same folder in the form of transformers. Seconds are of the whole process; "
    "the ratio is of scoring alone, without loading. Medians of {repeats} interleaved runs. lm-evaluation-harness reads the ten "
    "demonstrations once an answer, and makes the logits of every position.\n\n"
    "**Agreement** on {agreed} questions a task: {agreement}"
)


def make_export(folder: Path) -> None:
    """A GPT-2 of drawn weights with GPT-2's vocabulary, in the form of transformers."""
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from models.architecture import Architecture
    from models.bert import build
    from models.interchange import to_transformers

    tokenizer = Tokenizer(models.BPE.from_file(str(VOCABULARY / "encoder.json"), str(VOCABULARY / "vocab.bpe")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said | {"unk_token": "<|endoftext|>"}))
    model = build(Architecture(vocabulary=tokenizer.get_vocab_size(), **NETWORK)).initialise(0)
    import torch

    with torch.no_grad():  # drawn weights know nothing; larger ones at least have opinions
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and "ln_" not in name:
                parameter.mul_(2)
    config, state = to_transformers(model.arch, model.state_dict())
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors", {"format": "pt"}
    )


def prompts(folder: Path, export: Path, names: list[str], count: int) -> None:
    """Writes each task's prompts, and how lm-evaluation-harness is to ask them."""
    from tasks.suite.data import file_of
    from tasks.suite.declared import TASKS as DECLARED
    from tasks.suite.demonstrations import ask, demonstrations, in_order

    encoding, context = _encoding(export)
    for name in names:
        task, shots = DECLARED[TASKS[name][0]], TASKS[name][1]
        questions = list(task.read(*(file_of(data, str(DATA)) for data in task.data)))
        if task.kind == "text":  # a paragraph is an example: there are more of them than of articles
            questions = [
                replace(one, id=f"{one.id}-{n}", fields={"text": line, "units": "1"})
                for one in questions
                for n, line in enumerate(one.fields["text"].split("\n"))
                if line.strip()
            ]
        pool = in_order(questions)
        rows: list[Row] = []
        for question in questions[:count]:
            shown = demonstrations(1, task.name, question, pool, shots)
            one = ask(task.prompts[0], question, shown, encoding.count, context)
            contexts, asked = [before for before, _ in one.pairs], [answer.removeprefix(" ") for _, answer in one.pairs]
            rows.append(
                {"id": question.id, "contexts": contexts, "asked": asked, "gold": question.gold, "kind": task.kind}
            )
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        (folder / f"{name}.yaml").write_text(_yaml(name, folder, task.kind, len({*rows[0]["contexts"]}) > 1))


def _yaml(name: str, folder: Path, kind: str, partial_scoring: bool) -> str:
    delimiter = "" if kind == "text" else " "  # it stands before choices alone
    how = {
        "choice": 'output_type: multiple_choice\ndoc_to_text: "{{contexts[0]}}"\ndoc_to_choice: asked\ndoc_to_target: gold',
        "last word": 'output_type: loglikelihood\ndoc_to_text: "{{contexts[0]}}"\ndoc_to_target: " {{asked[0]}}"',
        "text": 'output_type: loglikelihood_rolling\ndoc_to_text: ""\ndoc_to_target: "{{asked[0]}}"',
    }[kind]
    if partial_scoring:
        how = 'output_type: multiple_choice\ndoc_to_text: gold\ndoc_to_choice: contexts\ndoc_to_target: "{{asked[0]}}"'
    metric = "word_perplexity" if kind == "text" else "acc"
    norm = "  - metric: acc_norm\n" if kind == "choice" and not partial_scoring else ""
    return (
        f"task: {name}\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder / name}.jsonl\n"
        f'test_split: test\ntarget_delimiter: "{delimiter}"\n{how}\nmetric_list:\n  - metric: {metric}\n{norm}'
    )


def _encoding(export: Path) -> tuple[Any, int]:
    from tasks.suite.encoding import Encoding
    from tasks.tokens.tokenizer import Codec

    context = json.loads((export / "config.json").read_text())["n_positions"]
    return Encoding(Codec(export / "tokenizer.json"), begin=False), int(context)


def ours(export: Path, folder: Path, names: list[str]) -> None:
    """Scores the prompts; prints and writes what the peer does."""
    from models.score import Network
    from tasks.interchange.folder import read_folder
    from tasks.suite.answer import Reader, answers
    from tasks.suite.declared import TASKS as DECLARED
    from tasks.suite.demonstrations import Asked
    from tasks.suite.question import Question

    _, model, _ = read_folder(export)
    encoding, context = _encoding(export)
    seconds: dict[str, float] = {}
    documents = 0
    for name in names:
        started = time.perf_counter()
        task = DECLARED[TASKS[name][0]]
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        asked = [
            Asked(_question(row, Question), tuple(zip(row["contexts"], _spaced(task, row["asked"]), strict=True)), 0)
            for row in rows
        ]
        # Windows that do not overlap, as the peer reads texts.
        found = answers(task, task.prompts[0], asked, Reader(Network(model, batch=16, stride=context), encoding))
        seconds[name] = time.perf_counter() - started
        documents += len(found)
        (folder / f"{name}.ours.json").write_text(json.dumps(found))
    print(json.dumps({"documents": documents, "scoring_seconds": seconds}))


def _spaced(task: Any, asked: list[str]) -> list[str]:
    """What is asked with the space before it, which a text has none of."""
    return asked if task.kind == "text" else [f" {one}" for one in asked]


def _question(row: dict[str, Any], make: Any) -> Any:
    choices = (
        tuple(row["asked"] if len({*row["contexts"]}) == 1 else row["contexts"]) if row["kind"] == "choice" else ()
    )
    return make(row["id"], {"units": "1"}, choices, row["gold"], () if choices else (row["asked"][0].strip(),))


def agreement(folder: Path, name: str) -> dict[str, float]:
    """Examples, those whose choice differs, and the largest relative difference of a log-likelihood."""
    mine = json.loads((folder / f"{name}.ours.json").read_text())
    theirs = json.loads((folder / f"{name}.samples.json").read_text())
    worst, flips = 0.0, 0
    for a, b in zip(mine, theirs, strict=True):
        if a["example_id"] != b["id"]:
            raise AssertionError(f"{name}: {a['example_id']} is not {b['id']}")
        answers = b["answers"] if isinstance(b["answers"][0], list | tuple) else [b["answers"]]
        sums = [float(one[0]) if isinstance(one, list | tuple) else float(one) for one in answers]
        worst = max(worst, *(abs(x - y) / max(abs(y), 1.0) for x, y in zip(a["log_likelihoods"], sums, strict=True)))
        right = a.get("correct_by_none", a.get("correct"))
        flips += b["acc"] is not None and bool(b["acc"]) != right
        flips += b["acc_norm"] is not None and bool(b["acc_norm"]) != a["correct_by_character"]
    return {"examples": len(mine), "flips": flips, "worst": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--export", type=Path, help="folder in the form of transformers; one of drawn weights where none is given"
    )
    parser.add_argument("--count", type=int, default=60, help="questions of the timed task")
    parser.add_argument("--agree", type=int, default=200, help="questions of each task on which both are compared")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ours", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ours:
        export, folder, *names = arguments.ours
        ours(Path(export), Path(folder), names)
        return
    with tempfile.TemporaryDirectory() as place:
        room = Path(place)
        export = arguments.export or room / "export"
        if arguments.export is None:
            make_export(export)
        for name in ("timed", "agree"):
            (room / name).mkdir()
        prompts(room / "timed", export, [TIMED], arguments.count)
        rows = _timed(export, room / "timed", arguments.repeats)
        found = _agreements(export, room / "agree", arguments.agree)
        text = TEXT.format(
            count=arguments.count,
            network=_size(export),
            repeats=arguments.repeats,
            agreed=arguments.agree,
            agreement=found,
        )
        write_results("evaluate", "Answers to tasks", text, rows, EXTRA, arguments.json)


def _size(export: Path) -> str:
    config = json.loads((export / "config.json").read_text())
    return f"a GPT-2 of {config['n_layer']} layers, {config['n_embd']} wide, context {config['n_positions']:,}, vocabulary {config['vocab_size']:,}"


def _timed(export: Path, folder: Path, repeats: int) -> list[Row]:
    names = [TIMED]
    systems = {
        "gristmill": partial(_measured, [sys.executable, "-m", "benchmarks.evaluate", "--ours"], export, folder, names)
    }
    if PEER.exists():
        systems["lm-evaluation-harness"] = partial(
            _measured, [str(PEER), "benchmarks/peers_evaluate.py"], export, folder, names
        )
    rows = side_by_side(systems, repeats)
    for row in rows:
        row["ratio"] = rows[-1]["scoring_seconds"] / row["scoring_seconds"]
    return rows


def _measured(command: list[str], export: Path, folder: Path, names: list[str]) -> Row:
    row = measure([*command, str(export), str(folder), *names])
    text = sum((folder / f"{name}.jsonl").stat().st_size for name in names)
    return row | {
        "scoring_seconds": sum(row["scoring_seconds"].values()),
        "bytes": text,
        "version": row.get("version", ""),
    }


def _agreements(export: Path, folder: Path, count: int) -> str:
    names = [name for name in TASKS if name != TIMED]
    prompts(folder, export, names, count)
    if not PEER.exists():
        return "not compared: make peers"
    measure([sys.executable, "-m", "benchmarks.evaluate", "--ours", str(export), str(folder), *names])
    measure([str(PEER), "benchmarks/peers_evaluate.py", str(export), str(folder), *names])
    said = []
    for place, name in ((folder.parent / "timed", TIMED), *((folder, name) for name in names)):
        one = agreement(place, name)
        said.append(
            f"{name} {one['examples']:.0f} examples, {one['flips']:.0f} choices differ, log-likelihoods within {one['worst']:.1e}"
        )
    return "; ".join(said) + "."


if __name__ == "__main__":
    main()
