"""torchrun that does not outlive the process that started it: ``python -m tasks.train.launch [torchrun's options]``."""

from __future__ import annotations

import os
import sys

from tasks.core.process import PARENT_VARIABLE, die_with_parent


def main() -> None:
    """Watches the parent, then hands over to torchrun; its ranks watch this process."""
    die_with_parent(int(os.environ.get(PARENT_VARIABLE, os.getppid())))
    from torch.distributed.run import main as torchrun

    torchrun(sys.argv[1:])


if __name__ == "__main__":
    main()
