"""Small folders as somebody else's code writes them, and what transformers and we answer from them."""

import json
from pathlib import Path

import safetensors.torch
import torch
import transformers
from torch import Tensor

from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.tokens import Tokens
from bertsmith.hub.huggingface import read_folder
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.wordpiece import build

TOKENS = [*SPECIAL_TOKENS, *(f"w{number}" for number in range(27))]
SMALL = {
    "vocab_size": len(TOKENS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 20, "initializer_range": 0.4,
}  # fmt: skip
MODERN = {
    "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3, "local_attention": 4
}  # fmt: skip
DISTILLED = {
    "vocab_size": len(TOKENS), "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 20,
    "initializer_range": 0.4,
}  # fmt: skip
DISENTANGLED = {
    "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 6, "share_att_key": True,
    "position_biased_input": False, "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3, "initializer_range": 0.6,
}  # fmt: skip
CONFIGS = {
    "bert": lambda **keys: transformers.BertConfig(**SMALL | keys),
    "electra": lambda **keys: transformers.ElectraConfig(**SMALL | {"embedding_size": 12} | keys),
    "modernbert": lambda **keys: transformers.ModernBertConfig(**SMALL | MODERN | keys),
    "roberta": lambda **keys: transformers.RobertaConfig(**SMALL | keys),
    "xlm-roberta": lambda **keys: transformers.XLMRobertaConfig(**SMALL | keys),
    "camembert": lambda **keys: transformers.CamembertConfig(**SMALL | keys),
    "distilbert": lambda **keys: transformers.DistilBertConfig(**DISTILLED | keys),
    "deberta-v2": lambda **keys: transformers.DebertaV2Config(**SMALL | DISENTANGLED | keys),
}
IDS = torch.randint(5, len(TOKENS), (1, 14), generator=torch.Generator().manual_seed(4))


def save(folder: Path, name: str, family: str, **keys) -> Path:
    """A model of transformers' class `name` with random weights, and a vocabulary beside it."""
    torch.manual_seed(7)
    model = getattr(transformers, name)(CONFIGS[family](**keys))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases begin as zeros and norms as ones: none must be mistaken for another
                parameter.add_(torch.randn(parameter.shape) * 0.2)
    model.save_pretrained(folder)
    Tokenizer(build(TOKENS)).save(folder)
    return folder


def tensors_of(folder: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def write(folder: Path, tensors: dict[str, Tensor], **changes) -> Path:
    """Put these tensors in place of the folder's, and changed keys into its config.json; `...` removes one."""
    kept = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "config.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
    return folder


def ours(folder: Path) -> Tensor:
    """Logits of what we make of a folder; of a bare encoder its vectors."""
    found = read_folder(folder)
    tokens = Tokens.pack(IDS[0].numpy(), torch.zeros(IDS.shape[1]).numpy(), torch.tensor([IDS.shape[1]]).numpy())
    with torch.no_grad():
        if found.head == "classification":
            encoder = Encoder(found.settings, found.vocab_size).eval()
            head = found.settings.classification_head(found.num_labels, found.family).eval()
            torch.nn.ModuleDict({"encoder": encoder, "head": head}).load_state_dict(found.weights)
            return head(encoder.pooled(tokens))[0]
        network = found.build()
        if found.head == "masked_tokens":
            return network.scores(tokens, torch.arange(tokens.num_tokens))
        return network.logits(tokens) if found.head == "replaced_tokens" else network.encoder(tokens)


def theirs(folder: Path, name: str) -> Tensor:
    cls = getattr(transformers, name)
    attention = "sdpa" if cls._supports_sdpa else "eager"
    model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention).eval()
    with torch.no_grad():
        return model(input_ids=IDS)[0][0]
