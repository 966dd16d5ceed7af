"""Settings of the DreamerV3 world model and its sizes by name."""

from __future__ import annotations

from dataclasses import dataclass

from mbrl_agents.nn.pixels import check_rare

SIZES: dict[str, dict[str, int]] = {
    "1M": {"deter": 512, "hidden": 64, "classes": 4, "depth": 4, "units": 64},
    "12M": {"deter": 2048, "hidden": 256, "classes": 16, "depth": 16, "units": 256},
    "25M": {"deter": 3072, "hidden": 384, "classes": 24, "depth": 24, "units": 384},
    "50M": {"deter": 4096, "hidden": 512, "classes": 32, "depth": 32, "units": 512},
    "100M": {"deter": 6144, "hidden": 768, "classes": 48, "depth": 48, "units": 768},
    "200M": {"deter": 8192, "hidden": 1024, "classes": 64, "depth": 64, "units": 1024},
}

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class DreamerV3Config:
    """Settings of `DreamerV3`; the defaults are the authors'.

    Attributes:
        size: "1M", "12M", "25M", "50M", "100M" or "200M": gives the five sizes below where they
            are None.
        deter: units of the recurrent state ``h``.
        hidden: width of the layers around it.
        classes: of each categorical in ``z``.
        depth: channels of the image networks, multiplied by ``mults``.
        units: width of the other networks.
        stoch: number of categoricals in ``z``.
        blocks: blocks of the recurrent weights.
        prior_layers, posterior_layers, dynamics_layers: of the recurrent model.
        mults: channels of each level of the image networks, in units of ``depth``.
        kernel: width of their kernels.
        strided: whether the encoder's levels are convolutions of stride 2 instead of convolutions
            and max-pooling, as the authors' code offers too: a third of the time on a CPU.
        vector_layers: of encoder and decoder of vectors.
        reward_layers, continue_layers, progress_layers, imitation_layers: of the heads.
        ensemble: networks that predict the next latent, for imagined disagreement; 0 for none.
            Not part of the original.
        ensemble_hidden: their widths.
        bins: of the two-hot regression; odd.
        unimix: share of a uniform distribution in the categoricals.
        free_nats: KL below this is not trained, per step, summed over the categoricals.
        horizon: the continue head learns ``1 - 1 / horizon`` where the episode goes on, so that
            it is the discount of imagined returns.
        reconstruction_weight, reward_weight, continue_weight, dynamics_weight,
            representation_weight, progress_weight: of the losses.
        reconstructed: share of the steps of a training batch whose images are decoded, drawn
            anew for each batch; the decoder is half of the cost of an image and its loss changes
            little from one step to the next.
        rare: share of a pixel's weight in the loss of images that is in proportion to how far it is
            from the mean image of the batch (`mbrl_agents.nn.pixels.rare_pixels`), which is what
            shows small objects early.  Not part of the original.
        mean_image: whether images are decoded as what differs from the mean recorded image, which
            is what is drawn before the first gradient step; a grey image where the model is not
            fitted to recorded episodes.  Not part of the original.
        normalise: whether vectors are normalised by the mean and std of recorded episodes before
            anything else: metres and radians are small numbers, and centimetres count.
        image_shift: training sequences are moved by up to as many pixels in each direction, every
            camera by itself, and padded with their border; what is reconstructed is moved with
            them (Kostrikov et al. 2021, arXiv:2004.13649).  Few recorded episodes are learned by
            heart otherwise.
        context: keys of vectors that stay the same throughout an episode, such as a one-hot task:
            every step reads them beside the action, so that the latents need not remember them and
            imagination cannot forget them.  Keys that the observations lack are left out.  Not
            part of the original.
        expected: whether what is imagined without draws goes on from the expected latent, the
            probabilities of its classes, instead of the likeliest classes: where the prior is
            unsure these are unlike anything that training drew, and errors add up.  Not part of
            the original, which imagines by draws alone.
        imitation_weight: of the error of a head that predicts the demonstrator's action from the
            latents; above 0 the latents keep what the demonstrator looked at, be it a few pixels.
            Not part of the original.
        progress: whether there is a head for the control steps until success, which planners on
            sparse rewards want; not part of the original.
        max_steps: steps to go are clipped here.
        failures_count: whether steps of episodes without success count as ``max_steps`` to go;
            they are left out otherwise.
        bootstrap: whether steps to go are learned from one state to the next (temporal
            differences, to a slow copy of the head), episodes without success included; without,
            from the ends of successful episodes.
        trace: lambda of those differences, in [0, 1]: 0 looks one step ahead, 1 to the sequence's
            end.
        own_failures: whether steps to go are learned from the agent's own failed episodes too,
            which teaches how long the agent takes; without, how long a demonstrator takes: own
            experience then corrects what the model predicts, and not what that is worth.
        unroll: steps that are imagined along recorded actions in training, so that what a planner
            imagines is worth what was reached; 0 for none, as in the original.
        unroll_starts: states of each sequence that this starts from.
        unroll_weight: of its losses beside those of recorded states.
        slow_rate: share of the head that its slow copy takes over in a gradient step.
        steps_expectile: in (0, 1); 0.5 fits the mean steps to go, less leans towards what went
            well from there (Kostrikov et al. 2022).
        dtype: of the products, "float32" or "bfloat16"; weights, norms, losses and states stay
            float32.
    """

    size: str = "1M"
    deter: int | None = None
    hidden: int | None = None
    classes: int | None = None
    depth: int | None = None
    units: int | None = None
    stoch: int = 32
    blocks: int = 8
    prior_layers: int = 2
    posterior_layers: int = 1
    dynamics_layers: int = 1
    mults: tuple[int, ...] = (2, 3, 4, 4)
    kernel: int = 5
    strided: bool = False
    vector_layers: int = 3
    reward_layers: int = 1
    continue_layers: int = 1
    progress_layers: int = 1
    imitation_layers: int = 2
    ensemble: int = 0
    ensemble_hidden: tuple[int, ...] = (128, 128)
    bins: int = 255
    unimix: float = 0.01
    free_nats: float = 1.0
    horizon: int = 333
    reconstruction_weight: float = 1.0
    reward_weight: float = 1.0
    continue_weight: float = 1.0
    dynamics_weight: float = 1.0
    representation_weight: float = 0.1
    progress_weight: float = 1.0
    image_shift: int = 0
    context: tuple[str, ...] = ()
    expected: bool = False
    imitation_weight: float = 0.0
    reconstructed: float = 1.0
    rare: float = 0.0
    mean_image: bool = False
    normalise: bool = False
    progress: bool = False
    max_steps: float = 300.0
    failures_count: bool = False
    bootstrap: bool = False
    trace: float = 0.8
    own_failures: bool = True
    unroll: int = 0
    unroll_starts: int = 2
    unroll_weight: float = 1.0
    slow_rate: float = 0.02
    steps_expectile: float = 0.5
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}, got {self.size!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {DTYPES}, got {self.dtype!r}")
        if self.bins % 2 == 0:
            raise ValueError(f"bins must be odd, so that one of them is 0; got {self.bins}")
        check_rare(self.rare)
        if not 0 < self.reconstructed <= 1:
            raise ValueError(f"reconstructed must lie in (0, 1], got {self.reconstructed}")
        if self.ensemble < 0 or self.ensemble == 1:
            raise ValueError(f"ensemble must be 0, or at least 2 to differ, got {self.ensemble}")
        if self.image_shift < 0:
            raise ValueError(f"image_shift must not be negative, got {self.image_shift}")
        if self.imitation_weight < 0:
            raise ValueError(f"imitation_weight must not be negative, got {self.imitation_weight}")
        if not (0 <= self.trace <= 1 and 0 < self.steps_expectile < 1):
            raise ValueError(
                "trace must lie in [0, 1] and steps_expectile in (0, 1), got "
                f"{self.trace} and {self.steps_expectile}"
            )
        if self.unroll < 0 or self.unroll_starts < 1 or self.unroll_weight < 0:
            raise ValueError(
                "unroll and unroll_weight must not be negative, and unroll_starts at least 1, got "
                f"{self.unroll}, {self.unroll_weight} and {self.unroll_starts}"
            )
        if self.horizon < 2:
            raise ValueError(f"horizon must be at least 2, got {self.horizon}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")

    def width(self, name: str) -> int:
        """One of the five sizes: the one set, or the one ``size`` stands for."""
        value = getattr(self, name)
        return SIZES[self.size][name] if value is None else int(value)

    @property
    def discount(self) -> float:
        """What the continue head learns where the episode goes on."""
        return 1.0 - 1.0 / self.horizon
