"""How long a run is, how fast it learns, and how often it says how it goes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """`steps` in all: a linear warm-up over `warmup` of them, a plateau, and a linear cool-down over the last
    `cooldown` share.

    minutes         the end is then, or after `steps` if that is sooner; the cool-down, too
    muon_lr         learning rate of matrices and kernels; adamw_lr: of all else, and of what the expression `adamw`
                    finds in its name (optimizer.py)
    clip_norm       largest norm of the gradient
    average         decay of the averaged weights, which are what a run leaves
    workers         processes that make batches ahead; the curve is the same with any number of them
    accumulate      batches whose gradients are added up for a step
    shard           share the weights out among the processes (FSDP2)
    tensorboard     keep the curve for TensorBoard, too
    muon_bf16       work Muon's matrices out in bfloat16
    """

    steps: int
    minutes: float | None = None
    warmup: int = 50
    cooldown: float = 0.4
    muon_lr: float = 0.02
    adamw_lr: float = 1e-3
    adamw: str = "(?!)"
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    average: float = 0.998
    seed: int = 0
    log_every: int = 20
    evaluate_every: int = 200
    checkpoint_seconds: float = 120.0
    workers: int = 0
    accumulate: int = 1
    shard: bool = False
    tensorboard: bool = False
    muon_bf16: bool = False

    def scale(self, step: int, seconds: float = 0.0) -> float:
        """Factor on both learning rates at `step`, so many seconds after the beginning."""
        end = max(1.0, self.cooldown * self.steps)
        left = (self.steps - step) / end
        if self.minutes is not None:
            left = min(left, (1 - seconds / (60 * self.minutes)) / max(self.cooldown, 1e-6))
        return min((step + 1) / self.warmup, 1.0, max(left, 0.0))

    def over(self, step: int, seconds: float) -> bool:
        """Whether the run has ended."""
        return step >= self.steps or (self.minutes is not None and seconds >= 60 * self.minutes)
