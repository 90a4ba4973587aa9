"""The encoder: token ids in, a vector a token out."""

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.encoders.attention import FULL, AttentionWindow
from bertsmith.encoders.config import BertConfig, EncoderSettings, ModernBertConfig
from bertsmith.encoders.dropout import Dropout
from bertsmith.encoders.initialization import initialize
from bertsmith.encoders.layers import Layer
from bertsmith.encoders.modern import ModernLayer
from bertsmith.encoders.tokens import Tokens


class Embeddings(nn.Module):
    """The sum of token, position and segment vectors, normalised: [T] ids → [T, E]."""

    def __init__(self, settings: BertConfig, vocab_size: int):
        super().__init__()
        size = settings.embedding
        self.token = nn.Embedding(vocab_size, size)
        self.position = nn.Embedding(settings.max_position_embeddings, size)
        self.segment = nn.Embedding(settings.type_vocab_size, size)
        self.norm = nn.LayerNorm(size, eps=settings.layer_norm_eps)
        self.dropout = Dropout(settings.hidden_dropout_prob)
        self.apply(lambda module: initialize(module, settings.initializer_range))

    def forward(self, tokens: Tokens, base: Tensor | None = None) -> Tensor:
        """`base` [V, E] is added to the token table."""
        summed = self.token(tokens.ids) + self.position(tokens.positions) + self.segment(tokens.segment_ids)
        if base is not None:
            summed = summed + F.embedding(tokens.ids, base)
        return self.dropout(self.norm(summed))


class ModernEmbeddings(nn.Module):
    """Token vectors alone, [T] ids → [T, E]: positions come with attention, the norm with the trunk."""

    def __init__(self, settings: ModernBertConfig, vocab_size: int):
        super().__init__()
        self.token = nn.Embedding(vocab_size, settings.embedding)
        initialize(self.token, settings.initializer_range)

    def forward(self, tokens: Tokens, base: Tensor | None = None) -> Tensor:
        """`base` [V, E] is added to the token table."""
        vectors = self.token(tokens.ids)
        return vectors if base is None else vectors + F.embedding(tokens.ids, base)


class TransformerStack(nn.Module):
    """What an encoder is above its embeddings: a projection where their width is not the hidden size, the layers, and
    in the modern encoder a norm before and after them.

    Source: google-research/electra, model/modeling.py, BertModel; transformers, models/modernbert.
    """

    def __init__(self, settings: EncoderSettings, window: AttentionWindow = FULL):
        """`window`: how far attention sees; of a modern encoder's layers each has its own."""
        super().__init__()
        self.settings = settings
        size, widens = settings.hidden_size, settings.embedding != settings.hidden_size
        self.projection = self.norm = self.dropout = self.final_norm = nn.Identity()
        if isinstance(settings, ModernBertConfig):
            assert window == FULL
            if widens:
                self.projection = nn.Linear(settings.embedding, size, bias=False)
                initialize(self.projection, settings.embedding**-0.5)
            self.norm = nn.LayerNorm(size, eps=settings.norm_eps, bias=False)
            self.dropout = Dropout(settings.embedding_dropout)
            layers = [ModernLayer(settings, index) for index in range(settings.num_hidden_layers)]
            self.final_norm = nn.LayerNorm(size, eps=settings.norm_eps, bias=False)
        else:
            if widens:
                self.projection = nn.Linear(settings.embedding, size)
                nn.init.xavier_uniform_(self.projection.weight)  # the reference leaves it to the framework's default
                nn.init.zeros_(self.projection.bias)
            layers = [Layer(settings, window) for _ in range(settings.num_hidden_layers)]
        self.layers = nn.ModuleList(layers)

    def encode(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Embeddings [T, E] of `tokens` → [T, D]."""
        x = self.projection(x).to(x.dtype)  # what layers add to is not rounded, and one graph serves them all
        x = self.dropout(self.norm(x))  # [T, D]
        for layer in self.layers:
            x = layer(x, tokens)
        return self.final_norm(x)

    def project_to_embedding(self, vectors: Tensor) -> Tensor:
        """What a masked-token head gives → [M, E]. The classic head has made them so; the modern one leaves them at
        [M, D], where a projected table is its own output layer too, as it is after `fold_projection`."""
        widened = isinstance(self.settings, ModernBertConfig) and isinstance(self.projection, nn.Linear)
        return vectors @ self.projection.weight if widened else vectors


class Encoder(TransformerStack):
    """Embeddings and a trunk. Hugging Face's ElectraModel is the same network (BertModel where the widths agree), or
    its ModernBertModel."""

    def __init__(self, settings: EncoderSettings, vocab_size: int):
        super().__init__(settings)
        self.vocab_size = vocab_size
        self.embeddings = build_embeddings(settings, vocab_size)

    def forward(self, tokens: Tokens) -> Tensor:
        """[T] → [T, D]."""
        return self.encode(self.embeddings(tokens), tokens)

    def first_of_rows(self, tokens: Tokens) -> Tensor:
        """The vector of each row's first token, [CLS]: [N, D]."""
        return self(tokens)[tokens.row_starts]

    def mean_of_rows(self, tokens: Tokens) -> Tensor:
        """The mean of the vectors of each row's tokens, [CLS] and [SEP] among them: [N, D]."""
        return tokens.mean_of_rows(self(tokens))

    def pooled(self, tokens: Tokens) -> Tensor:
        """What a row's classes are read from, [N, D]: of a modern encoder as its settings say, else [CLS]."""
        by_mean = isinstance(self.settings, ModernBertConfig) and self.settings.classifier_pooling == "mean"
        return self.mean_of_rows(tokens) if by_mean else self.first_of_rows(tokens)


def build_embeddings(settings: EncoderSettings, vocab_size: int) -> nn.Module:
    """What goes below a trunk of these settings."""
    kind = ModernEmbeddings if isinstance(settings, ModernBertConfig) else Embeddings
    return kind(settings, vocab_size)


def fold_projection(settings: EncoderSettings, weights: dict[str, Tensor]) -> tuple[EncoderSettings, dict[str, Tensor]]:
    """A modern network ("encoder.…") with the projection of its embeddings multiplied into the table: the same
    function, and one that Hugging Face's classes hold. Any other network as it is."""
    if not isinstance(settings, ModernBertConfig) or settings.embedding == settings.hidden_size:
        return settings, weights
    table, projection = "encoder.embeddings.token.weight", "encoder.projection.weight"
    folded = {name: tensor for name, tensor in weights.items() if name != projection}
    folded[table] = weights[table] @ weights[projection].T
    return replace(settings, embedding_size=None), folded


def num_segments(settings: EncoderSettings) -> int:
    """Kinds of segment that the encoder tells apart; 0 for one that is not told of them."""
    return 0 if isinstance(settings, ModernBertConfig) else settings.type_vocab_size


def num_parameters(module: nn.Module) -> int:
    """Trained numbers in `module`, shared ones counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def check_length(settings: EncoderSettings, key: str, length: int) -> None:
    """Raises ValueError where rows of `length` tokens, the value of the setting `key`, have no position vectors."""
    if length > settings.max_position_embeddings:
        raise ValueError(
            f"{key} = {length} is beyond the model's {settings.max_position_embeddings} positions "
            f"(max_position_embeddings); shorten it"
        )
