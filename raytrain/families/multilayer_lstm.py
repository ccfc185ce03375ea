"""Several recurrent layers over a look-back window."""

from pydantic import Field

from raytrain.engines.torch_family import RecurrentFamily, RecurrentParams


class MultilayerLSTMParams(RecurrentParams):
    """Parameters of recurrent layers and of their training."""

    num_layers: int = Field(3, ge=2, le=8)
    """Recurrent layers, with dropout between them."""


class MultilayerLSTM(RecurrentFamily[MultilayerLSTMParams]):
    """Stacked LSTM layers (Graves, Mohamed & Hinton 2013) with non-crossing quantiles or a probability."""

    name = "multilayer_lstm"
    params_type = MultilayerLSTMParams
    cell = "lstm"
