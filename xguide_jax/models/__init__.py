"""Reference networks, and adapters that turn a Flax network into an `ApplyFn`.

The only package that knows a network library. Every network returns a `ModelOutput`
and lets each activation it exposes be replaced by name through `overrides`.
"""

from xguide_jax.models.adapters import init_linen, linen_apply_fn, nnx_apply_fn
from xguide_jax.models.bag_of_tokens import BagOfTokens
from xguide_jax.models.bcos import BcosCNN, bcos_contributions, bcos_inputs
from xguide_jax.models.bert import Bert
from xguide_jax.models.bert_layers import above_layer, top_layers
from xguide_jax.models.bert_weights import load_bert
from xguide_jax.models.convolutional import SaliencyGuidedCNN, SmallCNN
from xguide_jax.models.decoding import DecodedTexts, beam_decode, greedy_decode
from xguide_jax.models.efficientnet_lite import (
    EfficientNetLite0,
    central_square,
    efficientnet_lite_inputs,
)
from xguide_jax.models.efficientnet_lite_weights import load_efficientnet_lite0
from xguide_jax.models.freezing import freeze
from xguide_jax.models.imagenet_inputs import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    imagenet_inputs,
)
from xguide_jax.models.minilm import packaged_minilm
from xguide_jax.models.overriding import override
from xguide_jax.models.pooling import AttentionPooling
from xguide_jax.models.pytorch_weights import read_pytorch_weights
from xguide_jax.models.recurrent import LSTM, InputCellAttentionLSTM
from xguide_jax.models.resnet import ResNet, top_stages
from xguide_jax.models.resnet_weights import load_resnet
from xguide_jax.models.series_transformer import SeriesTransformer
from xguide_jax.models.tails import tail
from xguide_jax.models.temporal_convolutional import TemporalConvolutionNetwork
from xguide_jax.models.text_decoder import TextDecoder
from xguide_jax.models.text_head import TextHead, TokenIds, linen_text_head
from xguide_jax.models.two_tower import TwoTower
from xguide_jax.models.vision_transformer import VisionTransformer
from xguide_jax.models.vision_transformer_weights import load_vision_transformer
from xguide_jax.models.weights import load_weights

__all__ = (
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "LSTM",
    "AttentionPooling",
    "BagOfTokens",
    "BcosCNN",
    "Bert",
    "DecodedTexts",
    "EfficientNetLite0",
    "InputCellAttentionLSTM",
    "ResNet",
    "SaliencyGuidedCNN",
    "SeriesTransformer",
    "SmallCNN",
    "TemporalConvolutionNetwork",
    "TextDecoder",
    "TextHead",
    "TokenIds",
    "TwoTower",
    "VisionTransformer",
    "above_layer",
    "bcos_contributions",
    "bcos_inputs",
    "beam_decode",
    "central_square",
    "efficientnet_lite_inputs",
    "freeze",
    "greedy_decode",
    "imagenet_inputs",
    "init_linen",
    "linen_apply_fn",
    "linen_text_head",
    "load_bert",
    "load_efficientnet_lite0",
    "load_resnet",
    "load_vision_transformer",
    "load_weights",
    "nnx_apply_fn",
    "override",
    "packaged_minilm",
    "read_pytorch_weights",
    "tail",
    "top_layers",
    "top_stages",
)
