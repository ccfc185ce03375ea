"""A recurrent net over a look-back window."""

from raytrain.engines.torch_family import RecurrentFamily, RecurrentParams


class LSTMParams(RecurrentParams):
    """Parameters of the net and its training."""


class LSTM(RecurrentFamily[LSTMParams]):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with non-crossing quantiles or a probability."""

    name = "lstm"
    params_type = LSTMParams
    cell = "lstm"
