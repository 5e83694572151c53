"""Asking whoever answers problems to judge pairs of answers: an endpoint, or a model of this machine."""

from collections.abc import Sequence

from ponder.core.types import Problem
from ponder.data.traces import Trace
from ponder.recipes.teachers import Teacher, Wanted
from ponder.train.judge import Ask, Refused


def teacher_ask(teacher: Teacher) -> Ask:
    """Asks a teacher; a question that it leaves unanswered, or answers with a flaw, has no reply. That it shows no
    thought is no flaw here.

    Raises `GenerationError` where the teacher fails for good.
    """

    def ask(questions: Sequence[tuple[str, int]]) -> list[str | Refused | None]:
        answers: dict[str, str | Refused] = {}

        def keep(trace: Trace) -> None:
            if trace.flaw in (None, "no thought"):
                answers[trace.problem.id] = trace.answer
            elif trace.flaw == "refused":
                answers[trace.problem.id] = Refused(trace.note or "the judge refuses it")

        wanted = [Wanted(Problem(id=str(seed), prompt=question), 0) for question, seed in questions]
        teacher.ask(wanted, keep)
        return [answers.get(one.problem.id) for one in wanted]

    return ask
