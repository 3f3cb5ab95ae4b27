"""A run's configuration: one YAML file ↔ one ``RunConfig``.

Only ``backbone``, ``prompts`` and ``reward`` have no default. The defaults are the paper's
(GRPO-Guard, arXiv 2510.22319, SD3.5-Medium).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    model_validator,
)

from guardcore.spec import Spec, WeightedSpec
from guardcore.tensors import Reduction


class Section(BaseModel):
    """A part of the config: frozen, unknown keys are refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )


_StepList = TypeAdapter(tuple[Annotated[int, Field(ge=0)], ...])


def _window_form(value: Any) -> Any:
    """Return the window that a list of steps means, or a mapping without ``use``."""
    if isinstance(value, list | tuple):
        return {"use": "steps", "steps": list(_StepList.validate_python(value))}
    if isinstance(value, Mapping) and "use" not in value:
        return {"use": "block", **value}
    return value


WindowSpec = Annotated[Spec, BeforeValidator(_window_form)]


class Rollout(Section):
    """How images are sampled for training."""

    num_inference_steps: int = Field(10, ge=2, description="denoising steps, T")
    height: int = Field(512, ge=8, description="pixels")
    width: int = Field(512, ge=8, description="pixels")
    groups: int = Field(48, ge=1, description="prompts an iteration")
    group_size: int = Field(24, ge=2, description="images a prompt")
    batch_size: int = Field(9, ge=1, description="images a micro-batch, in rollout and update")
    train_steps: WindowSpec = Field(
        Spec(use="all"),
        description="window of stochastic, trained steps; a list of steps is `steps`, a mapping "
        "without `use` is `block`; the last step is never trained",
    )
    same_noise: bool = Field(False, description="one start noise for all images of a group")
    refill: int = Field(
        0,
        ge=0,
        description="rounds of fresh prompts for groups whose trained score is the same for every "
        "image (DAPO's dynamic sampling); 0: such groups stay, and teach nothing",
    )
    offload_trajectories: bool = Field(
        False,
        description="between rollout and update keep latents and embeddings in the host's memory, "
        "each prompt's embedding once a micro-batch; the same bits, at the cost of the copies",
    )
    out_of_memory: Literal["halve", "stop"] = Field(
        "halve",
        description="do the iteration again with half the batch_size, and go on with it; needs a "
        "copy of the trained weights and the optimizer's state in the host's memory; or stop",
    )
    reward_timeout: float | None = Field(
        1800.0,
        gt=0,
        description="seconds that one call of a reward may take, in an evaluation too, before the "
        "run ends; null: any time; in several processes never more than distributed.timeout",
    )


class Train(Section):
    """How the weights are updated."""

    iterations: int = Field(1000, ge=1, description="rollouts")
    updates_per_iteration: int = Field(2, ge=1, description="optimiser updates a rollout")
    samples_per_update: Literal["all", "share"] = Field(
        "all",
        description="every update sees all samples, or each its share of them (Flow-GRPO)",
    )
    learning_rate: float = Field(1e-4, gt=0, description="AdamW's")
    lr_scheduler: Literal["constant", "linear", "cosine"] = Field(
        "constant",
        description="the rate after the warm-up stays, or goes down to 0 at the end of "
        "`iterations`; a run that goes on with more of them has the rates of the longer one",
    )
    lr_warmup_steps: int = Field(0, ge=0, description="optimiser updates of linear warm-up")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="decay of the gradient's mean")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="decay of its square's mean")
    adam_epsilon: float = Field(1e-8, gt=0, description="added to the root of the square")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's, a step and learning rate")
    max_grad_norm: float = Field(1.0, gt=0, description="the gradient's norm is cut to this")
    ema_decay: float | None = Field(0.9, ge=0, lt=1, description="of the weights; null: no EMA")
    ema_every: int = Field(8, ge=1, description="optimiser updates between two EMA steps")
    steps_per_forward: int = Field(
        1,
        ge=1,
        description="trained steps whose rows share a forward of the update; above 1 it is another "
        "batch than the rollout's, so the first ratios are 1 but for rounding",
    )
    step_gradients_every: int = Field(
        10,
        ge=0,
        description="iterations between two that measure the gradient of each denoising step by "
        "itself, for `grad_norm` in steps.jsonl; needs no more passes, but a copy of the gradient "
        "in the host's memory; 0: never",
    )
    max_skipped_updates: int = Field(
        5, ge=1, description="updates in a row with a non-finite gradient before the run stops"
    )


class Evaluate(Section):
    """Evaluation on held-out prompts with fixed noise, under the EMA weights if there are any."""

    every: int = Field(30, ge=1, description="iterations; always before the first, after the last")
    num_inference_steps: int = Field(40, ge=1, description="denoising steps")
    guidance_scale: float | None = Field(None, ge=0, description="null: as in training")
    sampler: Spec = Field(Spec(use="ode"), description="sampler of the evaluation")
    num_images: int | None = Field(None, ge=1, description="null: one a held-out prompt")
    grid: int = Field(24, ge=0, description="images in the sample grid; 0: no grid")
    kl_images: int = Field(
        0,
        ge=0,
        description="images on which the divergence from the base is measured, `kl/base`; needs "
        "the reference, which a full fine-tuning holds beside its own weights; 0: it isn't",
    )


