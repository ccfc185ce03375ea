"""A variational autoencoder of one row of features, with quantiles read off its latent features."""

from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field

from raytrain.engines.base import Needs, Range, Shape, Space
from raytrain.engines.epochs import NetParams, NetShape, expected_steps
from raytrain.engines.keras_layers import dense_stack, head, one_hot_codes, output_loss
from raytrain.engines.keras_loop import Net, Part
from raytrain.engines.net_family import NetFamily

# Beyond these the exponential says nothing that a step could use.
_LOG_VARIANCE = 8.0


class VAEParams(NetParams):
    """Parameters of the net and its training."""

    hidden: tuple[Annotated[int, Field(ge=1, le=16_384)], ...] = Field((64, 32), min_length=1)
    """Units of each hidden layer of the encoder; the decoder has the same from the last to the first."""
    num_latent: int = Field(8, ge=1, le=4096)
    """Latent features: what the encoder keeps of a row."""
    num_head: int = Field(32, ge=1, le=16_384)
    """Hidden units between the latent features and the forecast."""
    beta: float = Field(0.1, ge=0)
    """Weight of the divergence from the prior beside the reconstruction (Higgins et al. 2017); 1 is a lower bound of
    the rows' likelihood."""
    warm_up_steps: int = Field(200, ge=0)
    """Gradient steps over which that weight rises from 0, so that the latent features are used (Bowman et al. 2016)."""
    reconstruction_weight: float = Field(0.5, ge=0)
    """Weight of reconstruction and divergence, in nats per feature, beside the loss of the forecast."""
    learning_rate: float = Field(3e-3, gt=0, le=1)
    """AdamW's rate in the first epoch; falls to a hundredth along a cosine (Loshchilov & Hutter 2017)."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of hidden units left out of each step."""


class VAE(NetFamily[VAEParams]):
    """Encoder, decoder and forecast trained together (Kingma & Welling 2014).

    Training draws the latent features around their mean, which a forecast uses as it is.
    """

    name = "vae"
    engine = "keras"
    lane = "slot"
    params_type = VAEParams
    packages = ("keras",)

    @classmethod
    def needs(cls, params: VAEParams, shape: Shape) -> Needs:
        # Measured with Keras 3.15 on TensorFlow 2.21 at 4,000 x 50 to 30,000 x 150 values, up to (1024, 512) units.
        weights = _num_weights(params, shape)
        step_s = 2e-3 + 0.075e-9 * params.batch_size * weights
        units = 2 * sum(params.hidden) + params.num_head + 2 * shape.features
        return Needs(
            memory_bytes=50 * 2**20 + shape.table_bytes + 44 * weights + 24 * params.batch_size * units,
            work=1.0 + expected_steps(params, shape.rows) * step_s,
        )

    @classmethod
    def space(cls) -> Space:
        return {
            "num_latent": Range(2, 32, log=True, integer=True),
            "beta": Range(0.01, 1.0, log=True),
            "reconstruction_weight": Range(0.05, 2.0, log=True),
            "learning_rate": Range(1e-4, 1e-2, log=True),
            "dropout": Range(0.0, 0.5),
        }

    def build(self, shape: NetShape) -> Net:
        import keras
        from keras import ops

        inputs = keras.Input((shape.num_features,))
        features = keras.Model(inputs, one_hot_codes(inputs, shape))
        encoder, decoder = self._encoder(features.output_shape[-1]), self._decoder(features.output_shape[-1])
        forecast, noise = self._forecast(shape), keras.random.SeedGenerator()

        def row_loss(x: Any, y: Any, step: Any) -> Any:
            seen = features(x)
            mean, log_variance = encoder(seen, training=True)
            latent = mean + ops.exp(log_variance / 2) * keras.random.normal(ops.shape(mean), seed=noise)
            squares = ops.sum(ops.square(decoder(latent, training=True) - seen), axis=1) / 2
            nats = squares + self._kl_weight(step) * divergence(mean, log_variance)
            predicted = ops.mean(output_loss(shape, y, forecast(latent, training=True)), axis=1)
            return predicted + self.params.reconstruction_weight * nats / seen.shape[1]

        learned = [*encoder.variables, *decoder.variables, *forecast.variables, noise.state]
        return Net(keras.Model(inputs, forecast(encoder(features(inputs))[0])), [Part(row_loss, learned)])

    def _encoder(self, num_features: int) -> Any:
        """(B, F') -> mean and log variance (B, L) of the latent features."""
        import keras
        from keras import ops

        inputs = keras.Input((num_features,))
        hidden = dense_stack(inputs, self.params.hidden, self.params.dropout)
        log_variance = keras.layers.Dense(self.params.num_latent)(hidden)
        mean = keras.layers.Dense(self.params.num_latent)(hidden)
        return keras.Model(inputs, [mean, ops.clip(log_variance, -_LOG_VARIANCE, _LOG_VARIANCE)])

    def _decoder(self, num_features: int) -> Any:
        """(B, L) -> the mean of the features (B, F'), around which they vary by one deviation."""
        import keras

        latent = keras.Input((self.params.num_latent,))
        hidden = dense_stack(latent, reversed(self.params.hidden), self.params.dropout)
        return keras.Model(latent, keras.layers.Dense(num_features)(hidden))

    def _forecast(self, shape: NetShape) -> Any:
        """(B, L) -> quantiles (B, O, Q) or probabilities (B, O, 1)."""
        import keras

        latent = keras.Input((self.params.num_latent,))
        return keras.Model(latent, head(dense_stack(latent, [self.params.num_head], self.params.dropout), shape))

    def _kl_weight(self, step: Any) -> Any:
        from keras import ops

        return self.params.beta * ops.minimum(1.0, (step + 1) / (self.params.warm_up_steps + 1))


def divergence(mean: Any, log_variance: Any) -> Any:
    """(B,) Kullback-Leibler divergence of the latent features from a standard normal, in nats."""
    from keras import ops

    return ops.sum(ops.exp(log_variance) + ops.square(mean) - 1 - log_variance, axis=1) / 2


def _num_weights(params: VAEParams, shape: Shape) -> int:
    encoder = (shape.features, *params.hidden, 2 * params.num_latent)
    decoder = (params.num_latent, *reversed(params.hidden), shape.features)
    forecast = (params.num_latent, params.num_head, shape.outputs * shape.quantiles)
    return sum(above * below for widths in (encoder, decoder, forecast) for above, below in pairwise(widths))
