"""trl's losses of preferences and of rewards, in a process of its own: no import of this project.

python benchmarks/peers_align.py EXPORT PAIRS OUT: EXPORT is a model in the form of transformers, PAIRS a JSON list of prompt, chosen and
rejected; writes what trl made of them: token ids, which of them are answers, losses, and the gradient of the embedding.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def main() -> None:
    export, pairs, out = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    tokenizer = AutoTokenizer.from_pretrained(export)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(
        0
    )  # were it the end's, transformers would read a reward before the end
    common: dict[str, Any] = {
        "output_dir": str(out.parent / "trl"), "per_device_train_batch_size": len(pairs), "report_to": [], "use_cpu": True,
        "bf16": False, "gradient_checkpointing": False, "seed": 1, "max_length": 64,
    }  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
    reference = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
    with torch.no_grad():  # or nothing would be gained, and the loss were log 2 whatever it is
        for name, parameter in model.named_parameters():
            if "mlp" in name and parameter.ndim == 2:
                parameter.mul_(1.5)
    trainer = DPOTrainer(
        model,
        reference,
        DPOConfig(beta=0.3, **common),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    found = {
        "dpo": {
            "ids": batch["input_ids"].tolist(),
            "attention": batch["attention_mask"].tolist(),
            "answered": batch["completion_mask"].tolist(),
            "loss": loss.item(),
            "gradient": trainer.model.get_input_embeddings().weight.grad.tolist(),
        }
    }
    judge = AutoModelForSequenceClassification.from_pretrained(export, num_labels=1, dtype=torch.float32)
    judge.config.pad_token_id = tokenizer.pad_token_id
    rewarding = RewardTrainer(
        judge, RewardConfig(**common), train_dataset=Dataset.from_list(pairs), processing_class=tokenizer
    )
    batch = next(iter(rewarding.get_train_dataloader()))
    rewarding.model.eval()
    loss = rewarding.compute_loss(rewarding.model, batch)
    loss.backward()
    found["reward"] = {
        "ids": batch["input_ids"].tolist(),
        "attention": batch["attention_mask"].tolist(),
        "head": rewarding.model.score.weight.tolist(),
        "loss": loss.item(),
        "gradient": rewarding.model.get_input_embeddings().weight.grad.tolist(),
    }
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