class Watch(Section):
    """When the trained score has ceased to stand for what is wanted.

    Gold is the mean of the rewards with weight 0, each over the base model's value.
    """

    window: int = Field(4, ge=2, description="evaluations over which a trend is taken")
    sigmas: float = Field(
        2.0, gt=0, description="standard errors that a trend must exceed, up (proxy) or down (gold)"
    )
    stop: bool = Field(False, description="end the run at the first alarm")
    keep_best: bool = Field(
        False,
        description="keep the checkpoint with the highest gold score whatever its age, and "
        "write its weights into adapter/ at the end",
    )


class Checkpoint(Section):
    """When the whole state is written."""

    every: int = Field(1, ge=1, description="iterations")
    keep: int = Field(3, ge=1, description="newest checkpoints kept")


class Record(Section):
    """Iterations kept whole, for ``guardcore replay``."""

    iterations: int = Field(
        0,
        ge=0,
        description="how many iterations to record, evenly spread over the run, its last included; "
        "0: none",
    )


class Distributed(Section):
    """How the processes that a launcher has started work together; with one, nothing."""

    timeout: float = Field(
        1800,
        gt=0,
        description="seconds that a process waits for the others before the run ends; more than "
        "the main process needs to fetch the model",
    )
    shard: Literal["none", "blocks"] = Field(
        "none",
        description="each process holds the whole model, or its part of every block's weights "
        "(FSDP2); then out_of_memory is always stop",
    )


class Prompts(Section):
    """The splits."""

    train: Spec = Field(description="prompt source of the rollouts")
    eval: Spec | None = Field(None, description="held-out prompt source; null: no evaluation")


class RunConfig(Section):
    """Everything that decides a run."""

    backbone: Spec = Field(description="the model")
    sampler: Spec = Field(Spec(use="flow-sde"), description="sampler of the rollout")
    rollout: Rollout = Field(Rollout(), description="how images are sampled for training")
    strategy: str | None = Field(
        None, description="named ratio and gradient_weight; guard where none of the three is given"
    )
    strategy_options: dict[str, dict[str, dict[str, Any]]] = Field(
        {}, description="this profile's options for a strategy's words: {guard: {ppo-clip: {…}}}"
    )
    ratio: tuple[Spec, ...] | None = Field(
        None, description="chain of ratio transforms, in place of the strategy's"
    )
    gradient_weight: tuple[Spec, ...] | None = Field(
        None, description="product of gradient weights, in place of the strategy's"
    )
    advantage: Spec = Field(Spec(use="group"), description="from rewards to advantages")
    reward: tuple[WeightedSpec, ...] = Field(min_length=1, description="judges of the images")
    reward_options: dict[str, dict[str, Any]] = Field(
        {}, description="this profile's options for a reward where one is named: {pickscore: {…}}"
    )
    penalty: tuple[WeightedSpec, ...] = Field((), description="added to the loss")
    reduction: Reduction = Field(
        "mean", description="log-probabilities over latent dimensions: the published mean, or sum"
    )
    prompts: Prompts = Field(description="the splits")
    train: Train = Field(Train(), description="how the weights are updated")
    evaluate: Evaluate = Field(Evaluate(), description="evaluation on held-out prompts")
    watch: Watch = Field(Watch(), description="for over-optimisation, at every evaluation")
    checkpoint: Checkpoint = Field(Checkpoint(), description="when the whole state is written")
    record: Record = Field(Record(), description="iterations kept whole, for `guardcore replay`")
    distributed: Distributed = Field(
        Distributed(), description="processes that work together, where a launcher has started any"
    )
    tracker: tuple[Spec, ...] = Field((Spec(use="console"),), description="told everything")
    plugins: tuple[str, ...] = Field(
        (),
        description="distributions whose plugins observe the run, beside those of its components",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of every random draw of the run")
    deterministic: bool = Field(False, description="bit-exact resume on CUDA, at some speed")

    @model_validator(mode="before")
    @classmethod
    def _default_strategy(cls, tree: Any) -> Any:
        """Name the default strategy only where the config has no words of its own."""
        return with_strategy(tree) if isinstance(tree, Mapping) else tree

    def recorded(self, iterations: int) -> RunConfig:
        """Return the config with ``iterations`` recorded, where it says none."""
        chosen = Record(iterations=self.record.iterations or iterations)
        return self.model_copy(update={"record": chosen})


def with_strategy(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config tree that names a strategy, or its own ratio and weights."""
    words = ("strategy", "ratio", "gradient_weight")
    wordless = all(tree.get(word) is None for word in words)
    return {**tree, "strategy": "guard"} if wordless else dict(tree)
