"""lm-evaluation-harness over prompts that were made ready, as a process of its own: no import of this project.

python benchmarks/peers_evaluate.py EXPORT FOLDER TASK…: FOLDER holds TASK.yaml each; writes TASK.samples.json, a row an example
with its log-likelihoods, and prints seconds of scoring, the model's loading not counted.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    export, folder, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    os.environ["HF_HOME"] = str(folder / "cache")
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    batch = int(os.environ.get("LM_EVAL_BATCH", "8"))
    model = HFLM(pretrained=export, dtype="float32", device="cpu", batch_size=batch)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    seconds: dict[str, float] = {}
    documents = 0
    for name in names:
        started = time.perf_counter()
        found: dict[str, Any] = lm_eval.simple_evaluate(
            model, tasks=[name], task_manager=manager, log_samples=True, bootstrap_iters=0
        )
        seconds[name] = time.perf_counter() - started
        samples = sorted(found["samples"][name], key=lambda one: one["doc_id"])
        documents += len(samples)
        kept = [
            {
                "id": one["doc"]["id"],
                "answers": one["filtered_resps"],
                "acc": one.get("acc"),
                "acc_norm": one.get("acc_norm"),
            }
            for one in samples
        ]
        (folder / f"{name}.samples.json").write_text(json.dumps(kept, default=str))
    print(json.dumps({"documents": documents, "scoring_seconds": seconds, "version": lm_eval.__version__}))


if __name__ == "__main__":
    main()
