"""Settings in, datatrove's filters out, each of which notes what it drops in a tally."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter

from bertsmith.errors import UserError
from bertsmith.filtering.language import LanguageFilter
from bertsmith.filtering.recipe import FilterRecipe
from bertsmith.filtering.tally import Excluded, Tally
from bertsmith.filtering.words import PLAIN_WORDS, WITHOUT_BLANKS

GOPHER_QUALITY_REASONS = {
    "gopher_short_doc": "min_doc_words",
    "gopher_long_doc": "max_doc_words",
    "gopher_below_avg_threshold": "min_avg_word_length",
    "gopher_above_avg_threshold": "max_avg_word_length",
    "gopher_too_many_hashes": "max_symbol_word_ratio",
    "gopher_too_many_ellipsis": "max_symbol_word_ratio",
    "gopher_too_many_bullets": "max_bullet_lines_ratio",
    "gopher_too_many_end_ellipsis": "max_ellipsis_lines_ratio",
    "gopher_below_alpha_threshold": "min_alpha_words_ratio",
    "gopher_enough_stop_words": "min_stop_words",
}
"""What datatrove calls a reason → the setting that decides it; likewise of the other rules."""

C4_REASONS = {
    "lorem_ipsum": "filter_lorem_ipsum",
    "curly_bracket": "filter_curly_bracket",
    "too_few_sentences": "min_num_sentences",
}

FINEWEB_REASONS = {
    "line_punct_ratio": "line_punct_thr",
    "short_line_ratio": "short_line_thr",
    "char_dup_ratio": "char_duplicates_ratio",
    "list_ratio": "new_line_ratio",
}

_LINE_REASONS = {
    "too_long_word": "max_word_length",
    "no_terminal_punc": "filter_no_terminal_punct",
    "too_few_words": "min_words_per_line",
    "javascript": "filter_javascript",
    "policy": "filter_policy",
}


class C4Filter(C4QualityFilter):  # type: ignore[misc]
    """C4's filter that notes in a document which lines it took out of it, as setting → number."""

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        self._taken: Counter[str] = Counter()
        found: bool | tuple[bool, str] = super().filter(doc)
        if self._taken:
            doc.metadata["lines"] = dict(self._taken)
        return found

    def stat_update(self, *labels: str, **given: Any) -> None:
        super().stat_update(*labels, **given)
        for label in labels:
            if setting := _LINE_REASONS.get(label.removeprefix("line-filter-")):
                self._taken[f"c4.{setting}"] += 1


def make_filters(recipe: FilterRecipe, tally: Tally) -> list[Any]:
    """Return the filters that a recipe enables, in the order of datatrove's script for FineWeb."""
    return list(_filters(recipe, tally))


def _filters(recipe: FilterRecipe, tally: Tally) -> Iterator[Any]:
    if recipe.language.enabled:
        rule = recipe.language
        yield LanguageFilter(rule.keep, rule.min_score, rule.model, Excluded(tally, "language", {}))
    if recipe.gopher_repetition.enabled:
        groups = {f"top_{n}_gram": f"top_n_grams[{n}]" for n, _ in recipe.gopher_repetition.top_n_grams}
        groups |= {f"duplicated_{n}_n_grams": f"dup_n_grams[{n}]" for n, _ in recipe.gopher_repetition.dup_n_grams}
        yield GopherRepetitionFilter(**_values(recipe.gopher_repetition, Excluded(tally, "gopher_repetition", groups)))
    if recipe.gopher_quality.enabled:
        values = _values(recipe.gopher_quality, Excluded(tally, "gopher_quality", GOPHER_QUALITY_REASONS))
        values["min_doc_words"] = values["min_doc_words"] or 1  # the mean length of no words is no number
        values["max_non_alpha_words_ratio"] = values.pop("min_alpha_words_ratio")  # which is what it is there
        yield GopherQualityFilter(**values)
    if recipe.c4.enabled:
        values = _values(recipe.c4, Excluded(tally, "c4", C4_REASONS))
        values["max_word_length"] = values["max_word_length"] or -1
        yield C4Filter(**values)
    if recipe.fineweb.enabled:
        yield FineWebQualityFilter(**_values(recipe.fineweb, Excluded(tally, "fineweb", FINEWEB_REASONS)))


def _values(rule: Any, excluded: Excluded) -> dict[str, Any]:
    """Return what a filter of datatrove is made with."""
    values = asdict(rule)
    del values["enabled"]
    return values | {"language": PLAIN_WORDS, "exclusion_writer": excluded}


def refuse_without_blanks(recipe: FilterRecipe) -> None:
    """Raise UserError where rules about words are to judge a language that writes no blanks between them."""
    rules = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
    enabled = [name for name in rules if getattr(recipe, name).enabled]
    found = [code for code in recipe.language.keep if code in WITHOUT_BLANKS] if recipe.language.enabled else []
    if found and enabled:
        off = " ".join(f"{name}.enabled=false" for name in enabled)
        raise UserError(f"language.keep = {found[0]}: its words have no blanks between them, which rules need; {off}")
