"""Words for a concept: what people might type to find its drawing, and the tokenizer that reads it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from drawings import Concept
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

VOCABULARY = 8192
MAX_TOKENS = 77
"""Where CLIP's text towers cut; training phrases are much shorter."""

PAD = 0
PAD_PIECE = "<pad>"

TEMPLATES = (
    "a {}", "the {}", "{} emoji", "a drawing of a {}", "a drawing of {}", "a picture of a {}", "a picture of {}",
    "an image of a {}", "a photo of a {}", "a photo of {}", "an icon of a {}", "a cartoon {}", "a cartoon of a {}",
    "{} icon", "{} symbol", "clipart of a {}", "an illustration of a {}", "show me a {}", "some {}", "one {}",
    "a small {}", "a big {}",
)  # fmt: skip
_COLOURED = ("{colour} {name}", "a {colour} {name}", "{name} in {colour}", "a drawing of a {colour} {name}")


def spoken(label: str) -> str:
    """A label as one would say it: `flag: Cuba` becomes `flag of Cuba`."""
    return label.replace("flag: ", "flag of ").replace(": ", " ")


def phrase(concept: Concept, colour: str, rng: random.Random) -> str:
    """One random English phrase; `colour` is that of the drawing beside it, or empty."""
    draw = rng.random()
    name = spoken(concept.label)
    if concept.names and rng.random() < 0.2:
        name = rng.choice(concept.names)
    if draw < 0.30:
        return name
    if draw < 0.55:
        return rng.choice(TEMPLATES).format(name)
    if draw < 0.62 and colour:
        return rng.choice(_COLOURED).format(colour=colour, name=name)
    words = list(concept.tags) or [name]
    if draw < 0.72:
        return " ".join(rng.sample([name, *rng.sample(words, min(len(words), rng.randint(1, 2)))], k=2))
    if draw < 0.76:
        return f"{name} {rng.choice(concept.kinds)}"
    picked = " ".join(rng.sample(words, min(len(words), rng.randint(1, 3))))
    return rng.choice(TEMPLATES).format(picked) if rng.random() < 0.3 else picked


def any_phrase(concept: Concept, colour: str, rng: random.Random) -> str:
    """Like `phrase`, but in one of the other languages half of the time."""
    if concept.foreign and rng.random() < 0.5:
        return spoken(rng.choice(concept.foreign))
    return phrase(concept, colour, rng)


def corpus(concepts: Iterable[Concept]) -> list[str]:
    """Every text the tokenizer learns its pieces from."""
    texts = [template.format("") for template in TEMPLATES]
    texts += ["red orange yellow green blue purple pink brown black white grey gray light dark"]
    for concept in concepts:
        texts += [spoken(concept.label)] * 4 + [*concept.names, *concept.tags, *concept.kinds]
        texts += [spoken(label) for label in concept.foreign]
    return texts


def train_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """A byte-level BPE: no text is unknown to it; case and accents fall away."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            min_frequency=2,
            special_tokens=[PAD_PIECE],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding(pad_id=PAD, pad_token=PAD_PIECE)
    return tokenizer
