"""A conditional generative adversarial net whose samples are the forecast."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field

from raytrain.engines.base import Needs, Range, Shape, Space
from raytrain.engines.epochs import NetParams, NetShape, expected_steps
from raytrain.engines.keras_layers import dense_stack, dropout_layer, one_hot_codes
from raytrain.engines.keras_loop import Net, Part, RowLoss
from raytrain.engines.net_family import NetFamily

# Of the leaky rectifiers, for negative values.
_SLOPE = 0.2
# Where softplus is 1.
_UNSTRETCHED = math.log(math.e - 1)


class GANParams(NetParams):
    """Parameters of the two nets and their training."""

    hidden: tuple[Annotated[int, Field(ge=1, le=16_384)], ...] = Field((64, 32), min_length=1)
    """Units of each hidden layer, of the generator and of the discriminator."""
    num_noise: int = Field(8, ge=1, le=4096)
    """Random numbers from which a sample is made."""
    num_drawn: int = Field(8, ge=1, le=4096)
    """Samples of each row that the discriminator is shown in a step."""
    num_samples: int = Field(200, ge=10, le=100_000)
    """Samples of each row whose order statistics are the quantiles of a forecast."""
    discriminator_pace: float = Field(10.0, gt=0, le=100)
    """The discriminator's learning rate as a multiple of the generator's (Heusel et al. 2017)."""
    batch_size: int = Field(128, ge=1, le=65_536)
    """Rows per gradient step of each net."""
    patience: int = Field(8, ge=1)
    """Epochs without a lower pinball loss on the rows kept aside before training stops; more than for other nets,
    because that loss is not what the two nets play for."""


class GAN(NetFamily[GANParams]):
    """Generator and discriminator (Goodfellow et al. 2014), both of which see the features (Mirza & Osindero 2014).

    Hinge loss (Lim & Ye 2017) and layers of spectral norm one in the discriminator (Miyato et al. 2018): within its
    margin it measures the Wasserstein distance. Forecasts use the same noise for every row, which is saved. Binary
    targets are not for it: a share of samples is no calibrated probability.
    """

    name = "gan"
    engine = "keras"
    lane = "slot"
    params_type = GANParams
    tasks = frozenset({"regression"})
    packages = ("keras",)

    @classmethod
    def needs(cls, params: GANParams, shape: Shape) -> Needs:
        # Measured with Keras 3.15 on TensorFlow 2.21 at 4,000 x 50 to 30,000 x 150 values, up to (1024, 512) units.
        first = (2 * shape.features + params.num_noise + shape.outputs) * params.hidden[0]
        others = sum(above * below for above, below in pairwise((*params.hidden, shape.outputs)))
        # A forecast of a row kept aside is one pass over many samples; a step is about eight over a few.
        samples = params.num_drawn + params.valid_share * params.num_samples / 8
        step_s = 5.5e-3 + 0.25e-9 * params.batch_size * (first + samples * others)
        values = params.batch_size * sum(params.hidden) * (48 * params.num_drawn + 8 * params.num_samples)
        return Needs(
            memory_bytes=80 * 2**20 + shape.table_bytes + 88 * (first + others) + values,
            work=1.5 + expected_steps(params, shape.rows) * step_s,
        )

    @classmethod
    def space(cls) -> Space:
        return {
            "hidden": [(32,), (64, 32), (128, 64)],
            "num_noise": Range(4, 32, log=True, integer=True),
            "num_drawn": Range(2, 32, log=True, integer=True),
            "discriminator_pace": Range(3.0, 30.0, log=True),
            "learning_rate": Range(1e-4, 1e-2, log=True),
        }

    def build(self, shape: NetShape) -> Net:
        import keras

        generator, discriminator = self._generator(shape), self._discriminator(shape)
        noise = keras.random.SeedGenerator()
        unmask, fool = _losses(generator, discriminator, (self.params.num_drawn, self.params.num_noise), noise)
        parts = [
            Part(unmask, [*discriminator.variables, noise.state], self.params.discriminator_pace),
            Part(fool, [*generator.variables, noise.state]),
        ]
        return Net(self._forecast(generator, shape), parts)

    def _generator(self, shape: NetShape) -> Any:
        """Features (B, F) and noise (B, S, Z) -> samples (B, S, O).

        They start as standard normal ones. What is learned moves them, by features and noise, and stretches them, by
        features alone: most of what can be known of returns is their spread.
        """
        import keras
        from keras import layers

        x, noise = keras.Input((shape.num_features,)), keras.Input((None, self.params.num_noise))
        first, *others = self.params.hidden
        features = one_hot_codes(x, shape)
        joined = _joined(layers.Dense(first)(features), layers.Dense(first)(noise))
        hidden = dropout_layer(self.params.dropout)(layers.Activation("gelu")(joined))
        moved = layers.Dense(shape.num_outputs, kernel_initializer="zeros")(
            dense_stack(hidden, others, self.params.dropout)
        )
        start = layers.Dense(shape.num_outputs, use_bias=False, kernel_initializer="orthogonal")(noise)
        stretch = layers.Dense(
            shape.num_outputs,
            activation="softplus",
            kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(_UNSTRETCHED),
        )(dense_stack(features, self.params.hidden, self.params.dropout))
        stretched = layers.Multiply()([layers.Reshape((1, shape.num_outputs))(stretch), start])
        return keras.Model([x, noise], layers.Add()([moved, stretched]))

    def _discriminator(self, shape: NetShape) -> Any:
        """Features (B, F) and samples (B, S, O) -> scores (B, S); high for samples that seem real."""
        import keras
        from keras import layers

        def dense(units: int) -> Any:
            return layers.SpectralNormalization(layers.Dense(units))

        x, sample = keras.Input((shape.num_features,)), keras.Input((None, shape.num_outputs))
        first, *others = self.params.hidden
        hidden = layers.LeakyReLU(_SLOPE)(_joined(dense(first)(one_hot_codes(x, shape)), dense(first)(sample)))
        for units in others:
            hidden = layers.LeakyReLU(_SLOPE)(dense(units)(hidden))
        return keras.Model([x, sample], dense(1)(hidden)[..., 0])

    def _forecast(self, generator: Any, shape: NetShape) -> Any:
        """(B, F) -> (B, O, Q): order statistics of samples, which are made from noise that no training changes."""
        import keras
        from keras import layers, ops

        assert shape.levels is not None
        x, number = keras.Input((shape.num_features,)), self.params.num_samples
        normal = keras.initializers.RandomNormal(stddev=1.0)
        noise = layers.Embedding(number, self.params.num_noise, embeddings_initializer=normal, trainable=False)
        which = ops.cast(ops.zeros_like(x[:, :1]), "int32") + ops.arange(number)
        samples = ops.sort(generator([x, noise(which)]), axis=1)
        return keras.Model(x, ops.transpose(ops.take(samples, _ranks(shape.levels, number), axis=1), (0, 2, 1)))


def _joined(features: Any, samples: Any) -> Any:
    """(B, S, H): what is seen of the features (B, H), beside each of the samples (B, S, H)."""
    from keras import layers

    return layers.Add()([layers.Reshape((1, features.shape[-1]))(features), samples])


def _losses(generator: Any, discriminator: Any, drawn: tuple[int, int], noise: Any) -> tuple[RowLoss, RowLoss]:
    """The row losses of the discriminator and of the generator."""
    import keras
    from keras import ops

    def draw(x: Any, training: bool) -> Any:
        return generator([x, keras.random.normal((ops.shape(x)[0], *drawn), seed=noise)], training=training)

    def unmask(x: Any, y: Any, step: Any) -> Any:
        made = ops.stop_gradient(draw(x, training=True))
        # One call for both: a second one would change the weights that the first one's gradient needs.
        score = discriminator([x, ops.concatenate([ops.expand_dims(y, 1), made], axis=1)], training=True)
        return ops.relu(1 - score[:, 0]) + ops.mean(ops.relu(1 + score[:, 1:]), axis=1)

    def fool(x: Any, y: Any, step: Any) -> Any:
        return -ops.mean(discriminator([x, draw(x, training=True)], training=False), axis=1)

    return unmask, fool


def _ranks(levels: Sequence[float], number: int) -> list[int]:
    """Where the quantiles lie among `number` sorted samples, counted from 0.

    The k-th smallest of n samples exceeds on average a share k / (n + 1) of what they are drawn from.
    """
    return [min(max(round(level * (number + 1)), 1), number) - 1 for level in levels]
