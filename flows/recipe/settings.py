"""The settings of a whole run: one page of TOML, checked as a whole, each part owned by its stage."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from flows.recipe import runs as training_runs
from flows.recipe.sources import Source
from tasks.align.conversation import DialogueSettings
from tasks.align.plays import NAME as PLAYS
from tasks.align.settings import AlignSettings
from tasks.decontaminate.overlap import DecontaminateSettings
from tasks.dedup.band import BandSettings
from tasks.dedup.match import LikenessSettings, MatchSettings
from tasks.dedup.sign import SignSettings
from tasks.evaluate.settings import EvaluateSettings
from tasks.extract.page import ExtractSettings
from tasks.finetune.plays import BUILTIN
from tasks.finetune.settings import FinetuneSettings
from tasks.finetune.task import LabelledSettings
from tasks.repetition.stage import RepetitionSettings
from tasks.select import policy as policies_of
from tasks.select.facts import SelectSettings
from tasks.select.policy import Policy
from tasks.signals.quality import QualitySettings
from tasks.suite.settings import SuiteSettings
from tasks.tokens.relatives import RelativesSettings
from tasks.tokens.split import HoldOutSettings, RelatedSettings, SplitSettings
from tasks.tokens.tokenizer import TokenizerSettings
from tasks.train.names import run_of_model, step_of_model
from tasks.train.settings import ModelSettings, PretrainSettings, TrainingSettings, check_fit
from tasks.web.addresses import PublicAddress
from tasks.web.urls import domain_of
from warehouse.errors import nearest
from warehouse.store import is_inside

RunName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class PackSettings(RelatedSettings, RelativesSettings):
    """How documents are divided between training and validation, and what is kept out of both."""


class Recipe(BaseModel):
    """Every setting of the pipeline."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Recipe")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="name of the recipe, shown in run names")
    store: PublicAddress = Field(
        "data", min_length=1, description="where artifacts live: a folder, or a URL such as s3://bucket/prefix"
    )
    workers: int = Field(2, ge=1, description="parts made at once, each in a process of its own")
    sources: dict[str, Source] = Field(min_length=1, description="name -> source of text")
    policies: dict[str, Policy] = Field(default={}, description="name -> a policy of this recipe's own")
    extract: ExtractSettings = Field(default=ExtractSettings(), description="pages to text")
    quality: QualitySettings = Field(
        default=QualitySettings(), description="curated and crawled texts to a classifier of quality"
    )
    sign: SignSettings = Field(default=SignSettings(), description="text to signatures")
    match: LikenessSettings = Field(default=LikenessSettings(), description="signatures to duplicates")
    repetition: RepetitionSettings = Field(
        default=RepetitionSettings(),
        description="lines, paragraphs and runs of words that stand more than once in a source",
    )
    decontaminate: DecontaminateSettings = Field(
        default=DecontaminateSettings(), description="evaluation sets, and how their text is taken out of the corpus"
    )
    remove_duplicates: bool = Field(True, description="keep one document of each duplicate cluster")
    repeats: dict[int, int] = Field(
        default={}, description="documents of a duplicate cluster -> how often the one that is kept is trained on"
    )
    seed: int = Field(1, description="seed of the draws that policies make")
    tokenizer: TokenizerSettings = Field(default=TokenizerSettings(), description="corpus to vocabulary")
    pack: PackSettings = Field(default=PackSettings(), description="corpus to token arrays")
    model: ModelSettings = Field(default=ModelSettings(), description="the network")
    pretrain: TrainingSettings = Field(default=TrainingSettings(), description="token arrays to a trained network")
    runs: dict[RunName, PretrainSettings] = Field(
        default={},
        description="name -> a training run: what it has other than [pretrain], and [model] as its own section model; "
        "initial names another one to start from",
    )
    evaluate: EvaluateSettings = Field(default=EvaluateSettings(), description="a model to scores on held-out text")
    suite: SuiteSettings = Field(default=SuiteSettings(), description="published tasks, and how models are asked them")
    labelled: dict[RunName, LabelledSettings] = Field(
        default={}, description="name -> a task with labels, out of files"
    )
    finetune: dict[RunName, FinetuneSettings] = Field(
        default={}, description="name -> a network, and the tasks with labels that it is fine-tuned to"
    )
    dialogues: dict[RunName, DialogueSettings] = Field(default={}, description="name -> conversations, out of files")
    align: dict[RunName, AlignSettings] = Field(
        default={}, description="name -> an alignment: supervised answers, a reward model, PPO or direct preferences"
    )

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, values: Any) -> Any:
        """The training of the model's preset or depth where nothing else is said, and what runs inherit."""
        return training_runs.filled_in(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        check_fit(self.model, self.pretrain)
        training_runs.check(self.trainings, self.sources)
        if not any(self.weights.values()):
            raise ValueError("one source must have a weight above 0")
        for name, source in self.sources.items():
            if "/" in name or not is_inside(name):
                raise ValueError(f"the source {name!r} cannot be called so: its name stands in names of files")
            known = [*self.policies, *policies_of.names()]
            if source.policy and source.policy not in known:
                raise ValueError(
                    f"sources.{name}.policy is {source.policy}, which is no policy of this recipe or of configs/policies; "
                    f"the nearest is {nearest(source.policy, known)}"
                )
        named = {
            "quality": (*self.quality.positive, *self.quality.negative),
            "tokenizer.shares": (*self.tokenizer.shares,),
        }
        for setting, name in ((setting, name) for setting, names in named.items() for name in names):
            if name not in self.sources:
                raise ValueError(
                    f"{setting} names {name}, which is no source; the nearest is {nearest(name, list(self.sources))}"
                )
        self._check_finetune()
        self._check_align()
        hosts: dict[str, str] = {}
        for name, source in self.sources.items():
            for host in {domain_of(seed) for seed in source.crawl.seeds} if source.crawl else ():
                if host in hosts:
                    raise ValueError(f"the sources {hosts[host]} and {name} both crawl {host}: make them one source")
                hosts[host] = name
        return self

    def _check_finetune(self) -> None:
        for name in self.labelled:
            if name in BUILTIN:
                raise ValueError(f"the task labelled.{name} cannot be called so: that is one of the project's own")
        known = [*self.labelled, *BUILTIN]
        for name, tuning in self.finetune.items():
            for task in tuning.tasks:
                if task not in known:
                    raise ValueError(
                        f"finetune.{name} names {task}, which is no task with labels; the nearest is {nearest(task, known)}"
                    )
            run = run_of_model(tuning.initial)
            if run and run not in self.trainings:
                raise ValueError(
                    f"finetune.{name}.initial is {run}, which is no run; the nearest is {nearest(run, list(self.trainings))}"
                )
            step = step_of_model(tuning.initial)
            if run and step is not None and step not in self.trainings[run].pinned_steps:
                raise ValueError(
                    f"finetune.{name}.initial is {tuning.initial}, a step that is not kept: set pretrain.pin_every"
                )

    def _check_align(self) -> None:
        training_runs.check_alignments(self.align, self.trainings, [*self.dialogues, PLAYS])

    @property
    def weights(self) -> dict[str, float]:
        """Source -> mixture weight."""
        return {name: source.weight for name, source in self.sources.items()}

    @property
    def shares(self) -> dict[str, float]:
        """Source -> share of the training text."""
        total = sum(self.weights.values())
        return {name: weight / total for name, weight in self.weights.items()}

    def select_settings(self) -> SelectSettings:
        """The policies by source, and what becomes of duplicates."""
        return SelectSettings(
            policies={name: self.policy_of(source) for name, source in self.sources.items()},
            remove_duplicates=self.remove_duplicates,
            repeats=self.repeats,
            seed=self.seed,
            cut=self.decontaminate.cut,
        )

    def policy_of(self, source: Source) -> Policy:
        """What the source's policy says; one that keeps everything where it names none."""
        if not source.policy:
            return Policy()
        return self.policies.get(source.policy) or policies_of.load(source.policy)

    def hold_out_settings(self) -> HoldOutSettings:
        """How much is held out."""
        return HoldOutSettings(validation_share=self.pack.validation_share)

    def relatives_settings(self) -> RelativesSettings:
        """What is a relative of held-out text."""
        return RelativesSettings(**self.pack.model_dump(include=set(RelativesSettings.model_fields)))

    def split_settings(self) -> SplitSettings:
        """How documents are held out, with the groups that sources declare."""
        groups = {name: source.group for name, source in self.sources.items() if source.group}
        own = self.pack.model_dump(include=set(RelatedSettings.model_fields))
        return SplitSettings(**own, groups=groups)

    def band_settings(self) -> BandSettings:
        """How candidates are looked for, by the settings of both of its neighbours."""
        return BandSettings(bands=self.sign.bands, window=self.match.window, memory_mb=self.match.memory_mb)

    def match_settings(self) -> MatchSettings:
        """The match settings with the sources' priorities, and the shingles of the signatures."""
        priority = {name: source.priority for name, source in self.sources.items()}
        return MatchSettings(**self.match.model_dump(), priority=priority, shingle_words=self.sign.shingle_words)

    def evaluate_settings(self) -> EvaluateSettings:
        """The evaluation settings with the sources that any run trains on: all are asked about the same text."""
        trained = sorted({name for run in self.trainings.values() for name, share in run.mixture.items() if share > 0})
        return self.evaluate.model_copy(update={"sources": self.evaluate.sources or tuple(trained)})

    @property
    def trainings(self) -> dict[str, PretrainSettings]:
        """Run -> its training, each behind the one that it starts from; the sources' weights where no mixture is given."""
        only = {training_runs.ONLY_RUN: PretrainSettings(**self.pretrain.model_dump(), model=self.model)}
        runs: dict[str, PretrainSettings] = dict(self.runs) or only
        return {name: self._whole(runs[name]) for name in training_runs.in_order(runs)}

    @property
    def alignments(self) -> dict[str, AlignSettings]:
        """Name -> its alignment, each behind those that it starts from and is rewarded by."""
        return {name: self.align[name] for name in training_runs.alignments_in_order(self.align)}

    def _whole(self, run: PretrainSettings) -> PretrainSettings:
        # A preset's name says nothing that the sizes do not.
        network = run.model.model_copy(update={"preset": "", "depth": 0})
        return run.model_copy(update={"mixture": run.mixture or self.weights, "model": network})
