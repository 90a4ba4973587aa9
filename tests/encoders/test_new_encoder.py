"""An encoder from outside the package: BERT's with a bias by distance on the attention scores, as T5 has it."""

import subprocess
import sys
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from bertsmith.config.fields import setting, settings
from bertsmith.encoders.attention import FULL, AttentionWindow, attend
from bertsmith.encoders.bert import BertConfig, BertLayer, SelfAttention
from bertsmith.encoders.encoder import Encoder, MaskedTokenModel, ReplacedTokenModel
from bertsmith.encoders.tokens import Tokens

LENGTHS, VOCAB_SIZE = [5, 1, 9, 3], 50


@settings
class RelativeConfig(BertConfig):
    kind: Literal["relative"] = setting("relative", "relative: BERT's, with a bias by distance on attention scores")

    def build_layer(self, index: int, window: AttentionWindow = FULL) -> nn.Module:
        layer = BertLayer(self, window)
        layer.attention = RelativeAttention(self, window)
        return layer


class RelativeAttention(SelfAttention):
    def __init__(self, settings: RelativeConfig, window: AttentionWindow):
        super().__init__(settings, window)
        self.span = settings.max_position_embeddings
        self.bias = nn.Parameter(torch.zeros(settings.heads, 2 * self.span - 1))

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        query, key, value = self.query_key_value(x).view(x.shape[0], *self.shape).unbind(dim=1)
        place = torch.arange(tokens.max_seqlen)
        bias = self.bias[:, place - place[:, None] + self.span - 1]  # [H, L, L]
        return self.dense(attend(query, key, value, tokens, window=self.window, score_bias=bias).reshape(x.shape))


def test_it_is_trained_and_its_rows_do_not_touch():
    torch.manual_seed(0)
    config = RelativeConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=16)
    rng = np.random.default_rng(0)
    tokens = Tokens.pack(rng.integers(1, VOCAB_SIZE, sum(LENGTHS)), np.zeros(sum(LENGTHS)), np.array(LENGTHS))
    encoder = Encoder(config, VOCAB_SIZE).double().eval()
    for layer in encoder.layers:
        nn.init.normal_(layer.attention.bias)
    rows = [encoder(tokens.rows(row, row + 1)) for row in range(len(LENGTHS))]
    torch.testing.assert_close(encoder(tokens), torch.cat(rows))
    padded = tokens.padded(12, pad_id=0)
    torch.testing.assert_close(encoder(padded)[padded.valid_mask()], torch.cat(rows))

    words, replaced = MaskedTokenModel(config, VOCAB_SIZE), ReplacedTokenModel(config, VOCAB_SIZE)
    (words.scores(tokens, torch.arange(4)).logsumexp(dim=1).sum() + replaced.logits(tokens).square().sum()).backward()
    for model in (words, replaced):
        assert all(layer.attention.bias.grad.abs().sum() > 0 for layer in model.encoder.layers)


ENCODER_FILE = """
from typing import Literal
from bertsmith.config.fields import setting, settings
from bertsmith.encoders.bert import BertConfig

@settings
class NewConfig(BertConfig):
    kind: Literal["new"] = setting("new", "new: a test's")

    def family(self, of_electra=False):
        return "new_family"
"""
FAMILY_FILE = """
from bertsmith.encoders.new import NewConfig
from bertsmith.hub.families.bert import Bert

class NewFamily(Bert):
    name, title, config, classes = "new_family", "New", NewConfig, {"NewForMaskedLM": "masked_tokens"}
"""


def test_an_encoder_is_a_file_and_its_hugging_face_names_another(tmp_path):
    for room, text in (("encoders", ENCODER_FILE), ("families", FAMILY_FILE)):
        (tmp_path / room).mkdir()
        (tmp_path / room / "new.py").write_text(text)
    code = f"""
from bertsmith import encoders; encoders.__path__.append({str(tmp_path / "encoders")!r})
from bertsmith.hub import families; families.__path__.append({str(tmp_path / "families")!r})
from bertsmith.config.loading import load
from bertsmith.hub.registry import CLASSES, FAMILIES
from bertsmith.training.recipe import PretrainRecipe
model = load(PretrainRecipe, "pretrain", "bert-tiny", ["data=d", "model.kind=new"]).settings.model
print(type(model).__name__, FAMILIES[model.family()].class_of("masked_tokens"), CLASSES["NewForMaskedLM"].title)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "NewConfig NewForMaskedLM New\n"
