"""Steps on a small BERT, of the size that was published as Mini, in PyTorch."""

import functools
from collections.abc import Callable

import torch
from torch.nn import functional

from experiments.benchmarks.race import jobs
from experiments.benchmarks.race.peers import layouts, steps

Batch = dict[str, torch.Tensor]
Loss = Callable[["Bert", Batch], torch.Tensor]

_NUM_LAYERS, _NUM_HEADS = 4, 4
_SUPERVISED = [1, 2, 3]  # heads of the last layer


class Layer(torch.nn.Module):
    """Self-attention, its three projections in one, and two dense layers, post-norm."""

    def __init__(self, arrays: jobs.Arrays, name: str) -> None:
        super().__init__()
        kernels = [_dense(arrays, f"{name}/{n}") for n in ("query", "key", "value")]
        self.projections = _merged(kernels)
        self.output = _dense(arrays, f"{name}/output")
        self.attention_norm = _norm(arrays, f"{name}/attention_norm")
        self.expand = _dense(arrays, f"{name}/expand")
        self.contract = _dense(arrays, f"{name}/contract")
        self.output_norm = _norm(arrays, f"{name}/output_norm")

    def forward(
        self, hidden: torch.Tensor, mask: torch.Tensor, *, with_attention: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The next states [B, T, D], and the attention [B, heads, T, T] if asked."""
        shape = (*hidden.shape[:2], 3, _NUM_HEADS, hidden.shape[-1] // _NUM_HEADS)
        query, key, value = self.projections(hidden).view(shape).permute(2, 0, 3, 1, 4)
        attention = None
        if with_attention:
            scores = query @ key.transpose(-2, -1) / shape[-1] ** 0.5
            attention = scores.masked_fill(~mask, -torch.inf).softmax(-1)
            mixed = attention @ value
        else:
            mixed = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask
            )
        mixed = self.output(mixed.transpose(1, 2).reshape(hidden.shape))
        hidden = self.attention_norm(hidden + mixed)
        inner = self.contract(functional.gelu(self.expand(hidden)))
        return self.output_norm(hidden + inner), attention


class Bert(torch.nn.Module):
    """Embeddings, layers, the tanh of the first state, logits."""

    def __init__(self, arrays: jobs.Arrays) -> None:
        super().__init__()
        self.word = _embedding(arrays, "word_embeddings")
        self.position = _embedding(arrays, "position_embeddings")
        self.segment = _embedding(arrays, "segment_embeddings")
        self.norm = _norm(arrays, "embeddings_norm")
        self.layers = torch.nn.ModuleList(
            Layer(arrays, f"layer_{number}") for number in range(_NUM_LAYERS)
        )
        self.pooler = _dense(arrays, "pooler")
        self.classifier = _dense(arrays, "classifier")

    def forward(
        self, words: torch.Tensor, batch: Batch, *, with_attention: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits [B, C] of word embeddings [B, T, D], and the last layer's attention.

        Which is computed only if asked: the fused function does not tell it.
        """
        hidden = words + self.position.weight[: words.shape[1]]
        hidden = self.norm(hidden + self.segment(batch["segments"]))
        mask = batch["mask"][:, None, None]
        for layer in self.layers[:-1]:
            hidden, _ = layer(hidden, mask)
        hidden, attention = self.layers[-1](hidden, mask, with_attention=with_attention)
        return self.classifier(torch.tanh(self.pooler(hidden[:, 0]))), attention


def _dense(arrays: jobs.Arrays, name: str) -> torch.nn.Linear:
    kernel = layouts.dense(arrays[f"params/{name}/kernel"])
    layer = torch.nn.Linear(kernel.shape[1], kernel.shape[0])
    layer.weight.data.copy_(kernel)
    layer.bias.data.copy_(torch.from_numpy(arrays[f"params/{name}/bias"]))
    return layer


def _merged(layers: list[torch.nn.Linear]) -> torch.nn.Linear:
    width = layers[0].in_features
    merged = torch.nn.Linear(width, sum(layer.out_features for layer in layers))
    merged.weight.data.copy_(torch.cat([layer.weight.data for layer in layers]))
    merged.bias.data.copy_(torch.cat([layer.bias.data for layer in layers]))
    return merged


def _norm(arrays: jobs.Arrays, name: str) -> torch.nn.LayerNorm:
    scale = torch.from_numpy(arrays[f"params/{name}/scale"])
    layer = torch.nn.LayerNorm(len(scale), eps=1e-12)
    layer.weight.data.copy_(scale)
    layer.bias.data.copy_(torch.from_numpy(arrays[f"params/{name}/bias"]))
    return layer


def _embedding(arrays: jobs.Arrays, name: str) -> torch.nn.Embedding:
    table = torch.from_numpy(arrays[f"params/{name}/embedding"])
    return torch.nn.Embedding.from_pretrained(table, freeze=False)


def tensors(arrays: jobs.Arrays) -> Batch:
    """All [B, T] but the labels [B]."""
    names = ("tokens", "mask", "segments")
    batch = {name: torch.from_numpy(arrays[f"inputs/{name}"]) for name in names}
    for name in ("labels", "special", "rationale"):
        batch[name] = torch.from_numpy(arrays[name])
    return {**batch, "labels": batch["labels"].long(), "tokens": batch["tokens"].long()}


def _unguided(network: Bert, batch: Batch) -> torch.Tensor:
    logits, _ = network(network.word(batch["tokens"]), batch)
    return functional.cross_entropy(logits, batch["labels"])


def _least_salient(saliency: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """The lower half of what counts in each text: bool [B, T]."""
    order = saliency.masked_fill(~counted, torch.inf).argsort(1)
    return order.argsort(1) < counted.sum(1, keepdim=True) // 2


def _replaced(
    tokens: torch.Tensor, masked: torch.Tensor, kept: torch.Tensor
) -> torch.Tensor:
    """Each masked token by the last kept one before it, or else the first behind."""
    length = tokens.shape[1]
    place = torch.arange(length)
    before = torch.where(kept, place, -1).cummax(1).values
    behind = torch.where(kept, place, length).flip(1).cummin(1).values.flip(1)
    source = torch.where(before >= 0, before, behind)
    source = torch.where(masked, source, place)
    return tokens.gather(1, source)


def _saliency_guided(network: Bert, batch: Batch) -> torch.Tensor:
    # One pass gives the loss, the saliency and the teacher.
    words = network.word(batch["tokens"])
    logits, _ = network(words, batch)
    teacher = functional.log_softmax(logits, 1)
    scores = teacher.gather(1, batch["labels"][:, None])
    task = -scores.mean()
    (gradient,) = torch.autograd.grad(scores.sum(), words, retain_graph=True)
    counted = batch["mask"] & ~batch["special"]
    masked = _least_salient(gradient.abs().mean(-1), counted)
    tokens = _replaced(batch["tokens"], masked, counted & ~masked)
    student, _ = network(network.word(tokens), batch)
    return task + functional.kl_div(
        functional.log_softmax(student, 1),
        teacher,
        reduction="batchmean",
        log_target=True,
    )


def _attention(network: Bert, batch: Batch) -> torch.Tensor:
    words = network.word(batch["tokens"])
    logits, attention = network(words, batch, with_attention=True)
    assert attention is not None
    marks = batch["rationale"]
    total = marks.sum(1, keepdim=True)
    target = marks / total.clamp_min(1)
    squares = (attention[:, _SUPERVISED, 0] - target[:, None]) ** 2
    distance = squares.sum(-1).mean(1)
    annotated = total[:, 0] > 0
    task = functional.cross_entropy(logits, batch["labels"])
    return task + (distance * annotated).sum() / annotated.sum()


def _step(loss: Loss, arrays: jobs.Arrays) -> jobs.Prepared:
    network, batch = Bert(arrays), tensors(arrays)
    return steps.prepared(
        network,
        functools.partial(loss, network, batch),
        torch.optim.Adam(network.parameters(), lr=1e-4, fused=True),
        items=len(batch["labels"]),
    )


JOBS = {
    "text_step": functools.partial(_step, _unguided),
    "text_saliency_guided": functools.partial(_step, _saliency_guided),
    "text_attention": functools.partial(_step, _attention),
}
