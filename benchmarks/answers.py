"""Are SQuAD's answers still there once contexts are token windows, and what memory does it take to make these?

    python -m benchmarks.answers squad=dev-v1.1.json vocab=vocab.txt [--out answers.json]

recovered  for how many questions some gold answer, found in a window of 512 tokens, comes back from it exactly after
           the official normalisation; the others are listed with what came back (target: 99.5 %)
memory     most memory of a process that reads the file and cuts 130,000 questions into windows, each five about a
           context of its own, as in SQuAD's training set (target: 1.5 GB)
"""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.trials import Trials, in_own_process, parser_of
from bertsmith.scoring.text_answers import normalize
from bertsmith.tasks.answering.questions import Questions
from bertsmith.tasks.answering.windows import cut_into_windows
from bertsmith.tasks.published.squad import read_questions
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.metrics import memory_bytes

LENGTH = 512
QUESTIONS, QUESTIONS_A_CONTEXT = 130_000, 5


def main() -> None:
    parser = parser_of(__doc__)
    for name in ("squad", "vocab"):
        parser.add_argument(name, type=lambda text: Path(text.partition("=")[2]), help=f"{name}=FILE")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(memory(arguments.squad, arguments.vocab)))
        return
    trials = Trials(arguments.out)
    files = (f"squad={arguments.squad}", f"vocab={arguments.vocab}")
    trials.alternate("recovered", {"bertsmith": partial(recovered, arguments.squad, arguments.vocab, trials)}, 1)
    trials.alternate("memory", {"bertsmith": partial(in_own_process, "answers", *files, "--measure")}, 1)


def recovered(squad: Path, vocab: Path, trials: Trials) -> dict[str, float]:
    """The share of questions; the others are printed with their answers, and noted with the reason."""
    asked = read_questions(squad, training=False)
    windows = cut_into_windows(asked, Tokenizer.load(vocab), LENGTH)
    first = np.searchsorted(windows.question_of, np.arange(len(asked) + 1))
    found = 0
    for question, answers in enumerate(asked.answers):
        context, gold = asked.context(question), {normalize(text) for _, text in answers}
        back = [
            context[windows.characters(window, *places)]
            for window in range(first[question], first[question + 1])
            for answer in answers
            if (places := windows.answer_places(window, answer)) is not None
        ]
        found += any(normalize(text) in gold for text in back)
        if not any(normalize(text) in gold for text in back):
            why = "a token holds more" if back else "in no window whole"
            print(f"  {asked.ids[question]}: {sorted({text for _, text in answers})}; {why}: {sorted(set(back))}")
            trials.note("not recovered", asked.ids[question], why)
    return {"share": found / len(asked), "questions": len(asked), "lost": len(asked) - found}


def memory(squad: Path, vocab: Path) -> dict[str, float]:
    asked = read_questions(squad, training=False)
    many = Questions()
    for number in range(QUESTIONS):
        if number % QUESTIONS_A_CONTEXT == 0:
            many.contexts.append(f"{number} {asked.contexts[number % len(asked.contexts)]}")
        many.ids.append(str(number))
        many.texts.append(asked.texts[number % len(asked)])
        many.context_of.append(len(many.contexts) - 1)
        many.answers.append([])
    windows = cut_into_windows(many, Tokenizer.load(vocab), LENGTH)
    device = choose_machine(MachineSettings(device="cpu")).device
    return {"GB": memory_bytes(device) / 1e9, "windows": len(windows)}


if __name__ == "__main__":
    main()
